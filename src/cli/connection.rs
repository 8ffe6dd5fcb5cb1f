//! How a command reaches a node, and the names of variables and defaults that several commands share.

use super::tls::TlsClient;
use super::units::Span;
use crate::client::Server;
use clap::Args;
use std::path::PathBuf;

/// Where a node listens by default: PYKV on a phone's keys.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:7958";
/// Where a node keeps its data by default.
pub(crate) const DIR_DEFAULT: &str = "pykv-data";

/// Names the node that a command talks to.
pub(crate) const ENV_SERVER: &str = "PYKV_SERVER";
/// Holds a token. The only way to give one beside a file: what stands in argv is seen by every process.
pub(crate) const ENV_TOKEN: &str = "PYKV_TOKEN";
/// Names a file that holds a token.
pub(crate) const ENV_TOKEN_FILE: &str = "PYKV_TOKEN_FILE";
/// Where a node listens.
pub(crate) const ENV_LISTEN: &str = "PYKV_LISTEN";
/// Where a node keeps its data.
pub(crate) const ENV_DIR: &str = "PYKV_DIR";
/// How much a node says on standard error.
pub(crate) const ENV_LOG: &str = "PYKV_LOG";

/// How a command reaches a node.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The node to talk to: HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(short, long, value_name = "ADDRESS", env = ENV_SERVER, default_value = LISTEN_DEFAULT)]
    pub server: Server,

    /// A file that holds the token to show the node [env: PYKV_TOKEN_FILE]
    ///
    /// The first line that is neither empty nor a comment (#) counts. A node's own file of tokens works too: a scope before
    /// the token and prefixes behind it are ignored. Instead of the file, PYKV_TOKEN may hold the token itself. No flag
    /// takes a token, because every user of the machine can read command lines.
    // Not clap's `env`: PYKV_TOKEN stands between the flag and this variable; see `commands::token`.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// How long to wait for each answer
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "60s")]
    pub timeout: Span,

    /// Whom it trusts. Behind the others: the heading of its flags holds for all that follow.
    #[command(flatten)]
    pub tls: TlsClient,
}
