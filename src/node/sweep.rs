//! Removes entries whose deadline has come.
//!
//! Nobody is served such an entry, swept or not: reads look at the deadline themselves. The sweep gives the
//! memory back, and puts into the log that the entry is gone, so that replays and followers need no clock.
//!
//! Its thread sleeps until the earliest deadline, or until the clock is to be looked at. It removes a few entries
//! in a hold of the store's lock, and waits for the log now and then, so that a million deadlines at one
//! moment neither hold up clients nor fill memory with records.

use super::clock::Clock;
use super::pace::Pace;
use crate::store::Store;
use crate::wal::Waiter;
use crate::worker::{Signal, Worker};
use std::sync::Arc;
use std::time::Duration;

/// Entries removed in one hold of the lock: some tens of microseconds, where none is in a cache.
const HOLD_ENTRIES: usize = 32;

/// Holds after which the log is waited for.
const HOLDS_BEFORE_WAIT: usize = 32;

/// How soon it is tried again where the log takes no records.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The longest sleep before a deadline: the wall's clock may be set forward meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// How often the clock is looked at where there is no deadline.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Starts the thread `sweep`. `alarm` calls it where an earlier deadline is made than any before.
pub(super) fn start(
    alarm: &Arc<Signal>,
    store: Arc<Store>,
    clock: Arc<Clock>,
    log: Waiter,
) -> std::io::Result<Worker> {
    let (to_end, of_thread) = (Arc::clone(alarm), Arc::clone(alarm));
    let work = move || while !of_thread.wait(sweep(&store, &clock, &log)).to_stop {};
    Worker::start("sweep", move || to_end.stop(), work)
}

/// Removes what has expired, a good deal of it at most. Returns how long there is nothing to do.
fn sweep(store: &Store, clock: &Clock, log: &Waiter) -> Duration {
    let mut offset = 0;
    let mut pace = Pace::new();
    let next_ms = 'swept: {
        for _ in 0..HOLDS_BEFORE_WAIT {
            pace.rest();
            let now_ms = clock.now_ms();
            let mut locked = store.lock();
            for _ in 0..HOLD_ENTRIES {
                match locked.map.first_deadline() {
                    Some((deadline_ms, slot)) if deadline_ms <= now_ms => {
                        if locked.log.check_removal().is_err() {
                            // Of a replica, or on a disk that takes nothing: the keys stay, and may be seen again.
                            if clock.is_ahead() {
                                clock.step_back();
                            }
                            return RETRY_AFTER;
                        }
                        offset = locked.expire(slot, now_ms);
                    }
                    first => {
                        if clock.is_ahead() {
                            clock.step_back();
                        }
                        break 'swept first.map(|(deadline_ms, _)| deadline_ms);
                    }
                }
            }
        }
        Some(0)
    };
    if offset > 0
        && let Err(refusal) = log.wait(offset)
    {
        // The keys are gone for readers either way; what holds the log up is said by the log.
        log::debug!("removing expired keys: {refusal}");
        return RETRY_AFTER;
    }
    let left = next_ms.map(|next_ms| Duration::from_millis(next_ms.saturating_sub(clock.now_ms())));
    left.map_or(LOOK_EVERY, |left| left.min(SLEEP_MAX))
}

/// Where the clock is far ahead of the system's, brings it back, before a deadline is counted by it: removes what has
/// expired by it first.
pub(super) fn settle_clock(store: &Store, clock: &Clock, log: &Waiter) {
    while clock.is_ahead() {
        sweep(store, clock, log);
    }
}
