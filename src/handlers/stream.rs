//! Answers that wait, answers that are large, and answers that have no end in sight.
//!
//! A handler must neither wait nor write. One that has to returns what is to be done later: a [`DeferredHandler`].
//! The connection sends everything that it has in hand, gives its buffers back, and then runs it on its own
//! thread. What comes of it is an answer like any other, or a [`Stream`]: a head, and then chunks, each sent
//! as it is made ([`crate::handlers::sink`]). Requests that stand behind it in a pipeline wait their turn.
//!
//! # What must hold
//! - What an answer may take of memory is charged to the connection before it is made; see [`crate::net::budget`].
//! - A client that does not read is cut off after the time that an answer may take. It costs its own
//!   thread that long, and nobody else anything.
//! - A stream that ends whole says so (the last chunk; for HTTP/1.0, which has no chunks, the close). One
//!   that fails half-way is cut without it, so no client takes a part for the whole.
//! - Whoever waits here looks at [`ConnectionHandle::is_stopping`] whenever it wakes, and is woken when the server
//!   stops.

use super::connection_handle::{Aborted, ConnectionHandle, overloaded};
use super::context::Scratch;
use super::sink::Sink;
use crate::http::problem::Problem;
use crate::http::response::Reply;
use crate::net::budget::{Charge, Use};
use std::time::Duration;

/// How long a request waits for its turn where others have all the memory that answers may take.
pub(crate) const TURN_MAX: Duration = Duration::from_secs(10);

/// What a handler makes of a request.
pub(crate) enum Answer<'a> {
    /// An answer that is there.
    Now(Reply),
    /// What must be done first, once all answers before it were sent.
    Later(DeferredHandler<'a>),
}

/// What is done once all answers before it were sent. It may wait.
pub(crate) type DeferredHandler<'a> =
    Box<dyn FnOnce(&mut Workspace<'a, '_>) -> Result<LateResponse<'a>, Problem> + 'a>;

/// What the work of a [`DeferredHandler`] is done with.
pub(crate) struct Workspace<'a, 'c> {
    pub(crate) connection: ConnectionHandle<'a>,
    /// A small body of an answer goes in here. The buffers are empty.
    pub(crate) scratch: &'c mut Scratch,
    pub(crate) charge: &'c mut Charge<'a>,
    /// The node that writers are held for until the connection ends, if not before.
    pub(crate) held_for: &'c mut Option<u64>,
}

impl Workspace<'_, '_> {
    /// Takes room for `bytes` in all, where there is some at once; `false` where others have it, or it is more than
    /// an answer can be charged with.
    pub(crate) fn may_keep(&mut self, bytes: usize) -> bool {
        bytes <= self.charge.budget().answer_bytes_max() && self.charge.raise_to(Use::Answer, bytes)
    }

    /// Takes room for `bytes` in all, which may mean to wait for it. Nothing large may be held meanwhile.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        self.charge.lower_to(bytes);
        match self.connection.await_room(self.charge, bytes, TURN_MAX) {
            true => Ok(()),
            false => Err(overloaded()),
        }
    }
}

/// What comes of waiting.
pub(crate) enum LateResponse<'a> {
    /// An answer.
    Reply(Reply),
    /// The beginning of one.
    Stream(Stream<'a>),
}

/// An answer whose body is made while it is sent.
pub(crate) struct Stream<'a> {
    /// Its head, with a body that is [`Streamed`](crate::http::response::Body::Streamed), or
    /// [`Measured`](crate::http::response::Body::Measured) where the length is known.
    pub(crate) head: Reply,
    /// What making and sending it takes of memory at any time, in bytes.
    pub(crate) holds: usize,
    /// Whether it continues for as long as the client reads: then its first chunk is sent at once, and each
    /// chunk may take as long as another answer.
    pub(crate) is_endless: bool,
    /// Writes the body. Not called where the request was a HEAD.
    pub(crate) body: StreamBody<'a>,
}

/// Writes the body of a stream.
pub(crate) type StreamBody<'a> = Box<dyn FnOnce(&mut Sink<'a, '_>) -> Result<(), Aborted> + 'a>;
