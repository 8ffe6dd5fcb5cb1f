//! All keys of a cluster, as one read of etcd shows them.

use super::registers::{self, Failsafe, Leader, Member, Status, SteppedDown, Sync};
use super::request::{Compare, Pair};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A value, and the revision that last changed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Register<T> {
    pub(super) value: T,
    pub(super) revision: i64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct View {
    /// Which etcd it is.
    pub(super) etcd: u64,
    pub(super) leader: Option<Leader>,
    pub(super) term: Option<Register<u64>>,
    /// The id of the log that the cluster has.
    pub(super) log: Option<String>,
    pub(super) sync: Option<Register<Sync>>,
    pub(super) status: Option<Status>,
    pub(super) failsafe: Option<Register<Failsafe>>,
    pub(super) is_paused: bool,
    pub(super) stepped_down: Option<SteppedDown>,
    pub(super) members: BTreeMap<String, Member>,
    /// The revision that last changed each key, whatever it holds.
    revisions: BTreeMap<String, i64>,
    /// A key that holds what no node writes there.
    pub(super) broken: Option<String>,
}

impl View {
    pub(super) fn read(etcd: u64, pairs: &[Pair]) -> View {
        let mut view = View {
            etcd,
            ..View::default()
        };
        for pair in pairs {
            view.take(pair);
        }
        view
    }

    fn take(&mut self, pair: &Pair) {
        self.revisions.insert(pair.key.clone(), pair.revision);
        let is_sound = match pair.key.as_str() {
            registers::LEADER => is_some(&mut self.leader, registers::parsed(&pair.value)),
            registers::TERM => is_some(&mut self.term, register(pair)),
            registers::LOG => is_some(&mut self.log, registers::parsed(&pair.value)),
            registers::SYNC => is_some(&mut self.sync, register(pair)),
            registers::STATUS => is_some(&mut self.status, registers::parsed(&pair.value)),
            registers::FAILSAFE => is_some(&mut self.failsafe, register(pair)),
            registers::STEPPED_DOWN => is_some(&mut self.stepped_down, registers::parsed(&pair.value)),
            registers::PAUSE => {
                self.is_paused = true;
                true
            }
            key => match key.strip_prefix(registers::MEMBERS) {
                // Somebody has to be asked there; as long as nobody knows who it is, what it has counts for nothing.
                Some(address) => {
                    let member = registers::parsed(&pair.value).unwrap_or_default();
                    self.members.insert(address.to_owned(), member);
                    true
                }
                // A later pykv may have more keys.
                None => true,
            },
        };
        if !is_sound {
            self.broken = Some(pair.key.clone());
        }
    }

    /// The number at `term`; 0 where there is none.
    pub(super) fn term_number(&self) -> u64 {
        self.term.as_ref().map_or(0, |term| term.value)
    }

    /// The revision that last changed a key; 0 where it is not there.
    pub(super) fn revision(&self, key: &str) -> i64 {
        self.revisions.get(key).copied().unwrap_or(0)
    }

    /// That a key is as it was read.
    pub(super) fn unchanged(&self, key: &str) -> Compare {
        as_of(key, self.revision(key))
    }

    /// The standbys that may take over; none where the primary waits for nobody.
    pub(super) fn standbys(&self) -> Option<(&str, &[String])> {
        let sync = &self.sync.as_ref()?.value;
        Some((&sync.leader, sync.standbys.as_ref()?))
    }

    /// Whether a directory with these runs is the one of a node that `sync` names.
    pub(super) fn is_of(&self, node: &str, runs: &[String]) -> bool {
        let sync = self.sync.as_ref();
        sync.is_none_or(|sync| sync.value.is_of(node, runs))
    }

    /// Whom a primary asks where etcd does not answer: a node that is not among them takes nothing over. None where
    /// that is not asked.
    pub(super) fn failsafe(&self) -> Option<&[String]> {
        self.failsafe.as_ref()?.value.nodes.as_deref()
    }
}

/// That a key is as this revision left it; that it is not there where that is 0.
pub(super) fn as_of(key: &str, revision: i64) -> Compare {
    match revision {
        0 => Compare::Absent(key.to_owned()),
        revision => Compare::Revision(key.to_owned(), revision),
    }
}

fn register<T: DeserializeOwned>(pair: &Pair) -> Option<Register<T>> {
    Some(Register {
        value: registers::parsed(&pair.value)?,
        revision: pair.revision,
    })
}

fn is_some<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_node_writes_is_noticed() {
        let pair = |key: &str, value: &str| Pair {
            key: key.to_owned(),
            value: value.to_owned(),
            revision: 3,
        };
        let view = View::read(
            7,
            &[
                pair("leader", r#"{"node":"a:1","process":"0f","term":4}"#),
                pair("term", "4"),
                pair("sync", r#"{"leader":"a:1","standbys":["b:1"]}"#),
                pair("members/a:1", r#"{"process":"0f"}"#),
                pair("later", "?"),
            ],
        );
        assert_eq!(view.leader.as_ref().map(|leader| leader.term), Some(4));
        assert_eq!((view.term_number(), view.broken.as_deref()), (4, None));
        assert_eq!(view.standbys(), Some(("a:1", &["b:1".to_owned()][..])));
        assert!(view.members.contains_key("a:1"));
        assert_eq!(view.unchanged("sync"), Compare::Revision("sync".to_owned(), 3));
        assert_eq!(view.unchanged("pause"), Compare::Absent("pause".to_owned()));
        // Whoever is there, the key of one member is no reason for all others to do nothing.
        let stray = View::read(7, &[pair("members/b:1", "7")]);
        assert_eq!(stray.broken, None);
        assert_eq!(stray.members.get("b:1"), Some(&Member::default()));
        let broken = View::read(7, &[pair("leader", "nobody")]);
        assert_eq!(broken.broken.as_deref(), Some("leader"));
    }
}
