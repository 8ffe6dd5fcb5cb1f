//! The commands that read and write keys one by one: `get`, `set`, `del`, `list`, and deadlines.

use super::connection::Connection;
use super::units::Span;
use super::values::{by, key, limit, ttl, version};
use clap::Args;
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// `pykv get`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv get greeting\n  pykv get a b c\n  pykv get photo > photo.jpg\n  pykv get --json greeting\n  \
        pykv get -- -a-key-that-begins-with-a-dash"
)]
pub(crate) struct Get {
    /// The keys
    #[arg(value_parser = key, value_name = "KEY", required = true)]
    pub keys: Vec<String>,

    /// Print the node's answer with the key's version, a line for each key; a value that is not text is in base64
    #[arg(long)]
    pub json: bool,

    /// Print the bytes of a value to a terminal too, whatever they do to it
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv set`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv set greeting 'hello world'\n  pykv set photo --file photo.jpg\n  \
        date | pykv set now -\n  pykv set --if-absent lock \"$HOSTNAME\" && echo mine\n  \
        pykv set --if-version 1234 counter 8\n  pykv set --ttl 90s code 4711\n  pykv set -- -key -value"
)]
pub(crate) struct Set {
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

    /// How long the key lives: 90 (seconds), 500ms, 5m, 30days; without it, for good
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = ttl)]
    pub ttl: Option<Span>,

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
    after_help = "Examples:\n  pykv del greeting\n  pykv del a b c\n  pykv del --if-version 1234 greeting\n  \
        pykv del --prefix session: --dry-run\n  pykv del --prefix session:\n  pykv del --all --dry-run"
)]
pub(crate) struct Del {
    /// The keys
    #[arg(
        required_unless_present_any = ["prefix", "all"],
        conflicts_with_all = ["prefix", "all"],
        value_name = "KEY",
        value_parser = key
    )]
    pub keys: Vec<String>,

    /// Only if the key is in this version; exit with 4 if it is not. Takes one key
    #[arg(long, value_name = "VERSION", allow_hyphen_values = true, value_parser = version)]
    pub if_version: Option<u64>,

    /// Delete all keys that begin with this, and print how many there were
    #[arg(long, value_name = "PREFIX", conflicts_with = "if_version")]
    pub prefix: Option<String>,

    /// Delete every key, and print how many there were. An empty --prefix alone does not: a script may have meant
    /// another
    #[arg(long, conflicts_with = "if_version")]
    pub all: bool,

    /// Delete nothing: print how many keys --prefix or --all would delete
    #[arg(long, conflicts_with_all = ["keys", "if_version"])]
    pub dry_run: bool,

    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv list`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv list\n  pykv list user:\n  pykv list --limit 10\n  pykv list --values user:\n  pykv list --match 'user:*:profile'\n  \
        pykv list --null session: | xargs -0r pykv del --"
)]
pub(crate) struct List {
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// Only keys that match this pattern: * is any text, ? any character, [a-z] one of a set
    #[arg(long = "match", value_name = "PATTERN")]
    pub pattern: Option<String>,

    /// Print at most so many keys
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = limit)]
    pub limit: Option<NonZeroU64>,

    /// Print each key as a JSON string, for keys that have a newline in them
    #[arg(long, conflicts_with = "null")]
    pub json: bool,

    /// Print each entry as a JSON line: key, value, version, deadline
    #[arg(long, conflicts_with = "null")]
    pub values: bool,

    /// End each key with a NUL rather than a newline, as for xargs -0
    #[arg(short = '0', long)]
    pub null: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv exists`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv exists greeting && echo yes\n  pykv exists a b c")]
pub(crate) struct Exists {
    /// The keys
    #[arg(value_parser = key, value_name = "KEY", required = true)]
    pub keys: Vec<String>,

    /// Print the number as JSON, with the keys that do not exist
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv incr`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv incr visits\n  pykv incr visits 10\n  pykv incr stock -1\n  pykv incr order --initial 1000"
)]
pub(crate) struct Incr {
    /// The key
    #[arg(value_parser = key)]
    pub key: String,

    /// What is added
    #[arg(default_value_t = 1, allow_negative_numbers = true, value_parser = by)]
    pub by: i64,

    /// The number that a missing key becomes [default: BY]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = by)]
    pub initial: Option<i64>,

    /// Print the node's answer, with the key's new version
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv ttl`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv ttl code")]
pub(crate) struct Ttl {
    /// The key
    #[arg(value_parser = key)]
    pub key: String,

    /// Print the seconds as JSON; null for a key without a deadline
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv expire`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv expire code 90s\n  pykv expire session:7 '1h 30m'")]
pub(crate) struct Expire {
    /// The key
    #[arg(value_parser = key)]
    pub key: String,

    /// How long it lives from now on: 90 (seconds), 500ms, 5m, 30days
    #[arg(value_name = "TIME", allow_hyphen_values = true, value_parser = ttl)]
    pub ttl: Span,

    /// Print the node's answer, with the key's new version and its deadline
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv persist`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv persist code")]
pub(crate) struct Persist {
    /// The key
    #[arg(value_parser = key)]
    pub key: String,

    /// Print the node's answer, with the key's new version
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}
