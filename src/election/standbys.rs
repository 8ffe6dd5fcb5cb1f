//! The standbys: the followers that have every write that is answered, and so may take over.
//!
//! # What must hold
//! - A node is waited for before `sync` names it, and it has by then all that was answered before.
//! - A node is waited for until `sync` names it no longer, for sure.
//! - It is one process that is waited for, and that `sync` names. Another one at its address proves anew what it has, and
//!   its word counts once `sync` does not name the one before.

use super::facts::{Facts, Step};
use super::membership::members_of;
use super::registers::{self, Standby, Sync};
use super::request::Request;
use super::state::{Machine, Pending, Stage};
use super::view::as_of;

impl Machine {
    pub(super) fn standbys(&mut self, facts: &Facts) -> Option<Step> {
        let followers = members_of(self.view.as_ref(), facts);
        let (count, silence_max) = (self.config.standbys, self.config.silence_max);
        let Stage::Leading(leading) = &mut self.stage else {
            return None;
        };
        let standbys = &mut leading.standbys;
        if count == 0 && !standbys.must_publish {
            return None;
        }
        let wanted = standbys.wanted(&followers, count, silence_max);
        if let Some(required) = standbys.require(&wanted) {
            return Some(Step::Require(required));
        }
        // What is appended by now waits for them: looked up only after they were required.
        let unknown = standbys.required.values_mut();
        for since in unknown.filter(|since| since.is_none()) {
            *since = Some(facts.appended);
        }
        let mut named: Vec<Standby> = wanted
            .into_iter()
            .filter(|follower| standbys.has_all(follower))
            .map(Standby::of)
            .collect();
        named.sort();
        if named == standbys.published && !standbys.must_publish {
            return None;
        }
        let (term, revision) = (leading.term, standbys.revision);
        let sync = Sync::of(self.own(), (count > 0).then_some(&named[..]));
        let txn = self
            .holds_key(term)
            .and(as_of(registers::SYNC, revision))
            .put(registers::SYNC, registers::text(&sync));
        Some(self.ask(Pending::Sync(named), Request::Txn(txn)))
    }
}
