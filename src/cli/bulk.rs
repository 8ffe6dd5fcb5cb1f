//! The commands that take or give many keys at once: `batch`, `export`, `import` and `shell`.

use super::connection::Connection;
use clap::{Arg, ArgAction, Args};
use std::path::PathBuf;

/// `--json`, for commands that print JSON lines with it and without: who types it is not refused.
pub(super) fn also_json() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .hide(true)
}

/// `pykv batch`
#[derive(Args, Debug)]
#[command(
    arg(also_json()),
    after_help = "Examples:\n  pykv batch operations.jsonl\n  \
        printf '%s\\n' '{\"op\":\"set\",\"key\":\"a\",\"value\":\"1\"}' \
        '{\"op\":\"delete\",\"key\":\"b\"}' | pykv batch"
)]
pub(crate) struct Batch {
    /// The file of operations; - or nothing for standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub file: PathBuf,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv export`
#[derive(Args, Debug)]
#[command(
    arg(also_json()),
    after_help = "Examples:\n  pykv export all.jsonl\n  pykv export --prefix user: | gzip > users.jsonl.gz"
)]
pub(crate) struct Export {
    /// The file to write; - or nothing for standard output. A pipe or a device is written directly
    #[arg(default_value = "-", hide_default_value = true)]
    pub file: PathBuf,

    /// Overwrite an existing file, once the new one is complete
    #[arg(long)]
    pub force: bool,

    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv import`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv import all.jsonl\n  zcat users.jsonl.gz | pykv import\n  \
        pykv import --if-absent defaults.jsonl"
)]
pub(crate) struct Import {
    /// The file to read; - or nothing for standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub file: PathBuf,

    /// Leave existing keys alone; if a key occurs more than once, its first line counts
    #[arg(long)]
    pub if_absent: bool,

    /// Print what was done as one JSON object on standard output
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv shell`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv shell\n  pykv shell --server 10.0.0.7:7958\n  \
        printf 'set a 1\\nget a\\n' | pykv shell"
)]
pub(crate) struct Shell {
    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}
