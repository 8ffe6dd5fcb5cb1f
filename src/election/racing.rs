//! Who may take over where there is no primary, and why another node may not.
//!
//! A node that may asks all others first: one that answers as primary ends the attempt, and one that has more of the
//! log and may take over itself goes first. Of several that remain etcd takes one.

use super::facts::{Facts, Remembered, Step};
use super::question::{Answer, Ask, Confirm};
use super::registers;
use super::request::{Compare, Request, Txn};
use super::state::{Machine, PauseRequest, Pending, Stage};
use super::view::View;

impl Machine {
    pub(super) fn race(&mut self, now: u64, facts: &Facts) -> Step {
        let due = self.due();
        if let Some(why) = self.why_not(now, facts) {
            self.obstacle = Some(why);
            self.answers = None;
            // A promise ends, and so does the time of a successor that does not come.
            return Step::Wait(due.min(now + self.ttl() / 10));
        }
        if now < self.race_at {
            return Step::Wait(due.min(self.race_at));
        }
        let others = self.others(now);
        let Some(answers) = self.answers.take() else {
            if others.is_empty() {
                return self.acquire(now, facts);
            }
            self.pending = Pending::States;
            return Step::Members(Ask::states(others, self.ttl() / 5));
        };
        match self.rival(now, &answers, facts) {
            Some(why) => {
                self.obstacle = Some(why);
                self.lose_race(now, now + self.ttl() / 10);
                Step::Wait(self.race_at)
            }
            None => self.acquire(now, facts),
        }
    }

    /// Gives up this attempt. Tries again at this moment, if there is still no primary.
    pub(super) fn lose_race(&mut self, now: u64, at: u64) {
        self.stage = Stage::Following;
        self.race_at = at;
        self.read_at = now;
    }

    /// Whom to ask before taking over. A primary that stepped down for this node has nothing to say against it.
    fn others(&self, now: u64) -> Vec<String> {
        let Some(view) = &self.view else {
            return Vec::new();
        };
        if self.successor(now) == Some(self.config.node.as_str()) {
            return Vec::new();
        }
        let mut others: Vec<String> = view.members.keys().cloned().collect();
        if let Some(status) = &view.status
            && !others.contains(&status.node)
        {
            others.push(status.node.clone());
        }
        others.retain(|node| *node != self.config.node);
        others
    }

    /// The node that the last primary handed over to, while that is recent.
    fn successor(&self, now: u64) -> Option<&str> {
        let (stepped_down, seen_at) = self.stepped_down.as_ref()?;
        stepped_down
            .to
            .as_deref()
            .filter(|_| now < seen_at + self.ttl() / 2)
    }

    /// Why this node does not take over, whatever others answer.
    pub(super) fn why_not(&self, now: u64, facts: &Facts) -> Option<String> {
        let Some(view) = &self.view else {
            return Some(match &self.failure {
                Some(failure) => format!("etcd does not answer: {failure}"),
                None => "it has not read etcd yet".to_owned(),
            });
        };
        let is_forced = now < self.forced_until;
        self.unfit(view, facts)
            .or_else(|| self.promise(now, view))
            .or_else(|| (!is_forced).then(|| self.lost_etcd(view, facts)).flatten())
            .or_else(|| (!is_forced).then(|| self.forbidden(now, view)).flatten())
            .or_else(|| (!is_forced).then(|| self.lacks(view, facts)).flatten())
    }

    /// A reason that holds even if an operator orders the takeover.
    fn unfit(&self, view: &View, facts: &Facts) -> Option<String> {
        if let Some(why) = self.occupied() {
            return Some(why);
        }
        if let Some(key) = &view.broken {
            return Some(format!(
                "the key {key} in etcd holds what no node writes there; remove it by `etcdctl del /pykv/{}/{key}`",
                self.config.cluster
            ));
        }
        if let Some(log) = view.log.as_ref().filter(|log| **log != facts.log) {
            return Some(match facts.is_empty {
                true => "it has nothing yet, and the cluster has a store".to_owned(),
                false => format!(
                    "it has the store {}, and the cluster has the store {log}",
                    facts.log
                ),
            });
        }
        let is_first = view.log.is_none() && facts.is_empty;
        if !facts.is_synced && !is_first {
            return Some("it holds only a part of the state of another node".to_owned());
        }
        if !facts.runs.contains(&self.config.process) {
            return Some("not yet: it has not written down in its directory that it takes part".to_owned());
        }
        facts.ailment.clone()
    }

    /// Why this node does not believe what etcd holds.
    fn lost_etcd(&self, view: &View, facts: &Facts) -> Option<String> {
        let advice = "make the node with the most writes primary by `pykv failover --to NODE --accept-loss`";
        let remembered = facts.remembered.as_ref().map_or(0, |remembered| remembered.term);
        let (term, own) = (view.term_number(), facts.number().max(remembered));
        match &facts.remembered {
            Some(Remembered { etcd, .. }) if *etcd != view.etcd => Some(format!(
                "this is another etcd than before (its id is {:x}, and was {etcd:x}); name the right one with --etcd, or \
                 {advice}",
                view.etcd
            )),
            Some(Remembered { log: Some(_), .. }) if view.log.is_none() => Some(format!(
                "etcd has lost what it knew of the cluster, or --cluster names another one; {advice}"
            )),
            Some(Remembered { log: Some(_), .. }) if term < own => Some(format!(
                "etcd is in term {term}, and this node was in term {own}: etcd was put back from a backup; {advice}"
            )),
            // A store that was there before etcd was.
            _ if view.log.is_none() => None,
            // A primary writes both before it takes writes.
            _ if view.sync.is_none() && view.status.is_some() => Some(format!(
                "etcd has lost the key sync, which says who may take over; {advice}"
            )),
            _ if term < own => Some(format!(
                "etcd is in term {term}, and this node was in term {own}; {advice}"
            )),
            _ => None,
        }
    }

    /// The primary that this node has confirmed, until that expires. A restart forgets it.
    fn promise(&self, now: u64, view: &View) -> Option<String> {
        // A primary that has stepped down in order needs no word any more.
        let has_ended = |term: u64| view.stepped_down.as_ref().is_some_and(|ended| ended.term >= term);
        if let Some((leader, until)) = &self.promised
            && now < *until
            && !has_ended(leader.term)
        {
            return Some(format!("it has confirmed {} as the primary", leader.node));
        }
        let asks_this_one = view.failsafe().is_some_and(|nodes| {
            nodes.contains(&self.config.node) && nodes.iter().any(|node| *node != self.config.node)
        });
        let since = self.started_at.filter(|_| asks_this_one)?;
        (now < since + self.ttl())
            .then(|| {
            "not yet: after its start it waits for the time of one lease, since it may have confirmed a primary before"
                .to_owned()
        })
    }

    /// Why another node should be primary, or none.
    fn forbidden(&self, now: u64, view: &View) -> Option<String> {
        let node = &self.config.node;
        let successor = self.successor(now);
        if successor == Some(node.as_str()) {
            return None;
        }
        let is_last = view.status.as_ref().is_some_and(|status| status.node == *node);
        if view.is_paused && !is_last {
            return Some("takeovers are paused; `pykv resume` ends that".to_owned());
        }
        if let Some(to) = successor {
            return Some(format!("the primary has stepped down for {to}"));
        }
        let failsafe = view.failsafe()?;
        (!failsafe.contains(node)).then(|| {
            "the last primary did not know of it, and may be primary still without etcd (see --failsafe)"
                .to_owned()
        })
    }

    /// Why this node may lack acknowledged writes.
    fn lacks(&self, view: &View, facts: &Facts) -> Option<String> {
        let node = &self.config.node;
        let status = view.status.as_ref();
        let missing = status.map_or(0, |status| status.missing_bytes(facts.written));
        match view.standbys() {
            Some((leader, standbys)) if leader != node && !standbys.contains(node) => {
                Some("it is no synchronous standby, so it may lack writes".to_owned())
            }
            Some(_) if !view.is_of(node, &facts.runs) => Some(
                "its directory is not the one that the cluster knows it by: it is an older copy, or another one was put in \
                 its place, so it may lack writes; put the right one back, or make the node with the most writes primary \
                 by `pykv failover --to NODE --accept-loss`"
                    .to_owned(),
            ),
            Some(_) if missing > 0 => Some(format!(
                "its log lacks {missing} bytes that were answered: it is not the log that it was"
            )),
            None if missing > self.config.lag_bytes_max => Some(format!(
                "its log lacks {missing} bytes that were answered, and may lack {} (--max-lag-on-failover)",
                self.config.lag_bytes_max
            )),
            _ => None,
        }
    }

    /// The node that should be primary instead of this one, by what others answer.
    fn rival(&self, now: u64, answers: &[Answer], facts: &Facts) -> Option<String> {
        let others = || {
            answers
                .iter()
                .filter(|answer| answer.process != self.config.process)
        };
        if let Some(primary) = others().find(|answer| answer.is_primary) {
            return Some(format!("{} answers as primary", primary.node));
        }
        if now < self.forced_until {
            return None;
        }
        let known = self.view.as_ref().map_or(0, |view| view.term_number());
        let is_later = |answer: &&Answer| answer.log == facts.log && answer.term >> 32 > known.max(1);
        if let Some(later) = others().find(is_later) {
            let term = later.term >> 32;
            return Some(format!(
                "{} was in term {term}, and etcd is in term {known}: etcd has lost something; make the node with the most \
                 writes primary by `pykv failover --to NODE --accept-loss`",
                later.node
            ));
        }
        let is_first = self.view.as_ref().is_some_and(|view| view.log.is_none());
        let own = (facts.term, facts.written);
        let rival = others().find(|answer| {
            let has_more = (answer.term, answer.written) > own;
            match is_first {
                // Nobody may begin a new store where one is there.
                true => facts.is_empty && !answer.is_empty || has_more && answer.obstacle.is_none(),
                false => has_more && answer.log == facts.log && answer.obstacle.is_none(),
            }
        });
        rival.map(|rival| format!("{} has more of the log", rival.node))
    }

    /// Asks etcd for the key, and for a term that nobody had.
    fn acquire(&mut self, now: u64, facts: &Facts) -> Step {
        let (Some(view), Some(lease)) = (&self.view, &self.lease) else {
            return Step::Wait(self.due());
        };
        if now >= lease.deadline() {
            self.renew_at = now;
            return Step::Wait(now.max(self.retry_at));
        }
        let term = view.term_number().max(facts.number()).saturating_add(1);
        let mut txn = Txn::when(Compare::Absent(registers::LEADER.to_owned()))
            .and(Compare::Value(
                registers::member_key(&self.config.node),
                registers::text(&self.member()),
            ))
            .and(view.unchanged(registers::TERM))
            .and(view.unchanged(registers::SYNC))
            .put_under(
                registers::LEADER,
                registers::text(&self.leader(term)),
                Some(lease.id),
            )
            .put(registers::TERM, term.to_string())
            .delete(registers::STEPPED_DOWN);
        txn = match &view.log {
            Some(log) => txn.and(Compare::Value(registers::LOG.to_owned(), registers::text(log))),
            None => txn
                .and(Compare::Absent(registers::LOG.to_owned()))
                .put(registers::LOG, registers::text(&facts.log)),
        };
        if !view.is_paused && now >= self.forced_until {
            txn = txn.and(Compare::Absent(registers::PAUSE.to_owned()));
        }
        self.stage = Stage::Acquiring { term };
        self.ask(Pending::Acquire { term }, Request::Txn(txn))
    }

    /// The operator makes this node take over, though it may lack writes. It does so where there is no primary.
    pub fn force(&mut self, now: u64, time: u64) {
        self.forced_until = now + time;
        self.race_at = 0;
        self.read_at = 0;
        self.answers = None;
    }

    /// The time for [`Machine::force`] is over. Whether the node may take over all the same, since etcd was asked.
    pub fn withdraw_force(&mut self) -> bool {
        self.forced_until = 0;
        self.answers = None;
        matches!(self.stage, Stage::Acquiring { .. } | Stage::Promoting { .. })
    }

    /// Pauses takeovers, or resumes them.
    pub fn pause(&mut self, is_paused: bool) {
        self.pause_request = Some(PauseRequest {
            is_paused,
            is_in_doubt: false,
        });
    }

    /// Nobody waits for [`Machine::pause`] any more: etcd is not asked again. Whether it may be done all the same, since
    /// etcd was asked.
    pub fn withdraw_pause(&mut self) -> bool {
        let is_on_its_way = self.pending == Pending::Pause;
        let request = self.pause_request.take();
        is_on_its_way || request.is_some_and(|request| request.is_in_doubt)
    }

    /// This node's state, as it tells another member.
    pub fn answer(&mut self, now: u64, confirm: Option<&Confirm>, facts: &Facts) -> Answer {
        let confirmed = confirm.map(|confirm| self.confirm(now, confirm, facts));
        let obstacle = match &confirmed {
            Some(Err(why)) => Some(why.clone()),
            _ if matches!(self.stage, Stage::Promoting { .. } | Stage::Leading(_)) => {
                Some("it is taking over".to_owned())
            }
            _ => self.why_not(now, facts).or_else(|| self.unsure(now)),
        };
        Answer {
            node: self.config.node.clone(),
            process: self.config.process.clone(),
            log: facts.log.clone(),
            is_primary: facts.is_primary && now < self.deadline(),
            lease_left: self.deadline().checked_sub(now).filter(|_| facts.is_primary),
            is_empty: facts.is_empty,
            term: facts.term,
            start: facts.start,
            first: facts.first,
            written: facts.written,
            obstacle,
            confirms: confirmed.map(|confirmed| confirmed.is_ok()),
        }
    }

    /// A node that does not reach etcd does not take over, and delays no other node.
    fn unsure(&self, now: u64) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(format!("etcd does not answer: {failure}"));
        }
        let is_old = now.saturating_sub(self.viewed_at) > self.ttl();
        is_old.then(|| "it has not read etcd for too long".to_owned())
    }
}
