//! HTTP over a unix socket, as ureq's transport.

use rustix::net::RecvFlags;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Agent, Error, Timeout};

/// An agent whose every request goes to the socket at `path`.
pub(super) fn agent(config: Config, path: PathBuf) -> Agent {
    Agent::with_parts(config, SocketConnector(path), NoNames)
}

/// Connects to a socket, whatever the host of a request.
#[derive(Debug)]
struct SocketConnector(PathBuf);

impl Connector for SocketConnector {
    type Out = SocketTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<SocketTransport>, Error> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A node that accepts nobody lets those who connect wait.
        socket.set_write_timeout(details.timeout.not_zero().map(|left| *left))?;
        let connected = SockAddr::unix(&self.0).and_then(|address| socket.connect(&address));
        match connected {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Timeout(Timeout::Connect));
            }
            connected => connected?,
        }
        let stream = Arc::new(Handle(socket.into()));
        let handle: Weak<dyn ShutdownHandle> = Arc::downgrade(&stream) as _;
        (details.register_shutdown)(handle)?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Some(SocketTransport { stream, buffers }))
    }
}

/// There is no name to look up: an address that nobody connects to.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        Ok(addresses)
    }
}

#[derive(Debug)]
struct Handle(UnixStream);

impl ShutdownHandle for Handle {
    fn shutdown(&self) {
        // It fails where the connection has ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A connection.
struct SocketTransport {
    stream: Arc<Handle>,
    buffers: LazyBuffers,
}

impl std::fmt::Debug for SocketTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SocketTransport")
    }
}

/// How long until a timeout; never zero, which the system takes for no timeout at all.
fn left(timeout: NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|left| *left)
}

fn timed_out(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        self.stream.0.set_write_timeout(left(timeout))?;
        let output = &self.buffers.output()[..amount];
        (&self.stream.0)
            .write_all(output)
            .map_err(|error| timed_out(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        let left = left(timeout);
        let until = left.map(|left| Instant::now() + left);
        self.stream.0.set_read_timeout(left)?;
        let input = self.buffers.input_append_buf();
        let read = loop {
            match (&self.stream.0).read(input) {
                // A signal that ends nothing: no reason to wait for longer.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if until.is_some_and(|until| until <= Instant::now()) {
                        return Err(Error::Timeout(timeout.reason));
                    }
                }
                read => break read.map_err(|error| timed_out(error, timeout))?,
            }
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// Nothing came that nobody asked for, and no end.
    fn is_open(&mut self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = rustix::net::recv(&self.stream.0, &mut [0; 1], flags);
        matches!(looked, Err(rustix::io::Errno::AGAIN))
    }
}
