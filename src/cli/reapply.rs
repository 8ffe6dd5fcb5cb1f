//! The flags of `pykv reapply`.

use super::connection::Connection;
use clap::Args;
use std::path::PathBuf;

/// `pykv reapply`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv reapply --dry-run diverged-1-00000000000000004711.pykv\n  \
        pykv reapply --yes --server 10.0.0.8:7958 /var/lib/pykv/diverged-*.pykv"
)]
pub(crate) struct Reapply {
    /// Files that a node has set aside, as it named them
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Send all of it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,

    /// Print what was done about each key as JSON, one a line
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}
