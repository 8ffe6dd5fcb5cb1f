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
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
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

/// Calls the thread where an earlier deadline is made than any before.
#[derive(Default)]
pub(super) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_called: bool,
    to_stop: bool,
}

impl Alarm {
    pub(super) fn call(&self) {
        self.state().is_called = true;
        self.changed.notify_one();
    }

    fn stop(&self) {
        self.state().to_stop = true;
        self.changed.notify_one();
    }

    /// Returns when called, or after a while. `false` where the thread is to end.
    fn wait(&self, timeout: Duration) -> bool {
        let is_idle = |state: &mut State| !state.is_called && !state.to_stop;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_idle);
        let mut state = waited.expect("nothing under the alarm's lock panics").0;
        state.is_called = false;
        !state.to_stop
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under the alarm's lock panics")
    }
}

/// The running thread, `sweep`. It ends, and is joined, in [`Sweeper::stop`] or when this is dropped.
pub(super) struct Sweeper {
    alarm: Arc<Alarm>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    pub(super) fn start(
        alarm: Arc<Alarm>,
        store: Arc<Store>,
        clock: Arc<Clock>,
        log: Waiter,
    ) -> std::io::Result<Sweeper> {
        let of_thread = Arc::clone(&alarm);
        let thread = std::thread::Builder::new()
            .name("sweep".to_string())
            .spawn(move || while of_thread.wait(sweep(&store, &clock, &log)) {})?;
        Ok(Sweeper {
            alarm,
            thread: Some(thread),
        })
    }

    pub(super) fn stop(&mut self) {
        self.alarm.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that removes expired keys has panicked");
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop();
    }
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
