//! The flags of `pykv replica` and `pykv promote`, and those of every node that are about its cluster.

use super::units::Span;
use super::{Connection, Serve};
use crate::api::SYNC_REPLICAS_MAX;
use crate::client::Address;
use crate::log::LogId;
use crate::node::{ClusterOptions, Secret};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest time after which a replica takes over: below it every pause of a machine would be a failure.
const FAILOVER_AFTER_MIN: Duration = Duration::from_millis(200);

/// What a node is told of its cluster, whatever it is in it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// How other nodes and clients reach this one, as HOST:PORT [default: where it listens]
    #[arg(long, value_name = "ADDRESS")]
    pub advertise: Option<Address>,

    /// How many replicas must have a write before it is answered
    ///
    /// A replica has it once its own log holds it, as firmly as its --fsync says. Where one of them takes over
    /// by itself (--failover-after), that one must be among them.
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = 0, value_parser = sync_replicas)]
    pub sync_replicas: usize,

    /// For how long replicas are waited for
    ///
    /// The write is kept in any case. Its answer says in Pykv-Replicas how many have it.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "1s")]
    pub sync_timeout: Span,

    /// Answer with 503 where too few replicas have a write in time
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
}

/// `pykv replica`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv replica --from 10.0.0.7:7958 --dir /var/lib/pykv\n  \
        pykv replica --from 10.0.0.7 --failover-after 5s --listen 10.0.0.8:7958 --token-file /etc/pykv/tokens"
)]
pub struct Replica {
    /// The node to follow; of several, the one that is primary in the highest term
    #[arg(
        long,
        value_name = "ADDRESS",
        required = true,
        value_delimiter = ',',
        help_heading = "Replica"
    )]
    pub from: Vec<Address>,

    /// Take over by itself once the primary has not answered for so long
    ///
    /// Meant for one replica of a cluster: no election is held. It takes over only if it had all of the
    /// primary's log shortly before.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = failover_after, help_heading = "Replica")]
    pub failover_after: Option<Span>,

    /// Follow a replica among these where no primary is
    ///
    /// Without it a replica follows the primary alone, and finds it through any node of its cluster. With it the
    /// node follows the nodes of --from and no others. A replica is followed only while it follows the primary
    /// itself.
    #[arg(long, help_heading = "Replica")]
    pub from_replica: bool,

    /// Take the store with this id in place of the one in the directory
    ///
    /// `pykv status` of the primary shows the id. The old store is kept in the directory replaced-ID beside.
    #[arg(long, value_name = "ID", value_parser = log_id, help_heading = "Replica")]
    pub replace: Option<LogId>,

    /// What every node is told.
    #[command(flatten)]
    pub serve: Serve,
}

/// `pykv promote`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv promote --server 10.0.0.8:7958\n  pykv promote --force --server 10.0.0.8:7958"
)]
pub struct Promote {
    /// Do not ask the present primary to hand over
    ///
    /// For a primary that is gone. What only that one has is lost, or set aside when it comes back.
    #[arg(long)]
    pub force: bool,

    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach the node.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv forget`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv forget 10.0.0.8:7958 --server 10.0.0.7:7958")]
pub struct Forget {
    /// The node to forget, as `pykv status` shows it
    #[arg(value_name = "NODE")]
    pub node: String,

    /// How to reach the node that is to forget it.
    #[command(flatten)]
    pub connection: Connection,
}

fn log_id(text: &str) -> Result<LogId, String> {
    LogId::from_hex(text).ok_or_else(|| "it is the id of a store, of 32 hexadecimal digits".to_owned())
}

fn sync_replicas(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= SYNC_REPLICAS_MAX);
    number.ok_or_else(|| format!("it is a number from 0 to {SYNC_REPLICAS_MAX}"))
}

fn failover_after(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 < FAILOVER_AFTER_MIN {
        return Err("it is at least 200ms".to_owned());
    }
    Ok(span)
}

impl Cluster {
    /// What the node is built from; how it is reached is known only once it listens.
    pub fn options(&self, replica: Option<&Replica>, token: Option<String>) -> ClusterOptions {
        ClusterOptions {
            is_replica: replica.is_some(),
            address: String::new(),
            peers: replica
                .map(|replica| replica.from.iter().map(Address::host_and_port).collect())
                .unwrap_or_default(),
            follows_replicas: replica.is_some_and(|replica| replica.from_replica),
            failover_after: replica
                .and_then(|replica| replica.failover_after)
                .map(|span| span.0),
            replace: replica.and_then(|replica| replica.replace),
            sync_replicas: self.sync_replicas,
            sync_timeout: self.sync_timeout.0,
            sync_required: self.sync_required,
            sync_reads: self.sync_reads,
            token: token.map(Secret::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use clap::Parser;

    fn parse(args: &[&str]) -> Result<Box<Replica>, clap::Error> {
        let cli = Cli::try_parse_from([&["pykv", "replica"], args].concat())?;
        let Command::Replica(replica) = cli.command else {
            panic!("it is a replica");
        };
        Ok(replica)
    }

    #[test]
    fn several_nodes_may_be_named() {
        let replica = parse(&["--from", "a:1,b:2", "--failover-after=5s"]).unwrap();
        let options = replica.serve.cluster.options(Some(&replica), None);
        assert_eq!(options.peers, ["a:1", "b:2"]);
        assert_eq!(options.failover_after, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_refused() {
        for args in [
            &[][..],
            &["--from", ""],
            &["--from", "a:0"],
            &["--from", "a", "--failover-after=0s"],
            &["--from", "a", "--failover-after=100ms"],
            &["--from", "a", "--sync-replicas=17"],
            &["--from", "a", "--sync-replicas=-1"],
            &["--from", "a", "--sync-timeout=0s"],
            &["--from", "a", "--advertise=host:port"],
            &["--from", "a", "--replace=yes"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
