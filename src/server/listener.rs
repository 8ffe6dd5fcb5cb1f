//! The listener: accepts connections, refuses those there is no room for, and ends them all.
//!
//! The accept loop ends when it is told to and for no other reason. When the system has no descriptor, no
//! memory or no thread to give, that is said once, and asked again after a while; connections that are open
//! go on meanwhile.

use super::connection;
use super::options::{Error, Options};
use crate::handlers::context::Context;
use crate::handlers::route;
use crate::handlers::shared::Shared;
use crate::http::problem::{self, Problem};
use crate::http::response::{Encoder, Envelope};
use crate::net::Stopper;
use crate::net::budget::Budget;
use crate::net::input::timespec;
use crate::net::registry::{Registry, Seat};
use crate::node::Node;
use crate::observe::history::History;
use crate::observe::{Access, Observer, Slow};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

/// Connections that the kernel holds while the accept loop is busy.
const BACKLOG: i32 = 4096;

/// Connections accepted before the loop looks at anything else.
const ACCEPTED_AT_ONCE: usize = 64;

/// A thread's stack. Only what is used of it takes memory; handlers use some 16 KiB.
const STACK_BYTES: usize = 256 * 1024;

/// File descriptors kept from connections: for the log, the listener and those being refused.
const DESCRIPTORS_KEPT: u64 = 32;

/// Connections that have been told that there is no room, and are given time to read it.
const REFUSED_MAX: usize = 12;
const REFUSED_TIME: Duration = Duration::from_secs(1);

/// How long a request may be waited for of which nothing comes, once the server stops.
const STILL_MAX: Duration = Duration::from_secs(2);

/// How long the loop leaves the listener alone after the system refused it something.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A server that is bound to its address. What comes before [`Server::run`] waits in the kernel.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    /// Readable once the server has been told to stop.
    woken: UnixStream,
    shared: Shared,
}

impl Server {
    /// Binds the address, and takes as many file descriptors from the system as it grants.
    pub fn bind(options: Options) -> Result<Server, Error> {
        let (listener, address) = listen(options.listen).map_err(|source| Error::Listen {
            address: options.listen,
            source,
        })?;
        let access = options.access_log.as_deref();
        let access = access
            .map(|path| Access::start(path, Arc::clone(&options.reopen_access_log)))
            .transpose();
        let access = access.map_err(|source| Error::AccessLog {
            path: options.access_log.clone().unwrap_or_default(),
            source,
        })?;
        let (wake, woken) = UnixStream::pair().map_err(Error::Setup)?;
        wake.set_nonblocking(true).map_err(Error::Setup)?;
        let connections_max = options.limits.connections_max.min(descriptors_for_connections());
        if connections_max < options.limits.connections_max {
            log::warn!(
                "the system grants file descriptors for {connections_max} connections, not for {}",
                options.limits.connections_max
            );
        }
        Ok(Server {
            listener,
            address,
            woken,
            shared: Shared {
                budget: Budget::new(options.limits.in_flight_bytes_max),
                registry: Registry::new(connections_max),
                limits: options.limits.with_sound_timeouts(),
                tokens: options.tokens,
                hosts: options.hosts,
                stopper: Stopper::new(wake),
                history: History::default(),
                observer: Arc::new(Observer::new(
                    route::labels(),
                    options.slow_min.map(Slow::new),
                    access,
                )),
            },
        })
    }

    /// The address, with the port that was chosen where none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stops the server.
    pub fn stopper(&self) -> Stopper {
        self.shared.stopper.clone()
    }

    /// Serves `node` until told to stop: then accepts no more, lets requests in flight finish within
    /// `grace`, cuts what is left, and returns when every connection's thread has ended. To be run once.
    ///
    /// An error says that accepting has failed, for a bug of pykv alone; the connections were drained all the same.
    pub fn run(&self, node: &Node, grace: Duration) -> Result<(), Error> {
        let context = Context {
            node,
            shared: &self.shared,
        };
        thread::scope(|scope| {
            let history = &self.shared.history;
            let sampler = thread::Builder::new()
                .name("history".to_owned())
                .spawn_scoped(scope, || {
                    history.run(node, &self.shared.registry, &self.shared.observer)
                })
                .map_err(Error::Setup)?;
            let accepted = catch_unwind(AssertUnwindSafe(|| self.accept_until_stopped(scope, context)));
            // Where it ended of itself, all others learn of it as they do of a signal.
            self.shared.stopper.stop();
            // From here on the kernel refuses who comes.
            if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Both) {
                log::debug!("cannot stop listening: {error}");
            }
            let registry = &self.shared.registry;
            registry.wake_idle();
            node.wake_watchers();
            let left = registry.wait_until_empty(grace, STILL_MAX);
            if left > 0 {
                log::warn!(
                    "{left} connections had not ended after {} s and are cut",
                    grace.as_secs_f32()
                );
                registry.cut_all();
            }
            history.end();
            if sampler.join().is_err() {
                log::error!("the thread that takes samples for /history has panicked");
            }
            accepted.map_err(|_| Error::Panicked)
        })
    }

    fn accept_until_stopped<'scope, 'env>(&self, scope: &'scope Scope<'scope, 'env>, context: Context<'env>) {
        let mut refused = Refused::default();
        let mut trouble = Trouble::default();
        while !self.shared.is_stopping() {
            #[cfg(test)]
            assert!(!self.shared.stopper.is_to_panic(), "a test wants it");
            let left_alone = trouble.time_left();
            let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
            if left_alone.is_none() {
                fds.push(PollFd::new(&self.listener, PollFlags::IN));
            }
            fds.extend(refused.streams().map(|stream| PollFd::new(stream, PollFlags::IN)));
            let timeouts = [left_alone, refused.time_left()];
            let timeout = timeouts.into_iter().flatten().min();
            match rustix::event::poll(&mut fds, timeout.map(timespec).as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => trouble.note("wait for connections", &error.into()),
            }
            refused.discard();
            if left_alone.is_none() {
                self.accept_some(scope, context, &mut refused, &mut trouble);
            }
        }
    }

    fn accept_some<'scope, 'env>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        context: Context<'env>,
        refused: &mut Refused,
        trouble: &mut Trouble,
    ) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.accept() {
                Ok((stream, client)) => match context.shared.registry.seat(stream, client.ip()) {
                    Ok(seat) => match spawn(scope, context, seat) {
                        Ok(()) => trouble.is_over(),
                        Err((error, stream)) => {
                            trouble.note("start a thread for a connection", &error);
                            refused.extend(stream);
                            return;
                        }
                    },
                    Err(stream) => refused.extend(Some(stream)),
                },
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // The client has gone before it was accepted.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return trouble.note("accept a connection", &error),
                },
            }
        }
    }
}

/// Starts a connection's thread; gives the stream back where the system grants none.
fn spawn<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    context: Context<'env>,
    seat: Seat<'env>,
) -> Result<(), (io::Error, Option<TcpStream>)> {
    let peer = Arc::clone(&seat.peer);
    let work = move || {
        // A bug in a handler costs one connection. Whoever panicked has said so.
        let _ = catch_unwind(AssertUnwindSafe(|| connection::serve(context, &seat.peer)));
    };
    let thread = thread::Builder::new()
        .name("connection".to_owned())
        .stack_size(STACK_BYTES)
        .spawn_scoped(scope, work);
    match thread {
        Ok(_) => Ok(()),
        Err(error) => {
            context.shared.registry.count_unserved();
            Err((error, Arc::into_inner(peer).map(|peer| peer.stream)))
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Raises the limit on file descriptors as far as it goes; how many of them connections may take.
fn descriptors_for_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let granted = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let granted = granted.map_or(usize::MAX, |granted| {
        usize::try_from(granted.saturating_sub(DESCRIPTORS_KEPT)).unwrap_or(usize::MAX)
    });
    granted.max(1)
}

/// Connections that were told that there is no room. They are kept for a moment, and what they send is
/// discarded, since closing on unread bytes would take the answer away from them.
#[derive(Default)]
struct Refused(Vec<(TcpStream, Instant)>);

impl Refused {
    /// Tells a client so, without waiting for it.
    fn extend(&mut self, stream: Option<TcpStream>) {
        let Some(stream) = stream else { return };
        let mut body = Vec::new();
        let reply = Problem::new(
            problem::OVERLOADED,
            "there are as many connections as there may be",
        )
        .retry_after(1)
        .into_reply(&mut body);
        let envelope = Envelope {
            is_head: false,
            is_http10: false,
            close: true,
        };
        let mut answer = Vec::new();
        let mut encoder = Encoder::new("");
        encoder.tick(Instant::now());
        encoder.encode(&mut answer, envelope, &reply, &body);
        let told = stream
            .set_nonblocking(true)
            .and_then(|()| (&stream).write(&answer));
        if told.is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
            if self.0.len() == REFUSED_MAX {
                self.0.remove(0);
            }
            self.0.push((stream, Instant::now() + REFUSED_TIME));
        }
    }

    fn streams(&self) -> impl Iterator<Item = &TcpStream> {
        self.0.iter().map(|(stream, _)| stream)
    }

    fn time_left(&self) -> Option<Duration> {
        let (_, first) = self.0.first()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Reads what they sent, and drops those that have closed or had their time.
    fn discard(&mut self) {
        let now = Instant::now();
        let mut discarded = [0; 4096];
        self.0.retain(|(stream, until)| {
            let mut stream = stream;
            now < *until
                && match stream.read(&mut discarded) {
                    Ok(bytes) => bytes > 0,
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                }
        });
    }
}

/// What the system refuses: said once an episode, and not asked again at once.
#[derive(Default)]
struct Trouble {
    until: Option<Instant>,
    said: bool,
}

impl Trouble {
    fn note(&mut self, doing: &str, error: &io::Error) {
        self.until = Some(Instant::now() + BACK_OFF);
        if !std::mem::replace(&mut self.said, true) {
            log::error!("cannot {doing}: {error}; trying again until it works");
        }
    }

    /// How long the listener is still left alone.
    fn time_left(&mut self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.until = None;
            return None;
        }
        Some(left)
    }

    fn is_over(&mut self) {
        if std::mem::take(&mut self.said) {
            log::info!("connections are accepted again");
        }
    }
}
