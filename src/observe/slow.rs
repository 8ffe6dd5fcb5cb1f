//! The slow log: a line in the node's own log about every request that took long, with what it waited for.
//!
//! When a disk stands still, all requests are slow at once, and a thousand lines say no more than ten. So there are
//! at most [`LINES_MAX`] a second; how many more there were is said with the next.
//!
//! The last [`KEPT_MAX`] requests that have a line are kept too, for `GET /slow`: some 30 kB.

use super::seen::Seen;
use crate::api;
use crate::wall;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most lines a second.
const LINES_MAX: u32 = 10;

/// Most requests that are kept.
const KEPT_MAX: usize = 50;

/// Tells of slow requests.
#[derive(Debug)]
pub(crate) struct Slow {
    limit: Duration,
    /// Whether there is a store whose lock and log are waited for. A gateway has none.
    has_store: bool,
    said: Mutex<Said>,
}

/// The lines of a second, and the requests that had one.
#[derive(Debug, Default)]
struct Said {
    kept: VecDeque<api::SlowRequest>,
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Slow {
    /// Tells of requests that took `limit` or longer.
    pub(crate) fn new(limit: Duration, has_store: bool) -> Slow {
        Slow {
            limit,
            has_store,
            said: Mutex::default(),
        }
    }

    pub(crate) fn see(&self, seen: &Seen<'_>, now: impl Fn() -> Instant) {
        if seen.took < self.limit {
            return;
        }
        let Some(left_out) = self.may_say(now()) else {
            return;
        };
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let more = match left_out {
            0 => String::new(),
            more => format!("; {more} more were as slow, and are left out"),
        };
        let line = if seen.line.is_empty() {
            "a request that was not read"
        } else {
            seen.line
        };
        self.keep(seen, line);
        let by = seen.who.map(|who| format!(" by {who}")).unwrap_or_default();
        let waited = match self.has_store {
            true => format!(
                ", of which it waited {} for the store's lock, {} for the log and {} for replicas",
                ms(seen.waits.lock),
                ms(seen.waits.log),
                ms(seen.replicas),
            ),
            false => String::new(),
        };
        log::warn!(
            "slow: {line}{by} was answered with {} after {}{waited}{more}",
            seen.status,
            ms(seen.took),
        );
    }

    fn keep(&self, seen: &Seen<'_>, line: &str) {
        let ms = |time: Duration| time.as_micros() as f64 / 1000.0;
        let request = api::SlowRequest {
            at_ms: wall::now_ms(),
            request: line.to_owned(),
            client: seen.who.map(str::to_owned),
            status: seen.status,
            took_ms: ms(seen.took),
            lock_ms: ms(seen.waits.lock),
            log_ms: ms(seen.waits.log),
            replicas_ms: ms(seen.replicas),
        };
        let mut said = self.lock();
        said.kept.truncate(KEPT_MAX - 1);
        said.kept.push_front(request);
    }

    /// The last requests that had a line, the newest first.
    pub(crate) fn recent(&self) -> api::SlowRequests {
        api::SlowRequests {
            from_ms: Some(self.limit.as_micros() as f64 / 1000.0),
            requests: self.lock().kept.iter().cloned().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said
            .lock()
            .expect("nothing under the slow log's lock panics")
    }

    /// Whether there is to be another line, and how many there were not.
    fn may_say(&self, now: Instant) -> Option<u64> {
        let mut said = self.lock();
        let is_over = said
            .since
            .is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1));
        if is_over {
            said.since = Some(now);
            said.lines = 0;
        }
        if said.lines == LINES_MAX {
            said.left_out += 1;
            return None;
        }
        said.lines += 1;
        Some(std::mem::take(&mut said.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_ten_lines_and_the_next_says_what_it_left_out() {
        let slow = Slow::new(Duration::ZERO, true);
        let begun = Instant::now();
        let told = (0..15).map(|ms| slow.may_say(begun + Duration::from_millis(ms)));
        assert_eq!(told.flatten().collect::<Vec<_>>(), [0; 10]);
        assert_eq!(slow.may_say(begun + Duration::from_secs(1)), Some(5));
        assert_eq!(slow.may_say(begun + Duration::from_secs(2)), Some(0));
    }
}
