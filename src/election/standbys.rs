//! The standbys: the followers that have every write that is answered, and so may take over.
//!
//! # What must hold
//! - A node is waited for before `sync` names it, and it has by then all that was answered before.
//! - A node is waited for until `sync` names it no longer, for sure.

use super::facts::{Facts, Step};
use super::registers::{self, Sync};
use super::request::{Compare, Request};
use super::state::{Machine, Pending, Stage};
use std::collections::BTreeMap;

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
