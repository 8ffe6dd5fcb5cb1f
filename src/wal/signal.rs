//! How the log's thread is called.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// What the log's thread waits for.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<Called>,
    changed: Condvar,
}

/// What the log's thread is called for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Called {
    /// To lead.
    pub(super) to_lead: bool,
    /// To end.
    pub(super) to_stop: bool,
}

impl Signal {
    pub(super) fn call(&self) {
        self.state().to_lead = true;
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.state().to_stop = true;
        self.changed.notify_all();
    }

    /// Returns when called, or after a while.
    pub(super) fn wait(&self, timeout: Duration) -> Called {
        let is_idle = |called: &mut Called| !called.to_lead && !called.to_stop;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_idle);
        let (mut state, _) = waited.expect("nothing under this lock panics");
        let called = *state;
        state.to_lead = false;
        called
    }

    fn state(&self) -> MutexGuard<'_, Called> {
        self.state.lock().expect("nothing under this lock panics")
    }
}
