//! Writers that wait: while a primary asks the others whether one of them took over, or hands its role over.
//!
//! # What must hold
//! - The log is closed to writers before a hold counts, and opened by whoever ends the hold.
//! - A hold ends by its time, whatever any thread waits for: whoever finds it over ends it.

use super::Node;
use super::hold::{Hold, INQUIRY_TIME_MAX};
use crate::wal::Role;
use std::time::{Duration, Instant};

impl Node {
    /// Holds all writers for a time, as a primary: they wait, and are neither taken nor refused.
    pub(super) fn hold_writers(&self, reason: Hold, time: Duration) -> Result<(), &'static str> {
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

    /// Waits while writers are held, and ends each hold that is over. Waits for no hold that begins after `until`.
    pub(crate) fn wait_hold(&self, until: Instant) {
        while self.cluster.wait_hold() {
            self.release_overdue();
            if Instant::now() >= until {
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

    /// Makes a primary that knows of other nodes ask them for a higher term before it takes writes, for
    /// [`INQUIRY_TIME_MAX`] at most.
    pub(crate) fn begin_inquiry(&self) {
        let has_others = !self.cluster.peers().is_empty() || !self.followers.successors().is_empty();
        if has_others && self.hold_writers(Hold::Inquiry, INQUIRY_TIME_MAX).is_ok() {
            self.cluster.call_prober();
        }
    }
}
