//! The standbys that a primary knows of: those that `sync` names, and those that writes wait for.

use super::facts::{Follower, Standby};
use super::registers::Sync;
use super::view::Register;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Standbys {
    /// The nodes that `sync` names.
    pub(super) published: Vec<String>,
    pub(super) revision: i64,
    /// Further nodes that it may name, since it is not known whether etcd did what was asked.
    pub(super) in_doubt: Vec<String>,
    /// It is to be written once more: what is in doubt cannot come after that.
    pub(super) must_publish: bool,
    /// The nodes that writes wait for.
    pub(super) required: BTreeMap<String, Required>,
}

/// How a node is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Required {
    /// Which run of it; none where no run of it was heard.
    pub(super) process: String,
    /// Where the log ended when writes began to wait for it; none where that is to be looked up.
    pub(super) since: Option<u64>,
}

impl Standbys {
    /// `sync` names nobody but the primary.
    pub(super) fn begin(&mut self, revision: i64) {
        *self = Standbys {
            revision,
            ..Standbys::default()
        };
    }

    pub(super) fn named(&self) -> &[String] {
        &self.published
    }

    /// What etcd has.
    pub(super) fn see(&mut self, sync: Option<&Register<Sync>>) {
        if let Some(sync) = sync.filter(|sync| sync.revision > self.revision && self.revision > 0) {
            self.revision = sync.revision;
            self.published = sync.value.standbys.clone().unwrap_or_default();
        }
    }

    pub(super) fn in_doubt(&mut self, standbys: Option<&[String]>) {
        self.in_doubt.extend(standbys.into_iter().flatten().cloned());
        self.must_publish = true;
    }

    pub(super) fn published(&mut self, standbys: Option<Vec<String>>, revision: i64) {
        self.published = standbys.unwrap_or_default();
        self.revision = revision;
        self.in_doubt.clear();
        self.must_publish = false;
    }

    /// The followers that are to be standbys: those that are, while they are heard, and then those that have most.
    pub(super) fn wanted<'a>(
        &self,
        followers: &[&'a Follower],
        count: usize,
        silence_max: u64,
    ) -> Vec<&'a Follower> {
        let is_heard = |follower: &&&Follower| follower.silence <= silence_max;
        let mut heard: Vec<&Follower> = followers.iter().filter(is_heard).copied().collect();
        heard.sort_by_key(|follower| {
            let is_named = self.published.contains(&follower.node);
            (!is_named, u64::MAX - follower.offset, follower.node.clone())
        });
        heard.truncate(count);
        heard
    }

    /// Whom writes wait for from now on; none where that stays as it is.
    pub(super) fn require(&mut self, wanted: &[&Follower]) -> Option<Vec<Standby>> {
        let mut required = BTreeMap::new();
        let named = self.published.iter().chain(&self.in_doubt);
        for node in named.chain(wanted.iter().map(|follower| &follower.node)) {
            let known = self.required.get(node).cloned().unwrap_or_default();
            let follower = wanted.iter().find(|follower| follower.node == *node);
            let is_other = |follower: &&&Follower| follower.process != known.process;
            let one = match follower.filter(is_other) {
                Some(follower) => Required {
                    process: follower.process.clone(),
                    since: None,
                },
                None => known,
            };
            required.insert(node.clone(), one);
        }
        let list = |required: &BTreeMap<String, Required>| -> Vec<Standby> {
            let standby = |(node, required): (&String, &Required)| Standby {
                node: node.clone(),
                process: required.process.clone(),
            };
            required.iter().map(standby).collect()
        };
        let (before, now) = (list(&self.required), list(&required));
        self.required = required;
        (before != now).then_some(now)
    }

    /// Whether a follower has all that was answered before writes began to wait for it.
    pub(super) fn has_all(&self, follower: &Follower) -> bool {
        self.required.get(&follower.node).is_some_and(|required| {
            let since = required.since.filter(|_| required.process == follower.process);
            since.is_some_and(|since| follower.offset >= since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(process: &str, offset: u64) -> Follower {
        Follower {
            node: "a:1".to_owned(),
            process: process.to_owned(),
            offset,
            silence: 0,
        }
    }

    #[test]
    fn another_process_at_the_address_of_a_standby_proves_anew_what_it_has() {
        let mut standbys = Standbys::default();
        let (one, other) = (follower("1", 100), follower("2", 100));
        assert!(standbys.require(&[&one]).is_some());
        assert!(!standbys.has_all(&one), "where the log ended is not known yet");
        standbys
            .required
            .values_mut()
            .for_each(|one| one.since = Some(100));
        assert!(standbys.has_all(&one));
        standbys.published(Some(vec!["a:1".to_owned()]), 5);
        assert!(standbys.require(&[&one]).is_none(), "nothing has changed");
        assert!(!standbys.has_all(&other));
        let required = standbys.require(&[&other]).unwrap();
        assert_eq!(required[0].process, "2");
        assert!(!standbys.has_all(&other) && !standbys.has_all(&one));
        // One that is silent is waited for while `sync` names it.
        assert!(standbys.require(&[]).is_none());
        standbys.published(Some(Vec::new()), 6);
        assert_eq!(standbys.require(&[]).map(|required| required.len()), Some(0));
    }
}
