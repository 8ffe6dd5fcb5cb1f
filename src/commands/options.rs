//! From flags to the options that the parts of a node are built from.

use crate::cli::{Cluster, Replica};
use crate::client::Address;
use crate::node::{ClusterOptions, PeerTls, Secret};

/// What the node is built from; how it is reached is known only once it listens.
pub(super) fn cluster(
    flags: &Cluster,
    replica: Option<&Replica>,
    token: Option<String>,
    tls: Option<PeerTls>,
) -> ClusterOptions {
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
        election: flags.election.config(flags.sync_replicas),
        replace: replica.and_then(|replica| replica.replace),
        sync_replicas: flags.sync_replicas,
        sync_timeout: flags.sync_timeout.0,
        sync_required: flags.sync_required,
        sync_reads: flags.sync_reads,
        token: token.map(Secret::new),
        tls,
    }
}
