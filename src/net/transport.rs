//! What carries the bytes of one connection.
//!
//! # What must hold
//! - `endpoint` accepts sockets and makes one. Nothing else outside this file knows which kind of socket it is.
//! - A wait ends at its deadline, or with the timeouts that [`Transport::prepare`] has set.

use super::certificates::Certificates;
pub(crate) use super::got::{Got, timespec};
use super::tls_handshake::Handshake;
use super::tls_stream::TlsStream;
use crate::tls;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A connection.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    /// TCP under TLS. On the heap, so that the others stay small.
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// At this address.
    Ip(IpAddr),
    /// On this machine, behind a unix socket.
    Local,
}

impl Transport {
    /// Makes it ready for a server: answers leave at once, and no read or write waits for longer than this.
    pub(crate) fn prepare(&self, read_timeout: Duration, write_timeout: Duration) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => stream.set_nodelay(true)?,
            Transport::Tls(stream) => {
                stream.socket().set_nodelay(true)?;
                stream.set_timeouts(read_timeout, write_timeout);
            }
            Transport::Unix(_) => {}
        }
        let socket = SockRef::from(self);
        socket.set_write_timeout(Some(write_timeout))?;
        socket.set_read_timeout(Some(read_timeout))
    }

    /// Does what comes before the first request: under TLS the handshake, which must end before a deadline. A client
    /// that does not speak TLS is sent `not_tls`; `may_hold` is asked for room for a handshake that is long.
    pub(crate) fn handshake(
        &self,
        deadline: Instant,
        not_tls: impl FnOnce() -> Vec<u8>,
        may_hold: impl FnMut(usize) -> bool,
    ) -> io::Result<Handshake> {
        match self {
            Transport::Tls(stream) => stream.handshake(deadline, &not_tls(), may_hold),
            Transport::Tcp(_) | Transport::Unix(_) => Ok(Handshake::Done),
        }
    }

    /// The server's side of TLS, where there are certificates for it. A unix socket leads to no network.
    pub(super) fn secured(self, certificates: Option<&Certificates>) -> io::Result<Transport> {
        match (self, certificates) {
            (Transport::Tcp(stream), Some(certificates)) => {
                let stream = TlsStream::new(stream, certificates.config())?;
                Ok(Transport::Tls(Box::new(stream)))
            }
            (transport, _) => Ok(transport),
        }
    }

    /// The names in the certificate that the client has shown; none where it has shown none.
    pub(crate) fn client_names(&self) -> Vec<String> {
        match self {
            Transport::Tls(stream) => stream
                .client_certificate()
                .map_or_else(Vec::new, |certificate| tls::names(&certificate)),
            Transport::Tcp(_) | Transport::Unix(_) => Vec::new(),
        }
    }

    /// Whether only the connection's own thread can send.
    pub(crate) fn is_sent_by_owner(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// Appends what has come to a buffer, as far as that has capacity. Waits for it up to the timeout of a read.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        match self {
            Transport::Tls(stream) => stream.read(buffer),
            _ => self.receive(buffer, RecvFlags::empty()),
        }
    }

    /// As [`Transport::read`], without a wait.
    pub(crate) fn read_now(&self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        match self {
            Transport::Tls(stream) => stream.read_now(buffer),
            _ => self.receive(buffer, RecvFlags::DONTWAIT),
        }
    }

    fn receive(&self, buffer: &mut Vec<u8>, flags: RecvFlags) -> io::Result<Got> {
        loop {
            return match rustix::net::recv(self, spare_capacity(buffer), flags) {
                Ok((_, 0)) => Ok(Got::End),
                Ok(_) => Ok(Got::Bytes),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(Got::TimedOut),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Whether there is something to read, or the end of it, before a deadline.
    pub(crate) fn wait_readable(&self, deadline: Instant) -> io::Result<bool> {
        match self {
            Transport::Tls(stream) => stream.wait_readable(deadline),
            _ => self.wait_for(PollFlags::IN, deadline),
        }
    }

    /// Whether there is room for something to send, or nobody left to send it to, before a deadline.
    pub(crate) fn wait_writable(&self, deadline: Instant) -> io::Result<bool> {
        match self {
            Transport::Tls(stream) => stream.wait_writable(deadline),
            _ => self.wait_for(PollFlags::OUT, deadline),
        }
    }

    fn wait_for(&self, events: PollFlags, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut fds = [PollFd::new(self, events)];
            match rustix::event::poll(&mut fds, Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what the system takes at once; how many bytes that was. Under TLS some of it may still be to be sent: see
    /// [`Transport::has_sent_all`].
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        if let Transport::Tls(stream) = self {
            return stream.write_now(&[IoSlice::new(bytes)]);
        }
        match rustix::net::send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells a client that it is not served, before anything was read; `answer` is that where no handshake comes first.
    /// Sends what the system takes at once.
    pub(super) fn refuse_now(&self, answer: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Tls(stream) => stream.refuse_now(),
            _ => self.write_now(answer),
        }
    }

    /// Appends what has come, as it came, of a connection that is not served.
    pub(super) fn discard_now(&self, buffer: &mut Vec<u8>) -> io::Result<Got> {
        self.receive(buffer, RecvFlags::DONTWAIT)
    }

    /// As [`Transport::write_now`], of slices one after the other.
    pub(crate) fn write_slices_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Transport::Tls(stream) = self {
            return stream.write_now(slices);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::sendmsg(self, slices, &mut SendAncillaryBuffer::default(), flags) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends some of the slices, one after the other; how many bytes that was. Waits up to the timeout of a write.
    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = match self {
            Transport::Tcp(stream) => (&*stream).write_vectored(slices)?,
            Transport::Tls(stream) => {
                stream.flush()?;
                let taken = stream.write_now(slices)?;
                stream.flush()?;
                taken
            }
            Transport::Unix(stream) => (&*stream).write_vectored(slices)?,
        };
        match sent {
            0 => Err(io::ErrorKind::WriteZero.into()),
            sent => Ok(sent),
        }
    }

    /// Whether the system has all that was taken.
    pub(crate) fn has_sent_all(&self) -> bool {
        match self {
            Transport::Tls(stream) => stream.has_sent_all(),
            Transport::Tcp(_) | Transport::Unix(_) => true,
        }
    }

    /// Sends the rest of what was taken. Waits up to the timeout of a write.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self {
            Transport::Tls(stream) => stream.flush(),
            Transport::Tcp(_) | Transport::Unix(_) => Ok(()),
        }
    }

    /// Says that nothing more is sent, where a client could not tell that from a cut. Called by the connection's own
    /// thread, before it closes.
    pub(crate) fn end(&self) -> io::Result<()> {
        match self {
            Transport::Tls(stream) => stream.end(),
            Transport::Tcp(_) | Transport::Unix(_) => Ok(()),
        }
    }

    /// Whether the client has closed its side. One that only says that it sends no more counts as gone too:
    /// the two look the same from here. A system call, not to be made too often.
    pub(crate) fn has_gone(&self) -> bool {
        if let Transport::Tls(stream) = self {
            return stream.has_gone();
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(self, &mut [0; 1], flags) {
            Ok((_, bytes)) => bytes == 0,
            Err(error) => !matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }

    /// Ends one direction, or both. Fails where the client has gone.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Tcp(stream) => stream.as_fd(),
            Transport::Tls(stream) => stream.as_fd(),
            Transport::Unix(stream) => stream.as_fd(),
        }
    }
}

impl fmt::Display for Client {
    /// As access logs have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Ip(address) => address.fmt(f),
            Client::Local => f.write_str("unix:"),
        }
    }
}
