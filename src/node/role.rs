//! How a node becomes something else: promotion, stepping down; and the followers that it knows, or is to
//! forget.
//!
//! The rules stand in [`crate::replication`]; here is what they do to a store and its log.
//!
//! # What must hold
//! - One thread changes the role at a time. Lock order: base < `role_change` < apply < the store ([`crate::lock_order`]).
//! - A node takes writes only as a primary whose log is open, and that holds no writers.
//! - What a node is stands in `ROLE` before it counts.

use super::Node;
use super::followers::FollowerStatus;
use super::hold::Hold;
use crate::lock_order::{Rank, Ranked};
use crate::wal::{HandedTo, Health, Marker, Refusal, ReplicaAppend, Role, Succession, Term};
use std::fmt;
use std::sync::MutexGuard;
use std::time::Instant;

/// Why a node did not become primary.
#[derive(Debug)]
pub enum PromoteError {
    /// It is.
    IsPrimary,
    /// That is etcd's to decide.
    Elected,
    /// Its store is not synced: it is taking over the state of another.
    Syncing,
    /// The primary could not be asked to hand over. Says why.
    NoHandover(String),
    /// Its log cannot begin a term.
    Refused(Refusal),
}

impl fmt::Display for PromoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromoteError::IsPrimary => f.write_str("the node is the primary already"),
            PromoteError::Elected => f.write_str(
                "etcd decides who is primary here: `pykv switchover` hands over, and `pykv failover --to NODE \
                 --accept-loss` makes a node primary where there is none",
            ),
            PromoteError::Syncing => {
                f.write_str(
                    "the node copies the state of another, and holds only a part of it; wait for the rest, or restore a \
                     backup if that node is gone",
                )
            }
            PromoteError::NoHandover(why) => write!(
                f,
                "the primary did not hand over: {why}; `pykv promote --force` promotes without it, and can lose \
                 what only the primary has"
            ),
            PromoteError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for PromoteError {}

/// What came of a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The term that began.
    pub term: Term,
    /// The first offset that it gives.
    pub offset: u64,
    /// Bytes of the former primary's log that this node knows of and does not have.
    pub left_behind_bytes: u64,
    /// Keys that it evicted, since its own bounds are smaller than the former primary's.
    pub evicted: u64,
}

impl Node {
    /// What the node is.
    pub fn role(&self) -> Role {
        self.cluster.role()
    }

    /// What the next start finds in `ROLE`.
    fn marker(&self, role: Role) -> Marker {
        let successors = self.followers.successors();
        // A start without etcd does not find a primary: another node may be one.
        let role = if self.is_elected() { Role::Replica } else { role };
        Marker {
            role,
            peers: self.cluster.peers(),
            has_successor: !successors.is_empty(),
            successors,
            handed_to: self.cluster.handed_to(),
            promotes_above: None,
            etcd: self.election.mark(),
            runs: self.election.runs(),
            is_synced: Some(self.is_synced()),
        }
    }

    /// Writes down what the node is. After an error the next start finds what it was before, which the log
    /// says; the other nodes put that right, as they do for a node that was away.
    pub(super) fn remember(&self, role: Role) {
        if let Err(error) = self.log.set_marker(&self.marker(role)) {
            log::error!("what the node is in its cluster could not be written down: {error}");
        }
    }

    /// Writes down whom a primary knows. Under the lock of a role change: a node that has just stepped down must
    /// not find itself a primary at its next start.
    pub(super) fn remember_as_primary(&self) {
        let _change = self.role_change();
        if self.role() == Role::Primary {
            self.remember(Role::Primary);
        }
    }

    /// As [`Node::remember`], for a start, which fails without it.
    pub(super) fn remember_or_fail(&self, role: Role) -> Result<(), crate::wal::Error> {
        self.log.set_marker(&self.marker(role))
    }

    pub(super) fn role_change(&self) -> Ranked<MutexGuard<'_, ()>> {
        let lock = || self.cluster.role_change.lock();
        Ranked::take(Rank::Role, || {
            lock().expect("nothing under the lock of a role change panics")
        })
    }

    /// Runs `then` where the node is a replica, and keeps it one meanwhile. None where it is none.
    pub(super) fn as_replica<T>(&self, then: impl FnOnce() -> T) -> Option<T> {
        let _change = self.role_change();
        (self.role() == Role::Replica).then(then)
    }

    /// Another node is in a term that is higher than this node's; where the primary of it is, if that is known.
    /// A primary steps down: from here on it takes no writes.
    pub(crate) fn step_down(&self, primary: Option<(&str, Term)>) {
        // What others say of their terms decides nothing where etcd does.
        if self.is_elected() {
            return;
        }
        let _change = self.role_change();
        if self.role() == Role::Primary {
            let which = primary.map_or_else(|| "another node".to_owned(), |(address, _)| address.to_owned());
            log::warn!("{which} is primary in a higher term: this node steps down, and follows");
            self.become_replica(primary, None);
        } else if let Some((address, term)) = primary {
            self.cluster.note_primary(address, term);
        }
    }

    /// Under the lock of a role change.
    pub(super) fn become_replica(&self, primary: Option<(&str, Term)>, handed_to: Option<HandedTo>) {
        self.store.lock().log.set_closed(true);
        self.cluster.become_replica(primary);
        self.cluster.set_handed_to(handed_to);
        self.followers.reset();
        self.cluster.applied.set(self.log.appended());
        self.remember(Role::Replica);
    }

    /// Makes this node the primary of a new term.
    ///
    /// `ROLE` says first that it is about to: where the process ends once the term has begun, the next start finds a
    /// primary. Nothing else can begin a term in this log meanwhile, since the right to append is held.
    pub fn promote(&self) -> Result<Promotion, PromoteError> {
        let _change = self.role_change();
        self.begin_term(Vec::new(), Succession::Taken)
    }

    /// As [`Node::promote`], where the primary has stepped down for this node; it knew of these successors.
    pub(crate) fn take_over(&self, successors: Vec<String>) -> Result<Promotion, PromoteError> {
        let _change = self.role_change();
        if self.cluster.highest_seen_term() > self.term() {
            let why = "another node has begun a higher term".to_owned();
            return Err(PromoteError::NoHandover(why));
        }
        self.begin_term(successors, Succession::HandedOver)
    }

    /// Under the lock of a role change.
    fn begin_term(&self, successors: Vec<String>, succession: Succession) -> Result<Promotion, PromoteError> {
        let met = self.cluster.highest_seen_term();
        self.become_primary(None, successors, |step, known| {
            let marker = Marker {
                promotes_above: Some(self.term().bits()),
                ..self.marker(Role::Replica)
            };
            self.cluster.set_promoting(true);
            let written = self.log.set_marker(&marker);
            if let Err(error) = written {
                log::error!("what the node is about to become could not be written down: {error}");
            }
            step.begin_term(met, known, succession)
        })
    }

    /// Under the lock of a role change. `begin` begins a branch of the log, behind the offset that the former primary
    /// is known to have reached.
    pub(super) fn become_primary(
        &self,
        held: Option<(Hold, Instant)>,
        successors: Vec<String>,
        begin: impl FnOnce(&ReplicaAppend<'_>, u64) -> Result<(Term, u64), Refusal>,
    ) -> Result<Promotion, PromoteError> {
        if self.role() == Role::Primary {
            return Err(PromoteError::IsPrimary);
        }
        if !self.is_synced() {
            return Err(PromoteError::Syncing);
        }
        let step = self.log.step();
        let position = step.position();
        if position != self.store.lock().log.next() {
            let why = "the node is still applying what came last; try again".to_owned();
            return Err(PromoteError::Refused(Refusal::Unhealthy(Health::WriteFailed {
                why,
            })));
        }
        let known_written = self.cluster.known_written();
        let begun = begin(&step, known_written);
        let (term, offset) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                self.end_promotion();
                return Err(PromoteError::Refused(refusal));
            }
        };
        drop(step);
        self.followers.begin(successors);
        self.cluster.set_handed_to(None);
        self.remember(Role::Primary);
        self.cluster.set_promoting(false);
        {
            let mut locked = self.store.lock();
            locked.log.set_next(offset);
            locked.log.set_closed(held.is_some());
        }
        self.cluster.become_primary(held);
        self.cluster.applied.set(offset);
        let promotion = Promotion {
            term,
            offset,
            left_behind_bytes: known_written.saturating_sub(position),
            evicted: self.evict_excess(),
        };
        log::info!("this node is the primary of term {term}, from offset {offset} on");
        if promotion.left_behind_bytes > 0 {
            let bytes = promotion.left_behind_bytes;
            log::warn!("{bytes} bytes of the former primary's log did not get here");
        }
        if promotion.evicted > 0 {
            let keys = promotion.evicted;
            log::warn!("this node's bounds are smaller than the former primary's: it evicted {keys} keys");
        }
        self.alarm.call();
        Ok(promotion)
    }

    /// Makes sure that `ROLE` does not say any more that a promotion is under way: before the log of another node may
    /// bring a term that this node did not begin. `false` where that cannot be written.
    pub(super) fn has_ended_promotion(&self) -> bool {
        if self.cluster.is_promoting() {
            self.as_replica(|| self.end_promotion());
        }
        !self.cluster.is_promoting()
    }

    /// Under the lock of a role change.
    fn end_promotion(&self) {
        if self.cluster.is_promoting() {
            match self.remember_or_fail(Role::Replica) {
                Ok(()) => self.cluster.set_promoting(false),
                Err(error) => log::error!("that a promotion has failed could not be written down: {error}"),
            }
        }
    }

    /// Forgets another node: its address, and that it takes over by itself. `false` where it was not known.
    pub fn forget(&self, address: &str) -> bool {
        let _change = self.role_change();
        let was_peer = self.cluster.remove_peer(address);
        let was_follower = self.followers.forget(address);
        if was_peer || was_follower {
            self.remember(self.role());
        }
        let shared = self.election.shared.as_ref();
        let was_shown = shared.is_some_and(|shared| shared.look(|machine| machine.forget(address)));
        was_peer || was_follower || was_shown
    }

    /// The nodes that follow this one.
    pub fn followers(&self) -> Vec<FollowerStatus> {
        self.followers.status(self.log.position().written)
    }

    /// The followers without which no acknowledgement counts, and whether each has spoken lately.
    pub fn successors(&self) -> Vec<(String, bool)> {
        let successors = self.followers.successors().into_iter();
        successors
            .map(|address| {
                let is_connected = self.followers.is_connected(&address);
                (address, is_connected)
            })
            .collect()
    }

    /// How many followers have spoken lately.
    pub fn followers_connected(&self) -> usize {
        self.followers.connected()
    }

    /// Whether a follower of this address has spoken lately.
    pub(crate) fn is_followed_by(&self, address: &str) -> bool {
        self.followers.is_connected(address)
    }
}
