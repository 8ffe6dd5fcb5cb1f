//! The flags of every node that are about its cluster.

use super::election::Election;
use super::units::Span;
use crate::api::SYNC_REPLICAS_MAX;
use crate::client::Address;
use clap::Args;
use std::path::PathBuf;

/// The flags of a node's place in its cluster, be it the primary or a replica.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// How other nodes and clients reach this one, as HOST:PORT [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", value_parser = advertised)]
    pub advertise: Option<Address>,

    /// How many replicas must have a write before it is answered
    ///
    /// A replica has it once its own log holds it, as durably as its --fsync says. Where one of them takes over
    /// by itself (--failover-after), that one must be among them. With --etcd, only nodes that have every write that was
    /// answered may take over.
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = 0, value_parser = sync_replicas)]
    pub sync_replicas: usize,

    /// For how long replicas are waited for
    ///
    /// The write is kept in any case. Its answer says in Pykv-Replicas how many have it.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "1s")]
    pub sync_timeout: Span,

    /// Answer with 503 if too few replicas have a write in time
    #[arg(long)]
    pub sync_required: bool,

    /// Answer a read once the replicas have what it shows
    ///
    /// Without it a read can show a write that a failover then undoes. It needs --sync-replicas.
    #[arg(long)]
    pub sync_reads: bool,

    /// A file with the token to show other nodes, which must be good for admin there [default: the first such
    /// token of --token-file]
    #[arg(long, value_name = "FILE")]
    pub cluster_token_file: Option<PathBuf>,

    /// Where etcd decides who is primary.
    #[command(flatten)]
    pub election: Election,
}

fn advertised(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|error| format!("{error}"))?;
    match address.host_and_port().eq_ignore_ascii_case(text) {
        true => Ok(address),
        false => Err("it is HOST:PORT, without a scheme, as in 10.0.0.7:7958".to_owned()),
    }
}

fn sync_replicas(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= SYNC_REPLICAS_MAX);
    number.ok_or_else(|| format!("must be a number from 0 to {SYNC_REPLICAS_MAX}"))
}
