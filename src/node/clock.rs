//! The node's clock: the time of the wall, that does not go back on a key.
//!
//! Deadlines are times of the wall, since they outlive the process. But the wall's clock can be set back, and
//! a key that was hidden because its deadline had come must not be seen again. So the clock follows the
//! monotonic one, and is moved forward whenever the wall's is ahead of it. Where the wall's clock was set back,
//! this one continues from where it was.
//!
//! Where it is ahead of the wall's by more than [`AHEAD_MAX`], the wall's clock was wrong before, and deadlines
//! are not to be counted from there. Then the clock steps back, at a moment when no key is left whose deadline
//! has come by it: see [`super::sweep`]. How far ahead it has been is remembered and reported until the wall's clock
//! gets there: deadlines that were given meanwhile are too late by as much.
//!
//! The wall's clock may say anything: what it says is taken as a time between 1970 and 9999.

use crate::api::DEADLINE_MS_MAX;
use crate::wall;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far ahead of the wall's clock this one may be.
const AHEAD_MAX: Duration = Duration::from_secs(5);

pub(super) struct Clock {
    started: Instant,
    /// How far the clock is ahead of `started`, in us. Grows, except for a step back.
    ahead_us: AtomicU64,
    /// The most that it ever was.
    peak_us: AtomicU64,
    /// Whether it is to step back.
    is_ahead: AtomicBool,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock {
            started: Instant::now(),
            ahead_us: AtomicU64::new(0),
            peak_us: AtomicU64::new(0),
            is_ahead: AtomicBool::new(false),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let wall_us = wall_us();
        // In this order: a thread that is held up in between makes the difference smaller, never larger.
        self.at_ms(wall_us, self.since_us())
    }

    fn since_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn at_ms(&self, wall_us: u64, since_us: u64) -> u64 {
        let ahead_us = wall_us.saturating_sub(since_us);
        let mut known_us = self.ahead_us.load(Ordering::Relaxed);
        if known_us < ahead_us {
            known_us = self.ahead_us.fetch_max(ahead_us, Ordering::Relaxed).max(ahead_us);
            self.peak_us.fetch_max(ahead_us, Ordering::Relaxed);
        } else if is_too_far(known_us, ahead_us) && !self.is_ahead() {
            self.is_ahead.store(true, Ordering::Relaxed);
        }
        (known_us + since_us) / 1000
    }

    /// Whether the clock is to step back before a deadline is counted by it.
    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead.load(Ordering::Relaxed)
    }

    /// Goes back to the wall's clock. No key may be left that is hidden by the time before.
    pub(super) fn step_back(&self) {
        if let Some(by) = self.step_back_to(wall_us(), self.since_us()) {
            log::warn!(
                "the system's clock was set back by {:.1} s. Keys whose deadline had come by then are gone; deadlines \
                 that were given meanwhile are as much too late",
                by.as_secs_f64()
            );
        }
    }

    /// As [`Clock::step_back`], where that is due, for a replica: its primary says which keys are gone, so those that are
    /// hidden by the time before may be seen again.
    pub(super) fn follow_system(&self) {
        self.now_ms();
        if self.is_ahead() {
            self.step_back();
        }
    }

    fn step_back_to(&self, wall_us: u64, since_us: u64) -> Option<Duration> {
        self.is_ahead.store(false, Ordering::Relaxed);
        let ahead_us = wall_us.saturating_sub(since_us);
        let known_us = self.ahead_us.load(Ordering::Relaxed);
        if !is_too_far(known_us, ahead_us) {
            return None;
        }
        self.ahead_us.store(ahead_us, Ordering::Relaxed);
        Some(Duration::from_micros(known_us - ahead_us))
    }

    /// How far the clock has been ahead of what the wall's clock says now, where that is too far.
    pub(super) fn ahead(&self) -> Option<Duration> {
        self.ahead_of(wall_us(), self.since_us())
    }

    fn ahead_of(&self, wall_us: u64, since_us: u64) -> Option<Duration> {
        let ahead_us = wall_us.saturating_sub(since_us);
        let peak_us = self.peak_us.load(Ordering::Relaxed);
        is_too_far(peak_us, ahead_us).then(|| Duration::from_micros(peak_us - ahead_us))
    }
}

fn is_too_far(ahead_us: u64, of_us: u64) -> bool {
    ahead_us.saturating_sub(of_us) > AHEAD_MAX.as_micros() as u64
}

/// What the wall's clock says, in us since the Unix epoch.
fn wall_us() -> u64 {
    wall::since_epoch()
        .min(Duration::from_millis(DEADLINE_MS_MAX))
        .as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn it_goes_forward_with_the_wall_and_not_back() {
        let clock = Clock::new();
        assert_eq!(clock.at_ms(1000 * SECOND, 0), 1_000_000);
        assert_eq!(clock.at_ms(1001 * SECOND, SECOND), 1_001_000);
        assert_eq!(
            clock.at_ms(998 * SECOND, 2 * SECOND),
            1_002_000,
            "set back a little, it continues"
        );
        assert!(!clock.is_ahead());
        assert_eq!(
            clock.at_ms(2000 * SECOND, 3 * SECOND),
            2_000_000,
            "set forward, it follows"
        );
    }

    #[test]
    fn far_ahead_it_steps_back_and_tells_for_how_long_that_matters() {
        let clock = Clock::new();
        clock.at_ms(1000 * SECOND, 0);
        assert_eq!(clock.at_ms(8200 * SECOND, SECOND), 8_200_000);
        assert_eq!(clock.at_ms(1002 * SECOND, 2 * SECOND), 8_201_000);
        assert!(clock.is_ahead());
        assert_eq!(
            clock.step_back_to(1002 * SECOND, 2 * SECOND),
            Some(Duration::from_secs(7199))
        );
        assert!(!clock.is_ahead());
        assert_eq!(clock.at_ms(1003 * SECOND, 3 * SECOND), 1_003_000);
        assert_eq!(
            clock.ahead_of(1003 * SECOND, 3 * SECOND),
            Some(Duration::from_secs(7199))
        );
        assert_eq!(
            clock.ahead_of(8300 * SECOND, 3 * SECOND),
            None,
            "the wall's clock has got there"
        );
        assert_eq!(clock.step_back_to(1004 * SECOND, 4 * SECOND), None);
    }
}
