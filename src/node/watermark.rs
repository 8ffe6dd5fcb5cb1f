//! How far a replica's store is along the log, and the readers that wait for it to get further.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// An offset that grows, and that threads wait for.
///
/// - Reading and setting it takes no lock where nobody waits.
/// - `lock` guards nothing but the sleep: a waiter counts itself in before it looks, and whoever sets the offset
///   looks for waiters after that. So no wake is lost.
pub(super) struct Watermark {
    offset: AtomicU64,
    waiters: AtomicU64,
    lock: Mutex<()>,
    grown: Condvar,
}

impl Watermark {
    pub(super) fn new(offset: u64) -> Watermark {
        Watermark {
            offset: AtomicU64::new(offset),
            waiters: AtomicU64::new(0),
            lock: Mutex::new(()),
            grown: Condvar::new(),
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, offset: u64) {
        self.offset.store(offset, Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.wake();
        }
    }

    /// Makes every waiter look again.
    pub(super) fn wake(&self) {
        drop(self.lock.lock().expect("nothing under this lock panics"));
        self.grown.notify_all();
    }

    /// Waits until `is_there`, but not beyond the deadline, nor where `go_on` says no. Both are asked at every
    /// wake.
    pub(super) fn wait(
        &self,
        deadline: Instant,
        is_there: impl Fn() -> bool,
        go_on: impl Fn() -> bool,
    ) -> bool {
        if is_there() {
            return true;
        }
        let mut guard = self.lock.lock().expect("nothing under this lock panics");
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let reached = loop {
            if is_there() {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !go_on() {
                break false;
            }
            let waited = self.grown.wait_timeout(guard, left);
            guard = waited.expect("nothing under this lock panics").0;
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        reached
    }
}
