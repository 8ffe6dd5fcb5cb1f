//! The flags of `pykv watch`.

use super::bulk::also_json;
use super::connection::Connection;
use super::values::{limit, place};
use clap::Args;
use std::num::NonZeroU64;

/// `pykv watch`
#[derive(Args, Debug)]
#[command(
    arg(also_json()),
    after_help = "Examples:\n  pykv watch\n  pykv watch user: | jq -r .key\n  pykv watch --no-values --after 0\n  \
        pykv watch --limit 1 job: >/dev/null && echo 'there is work'"
)]
pub(crate) struct Watch {
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// Begin after this place, the `next` of the last change that you saw, and not with the next change; an offset will do
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, value_parser = place)]
    pub after: Option<String>,

    /// Leave the values out
    #[arg(long)]
    pub no_values: bool,

    /// End after so many changes
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = limit)]
    pub limit: Option<NonZeroU64>,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}
