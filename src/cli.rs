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
mod elsewhere;
mod engine;
mod error;
mod leading;
mod mirror;
mod reapply;
mod replica;
mod serve;
mod texts;
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
pub(crate) use config::{check_gateway, configured, printed};
pub(crate) use connection::{Connection, DIR_DEFAULT, ENV_DIR, ENV_TOKEN, ENV_TOKEN_FILE};
pub(crate) use data::{Del, Exists, Expire, Get, Incr, List, Persist, Set, Ttl};
pub(crate) use election::{Failover, Pause, ShowCluster, Switchover};
pub(crate) use elsewhere::{Elsewhere, elsewhere};
pub(crate) use engine::{ENV_ENGINE_PASSWORD, ENV_ENGINE_USER, EngineFlags};
pub(crate) use error::usage_message;
pub(crate) use leading::behind_the_command;
pub(crate) use mirror::Mirror;
pub(crate) use reapply::Reapply;
pub(crate) use replica::{Forget, Promote, Replica};
pub(crate) use serve::Serve;
pub(crate) use tls::TlsClient;
pub(crate) use token::{Token, TokenScope};
pub(crate) use units::Span;
pub(crate) use values::{by, key, limit, ttl, version};
pub(crate) use watch::Watch;

use texts::{EXAMPLES, EXIT_STATUS};

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::sync::LazyLock;

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
    /// Once it takes requests, it prints one line on standard output, `listening on http://ADDRESS`; everything else goes to
    /// standard error. Ctrl-C or SIGTERM stops it: it takes no more connections, answers the requests it has begun, syncs its
    /// log and exits with 0. A second signal, at least a second later, stops it at once, with 130.
    Serve(Box<Serve>),
    /// Run a node that follows another one
    ///
    /// It copies the log of the primary, serves reads, and redirects writers to the primary with 307. Its directory records its
    /// role: a replica that was promoted is primary again after a restart, until it meets a higher term. Everything else is as
    /// for `pykv serve`.
    Replica(Box<Replica>),
    /// Print the value of a key, or of several
    ///
    /// The value of one key is printed byte for byte. The values of several are printed one a line; --json keeps values apart
    /// that contain a newline. On a terminal, a newline follows a value, and a value that is not plain text is in quotes. If a
    /// key does not exist, the others are printed all the same, and the exit status is 1.
    Get(Get),
    /// Store a value under a key
    ///
    /// It adds a new key and overwrites an existing one, unless a flag says otherwise. When the command returns, the value is as
    /// durable as the node's --fsync promises.
    #[command(visible_alias = "put")]
    Set(Set),
    /// Delete keys, all with a prefix, or all there are
    ///
    /// If some do not exist, the others are deleted all the same, and the exit status is 1. With --prefix or --all the command
    /// prints the number of deleted keys. It does not ask: count them first with --dry-run.
    #[command(visible_alias = "rm")]
    Del(Del),
    /// Print the keys
    ///
    /// One a line, in no particular order. A key that exists throughout is printed exactly once, however many come and go
    /// meanwhile.
    #[command(visible_aliases = ["ls", "keys"])]
    List(List),
    /// Print how many of the keys exist
    ///
    /// The exit status is 1 if one does not exist. Asking does not make a key recently used.
    Exists(Exists),
    /// Add to a number
    ///
    /// Prints the new number. The value must be a whole number; a missing key becomes --initial, by default BY. The key keeps
    /// its deadline. This is one step, so no increment is lost when several clients count.
    Incr(Incr),
    /// Print how long a key has left
    ///
    /// In seconds, with milliseconds; `none` if the key has no deadline.
    Ttl(Ttl),
    /// Give a key a deadline, or another one
    ///
    /// The value stays, and the key gets a new version. Once the time is over, the key is gone. A restart of the node does not
    /// renew it.
    Expire(Expire),
    /// Remove a key's deadline
    Persist(Persist),
    /// Do several operations as one step, all of them or none
    ///
    /// Reads operations as JSON lines: {"op":"get","key"}, {"op":"delete","key"}, {"op":"set","key","value"},
    /// {"op":"increment","key","by"} or {"op":"append","key","value"}. A set or an append may have "encoding":"base64"; a set, an
    /// increment or an append "ttl" (in seconds) or "expires_at_ms"; all but a get "if_version"; a set "if_absent"; an increment
    /// "initial". The node checks all conditions against the state before the batch. If one fails, nothing is changed, and the
    /// exit status is 4. All lines are one batch, so there may be at most --max-batch of the node. The command prints a result
    /// for each operation, as a JSON line.
    Batch(Batch),
    /// Write keys, values and deadlines to a file or standard output, as JSON lines
    ///
    /// A line is {"key","value"}, with "encoding":"base64" if the value is not text, and "expires_at_ms" if the key has a
    /// deadline. The node serves meanwhile: each key that exists throughout is written once, with a value that it had meanwhile.
    /// The file is written under another name and renamed when it is complete. Only its owner can read it, unless it replaces a
    /// file, whose mode and owner it keeps.
    Export(Export),
    /// Read the lines of an export into a node
    ///
    /// Sends them in batches, on several connections. If a key occurs more than once, its last line counts (with
    /// --if-absent its first). An interrupted import can be run again. Lines that cannot be read, or that the node refuses, are
    /// skipped; up to 20 of them are named on standard error, and the exit status is 2. The import ends if the node cannot be reached, or takes no writes for a while.
    /// A byte order mark at the beginning is dropped; UTF-16, a compressed file and a JSON array are refused.
    Import(Import),
    /// Copy one node to another, and follow its changes
    ///
    /// Copies all entries, with their deadlines, and then each change as it is made, until you interrupt it. The other side
    /// may be a node or a gateway to another engine, so entries move between hosts, versions and engines while clients
    /// write. On a terminal a bar shows how far it is, and how far it is behind. With --state an interrupted mirror continues
    /// where it was; without, it begins anew, which does no harm. Keys that only the other side has stay. Stop the mirror
    /// before clients write to the other side: it would write old values over theirs.
    Mirror(Mirror),
    /// Give commands to a node, one after the other
    ///
    /// HELP lists the commands. Blanks separate words; "..." (with \n, \t, \", \\ and \xHH in it) and '...' hold words with
    /// blanks; any other escape is an error. A line that begins with # is a comment. On a terminal you can edit the line, Tab
    /// completes commands and keys, and the shell remembers lines, except those that begin with a blank; an error leaves the
    /// shell running. Fed by a pipe, it prints results only, runs all lines, and exits with the status of the first that
    /// failed.
    Shell(Shell),
    /// Print changes as they are made, as JSON, one a line
    ///
    /// A change has its operation (SET, UPDATE, DELETE, EVICT or EXPIRE), key, value, version and timestamp (in ms since the
    /// Unix epoch). Pass its `next`, LOG-OFFSET, to --after to continue after it. The command runs until you interrupt it, which
    /// ends it with 130. If the node goes away, it says so on standard error, waits until the node is back, and misses nothing.
    /// It exits with 6 if the node no longer has the changes after --after, or has another log by then.
    Watch(Watch),
    /// Check whether a node answers
    ///
    /// Prints `pong`, and needs no token. With --ready the exit status is 6 if the node does not take reads and writes.
    Ping(Ping),
    /// Print how a node is
    ///
    /// In groups: the node, its store, its log, its place in a cluster. It exits with 0 whenever the node answers, even if it is
    /// unhealthy; in scripts, use `pykv ping --ready`.
    Status(Status),
    /// Print the records of a log as JSON, one a line
    ///
    /// A record has its offset, version, operation, key, value and timestamp (in ms since the Unix epoch). A value that is not
    /// text is in base64, and "encoding" says so. "more" says that the next record belongs to the same batch. The command works
    /// beside a running node and changes nothing.
    Log(Log),
    /// Rewrite the log so that it holds only live entries
    ///
    /// The node serves meanwhile. It also compacts by itself: see --compact-ratio of `pykv serve`. If a compaction is running,
    /// the command waits for its end. On a terminal a bar shows its progress.
    Compact(Compact),
    /// Write everything that a node holds to a file
    ///
    /// The node serves meanwhile. The file is the state at one moment, whose offset is printed, and includes a checksum that
    /// `pykv check` verifies. It is written under another name and renamed when it is complete. Only its owner can read it,
    /// unless it replaces a file, whose mode and owner it keeps.
    Backup(Backup),
    /// Make a data directory from a backup
    ///
    /// The backup is checked first. The directory must not have a store in it. The new store has another log id, so replicas of
    /// the old one take it only with --replace.
    Restore(Restore),
    /// Look for damage in a data directory or a backup, and repair it
    ///
    /// No process may have the directory open. The exit status is 7 if something is damaged. A record that is cut short at the
    /// very end of the log is what a crash leaves: the next start cuts it off, and it does not count as damage.
    Check(Check),
    /// Make a replica the primary
    ///
    /// The present primary holds its writers until the replica has everything they wrote. Then the replica begins a new term
    /// and takes the writes. Nothing is lost. If the primary is gone, --force promotes the replica with what it has: what only
    /// the primary had is lost, or set aside in its directory when it comes back.
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
    #[command(after_help = "Examples:\n  pykv pause\n  pykv pause --server 10.0.0.8:7958")]
    Pause(Pause),
    /// End a pause
    #[command(after_help = "Examples:\n  pykv resume\n  pykv resume --server 10.0.0.8:7958")]
    Resume(Pause),
    /// Make a node forget another one
    ///
    /// If a replica takes over by itself (--failover-after), every replicated write must reach it, from the moment that the
    /// primary meets it, also after a restart. So a replica that is taken out of service for good must be forgotten. It is
    /// known again as soon as it follows again.
    Forget(Forget),
    /// Send again what a node had to set aside
    ///
    /// A former primary keeps in files diverged-TERM-OFFSET.pykv what only it had. For each key in such a file, this command
    /// re-sends the last value, but only if nobody has changed the key since. It goes through the keys in the order in which the
    /// files last mention them, asks before each unless --yes is given, and prints a line about each. It exits with 4 if it left
    /// keys alone because they were changed.
    Reapply(Reapply),
    /// Draw a token
    ///
    /// Prints two lines: one for the node's --token-file, with the SHA-256 of the token and not the token, and the token itself,
    /// which is stored nowhere. A node reads its file again within ten seconds, and at once on SIGHUP.
    Token(Token),
    /// Print a script that makes a shell complete commands, flags and keys
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
    /// Check whether the node takes reads and writes
    #[arg(long)]
    pub ready: bool,

    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv completions`
#[derive(Args, Debug)]
#[command(
    after_help = "Type the line of your shell, or put it into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:\n  \
        bash  source <(pykv completions bash)\n  \
        zsh   autoload -U compinit && compinit; source <(pykv completions zsh)\n  \
        fish  pykv completions fish | source"
)]
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

    /// Print it again and again until interrupted, every 2s unless TIME says otherwise
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", conflicts_with = "json")]
    pub watch: Option<Span>,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv log`
#[derive(Args, Debug)]
#[command(
    arg(bulk::also_json()),
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

    /// Continue as the log grows, until interrupted
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
    /// Check this backup in place of --dir; a directory is checked as a data directory
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The data directory
    #[arg(long, value_name = "DIR", env = ENV_DIR, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,

    /// Move damaged bytes to a file of their own, so that a node can start on the rest
    ///
    /// The output names that file, and the keys that are lost, as far as they can be read.
    #[arg(long)]
    pub repair: bool,

    /// Print what was found as one JSON object
    #[arg(long)]
    pub json: bool,
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
