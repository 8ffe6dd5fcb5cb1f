//! Connections to one server of the engine: as many as may be, kept from one request to the next.
//!
//! # What must hold
//! - A connection on which an answer is missing is never used again: the answer would be taken for that of another
//!   request.
//! - Where one connection to a server has failed, the idle ones are closed: most likely the server has ended.

use super::error::words;
use crate::resolver::Resolver;
use crate::system;
use redis::{
    Client, ClientTlsConfig, Connection, ConnectionAddr, ConnectionLike, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
};
use std::fmt;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A connection that was idle for this long is asked whether it is still open before a change is sent on it.
const PROVE_AFTER: Duration = Duration::from_secs(2);

/// How servers are connected to.
#[derive(Clone)]
pub(crate) struct Dial {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// What is trusted and shown, as PEM; none where TLS is not spoken.
    pub(crate) tls: Option<DialTls>,
    /// Most connections to one server.
    pub(crate) connections_max: usize,
    /// How long anything may take.
    pub(crate) timeout: Duration,
}

/// What is trusted and shown, as PEM.
#[derive(Clone, Default)]
pub(crate) struct DialTls {
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// One server, and the connections to it.
pub(super) struct Server {
    address: String,
    client: Client,
    speaks_tls: bool,
    connections_max: usize,
    timeout: Duration,
    inner: Mutex<Inner>,
    freed: Condvar,
}

#[derive(Default)]
struct Inner {
    idle: Vec<Idle>,
    /// Those in use and those that are idle.
    open: usize,
    /// How often all idle connections were closed.
    purges: u64,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection in use. It goes back to its server where it is given back, and is closed otherwise.
pub(super) struct Link<'s> {
    server: &'s Server,
    connection: Option<Connection>,
    purges: u64,
    /// What a read waits for at most.
    timeout: Duration,
    /// Whether it has gone back.
    is_idle: bool,
}

impl Server {
    /// A server at `HOST:PORT`, to which there is no connection yet.
    pub(super) fn new(address: &str, dial: &Dial) -> RedisResult<Server> {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().unwrap_or(0);
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &dial.password {
            login = login.set_password(password);
        }
        if let Some(user) = &dial.user {
            login = login.set_username(user);
        }
        let address_of = match dial.tls {
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            None => ConnectionAddr::Tcp(host, port),
        };
        let info = address_of.into_connection_info()?.set_redis_settings(login);
        let client = match &dial.tls {
            Some(tls) => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: tls
                        .identity
                        .clone()
                        .map(|(client_cert, client_key)| ClientTlsConfig {
                            client_cert,
                            client_key,
                        }),
                    root_cert: tls.ca.clone(),
                },
            )?,
            None => Client::open(info)?,
        };
        Ok(Server {
            address: address.to_owned(),
            client,
            speaks_tls: dial.tls.is_some(),
            connections_max: dial.connections_max,
            timeout: dial.timeout,
            inner: Mutex::new(Inner::default()),
            freed: Condvar::new(),
        })
    }

    /// How long anything may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Why a question to the server has failed, in one line.
    pub(super) fn words(&self, error: &RedisError) -> String {
        // Redis without TLS takes the handshake for a line that has not ended, and says nothing.
        let hint = match self.speaks_tls && error.is_timeout() {
            true => "; perhaps it speaks no TLS, which rediss:// asks for",
            false => "",
        };
        format!("{}: {}{hint}", self.address, words(error))
    }

    /// Takes a connection, or waits for one until `deadline`. An error says that nothing was sent.
    pub(super) fn link(&self, deadline: Instant, resolver: &Resolver) -> Result<Link<'_>, String> {
        let (idle, purges) = {
            let mut inner = self.lock();
            loop {
                if let Some(idle) = inner.idle.pop() {
                    break (Some(idle), inner.purges);
                }
                if inner.open < self.connections_max {
                    inner.open += 1;
                    break (None, inner.purges);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err("all connections to the server are in use".to_owned());
                }
                inner = self
                    .freed
                    .wait_timeout(inner, left)
                    .expect("nothing under the lock of a server panics")
                    .0;
            }
        };
        let mut link = Link {
            server: self,
            connection: None,
            purges,
            timeout: self.timeout,
            is_idle: false,
        };
        if let Some(Idle { connection, since }) = idle {
            link.connection = Some(connection);
            if since.elapsed() < PROVE_AFTER || link.is_open() {
                return Ok(link);
            }
            // From here on it is a new one, with the place of the old.
            link.connection = None;
        }
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        // A name that nobody knows, or a resolver that is silent, must not take longer than there is time.
        resolver
            .resolve(&self.address, left)
            .map_err(|error| format!("{}: {}", self.address, system::words(&error)))?;
        let connection = self
            .client
            .get_connection_with_timeout(left)
            .and_then(|connection| {
                connection.set_read_timeout(Some(self.timeout))?;
                connection.set_write_timeout(Some(self.timeout))?;
                Ok(connection)
            })
            .map_err(|error| format!("{}: {}", self.address, words(&error)))?;
        link.connection = Some(connection);
        Ok(link)
    }

    /// Closes all idle connections.
    pub(super) fn purge(&self) {
        let idle = {
            let mut inner = self.lock();
            inner.purges += 1;
            inner.open -= inner.idle.len();
            std::mem::take(&mut inner.idle)
        };
        drop(idle);
        self.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the lock of a server panics")
    }
}

impl Link<'_> {
    /// Sends one command or several in one piece, and reads as many answers. Errors of the server are among them.
    pub(super) fn exchange(
        &mut self,
        packed: &[u8],
        answers: usize,
        timeout: Duration,
    ) -> RedisResult<Vec<Value>> {
        self.send(packed, timeout)?;
        let mut read = Vec::with_capacity(answers);
        for _ in 0..answers {
            read.push(self.receive()?);
        }
        Ok(read)
    }

    /// Sends commands, each answer of which is to be read. An error closes the connection.
    pub(super) fn send(&mut self, packed: &[u8], timeout: Duration) -> RedisResult<()> {
        let is_other = timeout != self.timeout;
        self.timeout = timeout;
        self.try_on(|connection| {
            if is_other {
                connection.set_read_timeout(Some(timeout))?;
            }
            connection.send_packed_command(packed)
        })
    }

    /// Reads the next answer. An error closes the connection.
    pub(super) fn receive(&mut self) -> RedisResult<Value> {
        self.try_on(Connection::recv_response)
    }

    fn try_on<T>(&mut self, run: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let Some(connection) = &mut self.connection else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        run(connection).inspect_err(|_| self.connection = None)
    }

    /// Gives the connection back: all that was sent was answered.
    pub(super) fn give_back(mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.timeout != self.server.timeout
            && connection.set_read_timeout(Some(self.server.timeout)).is_err()
        {
            return;
        }
        let mut inner = self.server.lock();
        // It is of before the last failure, and may be dead too.
        if inner.purges == self.purges {
            inner.idle.push(Idle {
                connection,
                since: Instant::now(),
            });
            self.is_idle = true;
        }
    }

    /// Whether the server still answers.
    fn is_open(&mut self) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        connection.check_connection()
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        if !self.is_idle {
            self.server.lock().open -= 1;
        }
        self.server.freed.notify_one();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}
