//! What the service manager hears of a node, where one started it: systemd, which names its socket in `NOTIFY_SOCKET`.
//!
//! Without that variable nothing is sent. What cannot be sent is logged, and is no reason not to serve.

use super::Error;
use crate::system;
use log::warn;
use sd_notify::NotifyState;
use std::env;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How much longer than this moment a start may take, and how often that is said.
const START_MAX_US: u32 = 60_000_000;
const EXTEND_EVERY: Duration = Duration::from_secs(15);

/// The node takes requests.
pub(super) fn is_ready() {
    send(NotifyState::Ready);
}

/// The node has begun to stop.
pub(super) fn is_stopping() {
    send(NotifyState::Stopping);
}

/// Does what a SIGHUP asks for, and says so.
pub(super) fn reload(reload: impl FnOnce()) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send_all(&[NotifyState::Reloading, now]),
        Err(error) => warn!("the clock cannot be read: {}", system::words(&error)),
    }
    reload();
    send(NotifyState::Ready);
}

/// Does what a start does before the node takes requests. As long as that takes, the manager waits.
pub(super) fn start<T>(start: impl FnOnce() -> T) -> Result<T, Error> {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(start());
    }
    let (has_started, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let extend = move || {
            while wait.recv_timeout(EXTEND_EVERY) == Err(RecvTimeoutError::Timeout) {
                send(NotifyState::ExtendTimeoutUsec(START_MAX_US));
            }
        };
        // Before the thread, so that it is said of every start.
        send(NotifyState::ExtendTimeoutUsec(START_MAX_US));
        thread::Builder::new()
            .name("service".to_owned())
            .spawn_scoped(scope, extend)
            .map_err(|source| Error::Io {
                doing: "cannot start a thread for the service manager".to_owned(),
                source,
            })?;
        let started = start();
        drop(has_started);
        Ok(started)
    })
}

fn send(state: NotifyState<'_>) {
    send_all(&[state]);
}

fn send_all(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("the service manager cannot be reached: {}", system::words(&error));
    }
}
