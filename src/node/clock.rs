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
    /// How far the clock is ahead of `started`, in µs. Only grows.
    ahead_us: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock {
            started: Instant::now(),
            ahead_us: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        // In this order: a thread that is held up in between makes the difference smaller, never larger.
        let since = self.started.elapsed();
        self.at_ms(
            wall.map_or(0, |wall| wall.as_micros() as u64),
            since.as_micros() as u64,
        )
    }

    fn at_ms(&self, wall_us: u64, since_us: u64) -> u64 {
        let ahead_us = wall_us.saturating_sub(since_us);
        let mut known_us = self.ahead_us.load(Ordering::Relaxed);
        if known_us < ahead_us {
            known_us = self.ahead_us.fetch_max(ahead_us, Ordering::Relaxed).max(ahead_us);
        }
        (known_us + since_us) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_with_the_wall_and_never_back() {
        const SECOND: u64 = 1_000_000;
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
