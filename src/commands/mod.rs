//! The subcommands: a file each, thin. They build the parts, run them and print what comes of it.
//!
//! Data goes to standard output and nothing else does. What fails comes back as an [`Error`], which says
//! in one line what failed, on what, and what to do; `exit` prints it and turns it into an exit status.
//!
//! | files | what they share |
//! | --- | --- |
//! | `dispatch`, `error`, `exit` | from what was typed to a command, and from its error to a message and a status |
//! | `connect` | the client that flags and environment describe, and its token |
//! | `serve`, `gateway`, `options`, `coordinator`, `reload`, `service`, `signals`, `logging` | a node: its parts, how it is started, reloaded and ended |
//! | `get`, `set`, `del`, `exists`, `incr`, `deadline`, `list`, `batch`, `watch`, `shell` | keys and values |
//! | `status`, `ping`, `compact`, `promote`, `forget`, `cluster`, `switchover`, `pause` | a node that runs, and its cluster |
//! | `check`, `log`, `reapply`, `backup` | a data directory, and copies of it |
//! | `export`, `import`, `lines`, `progress`, `retry` | many entries as lines, and how far they are |
//! | `mirror` | one node copied to another, and followed |
//! | `output`, `streams`, `text`, `terminal`, `quotes` | files that are written and read; what a terminal is shown |
//! | `token`, `completions` | what needs no node |

mod backup;
mod batch;
mod check;
mod cluster;
mod compact;
mod completions;
mod connect;
mod coordinator;
mod deadline;
mod del;
mod dispatch;
mod error;
mod exists;
mod exit;
mod export;
mod forget;
mod gateway;
mod get;
mod import;
mod incr;
mod lines;
mod list;
mod log;
mod logging;
mod mirror;
mod options;
mod output;
mod packed;
mod pause;
mod ping;
mod progress;
mod promote;
mod quotes;
mod reapply;
mod reload;
mod retry;
mod serve;
mod service;
mod set;
mod shell;
mod signals;
mod status;
mod streams;
mod switchover;
mod terminal;
mod text;
mod token;
mod trouble;
mod watch;

#[cfg(any(test, fuzzing))]
pub use import::fuzz_line as fuzz_import_line;

use crate::{client, escape};
use connect::{connect, token_file, token_of_file_or_environment, token_text_of_file, trust};
use error::{Error, is_missing, missing_or, of_file};
use std::io::{self, Write};
use streams::{check_named, check_stdin, stdout_for_copy};

pub use exit::run;

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
