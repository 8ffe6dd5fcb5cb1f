//! What nodes of a cluster say to each other.
//!
//! Whatever one node acts on that another has said carries a checksum over itself: a bit that was turned on
//! the way must not acknowledge a write, nor make a node step down. (The records themselves have their own.)

use serde::{Deserialize, Serialize};

/// The version of what nodes say to each other. Nodes of different versions do not follow each other, and say
/// so. Version 1 had no number.
pub const REPLICATION_PROTOCOL: u32 = 2;

/// The log from an offset on, for followers.
pub const PATH_REPLICATION_LOG: &str = "/replication/log";
/// The state of the store, for followers that cannot continue from where they are.
pub(crate) const PATH_REPLICATION_SNAPSHOT: &str = "/replication/snapshot";
/// What nodes tell each other of themselves.
pub const PATH_REPLICATION_HELLO: &str = "/replication/hello";
/// Makes a primary hold its writers, for a replica that is about to take over.
pub const PATH_REPLICATION_HANDOVER: &str = "/replication/handover";
/// Makes a node forget another one.
pub(crate) const PATH_FORGET: &str = "/forget";
/// Makes a replica the primary.
pub(crate) const PATH_PROMOTE: &str = "/promote";
/// Whether the node is the primary.
pub(crate) const PATH_PRIMARY: &str = "/primary";
/// Whether the node is a replica that is not too far behind.
pub(crate) const PATH_REPLICA: &str = "/replica";

/// In a read: an offset, everything before which the answer must show.
pub(crate) const HEADER_MIN_OFFSET: &str = "Pykv-Min-Offset";
/// In a write: how many replicas are to have it before it is answered.
pub(crate) const HEADER_SYNC_REPLICAS: &str = "Pykv-Sync-Replicas";
/// In a write: for how long they are waited for, in seconds.
pub(crate) const HEADER_SYNC_TIMEOUT: &str = "Pykv-Sync-Timeout";
/// In a write: whether it is answered with 503 where too few have it then, `true` or `false`.
pub(crate) const HEADER_SYNC_REQUIRED: &str = "Pykv-Sync-Required";
/// In an answer to a write that waited for replicas: how many had it then.
pub(crate) const HEADER_REPLICAS: &str = "Pykv-Replicas";
/// In an answer to a follower: see [`ChunkHeader`].
pub(crate) const HEADER_LOG: &str = "Pykv-Log";

/// Most replicas that a write may wait for.
pub(crate) const SYNC_REPLICAS_MAX: usize = 16;

/// Longest time for which replicas may be waited for, in seconds.
pub(crate) const SYNC_TIMEOUT_SECONDS_MAX: f64 = 60.0;

/// How long a follower may wait for more of the log, in ms.
pub(crate) const POLL_WAIT_MS_MAX: u64 = 60_000;

/// What a node says of itself, to ask another to do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// [`REPLICATION_PROTOCOL`].
    #[serde(default)]
    pub protocol: u32,
    /// Random: one run of one node.
    #[serde(default)]
    pub node: u64,
    /// The id of its log, as 32 hexadecimal digits.
    pub id: String,
    /// Its term, number and mark, as a decimal number of 64 bits.
    pub term: String,
    /// The nonce of the branch that its log is in, as 16 hexadecimal digits.
    #[serde(default)]
    pub branch: String,
    /// `primary` or `replica`.
    pub role: String,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Where a replica hears the primary, as `host:port`.
    pub primary: Option<String>,
    /// How long ago a replica that follows the primary heard it, in ms; none of others.
    #[serde(default)]
    pub primary_heard_ms: Option<u64>,
    /// How far its log is written.
    pub offset: u64,
    /// The last of the promotions that it has tried and given up, counted from 1; 0 where there is none. It begins no
    /// term by that one any more. A node of another version leaves it out; the error names
    /// the version, and not this member.
    #[serde(default)]
    pub given_up: u64,
    /// CRC-32 of all that.
    pub check: u32,
}

impl Handshake {
    /// The same with the right checksum.
    pub fn sealed(mut self) -> Handshake {
        self.check = self.checksum();
        self
    }

    /// Whether the checksum is right.
    pub fn is_sound(&self) -> bool {
        self.check == self.checksum()
    }

    fn checksum(&self) -> u32 {
        let unsealed = Handshake {
            check: 0,
            ..self.clone()
        };
        checksum_of(&unsealed)
    }
}

/// CRC-32 of a value's JSON, in which the checksum itself is 0.
fn checksum_of(value: &impl Serialize) -> u32 {
    let json = serde_json::to_vec(value).expect("plain data has a form in JSON");
    crc32fast::hash(&json)
}

/// What a replica asks of the primary before it takes over: to hold its writers, and then to step down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The id of the log, as 32 hexadecimal digits.
    pub id: String,
    /// The term of the primary, number and mark, as a decimal number of 64 bits.
    pub term: String,
    /// Which process asks: of two that would take over, the second one has to wait.
    pub node: u64,
    /// Where it is reached.
    pub address: String,
    /// Which of the promotions that this process has tried, counted from 1.
    pub attempt: u64,
    /// For how long writers are to be held, in ms; 0 ends a hold.
    pub hold_ms: u64,
    /// Asks the primary, which holds its writers for this node, to step down for it.
    pub step_down: bool,
    /// CRC-32 of all that.
    pub check: u32,
}

impl Handover {
    /// The same with the right checksum.
    pub fn sealed(mut self) -> Handover {
        self.check = self.checksum();
        self
    }

    /// Whether the checksum is right.
    pub fn is_sound(&self) -> bool {
        self.check == self.checksum()
    }

    fn checksum(&self) -> u32 {
        checksum_of(&Handover {
            check: 0,
            ..self.clone()
        })
    }
}

/// The answer to a [`Handover`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandoverOffset {
    /// Everything that the primary took before it held its writers lies before this offset.
    pub offset: u64,
    /// Addresses of the followers that take over by themselves: no acknowledgement counts without one of them, under
    /// the next primary neither.
    pub successors: Vec<String>,
    /// CRC-32 of all that.
    pub check: u32,
}

impl HandoverOffset {
    /// The same with the right checksum.
    pub(crate) fn sealed(mut self) -> HandoverOffset {
        self.check = self.checksum();
        self
    }

    /// Whether the checksum is right.
    pub(crate) fn is_sound(&self) -> bool {
        self.check == self.checksum()
    }

    fn checksum(&self) -> u32 {
        checksum_of(&HandoverOffset {
            check: 0,
            ..self.clone()
        })
    }
}

/// What a follower asks for: the query of [`PATH_REPLICATION_LOG`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery<'a> {
    /// [`REPLICATION_PROTOCOL`].
    pub protocol: u32,
    /// The id of its log, as 32 hexadecimal digits.
    pub id: &'a str,
    /// It has everything before this offset.
    pub after: u64,
    /// The term of its last record, as a decimal number of 64 bits.
    pub term: u64,
    /// The nonce of the branch of its last record.
    pub branch: u64,
    /// Where its last record begins, and the checksum of that; none where it has a base alone.
    pub last: Option<(u64, u32)>,
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
            protocol,
            id,
            after,
            term,
            branch,
            last,
            wait_ms,
            follower,
            address,
            successor,
        } = self;
        let address = super::query_value(address);
        let last = last.map_or(String::new(), |(start, crc)| {
            format!("&last={start}&last_check={crc}")
        });
        format!(
            "protocol={protocol}&id={id}&after={after}&term={term}&branch={branch}{last}&wait={wait_ms}\
             &follower={follower}&address={address}&successor={successor}"
        )
    }
}

/// Where a follower's log is no part of a node's history: the body of a 409.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Divergence {
    /// The branches of the node's log: of each the term as a decimal number of 64 bits, the nonce as 16
    /// hexadecimal digits, and the offset that it starts at.
    pub branches: Vec<(String, String, u64)>,
    /// Where the histories part, if the branches do not tell.
    pub from: Option<u64>,
    /// CRC-32 of all that.
    pub check: u32,
}

impl Divergence {
    /// The same with the right checksum.
    pub(crate) fn sealed(mut self) -> Divergence {
        self.check = self.checksum();
        self
    }

    /// Whether the checksum is right.
    pub(crate) fn is_sound(&self) -> bool {
        self.check == self.checksum()
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for (term, nonce, start) in &self.branches {
            hasher.update(format!("{term} {nonce} {start} ").as_bytes());
        }
        let from = self.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        hasher.update(from.as_bytes());
        hasher.finalize()
    }
}

/// What goes with a chunk of the log, as the value of [`HEADER_LOG`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    /// The term of the node that gives it, as a number of 64 bits.
    pub term: u64,
    /// The offset of its first byte.
    pub offset: u64,
    /// How far the primary's log is written, as far as that node knows.
    pub written: u64,
    /// How long ago that node heard the primary, in ms: 0 of the primary itself.
    pub primary_heard_ms: u64,
}

impl ChunkHeader {
    /// Five numbers; the last is the checksum of the others.
    pub(crate) fn to_value(self) -> String {
        let ChunkHeader {
            term,
            offset,
            written,
            primary_heard_ms,
        } = self;
        let value = format!("{term} {offset} {written} {primary_heard_ms}");
        let check = crc32fast::hash(value.as_bytes());
        format!("{value} {check}")
    }

    /// Reads what [`ChunkHeader::to_value`] has written; none where it is not that.
    pub(crate) fn from_value(value: &str) -> Option<ChunkHeader> {
        let (fields, check) = value.rsplit_once(' ')?;
        let mut numbers = fields.split(' ').map(|number| number.parse().ok());
        let chunk = ChunkHeader {
            term: numbers.next()??,
            offset: numbers.next()??,
            written: numbers.next()??,
            primary_heard_ms: numbers.next()??,
        };
        let is_sound = numbers.next().is_none() && check.parse() == Ok(crc32fast::hash(fields.as_bytes()));
        is_sound.then_some(chunk)
    }
}

/// The answer to [`PATH_PROMOTE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promoted {
    /// The number of the term that began.
    pub term: u64,
    /// The first offset that it gives.
    pub offset: u64,
    /// Bytes of the former primary's log that the node knows of and does not have.
    pub left_behind_bytes: u64,
    /// Keys that the node evicted, since its own bounds are smaller than the former primary's.
    pub evicted: u64,
}

/// The answer to [`PATH_FORGET`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    /// The node that was forgotten, as `host:port`.
    pub node: String,
}

/// A node's place in its cluster, in [`super::Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplicationStatus {
    /// Where writes are to go, as `host:port`, while the primary is heard.
    pub primary: Option<String>,
    /// How long ago a replica heard the primary, in ms.
    pub primary_heard_ms: Option<u64>,
    /// `primary`, `connecting`, `snapshot`, `streaming` or `stopped`.
    pub state: String,
    /// What is wrong.
    pub error: Option<String>,
    /// How many bytes of the state of another node have come, while this one takes it over.
    #[serde(default)]
    pub snapshot_bytes: Option<u64>,
    /// How far a replica is behind the primary, in bytes of the log.
    pub lag_bytes: Option<u64>,
    /// For how long it has not had all that the primary has, in ms.
    pub lag_ms: Option<u64>,
    /// After how long without a word of the primary it takes over by itself.
    pub failover_after_seconds: Option<f64>,
    /// The cluster whose primary etcd decides, where it does.
    pub cluster: Option<String>,
    /// The nodes that follow this one.
    pub followers: Vec<Follower>,
    /// The followers that take over by themselves. A write that waits for replicas waits for one of these.
    #[serde(default)]
    pub successors: Vec<Successor>,
}

/// A follower that takes over by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Successor {
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Whether it has spoken lately. While none has, writes that wait for replicas are not acknowledged.
    pub connected: bool,
}

/// One that follows a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Follower {
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
        let chunk = ChunkHeader {
            term: 1 << 32,
            offset: 28,
            written: 4096,
            primary_heard_ms: 7,
        };
        let value = chunk.to_value();
        assert_eq!(ChunkHeader::from_value(&value), Some(chunk));
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1;
            let turned = String::from_utf8(bytes).unwrap();
            assert_eq!(ChunkHeader::from_value(&turned), None, "{turned}");
        }
        let handshake = Handshake {
            protocol: REPLICATION_PROTOCOL,
            node: 7,
            id: "00".to_owned(),
            term: "1".to_owned(),
            branch: "0a".to_owned(),
            role: "primary".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            primary: None,
            primary_heard_ms: None,
            offset: 3,
            given_up: 0,
            check: 0,
        }
        .sealed();
        assert!(handshake.is_sound());
        let turned = Handshake {
            term: "3".to_owned(),
            ..handshake
        };
        assert!(!turned.is_sound());
    }
}
