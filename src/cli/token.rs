//! The flags of `pykv token`.

use super::values::{expiry, name_of_token, prefix_of_token};
use clap::{Args, ValueEnum};
use std::time::SystemTime;

/// `pykv token`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv token read\n  \
        pykv token write --prefix app1/ --name app1 --expires 90d\n  \
        pykv token admin --plain --name cluster")]
pub(crate) struct Token {
    /// What the token is for
    pub scope: TokenScope,

    /// Restrict it to keys that begin with this; may be given several times
    #[arg(long, value_name = "PREFIX", value_parser = prefix_of_token)]
    pub prefix: Vec<String>,

    /// The name of the client that shows it, for the logs of a node
    #[arg(long, value_name = "NAME", value_parser = name_of_token)]
    pub name: Option<String>,

    /// When it expires: a moment, as in 2030-01-01T00:00:00Z, or a time from now, as in 90d
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    pub expires: Option<SystemTime>,

    /// Put the token itself into the line, and not its digest
    ///
    /// A node can show other nodes only a token that its file holds itself.
    #[arg(long)]
    pub plain: bool,

    /// Print one JSON object, {"line","token"}
    #[arg(long)]
    pub json: bool,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenScope {
    /// To read
    Read,
    /// To read and write
    Write,
    /// Everything: backups, other nodes and administration too
    Admin,
}
