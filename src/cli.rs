//! The command line: every subcommand, flag, default, environment variable and help text.
//!
//! Nothing is done here. [`Cli`] is what was typed, checked as far as that can be done without looking at
//! anything else; [`crate::commands`] does it. The manual pages are made from [`command`].
//!
//! A flag wins over its environment variable, and that over the default. Whatever names a number of bytes
//! takes a [`Size`], whatever names a time a [`Span`].

mod error;
mod serve;
mod units;
mod values;
mod watch;

pub use error::usage_message;
pub use serve::{Fsync, LogLevel, Serve};
pub use units::{Size, SizeError, Span};
use values::{key, limit, version};
pub use watch::Watch;

use crate::client::Address;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Where a node listens unless told otherwise: PYKV on a phone's keys.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7958";
/// Where a node keeps its data unless told otherwise.
pub const DIR_DEFAULT: &str = "pykv-data";

/// Names the node that a command talks to.
pub const ENV_SERVER: &str = "PYKV_SERVER";
/// Holds a token. The only way to give one beside a file: what stands in argv is seen by every process.
pub const ENV_TOKEN: &str = "PYKV_TOKEN";
/// Names a file that holds a token.
pub const ENV_TOKEN_FILE: &str = "PYKV_TOKEN_FILE";
/// Where a node listens.
pub const ENV_LISTEN: &str = "PYKV_LISTEN";
/// Where a node keeps its data.
pub const ENV_DIR: &str = "PYKV_DIR";
/// How much a node says on standard error.
pub const ENV_LOG: &str = "PYKV_LOG";

const EXAMPLES: &str = "\
Examples:
  pykv serve                       start a node on 127.0.0.1:7958, its data in ./pykv-data
  pykv set greeting 'hello world'  store a value
  pykv get greeting                print it
  pykv list                        print all keys
  pykv del greeting                delete it
  curl http://127.0.0.1:7958/kv/greeting

`pykv help COMMAND` says all there is to say of a command.";

const EXIT_STATUS: &str = "\
Exit status:
  0    done
  1    the key is not there
  2    the command line, the key or the value is not what pykv takes
  3    the node cannot be reached, or did not answer in time
  4    the key exists, does not exist, or is in another version than was asked
  5    not allowed: no token, a wrong one, or one that does not allow this
  6    the node cannot do it now: its disk is full or failing, or it is too busy
  7    the data is damaged
  8    anything else: a file, a port or standard output failed, or the answer makes no sense
  130  a second signal ended a node at once, as a crash would";

const ENVIRONMENT: &str = "\
Environment:
  PYKV_SERVER      the node to talk to, as --server
  PYKV_TOKEN       the token to show it
  PYKV_TOKEN_FILE  a file with tokens, as --token-file
  PYKV_LISTEN      where `pykv serve` listens, as --listen
  PYKV_DIR         where the data is, as --dir
  PYKV_LOG         how much `pykv serve` says, as --log-level
  NO_COLOR         set to anything: no colours";

/// What was typed.
#[derive(Parser, Debug)]
#[command(
    name = "pykv",
    version,
    about = "A small key-value store behind plain HTTP",
    long_about = "A small key-value store behind plain HTTP.\n\n\
        `pykv serve` is a node: it holds keys and values in memory within a bound, dropping the least \
        recently used ones, writes every change to a log on disk, and answers HTTP. What it has \
        acknowledged is there again after a crash. The other commands talk to a node, or look at the files \
        of one.",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}\n\n{ENVIRONMENT}"),
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand and what it was given.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a node
    ///
    /// Once it takes requests it prints one line on standard output, `listening on http://ADDRESS`; all
    /// else goes to standard error. Ctrl-C or SIGTERM ends it: it takes no more connections, answers the
    /// requests it has begun, syncs its log and exits with 0. A second one, a second later or more, ends it at
    /// once, with 130.
    Serve(Box<Serve>),
    /// Print the value of a key
    ///
    /// Its bytes are printed as they are, and on a terminal a newline after them.
    Get(Get),
    /// Store a value under a key
    ///
    /// It is stored whether the key is new or not, unless a flag says otherwise. When the command returns,
    /// the node holds the value as firmly as its --fsync says.
    Set(Set),
    /// Delete keys
    ///
    /// Where some are not there the others are deleted all the same, and the exit status is 1.
    Del(Del),
    /// Print the keys
    ///
    /// They are printed one a line, in no order that means anything. A key that is there from the beginning
    /// to the end is printed exactly once, however many keys come and go meanwhile.
    List(List),
    /// Print changes as they are made, as JSON, one a line
    ///
    /// A change has its operation (SET, UPDATE, DELETE, EVICT or EXPIRE), key, value, version, which is the
    /// offset to go on after, and timestamp (in ms since the Unix epoch). This goes on until interrupted.
    /// Where the node goes away meanwhile, that is said on standard error, and nothing is missed once it is
    /// back. The exit status is 6 where the node no longer holds what came after --after.
    Watch(Watch),
    /// Print how a node is
    ///
    /// Its log, its store and its connections.
    Status(Status),
    /// Print the records of a log as JSON, one a line
    ///
    /// A record has its offset, version, operation, key, value and timestamp (in ms since the Unix epoch).
    /// A value that is no text is in base64, and "encoding" says so. This works beside a running node and
    /// changes nothing.
    Log(Log),
    /// Say whether a data directory is whole, and where it is not
    ///
    /// No process may have the directory open. A record that is cut short at the very end of the log is
    /// what a crash leaves: the next start cuts it off, and it does not count as damage. The exit status is 7 where there is damage.
    Check(Check),
}

/// The definitions behind [`Cli`], for manual pages and the like.
pub fn command() -> clap::Command {
    Cli::command()
}

/// How a command reaches a node.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The node to talk to: HOST:PORT or http://HOST:PORT
    #[arg(long, value_name = "ADDRESS", env = ENV_SERVER, default_value = LISTEN_DEFAULT)]
    pub server: Address,

    /// A file that holds the token to show the node [env: PYKV_TOKEN_FILE]
    ///
    /// Its first line counts that is neither empty nor a comment (#), and of that the last word, so that a
    /// node's own file of tokens will do. Instead of the file, PYKV_TOKEN may hold the token itself. A
    /// token is never given on the command line, where every user of the machine could read it.
    // Not clap's `env`: PYKV_TOKEN stands between the flag and this variable; see `commands::token`.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// How long to wait for each answer
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "60s")]
    pub timeout: Span,
}

/// `pykv get`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv get greeting\n  pykv get photo > photo.jpg\n  pykv get --json greeting\n  \
        pykv get -- -a-key-that-begins-with-a-dash"
)]
pub struct Get {
    /// The key
    #[arg(value_parser = key)]
    pub key: String,

    /// Print the node's whole answer, with the key's version; a value that is no text is in base64
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv set`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv set greeting 'hello world'\n  pykv set photo --file photo.jpg\n  \
        date | pykv set now -\n  pykv set --if-absent lock \"$HOSTNAME\" && echo mine\n  \
        pykv set --if-version 1234 counter 8\n  pykv set -- -key -value"
)]
pub struct Set {
    /// The key
    #[arg(value_parser = key)]
    pub key: String,

    /// The value; - reads it from standard input
    #[arg(
        allow_negative_numbers = true,
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub value: Option<OsString>,

    /// Read the value from a file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Only if the key is new; exit with 4 if it exists
    #[arg(long, conflicts_with = "if_version")]
    pub if_absent: bool,

    /// Only if the key is in this version; exit with 4 if it is not
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true, value_parser = version)]
    pub if_version: Option<u64>,

    /// Print the node's answer, with the key's new version
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv del`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv del greeting\n  pykv del a b c\n  pykv del --if-version 1234 greeting"
)]
pub struct Del {
    /// The keys
    #[arg(required = true, value_name = "KEY", value_parser = key)]
    pub keys: Vec<String>,

    /// Only if the key is in this version; exit with 4 if it is not. Takes one key
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true, value_parser = version)]
    pub if_version: Option<u64>,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv list`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv list\n  pykv list user:\n  pykv list --limit 10\n  \
        pykv list --null session: | xargs -0r pykv del --"
)]
pub struct List {
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// Print at most so many keys
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = limit)]
    pub limit: Option<NonZeroU64>,

    /// Print each key as a JSON string, for keys that have a newline in them
    #[arg(long, conflicts_with = "null")]
    pub json: bool,

    /// End each key with a NUL rather than a newline, as for xargs -0
    #[arg(short = '0', long)]
    pub null: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv status`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv status\n  pykv status --json\n  pykv status --server 10.0.0.7:7958"
)]
pub struct Status {
    /// Print the node's answers as one JSON object
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv log`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv log\n  pykv log --key greeting\n  pykv log --follow --dir /var/lib/pykv"
)]
pub struct Log {
    /// The data directory, or one file of it
    #[arg(long, value_name = "DIR", env = ENV_DIR, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,

    /// Go on as the log grows, until interrupted
    #[arg(short, long)]
    pub follow: bool,

    /// Only records of this key
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,
}

/// `pykv check`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv check\n  pykv check --dir /var/lib/pykv\n  \
        pykv check --dir /var/lib/pykv --repair")]
pub struct Check {
    /// The data directory
    #[arg(long, value_name = "DIR", env = ENV_DIR, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,

    /// Set damaged bytes aside, so that a node can start on the rest
    ///
    /// They are copied to a file of their own first, which the output names.
    #[arg(long)]
    pub repair: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::error::ErrorKind> {
        match Cli::try_parse_from([&["pykv"], args].concat()) {
            Ok(cli) => Ok(cli.command),
            Err(error) => {
                assert_eq!(error.exit_code(), if error.use_stderr() { 2 } else { 0 });
                Err(error.kind())
            }
        }
    }

    #[test]
    fn the_definitions_hold_together() {
        command().debug_assert();
    }

    #[test]
    fn dashes() {
        let Ok(Command::Set(set)) = parse(&["set", "--", "-k", "-v"]) else {
            panic!()
        };
        assert_eq!((set.key.as_str(), set.value), ("-k", Some("-v".into())));
        let Ok(Command::Set(set)) = parse(&["set", "k", "-5", "--if-absent"]) else {
            panic!()
        };
        assert_eq!((set.value, set.if_absent), (Some("-5".into()), true));
        let Ok(Command::Set(set)) = parse(&["set", "k", "-"]) else {
            panic!()
        };
        assert_eq!(set.value, Some("-".into()));
        let Ok(Command::Del(del)) = parse(&["del", "a", "--", "-b"]) else {
            panic!()
        };
        assert_eq!(del.keys, ["a", "-b"]);
        assert!(parse(&["get", "-k"]).is_err());
    }

    #[test]
    fn what_is_refused() {
        let long = "k".repeat(1025);
        for args in [
            &["get", ""][..],
            &["get", &long],
            &["set", "k"],
            &["set", "k", "v", "--file", "f"],
            &["set", "k", "v", "--if-absent", "--if-version", "1"],
            &["del"],
            &["list", "--json", "--null"],
            &["list", "--limit", "0"],
            &["get", "k", "--timeout", "0s"],
            &["get", "k", "--server", "https://localhost"],
            &["get", "k", "--token", "secret"],
            &["list", "--limit", "-1"],
            &["set", "k", "v", "--if-version", "x"],
            &["put", "k"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
