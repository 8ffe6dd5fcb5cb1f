//! The standbys that a primary knows of: those that `sync` names, and those that writes wait for.

use super::facts::Facts;
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
    /// The nodes that writes wait for. Of each that `sync` does not name: where the log ended when they first did; none
    /// where that is to be looked up.
    pub(super) required: BTreeMap<String, Option<u64>>,
}

impl Standbys {
    /// `sync` names nobody but the primary.
    pub(super) fn begin(&mut self, revision: i64) {
        *self = Standbys {
            revision,
            ..Standbys::default()
        };
    }

    pub(super) fn required(&self) -> Vec<String> {
        self.required.keys().cloned().collect()
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

    /// The nodes that are to be standbys: those that are, while they are heard, and then those that have most.
    pub(super) fn wanted(&self, facts: &Facts, count: usize, silence_max: u64) -> Vec<String> {
        let mut heard: Vec<_> = facts
            .followers
            .iter()
            .filter(|follower| follower.silence <= silence_max)
            .collect();
        heard.sort_by_key(|follower| {
            let is_named = self.published.contains(&follower.node);
            (!is_named, u64::MAX - follower.offset, follower.node.clone())
        });
        heard.truncate(count);
        heard.into_iter().map(|follower| follower.node.clone()).collect()
    }

    /// Whether a node has all that was answered before writes began to wait for it.
    pub(super) fn has_all(&self, node: &String, facts: &Facts) -> bool {
        if self.published.contains(node) {
            return true;
        }
        let follower = facts.followers.iter().find(|follower| follower.node == *node);
        match (self.required.get(node), follower) {
            (Some(Some(since)), Some(follower)) => follower.offset >= *since,
            _ => false,
        }
    }
}
