//! A server: binds its endpoints, gives each connection a thread, and ends them all.

use super::connection;
use super::options::{Error, Options};
use crate::auth::LiveTokens;
use crate::engine::Engine;
use crate::handlers::context::Context;
use crate::handlers::route;
use crate::handlers::shared::Shared;
use crate::http::problem::{self, Problem};
use crate::net::budget::Budget;
use crate::net::certificates::Certificates;
use crate::net::handshakes::Handshakes;
use crate::net::listener::{Listener, Service, Untaken};
use crate::net::registry::{Registration, Registry};
use crate::net::transport::{Client, Transport};
use crate::net::{Endpoint, Stopper};
use crate::observe::history::History;
use crate::observe::{Access, Observer, Slow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::Duration;

/// A thread's stack. Only what is used of it takes memory; handlers use some 16 KiB.
const STACK_BYTES: usize = 256 * 1024;

/// File descriptors kept from connections: for the log, the listener and those being refused.
const DESCRIPTORS_KEPT: u64 = 32;

/// How long a request may be waited for of which nothing comes, once the server stops.
const STILL_MAX: Duration = Duration::from_secs(2);

/// A server that is bound to its endpoints. What comes before [`Server::run`] waits in the kernel.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Listener,
    shared: Shared,
}

impl Server {
    /// Binds the endpoints, and takes as many file descriptors from the system as it grants.
    pub(crate) fn bind(options: Options) -> Result<Server, Error> {
        let (wake, woken) = UnixStream::pair().map_err(Error::Setup)?;
        wake.set_nonblocking(true).map_err(Error::Setup)?;
        let certificates = options.certificates.clone();
        let listener = match options.passed.is_empty() {
            true => Listener::bind(&options.listen, options.socket_mode, certificates, woken)
                .map_err(Error::Listen)?,
            false => Listener::adopt(options.passed, certificates, woken).map_err(Error::Setup)?,
        };
        let access = options.access_log.as_deref();
        let access = access
            .map(|path| Access::start(path, Arc::clone(&options.reopen_access_log)))
            .transpose();
        let access = access.map_err(|source| Error::AccessLog {
            path: options.access_log.clone().unwrap_or_default(),
            source,
        })?;
        let connections_max = options.limits.connections_max.min(descriptors_for_connections());
        if connections_max < options.limits.connections_max {
            log::warn!(
                "the system grants file descriptors for {connections_max} connections, not for {}",
                options.limits.connections_max
            );
        }
        let slow = options.slow_min.map(|min| Slow::new(min, options.has_store));
        Ok(Server {
            listener,
            shared: Shared {
                budget: Budget::new(options.limits.in_flight_bytes_max),
                registry: Registry::new(connections_max),
                handshakes: Handshakes::new(connections_max),
                limits: options.limits.with_sound_timeouts(),
                tokens: options.tokens.map(LiveTokens::new),
                certificates: options.certificates,
                tls_only: options.tls_only,
                hosts: options.hosts,
                stopper: Stopper::new(wake),
                history: History::default(),
                observer: Arc::new(Observer::new(route::labels(), slow, access)),
            },
        })
    }

    /// Where it listens, with the ports that were chosen where none were asked for.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        self.listener.endpoints()
    }

    /// The tokens that it asks for; none where it asks for none.
    pub(crate) fn tokens(&self) -> Option<&LiveTokens> {
        self.shared.tokens.as_ref()
    }

    /// What it shows under TLS; none where it speaks plain HTTP.
    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.shared.certificates.as_deref()
    }

    /// How a URL of it begins.
    pub(crate) fn scheme(&self) -> &'static str {
        self.shared.scheme()
    }

    /// A handle that stops the server.
    pub(crate) fn stopper(&self) -> Stopper {
        self.shared.stopper.clone()
    }

    /// Serves what an engine holds until the stop: then accepts no more, lets requests in flight finish within
    /// `grace`, cuts what is left, and returns when every connection's thread has ended. To be run once.
    ///
    /// An error says that accepting has failed, for a bug of pykv alone; the connections were drained all the same.
    pub(crate) fn run(&self, engine: Engine<'_>, grace: Duration) -> Result<(), Error> {
        let context = Context {
            engine,
            shared: &self.shared,
        };
        thread::scope(|scope| {
            let history = &self.shared.history;
            let sampler = thread::Builder::new()
                .name("history".to_owned())
                .spawn_scoped(scope, || {
                    history.run(engine, &self.shared.registry, &self.shared.observer)
                })
                .map_err(Error::Setup)?;
            let stopper = &self.shared.stopper;
            let mut connections = Connections { scope, context };
            let accepted = catch_unwind(AssertUnwindSafe(|| {
                self.listener.accept_until_stopped(stopper, &mut connections)
            }));
            // Where it ended of itself, all others learn of it as they do of a signal.
            stopper.stop();
            self.listener.close();
            let registry = &self.shared.registry;
            registry.wake_idle();
            if let Some(node) = engine.node() {
                node.wake_watchers();
            }
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
}

/// Gives each connection a thread of its own.
struct Connections<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    context: Context<'env>,
}

impl Service for Connections<'_, '_> {
    fn take(&mut self, transport: Transport, client: Client) -> Result<(), Untaken> {
        let registry = &self.context.shared.registry;
        let registration = registry.register(transport, client).map_err(|transport| {
            self.context.shared.handshakes.shed();
            Untaken::Full(transport)
        })?;
        self.spawn(registration)
            .inspect_err(|_| registry.count_unserved())
    }

    fn refusal(&self) -> Vec<u8> {
        let why = "the node has --max-connections connections already";
        Problem::new(problem::OVERLOADED, why)
            .retry_after(1)
            .into_last_answer()
    }
}

impl<'env> Connections<'_, 'env> {
    fn spawn(&self, registration: Registration<'env>) -> Result<(), Untaken> {
        let (context, peer) = (self.context, Arc::clone(&registration.peer));
        let work = move || {
            // A bug in a handler costs one connection. Whoever panicked has said so.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                connection::serve(context, &registration.peer)
            }));
        };
        let thread = thread::Builder::new()
            .name("connection".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(self.scope, work);
        match thread {
            Ok(_) => Ok(()),
            Err(error) => Err(Untaken::NoThread(
                error,
                Arc::into_inner(peer).map(|peer| peer.transport),
            )),
        }
    }
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
