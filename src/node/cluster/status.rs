//! How it is with a node's place in its cluster.

use super::{Cluster, following};
use crate::node::cluster_status::{ClusterStatus, Phase};
use crate::wal::{HandedTo, Role, Term};
use std::time::Duration;

/// For how long a second primary of this log is reported after it was last heard.
const CONFLICT_FOR: Duration = Duration::from_secs(10);

impl Cluster {
    /// How it is, where the node's store has everything up to `applied`, and its log is in `term`.
    pub(in crate::node) fn status(&self, applied: u64, term: Term) -> ClusterStatus {
        let state = self.state();
        let is_replica = state.role == Role::Replica;
        let (lag_bytes, lag) = match is_replica {
            true => state.upstream.lag(applied),
            false => (None, None),
        };
        let phase = match state.phase {
            // The connection stands, and nothing comes.
            Phase::Streaming if !state.upstream.is_heard() => Phase::Connecting,
            phase => phase,
        };
        let conflict = state.conflict.as_ref();
        let conflict = conflict.filter(|(_, at)| at.elapsed() <= CONFLICT_FOR);
        let handed_to = state.handed_to.as_ref();
        let handed_to =
            handed_to.filter(|to| is_replica && !state.upstream.is_heard() && to.term == term.bits());
        // It is news while the primary is heard.
        let skew = state.clock_skew_seconds.filter(|_| phase == Phase::Streaming);
        ClusterStatus {
            role: state.role,
            phase,
            address: self.options.address.clone(),
            primary: match state.role {
                Role::Primary => Some(self.options.address.clone()),
                Role::Replica => state.upstream.primary().map(str::to_owned),
            },
            primary_heard: state.upstream.heard_for().filter(|_| is_replica),
            error: conflict
                .map(|(what, _)| what.clone())
                .or_else(|| handed_to.map(waits_for))
                .or_else(|| state.error.clone())
                .or_else(|| skew.map(following::clock_skew)),
            snapshot_bytes: Some(state.snapshot_bytes).filter(|_| phase == Phase::Snapshot),
            lag_bytes,
            lag,
            clock_skew_seconds: skew,
            failover_after: self.options.failover_after,
        }
    }
}

/// What a node says that has stepped down for another, and hears no primary.
pub(in crate::node) fn waits_for(to: &HandedTo) -> String {
    let address = &to.address;
    format!(
        "this node stepped down for {address}, which is not primary yet: promote {address} again; where it is gone, \
         `pykv promote --force` makes this node primary"
    )
}
