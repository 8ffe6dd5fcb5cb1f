//! How a primary gives its role away: to the node that the operator named, to the best one, or to whoever comes.
//!
//! It holds its writers, waits until the other node has all of its log, becomes a replica, and removes the key: nothing
//! that was answered is missing there, and nobody waits for the lease to end.

use super::facts::{Facts, Step};
use super::membership::members_of;
use super::registers::{self, Standby, SteppedDown, Sync};
use super::request::Request;
use super::state::{Handover, Machine, Pending, Stage};

impl Machine {
    /// Begins to hand over. An error says of each node why it cannot take over.
    pub fn switchover(&mut self, to: Option<&str>, facts: &Facts) -> Result<String, Vec<(String, String)>> {
        if self.handover.is_some() {
            let why = "it hands over already".to_owned();
            return Err(vec![(self.config.node.clone(), why)]);
        }
        let to = self.candidate(to, facts)?;
        self.handover = Some(Handover {
            to: Some(to.clone()),
            until: None,
            is_stop: false,
            is_given_up: false,
        });
        Ok(to)
    }

    /// Nobody waits for [`Machine::switchover`] any more: one that has not come to an end is given up. Whether another
    /// node may become primary all the same, since this one has stepped down.
    pub fn withdraw_switchover(&mut self) -> bool {
        match &mut self.handover {
            Some(handover) => handover.is_given_up = !handover.is_stop,
            None => return !matches!(self.stage, Stage::Leading(_)),
        }
        false
    }

    /// Whether a handover is under way.
    pub fn is_handing_over(&self) -> bool {
        self.handover.is_some() || matches!(self.stage, Stage::Releasing { .. })
    }

    /// The node is to stop: a primary hands over first, if another node can take over.
    pub fn stop(&mut self, facts: &Facts) {
        self.is_stopping = true;
        // What failed before is tried once more, and at once.
        self.retry_at = 0;
        self.pause_request = None;
        let to = self.candidate(None, facts).ok();
        if let Stage::Leading(_) = self.stage {
            self.handover = Some(Handover {
                to,
                until: None,
                is_stop: true,
                is_given_up: false,
            });
        }
    }

    /// Who can take over: the node that is named, or the one that has most.
    fn candidate(&self, to: Option<&str>, facts: &Facts) -> Result<String, Vec<(String, String)>> {
        let own = |why: &str| vec![(self.config.node.clone(), why.to_owned())];
        let (Stage::Leading(leading), Some(view)) = (&self.stage, &self.view) else {
            return Err(own("it is not the primary"));
        };
        if to == Some(self.config.node.as_str()) {
            return Err(own("it is the primary already"));
        }
        let followers = members_of(Some(view), facts);
        let mut refused = Vec::new();
        let mut able = Vec::new();
        let others = view.members.keys().filter(|node| **node != self.config.node);
        for node in others.filter(|node| to.is_none_or(|to| to == node.as_str())) {
            let follower = followers.iter().find(|follower| follower.node == *node);
            let why = match follower {
                None => "it does not follow the primary".to_owned(),
                Some(follower) if follower.silence > self.config.silence_max => {
                    "it has not asked for the log for too long".to_owned()
                }
                Some(follower)
                    if facts.written.saturating_sub(follower.offset) > self.config.lag_bytes_max =>
                {
                    let bytes = facts.written - follower.offset;
                    format!("it is {bytes} bytes behind")
                }
                Some(follower) => {
                    let is_standby = leading.standbys.names(node);
                    able.push((is_standby, follower.offset, node.clone()));
                    continue;
                }
            };
            refused.push((node.clone(), why));
        }
        if refused.is_empty() && able.is_empty() {
            refused = match to {
                Some(to) => vec![(to.to_owned(), "no member has this address".to_owned())],
                None => own("the cluster has no other member"),
            };
        }
        able.into_iter().max().map(|(_, _, node)| node).ok_or(refused)
    }

    /// Goes on with a handover.
    pub(super) fn hand_over(&mut self, now: u64, facts: &Facts) -> Option<Step> {
        let ttl = self.ttl();
        let followers = members_of(self.view.as_ref(), facts);
        let handover = self.handover.as_mut()?;
        // Whoever stops the process does not wait for long.
        let patience = match handover.is_stop {
            true => (ttl / 4).min(self.config.silence_max / 2),
            false => ttl / 2,
        };
        if handover.is_given_up {
            self.handover = None;
            return Some(Step::Release);
        }
        let Some(until) = handover.until else {
            handover.until = Some(now + patience);
            return Some(Step::Hold(patience));
        };
        let has_all = |to: &String| {
            let follower = followers.iter().find(|follower| follower.node == *to);
            follower.is_some_and(|follower| follower.offset >= facts.appended)
        };
        let is_even = handover.to.as_ref().is_none_or(has_all) && facts.written >= facts.appended;
        if is_even || now >= until && handover.is_stop {
            let to = handover.to.clone().filter(|_| is_even);
            let Stage::Leading(leading) = &self.stage else {
                return None;
            };
            let term = leading.term;
            let mut standbys = leading.standbys.named().to_vec();
            let heir = followers
                .iter()
                .find(|follower| to.as_ref() == Some(&follower.node));
            if let Some(heir) = heir {
                standbys.retain(|standby| standby.node != heir.node);
                standbys.push(Standby::of(heir));
            }
            let standbys = (self.config.standbys > 0).then_some(standbys);
            self.step_down(String::new());
            self.stage = Stage::Releasing { term, to, standbys };
            return Some(Step::Demote("it hands over".to_owned()));
        }
        if now >= until {
            self.obstacle = handover.to.as_ref().map(|to| {
                format!("{to} did not get the rest of the log in time: this node remains the primary")
            });
            self.handover = None;
            return Some(Step::Release);
        }
        Some(Step::Wait(now + ttl / 5000))
    }

    /// Gives the key away.
    pub(super) fn release(&mut self, now: u64) -> Step {
        let Stage::Releasing { term, to, standbys } = &self.stage else {
            return Step::Wait(now);
        };
        if self.is_cut_off {
            // The key ends with its lease.
            self.stage = Stage::Stopped;
            return Step::Stopped;
        }
        if now < self.retry_at {
            return Step::Wait(self.retry_at);
        }
        // Nobody is primary without etcd any more.
        let mut txn = self
            .holds_key(*term)
            .delete(registers::LEADER)
            .delete(registers::FAILSAFE);
        if standbys.is_some() {
            // It has all of the log, whether it was waited for or not.
            let sync = Sync::of(self.own(), standbys.as_deref());
            txn = txn.put(registers::SYNC, registers::text(&sync));
        }
        let lease = self.lease.as_ref().map(|lease| lease.id);
        let stepped_down = SteppedDown {
            to: to.clone(),
            term: *term,
        };
        txn = txn.put_under(registers::STEPPED_DOWN, registers::text(&stepped_down), lease);
        self.ask(Pending::Release, Request::Txn(txn))
    }

    /// The key is another's, or nobody's.
    pub(super) fn released(&mut self) {
        self.read_at = 0;
        if matches!(self.stage, Stage::Releasing { .. }) {
            self.stage = Stage::Following;
            self.followed = None;
        }
    }
}
