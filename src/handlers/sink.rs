//! The body of a large answer: made in chunks, each sent as it is made.
//!
//! What is made gathers in a buffer, and goes out whenever there is a chunk of it. A body that turns out to be
//! shorter than a chunk is sent with its head in one write, with its length, as any other answer.
//!
//! # What must hold
//! - A sink holds one piece of the body, however long that is, beside one item that was asked room for.
//! - Whoever waits for room in it holds nothing: what was made is sent, and the buffer freed, before.
//! - A large value is sent from the store's own memory. The answer keeps it alive where there is room for it to be
//!   charged, and gives it up once its client is slow and others wait for room. From then on it looks the value up for
//!   each chunk, and holds nothing of it while its client takes no more. It is cut where the value was replaced.
//! - One that holds what others wait for, cannot give it up and has sent nothing for some seconds is cut.

use super::connection_handle::{Aborted, ConnectionHandle};
use super::out::{Out, PART_BYTES, push_encoding, push_part};
use crate::api::Encoding;
use crate::http::response::{Body, Encoder, Envelope, Reply};
use crate::net::budget::{Charge, LOOK_EVERY, Use};
use crate::net::time_for;
use crate::pair::Pair;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// From so many bytes on, what was made is sent.
const PIECE_BYTES: usize = 32 * 1024;

/// What a sink holds at most beside the items that are written into it, in bytes.
pub(crate) const SINK_BYTES: usize = PIECE_BYTES + 6 * PART_BYTES;

/// For how long one that holds much may send nothing while others wait for room. Writes are exempt.
const STALLED_MAX: Duration = Duration::from_secs(5);

/// A large value that is sent without a copy of it.
pub(crate) struct SharedValue<'f> {
    pub(crate) value_bytes: usize,
    /// Finds it, of the same version. `None` once the store has it no more.
    pub(crate) find: &'f dyn Fn() -> Option<Pair>,
}

/// How the end of a body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length, which the head says.
    Length,
    Chunks,
    /// By the close of the connection.
    Close,
}

/// Where the chunks of a stream go.
pub(crate) struct Sink<'a, 'c> {
    connection: ConnectionHandle<'a>,
    charge: &'c mut Charge<'a>,
    encoder: &'c Encoder,
    envelope: Envelope,
    /// Until it was sent.
    head: Option<Reply>,
    framing: Framing,
    is_endless: bool,
    /// What of the body was made and not sent.
    out: Vec<u8>,
    sent_bytes: u64,
    /// For how long the client may still keep the stream waiting.
    patience: Duration,
    /// The large value at hand.
    kept: Option<Pair>,
    /// What is held once that is given up, in bytes; none where the value is not charged.
    charged_beside: Option<usize>,
    /// Whether it answers a write, which is not cut for others.
    is_write: bool,
}

impl<'a, 'c> Sink<'a, 'c> {
    /// A stream that begins with `head`; without it, where that was sent before.
    pub(crate) fn new(
        connection: ConnectionHandle<'a>,
        charge: &'c mut Charge<'a>,
        encoder: &'c Encoder,
        envelope: Envelope,
        head: Option<Reply>,
    ) -> Sink<'a, 'c> {
        let is_measured = matches!(&head, Some(head) if matches!(head.body, Body::Measured(..)));
        let framing = match (is_measured, envelope.is_http10) {
            (true, _) => Framing::Length,
            (false, false) => Framing::Chunks,
            (false, true) => Framing::Close,
        };
        Sink {
            kept: None,
            charged_beside: None,
            // The head of an answer to a write is sent before.
            is_write: head.is_none(),
            connection,
            charge,
            encoder,
            envelope,
            head,
            framing,
            is_endless: false,
            out: Vec::new(),
            sent_bytes: 0,
            patience: connection.shared().limits.write_timeout,
        }
    }

    /// Makes it a stream that continues for as long as the client reads.
    pub(crate) fn endless(mut self) -> Sink<'a, 'c> {
        self.is_endless = true;
        self
    }

    /// Bytes of the body that were sent.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Whether nothing was sent yet, so that another answer can take the place of this one.
    pub(crate) fn is_unsent(&self) -> bool {
        self.head.is_some()
    }

    /// Whether the connection has to be closed for the client to see the end.
    pub(crate) fn ends_with_close(&self) -> bool {
        self.envelope.close
    }

    /// The connection that it goes to.
    pub(crate) fn connection(&self) -> ConnectionHandle<'a> {
        self.connection
    }

    /// Takes room for `bytes` in all, more or less than before. Where others have it, this sends what was made
    /// and then waits, up to the time that a client may take.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Aborted> {
        self.charge.lower_to(bytes);
        if self.charge.raise_to(Use::Answer, bytes) {
            return Ok(());
        }
        if !self.out.is_empty() && (!self.is_unsent() || self.out.len() >= PIECE_BYTES / 2) {
            self.flush()?;
        }
        self.out.shrink_to_fit();
        let patience = self.connection.shared().limits.write_timeout;
        match self.connection.await_room(self.charge, bytes, patience) {
            true => Ok(()),
            false => Err(Aborted::Overloaded),
        }
    }

    /// Gives back what is over `bytes` of the room that was taken.
    pub(crate) fn lower_to(&mut self, bytes: usize) {
        self.charge.lower_to(bytes);
    }

    /// Frees the buffer, where nothing is in it.
    pub(crate) fn give_back(&mut self) {
        self.out.shrink_to(0);
    }

    /// Sends what was made, whether it is a chunk or less.
    pub(crate) fn flush(&mut self) -> Result<(), Aborted> {
        self.send_with(&[])
    }

    /// Sends bytes behind all that was made, without copying them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Aborted> {
        self.send_with(bytes)
    }

    /// Says that the body was complete.
    pub(crate) fn end(&mut self) -> Result<(), Aborted> {
        if self.framing != Framing::Length
            && let Some(mut head) = self.head.take()
        {
            if let Body::Streamed(media) = head.body {
                head.body = Body::Written(media);
            }
            let mut answer = Vec::new();
            self.encoder.encode(&mut answer, self.envelope, &head, &self.out);
            self.sent_bytes += self.out.len() as u64;
            self.out = Vec::new();
            return self.send(&mut [IoSlice::new(&answer)]);
        }
        self.flush()?;
        match self.framing {
            Framing::Chunks => self.send(&mut [IoSlice::new(b"0\r\n\r\n")]),
            Framing::Length | Framing::Close => Ok(()),
        }
    }

    fn send_with(&mut self, more: &[u8]) -> Result<(), Aborted> {
        let bytes = self.out.len() + more.len();
        let mut head = Vec::new();
        if let Some(reply) = self.head.take() {
            self.envelope.close |= self.framing == Framing::Close;
            self.encoder.encode(&mut head, self.envelope, &reply, &[]);
        }
        let mut tail: &[u8] = b"";
        // A chunk of nothing would be the end.
        if self.framing == Framing::Chunks && bytes > 0 {
            head.extend_from_slice(format!("{bytes:x}\r\n").as_bytes());
            tail = b"\r\n";
        }
        if head.len() + bytes == 0 {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let sent = self.send(&mut [&head[..], &out[..], more, tail].map(IoSlice::new));
        self.out = out;
        self.out.clear();
        self.out.shrink_to(SINK_BYTES);
        self.sent_bytes += bytes as u64;
        sent
    }

    fn send(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<(), Aborted> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        let clock = self.begin(bytes);
        loop {
            let sent = self.connection.peer().transport.write_slices_now(slices);
            match sent.map_err(Aborted::Client)? {
                0 => self.await_writable(clock)?,
                sent => IoSlice::advance_slices(&mut slices, sent),
            }
            if slices.iter().all(|slice| slice.is_empty()) {
                while !self.connection.peer().transport.has_sent_all() {
                    self.await_writable(clock)?;
                }
                self.patience = self.patience.saturating_sub(clock.elapsed());
                return Ok(());
            }
        }
    }

    /// When so many bytes begin to be sent, for which the client gets time.
    fn begin(&mut self, bytes: usize) -> Instant {
        self.patience += time_for(bytes);
        if self.is_endless {
            self.patience = self.patience.max(self.connection.shared().limits.write_timeout);
        }
        Instant::now()
    }

    /// Waits until the client takes more, of what was begun to be sent then. Gives back what others wait for.
    fn await_writable(&mut self, begun: Instant) -> Result<(), Aborted> {
        let stalled = Instant::now();
        // One bounds all of what was begun, the other each chunk that the client takes.
        let deadline = (begun + self.patience).min(stalled + self.connection.shared().limits.write_timeout);
        loop {
            let is_wanted = self.charge.budget().is_wanted();
            if is_wanted && let Some(bytes) = self.charged_beside.take() {
                self.charge.lower_to(bytes);
            }
            // What is not charged, or not any more, is not kept while the client takes nothing.
            if self.charged_beside.is_none() {
                self.kept = None;
            }
            let is_stalled = !self.is_write && stalled.elapsed() >= STALLED_MAX;
            if is_wanted && is_stalled && self.charge.is_in_the_way() {
                return Err(Aborted::Overloaded);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Aborted::Client(io::ErrorKind::TimedOut.into()));
            }
            let transport = &self.connection.peer().transport;
            let is_writable = transport.wait_writable(deadline.min(now + LOOK_EVERY));
            if is_writable.map_err(Aborted::Client)? {
                return Ok(());
            }
        }
    }

    /// Takes room for `bytes` in all, where there is some at once; `false` where others have it, or it is more than
    /// an answer can be charged with.
    pub(crate) fn may_keep(&mut self, bytes: usize) -> bool {
        bytes <= self.charge.budget().answer_bytes_max() && self.charge.raise_to(Use::Answer, bytes)
    }

    /// Keeps a value alive that comes next. `charged_beside`: what is held beside it, in bytes, where it is charged; one
    /// that is not is given up as soon as the client takes no more.
    pub(crate) fn keep(&mut self, pair: Pair, charged_beside: Option<usize>) {
        self.kept = Some(pair);
        self.charged_beside = charged_beside;
    }

    /// The value was sent.
    fn give_up_kept(&mut self) {
        self.kept = None;
        self.charged_beside = None;
    }

    fn pair(&mut self, shared: &SharedValue<'_>) -> Result<Pair, Aborted> {
        if self.kept.is_none() {
            self.kept = (shared.find)();
        }
        // It was replaced, and there was no room to keep it.
        self.kept.clone().ok_or(Aborted::Overloaded)
    }

    /// Sends a value as the rest of a body whose length the head says.
    pub(crate) fn write_shared(&mut self, shared: &SharedValue<'_>) -> Result<(), Aborted> {
        let mut head = Vec::new();
        if let Some(reply) = self.head.take() {
            self.encoder.encode(&mut head, self.envelope, &reply, &[]);
        }
        let clock = self.begin(head.len() + shared.value_bytes);
        let mut sent_bytes = 0;
        let bytes = head.len() + shared.value_bytes;
        while sent_bytes < bytes {
            let pair = self.pair(shared)?;
            let at = sent_bytes.saturating_sub(head.len());
            let slices = [
                IoSlice::new(&head[sent_bytes.min(head.len())..]),
                IoSlice::new(&pair.value()[at..]),
            ];
            let sent = self.connection.peer().transport.write_slices_now(&slices);
            drop(pair);
            match sent.map_err(Aborted::Client)? {
                0 => self.await_writable(clock)?,
                sent => sent_bytes += sent,
            }
        }
        while !self.connection.peer().transport.has_sent_all() {
            self.await_writable(clock)?;
        }
        self.sent_bytes += shared.value_bytes as u64;
        self.patience = self.patience.saturating_sub(clock.elapsed());
        self.give_up_kept();
        Ok(())
    }

    /// Appends a value as `push_value` does.
    pub(crate) fn push_shared(&mut self, shared: &SharedValue<'_>) -> Result<(), Aborted> {
        let is_text = std::str::from_utf8(self.pair(shared)?.value()).is_ok();
        self.out.extend_from_slice(b",\"value\":\"");
        let mut at = 0;
        while at < shared.value_bytes {
            let pair = self.pair(shared)?;
            while at < shared.value_bytes && self.out.len() < PIECE_BYTES {
                at += push_part(&mut self.out, &pair.value()[at..], is_text);
            }
            drop(pair);
            self.settle()?;
        }
        self.give_up_kept();
        self.out.push(b'"');
        push_encoding(&mut self.out, (!is_text).then_some(Encoding::Base64));
        self.settle()
    }
}

impl Out for Sink<'_, '_> {
    type Error = Aborted;

    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn settle(&mut self) -> Result<(), Aborted> {
        match self.out.len() >= PIECE_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }
}
