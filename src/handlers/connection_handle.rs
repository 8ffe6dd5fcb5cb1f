//! The connection, as seen by whoever waits or sends on it: what it belongs to, whether its client is still there, and
//! why it ends early.

use super::shared::Shared;
use crate::http::problem::{self, Problem};
use crate::net::budget::{Charge, Use};
use crate::net::registry::Peer;
use crate::system;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// The connection, as seen by whoever waits on it.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionHandle<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
}

impl<'a> ConnectionHandle<'a> {
    pub(crate) fn new(shared: &'a Shared, peer: &'a Peer) -> ConnectionHandle<'a> {
        ConnectionHandle { shared, peer }
    }

    pub(crate) fn peer(&self) -> &'a Peer {
        self.peer
    }

    pub(crate) fn shared(&self) -> &'a Shared {
        self.shared
    }

    /// Whether the server is to stop: then nothing is waited for any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.shared().is_stopping()
    }

    #[cfg(test)]
    pub(crate) fn close(&self) {
        let _ = self.peer.transport.shutdown(std::net::Shutdown::Both);
    }

    /// Whether the client has closed its side. One that only says that it sends no more counts as gone too:
    /// the two look the same from here. A system call, not to be made too often.
    pub(crate) fn has_gone(&self) -> bool {
        self.peer.transport.has_gone()
    }

    /// Takes room for an answer of `bytes` in all, and waits for it up to `patience` where there is none; `false` where
    /// there was none in the end, the client has gone or the server stops.
    pub(crate) fn await_room(&self, charge: &mut Charge<'a>, bytes: usize, patience: Duration) -> bool {
        charge.raise_to(Use::Answer, bytes)
            || charge.wait_for(bytes, Instant::now() + patience, || {
                !self.is_stopping() && !self.has_gone()
            })
    }
}

/// Why a stream ends before its body does.
#[derive(Debug)]
pub(crate) enum Aborted {
    /// The client does not read, or has gone.
    Client(io::Error),
    /// Others have all the memory that answers may take.
    Overloaded,
    /// The rest of the body cannot be made.
    Body(String),
    /// What it shows is not had by as many as must have it.
    Unacknowledged(Problem),
}

impl Aborted {
    /// What is answered where nothing was sent yet; the error of the connection, where nothing can be.
    pub(crate) fn into_problem(self) -> Result<Problem, io::Error> {
        match self {
            Aborted::Client(error) => Err(error),
            Aborted::Overloaded => Ok(overloaded()),
            Aborted::Body(why) => Ok(Problem::new(problem::LOG_UNREADABLE, why)),
            Aborted::Unacknowledged(problem) => Ok(problem),
        }
    }
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aborted::Client(error) => {
                write!(f, "the client took no more of a stream: {}", system::words(error))
            }
            Aborted::Overloaded => {
                f.write_str("a stream was cut: answers in flight use all of --max-in-flight")
            }
            Aborted::Body(why) => write!(f, "a stream was cut: {why}"),
            Aborted::Unacknowledged(problem) => write!(f, "a stream was cut: {}", problem.detail()),
        }
    }
}

impl std::error::Error for Aborted {}

/// Why a request is refused that there is no room for.
pub(crate) fn overloaded() -> Problem {
    Problem::new(
        problem::OVERLOADED,
        "requests and answers in flight use all of --max-in-flight",
    )
    .retry_after(1)
}
