//! The node's clock: the time of the wall, that never goes back.
//!
//! Deadlines are times of the wall, since they outlive the process. But the wall's clock can be set back, and
//! a key that was hidden because its deadline had come must not be seen again. So the clock follows the
//! monotonic one, and is moved forward whenever the wall's is ahead of it. Where the wall's clock was set back,
//! this one goes on from where it was; times to live are counted by it, so they last as long as they should.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(super) struct Clock {
    started: Instant,
    /// How far the clock is ahead of `started`, in ns. Only grows.
    ahead_ns: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock {
            started: Instant::now(),
            ahead_ns: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        // In this order: a thread that is held up in between makes the difference smaller, never larger.
        let since = self.started.elapsed();
        self.at_ms(
            wall.map_or(0, |wall| wall.as_nanos() as u64),
            since.as_nanos() as u64,
        )
    }

    fn at_ms(&self, wall_ns: u64, since_ns: u64) -> u64 {
        let ahead_ns = wall_ns.saturating_sub(since_ns);
        let mut known_ns = self.ahead_ns.load(Ordering::Relaxed);
        if known_ns < ahead_ns {
            known_ns = self.ahead_ns.fetch_max(ahead_ns, Ordering::Relaxed).max(ahead_ns);
        }
        (known_ns + since_ns) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_with_the_wall_and_never_back() {
        const SECOND: u64 = 1_000_000_000;
        let clock = Clock::new();
        assert_eq!(clock.at_ms(1000 * SECOND, 0), 1_000_000);
        assert_eq!(clock.at_ms(1001 * SECOND, SECOND), 1_001_000);
        assert_eq!(
            clock.at_ms(500 * SECOND, 2 * SECOND),
            1_002_000,
            "set back, it goes on"
        );
        assert_eq!(
            clock.at_ms(2000 * SECOND, 3 * SECOND),
            2_000_000,
            "set forward, it follows"
        );
    }
}
