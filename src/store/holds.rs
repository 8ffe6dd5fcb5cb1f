//! How long the store's lock is held, in builds with the feature `measure-holds`: for `benches/holds.rs`.
//!
//! Time is the processor's time of the thread that holds the lock, so that what else the machine does counts for
//! nothing. It is read twice a hold, which adds about a microsecond to each.

use super::Locked;
use rustix::time::{ClockId, clock_gettime};
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

static HOLDS: AtomicU64 = AtomicU64::new(0);
static TOTAL_NS: AtomicU64 = AtomicU64::new(0);
static LONGEST_NS: AtomicU64 = AtomicU64::new(0);

/// Holds of the lock over some time.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
}

/// The holds since the last call, of all stores of this process.
pub fn take() -> Holds {
    Holds {
        count: HOLDS.swap(0, Relaxed),
        total: Duration::from_nanos(TOTAL_NS.swap(0, Relaxed)),
        longest: Duration::from_nanos(LONGEST_NS.swap(0, Relaxed)),
    }
}

/// The lock, held.
pub(crate) struct Hold<'a> {
    locked: MutexGuard<'a, Locked>,
    since_ns: u64,
}

impl<'a> Hold<'a> {
    pub(super) fn new(locked: MutexGuard<'a, Locked>) -> Hold<'a> {
        Hold {
            locked,
            since_ns: thread_ns(),
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let held_ns = thread_ns().saturating_sub(self.since_ns);
        HOLDS.fetch_add(1, Relaxed);
        TOTAL_NS.fetch_add(held_ns, Relaxed);
        LONGEST_NS.fetch_max(held_ns, Relaxed);
    }
}

impl Deref for Hold<'_> {
    type Target = Locked;

    fn deref(&self) -> &Locked {
        &self.locked
    }
}

impl DerefMut for Hold<'_> {
    fn deref_mut(&mut self) -> &mut Locked {
        &mut self.locked
    }
}

/// The processor's time that this thread has had, in nanoseconds.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + rest
}
