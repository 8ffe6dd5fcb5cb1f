//! What a node is built from, and what it says of itself.

use crate::digest::Digest;
use crate::store::Limits;
use crate::wal::{self, CompactionStatus, Health, Policy, Position, Term};
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
    pub log: wal::Options,
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
