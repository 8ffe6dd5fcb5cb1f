//! Whether a primary holds its writers, and until when: they wait, and are neither taken nor refused.

use super::Cluster;
use crate::node::hold::Hold;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Cluster {
    /// Whether writers have to wait. A hold that is over counts until it is ended.
    pub(in crate::node) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// Until when writers are held.
    pub(crate) fn held_until(&self) -> Option<Instant> {
        self.state().held.map(|(_, until)| until)
    }

    /// Why writers are held.
    pub(crate) fn hold_reason(&self) -> Option<Hold> {
        self.state().held.map(|(reason, _)| reason)
    }

    /// Holds writers; `false` where they are held for another node that is about to take over.
    pub(in crate::node) fn hold(&self, reason: Hold, until: Instant) -> bool {
        let mut state = self.state();
        // Of two holds both must be over.
        state.held = Some(match state.held {
            Some((held @ Hold::Handover(_), other)) if reason == Hold::Inquiry => (held, other.max(until)),
            Some((held @ Hold::Handover(_), _)) if held != reason => return false,
            Some((_, other)) => (reason, other.max(until)),
            None => (reason, until),
        });
        // The prober ends the hold when it is over.
        state.calls += 1;
        self.is_held.store(true, Ordering::Release);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Ends a hold; `false` where there is none.
    pub(in crate::node) fn end_hold(&self) -> bool {
        let mut state = self.state();
        let was_held = state.held.take().is_some();
        self.is_held.store(false, Ordering::Release);
        drop(state);
        self.changed.notify_all();
        was_held
    }

    /// Waits until writers are not held any more, or the hold is over: `true` where it is still to be ended.
    pub(in crate::node) fn wait_hold(&self) -> bool {
        let mut state = self.state();
        while let Some((_, until)) = state.held.filter(|_| !state.to_stop) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.expect("nothing under the cluster's lock panics").0;
        }
        false
    }
}
