//! How long the disk has been at what it was given last: a disk that hangs makes no error.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What no write or sync takes on a disk that is well.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// When something was begun that only one thread does at a time, and whether it has ended.
pub(super) struct Stall {
    made: Instant,
    /// In ms since `made`, and 1 more; 0 where it has ended.
    begun_ms: AtomicU64,
}

/// Ends it when dropped.
pub(super) struct AtWork<'a>(&'a Stall);

impl Stall {
    pub(super) fn new() -> Stall {
        Stall {
            made: Instant::now(),
            begun_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn begin(&self) -> AtWork<'_> {
        let ms = self.made.elapsed().as_millis() as u64;
        self.begun_ms.store(ms + 1, Ordering::Relaxed);
        AtWork(self)
    }

    /// How long it has been going on, where that is too long.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        let begun_ms = self.begun_ms.load(Ordering::Relaxed).checked_sub(1)?;
        let since = self
            .made
            .elapsed()
            .saturating_sub(Duration::from_millis(begun_ms));
        (since >= STALLED_AFTER).then_some(since)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.begun_ms.store(0, Ordering::Relaxed);
    }
}
