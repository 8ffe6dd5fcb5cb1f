//! The listener: accepts connections at several endpoints, and refuses those there is no room for.
//!
//! The accept loop ends when the server stops and for no other reason. When the system has no descriptor, no
//! memory or no thread to give, that is logged once, and tried again after a while; connections that are open
//! are served meanwhile.

use super::certificates::Certificates;
use super::endpoint::{Endpoint, Listening, Passed};
use super::stopper::Stopper;
use super::transport::{Client, Got, Transport, timespec};
use crate::episode::Episode;
use crate::system;
use rustix::event::{PollFd, PollFlags};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections accepted from one endpoint before the loop looks at anything else.
const ACCEPTED_AT_ONCE: usize = 64;

/// Connections that were refused for want of room, and have time to read the answer.
const REFUSED_MAX: usize = 12;
const REFUSED_TIME: Duration = Duration::from_secs(1);

/// How long the loop leaves the endpoints alone after the system refused it something.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Why an endpoint cannot be listened at.
#[derive(Debug)]
pub(crate) struct BindError {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What the system said.
    pub source: io::Error,
}

/// What serves the connections that a listener accepts.
pub(crate) trait Service {
    /// Takes a connection, to serve it on another thread.
    fn take(&mut self, transport: Transport, client: Client) -> Result<(), Untaken>;

    /// What is sent to one that there is no room for.
    fn refusal(&self) -> Vec<u8>;
}

/// Why a connection is not served. It is given back to be refused, where it still can be.
pub(crate) enum Untaken {
    /// There are as many connections as there may be.
    Full(Transport),
    /// The system grants no thread.
    NoThread(io::Error, Option<Transport>),
}

/// Sockets that listen. Connections that come before [`Listener::accept_until_stopped`] wait in the kernel.
#[derive(Debug)]
pub(crate) struct Listener {
    sockets: Vec<Listening>,
    endpoints: Vec<Endpoint>,
    /// For what comes by TCP; none where TLS is not spoken.
    certificates: Option<Arc<Certificates>>,
    /// Readable once the server is to stop.
    woken: UnixStream,
}

impl Listener {
    /// Binds all endpoints. A byte in `woken` wakes the accept loop.
    pub(crate) fn bind(
        endpoints: &[Endpoint],
        unix_mode: u32,
        certificates: Option<Arc<Certificates>>,
        woken: UnixStream,
    ) -> Result<Listener, BindError> {
        let mut listener = Listener {
            sockets: Vec::new(),
            endpoints: Vec::new(),
            certificates,
            woken,
        };
        for endpoint in endpoints {
            let failed = |source| BindError {
                endpoint: endpoint.clone(),
                source,
            };
            let socket = Listening::bind(endpoint, unix_mode).map_err(failed)?;
            listener.endpoints.push(socket.endpoint().map_err(failed)?);
            listener.sockets.push(socket);
        }
        Ok(listener)
    }

    /// Takes sockets over that listen already. A byte in `woken` wakes the accept loop.
    pub(crate) fn adopt(
        passed: Vec<Passed>,
        certificates: Option<Arc<Certificates>>,
        woken: UnixStream,
    ) -> io::Result<Listener> {
        let sockets = passed.into_iter().map(Listening::adopt);
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let endpoints = sockets
            .iter()
            .map(Listening::endpoint)
            .collect::<io::Result<_>>()?;
        Ok(Listener {
            sockets,
            endpoints,
            certificates,
            woken,
        })
    }

    /// Where it listens, with the ports that were chosen where none were asked for.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// From here on the kernel refuses those who connect.
    pub(crate) fn close(&self) {
        for socket in &self.sockets {
            if let Err(error) = socket.close() {
                log::debug!("cannot stop listening: {error}");
            }
        }
    }

    /// Gives every connection that comes to `service`, until the server is to stop.
    pub(crate) fn accept_until_stopped(&self, stopper: &Stopper, service: &mut impl Service) {
        let mut refused = Refused::default();
        let mut backoff = Backoff::default();
        while !stopper.is_stopping() {
            #[cfg(test)]
            assert!(!stopper.is_to_panic(), "a test wants it");
            let left_alone = backoff.time_left();
            let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
            if left_alone.is_none() {
                fds.extend(
                    self.sockets
                        .iter()
                        .map(|socket| PollFd::new(socket, PollFlags::IN)),
                );
            }
            fds.extend(refused.transports().map(|one| PollFd::new(one, PollFlags::IN)));
            let timeouts = [left_alone, refused.time_left()];
            let timeout = timeouts.into_iter().flatten().min();
            match rustix::event::poll(&mut fds, timeout.map(timespec).as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => backoff.note("wait for connections", &error.into()),
            }
            refused.discard();
            if left_alone.is_none() {
                for socket in &self.sockets {
                    self.accept_some(socket, service, &mut refused, &mut backoff);
                }
            }
        }
    }

    fn accept_some(
        &self,
        socket: &Listening,
        service: &mut impl Service,
        refused: &mut Refused,
        backoff: &mut Backoff,
    ) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let accepted = socket.accept();
            match accepted.and_then(|(transport, client)| {
                Ok((transport.secured(self.certificates.as_deref())?, client))
            }) {
                Ok((transport, client)) => match service.take(transport, client) {
                    Ok(()) => backoff.end(),
                    Err(Untaken::Full(transport)) => refused.add(transport, &service.refusal()),
                    Err(Untaken::NoThread(error, transport)) => {
                        backoff.note("start a thread for a connection", &error);
                        if let Some(transport) = transport {
                            refused.add(transport, &service.refusal());
                        }
                        return;
                    }
                },
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // The client has gone before it was accepted.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return backoff.note("accept a connection", &error),
                },
            }
        }
    }
}

/// Connections that were refused for want of room. They are kept for a moment, and what they send is
/// discarded, since closing on unread bytes would take the answer away from them.
#[derive(Default)]
struct Refused(Vec<(Transport, Instant)>);

impl Refused {
    /// Tells a client so, without waiting for it.
    fn add(&mut self, transport: Transport, answer: &[u8]) {
        if transport.refuse_now(answer).is_ok() && transport.shutdown(Shutdown::Write).is_ok() {
            if self.0.len() == REFUSED_MAX {
                self.0.remove(0);
            }
            self.0.push((transport, Instant::now() + REFUSED_TIME));
        }
    }

    fn transports(&self) -> impl Iterator<Item = &Transport> {
        self.0.iter().map(|(transport, _)| transport)
    }

    fn time_left(&self) -> Option<Duration> {
        let (_, first) = self.0.first()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Reads what they sent, and drops those that have closed or had their time.
    fn discard(&mut self) {
        let now = Instant::now();
        let mut discarded = Vec::with_capacity(4096);
        self.0.retain(|(transport, until)| {
            discarded.clear();
            now < *until
                && matches!(
                    transport.discard_now(&mut discarded),
                    Ok(Got::Bytes | Got::TimedOut)
                )
        });
    }
}

/// What the system refuses: logged once an episode, and not tried again at once.
#[derive(Default)]
struct Backoff {
    until: Option<Instant>,
    episode: Episode,
}

impl Backoff {
    fn note(&mut self, doing: &str, error: &io::Error) {
        self.until = Some(Instant::now() + BACK_OFF);
        if self.episode.begin() {
            log::error!(
                "cannot {doing}: {}; trying again until it works",
                system::words(error)
            );
        }
    }

    /// For how long the endpoints are still left alone.
    fn time_left(&mut self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.until = None;
            return None;
        }
        Some(left)
    }

    fn end(&mut self) {
        if self.episode.end() {
            log::info!("connections are accepted again");
        }
    }
}
