//! The pace of long work that takes the store's lock again and again.
//!
//! A mutex is not fair: a thread that lets it go and takes it at once again has it before those who wait are awake.
//! So work of many holds rests now and then, for long enough that whoever waits gets its turn.

use std::time::{Duration, Instant};

/// How long is worked before a rest. Others wait for the lock no longer than this and one hold.
const WORK_TIME: Duration = Duration::from_micros(500);

/// How long a rest is: some hundred clients get their turn, and the work takes a fifth longer.
const REST_TIME: Duration = Duration::from_micros(100);

/// Rests now and then.
pub(super) struct Pace {
    since: Instant,
}

impl Pace {
    pub(super) fn new() -> Pace {
        Pace {
            since: Instant::now(),
        }
    }

    /// To be called between two holds of the lock.
    pub(super) fn rest(&mut self) {
        if self.since.elapsed() >= WORK_TIME {
            std::thread::sleep(REST_TIME);
            self.since = Instant::now();
        }
    }
}
