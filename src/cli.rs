//! The command line: every subcommand, flag, default, environment variable and help text.
//!
//! Nothing is done here. [`Cli`] is what was typed, checked as far as that can be done without looking at
//! anything else; [`crate::commands`] does it. The manual pages are made from [`command`].
//!
//! A flag wins over its environment variable, and that over the default. Whatever names a number of bytes
//! takes a `Size`, whatever names a time a `Span`.

mod backup;
mod bulk;
mod choices;
mod cluster;
mod compact;
mod config;
mod connection;
mod data;
mod election;
mod error;
mod leading;
mod reapply;
mod replica;
mod serve;
mod tls;
mod token;
mod units;
mod values;
mod watch;

pub(crate) use backup::{Backup, Restore};
pub(crate) use bulk::{Batch, Export, Import, Shell};
pub(crate) use choices::{CompletionShell, LogLevel};
pub(crate) use cluster::Cluster;
pub(crate) use compact::Compact;
pub(crate) use config::{configured, printed};
pub(crate) use connection::{Connection, DIR_DEFAULT, ENV_DIR, ENV_TOKEN, ENV_TOKEN_FILE};
pub(crate) use data::{Del, Exists, Expire, Get, Incr, List, Persist, Set, Ttl};
pub(crate) use election::{Failover, Pause, ShowCluster, Switchover};
pub(crate) use error::usage_message;
pub(crate) use leading::behind_the_command;
pub(crate) use reapply::Reapply;
pub(crate) use replica::{Forget, Promote, Replica};
pub(crate) use serve::Serve;
pub(crate) use tls::TlsClient;
pub(crate) use token::{Token, TokenScope};
pub(crate) use units::Span;
pub(crate) use values::{by, key, limit, ttl, version};
pub(crate) use watch::Watch;

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::sync::LazyLock;

const EXAMPLES: &str = "\
Examples:
  pykv serve                       start a node on 127.0.0.1:7958, its data in ./pykv-data
  pykv set greeting 'hello world'  store a value
  pykv get greeting                print it
  pykv list                        print all keys
  pykv del greeting                delete it
  pykv set --ttl 90s code 4711     store a value for a while
  pykv shell                       give commands one after the other
  curl http://127.0.0.1:7958/kv/greeting

--server, --token-file, --timeout and the flags of TLS may stand before the command as well.
`pykv help COMMAND` explains a command in full.";

const EXIT_STATUS: &str = "\
Exit status:
  0    done
  1    the key was not found, or the node that forget names
  2    the command line, the key or the value is not what pykv takes
  3    the node cannot be reached, did not answer in time, or the connection broke
  4    the key exists, does not exist, or is in another version than was asked; or
       the node is primary already
  5    not allowed: no token, a wrong one, or one that does not allow this
  6    the node, or a proxy before it, cannot do it now: its disk is full or
       failing, it is too busy, or it knows of no primary
  7    the data is damaged
  8    anything else: a file, a port or standard output failed, or what answers is no pykv node
  130  a signal ended an export or a backup; or a second one ended a node at once, as a crash would";

const ENVIRONMENT: &str = "\
Environment:
  PYKV_SERVER      the node to talk to, as --server
  PYKV_TOKEN       the token to show it
  PYKV_TOKEN_FILE  a file with tokens, as --token-file
  PYKV_LISTEN      where a node listens, as --listen
  PYKV_DIR         where the data is, as --dir
  PYKV_LOG         how much a node says, as --log-level
  PYKV_CONFIG      a file with flags of a node, as --config; every flag of serve and
                   replica has a variable: PYKV_MAX_MEMORY for --max-memory
  NO_COLOR         set to anything: no colours";

/// The version, with the commit where `make build` has built it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    let commit = option_env!("PYKV_COMMIT").filter(|commit| !commit.is_empty());
    commit.map_or(version.to_owned(), |commit| format!("{version} ({commit})"))
});

/// What was typed.
#[derive(Parser, Debug)]
#[command(
    name = "pykv",
    version = VERSION.as_str(),
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
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand and what it was given.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a node
    ///
    /// Once it takes requests it prints one line on standard output, `listening on http://ADDRESS`; all
    /// else goes to standard error. Ctrl-C or SIGTERM ends it: it takes no more connections, answers the
    /// requests it has begun, syncs its log and exits with 0. A second one, a second later or more, ends it at
    /// once, with 130.
    Serve(Box<Serve>),
    /// Run a node that follows another one
    ///
    /// It copies the log of the primary, serves reads, and sends writers to the primary with 307. What it is
    /// stays written down in its directory: a replica that was promoted is primary again after a restart, until
    /// it meets a higher term. Everything else is as for `pykv serve`.
    Replica(Box<Replica>),
    /// Make a replica the primary
    ///
    /// The present primary holds its writers until the replica has all that they wrote; then the replica begins
    /// a term of its own, and writers go there. Nothing is lost. --force promotes a replica whose primary is gone:
    /// what only that one had is lost, or set aside in its directory when it comes back.
    Promote(Promote),
    /// Print the nodes of a cluster in which etcd decides who is primary
    ///
    /// Of each: what it is, its term, how far its log is written, how far it is behind, for how long a primary may take
    /// writes before it must have renewed its lease, and why a node may not take over.
    Cluster(ShowCluster),
    /// Hand the primary's role to another node, where etcd decides who is primary
    ///
    /// The primary holds its writers until the other node has all of its log, and gives the role away. Nothing is lost,
    /// and no writer is refused.
    Switchover(Switchover),
    /// Make a node primary that may lack writes, where etcd decides who is primary
    ///
    /// For a cluster in which no node may take over by the rules: `pykv cluster` says of each node why not. Where there
    /// is a primary, this is refused.
    Failover(Failover),
    /// Let no node take over by itself, where etcd decides who is primary
    ///
    /// The primary continues. `pykv resume` ends the pause.
    Pause(Pause),
    /// End a pause
    Resume(Pause),
    /// Make a node forget another one
    ///
    /// A primary counts no write as replicated without a replica that takes over by itself (--failover-after),
    /// from the moment that it meets one, also after a restart. So a replica that is taken out of service for
    /// good must be forgotten. It is known again as soon as it follows again.
    Forget(Forget),
    /// Send again what a node had to set aside
    ///
    /// A node that is no longer primary keeps in files diverged-TERM-OFFSET.pykv what only it had. This sends the
    /// last that such a file tells of each key, where the key was not changed since; it asks for each, unless
    /// --yes is given. What was done about each key is printed. The exit status is 4 where keys were left alone
    /// because they were changed since.
    Reapply(Reapply),
    /// Print the value of a key, or of several
    ///
    /// The bytes of one are printed as they are. The values of several are printed one a line; where a value may hold a
    /// newline, --json keeps them apart. On a terminal, a newline follows a value, and a value that is no plain text is
    /// in quotes. The exit status is 1 where a key does not exist; the others are printed all the same.
    Get(Get),
    /// Say how many of the keys exist
    ///
    /// The number is printed. The exit status is 1 where one does not exist. This leaves recency alone.
    Exists(Exists),
    /// Add to a number
    ///
    /// The new number is printed. The value must be a whole number; a key that does not exist becomes BY. The key keeps
    /// its deadline. This is one step: no increment of many clients is lost.
    Incr(Incr),
    /// Store a value under a key
    ///
    /// It is stored whether the key is new or not, unless a flag says otherwise. When the command returns,
    /// the node holds the value as durably as its --fsync says.
    #[command(visible_alias = "put")]
    Set(Set),
    /// Delete keys, all that begin with a prefix, or all there are
    ///
    /// Where some are not there the others are deleted all the same, and the exit status is 1. With --prefix or
    /// --all the number of deleted keys is printed, and nothing is asked: --dry-run tells it before.
    #[command(visible_alias = "rm")]
    Del(Del),
    /// Print the keys
    ///
    /// They are printed one a line, in no order that means anything. A key that is there from the beginning
    /// to the end is printed exactly once, however many keys come and go meanwhile.
    #[command(visible_aliases = ["ls", "keys"])]
    List(List),
    /// Print how long a key has left
    ///
    /// In seconds, with milliseconds; `none` where the key has no deadline.
    Ttl(Ttl),
    /// Give a key a deadline, or another one
    ///
    /// Its value stays, and it gets a new version. When the time is over the key is gone; a restart of the node
    /// does not begin it anew.
    Expire(Expire),
    /// Remove a key's deadline, so that it stays
    Persist(Persist),
    /// Do several operations as one step, all of them or none
    ///
    /// They are read as JSON lines, an operation a line: {"op":"get","key"}, {"op":"delete","key"},
    /// {"op":"set","key","value"}, {"op":"increment","key","by"} or {"op":"append","key","value"}. A set or an append
    /// may have "encoding":"base64"; a set, an increment or an append "ttl" (in seconds) or "expires_at_ms"; all but a
    /// get "if_version"; a set "if_absent"; an increment "initial". All conditions are held against
    /// what was there before; where one fails nothing is changed, and the exit status is 4. All lines are one
    /// batch, so there may be at most as many as the node's --max-batch says. A result is printed for each
    /// operation, as a JSON line.
    Batch(Batch),
    /// Write keys, values and deadlines to a file or standard output, as JSON lines
    ///
    /// A line is {"key","value"}; "encoding":"base64" says that the value is no text, and "expires_at_ms" when
    /// the key expires. The node serves meanwhile: every key that stays from the beginning to the end is
    /// there once, with a value that it had in between. The file is written under another name and renamed when it is
    /// complete; it is readable by its owner alone, unless it replaces one, whose mode and owner it keeps.
    Export(Export),
    /// Read the lines of an export into a node
    ///
    /// They go in by batches, on several connections. Where a key is there more than once, the last line
    /// counts. An import that was interrupted can be run again. Lines that cannot be read, or that the node
    /// refuses, are left out and named on standard error, up to 20 of them; the exit status is then 2. When the
    /// node cannot be reached, or takes no writes for a while, the import ends. A byte order mark at the beginning is
    /// dropped; UTF-16, a compressed file and a JSON array are refused as a whole.
    Import(Import),
    /// Give commands to a node, one after the other
    ///
    /// HELP lists the commands. Words are taken apart at blanks; "..." (with \n, \t, \", \\ and \xHH in it)
    /// and '...' hold what has blanks; any other escape is an error. On a terminal the line can be edited, Tab completes commands and keys,
    /// and lines are remembered, except those that begin with a blank; an error leaves the shell running.
    /// Fed by a pipe it prints results alone, runs all lines and exits with the status of the first that failed.
    Shell(Shell),
    /// Print changes as they are made, as JSON, one a line
    ///
    /// A change has its operation (SET, UPDATE, DELETE, EVICT or EXPIRE), key, value, version, which is the
    /// offset to go on after, and timestamp (in ms since the Unix epoch). This continues until interrupted.
    /// Where the node goes away meanwhile, that is said on standard error, and nothing is missed once it is
    /// back. The exit status is 6 where the node no longer holds what came after --after.
    Watch(Watch),
    /// Say whether a node answers
    ///
    /// It prints `pong`, and needs no token. With --ready the exit status is 6 where the node does not take reads and
    /// writes.
    Ping(Ping),
    /// Print how a node is
    ///
    /// Its log, its store, its connections and its place in a cluster.
    Status(Status),
    /// Print the records of a log as JSON, one a line
    ///
    /// A record has its offset, version, operation, key, value and timestamp (in ms since the Unix epoch).
    /// A value that is no text is in base64, and "encoding" says so. This works beside a running node and
    /// changes nothing.
    Log(Log),
    /// Rewrite the log so that it holds no more than what is live
    ///
    /// The node serves meanwhile, and does this by itself too: see --compact-ratio of `pykv serve`. Where a
    /// compaction is going on, this waits for its end. On a terminal a bar shows how far it is.
    Compact(Compact),
    /// Write all that a node holds to a file
    ///
    /// The node serves meanwhile. The file is the state at one moment, the offset that is printed, and includes a
    /// checksum that `pykv check` verifies. It is written under another name and renamed when it is complete; it is
    /// readable by its owner alone, unless it replaces one, whose mode and owner it keeps.
    Backup(Backup),
    /// Make a data directory of a backup
    ///
    /// The backup is checked first. The directory is not to have a store in it. What is made is a store of its
    /// own, with another log id.
    Restore(Restore),
    /// Say whether a data directory is whole, and where it is not
    ///
    /// No process may have the directory open. A record that is cut short at the very end of the log is
    /// what a crash leaves: the next start cuts it off, and it does not count as damage. The exit status is 7 where there is damage.
    Check(Check),
    /// Draw a token
    ///
    /// Two lines are printed: one for the node's --token-file, which holds the token's SHA-256 and not the token, and
    /// the token itself, which is kept nowhere. A node reads its file anew within ten seconds, and at once on SIGHUP.
    Token(Token),
    /// Print what makes a shell complete pykv's commands and flags
    Completions(Completions),
}

/// The definitions behind [`Cli`], for manual pages and the like.
pub fn command() -> clap::Command {
    config::with_variables(Cli::command())
}

/// `pykv ping`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv ping\n  pykv ping --ready --server 10.0.0.7:7958")]
pub(crate) struct Ping {
    /// Ask whether the node takes reads and writes
    #[arg(long)]
    pub ready: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv completions`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  source <(pykv completions bash)\n  \
        pykv completions zsh > ~/.zfunc/_pykv\n  pykv completions fish > ~/.config/fish/completions/pykv.fish")]
pub(crate) struct Completions {
    /// The shell
    pub shell: CompletionShell,
}

/// `pykv status`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv status\n  pykv status --json\n  pykv status --watch\n  pykv status --server 10.0.0.7:7958"
)]
pub(crate) struct Status {
    /// Print the node's answers as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Print it anew every so often, until interrupted
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", conflicts_with = "json")]
    pub watch: Option<Span>,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv log`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv log\n  pykv log --key greeting\n  pykv log --follow --dir /var/lib/pykv\n  \
        pykv log monday.pykv"
)]
pub(crate) struct Log {
    /// Print the records of this file, a backup or one of a data directory
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

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
        pykv check --dir /var/lib/pykv --repair\n  pykv check monday.pykv")]
pub(crate) struct Check {
    /// Check this backup, and no data directory
    #[arg(value_name = "FILE", conflicts_with = "repair")]
    pub file: Option<PathBuf>,

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
            &["get", "k", "--server", "ftp://localhost"],
            &["get", "k", "--token", "secret"],
            &["list", "--limit", "-1"],
            &["list", "--values", "--null"],
            &["del", "k", "--prefix", "k"],
            &["del", "k", "--dry-run"],
            &["del", "--prefix", "k", "--if-version", "1"],
            &["set", "k", "v", "--ttl", "0s"],
            &["set", "k", "v", "--ttl", "9e1"],
            &["set", "k", "v", "--ttl", "101years"],
            &["expire", "k"],
            &["ttl"],
            &["set", "k", "v", "--if-version", "x"],
            &["put", "k"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
