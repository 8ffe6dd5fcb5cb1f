//! How a node becomes something else: promotion, stepping down, writers that are held, followers that are
//! forgotten.
//!
//! The rules stand in [`crate::replication`]; here is what they do to a store and its log.
//!
//! # What must hold
//! - One thread changes the role at a time. Lock order: `role_change` < the log's steps < the store.
//! - A node takes writes only as a primary whose log is open, and that holds no writers.
//! - What a node is stands in `ROLE` before it counts.

use super::Node;
use super::followers::FollowerStatus;
use super::hold::Hold;
use crate::wal::{Health, Marker, Refusal, Role, Term};
use std::fmt;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

/// A writer waits until this long after it came, where one hold follows another.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Why a node did not become primary.
#[derive(Debug)]
pub enum PromoteError {
    /// It is.
    IsPrimary,
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
            PromoteError::Syncing => {
                f.write_str("the node is taking over the state of another, and holds only a part of it")
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
        Marker {
            role,
            peers: self.cluster.peers(),
            has_successor: !successors.is_empty(),
            successors,
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

    fn role_change(&self) -> MutexGuard<'_, ()> {
        self.cluster
            .role_change
            .lock()
            .expect("nothing under the lock of a role change panics")
    }

    /// Runs `then` where the node is a replica, and keeps it one meanwhile. None where it is none.
    pub(super) fn as_replica<T>(&self, then: impl FnOnce() -> T) -> Option<T> {
        let _change = self.role_change();
        (self.role() == Role::Replica).then(then)
    }

    /// Another node is in a term that is higher than this node's; where the primary of it is, if that is known.
    /// A primary steps down: from here on it takes no writes.
    pub(crate) fn step_down(&self, primary: Option<(&str, Term)>) {
        let _change = self.role_change();
        if self.role() == Role::Primary {
            log::warn!("another node is primary in a higher term: this one steps down, and follows");
            self.become_replica(primary);
        } else if let Some((address, term)) = primary {
            self.cluster.note_primary(address, term);
        }
    }

    /// Under the lock of a role change.
    fn become_replica(&self, primary: Option<(&str, Term)>) {
        self.store.lock().log.set_closed(true);
        self.cluster.set_role(Role::Replica, primary);
        self.followers.reset();
        self.cluster.applied.set(self.log.appended());
        self.remember(Role::Replica);
    }

    /// Makes this node the primary of a new term.
    pub fn promote(&self) -> Result<Promotion, PromoteError> {
        let _change = self.role_change();
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
        let (term, offset) = step
            .begin_term(self.cluster.highest_seen_term(), known_written)
            .map_err(PromoteError::Refused)?;
        drop(step);
        self.followers.reset();
        self.remember(Role::Primary);
        {
            let mut locked = self.store.lock();
            locked.log.set_next(offset);
            locked.log.set_closed(false);
        }
        self.cluster.set_role(Role::Primary, None);
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

    /// Holds all writers for a time, as a primary: they wait, and are neither taken nor refused.
    fn hold_writers(&self, reason: Hold, time: Duration) -> Result<(), &'static str> {
        let _change = self.role_change();
        if self.role() != Role::Primary {
            return Err("it is no primary");
        }
        if !self.cluster.hold(reason, Instant::now() + time) {
            return Err("it hands over to another node already");
        }
        self.store.lock().log.set_closed(true);
        Ok(())
    }

    /// Ends the hold of writers. Nothing is done where there is none, or the node is no primary any more.
    pub(crate) fn release_writers(&self) {
        let _change = self.role_change();
        if self.role() != Role::Primary || self.cluster.held_until().is_none() {
            return;
        }
        self.store.lock().log.set_closed(false);
        self.cluster.end_hold();
        let evicted = self.evict_excess();
        if evicted > 0 {
            log::warn!("the store was over its bounds when its writers were held: it evicted {evicted} keys");
        }
        self.alarm.call();
    }

    /// Whether writers have to wait. Whoever asks ends a hold that is over: it lasts no longer than it may, whatever
    /// another thread waits for.
    pub(crate) fn holds_writers(&self) -> bool {
        if self.cluster.is_held() {
            self.release_overdue();
        }
        self.cluster.is_held()
    }

    /// Waits while writers are held, for [`HELD_MAX`] and the rest of one hold at most, and ends each hold that is
    /// over.
    pub(crate) fn wait_hold(&self) {
        let deadline = Instant::now() + HELD_MAX;
        while self.cluster.wait_hold() {
            self.release_overdue();
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Ends a hold that is over.
    pub(crate) fn release_overdue(&self) {
        let now = Instant::now();
        if self.cluster.held_until().is_some_and(|until| until <= now) {
            self.release_writers();
        }
    }

    /// Holds writers, and waits until the log is written up to where they came: the offset that a replica must
    /// have to take over without a loss.
    pub(crate) fn hand_over(&self, to: u64, time: Duration) -> Result<u64, PromoteError> {
        self.hold_writers(Hold::Handover(to), time)
            .map_err(|why| PromoteError::NoHandover(why.to_owned()))?;
        let offset = self.log.appended();
        match self.log.wait(offset) {
            Ok(()) => Ok(offset),
            Err(refusal) => {
                self.release_writers();
                Err(PromoteError::NoHandover(refusal.to_string()))
            }
        }
    }

    /// Ends the hold for a node that does not take over after all; nothing is done where there is none for it.
    pub(crate) fn end_handover(&self, to: u64) {
        if self.cluster.hold_reason() == Some(Hold::Handover(to)) {
            self.release_writers();
        }
    }

    /// Steps down for the node that writers are held for: from here on nothing is written that it does not have,
    /// however late it begins its term. An error where they are not held for it any more.
    pub(crate) fn step_down_for(&self, to: u64, address: &str) -> Result<(), PromoteError> {
        let _change = self.role_change();
        // A hold that is over ends under the same lock, before the next writer is taken.
        if self.role() != Role::Primary || self.cluster.hold_reason() != Some(Hold::Handover(to)) {
            let why = "it does not hold its writers any more";
            return Err(PromoteError::NoHandover(why.to_owned()));
        }
        log::info!("this node steps down for {address}, which takes over");
        self.cluster.add_peer(address);
        self.become_replica(None);
        Ok(())
    }

    /// Makes a primary that knows of other nodes ask them for a higher term before it takes writes, for `time`
    /// at most.
    pub(crate) fn begin_inquiry(&self, time: Duration) {
        let has_others = !self.cluster.peers().is_empty() || !self.followers.successors().is_empty();
        if has_others && self.hold_writers(Hold::Inquiry, time).is_ok() {
            self.cluster.call_prober();
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
        was_peer || was_follower
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
