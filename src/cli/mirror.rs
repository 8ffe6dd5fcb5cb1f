//! The flags of `pykv mirror`.

use super::tls::TlsClient;
use super::units::Span;
use crate::client::Server;
use clap::Args;
use std::path::PathBuf;

/// `pykv mirror`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv mirror --from 10.0.0.1:7958 --to 10.0.0.9:7958 --state mirror.json\n  \
        pykv mirror --from 10.0.0.1:7958 --to 10.0.0.9:7958 --once\n  \
        pykv mirror --from 10.0.0.1:7958 --to 10.0.0.9:7958 --verify"
)]
pub(crate) struct Mirror {
    /// The node to copy: HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub from: Server,

    /// The node or gateway to copy to
    #[arg(long, value_name = "ADDRESS")]
    pub to: Server,

    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// End once the copy has caught up, and do not follow further
    #[arg(long)]
    pub once: bool,

    /// Copy nothing; compare both sides key by key, and end with 4 if they differ
    #[arg(long, conflicts_with_all = ["once", "state"])]
    pub verify: bool,

    /// Keep in this file how far it is, and continue there if the file exists
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// A file that holds the token to show --from
    ///
    /// As --token-file of other commands has it; without the flag, PYKV_TOKEN or PYKV_TOKEN_FILE counts for both sides.
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub from_token_file: Option<PathBuf>,

    /// A file that holds the token to show --to
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub to_token_file: Option<PathBuf>,

    /// Whom it trusts.
    #[command(flatten)]
    pub tls: TlsClient,

    /// How long to wait for each answer
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        default_value = "60s",
        help_heading = "Connection"
    )]
    pub timeout: Span,
}
