//! What a node is built from, and what it says of itself.

use super::Node;
use crate::digest::Digest;
use crate::histogram::Counts;
use crate::log::{self, CompactionStatus, Health, Policy, Position, Term};
use crate::store::{Counters, Limits};
use std::path::PathBuf;

/// How a node is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// The bounds of the store.
    pub limits: Limits,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// The log's policy and limits.
    pub log: log::Options,
    /// How it takes part in a cluster.
    pub cluster: super::cluster_status::Options,
}

/// How a node is, at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The log's id, as 32 hexadecimal digits.
    pub log_id: String,
    /// The term of the log.
    pub term: Term,
    /// How far the log has been written and synced, in bytes.
    pub position: Position,
    /// The offset just past the last record handed to the log.
    pub offset: u64,
    /// The digest of what the store held at `digest_offset`, an offset up to which the log is written.
    pub digest: Digest,
    /// See `digest`.
    pub digest_offset: u64,
    /// Entries that have a deadline.
    pub entries_with_deadline: u64,
    /// How it is with compaction.
    pub compaction: CompactionStatus,
    /// The log's policy.
    pub policy: Policy,
    /// Whether the log takes writes.
    pub health: Health,
    /// Where the data is.
    pub dir: PathBuf,
    /// The bounds of the store.
    pub limits: Limits,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// How long the node has been open.
    pub uptime: std::time::Duration,
}

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

    /// Bytes of the log's files.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// How long the disk has been at a write or a sync of the log, where that is longer than it should ever take.
    pub fn stalled_for(&self) -> Option<std::time::Duration> {
        self.log.stalled_for()
    }

    /// Whether the node takes writes.
    pub fn health(&self) -> Health {
        self.log.health()
    }

    /// Up to here the log has writes as firmly as its policy asks.
    pub(crate) fn durable(&self) -> u64 {
        let position = self.log.position();
        match self.policy() {
            Policy::Always => position.synced,
            Policy::Everysec | Policy::No => position.written,
        }
    }

    /// The log's policy.
    pub fn policy(&self) -> Policy {
        self.log.policy()
    }
}
