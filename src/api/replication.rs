//! What nodes of a cluster say to each other.
//!
//! Whatever one node acts on that another has said carries a checksum over itself: a bit that was turned on
//! the way must not acknowledge a write, nor make a node step down. (The records themselves have their own.)

use serde::{Deserialize, Serialize};

/// The log from an offset on, for followers.
pub const PATH_REPLICATION_LOG: &str = "/replication/log";
/// The state of the store, for followers that cannot go on from where they are.
pub const PATH_REPLICATION_SNAPSHOT: &str = "/replication/snapshot";
/// What nodes tell each other of themselves.
pub const PATH_REPLICATION_HELLO: &str = "/replication/hello";
/// Makes a replica the primary.
pub const PATH_PROMOTE: &str = "/promote";
/// Whether the node is the primary.
pub const PATH_PRIMARY: &str = "/primary";
/// Whether the node is a replica that is not too far behind.
pub const PATH_REPLICA: &str = "/replica";

/// In a read: an offset, everything before which the answer must show.
pub const HEADER_MIN_OFFSET: &str = "Pykv-Min-Offset";
/// In a write: how many replicas are to have it before it is answered.
pub const HEADER_SYNC_REPLICAS: &str = "Pykv-Sync-Replicas";
/// In a write: for how long they are waited for, in seconds.
pub const HEADER_SYNC_TIMEOUT: &str = "Pykv-Sync-Timeout";
/// In a write: whether it is answered with 503 where too few have it then, `true` or `false`.
pub const HEADER_SYNC_REQUIRED: &str = "Pykv-Sync-Required";
/// In an answer to a write that waited for replicas: how many had it then.
pub const HEADER_REPLICAS: &str = "Pykv-Replicas";
/// In an answer to a follower: see [`Piece`].
pub const HEADER_LOG: &str = "Pykv-Log";

/// Most replicas that a write may wait for.
pub const SYNC_REPLICAS_MAX: usize = 16;

/// Longest time for which replicas may be waited for, in seconds.
pub const SYNC_TIMEOUT_SECONDS_MAX: f64 = 60.0;

/// How long a follower may wait for more of the log, in ms.
pub const POLL_WAIT_MS_MAX: u64 = 60_000;

/// What a node says of itself, to ask another to do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The id of its log, as 32 hexadecimal digits.
    pub id: String,
    /// Its term, number and mark, as a decimal number of 64 bits.
    pub term: String,
    /// `primary` or `replica`.
    pub role: String,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Where it takes the primary to be, as `host:port`.
    pub primary: Option<String>,
    /// How far its log is written.
    pub offset: u64,
    /// CRC-32 of all that.
    pub check: u32,
}

impl Hello {
    /// The same with the right checksum.
    pub fn sealed(mut self) -> Hello {
        self.check = self.checksum();
        self
    }

    /// Whether the checksum is right.
    pub fn is_sound(&self) -> bool {
        self.check == self.checksum()
    }

    fn checksum(&self) -> u32 {
        let Hello {
            id,
            term,
            role,
            address,
            primary,
            offset,
            check: _,
        } = self;
        let primary = primary.as_deref().unwrap_or("-");
        crc32fast::hash(format!("{id} {term} {role} {address} {primary} {offset}").as_bytes())
    }
}

/// What a follower asks for: the query of [`PATH_REPLICATION_LOG`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery<'a> {
    /// The id of its log, as 32 hexadecimal digits.
    pub id: &'a str,
    /// It has everything before this offset.
    pub after: u64,
    /// The term of its last record, as a decimal number of 64 bits.
    pub term: u64,
    /// How long it waits for more, in ms.
    pub wait_ms: u64,
    /// Random: one run of one node.
    pub follower: u64,
    /// How others reach it, as `host:port`.
    pub address: &'a str,
    /// Whether it takes over by itself.
    pub successor: bool,
}

impl LogQuery<'_> {
    /// As it stands behind the `?`.
    pub fn to_query(&self) -> String {
        let query = self.unchecked();
        let check = crc32fast::hash(query.as_bytes());
        format!("{query}&check={check}")
    }

    /// The checksum that it must have.
    pub fn check(&self) -> u32 {
        crc32fast::hash(self.unchecked().as_bytes())
    }

    fn unchecked(&self) -> String {
        let LogQuery {
            id,
            after,
            term,
            wait_ms,
            follower,
            address,
            successor,
        } = self;
        let address = super::query_value(address);
        format!(
            "id={id}&after={after}&term={term}&wait={wait_ms}&follower={follower}&address={address}&successor={successor}"
        )
    }
}

/// Where a follower's log is no part of a node's history: the body of a 409.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// The terms of the node's log, each a decimal number of 64 bits, and the offsets that they start at.
    pub terms: Vec<(String, u64)>,
    /// Where the histories part, if the terms do not tell.
    pub from: Option<u64>,
    /// CRC-32 of all that.
    pub check: u32,
}

impl Divergence {
    /// The same with the right checksum.
    pub fn sealed(mut self) -> Divergence {
        self.check = self.checksum();
        self
    }

    /// Whether the checksum is right.
    pub fn is_sound(&self) -> bool {
        self.check == self.checksum()
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for (term, start) in &self.terms {
            hasher.update(format!("{term} {start} ").as_bytes());
        }
        let from = self.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        hasher.update(from.as_bytes());
        hasher.finalize()
    }
}

/// What goes with a piece of the log, as the value of [`HEADER_LOG`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The term of the node that gives it, as a number of 64 bits.
    pub term: u64,
    /// The offset of its first byte.
    pub offset: u64,
    /// How far the log of that node is written.
    pub written: u64,
}

impl Piece {
    /// Four numbers; the last is the checksum of the others.
    pub fn to_value(self) -> String {
        let value = format!("{} {} {}", self.term, self.offset, self.written);
        let check = crc32fast::hash(value.as_bytes());
        format!("{value} {check}")
    }

    /// Reads what [`Piece::to_value`] has written; none where it is not that.
    pub fn from_value(value: &str) -> Option<Piece> {
        let (fields, check) = value.rsplit_once(' ')?;
        let mut numbers = fields.split(' ').map(|number| number.parse().ok());
        let piece = Piece {
            term: numbers.next()??,
            offset: numbers.next()??,
            written: numbers.next()??,
        };
        let is_sound = numbers.next().is_none() && check.parse() == Ok(crc32fast::hash(fields.as_bytes()));
        is_sound.then_some(piece)
    }
}

/// The answer to [`PATH_PROMOTE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The number of the term that began.
    pub term: u64,
    /// The first offset that it gives.
    pub offset: u64,
}

/// A node's place in its cluster, in [`super::Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicationStatus {
    /// Where writes are to go, as `host:port`, as far as it is known.
    pub primary: Option<String>,
    /// `primary`, `connecting`, `snapshot`, `streaming` or `stopped`.
    pub state: String,
    /// What keeps a replica from going on.
    pub error: Option<String>,
    /// How far a replica is behind, in bytes of the log.
    pub lag_bytes: Option<u64>,
    /// For how long it has not been even with the node that it follows, in ms.
    pub lag_ms: Option<u64>,
    /// After how long without a word of the primary it takes over by itself.
    pub failover_after_seconds: Option<f64>,
    /// Those that follow this node.
    pub followers: Vec<Follower>,
}

/// One that follows a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follower {
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Its log has everything before this.
    pub offset: u64,
    /// How far it is behind, in bytes of the log.
    pub lag_bytes: u64,
    /// For how long it has been behind, in ms.
    pub lag_ms: u64,
    /// For how long nothing was heard of it, in ms. One that waits for more is silent for some seconds.
    pub last_heard_ms: u64,
    /// Whether it takes over by itself.
    pub successor: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_bit_is_noticed_in_whatever_is_acted_on() {
        let piece = Piece {
            term: 1 << 32,
            offset: 28,
            written: 4096,
        };
        let value = piece.to_value();
        assert_eq!(Piece::from_value(&value), Some(piece));
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1;
            let turned = String::from_utf8(bytes).unwrap();
            assert_eq!(Piece::from_value(&turned), None, "{turned}");
        }
        let hello = Hello {
            id: "00".to_owned(),
            term: "1".to_owned(),
            role: "primary".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            primary: None,
            offset: 3,
            check: 0,
        }
        .sealed();
        assert!(hello.is_sound());
        let turned = Hello {
            term: "3".to_owned(),
            ..hello
        };
        assert!(!turned.is_sound());
    }
}
