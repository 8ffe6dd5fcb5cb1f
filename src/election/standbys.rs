//! The standbys: the followers that have every write that is answered, and so may take over.
//!
//! # What must hold
//! - A node is waited for before `sync` names it, and it has by then all that was answered before.
//! - A node is waited for until `sync` names it no longer, for sure.

use super::machine::{Facts, Machine, Pending, Stage, Step};
use super::registers::{self, Sync};
use super::request::{Compare, Request};
use super::view::Register;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Standbys {
    /// The nodes that `sync` names.
    published: Vec<String>,
    revision: i64,
    /// Further nodes that it may name, since it is not known whether etcd did what was asked.
    in_doubt: Vec<String>,
    /// It is to be written once more: what is in doubt cannot come after that.
    must_publish: bool,
    /// The nodes that writes wait for. Of each that `sync` does not name: where the log ended when they first did; none
    /// where that is to be looked up.
    required: BTreeMap<String, Option<u64>>,
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
    fn wanted(&self, facts: &Facts, count: usize, silence_max: u64) -> Vec<String> {
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
    fn has_all(&self, node: &String, facts: &Facts) -> bool {
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

impl Machine {
    pub(super) fn standbys(&mut self, facts: &Facts) -> Option<Step> {
        let (count, silence_max) = (self.config.standbys, self.config.silence_max);
        let Stage::Leading(leading) = &mut self.stage else {
            return None;
        };
        if count == 0 {
            return None;
        }
        let standbys = &mut leading.standbys;
        let wanted = standbys.wanted(facts, count, silence_max);
        let mut required = BTreeMap::new();
        for node in standbys.published.iter().chain(&standbys.in_doubt).chain(&wanted) {
            let since = standbys.required.get(node).copied().flatten();
            required.insert(node.clone(), since);
        }
        if !required.keys().eq(standbys.required.keys()) {
            standbys.required = required;
            return Some(Step::Require(standbys.required()));
        }
        // What is appended by now waits for them: looked up only after they were required.
        for since in standbys.required.values_mut().filter(|since| since.is_none()) {
            *since = Some(facts.appended);
        }
        let mut named: Vec<String> = wanted
            .into_iter()
            .filter(|node| standbys.has_all(node, facts))
            .collect();
        named.sort();
        if named == standbys.published && !standbys.must_publish {
            return None;
        }
        let (term, revision) = (leading.term, standbys.revision);
        let sync = Sync {
            leader: self.config.node.clone(),
            standbys: Some(named.clone()),
        };
        let txn = self
            .holds_key(term)
            .and(Compare::Revision(registers::SYNC.to_owned(), revision))
            .put(registers::SYNC, registers::text(&sync));
        Some(self.ask(Pending::Sync(Some(named)), Request::Txn(txn)))
    }
}
