//! The keys in etcd, below the prefix of the cluster, and what stands in them: JSON, each written as a whole.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which run of it: random.
    pub process: String,
}

/// A node that has every write that was answered, or that writes wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standby {
    /// How others reach it.
    pub node: String,
    /// Which run of it: what another process has does not count.
    pub process: String,
}

/// `sync`: who may take over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Sync {
    pub(super) leader: String,
    /// They have every write that was answered. None where the primary waits for nobody.
    pub(super) standbys: Option<Vec<String>>,
    /// Which run of each of them it is that has the writes. None where an older pykv has written the key: then a node
    /// counts whatever it was started on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) processes: Option<BTreeMap<String, String>>,
}

impl Sync {
    /// Names a primary, and its standbys where it waits for some.
    pub(super) fn of(leader: Standby, standbys: Option<&[Standby]>) -> Sync {
        let all = standbys.into_iter().flatten().chain([&leader]);
        Sync {
            processes: Some(all.map(|one| (one.node.clone(), one.process.clone())).collect()),
            standbys: standbys.map(|standbys| standbys.iter().map(|one| one.node.clone()).collect()),
            leader: leader.node,
        }
    }

    /// The standbys; a process that is not known has no name.
    pub(super) fn named(&self) -> Vec<Standby> {
        let process = |node: &String| self.processes.as_ref()?.get(node).cloned();
        let standby = |node: &String| Standby {
            node: node.clone(),
            process: process(node).unwrap_or_default(),
        };
        self.standbys.iter().flatten().map(standby).collect()
    }

    /// Whether this is the directory of the run of a node that is named, or a later state of it.
    pub(super) fn is_of(&self, node: &str, runs: &[String]) -> bool {
        let Some(processes) = &self.processes else {
            return true;
        };
        processes.get(node).is_some_and(|process| runs.contains(process))
    }
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

    #[test]
    fn sync_says_which_run_has_the_writes_and_that_of_an_older_pykv_does_not() {
        let one = |node: &str, process: &str| Standby {
            node: node.to_owned(),
            process: process.to_owned(),
        };
        let standbys = [one("b:1", "0b")];
        let sync = Sync::of(one("a:1", "0a"), Some(&standbys));
        let expected = r#"{"leader":"a:1","standbys":["b:1"],"processes":{"a:1":"0a","b:1":"0b"}}"#;
        assert_eq!(text(&sync), expected);
        assert_eq!(parsed(expected), Some(sync.clone()));
        assert_eq!(sync.named(), standbys);
        let runs = |all: &[&str]| all.iter().map(|&run| run.to_owned()).collect::<Vec<_>>();
        assert!(sync.is_of("b:1", &runs(&["09", "0b", "0c"])));
        assert!(!sync.is_of("b:1", &runs(&["09"])), "an older copy");
        assert!(!sync.is_of("b:1", &[]) && !sync.is_of("c:1", &runs(&["0b"])));
        let old: Sync = parsed(r#"{"leader":"a:1","standbys":["b:1"]}"#).unwrap();
        assert!(old.is_of("b:1", &[]));
        assert_eq!(old.named(), [one("b:1", "")]);
    }
}
