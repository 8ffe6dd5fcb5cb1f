//! Answers that wait, and answers that have no end in sight.
//!
//! A handler must neither wait nor write. One that has to leaves behind what is to be done: a [`Later`].
//! The connection sends everything that it has in hand, gives its buffers back, and then runs it on its own
//! thread. What comes of it is an answer like any other, or a [`Stream`]: a head, and then pieces, each sent
//! as it is made. Requests that stand behind it in a pipeline wait their turn.
//!
//! # What must hold
//! - A client that does not read is cut off after the time that an answer may take. It costs its own
//!   thread that long, and nobody else anything.
//! - A stream that ends whole says so (the last chunk; for HTTP/1.0, which has no chunks, the close). One
//!   that fails half-way is cut without it, so no client takes a part for the whole.
//! - Whoever waits here looks at [`Line::is_stopping`] whenever it wakes, and is woken when the server
//!   stops.

use super::Shared;
use super::handlers::{Context, Scratch};
use super::limits::{Charge, time_for};
use super::problem::Problem;
use super::registry::Peer;
use super::response::Reply;
use crate::node::Node;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::time::Instant;

/// Pieces up to this size are not counted against the budget of all connections, in bytes.
const UNCHARGED_BYTES: usize = 32 * 1024;

/// What a handler makes of a request.
pub(super) enum Answer<'a> {
    /// An answer that is there.
    Now(Reply),
    /// What must be done first, once all answers before it were sent.
    Later(Later<'a>),
}

/// What is done once all answers before it were sent. It may wait; a body of its answer goes into the
/// scratch buffers, which are empty.
pub(super) type Later<'a> = Box<dyn FnOnce(Line<'a>, &mut Scratch) -> Result<Outcome<'a>, Problem> + 'a>;

/// What comes of waiting.
pub(super) enum Outcome<'a> {
    /// An answer.
    Reply(Reply),
    /// The beginning of one.
    Stream(Stream<'a>),
}

/// An answer whose body is made while it is sent.
pub(super) struct Stream<'a> {
    /// Its head, with a body that is [`Streamed`](super::response::Body::Streamed).
    pub(super) head: Reply,
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
    /// The rest of the body cannot be made.
    Body(String),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Client(error) => write!(f, "the client took no more of a stream: {error}"),
            Cut::Body(why) => write!(f, "a stream was cut: {why}"),
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

    fn shared(&self) -> &'a Shared {
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
}

/// Where the pieces of a stream go.
pub(super) struct Sink<'a, 'c> {
    line: Line<'a>,
    charge: &'c mut Charge<'a>,
    is_chunked: bool,
    sent_bytes: u64,
}

impl<'a, 'c> Sink<'a, 'c> {
    pub(super) fn new(line: Line<'a>, charge: &'c mut Charge<'a>, is_chunked: bool) -> Sink<'a, 'c> {
        Sink {
            line,
            charge,
            is_chunked,
            sent_bytes: 0,
        }
    }

    /// Bytes of pieces that were sent.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// The connection that it goes to.
    pub(super) fn line(&self) -> Line<'a> {
        self.line
    }

    /// Sends a piece, and returns when the system has taken all of it. An error is to be returned by the
    /// stream's body: nothing can be sent after it.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), Cut> {
        // A chunk of nothing would be the end.
        if piece.is_empty() {
            return Ok(());
        }
        if piece.len() > UNCHARGED_BYTES && !self.charge.raise_to(piece.len()) {
            return Err(Cut::Body(
                "answers in flight take all the memory they may".to_owned(),
            ));
        }
        let sent = if self.is_chunked {
            let head = format!("{:x}\r\n", piece.len());
            self.send(&mut [head.as_bytes(), piece, b"\r\n"].map(IoSlice::new))
        } else {
            self.send(&mut [IoSlice::new(piece)])
        };
        self.charge.release();
        self.sent_bytes += piece.len() as u64;
        sent
    }

    /// Says that the body was whole.
    pub(super) fn end(&self) -> Result<(), Cut> {
        if self.is_chunked {
            self.send(&mut [IoSlice::new(b"0\r\n\r\n")])?;
        }
        Ok(())
    }

    fn send(&self, mut slices: &mut [IoSlice<'_>]) -> Result<(), Cut> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        let time = self.line.shared().limits.write_timeout + time_for(bytes);
        let mut deadline = None;
        loop {
            match (&self.line.peer.stream).write_vectored(slices) {
                Ok(0) => return Err(Cut::Client(io::ErrorKind::WriteZero.into())),
                Ok(sent) => IoSlice::advance_slices(&mut slices, sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Cut::Client(error)),
            }
            if slices.is_empty() {
                return Ok(());
            }
            // The socket's own timeout bounds each write, this one all of them.
            let now = Instant::now();
            if now >= *deadline.get_or_insert_with(|| now + time) {
                return Err(Cut::Client(io::ErrorKind::TimedOut.into()));
            }
        }
    }
}
