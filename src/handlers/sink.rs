//! The body of a large answer: made in pieces, each sent as it is made.
//!
//! What is made gathers in a buffer, and goes out whenever there is a piece of it. A body that turns out to be
//! shorter than a piece is sent with its head in one write, with its length, as any other answer.
//!
//! # What must hold
//! - A sink holds one piece of the body, however long that is, beside one item that was asked room for.
//! - Whoever waits for room in it holds nothing: what was made is sent, and the buffer freed, before.

use super::connection_handle::{Aborted, ConnectionHandle};
use crate::api::{self, Encoding};
use crate::http::response::{Body, Encoder, Envelope, Reply, push_json_string};
use crate::net::budget::{Charge, Use};
use crate::net::time_for;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// From so many bytes on, what was made is sent.
const PIECE_BYTES: usize = 32 * 1024;

/// Text is put into JSON in parts of so many bytes. Each may come to six times as many. A multiple of three,
/// as base64 has it.
const PART_BYTES: usize = 3 * 1024;

/// What a sink holds at most beside the items that are written into it, in bytes.
pub(crate) const SINK_BYTES: usize = PIECE_BYTES + 6 * PART_BYTES;

/// What a body is written into: a buffer, or a sink that sends it meanwhile.
pub(crate) trait Out {
    type Error;

    /// Where a little is appended.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// To be called between one piece and the next: each no longer than a part of JSON.
    fn settle(&mut self) -> Result<(), Self::Error>;
}

impl Out for Vec<u8> {
    type Error = Infallible;

    fn buffer(&mut self) -> &mut Vec<u8> {
        self
    }

    fn settle(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Appends the members `"value"` and, where the value is not text, `"encoding"`, with a comma before each.
pub(crate) fn push_value<O: Out>(out: &mut O, value: &[u8]) -> Result<(), O::Error> {
    out.buffer().extend_from_slice(b",\"value\":");
    let encoding = if value.len() <= PART_BYTES {
        let (text, encoding) = api::encode_value(value);
        push_json_string(out.buffer(), &text);
        encoding
    } else if let Ok(text) = std::str::from_utf8(value) {
        push_text(out, text)?;
        None
    } else {
        push_base64(out, value)?;
        Some(Encoding::Base64)
    };
    if let Some(encoding) = encoding {
        out.buffer().extend_from_slice(b",\"encoding\":");
        crate::http::response::push_json(out.buffer(), &encoding);
    }
    out.settle()
}

/// Appends a long string as JSON has it, in parts.
fn push_text<O: Out>(out: &mut O, text: &str) -> Result<(), O::Error> {
    out.buffer().push(b'"');
    let mut rest = text;
    while !rest.is_empty() {
        let most = rest.len().min(PART_BYTES);
        let end = (0..=most).rev().find(|&at| rest.is_char_boundary(at));
        let (part, after) = rest.split_at(end.unwrap_or(most));
        rest = after;
        let buffer = out.buffer();
        let start = buffer.len();
        push_json_string(buffer, part);
        // The quotes are the whole string's.
        buffer.pop();
        buffer.remove(start);
        out.settle()?;
    }
    out.buffer().push(b'"');
    Ok(())
}

fn push_base64<O: Out>(out: &mut O, bytes: &[u8]) -> Result<(), O::Error> {
    out.buffer().push(b'"');
    for part in bytes.chunks(PART_BYTES) {
        api::push_base64(out.buffer(), part);
        out.settle()?;
    }
    out.buffer().push(b'"');
    Ok(())
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length, which the head says.
    Length,
    Chunks,
    /// By the close of the connection.
    Close,
}

/// Where the pieces of a stream go.
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

    /// Makes it a stream that goes on for as long as the client reads.
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

    /// Sends what was made, whether it is a piece or less.
    pub(crate) fn flush(&mut self) -> Result<(), Aborted> {
        self.send_with(&[])
    }

    /// Sends bytes behind all that was made, without copying them.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Aborted> {
        self.send_with(bytes)
    }

    /// Says that the body was whole.
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
        self.patience += time_for(bytes);
        if self.is_endless {
            self.patience = self.patience.max(self.connection.shared().limits.write_timeout);
        }
        let begun = Instant::now();
        loop {
            match self.connection.peer().transport.write(slices) {
                Ok(sent) => IoSlice::advance_slices(&mut slices, sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Aborted::Client(error)),
            }
            let took = begun.elapsed();
            if slices.iter().all(|slice| slice.is_empty()) {
                self.patience = self.patience.saturating_sub(took);
                return Ok(());
            }
            // The socket's own timeout bounds each write, this one all of them.
            if took >= self.patience {
                return Err(Aborted::Client(io::ErrorKind::TimedOut.into()));
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Whatever a value is, in parts it comes to what it comes to in one piece.
    #[test]
    fn a_value_in_parts_is_the_same_value() {
        let text = "aé\u{1}\"\\\n€𝄞".repeat(1000);
        let mut bytes = text.clone().into_bytes();
        bytes.push(0xff);
        for value in [
            text.as_bytes(),
            &bytes,
            &bytes[..PART_BYTES],
            &text.as_bytes()[..PART_BYTES],
            b"",
        ] {
            let mut out = b"{\"key\":0".to_vec();
            let Ok(()) = push_value(&mut out, value);
            out.push(b'}');
            let read: Value = serde_json::from_slice(&out).unwrap();
            let encoding = match read["encoding"].as_str() {
                None => None,
                Some(name) => Encoding::of_name(name),
            };
            let decoded = api::decode_value(read["value"].as_str().unwrap().into(), encoding);
            assert_eq!(decoded.unwrap(), value);
        }
    }
}
