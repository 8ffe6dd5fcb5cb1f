//! The primary: its lease, and what it writes down in etcd.
//!
//! # What must hold
//! - Every step checks first whether the lease has ended.
//! - The primary takes writes only after `sync` says that the term has begun: until then `sync` names the standbys of the
//!   term before.
//! - The primary asks every node that `failsafe` names. It begins before it names a node, and ends after it has removed
//!   the name.

use super::facts::{Facts, Step};
use super::membership::members_of;
use super::question::{Answer, Ask, Confirm};
use super::registers::{self, Failsafe, Standby, Status, Sync};
use super::request::{Compare, Request};
use super::state::{Machine, Pending, Stage};
use super::view::{Register, View, as_of};

impl Machine {
    pub(super) fn lead(&mut self, now: u64, facts: &Facts) -> Step {
        let Stage::Leading(leading) = &self.stage else {
            return Step::Wait(now);
        };
        if now >= leading.deadline {
            let why = match &leading.confirmation {
                Some(Err(why)) => format!("etcd does not answer, and {why}"),
                _ => "etcd did not renew its lease in time".to_owned(),
            };
            return self.step_down(why);
        }
        if let Some(why) = leading.lost.clone() {
            return self.step_down(why);
        }
        if self.is_displaced() {
            return self.step_down("another process answers at its address".to_owned());
        }
        if self.is_stopping && self.handover.is_none() {
            self.stop(facts);
        }
        if self.is_cut_off {
            return self.step_down("the node stops, and etcd does not answer".to_owned());
        }
        let Stage::Leading(leading) = &self.stage else {
            return Step::Wait(now);
        };
        if !facts.is_primary {
            return self.step_down("the node is a replica".to_owned());
        }
        let is_asking =
            self.failure.is_some() && self.config.failsafe && leading.is_open && !self.is_stopping;
        if is_asking && now >= leading.confirm_at {
            return self.ask_for_confirmation(now, facts);
        }
        if let Some(step) = self.keep(now, facts) {
            return step;
        }
        if now < self.retry_at {
            return Step::Wait(self.retry_at.min(self.deadline_of_lease()));
        }
        if let Some(step) = self.remember(facts) {
            return step;
        }
        self.write_down(now, facts)
    }

    /// What is to stand in etcd.
    fn write_down(&mut self, now: u64, facts: &Facts) -> Step {
        let Stage::Leading(leading) = &self.stage else {
            return Step::Wait(now);
        };
        let term = leading.term;
        if !leading.holds_key {
            let mine = registers::text(&self.leader(term));
            let lease = self.lease.as_ref().map(|lease| lease.id);
            let txn = super::request::Txn::when(Compare::Absent(registers::LEADER.to_owned()))
                .and(Compare::Value(registers::TERM.to_owned(), term.to_string()))
                .put_under(registers::LEADER, mine, lease);
            return self.ask(Pending::Reacquire, Request::Txn(txn));
        }
        if !leading.is_open {
            return self.open(facts);
        }
        if let Some(step) = self.hand_over(now, facts) {
            return step;
        }
        if let Some(step) = self.standbys(facts) {
            return step;
        }
        if let Some(step) = self.publish_failsafe() {
            return step;
        }
        if let Some(step) = self.publish_status(now, facts) {
            return step;
        }
        let due = self.due().min(self.deadline_of_lease());
        Step::Wait(match self.config.standbys {
            0 => due,
            // Nothing wakes this thread when a standby falls silent or joins, so it looks again soon.
            _ => due.min(now + self.config.silence_max / 4),
        })
    }

    fn deadline_of_lease(&self) -> u64 {
        match &self.stage {
            Stage::Leading(leading) => leading.deadline,
            _ => 0,
        }
    }

    /// Begins to take writes: says first who may take over from now on.
    fn open(&mut self, facts: &Facts) -> Step {
        let (Stage::Leading(leading), Some(view)) = (&self.stage, &self.view) else {
            return Step::Wait(self.due());
        };
        let sync = Sync::of(self.own(), (self.config.standbys > 0).then_some(&[][..]));
        let failsafe = Failsafe {
            nodes: self.config.failsafe.then(|| self.members_and_own(view)),
        };
        let txn = self
            .holds_key(leading.term)
            .and(view.unchanged(registers::SYNC))
            .put(registers::SYNC, registers::text(&sync))
            .put(registers::FAILSAFE, registers::text(&failsafe))
            .put(
                registers::STATUS,
                registers::text(&self.status(facts, leading.term)),
            );
        self.ask(Pending::Open, Request::Txn(txn))
    }

    fn members_and_own(&self, view: &View) -> Vec<String> {
        let mut nodes: Vec<String> = view.members.keys().cloned().collect();
        if !nodes.contains(&self.config.node) {
            nodes.push(self.config.node.clone());
            nodes.sort();
        }
        nodes
    }

    fn status(&self, facts: &Facts, term: u64) -> Status {
        let answered = match self.required_by_all(facts) {
            // Nothing is written yet: the gap before the term is not to be had.
            Some(answered) if answered <= facts.first => facts.start,
            Some(answered) => answered,
            None => facts.start,
        };
        // What was answered stays so, though a standby that had it is gone.
        let before = match &self.stage {
            Stage::Leading(leading) => leading.status.as_ref().map_or(0, |status| status.answered),
            _ => 0,
        };
        Status {
            node: self.config.node.clone(),
            term,
            start: facts.start,
            first: facts.first,
            answered: answered.max(before),
        }
    }

    /// How far writes can have been answered: as far as the log is written, and all standbys have it.
    fn required_by_all(&self, facts: &Facts) -> Option<u64> {
        let Stage::Leading(leading) = &self.stage else {
            return Some(facts.written);
        };
        let followers = members_of(self.view.as_ref(), facts);
        let offset_of = |standby: &Standby| {
            let follower = followers
                .iter()
                .find(|follower| Standby::of(follower) == *standby);
            follower.map_or(0, |follower| follower.offset)
        };
        leading
            .standbys
            .required
            .keys()
            .map(offset_of)
            .chain([facts.written])
            .min()
    }

    fn publish_failsafe(&mut self) -> Option<Step> {
        if !self.config.failsafe {
            return None;
        }
        let view = self.view.as_ref()?;
        let Stage::Leading(leading) = &self.stage else {
            return None;
        };
        let nodes = self.members_and_own(view);
        let known = leading.failsafe.as_ref()?;
        if known.value == nodes && leading.failsafe_in_doubt.is_empty() {
            return None;
        }
        let txn = self
            .holds_key(leading.term)
            .and(as_of(registers::FAILSAFE, known.revision))
            .put(
                registers::FAILSAFE,
                registers::text(&Failsafe {
                    nodes: Some(nodes.clone()),
                }),
            );
        Some(self.ask(Pending::Failsafe(nodes), Request::Txn(txn)))
    }

    fn publish_status(&mut self, now: u64, facts: &Facts) -> Option<Step> {
        let ttl = self.ttl();
        let Stage::Leading(leading) = &self.stage else {
            return None;
        };
        let term = leading.term;
        let status = self.status(facts, term);
        if now < leading.status_at || leading.status.as_ref() == Some(&status) {
            return None;
        }
        let txn = self
            .holds_key(term)
            .put(registers::STATUS, registers::text(&status));
        if let Stage::Leading(leading) = &mut self.stage {
            leading.status_at = now + ttl / 3;
            leading.status = Some(status);
        }
        Some(self.ask(Pending::Status, Request::Txn(txn)))
    }

    /// Applies the outcome of what the primary wrote to etcd.
    pub(super) fn led(&mut self, pending: Pending, now: u64, done: Option<i64>) {
        let deadline = self.lease.as_ref().map(|lease| lease.deadline());
        let failsafe = self.view.as_ref().map(|view| self.members_and_own(view));
        let Stage::Leading(leading) = &mut self.stage else {
            return;
        };
        let Some(revision) = done else {
            if pending == Pending::Reacquire {
                leading.lost = Some("its lease is gone, and the key is not to be had again".to_owned());
            }
            self.read_at = now;
            return;
        };
        match pending {
            Pending::Reacquire => {
                leading.holds_key = true;
                leading.renewed(deadline.unwrap_or(0));
            }
            Pending::Open => {
                leading.is_open = true;
                leading.standbys.begin(revision);
                leading.failsafe = failsafe.map(|value| Register { value, revision });
                self.read_at = now;
            }
            Pending::Sync(standbys) => leading.standbys.published(standbys, revision),
            Pending::Failsafe(value) => {
                leading.failsafe = Some(Register { value, revision });
                leading.failsafe_in_doubt.clear();
            }
            _ => {}
        }
    }

    /// Becomes a replica.
    pub(super) fn step_down(&mut self, why: String) -> Step {
        self.stage = Stage::Following;
        self.handover = None;
        self.read_at = 0;
        self.view = None;
        self.followed = None;
        Step::Demote(why)
    }

    fn ask_for_confirmation(&mut self, now: u64, facts: &Facts) -> Step {
        let ttl = self.ttl();
        let Stage::Leading(leading) = &mut self.stage else {
            return Step::Wait(now);
        };
        leading.confirm_at = now + ttl / 6;
        let addresses = leading.asked(&self.config);
        let leader = registers::Leader {
            node: self.config.node.clone(),
            process: self.config.process.clone(),
            term: leading.term,
        };
        self.pending = Pending::Confirmation;
        Step::Members(Ask {
            addresses,
            confirm: Some(Confirm {
                leader,
                log: facts.log.clone(),
                time: ttl,
            }),
            time_max: ttl / 10,
        })
    }

    pub(super) fn confirmed(&mut self, sent: u64, now: u64, answers: &[Answer]) {
        let ttl = self.ttl();
        self.see_processes(answers);
        let Stage::Leading(leading) = &mut self.stage else {
            return;
        };
        let word = |node: &String| answers.iter().find(|answer| answer.node == *node);
        let missing = leading
            .asked(&self.config)
            .into_iter()
            .find(|node| word(node).and_then(|answer| answer.confirms) != Some(true));
        leading.confirmation = Some(match missing {
            None => {
                leading.deadline = leading.deadline.max(sent + ttl * 2 / 3);
                if leading.confirmation.is_none() {
                    let why =
                        "etcd does not answer: this node stays primary while every other node confirms it";
                    self.warning = Some(why.to_owned());
                }
                Ok(())
            }
            Some(node) => {
                leading.confirm_at = now;
                Err(match word(&node) {
                    Some(_) => format!("{node} does not confirm this node as the primary"),
                    None => format!("{node} does not answer either"),
                })
            }
        });
    }
}
