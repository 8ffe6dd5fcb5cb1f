//! A node's part in an election that etcd decides: what it says of itself, and what is done to it.
//!
//! The rules are in [`crate::election`], and the thread that acts on them is in [`crate::replication`].
//!
//! # What must hold
//! - Such a node starts as a replica, whatever it was, and is primary only by [`Node::lead`].
//! - Its fence is closed unless the machine of the election opens it: a primary without a lease takes no writes.

use super::election_state::process_name;
use super::{Node, PromoteError, Promotion, hold::Hold};
use crate::boot_clock::Fence;
use crate::election::{Facts, Follower, Leader, Remembered, SharedMachine, Standby};
use crate::wal::{EtcdMark, Health, LeaderMark, Refusal, Role, Term};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often, and how far apart, it is tried to become primary where something is being applied still.
const TRIES_MAX: usize = 10;
const TRY_EVERY: Duration = Duration::from_millis(20);

impl Node {
    /// Whether etcd decides if this node is primary.
    pub(crate) fn is_elected(&self) -> bool {
        self.election.shared.is_some()
    }

    /// The election that it takes part in.
    pub(crate) fn election(&self) -> Option<&SharedMachine> {
        self.election.shared.as_ref()
    }

    pub(super) fn fence(&self) -> &Fence {
        &self.election.fence
    }

    /// What the election asks of the node.
    pub(crate) fn facts(&self) -> Facts {
        let branch = self.log.branch();
        let (start, first) = match branch {
            Some(branch) => (branch.start, self.election.first.load(Ordering::Relaxed)),
            None => (0, 0),
        };
        let followers = self.followers().into_iter().map(|follower| Follower {
            node: follower.address,
            process: process_name(follower.process),
            offset: follower.offset,
            silence: follower.silent_for.as_nanos() as u64,
        });
        Facts {
            log: self.log_id().to_string(),
            term: self.term().bits(),
            is_primary: self.role() == Role::Primary,
            is_synced: self.is_synced(),
            is_empty: self.is_empty_store(),
            ailment: match self.health() {
                Health::Ok => None,
                health => Some(health.to_string()),
            },
            written: self.log.position().written,
            appended: self.log.appended(),
            start,
            first,
            followers: followers.collect(),
            remembered: self.election.mark().map(remembered),
            runs: self.election.runs(),
        }
    }

    /// Keeps over a restart what was seen of etcd.
    pub(crate) fn remember_etcd(&self, seen: Remembered) {
        let Remembered {
            etcd,
            log,
            term,
            leader,
        } = seen;
        let leader = leader.map(|leader| LeaderMark {
            address: leader.node,
            process: leader.process,
            term: leader.term,
        });
        self.election.set_mark(EtcdMark {
            etcd,
            log,
            term,
            leader,
        });
        let _change = self.role_change();
        self.remember(self.role());
    }

    /// Keeps over a restart which runs this directory has had. After an error they are those of before.
    pub(crate) fn keep_runs(&self, runs: Vec<String>) {
        let _change = self.role_change();
        let before = self.election.set_runs(runs);
        if let Err(error) = self.remember_or_fail(self.role()) {
            self.election.set_runs(before);
            log::error!("the node takes no part before this can be written down in its directory: {error}");
        }
    }

    /// Becomes the primary of the term that etcd has given to this node. It takes no writes before its fence is moved.
    pub(crate) fn lead(&self, number: u64) -> Result<Promotion, PromoteError> {
        let number = u32::try_from(number).map_err(|_| PromoteError::Refused(Refusal::TermsUsedUp))?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_to_lead(number) {
                Err(PromoteError::Refused(Refusal::Unhealthy(_))) if tries < TRIES_MAX => {
                    std::thread::sleep(TRY_EVERY);
                }
                led => return led,
            }
        }
    }

    fn try_to_lead(&self, number: u32) -> Result<Promotion, PromoteError> {
        let _change = self.role_change();
        if self.is_empty_store() && !self.is_synced() {
            // The cluster has no store yet: this is the one.
            self.cluster.set_synced(true);
        }
        self.followers.require(Vec::new());
        let promotion =
            self.become_primary(None, Vec::new(), |step, known| step.begin_term_of(number, known))?;
        self.election.first.store(promotion.offset, Ordering::Relaxed);
        Ok(promotion)
    }

    /// Becomes a replica.
    pub(crate) fn follow_again(&self) {
        let _change = self.role_change();
        if self.role() == Role::Primary {
            self.become_replica(None, None);
        }
    }

    /// Follows the primary that etcd names, which is the process of this name.
    pub(crate) fn follow_leader(&self, address: &str, process: &str, number: u64) {
        let _change = self.role_change();
        if self.role() == Role::Replica {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.cluster.follow_leader(address, process, Term::new(number, 0));
        }
    }

    /// From now on a write waits for these followers, however few are asked for.
    pub(crate) fn require_followers(&self, standbys: &[Standby]) {
        // A process of another name does not exist, so nothing counts as had by it.
        let id = |standby: &Standby| u64::from_str_radix(&standby.process, 16).unwrap_or(0);
        self.followers.require(standbys.iter().map(id).collect());
    }

    /// Holds writers for a handover.
    pub(crate) fn hold_for_handover(&self, time: Duration) {
        if let Err(why) = self.hold_writers(Hold::Handover(self.cluster.id), time) {
            log::warn!("writers cannot be held: {why}");
        }
    }
}

fn remembered(mark: EtcdMark) -> Remembered {
    Remembered {
        etcd: mark.etcd,
        log: mark.log,
        term: mark.term,
        leader: mark.leader.map(|leader| Leader {
            node: leader.address,
            process: leader.process,
            term: leader.term,
        }),
    }
}
