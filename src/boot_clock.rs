//! A clock that runs on while the machine is suspended, and that nobody sets.
//!
//! [`std::time::Instant`] stands still in a suspend on Linux. Whoever asks for how long another node has been
//! silent must count that time: the other node has lived through it.

use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A moment since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootInstant(Duration);

impl BootInstant {
    pub(crate) fn now() -> BootInstant {
        let now = clock_gettime(CLOCK);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        BootInstant(Duration::new(seconds, nanoseconds))
    }

    /// How long the machine has been running by then, in nanoseconds: enough for centuries.
    pub(crate) fn nanoseconds(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX - 1)
    }

    /// The moment that was so long ago.
    pub(crate) fn ago(age: Duration) -> BootInstant {
        BootInstant(BootInstant::now().0.saturating_sub(age))
    }

    pub(crate) fn elapsed(self) -> Duration {
        BootInstant::now().since(self)
    }

    /// How long before this one `earlier` was; zero where it was not.
    pub(crate) fn since(self, earlier: BootInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment after which something must not be done any more. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Fence(Arc<AtomicU64>);

/// The fence that is never over.
const NEVER: u64 = u64::MAX;

impl Default for Fence {
    /// Is never over.
    fn default() -> Fence {
        Fence(Arc::new(AtomicU64::new(NEVER)))
    }
}

impl Fence {
    /// Moves it, in nanoseconds since the machine was started.
    pub(crate) fn set(&self, nanoseconds: u64) {
        self.0.store(nanoseconds, Ordering::Release);
    }

    /// Whether it is over.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at != NEVER && BootInstant::now().nanoseconds() >= at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_over_once_its_moment_has_come() {
        let fence = Fence::default();
        assert!(!fence.is_over());
        let hour = 3600 * 1_000_000_000;
        fence.set(BootInstant::now().nanoseconds() + hour);
        assert!(!fence.clone().is_over());
        fence.set(BootInstant::now().nanoseconds());
        assert!(fence.is_over());
        fence.set(0);
        assert!(fence.is_over());
    }

    #[test]
    fn it_goes_forward() {
        let before = BootInstant::now();
        let ago = BootInstant::ago(Duration::from_millis(5));
        assert!(before <= BootInstant::now());
        assert!(ago.elapsed() >= Duration::from_millis(5));
        assert_eq!(ago.since(BootInstant::now()), Duration::ZERO);
    }
}
