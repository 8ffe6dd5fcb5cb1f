//! Bytes from the client: one buffer, read into directly, with a deadline where one applies.

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What a connection reads into while nothing asks for more. Also how much of a pipeline is taken in hand
/// at once.
pub(crate) const INPUT_BYTES: usize = 16 * 1024;

/// Most that a buffer grows by at once: by what has come, never by what was announced.
const GROWTH_BYTES_MAX: usize = 256 * 1024;

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes,
    /// The client sends no more.
    End,
    TimedOut,
}

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

    /// Waits for bytes as long as the socket's own timeout says.
    pub(crate) fn read(&mut self, stream: &TcpStream) -> io::Result<Got> {
        self.receive(stream, RecvFlags::empty())
    }

    /// Waits for bytes until a deadline.
    pub(crate) fn read_until(&mut self, stream: &TcpStream, deadline: Instant) -> io::Result<Got> {
        loop {
            match self.receive(stream, RecvFlags::DONTWAIT)? {
                Got::TimedOut if !wait_readable(stream, deadline)? => return Ok(Got::TimedOut),
                Got::TimedOut => {}
                got => return Ok(got),
            }
        }
    }

    fn receive(&mut self, stream: &TcpStream, flags: RecvFlags) -> io::Result<Got> {
        self.compact();
        let capacity = self.capacity_for_more();
        self.bytes.reserve_exact(capacity - self.bytes.len());
        loop {
            return match rustix::net::recv(stream, spare_capacity(&mut self.bytes), flags) {
                Ok((_, 0)) => Ok(Got::End),
                Ok(_) => Ok(Got::Bytes),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(Got::TimedOut),
                Err(error) => Err(error.into()),
            };
        }
    }
}

/// Whether there is something to read, or the end of it, before a deadline.
pub(crate) fn wait_readable(stream: &TcpStream, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut fds = [PollFd::new(stream, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timespec(left))) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
