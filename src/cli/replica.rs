//! The flags of `pykv replica` and `pykv promote`, and those of every node that are about its cluster.

use super::connection::Connection;
use super::serve::Serve;
use super::units::Span;
use crate::client::Address;
use crate::wal::LogId;
use clap::Args;
use std::time::Duration;

/// Shortest time after which a replica takes over: below it every pause of a machine would be a failure.
const FAILOVER_AFTER_MIN: Duration = Duration::from_millis(200);

/// `pykv replica`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv replica --from 10.0.0.7:7958 --dir /var/lib/pykv\n  \
        pykv replica --from 10.0.0.7 --failover-after 5s \\\n    --listen 10.0.0.8:7958 --token-file /etc/pykv/tokens"
)]
pub(crate) struct Replica {
    /// The node to follow; of several, the one that is primary in the highest term
    #[arg(
        long,
        value_name = "ADDRESS",
        required = true,
        value_delimiter = ',',
        help_heading = "Replica"
    )]
    pub from: Vec<Address>,

    /// Take over by itself once the primary has been silent this long
    ///
    /// Meant for one replica of a cluster: no election is held. It takes over only if it had all of the
    /// primary's log shortly before.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = failover_after, help_heading = "Replica")]
    pub failover_after: Option<Span>,

    /// Follow a replica among these if none is primary
    ///
    /// Without it a replica follows the primary alone, and finds it through any node of its cluster. With it the
    /// node follows the nodes of --from and no others. A replica is followed only while it follows the primary
    /// itself.
    #[arg(long, help_heading = "Replica")]
    pub from_replica: bool,

    /// Take the store with this id in place of the one in the directory
    ///
    /// `pykv status` of the primary shows the id. The old store is kept in the directory replaced-ID in it.
    #[arg(long, value_name = "ID", value_parser = log_id, help_heading = "Replica")]
    pub replace: Option<LogId>,

    /// The flags of every node.
    #[command(flatten)]
    pub serve: Serve,
}

/// `pykv promote`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pykv promote --server 10.0.0.8:7958\n  pykv promote --force --server 10.0.0.8:7958"
)]
pub(crate) struct Promote {
    /// Do not ask the present primary to hand over
    ///
    /// For a primary that is gone. What only the primary has is lost, or set aside when it comes back.
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
pub(crate) struct Forget {
    /// The node to forget, as `pykv status` shows it
    #[arg(value_name = "HOST:PORT", value_parser = named_node)]
    pub node: String,

    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach the node that is to forget it.
    #[command(flatten)]
    pub connection: Connection,
}

/// A node by its whole address, as nodes name each other.
fn named_node(text: &str) -> Result<String, String> {
    let address: Address = text
        .parse()
        .map_err(|error: crate::address::AddressError| error.to_string())?;
    let address = address.host_and_port();
    match text.trim_end_matches('/').ends_with(&address) {
        true => Ok(address),
        false => Err("it must be HOST:PORT, as `pykv status` shows it".to_owned()),
    }
}

fn log_id(text: &str) -> Result<LogId, String> {
    LogId::from_hex(text).ok_or_else(|| "must be the id of a store, of 32 hexadecimal digits".to_owned())
}

fn failover_after(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 < FAILOVER_AFTER_MIN {
        return Err("must be at least 200ms".to_owned());
    }
    Ok(span)
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
        let named: Vec<String> = replica.from.iter().map(Address::host_and_port).collect();
        assert_eq!(named, ["a:1", "b:2"]);
        assert_eq!(replica.failover_after, Some(Span(Duration::from_secs(5))));
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
