//! HTTP: the listener, one thread a connection, and the handlers that turn requests into calls of a node.
//!
//! | file | what it is |
//! | --- | --- |
//! | `listener` | accepts, refuses, and ends connections |
//! | `registry` | the connections that are open, and what they count |
//! | `connection` | the loop of one connection |
//! | `input`, `output` | its two buffers: what came, and what goes out |
//! | `request`, `authority`, `chunked` | the head of a request, the host in it, and bodies that come in chunks |
//! | `routes` | which request is which, and whether it may come in |
//! | `handlers`: `kv`, `keys`, `compact`, `backup`, `watch`, `admin`, `replication` | from a request to its answer |
//! | `target`, `payload`, `media`, `conditions`, `deadline` | paths and queries, JSON bodies, forms of bodies, entity tags, times to live |
//! | `response`, `problem` | answers, and errors as answers |
//! | `stream`, `sink` | answers that wait, and answers that are sent while they are made |
//! | `cluster` | what a request asks of the node's place in its cluster |
//! | `observe`, `metrics`, `history` | how long requests took and what they waited for; what is told of that |
//! | `page` | the web page: files in the binary |
//! | `auth` | tokens |
//! | `origin` | what pages of other sites may not do |
//! | `limits`, `budget` | what clients may take; the memory that they share |
//!
//! # Why a server of our own
//! tiny_http gives the vocabulary (methods, status codes, header fields), httparse the grammar. tiny_http's
//! own `Server` is not used, for what was seen of 0.12: its accept thread ends for good at the first
//! EMFILE; its pool of threads lets new connections wait behind open ones for as long as those stay open
//! (of 64 opened at once, 28 were never answered); it reads a header of any size into memory; it accepts a
//! length and a transfer coding that contradict each other; and it sends the answers of a pipeline one by
//! one. The tests of this module show that this server does none of that.
//!
//! # Threads
//! [`Server::run`] accepts on the thread that calls it and starts one thread a connection, all of them in
//! one scope: when it returns, every one of them has ended.

mod admin;
mod auth;
mod authority;
mod backup;
mod batch;
mod budget;
mod chunked;
mod cluster;
mod compact;
mod conditions;
mod connection;
mod deadline;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handlers;
mod history;
mod input;
mod keys;
mod kv;
mod left;
mod limits;
mod listener;
mod media;
mod metrics;
mod observe;
mod origin;
mod output;
mod page;
mod payload;
mod problem;
mod registry;
mod replication;
mod request;
mod response;
mod routes;
mod sink;
mod stream;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod watch;

pub use auth::{Tokens, TokensError};
pub use limits::{HEADERS_CEILING, Limits};
pub use listener::{Server, Stopper};
pub use origin::Hosts;

use budget::Budget;
use history::History;
use observe::Observer;
use registry::Registry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How a server is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on; port 0 for any that is free.
    pub listen: SocketAddr,
    /// What clients may take.
    pub limits: Limits,
    /// The tokens that are asked for; none to ask for no token.
    pub tokens: Option<Tokens>,
    /// The names that the node goes by.
    pub hosts: Hosts,
    /// From how long on a request is told of in the node's log; none for never.
    pub slow_min: Option<Duration>,
    /// A file that gets a line about every request; `-` for standard output.
    pub access_log: Option<PathBuf>,
    /// Set where that file is to be opened anew, since the one of before was given another name.
    pub reopen_access_log: Arc<AtomicBool>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    tokens: Option<Tokens>,
    hosts: Hosts,
    budget: Budget,
    registry: Registry,
    stopper: Stopper,
    history: History,
    observer: Arc<Observer>,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopper.is_stopping()
    }
}

/// Why a server could not be started.
#[derive(Debug)]
pub enum Error {
    /// The address could not be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The access log could not be opened.
    AccessLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The loop that accepts connections has panicked.
    Panicked,
    /// What the server needs beside its listener could not be had.
    Setup(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Error::AccessLog { path, source } => {
                write!(f, "cannot write the access log {}: {source}", path.display())
            }
            Error::Panicked => f.write_str(
                "the loop that accepts connections has failed, which is a bug in pykv; start the node anew",
            ),
            Error::Setup(source) => write!(f, "cannot set the server up: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. } | Error::AccessLog { source, .. } | Error::Setup(source) => {
                Some(source)
            }
            Error::Panicked => None,
        }
    }
}
