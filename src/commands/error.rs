//! Why a command did not do what was asked, in one line that says on what, and what to do.

use super::packed;
use crate::{client, server, system};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Error {
    /// What was typed cannot be done, whatever the state of anything.
    Usage(String),
    /// A file or directory is there that is to be left alone.
    Exists(String),
    /// These keys are not there.
    Missing(Vec<String>),
    /// A node is not known to the one that was asked.
    UnknownNode(String),
    /// A node did not do it.
    Client {
        /// What was asked of it.
        doing: String,
        /// Why not.
        source: client::Error,
    },
    /// A data directory could not be opened, read or closed.
    Log(crate::wal::Error),
    /// A data directory is not complete; the output says where.
    Damaged {
        /// The directory.
        dir: PathBuf,
    },
    /// A file is not what its argument asks for.
    WrongFile(String),
    /// What a node sent is not what it must be.
    Broken(String),
    /// These many keys were left alone, since somebody changed them.
    ChangedSince {
        /// How many.
        keys: u64,
    },
    /// The log could not be compacted, and is as it was.
    NotCompacted(String),
    /// The listener could not be made, or has failed.
    Listen(server::Error),
    /// Another node runs, at the same place and on the same directory.
    Running {
        /// Where it listens.
        listen: server::Error,
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused something beside the log.
    Io {
        /// What was being done, and on what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output took no more.
    Output(io::Error),
    /// What was said already, where it happened; the first of it, if there was more.
    Said(Box<Error>),
}

impl Error {
    pub(super) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let doing = format!("{doing} {}", path.display());
        move |source| Error::Io { doing, source }
    }

    /// For `map_err` on what a client returns.
    pub(super) fn client(doing: impl Into<String>) -> impl FnOnce(client::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Client { doing, source }
    }
}

impl From<crate::wal::Error> for Error {
    fn from(error: crate::wal::Error) -> Error {
        Error::Log(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(why) | Error::Exists(why) | Error::WrongFile(why) | Error::Broken(why) => {
                f.write_str(why)
            }
            Error::UnknownNode(address) => write!(
                f,
                "the node knows of no node at {address}; `pykv status` names those that it knows"
            ),
            Error::Missing(keys) => {
                match keys.as_slice() {
                    [key] => write!(f, "key not found: {key:?}")?,
                    keys => write!(f, "keys not found: {keys:?}")?,
                }
                match keys.iter().any(|key| key.contains('*')) {
                    true => f.write_str(
                        "; each character of a key stands for itself, and `pykv list --match PATTERN` finds keys",
                    ),
                    false => Ok(()),
                }
            }
            Error::Client { doing, source } => write!(f, "{doing}: {source}"),
            Error::Log(error) => error.fmt(f),
            Error::Damaged { dir } => write!(
                f,
                "{} is damaged; `pykv check --dir {0} --repair` sets the damage aside, keeping a copy of it",
                dir.display()
            ),
            Error::ChangedSince { keys } => {
                let keys = if *keys == 1 {
                    "1 key was".to_owned()
                } else {
                    format!("{keys} keys were")
                };
                write!(f, "{keys} changed by somebody else since, and left alone")
            }
            Error::NotCompacted(why) => write!(f, "the log was not compacted: {why}"),
            Error::Listen(error @ server::Error::Listen(_)) => {
                write!(f, "{error}; --listen names another place")
            }
            Error::Listen(error) => error.fmt(f),
            Error::Running { listen, dir } => write!(
                f,
                "{listen}, and {} is open in another process: a node runs there already; a second one needs a --listen and a \
                 --dir of its own",
                dir.display()
            ),
            Error::Io { doing, source } => write!(f, "{doing}: {}", system::words(source)),
            Error::Output(error) => {
                write!(f, "cannot write to standard output: {}", system::words(error))
            }
            Error::Said(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Client { source, .. } => Some(source),
            Error::Log(error) => Some(error),
            Error::Listen(error) | Error::Running { listen: error, .. } => Some(error),
            Error::Io { source, .. } | Error::Output(source) => Some(source),
            Error::Said(error) => error.source(),
            Error::Usage(_)
            | Error::Exists(_)
            | Error::WrongFile(_)
            | Error::Broken(_)
            | Error::Missing(_)
            | Error::UnknownNode(_)
            | Error::Damaged { .. }
            | Error::ChangedSince { .. }
            | Error::NotCompacted(_) => None,
        }
    }
}

/// An error of a file that somebody names: what it says of data directories would mislead.
pub(super) fn of_file(error: crate::wal::Error, file: &Path) -> Error {
    match error {
        crate::wal::Error::NoStore { path, why } if path == file => {
            let mut start = Vec::new();
            // Where it cannot be read, `why` says enough.
            let _ = File::open(file).and_then(|file| file.take(8).read_to_end(&mut start));
            Error::WrongFile(match packed::says(&start) {
                Some(says) => format!("{} {says}", file.display()),
                None => format!("cannot read {}: {why}", file.display()),
            })
        }
        crate::wal::Error::Damaged {
            path,
            file_position,
            why,
            ..
        } if path == file => Error::Broken(format!(
            "{} is damaged at byte {file_position}: {why}",
            file.display()
        )),
        error => Error::Log(error),
    }
}

/// For `map_err` on what a client says of one key.
pub(super) fn missing_or(key: &str, doing: &str) -> impl FnOnce(client::Error) -> Error {
    move |error| {
        if is_missing(&error) {
            Error::Missing(vec![key.to_owned()])
        } else {
            Error::client(format!("{doing} {key:?}"))(error)
        }
    }
}

/// Whether a node says that a key is not there.
pub(super) fn is_missing(error: &client::Error) -> bool {
    matches!(error, client::Error::Refused(problem) if problem.status == 404)
}
