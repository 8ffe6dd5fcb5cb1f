//! What a node says of itself.

use super::cluster_status::ClusterStatus;
use super::{AckRequirement, Node, Status};
use crate::histogram::Counts;
use crate::store::{Counters, Limits};
use crate::wal::{Health, Policy, Role};

impl Node {
    /// How long syncs of the log took.
    pub(crate) fn syncs(&self) -> Counts {
        self.log.syncs()
    }

    /// What the store has counted.
    pub fn counters(&self) -> Counters {
        self.store.lock().map.counters()
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        let (digest_offset, digest) = self.log.state();
        let locked = self.store.lock();
        let offset = locked.log.next();
        let entries_with_deadline = locked.map.entries_with_deadline();
        drop(locked);
        Status {
            log_id: self.log.id().to_string(),
            term: self.log.term(),
            position: self.log.position(),
            offset,
            digest,
            digest_offset,
            entries_with_deadline,
            compaction: self.log.compaction(),
            policy: self.log.policy(),
            health: self.log.health(),
            dir: self.dir.clone(),
            limits: self.limits,
            value_bytes_max: self.value_bytes_max,
            uptime: self.opened.elapsed(),
        }
    }

    /// How it is with the node's place in its cluster.
    pub fn cluster_status(&self) -> ClusterStatus {
        let mut status = self.cluster.status(self.visible(), self.term());
        status.error = status.error.or_else(|| match status.role {
            Role::Replica => self.over_bounds(),
            Role::Primary => self.lacks_replicas(),
        });
        status
    }

    /// That every write needs more replicas than are heard.
    fn lacks_replicas(&self) -> Option<String> {
        let AckRequirement {
            replicas,
            is_required,
            ..
        } = self.sync_default();
        let connected = self.followers_connected();
        (is_required && connected < replicas).then(|| {
            format!(
                "a write needs {replicas} replicas (--sync-required), and {connected} are heard: none is acknowledged"
            )
        })
    }

    /// That the store has more than this node's own bounds allow, which no replica drops.
    fn over_bounds(&self) -> Option<String> {
        let Counters { entries, bytes, .. } = self.counters();
        let Limits {
            entries_max,
            bytes_max,
        } = self.limits;
        let (over, flag, bound) = if bytes > bytes_max {
            (
                format!("the entries take {bytes} bytes"),
                "--max-memory",
                bytes_max,
            )
        } else if entries > entries_max {
            (
                format!("there are {entries} entries"),
                "--max-capacity",
                entries_max,
            )
        } else {
            return None;
        };
        Some(format!(
            "{over}, and {flag} of this replica is {bound}: a promotion evicts what is over"
        ))
    }

    /// Bytes of the log's files.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// How often the log's thread has gone round: what stands still where it hangs.
    pub(crate) fn log_turns(&self) -> u64 {
        self.log.turns()
    }

    /// How long the disk has been at a write or a sync of the log, where that is longer than it should ever take.
    pub fn stalled_for(&self) -> Option<std::time::Duration> {
        self.log.stalled_for()
    }

    /// Whether the node takes writes.
    pub fn health(&self) -> Health {
        self.log.health()
    }

    /// Up to here the log has writes durable, as its policy means it.
    pub(crate) fn durable(&self) -> u64 {
        let position = self.log.position();
        match self.policy().acknowledges_synced() {
            true => position.synced,
            false => position.written,
        }
    }

    /// The log's policy.
    pub fn policy(&self) -> Policy {
        self.log.policy()
    }
}
