//! What is asked again: how often, and after which pauses.

use crate::client;
use std::thread;
use std::time::Duration;

/// How often what may go better is tried again before it has failed.
pub(super) const RETRIES_MAX: u32 = 5;

/// How long is waited before the first retry; twice as long before each further one. Some 6 s in all.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Waits before a retry, of which there were so many before.
pub(super) fn pause(retries: u32) {
    thread::sleep(RETRY_PAUSE * (1 << retries));
}

/// Asks a first question, and again where something is there that says "not now"; `is_retried` hears of each such answer.
pub(super) fn first<T>(
    question: impl Fn() -> Result<T, client::Error>,
    is_retried: impl Fn(&client::Error),
) -> Result<T, client::Error> {
    for retries in 0..RETRIES_MAX {
        match question() {
            Err(error) if error.says_not_now() => is_retried(&error),
            answered => return answered,
        }
        pause(retries);
    }
    question()
}
