//! Removes entries whose deadline has come.
//!
//! Nobody is served such an entry, swept or not: reads look at the deadline themselves. The sweep gives the
//! memory back, and puts into the log that the entry is gone, so that replays and followers need no clock.
//!
//! Its thread sleeps until the earliest deadline, and for good where there is none. It removes a few entries
//! in a hold of the store's lock, and waits for the log now and then, so that a million deadlines at one
//! moment neither hold up clients nor fill memory with records.

use super::clock::Clock;
use super::pace::Pace;
use crate::log::Waiter;
use crate::store::Store;
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

    /// Returns when called, or after a while; for good sleep without one. `false` where the thread is to end.
    fn wait(&self, timeout: Option<Duration>) -> bool {
        const UNPANICKED: &str = "nothing under the alarm's lock panics";
        let is_idle = |state: &mut State| !state.is_called && !state.to_stop;
        let mut state = match timeout {
            None => self.changed.wait_while(self.state(), is_idle).expect(UNPANICKED),
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(self.state(), timeout, is_idle);
                waited.expect(UNPANICKED).0
            }
        };
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
            ::log::error!("the thread that removes expired keys has panicked");
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Removes what has expired, a good deal of it at most. Returns how long there is nothing to do.
fn sweep(store: &Store, clock: &Clock, log: &Waiter) -> Option<Duration> {
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
                        if locked.log.check().is_err() {
                            return Some(RETRY_AFTER);
                        }
                        offset = locked.expire(slot, now_ms);
                    }
                    first => break 'swept first.map(|(deadline_ms, _)| deadline_ms),
                }
            }
        }
        Some(0)
    };
    if offset > 0
        && let Err(refusal) = log.wait(offset)
    {
        // The keys are gone for readers either way; what holds the log up is said by the log.
        ::log::debug!("removing expired keys: {refusal}");
        return Some(RETRY_AFTER);
    }
    let left_ms = next_ms?.saturating_sub(clock.now_ms());
    Some(Duration::from_millis(left_ms).min(SLEEP_MAX))
}
