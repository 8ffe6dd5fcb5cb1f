//! The flags of `pykv compact`.

use super::connection::Connection;
use clap::Args;
use std::path::PathBuf;

/// `pykv compact`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv compact\n  pykv compact --server 10.0.0.7:7958\n  \
        pykv compact --dir /var/lib/pykv"
)]
pub(crate) struct Compact {
    /// Compact this data directory, which no process may have open, and not that of a node
    // Not PYKV_DIR: whoever has that set, and a node running, means the node.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}
