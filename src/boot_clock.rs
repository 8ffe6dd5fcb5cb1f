//! A clock that runs on while the machine is suspended, and that nobody sets.
//!
//! [`std::time::Instant`] stands still in a suspend on Linux. Whoever asks for how long another node has been
//! silent must count that time: the other node has lived through it.

use rustix::time::{ClockId, clock_gettime};
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward() {
        let before = BootInstant::now();
        let ago = BootInstant::ago(Duration::from_millis(5));
        assert!(before <= BootInstant::now());
        assert!(ago.elapsed() >= Duration::from_millis(5));
        assert_eq!(ago.since(BootInstant::now()), Duration::ZERO);
    }
}
