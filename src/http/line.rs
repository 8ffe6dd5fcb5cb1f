//! The connection, as seen by whoever waits or sends on it: what it belongs to, whether its client is still there, and
//! why it ends early.

use super::budget::{Charge, Use};
use super::context::Context;
use super::problem::{self, Problem};
use super::registry::Peer;
use super::shared::Shared;
use crate::node::Node;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// The connection, as seen by whoever waits on it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    context: Context<'a>,
    peer: &'a Peer,
}

impl<'a> Line<'a> {
    pub(super) fn new(context: Context<'a>, peer: &'a Peer) -> Line<'a> {
        Line { context, peer }
    }

    pub(super) fn node(&self) -> &'a Node {
        self.context.node
    }

    pub(super) fn peer(&self) -> &'a Peer {
        self.peer
    }

    pub(super) fn shared(&self) -> &'a Shared {
        self.context.shared
    }

    /// Whether the server has been told to stop: then nothing is waited for any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.shared().is_stopping()
    }

    #[cfg(test)]
    pub(super) fn close(&self) {
        let _ = self.peer.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Whether the client has closed its side. One that only says that it sends no more counts as gone too:
    /// the two look the same from here. A system call, not to be made too often.
    pub(super) fn has_gone(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.peer.stream, &mut [0; 1], flags) {
            Ok((_, bytes)) => bytes == 0,
            Err(error) => !matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }

    /// Takes room for an answer of `bytes` in all, and waits for it up to `patience` where there is none; `false` where
    /// there was none in the end, the client has gone or the server stops.
    pub(super) fn await_room(&self, charge: &mut Charge<'a>, bytes: usize, patience: Duration) -> bool {
        charge.raise_to(Use::Answer, bytes)
            || charge.wait_for(bytes, Instant::now() + patience, || {
                !self.is_stopping() && !self.has_gone()
            })
    }
}

/// Why a stream ends before its body does.
#[derive(Debug)]
pub(super) enum Cut {
    /// The client does not read, or has gone.
    Client(io::Error),
    /// Others have all the memory that answers may take.
    Overloaded,
    /// The rest of the body cannot be made.
    Body(String),
    /// What it shows is not had by as many as must have it.
    Unacknowledged(Problem),
}

impl Cut {
    /// What is answered where nothing was sent yet; the error of the connection, where nothing can be.
    pub(super) fn into_problem(self) -> Result<Problem, io::Error> {
        match self {
            Cut::Client(error) => Err(error),
            Cut::Overloaded => Ok(overloaded()),
            Cut::Body(why) => Ok(Problem::new(problem::LOG_UNREADABLE, why)),
            Cut::Unacknowledged(problem) => Ok(problem),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Client(error) => write!(f, "the client took no more of a stream: {error}"),
            Cut::Overloaded => {
                f.write_str("a stream was cut: answers in flight take all the memory they may")
            }
            Cut::Body(why) => write!(f, "a stream was cut: {why}"),
            Cut::Unacknowledged(problem) => write!(f, "a stream was cut: {}", problem.detail()),
        }
    }
}

impl std::error::Error for Cut {}

/// Why a request is refused that there is no room for.
pub(super) fn overloaded() -> Problem {
    Problem::new(
        problem::OVERLOADED,
        "requests and answers in flight take all the memory they may",
    )
    .retry_after(1)
}
