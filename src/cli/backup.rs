//! The flags of `pykv backup` and `pykv restore`.

use super::connection::{Connection, DIR_DEFAULT, ENV_DIR};
use clap::Args;
use std::path::PathBuf;

/// `pykv backup`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv backup monday.pykv\n  pykv backup - | zstd > monday.pykv.zst\n  \
        pykv check monday.pykv"
)]
pub(crate) struct Backup {
    /// The file to make; - writes to standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Overwrite an existing file, once the new one is complete
    #[arg(long)]
    pub force: bool,

    /// Print what was written as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv restore`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv restore monday.pykv --dir /var/lib/pykv && pykv serve --dir /var/lib/pykv"
)]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print what was restored as JSON
    #[arg(long)]
    pub json: bool,

    /// The data directory to make; it must have no store in it
    #[arg(long, value_name = "DIR", env = ENV_DIR, default_value = DIR_DEFAULT)]
    pub dir: PathBuf,
}
