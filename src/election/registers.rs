//! The keys in etcd, below the prefix of the cluster, and what stands in them: JSON, each written as a whole.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) const LEADER: &str = "leader";
pub(super) const TERM: &str = "term";
pub(super) const LOG: &str = "log";
pub(super) const SYNC: &str = "sync";
pub(super) const STATUS: &str = "status";
pub(super) const FAILSAFE: &str = "failsafe";
pub(super) const PAUSE: &str = "pause";
pub(super) const STEPPED_DOWN: &str = "order";
pub(super) const MEMBERS: &str = "members/";

/// `leader`: the primary. The key hangs on its lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leader {
    /// How others reach it, as `host:port`.
    pub node: String,
    /// Which run of it: random.
    pub process: String,
    /// The number of its term.
    pub term: u64,
}

/// `members/<address>`: a node that is there. The key hangs on its lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which run of it: random.
    pub process: String,
}

/// `sync`: who may take over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Sync {
    pub(super) leader: String,
    /// They have every write that was answered. None where the primary waits for nobody.
    pub(super) standbys: Option<Vec<String>>,
}

/// `status`: how far writes were answered when the primary last said so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) node: String,
    pub(super) term: u64,
    /// Where the term begins in the log.
    pub(super) start: u64,
    /// The first offset that it gives: far after `start`.
    pub(super) first: u64,
    pub(super) answered: u64,
}

impl Status {
    /// How many bytes of what was answered a log lacks that ends at `written`.
    pub(super) fn missing_bytes(&self, written: u64) -> u64 {
        missing_bytes(self.start, self.first, self.answered, written)
    }
}

/// How many bytes a log lacks that ends at `written`, of one that ends at `end` and whose last term begins at `start` and
/// gives offsets from `first` on.
pub(super) fn missing_bytes(start: u64, first: u64, end: u64, written: u64) -> u64 {
    let after = end.saturating_sub(first.max(written));
    let before = start.min(end).saturating_sub(written);
    after.saturating_add(before)
}

/// `failsafe`: whom the primary asks where etcd does not answer. None where it asks nobody, and steps down.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Failsafe {
    pub(super) nodes: Option<Vec<String>>,
}

/// `order`: the last primary has stepped down in order, and never comes back in its term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SteppedDown {
    /// Who is to take over; none where anybody may.
    pub(super) to: Option<String>,
    /// The term that ended.
    pub(super) term: u64,
}

/// As it stands in etcd.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data has a form in JSON")
}

pub(super) fn parsed<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

pub(super) fn member_key(address: &str) -> String {
    format!("{MEMBERS}{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_before_a_term_is_no_lag() {
        let status = Status {
            node: "a:1".to_owned(),
            term: 2,
            start: 1000,
            first: 1_000_000,
            answered: 1_000_300,
        };
        assert_eq!(status.missing_bytes(1_000_300), 0);
        assert_eq!(status.missing_bytes(1_000_200), 100);
        assert_eq!(status.missing_bytes(1000), 300);
        assert_eq!(status.missing_bytes(900), 400);
        let begun = Status {
            answered: 1000,
            ..status
        };
        assert_eq!(begun.missing_bytes(1000), 0);
        assert_eq!(begun.missing_bytes(990), 10);
        assert_eq!(begun.missing_bytes(1_000_000), 0);
    }
}
