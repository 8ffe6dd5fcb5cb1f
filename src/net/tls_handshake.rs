//! The handshake of a connection under TLS, and what becomes of one that is none.

use super::budget::LOOK_EVERY;
use super::tls_stream::{Now, RECEIVED_BYTES, TlsStream, poll};
use rustix::event::PollFlags;
use rustix::net::RecvFlags;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// The first byte of a connection that begins with a handshake.
const HANDSHAKE: u8 = 0x16;

/// Most bytes that a client sends before its handshake is done: rustls keeps a message until it is complete. A hello has
/// some 2 KB, and a client's certificates 10 KB where they are many.
const HANDSHAKE_BYTES_MAX: usize = 24 * 1024;

/// How long, and for how many bytes, one that does not speak TLS may go on to send, so that it can read the answer.
const REFUSED_TIME: Duration = Duration::from_secs(1);
const REFUSED_BYTES: usize = 1 << 20;

/// What came of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Done,
    /// The client speaks HTTP without TLS, and got an answer that says so.
    NotTls,
}

impl TlsStream {
    /// Does the handshake. One whose first byte belongs to no handshake is sent `not_tls` as it is. `may_hold` is asked
    /// whether so many bytes may be held for one that is long, before they are, and now and then while they are.
    #[inline(never)]
    pub(crate) fn handshake(
        &self,
        deadline: Instant,
        not_tls: &[u8],
        mut may_hold: impl FnMut(usize) -> bool,
    ) -> io::Result<Handshake> {
        let mut received_bytes = 0;
        loop {
            let mut state = self.lock();
            let is_sent = state.drain(self.socket())?;
            if !state.tls.is_handshaking() {
                return Ok(Handshake::Done);
            }
            drop(state);
            let events = match is_sent {
                true => PollFlags::IN,
                false => PollFlags::IN | PollFlags::OUT,
            };
            let held_bytes = held_bytes(received_bytes);
            let look_at = Instant::now() + LOOK_EVERY;
            let until = if held_bytes > 0 {
                deadline.min(look_at)
            } else {
                deadline
            };
            if held_bytes > 0 && !may_hold(held_bytes) {
                return Err(no_room());
            }
            if !poll(self.socket(), events, until)? {
                if Instant::now() < deadline {
                    continue;
                }
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the handshake did not end in time",
                ));
            }
            let mut space = [MaybeUninit::uninit(); RECEIVED_BYTES];
            match self.receive(&mut space, RecvFlags::DONTWAIT)? {
                None => {}
                Some([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(bytes) => {
                    if received_bytes == 0 && bytes[0] != HANDSHAKE {
                        self.refuse(not_tls)?;
                        return Ok(Handshake::NotTls);
                    }
                    received_bytes += bytes.len();
                    if received_bytes > HANDSHAKE_BYTES_MAX {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "the handshake is longer than any that is known",
                        ));
                    }
                    let held_bytes = self::held_bytes(received_bytes);
                    if held_bytes > 0 && !may_hold(held_bytes) {
                        return Err(no_room());
                    }
                    self.lock().feed(self.socket(), bytes)?;
                }
            }
        }
    }

    /// Tells a client that speaks no TLS so, and lets it read that.
    #[inline(never)]
    fn refuse(&self, answer: &[u8]) -> io::Result<()> {
        Now(self.socket()).write_all(answer)?;
        self.socket().shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + REFUSED_TIME;
        let mut discarded = 0;
        let mut space = [MaybeUninit::uninit(); RECEIVED_BYTES];
        while discarded < REFUSED_BYTES && poll(self.socket(), PollFlags::IN, deadline)? {
            match self.receive(&mut space, RecvFlags::DONTWAIT)? {
                Some([]) => break,
                bytes => discarded += bytes.map_or(0, |bytes| bytes.len()),
            }
        }
        Ok(())
    }
}

/// What a handshake takes of which so many bytes have come: rustls doubles its buffer. One that comes at once takes no more
/// than an idle connection.
fn held_bytes(received_bytes: usize) -> usize {
    match received_bytes {
        0..=RECEIVED_BYTES => 0,
        bytes => (bytes + RECEIVED_BYTES).next_power_of_two(),
    }
}

fn no_room() -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        "there is no room for so long a handshake",
    )
}
