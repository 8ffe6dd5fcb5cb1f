//! Watching keys: their state, and then each change, over any number of connections.
//!
//! # What must hold
//! - No change is left out without a new [`Notice::State`]: a watch that breaks is begun anew behind the last change that
//!   was handed on, and where etcd has compacted that, with the state of all keys.
//! - [`Stop::stop`] ends it at once, also in the midst of a read.
//! - A connection that is dead and does not say so is found out: one on which nothing came for [`SILENCE_MAX`] is
//!   replaced.
//!
//! A watch makes its user quick, and is nothing to rely on: the member that answers may lag.

use super::client::Client;
use super::error::Error;
use super::kv::{Event, Range};
use super::login;
use super::post::{self, ANSWER_BYTES_MAX, Failed, Request};
use super::requests;
use super::verdict::Verdict;
use super::wire::{self, WatchMessage};
use crate::address::Address;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use ureq::Agent;

const PATH_WATCH: &str = "/v3/watch";

/// How long nothing may come over a connection before it is replaced.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long a watch that failed waits before it begins anew: at first, and after many failures.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long reading the state of all keys may take, as a multiple of the time of one try.
const STATE_TRIES: u32 = 3;

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// All keys as they are: what was known of them before counts no more.
    State(Range),
    /// Keys have changed.
    Changed {
        /// The revision up to which changes are known.
        revision: u64,
        /// The changes, in order.
        events: Vec<Event>,
    },
    /// No changes come at the moment. The watch tries again by itself.
    Failed(Error),
}

/// Ends a watch, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<Stopped>,
    changed: Condvar,
}

#[derive(Default)]
struct Stopped {
    to_stop: bool,
    /// The one that has the connection of the watch.
    agent: Option<Agent>,
}

impl Stop {
    /// Of a watch that has not begun.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Ends the watch, for good.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.to_stop = true;
        let agent = state.agent.take();
        drop(state);
        self.0.changed.notify_all();
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }

    /// Whether the watch is to end, or has ended.
    pub fn is_stopped(&self) -> bool {
        self.lock().to_stop
    }

    /// Notes who has the connection; `false` where there is to be none.
    fn connects(&self, agent: &Agent) -> bool {
        let mut state = self.lock();
        if !state.to_stop {
            state.agent = Some(agent.clone());
        }
        !state.to_stop
    }

    /// Returns after a while, and at once when stopped.
    fn wait(&self, pause: Duration) {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), pause, |state| !state.to_stop);
        drop(waited.expect("nothing under this lock panics"));
    }

    fn lock(&self) -> MutexGuard<'_, Stopped> {
        self.0.state.lock().expect("nothing under this lock panics")
    }
}

/// Why a connection of a watch has ended.
enum Ended {
    /// Nothing came for a while.
    Silent,
    /// The changes that are asked for were compacted.
    Compacted,
    /// The member knows of no revision that is as high as the one asked for: it lags, or etcd has lost changes.
    Behind,
    Failed(Verdict),
}

impl Client {
    /// Watches all keys that begin so, until it is stopped, and hands on what it has to say. It begins with the changes
    /// from a revision on; without one, with the state of the keys.
    pub fn watch(&self, prefix: &str, from_revision: Option<u64>, stop: &Stop, mut each: impl FnMut(Notice)) {
        let mut next_revision = from_revision;
        let mut pause = PAUSE;
        while !stop.is_stopped() {
            let from = match next_revision {
                Some(from) => from,
                None => match self.range_prefix(prefix, self.try_timeout() * STATE_TRIES) {
                    Ok(range) => {
                        let from = range.header.revision + 1;
                        next_revision = Some(from);
                        each(Notice::State(range));
                        from
                    }
                    Err(error) => {
                        self.rest(stop, &mut pause, error, &mut each);
                        continue;
                    }
                },
            };
            let (number, at) = self.current();
            let mut each_message = |message: WatchMessage| {
                pause = PAUSE;
                if message.events.is_empty() {
                    return;
                }
                let revision = message.header.revision;
                next_revision = Some(revision + 1);
                each(Notice::Changed {
                    revision,
                    events: message.events,
                });
            };
            match self.watch_once(at, prefix, from, stop, &mut each_message) {
                Ended::Silent => {}
                Ended::Compacted => next_revision = None,
                Ended::Behind => {
                    next_revision = None;
                    stop.wait(PAUSE);
                }
                Ended::Failed(_) if stop.is_stopped() => {}
                Ended::Failed(verdict) => {
                    self.leave(number);
                    if matches!(&verdict, Verdict::Elsewhere(Error::WentBack { .. })) {
                        // Revisions from before are no place to continue from.
                        next_revision = None;
                    }
                    self.rest(stop, &mut pause, verdict.into_error(), &mut each);
                }
            }
        }
    }

    fn rest(&self, stop: &Stop, pause: &mut Duration, error: Error, each: &mut impl FnMut(Notice)) {
        if !stop.is_stopped() {
            each(Notice::Failed(error));
        }
        stop.wait(*pause);
        *pause = (*pause * 2).min(PAUSE_MAX);
    }

    /// Watches over one connection, until that ends.
    fn watch_once(
        &self,
        at: &Address,
        prefix: &str,
        from_revision: u64,
        stop: &Stop,
        each: &mut impl FnMut(WatchMessage),
    ) -> Ended {
        let failed = |failed| Ended::Failed(Verdict::of(at, false, None, failed));
        let timeout = self.try_timeout();
        let token = match self.token(at, Instant::now() + timeout) {
            Ok(token) => token,
            Err(why) => return failed(why),
        };
        // Of its own, so that stopping it ends no other request.
        let agent = self.config.new_agent();
        if !stop.connects(&agent) {
            return Ended::Silent;
        }
        let body = requests::watch(prefix, from_revision);
        let request = Request {
            path: PATH_WATCH,
            body: Some(&body),
            token: token.as_ref(),
        };
        let response = match post::open(&agent, at, request, timeout, SILENCE_MAX) {
            Ok(response) => response,
            Err(why) => {
                self.log_out_if_unknown(&why);
                return failed(why);
            }
        };
        let mut reader = BufReader::new(response.into_body().into_reader());
        let when_sent = self.seen();
        loop {
            let line = match read_line(&mut reader) {
                Ok(line) => line,
                Err(Line::Silent) => return Ended::Silent,
                Err(Line::Failed(why)) => return failed(why),
            };
            let message = match wire::watched(&line) {
                Ok(message) => message,
                Err(no) => {
                    let why = no.into();
                    self.log_out_if_unknown(&why);
                    return failed(why);
                }
            };
            if let Err(stale) = self.note(when_sent, &message.header, false) {
                return Ended::Failed(Verdict::of_stale(at, false, stale, &message.header));
            }
            if message.is_compacted {
                return Ended::Compacted;
            }
            // It would wait for that revision, without a word.
            if message.created && message.header.revision < from_revision - 1 {
                return Ended::Behind;
            }
            if let Some(why) = message.canceled {
                let why = Failed::Etcd {
                    code: 14,
                    message: format!("the watch was cancelled: {why}"),
                };
                self.log_out_if_unknown(&why);
                return failed(why);
            }
            each(message);
        }
    }

    fn log_out_if_unknown(&self, failed: &Failed) {
        if let Failed::Etcd { message, .. } = failed
            && login::is_token_unknown(message)
        {
            self.log_out();
        }
    }
}

/// Why there is no next line.
enum Line {
    /// None came in time.
    Silent,
    Failed(Failed),
}

/// The next line that is not empty.
fn read_line(reader: &mut impl BufRead) -> Result<Vec<u8>, Line> {
    loop {
        let mut line = Vec::new();
        let read = reader
            .by_ref()
            .take(ANSWER_BYTES_MAX as u64)
            .read_until(b'\n', &mut line);
        match read {
            Err(error) => {
                return Err(match ureq::Error::from(error) {
                    ureq::Error::Timeout(_) => Line::Silent,
                    error => Line::Failed(post::failed(error, SILENCE_MAX)),
                });
            }
            Ok(0) => {
                let why = "the other side ended the watch".to_owned();
                return Err(Line::Failed(Failed::Lost(why)));
            }
            Ok(ANSWER_BYTES_MAX) => {
                let why = "a message is longer than any of etcd".to_owned();
                return Err(Line::Failed(Failed::Foreign(why)));
            }
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => return Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded() {
        let line = |mut bytes: &[u8]| read_line(&mut bytes);
        assert!(matches!(line(b"\n \n{}\n"), Ok(line) if line == b"{}\n"));
        assert!(matches!(line(b""), Err(Line::Failed(Failed::Lost(_)))));
        let long = vec![b'x'; 2 * ANSWER_BYTES_MAX];
        assert!(matches!(line(&long), Err(Line::Failed(Failed::Foreign(_)))));
    }

    #[test]
    fn a_stop_before_the_connection_keeps_it_from_being_made() {
        let stop = Stop::new();
        stop.stop();
        assert!(stop.is_stopped());
        let agent = Agent::config_builder().build().new_agent();
        assert!(!stop.connects(&agent));
        let begun = Instant::now();
        stop.wait(Duration::from_secs(3600));
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
