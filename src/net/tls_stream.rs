//! A connection under TLS: a socket, and what rustls makes of its bytes.
//!
//! # What must hold
//! - Ciphertext is waited for outside the lock. Under it nothing waits.
//! - Only the connection's own thread reads and writes. Others may shut the socket down, which takes no lock.
//! - Bytes count as taken once they are encrypted. Whoever must know that they have left asks
//!   [`TlsStream::has_sent_all`]; a read, a flush and the end send what is left first.
//! - Plaintext that lies in rustls counts before the socket is looked at: poll knows nothing of it.

use super::got::{Got, timespec};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ServerConfig, ServerConnection};
use std::fmt;
use std::io::{self, BufRead, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most plaintext that is encrypted before the socket has taken it, in bytes.
const UNSENT_BYTES_MAX: usize = 32 * 1024;

/// Received at once, in bytes: what rustls makes room for.
///
/// What has them on its stack is not inlined: each thread would touch as much of its own, also one that speaks no TLS or
/// has done with it, and keep that for as long as its connection lives.
pub(super) const RECEIVED_BYTES: usize = 4096;

/// What a client is sent that is not served: the fatal alert `internal_error`, as a record of TLS 1.2 before any
/// handshake, which all versions take.
const NOT_SERVED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];

/// A connection under TLS.
pub(crate) struct TlsStream {
    socket: TcpStream,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) tls: Box<ServerConnection>,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// Sends what the socket takes at once.
pub(super) struct Now<'a>(pub(super) &'a TcpStream);

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
    pub(super) fn drain(&mut self, socket: &TcpStream) -> io::Result<bool> {
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
    pub(super) fn feed(&mut self, socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
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

    /// Tells a client, before the handshake, that it is not served.
    pub(super) fn refuse_now(&self) -> io::Result<usize> {
        Now(&self.socket).write(&NOT_SERVED)
    }

    /// Ciphertext that has come; none where there is none, and an empty one at the end.
    pub(super) fn receive<'a>(
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
    #[inline(never)]
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
    #[inline(never)]
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
    #[inline(never)]
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

/// Whether one of some events comes before a deadline.
pub(super) fn poll(socket: &TcpStream, events: PollFlags, deadline: Instant) -> io::Result<bool> {
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
