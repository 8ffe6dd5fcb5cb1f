//! What the service manager hears of a node, where one started it: systemd, which names its socket in `NOTIFY_SOCKET`.
//!
//! Without that variable nothing is sent. What cannot be sent is logged, and is no reason not to serve. A start that takes
//! long is logged too, for those who have no manager.

use super::Error;
use crate::engine::Gateway;
use crate::net::{Endpoint, Passed};
use crate::node::Node;
use crate::system;
use crate::wal::Progress;
use listenfd::ListenFd;
use log::{info, warn};
use sd_notify::NotifyState;
use std::env;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How much longer than this moment a start may take.
const START_MAX_US: u32 = 60_000_000;

/// How often it is said how far a start is.
const START_SAID_EVERY: Duration = Duration::from_secs(5);

/// How often it is said what the node is, where the watchdog does not ask for more.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The sockets that the manager listens at, and passes to the process (`LISTEN_FDS`); `listen` says then where they
/// are. None where it passes none.
pub(super) fn take_sockets(listen: &mut Vec<Endpoint>) -> Result<Vec<Passed>, Error> {
    let mut given = ListenFd::from_env();
    let mut passed = Vec::new();
    for number in 0..given.len() {
        let tcp = given.take_tcp_listener(number).map(|one| one.map(Passed::Tcp));
        let one = tcp.or_else(|_| given.take_unix_listener(number).map(|one| one.map(Passed::Unix)));
        let one = one.map_err(|source| Error::Io {
            doing: format!("cannot listen at socket {number} of the service manager"),
            source,
        })?;
        passed.extend(one);
    }
    if !passed.is_empty() {
        let endpoints = passed
            .iter()
            .map(Passed::endpoint)
            .collect::<std::io::Result<_>>();
        *listen = endpoints.map_err(|source| Error::Io {
            doing: "cannot tell where the service manager listens".to_owned(),
            source,
        })?;
    }
    Ok(passed)
}

/// Tells the manager that the node takes requests. Until `run` returns it reports each change of the node's state.
pub(super) fn serve<T>(node: &Node, run: impl FnOnce() -> T) -> Result<T, Error> {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(run());
    }
    send_all(&[NotifyState::Ready, NotifyState::Status(&status(node))]);
    let watchdog = sd_notify::watchdog_enabled();
    // Half of it, as sd_watchdog_enabled(3) advises.
    let every = watchdog.map_or(STATUS_EVERY, |limit| (limit / 2).min(STATUS_EVERY));
    let mut turns = None;
    let mut told = status(node);
    let tell = || {
        let now = status(node);
        if now != told {
            send(NotifyState::Status(&now));
            told = now;
        }
        // The log's thread turns several times a second: one that hangs is what the watchdog is for.
        let before = turns.replace(node.log_turns());
        if watchdog.is_some() && turns != before {
            send(NotifyState::Watchdog);
        }
    };
    meanwhile(every, tell, run)
}

/// As [`serve`], for a gateway: what its engine is, and whether it is looked at.
pub(super) fn serve_gateway<T>(gateway: &Gateway, run: impl FnOnce() -> T) -> Result<T, Error> {
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(run());
    }
    let status = || match gateway.report().unready() {
        None => format!("gateway to {}", gateway.url()),
        Some(why) => format!("gateway: {why}"),
    };
    send_all(&[NotifyState::Ready, NotifyState::Status(&status())]);
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(STATUS_EVERY, |limit| (limit / 2).min(STATUS_EVERY));
    let tell = || {
        send(NotifyState::Status(&status()));
        if watchdog.is_some() {
            send(NotifyState::Watchdog);
        }
    };
    meanwhile(every, tell, run)
}

/// What a node is, in a few words.
fn status(node: &Node) -> String {
    format!(
        "{} of term {}: {}",
        node.role().name(),
        node.term(),
        node.status().health
    )
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

/// Does what a start does before the node takes requests, and says how far it is. As long as that takes, the manager
/// waits.
pub(super) fn start<T>(progress: &Progress, start: impl FnOnce() -> T) -> Result<T, Error> {
    let begun = Instant::now();
    let has_manager = env::var_os("NOTIFY_SOCKET").is_some();
    let status = move || {
        let (read, all) = progress.bytes();
        let seconds = begun.elapsed().as_secs();
        let (read, all) = (read >> 20, all >> 20);
        format!("starting for {seconds} s: {read} of {all} MiB of the log are read")
    };
    let extend = move || {
        if has_manager {
            let extend = NotifyState::ExtendTimeoutUsec(START_MAX_US);
            send_all(&[extend, NotifyState::Status(&status())]);
        }
    };
    // Before the thread, so that it is said of every start.
    extend();
    let say = move || {
        info!("{}", status());
        extend();
    };
    meanwhile(START_SAID_EVERY, say, start)
}

/// Calls `say` on a thread of its own, again and again, until `work` is done.
fn meanwhile<T>(every: Duration, mut say: impl FnMut() + Send, work: impl FnOnce() -> T) -> Result<T, Error> {
    let (is_done, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let run = move || {
            while wait.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                say();
            }
        };
        thread::Builder::new()
            .name("service".to_owned())
            .spawn_scoped(scope, run)
            .map_err(|source| Error::Io {
                doing: "cannot start a thread for the service manager".to_owned(),
                source,
            })?;
        let done = work();
        drop(is_done);
        Ok(done)
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
