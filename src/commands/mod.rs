//! The subcommands: a file each, thin. They build the parts, run them and print what comes of it.
//!
//! Data goes to standard output and nothing else does. What fails comes back as an [`Error`], which says
//! in one line what failed, on what, and what to do; `exit` prints it and turns it into an exit status.

mod backup;
mod batch;
mod check;
mod cluster;
mod compact;
mod completions;
mod coordinator;
mod deadline;
mod del;
mod dispatch;
mod exists;
mod exit;
mod export;
mod forget;
mod get;
mod import;
mod incr;
mod lines;
mod list;
mod log;
mod logging;
mod options;
mod output;
mod pause;
mod ping;
mod progress;
mod promote;
mod quotes;
mod reapply;
mod reload;
mod serve;
mod service;
mod set;
mod shell;
mod signals;
mod status;
mod switchover;
mod terminal;
mod text;
mod token;
mod watch;

#[cfg(any(test, fuzzing))]
pub use import::fuzz_line as fuzz_import_line;

use crate::cli::{self, Connection, TlsClient};
use crate::client::{self, Client, Token};
use crate::tls::Trust;
use crate::{escape, server, system};
use rustix::fs::OFlags;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Longest file of tokens that is read, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 1 << 20;

pub use exit::run;

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
    /// A data directory is not whole; the output says where.
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
    fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let doing = format!("{doing} {}", path.display());
        move |source| Error::Io { doing, source }
    }

    /// For `map_err` on what a client returns.
    fn client(doing: impl Into<String>) -> impl FnOnce(client::Error) -> Error {
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
            Error::Missing(keys) => match keys.as_slice() {
                [key] => write!(f, "key not found: {key:?}"),
                keys => write!(f, "keys not found: {keys:?}"),
            },
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

/// The client that a command's flags and environment describe.
fn connect(connection: &Connection) -> Result<Client, Error> {
    let token = token(connection)?;
    let trust = connection
        .server
        .is_tls()
        .then(|| trust(&connection.tls))
        .transpose()?;
    Ok(Client::new(
        connection.server.clone(),
        token,
        trust,
        connection.timeout.0,
    ))
}

/// Whom flags and environment say to trust.
fn trust(flags: &TlsClient) -> Result<Trust, Error> {
    Trust::load(flags.tls_ca.as_deref(), flags.identity()).map_err(|error| Error::Usage(error.to_string()))
}

/// The token to show: of --token-file, else PYKV_TOKEN, else the file that PYKV_TOKEN_FILE names.
fn token(connection: &Connection) -> Result<Option<Token>, Error> {
    if let Some(path) = &connection.token_file {
        return token_of_file(path).map(Some);
    }
    if let Some(text) = std::env::var_os(cli::ENV_TOKEN).filter(|text| !text.is_empty()) {
        let token = text.to_str().and_then(Token::new);
        return token
            .map(Some)
            .ok_or_else(|| Error::Usage(format!("{} holds characters that no token has", cli::ENV_TOKEN)));
    }
    match std::env::var_os(cli::ENV_TOKEN_FILE).filter(|path| !path.is_empty()) {
        Some(path) => token_of_file(Path::new(&path)).map(Some),
        None => Ok(None),
    }
}

fn token_of_file(path: &Path) -> Result<Token, Error> {
    Token::new(&token_text_of_file(path)?).ok_or_else(|| bad_token(path))
}

fn bad_token(path: &Path) -> Error {
    Error::Usage(format!(
        "the token in {} has characters that no token has",
        path.display()
    ))
}

/// The token that a file holds, as text.
fn token_text_of_file(path: &Path) -> Result<String, Error> {
    let text = token_file(path)?;
    let token = text.lines().find_map(token_of_line);
    let token = token.ok_or_else(|| Error::Usage(format!("there is no token in {}", path.display())))?;
    let is_token = token.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| token.to_owned()).ok_or_else(|| bad_token(path))
}

/// A file of tokens, a node's or a client's.
fn token_file(path: &Path) -> Result<String, Error> {
    text::read_file("a token file", path, TOKEN_FILE_BYTES_MAX)
}

/// The token in a line that is not empty and no comment. In a node's own file a scope may stand before it, and prefixes
/// behind it. A digest is no token that could be shown.
fn token_of_line(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some("read" | "write" | "admin"), Some(token)) => Some(token),
        (first, _) => first,
    }
    .filter(|token| !token.starts_with("sha256:"))
}

/// An error of a file that somebody names: what it says of data directories would mislead.
fn of_file(error: crate::wal::Error, file: &Path) -> Error {
    match error {
        crate::wal::Error::NoStore { path, why } if path == file => {
            Error::WrongFile(format!("cannot read {}: {why}", file.display()))
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

/// An error where standard input was closed when the program started: an empty input is then nothing that anybody
/// meant. (Rust opens /dev/null in its place, for reading and writing, which no shell does.)
fn check_stdin() -> Result<(), Error> {
    let stdin = io::stdin();
    let is_replaced = || -> rustix::io::Result<bool> {
        let is_null = rustix::fs::fstat(&stdin)?.st_rdev == rustix::fs::stat("/dev/null")?.st_rdev;
        let mode = rustix::fs::fcntl_getfl(&stdin)?.intersection(OFlags::RWMODE);
        Ok(is_null && mode == OFlags::RDWR)
    };
    match is_replaced() {
        Ok(true) => Err(Error::Io {
            doing: "cannot read standard input".to_owned(),
            source: io::Error::other("it is closed"),
        }),
        _ => Ok(()),
    }
}

/// Writes to standard output and sees that it arrives.
fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}

/// Writes a JSON text to standard output as one line.
fn print_json(mut json: Vec<u8>) -> Result<(), Error> {
    if json.last() != Some(&b'\n') {
        json.push(b'\n');
    }
    print_lines_of_json(&json)
}

/// Writes JSON texts, one a line, to standard output.
fn print_lines_of_json(lines: &[u8]) -> Result<(), Error> {
    if terminal::is_seen() {
        print(&terminal::json(lines))
    } else {
        print(lines)
    }
}

/// Writes what is for people to standard output.
fn print_text(text: &str) -> Result<(), Error> {
    print(escape::lines(text).as_bytes())
}

/// Says something on standard error, on a line of its own. Nothing is left to be done where that takes no more.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escape::line(text));
}

/// How a node is asked to compare versions.
fn condition(if_version: Option<u64>) -> client::Condition {
    if_version.map_or(client::Condition::None, client::Condition::Version)
}

/// Which keys, or entries, a prefix is of: for messages.
fn beginning_with(what: &str, prefix: &str) -> String {
    match prefix {
        "" => what.to_owned(),
        prefix => format!("{what} that begin with {prefix:?}"),
    }
}

/// For `map_err` on what a client says of one key.
fn missing_or(key: &str, doing: &str) -> impl FnOnce(client::Error) -> Error {
    move |error| {
        if is_missing(&error) {
            Error::Missing(vec![key.to_owned()])
        } else {
            Error::client(format!("{doing} {key:?}"))(error)
        }
    }
}

/// Whether a node says that a key is not there.
fn is_missing(error: &client::Error) -> bool {
    matches!(error, client::Error::Refused(problem) if problem.status == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_line() {
        assert_eq!(token_of_line("secret"), Some("secret"));
        assert_eq!(token_of_line("  admin   secret \r"), Some("secret"));
        assert_eq!(token_of_line("# secret"), None);
        assert_eq!(token_of_line("   "), None);
    }
}
