//! How a server is built, and why it could not be.

use crate::auth::Tokens;
use crate::http::Hosts;
use crate::http::Limits;
use crate::net::certificates::Certificates;
use crate::net::{BindError, Endpoint, Passed};
use crate::system;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How a server is built.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where to listen; there is at least one.
    pub listen: Vec<Endpoint>,
    /// Sockets to listen at in place of those, where there are some.
    pub passed: Vec<Passed>,
    /// Who may connect to a unix socket, as the mode of its file.
    pub socket_mode: u32,
    /// What clients may take.
    pub limits: Limits,
    /// The tokens that are asked for; none to ask for no token.
    pub tokens: Option<Tokens>,
    /// What is shown under TLS; none to speak plain HTTP.
    pub certificates: Option<Arc<Certificates>>,
    /// For how long browsers are to ask for the node's host by TLS alone; none to leave that to them.
    pub tls_only: Option<Duration>,
    /// The names that the node goes by.
    pub hosts: Hosts,
    /// How long a request takes before the node's log names it; none for never.
    pub slow_min: Option<Duration>,
    /// Whether the server is that of a node, which has a store, or of a gateway, which has none.
    pub has_store: bool,
    /// A file that gets a line about every request; `-` for standard output.
    pub access_log: Option<PathBuf>,
    /// Set where that file is to be opened anew, since the one of before was given another name.
    pub reopen_access_log: Arc<AtomicBool>,
}

/// Why a server could not be started.
#[derive(Debug)]
pub(crate) enum Error {
    /// An endpoint could not be listened at.
    Listen(BindError),
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

impl Error {
    /// Whether somebody listens there already.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Error::Listen(error) if error.source.kind() == io::ErrorKind::AddrInUse)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Listen(BindError { endpoint, source }) => {
                write!(f, "cannot listen on {endpoint}: {}", system::words(source))
            }
            Error::AccessLog { path, source } => {
                write!(
                    f,
                    "cannot write the access log {}: {}",
                    path.display(),
                    system::words(source)
                )
            }
            Error::Panicked => f.write_str(
                "the loop that accepts connections has failed, which is a bug in pykv; start the node anew",
            ),
            Error::Setup(source) => write!(f, "cannot set the server up: {}", system::words(source)),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen(BindError { source, .. })
            | Error::AccessLog { source, .. }
            | Error::Setup(source) => Some(source),
            Error::Panicked => None,
        }
    }
}
