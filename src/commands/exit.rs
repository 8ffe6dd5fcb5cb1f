//! From a command line to an exit status: the one place where errors come to one.

use super::dispatch::dispatch;
use super::signals::ignore_file_size_limit;
use super::{Error, say};
use crate::cli::{self, Cli};
use crate::client;
use clap::FromArgMatches;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the program: parses its arguments, the first of which is its name, does what they say, and prints a line where
/// that fails. `pykv --help` lists the exit statuses.
pub fn run(args: Vec<OsString>) -> ExitCode {
    ignore_file_size_limit();
    let args = cli::behind_the_command(args);
    let mut command = cli::command();
    command.build(); // Only then does it know its flags.
    let configured = match cli::configured(args, &command) {
        Ok(configured) => configured,
        Err(why) => {
            say(&format!("pykv: {why}"));
            return ExitCode::from(2);
        }
    };
    let args = &configured.args;
    let matches = cli::command().try_get_matches_from(args);
    if let Ok(matches) = &matches
        && let Some(text) = cli::printed(matches, &command, &configured)
    {
        return finish(super::print(text.as_bytes()));
    }
    if let Ok(matches) = &matches
        && let Err(why) = cli::check_gateway(matches, &command)
    {
        say(&format!("pykv: {why}"));
        return ExitCode::from(2);
    }
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => match cli::usage_message(&error, args, &|flag| configured.file_of(flag)) {
            None => return show_help(&error),
            Some(message) => {
                say(&format!("pykv: {message}"));
                return ExitCode::from(2);
            }
        },
    };
    finish(dispatch(cli))
}

/// Says what failed, and gives the exit status of it.
fn finish(done: Result<(), Error>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    if !matches!(error, Error::Said(_)) {
        say(&format!("pykv: {error}"));
    }
    ExitCode::from(exit_code(&error))
}

/// Prints the help or the version that was asked for, and sees that it arrives.
fn show_help(help: &clap::Error) -> ExitCode {
    let print = || {
        let printed = help.print().and_then(|()| io::stdout().flush());
        printed.map_err(Error::Output)
    };
    match print() {
        Err(error) if !is_broken_pipe(&error) => {
            say(&format!("pykv: {error}"));
            ExitCode::from(exit_code(&error))
        }
        _ => ExitCode::from(help.exit_code() as u8),
    }
}

/// Whoever reads our output has seen enough of it, as `head` does: no failure of ours.
fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// The exit status that an error comes to; `pykv --help` lists them.
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Missing(_) | Error::UnknownNode(_) => 1,
        Error::Usage(_) => 2,
        Error::Client { source, .. } => match source {
            client::Error::Unreachable { .. }
            | client::Error::Untrusted { .. }
            | client::Error::Broken { .. }
            | client::Error::TimedOut { .. } => 3,
            client::Error::Refused(problem) => exit_code_of_status(problem.status),
            client::Error::Foreign { status, .. } => exit_code_of_foreign(*status),
            client::Error::Nonsense { .. } => 8,
        },
        Error::Damaged { .. } | Error::Broken(_) => 7,
        Error::Log(error) if error.is_damage() => 7,
        Error::ChangedSince { .. } | Error::Exists(_) => 4,
        Error::Log(error) if error.is_there() => 4,
        Error::NotCompacted(_) => 6,
        Error::Said(error) => exit_code(error),
        Error::Log(_)
        | Error::WrongFile(_)
        | Error::Listen(_)
        | Error::Running { .. }
        | Error::Io { .. }
        | Error::Output(_) => 8,
    }
}

/// The exit status that a node's refusal comes to. (That a key is not there is [`Error::Missing`].)
fn exit_code_of_status(status: u16) -> u8 {
    match status {
        401 | 403 => 5,
        409 | 412 => 4,
        // It may be otherwise a moment later, or on another node.
        408 | 410 | 429 | 502 | 503 | 504 | 507 => 6,
        // What was sent is at fault.
        400 | 411 | 413 | 414 | 415 | 422 | 431 => 2,
        _ => 8,
    }
}

/// The exit status that the refusal of something else than a node comes to, as of a proxy. That such a one finds
/// nothing, or a conflict, says nothing of any key.
fn exit_code_of_foreign(status: u16) -> u8 {
    match status {
        404 | 409 | 410 | 412 => 8,
        status => exit_code_of_status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let unreachable = || Error::Client {
            doing: "cannot get \"k\"".to_owned(),
            source: client::Error::TimedOut {
                at: client::Place::named(&"127.0.0.1:1".parse().unwrap(), "--server"),
                waited: std::time::Duration::from_secs(1),
                may_be_done: true,
            },
        };
        let locked = crate::wal::Error::Locked { dir: "d".into() };
        let damaged = crate::wal::Error::Inconsistent {
            dir: "d".into(),
            why: "a segment is missing".to_owned(),
        };
        for (error, code) in [
            (Error::Missing(vec!["k".to_owned()]), 1),
            (Error::Usage("no".to_owned()), 2),
            (Error::Exists("it is there".to_owned()), 4),
            (unreachable(), 3),
            (Error::Damaged { dir: "d".into() }, 7),
            (Error::Log(damaged), 7),
            (Error::Log(locked), 8),
            (Error::Output(io::ErrorKind::StorageFull.into()), 8),
            (Error::Said(Box::new(Error::Missing(vec![]))), 1),
        ] {
            assert_eq!(exit_code(&error), code, "{error}");
        }
        for (status, code) in [
            (401, 5),
            (403, 5),
            // Of a key: `commands` has made it Error::Missing. So this is of a path that every node has.
            (404, 8),
            (409, 4),
            (412, 4),
            (429, 6),
            (502, 6),
            (503, 6),
            (504, 6),
            (507, 6),
            (413, 2),
            (500, 8),
        ] {
            assert_eq!(exit_code_of_status(status), code, "{status}");
        }
        for (status, code) in [(404, 8), (412, 8), (401, 5), (413, 2), (504, 6)] {
            assert_eq!(exit_code_of_foreign(status), code, "{status}");
        }
    }

    #[test]
    fn a_broken_pipe_is_success() {
        assert!(is_broken_pipe(&Error::Output(io::ErrorKind::BrokenPipe.into())));
        assert!(!is_broken_pipe(&Error::Output(io::ErrorKind::StorageFull.into())));
    }
}
