//! Answers that wait, answers that are large, and answers that have no end in sight.
//!
//! A handler must neither wait nor write. One that has to leaves behind what is to be done: a [`Later`].
//! The connection sends everything that it has in hand, gives its buffers back, and then runs it on its own
//! thread. What comes of it is an answer like any other, or a [`Stream`]: a head, and then pieces, each sent
//! as it is made ([`super::sink`]). Requests that stand behind it in a pipeline wait their turn.
//!
//! # What must hold
//! - What an answer may take of memory is charged to the connection before it is made; see [`super::budget`].
//! - A client that does not read is cut off after the time that an answer may take. It costs its own
//!   thread that long, and nobody else anything.
//! - A stream that ends whole says so (the last chunk; for HTTP/1.0, which has no chunks, the close). One
//!   that fails half-way is cut without it, so no client takes a part for the whole.
//! - Whoever waits here looks at [`Line::is_stopping`] whenever it wakes, and is woken when the server
//!   stops.

use super::Shared;
use super::budget::Charge;
use super::handlers::{Context, Scratch};
use super::problem::{self, Problem};
use super::registry::Peer;
use super::response::Reply;
use super::sink::Sink;
use crate::node::Node;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// How long a request waits for its turn where others have all the memory that answers may take.
pub(super) const TURN_MAX: Duration = Duration::from_secs(10);

/// What a handler makes of a request.
pub(super) enum Answer<'a> {
    /// An answer that is there.
    Now(Reply),
    /// What must be done first, once all answers before it were sent.
    Later(Later<'a>),
}

/// What is done once all answers before it were sent. It may wait.
pub(super) type Later<'a> = Box<dyn FnOnce(&mut Desk<'a, '_>) -> Result<Outcome<'a>, Problem> + 'a>;

/// What the work of a [`Later`] is done with.
pub(super) struct Desk<'a, 'c> {
    pub(super) line: Line<'a>,
    /// A small body of an answer goes in here. The buffers are empty.
    pub(super) scratch: &'c mut Scratch,
    pub(super) charge: &'c mut Charge<'a>,
}

impl Desk<'_, '_> {
    /// Takes room for `bytes` in all, which may mean to wait for it. Nothing large may be held meanwhile.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        self.charge.lower_to(bytes);
        match self.line.await_room(self.charge, bytes, TURN_MAX) {
            true => Ok(()),
            false => Err(overloaded()),
        }
    }
}

/// Why a request is refused that there is no room for.
pub(super) fn overloaded() -> Problem {
    Problem::new(
        problem::OVERLOADED,
        "requests and answers in flight take all the memory they may",
    )
    .retry_after(1)
}

/// What comes of waiting.
pub(super) enum Outcome<'a> {
    /// An answer.
    Reply(Reply),
    /// The beginning of one.
    Stream(Stream<'a>),
}

/// An answer whose body is made while it is sent.
pub(super) struct Stream<'a> {
    /// Its head, with a body that is [`Streamed`](super::response::Body::Streamed), or
    /// [`Measured`](super::response::Body::Measured) where the length is known.
    pub(super) head: Reply,
    /// What making and sending it takes of memory at any time, in bytes.
    pub(super) holds: usize,
    /// Whether it goes on for as long as the client reads: then its first piece is sent at once, and each
    /// piece may take as long as another answer.
    pub(super) is_endless: bool,
    /// Writes the body. Not called where the request was a HEAD.
    pub(super) body: StreamBody<'a>,
}

/// Writes the body of a stream.
pub(super) type StreamBody<'a> = Box<dyn FnOnce(&mut Sink<'a, '_>) -> Result<(), Cut> + 'a>;

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

    /// Takes room for `bytes` in all, and waits for it up to `patience` where there is none; `false` where
    /// there was none in the end, the client has gone or the server stops.
    pub(super) fn await_room(&self, charge: &mut Charge<'a>, bytes: usize, patience: Duration) -> bool {
        charge.raise_to(bytes)
            || charge.wait_for(bytes, Instant::now() + patience, || {
                !self.is_stopping() && !self.has_gone()
            })
    }
}
