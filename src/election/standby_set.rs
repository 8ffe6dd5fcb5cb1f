//! The standbys that a primary knows of: those that `sync` names, and those that writes wait for.

use super::facts::Follower;
use super::registers::{Standby, Sync};
use super::view::Register;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Standbys {
    /// Those that `sync` names.
    pub(super) published: Vec<Standby>,
    pub(super) revision: i64,
    /// Whether this primary has written `sync`.
    has_begun: bool,
    /// Further ones that it may name, since it is not known whether etcd did what was asked.
    pub(super) in_doubt: Vec<Standby>,
    /// It is to be written once more: what is in doubt cannot come after that.
    pub(super) must_publish: bool,
    /// Those that writes wait for, and where the log ended when writes began to wait for them; none where that is to be
    /// looked up.
    pub(super) required: BTreeMap<Standby, Option<u64>>,
}

impl Standbys {
    /// `sync` names nobody but the primary.
    pub(super) fn begin(&mut self, revision: i64) {
        *self = Standbys {
            revision,
            has_begun: true,
            ..Standbys::default()
        };
    }

    pub(super) fn named(&self) -> &[Standby] {
        &self.published
    }

    /// Whether `sync` names a node, whichever run of it.
    pub(super) fn names(&self, node: &str) -> bool {
        self.published.iter().any(|standby| standby.node == node)
    }

    /// What etcd has, and the revision of that; 0 where the key is gone. What this primary did not write is written over,
    /// be it an answer of etcd that was lost or another hand.
    pub(super) fn see(&mut self, sync: Option<&Register<Sync>>, revision: i64) {
        if !self.has_begun || revision == self.revision {
            return;
        }
        self.revision = revision;
        self.must_publish = true;
        if let Some(sync) = sync {
            self.published = sync.value.named();
        }
    }

    pub(super) fn in_doubt(&mut self, standbys: Vec<Standby>) {
        self.in_doubt.extend(standbys);
        self.must_publish = true;
    }

    pub(super) fn published(&mut self, standbys: Vec<Standby>, revision: i64) {
        self.published = standbys;
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
            (
                !self.names(&follower.node),
                u64::MAX - follower.offset,
                follower.node.clone(),
            )
        });
        heard.truncate(count);
        heard
    }

    /// Whom writes wait for from now on; none where that stays as it is. A run that `sync` names is waited for even
    /// where the node has been started anew: a copy of its directory from before has that run's name, and lacks what
    /// only the new run has.
    pub(super) fn require(&mut self, wanted: &[&Follower]) -> Option<Vec<Standby>> {
        let named = self.published.iter().chain(&self.in_doubt).cloned();
        let all = named.chain(wanted.iter().map(|follower| Standby::of(follower)));
        let since = |standby: &Standby| self.required.get(standby).copied().flatten();
        let required: BTreeMap<Standby, Option<u64>> =
            all.map(|standby| (standby.clone(), since(&standby))).collect();
        let is_new = !required.keys().eq(self.required.keys());
        self.required = required;
        is_new.then(|| self.required.keys().cloned().collect())
    }

    /// Whether a follower has all that was answered before writes began to wait for it.
    pub(super) fn has_all(&self, follower: &Follower) -> bool {
        let since = self.required.get(&Standby::of(follower)).copied().flatten();
        since.is_some_and(|since| follower.offset >= since)
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
        let look_up = |standbys: &mut Standbys| {
            let unknown = standbys.required.values_mut().filter(|since| since.is_none());
            unknown.for_each(|since| *since = Some(100));
        };
        assert!(standbys.require(&[&one]).is_some());
        assert!(!standbys.has_all(&one), "where the log ended is not known yet");
        look_up(&mut standbys);
        assert!(standbys.has_all(&one));
        standbys.published(vec![Standby::of(&one)], 5);
        assert!(standbys.require(&[&one]).is_none(), "nothing has changed");
        assert!(!standbys.has_all(&other));
        // While `sync` names the first one, what the second has is not enough.
        let required = standbys.require(&[&other]).unwrap();
        assert_eq!(required, [Standby::of(&one), Standby::of(&other)]);
        assert!(!standbys.has_all(&other));
        look_up(&mut standbys);
        assert!(standbys.has_all(&other));
        standbys.published(vec![Standby::of(&other)], 6);
        let required = standbys.require(&[&other]).unwrap();
        assert_eq!(required, [Standby::of(&other)]);
        // One that is silent is waited for while `sync` names it.
        assert!(standbys.require(&[]).is_none());
        standbys.published(Vec::new(), 7);
        assert_eq!(standbys.require(&[]).map(|required| required.len()), Some(0));
    }
}
