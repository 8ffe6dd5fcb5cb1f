//! A connection under TLS: a socket, and what rustls makes of its bytes.
//!
//! # What must hold
//! - Ciphertext is waited for outside the lock. Under it nothing waits.
//! - Only the connection's own thread reads and writes. Others may shut the socket down, which takes no lock.
//! - Bytes count as taken once they are encrypted. Whoever must know that they have left asks
//!   [`TlsStream::has_sent_all`]; a read, a flush and the end send what is left first.
//! - Plaintext that lies in rustls counts before the socket is looked at: poll knows nothing of it.

use super::budget::LOOK_EVERY;
use super::got::{Got, timespec};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ServerConfig, ServerConnection};
use std::fmt;
use std::io::{self, BufRead, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most plaintext that is encrypted before the socket has taken it, in bytes.
const UNSENT_BYTES_MAX: usize = 32 * 1024;

/// Received at once, in bytes: what rustls makes room for.
const RECEIVED_BYTES: usize = 4096;

/// The first byte of a connection that begins with a handshake.
const HANDSHAKE: u8 = 0x16;

/// Most bytes that a client sends before its handshake is done: rustls keeps a message until it is complete. A hello has
/// some 2 KB, and a client's certificates 10 KB where they are many.
const HANDSHAKE_BYTES_MAX: usize = 24 * 1024;

/// What a client is sent that is not served: the fatal alert `internal_error`, as a record of TLS 1.2 before any
/// handshake, which all versions take.
const NOT_SERVED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];

/// How long, and for how many bytes, one that does not speak TLS may go on to send, so that it can read the answer.
const REFUSED_TIME: Duration = Duration::from_secs(1);
const REFUSED_BYTES: usize = 1 << 20;

/// A connection under TLS.
pub(crate) struct TlsStream {
    socket: TcpStream,
    state: Mutex<State>,
}

struct State {
    tls: Box<ServerConnection>,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// What came of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Done,
    /// The client speaks HTTP without TLS, and was told so.
    NotTls,
}

/// Sends what the socket takes at once.
struct Now<'a>(&'a TcpStream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::send(self.0, bytes, flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    /// Sends ciphertext that the socket takes at once; whether none is left.
    fn drain(&mut self, socket: &TcpStream) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Now(socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes ciphertext that came.
    fn feed(&mut self, socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes)? == 0 {
                break; // Nothing counts that comes behind close_notify.
            }
            if let Err(error) = self.tls.process_new_packets() {
                let _ = self.drain(socket); // Says why, if the client takes it.
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        // What it makes rustls say: the handshake, an update of keys.
        self.drain(socket).map(|_| ())
    }

    /// Appends plaintext that is here to a buffer, as far as that has capacity; none where there is none.
    fn take(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Got>> {
        let mut got = None;
        let mut reader = self.tls.reader();
        while buffer.len() < buffer.capacity() {
            let chunk = match reader.fill_buf() {
                Ok([]) => return Ok(got.or(Some(Got::End))),
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(got),
                Err(error) => return Err(error),
            };
            let taken = chunk.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&chunk[..taken]);
            reader.consume(taken);
            got = Some(Got::Bytes);
        }
        Ok(got)
    }

    /// Whether there is plaintext, or its end, to be taken.
    fn has_plaintext(&mut self) -> bool {
        self.tls.reader().fill_buf().is_ok()
    }
}

impl TlsStream {
    /// The server's side of a connection, before the handshake.
    pub(crate) fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsStream> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(TlsStream {
            socket,
            state: Mutex::new(State {
                tls: Box::new(tls),
                read_timeout: Duration::ZERO,
                write_timeout: Duration::ZERO,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing under the lock of a connection panics")
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// How long reads and writes wait that have no deadline.
    pub(super) fn set_timeouts(&self, read: Duration, write: Duration) {
        let mut state = self.lock();
        state.read_timeout = read;
        state.write_timeout = write;
    }

    /// The certificate that the client has shown; it was checked.
    pub(crate) fn client_certificate(&self) -> Option<Vec<u8>> {
        let state = self.lock();
        let certificate = state.tls.peer_certificates()?.first()?;
        Some(certificate.to_vec())
    }

    /// Does the handshake. One whose first byte belongs to no handshake is sent `not_tls` as it is. `may_hold` is asked
    /// whether so many bytes may be held for one that is long, before they are, and now and then while they are.
    pub(crate) fn handshake(
        &self,
        deadline: Instant,
        not_tls: &[u8],
        mut may_hold: impl FnMut(usize) -> bool,
    ) -> io::Result<Handshake> {
        let mut received_bytes = 0;
        loop {
            let mut state = self.lock();
            let is_sent = state.drain(&self.socket)?;
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
            if !poll(&self.socket, events, until)? {
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
                    self.lock().feed(&self.socket, bytes)?;
                }
            }
        }
    }

    /// Tells a client, before the handshake, that it is not served.
    pub(super) fn refuse_now(&self) -> io::Result<usize> {
        Now(&self.socket).write(&NOT_SERVED)
    }

    /// Tells a client that speaks no TLS so, and lets it read that.
    fn refuse(&self, answer: &[u8]) -> io::Result<()> {
        Now(&self.socket).write_all(answer)?;
        self.socket.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + REFUSED_TIME;
        let mut discarded = 0;
        let mut space = [MaybeUninit::uninit(); RECEIVED_BYTES];
        while discarded < REFUSED_BYTES && poll(&self.socket, PollFlags::IN, deadline)? {
            match self.receive(&mut space, RecvFlags::DONTWAIT)? {
                Some([]) => break,
                bytes => discarded += bytes.map_or(0, |bytes| bytes.len()),
            }
        }
        Ok(())
    }

    /// Ciphertext that has come; none where there is none, and an empty one at the end.
    fn receive<'a>(
        &self,
        space: &'a mut [MaybeUninit<u8>],
        flags: RecvFlags,
    ) -> io::Result<Option<&'a mut [u8]>> {
        match rustix::net::recv(&self.socket, space, flags) {
            Ok(((bytes, _), _)) => Ok(Some(bytes)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`super::transport::Transport::read`].
    pub(super) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        self.flush()?;
        let mut deadline = None;
        loop {
            let mut state = self.lock();
            if let Some(got) = state.take(buffer)? {
                return Ok(got);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + state.read_timeout);
            drop(state);
            // The socket's own timeout bounds each wait, this all of them: a record may dribble.
            if Instant::now() >= deadline {
                return Ok(Got::TimedOut);
            }
            let mut space = [MaybeUninit::uninit(); RECEIVED_BYTES];
            match self.receive(&mut space, RecvFlags::empty())? {
                None => {}
                Some([]) => return Ok(Got::End),
                Some(bytes) => self.lock().feed(&self.socket, bytes)?,
            }
        }
    }

    /// As [`super::transport::Transport::read_now`].
    pub(super) fn read_now(&self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        loop {
            if let Some(got) = self.lock().take(buffer)? {
                return Ok(got);
            }
            let mut space = [MaybeUninit::uninit(); RECEIVED_BYTES];
            match self.receive(&mut space, RecvFlags::DONTWAIT)? {
                None => return Ok(Got::TimedOut),
                Some([]) => return Ok(Got::End),
                Some(bytes) => self.lock().feed(&self.socket, bytes)?,
            }
        }
    }

    /// As [`super::transport::Transport::wait_readable`].
    pub(super) fn wait_readable(&self, deadline: Instant) -> io::Result<bool> {
        self.flush()?;
        if self.lock().has_plaintext() {
            return Ok(true);
        }
        poll(&self.socket, PollFlags::IN, deadline)
    }

    /// Whether all that was taken has been sent, and there is room for more, before a deadline.
    pub(super) fn wait_writable(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            if self.lock().drain(&self.socket)? {
                return poll(&self.socket, PollFlags::OUT, deadline);
            }
            if !poll(&self.socket, PollFlags::OUT, deadline)? {
                return Ok(false);
            }
        }
    }

    /// Whether the socket has all that was taken.
    pub(super) fn has_sent_all(&self) -> bool {
        !self.lock().tls.wants_write()
    }

    /// Encrypts what is sent at once, and a little more; how many bytes that was.
    pub(super) fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        let mut copy = slices.to_vec();
        let mut rest = &mut copy[..];
        let mut taken = 0;
        while state.drain(&self.socket)? {
            IoSlice::advance_slices(&mut rest, 0); // Drops what is empty.
            if rest.is_empty() {
                break;
            }
            // Small slices share a record.
            match state.tls.writer().write_vectored(rest)? {
                0 => break,
                bytes => {
                    taken += bytes;
                    IoSlice::advance_slices(&mut rest, bytes);
                }
            }
        }
        Ok(taken)
    }

    /// Sends all that was taken, and waits for that up to the timeout of a write.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.drain(&self.socket)? {
            return Ok(());
        }
        let deadline = Instant::now() + state.write_timeout;
        drop(state);
        match self.wait_writable(deadline)? {
            true => Ok(()),
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// As [`super::transport::Transport::has_gone`]. It takes what has come, since the end may lie behind it.
    pub(super) fn has_gone(&self) -> bool {
        let mut state = self.lock();
        match state.tls.reader().fill_buf() {
            Ok([]) => return true,
            Ok(_) => return false,
            Err(_) => {}
        }
        let mut space = [MaybeUninit::uninit(); RECEIVED_BYTES];
        match self.receive(&mut space, RecvFlags::DONTWAIT) {
            Ok(None) => false,
            Ok(Some([])) | Err(_) => true,
            Ok(Some(bytes)) => {
                state.feed(&self.socket, bytes).is_err() || matches!(state.tls.reader().fill_buf(), Ok([]))
            }
        }
    }

    /// Ends this side in order: sends what is left, and that it was all.
    pub(super) fn end(&self) -> io::Result<()> {
        self.lock().tls.send_close_notify();
        self.flush()
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.socket).finish()
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

/// Whether one of some events comes before a deadline.
fn poll(socket: &TcpStream, events: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match rustix::event::poll(&mut [PollFd::new(socket, events)], Some(&timespec(left))) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}
