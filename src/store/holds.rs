//! How long the store's lock is held, in builds with the feature `measure-holds`: for `benches/holds.rs`.
//!
//! Time is the processor's time of the thread that holds the lock, so that what else the machine does counts for
//! little. It is read twice a hold, which adds about a microsecond to each. Interrupts, and a host that takes the
//! processor away from a virtual machine, are charged to the thread that runs.

use super::{Locked, StoreGuard};
use rustix::time::{ClockId, clock_gettime};
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static HOLDS: AtomicU64 = AtomicU64::new(0);
static TOTAL_NS: AtomicU64 = AtomicU64::new(0);
static LONGEST_NS: AtomicU64 = AtomicU64::new(0);
static LONG: Mutex<Vec<Long>> = Mutex::new(Vec::new());

/// What counts as a long hold.
const LONG_NS: u64 = 1_000_000;

/// Long holds that are kept, beside the longest.
const LONG_MAX: usize = 1000;

/// Holds of the lock over some time.
#[derive(Clone, Debug)]
pub struct Holds {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// The first thousand that were longer than a millisecond.
    pub long: Vec<Long>,
}

/// A hold that was longer than a millisecond.
#[derive(Clone, Copy, Debug)]
pub struct Long {
    /// Which one it was, counted from 0. What the work itself costs comes at the same place each time.
    pub number: u64,
    /// How long it was.
    pub held: Duration,
    /// Where the lock was taken.
    pub at: &'static Location<'static>,
}

/// The holds since the last call, of all stores of this process.
pub fn take() -> Holds {
    Holds {
        count: HOLDS.swap(0, Relaxed),
        total: Duration::from_nanos(TOTAL_NS.swap(0, Relaxed)),
        longest: Duration::from_nanos(LONGEST_NS.swap(0, Relaxed)),
        long: std::mem::take(&mut LONG.lock().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// Counts from its making until it is dropped as a hold.
pub struct Timer {
    since_ns: u64,
    at: &'static Location<'static>,
}

impl Timer {
    /// Starts to count.
    #[track_caller]
    pub fn start() -> Timer {
        Timer {
            at: Location::caller(),
            since_ns: thread_ns(),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let held_ns = thread_ns().saturating_sub(self.since_ns);
        let number = HOLDS.fetch_add(1, Relaxed);
        TOTAL_NS.fetch_add(held_ns, Relaxed);
        LONGEST_NS.fetch_max(held_ns, Relaxed);
        if held_ns > LONG_NS {
            let mut long = LONG.lock().unwrap_or_else(PoisonError::into_inner);
            if long.len() < LONG_MAX {
                long.push(Long {
                    number,
                    held: Duration::from_nanos(held_ns),
                    at: self.at,
                });
            }
        }
    }
}

/// The lock, held.
pub(crate) struct Hold<'a> {
    // Before the lock, so that it stops before the lock is let go.
    _timer: Timer,
    locked: StoreGuard<'a>,
}

impl<'a> Hold<'a> {
    #[track_caller]
    pub(super) fn new(locked: StoreGuard<'a>) -> Hold<'a> {
        Hold {
            _timer: Timer::start(),
            locked,
        }
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
