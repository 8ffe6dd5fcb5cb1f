//! Bytes from the client: one buffer, read into directly, with a deadline where one applies.

use super::transport::{Got, Transport};
use std::io;
use std::time::Instant;

/// What a connection reads into while nothing asks for more. Also how much of a pipeline is taken in hand
/// at once.
pub(crate) const INPUT_BYTES: usize = 16 * 1024;

/// Most that a buffer grows by at once: by what has come, never by what was announced.
const GROWTH_BYTES_MAX: usize = 256 * 1024;

/// The bytes that came and were not consumed yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// Below it all is consumed.
    start: usize,
}

impl Input {
    /// What came and was not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// The buffer, with nothing before what was not consumed.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.compact();
        &mut self.bytes
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// The memory that the next read will use, in bytes.
    pub(crate) fn capacity_for_more(&self) -> usize {
        let unread = self.bytes.len() - self.start;
        if unread < self.bytes.capacity() {
            self.bytes.capacity()
        } else {
            unread + unread.clamp(INPUT_BYTES, GROWTH_BYTES_MAX)
        }
    }

    /// Gives memory back, except for `bytes`; only what is not consumed is kept.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            self.compact();
            self.bytes.shrink_to(bytes);
        }
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Waits for bytes as long as the timeout of the transport says.
    pub(crate) fn read(&mut self, transport: &Transport) -> io::Result<Got> {
        self.make_room();
        transport.read(&mut self.bytes)
    }

    /// Waits for bytes until a deadline.
    pub(crate) fn read_until(&mut self, transport: &Transport, deadline: Instant) -> io::Result<Got> {
        self.make_room();
        loop {
            match transport.read_now(&mut self.bytes)? {
                Got::TimedOut if !transport.wait_readable(deadline)? => return Ok(Got::TimedOut),
                Got::TimedOut => {}
                got => return Ok(got),
            }
        }
    }

    fn make_room(&mut self) {
        self.compact();
        let capacity = self.capacity_for_more();
        self.bytes.reserve_exact(capacity - self.bytes.len());
    }
}
