//! The bytes of a connection to another node, plain or under TLS.

use super::link_error::LinkError;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection to another node.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    /// On the heap, so that the other stays small.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// A connection on which bytes can be sent. Under TLS that is so after a handshake, which must end before a deadline
    /// and proves that the other side is `host`, as `host:port`.
    pub(super) fn new(
        stream: TcpStream,
        host: &str,
        tls: Option<&Arc<ClientConfig>>,
        deadline: Instant,
    ) -> Result<Wire, LinkError> {
        let Some(config) = tls else {
            return Ok(Wire::Plain(stream));
        };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| LinkError::Refused("its name can stand in no certificate"))?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = stream;
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut stream)?;
            }
            if !tls.is_handshaking() {
                return Ok(Wire::Tls(Box::new(StreamOwned::new(tls, stream))));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            stream.set_read_timeout(Some(left))?;
            if tls.read_tls(&mut stream)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if let Err(error) = tls.process_new_packets() {
                let _ = tls.write_tls(&mut stream); // Says why, if the other side takes it.
                return Err(io::Error::new(io::ErrorKind::InvalidData, error).into());
            }
        }
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    /// How long a read may wait for bytes.
    pub(super) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket().set_read_timeout(Some(timeout))
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.write_all(bytes),
            Wire::Tls(stream) => {
                stream.write_all(bytes)?;
                // Only this says what became of them.
                stream.flush()
            }
        }
    }
}

impl Read for Wire {
    /// Under TLS an end that was not announced is an error: what came may be a part.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(out),
            Wire::Tls(stream) => stream.read(out),
        }
    }
}
