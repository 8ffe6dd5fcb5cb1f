//! What a node knows of the election, what it does next, and what it learns.
//!
//! One thing is done at a time. What a change of state waits for is written as a [`Pending`].

use super::facts::{Facts, Remembered, Step};
use super::leadership::Leadership;
use super::question::{Answer, Ask, Confirm};
use super::registers;
use super::request::{Failure, FailureKind, Reply, Request, Txn};
use super::state::{Lease, Machine, Pending, Stage};
use super::view::View;

impl Machine {
    /// What is to be done next.
    pub fn next(&mut self, now: u64, facts: &Facts) -> Step {
        debug_assert_eq!(self.pending, Pending::Nothing, "one thing at a time");
        self.started_at.get_or_insert(now);
        if let Some(warning) = self.warning.take() {
            return Step::Warn(warning);
        }
        match self.stage {
            Stage::Following => self.follow(now, facts),
            Stage::Acquiring { .. } => match now < self.retry_at {
                true => Step::Wait(self.retry_at),
                false => self.ask(Pending::Read, Request::Read),
            },
            Stage::Promoting { term } => {
                match self.lease.as_ref().is_some_and(|lease| now < lease.deadline()) {
                    true => Step::Promote(term),
                    // The process stood still. What is left of the key is removed.
                    false => {
                        self.lose_race(now, now);
                        Step::Wait(now)
                    }
                }
            }
            Stage::Leading(_) => self.lead(now, facts),
            Stage::Releasing { .. } => self.release(now),
            Stage::Stopped => Step::Stopped,
        }
    }

    fn follow(&mut self, now: u64, facts: &Facts) -> Step {
        if facts.is_primary {
            return Step::Demote("etcd does not name this node as the primary".to_owned());
        }
        if self.is_stopping {
            return self.leave();
        }
        if let Some(step) = self.keep(now, facts) {
            return step;
        }
        if let Some(step) = self.remember(facts) {
            return step;
        }
        let wait = Step::Wait(self.due());
        let Some(view) = &self.view else {
            return self.follow_last(now, facts).unwrap_or(wait);
        };
        match view.leader.clone() {
            // What is left of an attempt to take over.
            Some(leader) if leader.process == self.config.process => match now < self.retry_at {
                true => Step::Wait(self.retry_at),
                false => {
                    let txn = self.holds_key(leader.term).delete(registers::LEADER);
                    self.ask(Pending::Release, Request::Txn(txn))
                }
            },
            _ if self.occupant.is_some() => {
                self.obstacle = self.occupied();
                Step::Wait(self.due())
            }
            Some(leader) if self.followed.as_ref() != Some(&leader) => {
                self.followed = Some(leader.clone());
                self.obstacle = None;
                Step::Follow(leader)
            }
            Some(_) => wait,
            None => self.race(now, facts),
        }
    }

    /// Whom to follow while etcd has not answered since the start: the last primary that is known. Nothing is taken over
    /// before etcd answers.
    fn follow_last(&mut self, now: u64, facts: &Facts) -> Option<Step> {
        let failure = self.failure.as_ref()?;
        let remembered = facts.remembered.as_ref();
        let remembered = remembered.filter(|known| known.log.as_ref() == Some(&facts.log));
        let confirmed = self.promised.as_ref().filter(|(_, until)| now < *until);
        let known = confirmed.map(|(leader, _)| leader).into_iter();
        let known = known.chain(&self.followed);
        let known = known.chain(remembered.and_then(|known| known.leader.as_ref()));
        let last = known
            .filter(|leader| leader.node != self.config.node && leader.term >= facts.number())
            .max_by_key(|leader| leader.term)?
            .clone();
        if self.followed.as_ref() == Some(&last) {
            return None;
        }
        self.warning = Some(format!(
            "{failure}; this node follows {}, the last primary that it knows of, and takes nothing over",
            last.node
        ));
        self.followed = Some(last.clone());
        Some(Step::Follow(last))
    }

    /// What keeps the lease and the view of etcd fresh.
    pub(super) fn keep(&mut self, now: u64, facts: &Facts) -> Option<Step> {
        if now < self.retry_at {
            return None;
        }
        let Some(lease) = &self.lease else {
            return Some(self.ask(Pending::Grant, Request::Grant));
        };
        let id = lease.id;
        if now >= self.renew_at {
            return Some(self.ask(Pending::KeepAlive, Request::KeepAlive(id)));
        }
        if now >= self.read_at || self.view.is_none() {
            return Some(self.ask(Pending::Read, Request::Read));
        }
        if !self.is_registered()
            && let Some(step) = self.register(now, facts)
        {
            return Some(step);
        }
        let is_paused = self.pause_request.as_ref()?.is_paused;
        let txn = match is_paused {
            true => Txn::default().put(registers::PAUSE, "true".to_owned()),
            false => Txn::default().delete(registers::PAUSE),
        };
        Some(self.ask(Pending::Pause, Request::Txn(txn)))
    }

    /// What a restart must find again: which etcd this is, and which log its cluster has. A node that remembers another
    /// etcd accepts this one only once it has the log of this one's primary.
    pub(super) fn remember(&self, facts: &Facts) -> Option<Step> {
        let view = self.view.as_ref()?;
        let before = facts.remembered.as_ref();
        let last = before.filter(|before| before.etcd == view.etcd);
        let now = Remembered {
            etcd: view.etcd,
            log: view.log.clone(),
            term: view.term_number(),
            leader: view
                .leader
                .clone()
                .or_else(|| last.and_then(|before| before.leader.clone())),
        };
        let is_due = match &facts.remembered {
            None => true,
            Some(before) if *before == now => false,
            Some(before) if before.etcd == now.etcd && before.log.is_none() => true,
            Some(before) if before.etcd == now.etcd && before.log == now.log && before.term <= now.term => {
                true
            }
            Some(before) => {
                let leader = view.leader.as_ref();
                let is_primarys =
                    leader.is_some_and(|leader| leader.term == facts.number() && leader.term >= before.term);
                is_primarys && now.log.as_ref() == Some(&facts.log)
            }
        };
        is_due.then_some(Step::Remember(now))
    }

    /// Takes what etcd has answered to what was asked at `sent`.
    pub fn etcd(&mut self, sent: u64, now: u64, reply: Result<Reply, Failure>) {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match reply {
            Ok(reply) => {
                self.failure = None;
                self.failing_since = None;
                self.answered(pending, sent, now, reply);
            }
            Err(failure) => {
                self.failing_since.get_or_insert(sent);
                self.failed(pending, now, failure);
            }
        }
    }

    fn answered(&mut self, pending: Pending, sent: u64, now: u64, reply: Reply) {
        match (pending, reply) {
            (Pending::Grant, Reply::Granted { id, ttl }) => {
                let renewed = sent;
                self.lease = Some(Lease { id, ttl, renewed });
                self.renew_at = sent + ttl / 3;
            }
            (Pending::KeepAlive, Reply::Kept(ttl)) => self.kept(sent, ttl),
            (Pending::Read, Reply::Read { etcd, pairs }) => {
                self.viewed_at = sent;
                self.read_at = if self.is_woken { now } else { now + self.ttl() / 3 };
                self.see(now, View::read(etcd, &pairs));
            }
            (Pending::Register, Reply::Txn(done)) => {
                let lease = self.lease.as_ref().map(|lease| lease.id);
                self.registered_under = lease.filter(|_| done.is_some());
                self.read_at = 0;
            }
            (Pending::Acquire { term }, Reply::Txn(done)) => match done {
                Some(_) => self.stage = Stage::Promoting { term },
                None => self.lose_race(now, now),
            },
            (Pending::Pause, Reply::Txn(_)) => {
                self.pause_request = None;
                self.read_at = 0;
            }
            (Pending::Leave, Reply::Txn(_)) => {}
            (Pending::Release, Reply::Txn(_)) => self.released(),
            (pending, Reply::Txn(done)) => self.led(pending, now, done),
            (pending, reply) => unreachable!("{pending:?} is not answered with {reply:?}"),
        }
    }

    /// What is seen of all keys.
    fn see(&mut self, now: u64, view: View) {
        self.see_own_key(now, &view);
        self.see_members(now, &view);
        self.stepped_down = match (self.stepped_down.take(), &view.stepped_down) {
            (_, None) => None,
            (Some((known, at)), Some(seen)) if known == *seen => Some((known, at)),
            (_, Some(seen)) => Some((seen.clone(), now)),
        };
        let own = view
            .leader
            .as_ref()
            .filter(|leader| leader.process == self.config.process);
        let own_term = own.map(|leader| leader.term);
        match &mut self.stage {
            Stage::Acquiring { term } => {
                let term = *term;
                let is_in_time = self.lease.as_ref().is_some_and(|lease| now < lease.deadline());
                self.stage = match own_term == Some(term) && is_in_time {
                    true => Stage::Promoting { term },
                    false => Stage::Following,
                };
            }
            Stage::Leading(leading) => {
                let is_lease_lost = leading.see(&view, &self.config);
                if is_lease_lost {
                    self.lease = None;
                }
            }
            _ => {}
        }
        self.view = Some(view);
    }

    fn kept(&mut self, sent: u64, ttl: Option<u64>) {
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        match ttl {
            Some(ttl) => {
                lease.ttl = ttl;
                lease.renewed = sent;
                self.renew_at = sent + ttl / 3;
                let deadline = lease.deadline();
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.renewed(deadline);
                }
            }
            None => {
                self.lease = None;
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.holds_key = false;
                }
            }
        }
    }

    fn failed(&mut self, pending: Pending, now: u64, failure: Failure) {
        self.retry_at = now + self.ttl() / 12;
        self.read_at = 0;
        self.failure = Some(failure.why);
        self.is_cut_off |= self.is_stopping;
        match pending {
            // etcd no longer knows the lease: the next step asks for a new one.
            Pending::Register | Pending::Reacquire if failure.kind == FailureKind::NoLease => {
                self.lease = None;
            }
            Pending::Acquire { term } => match failure.kind {
                FailureKind::Unknown => self.stage = Stage::Acquiring { term },
                FailureKind::NotDone => self.stage = Stage::Following,
                FailureKind::NoLease => {
                    self.lease = None;
                    self.stage = Stage::Following;
                }
            },
            Pending::Sync(standbys) => {
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.standbys.in_doubt(standbys);
                }
            }
            Pending::Pause if failure.kind == FailureKind::Unknown => {
                if let Some(request) = &mut self.pause_request {
                    request.is_in_doubt = true;
                }
            }
            Pending::Failsafe(nodes) => {
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.failsafe_in_doubt.extend(nodes);
                }
            }
            _ => {}
        }
    }

    /// What came of becoming primary.
    pub fn promoted(&mut self, now: u64, promoted: Result<(), String>) {
        let Stage::Promoting { term } = self.stage else {
            return;
        };
        let deadline = self.lease.as_ref().map_or(0, Lease::deadline);
        let etcd = self.view.as_ref().map_or(0, |view| view.etcd);
        match promoted {
            Ok(()) => self.stage = Stage::Leading(Box::new(Leadership::new(term, etcd, deadline))),
            Err(why) => {
                self.stage = Stage::Following;
                self.obstacle = Some(why);
                self.race_at = now + self.ttl() / 3;
            }
        }
        self.forced_until = 0;
        self.followed = None;
        self.read_at = 0;
    }

    /// Takes what other members answered; those that did not are not among them.
    pub fn members(&mut self, sent: u64, now: u64, answers: Vec<Answer>) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::States => self.answers = Some(answers),
            Pending::OwnAddress => self.asked_own_address(now, &answers),
            Pending::Confirmation => self.confirmed(sent, now, &answers),
            _ => {}
        }
    }

    /// A primary that etcd does not answer asks whether this node takes it for that. If so, this node takes nothing
    /// over for a time.
    pub fn confirm(&mut self, now: u64, confirm: &Confirm, facts: &Facts) -> Result<(), String> {
        if self.stage != Stage::Following || facts.is_primary {
            return Err("it is about to be primary itself".to_owned());
        }
        if confirm.log != facts.log {
            return Err("it has another store".to_owned());
        }
        if confirm.leader.term < facts.number() {
            return Err(format!("it was in term {}", facts.number()));
        }
        let is_fresh = self.failure.is_none() && now.saturating_sub(self.viewed_at) <= self.ttl();
        let named = self.view.as_ref().and_then(|view| view.leader.as_ref());
        if let Some(named) = named.filter(|named| is_fresh && **named != confirm.leader) {
            return Err(format!("etcd names {} as the primary", named.node));
        }
        // Whatever the other one says, it is some leases at most.
        let is_new = !self
            .promised
            .as_ref()
            .is_some_and(|(leader, until)| *leader == confirm.leader && now < *until);
        if is_new {
            self.warning = Some(format!(
                "etcd does not answer {}: this node confirms it as the primary, and does not take over meanwhile",
                confirm.leader.node
            ));
        }
        let until = now + confirm.time.clamp(self.ttl(), 8 * self.ttl());
        self.promised = Some((confirm.leader.clone(), until));
        self.answers = None;
        Ok(())
    }
}

/// Whom to ask, and what.
impl Ask {
    pub(super) fn states(addresses: Vec<String>, time_max: u64) -> Ask {
        Ask {
            addresses,
            confirm: None,
            time_max,
        }
    }
}
