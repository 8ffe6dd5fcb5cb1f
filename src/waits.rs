//! What the thread at hand has waited for, so that a slow request can say what made it slow.
//!
//! Only waits that happen are timed: a lock that is free costs nothing. The sums are the thread's own, and whoever
//! handles a request on it takes them before and after.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a thread has waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// For the store's lock.
    pub(crate) lock: Duration,
    /// For room in the log.
    pub(crate) log: Duration,
}

thread_local! {
    static WAITS: Cell<Waits> = const {
        Cell::new(Waits { lock: Duration::ZERO, log: Duration::ZERO })
    };
}

/// Takes what was summed up so far.
pub(crate) fn take() -> Waits {
    WAITS.take()
}

/// Adds a wait for the store's lock that began then and ends now.
pub(crate) fn for_lock_since(begun: Instant) {
    let mut waits = WAITS.get();
    waits.lock += begun.elapsed();
    WAITS.set(waits);
}

/// Adds a wait for room in the log that began then and ends now.
pub(crate) fn for_log_since(begun: Instant) {
    let mut waits = WAITS.get();
    waits.log += begun.elapsed();
    WAITS.set(waits);
}
