//! How a log is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// When the log is synced, and so what an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Before each acknowledgement.
    Always,
    /// Once a second.
    #[default]
    Everysec,
    /// When the kernel likes.
    No,
}

impl Policy {
    /// As the command line and the API call it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Always => "always",
            Policy::Everysec => "everysec",
            Policy::No => "no",
        }
    }

    /// Whether an acknowledged write is synced, and survives the machine. If not, it is written, and survives the
    /// process.
    pub fn acknowledges_synced(self) -> bool {
        self == Policy::Always
    }

    /// Whether the log's thread syncs what is written, once a second.
    pub(super) fn syncs_every_second(self) -> bool {
        self == Policy::Everysec
    }
}

/// Bytes that a log has before it is compacted by itself, where nothing else was said.
pub(super) const COMPACT_BYTES_MIN_DEFAULT: u64 = 64 << 20;

/// Bytes of the log that are kept for those who read it from behind, where nothing else was said.
pub(super) const BACKLOG_BYTES_DEFAULT: u64 = 64 << 20;

/// How far a start has read a log, in bytes of its files.
#[derive(Debug, Default)]
pub struct Progress {
    read_bytes: AtomicU64,
    all_bytes: AtomicU64,
}

impl Progress {
    /// Of how many bytes how many were read.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.read_bytes.load(Relaxed), self.all_bytes.load(Relaxed))
    }

    /// How much was read, from 0 to 1. None before anything was.
    pub(crate) fn fraction(&self) -> Option<f64> {
        let (read_bytes, all_bytes) = self.bytes();
        (read_bytes > 0 && all_bytes > 0).then(|| read_bytes as f64 / all_bytes as f64)
    }

    pub(super) fn set_read(&self, bytes: u64) {
        self.read_bytes.store(bytes, Relaxed);
    }

    pub(super) fn set_all(&self, bytes: u64) {
        self.all_bytes.store(bytes, Relaxed);
    }
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it is synced.
    pub policy: Policy,
    /// Bytes of records that may wait to be written before writers are held back.
    pub unwritten_bytes_max: u64,
    /// Size at which a new segment is started, in bytes.
    pub segment_bytes_max: u64,
    /// Bytes that the log must have before it is compacted by itself; none for 64 MiB, or an
    /// eighth of the disk where that is less.
    pub compact_bytes_min: Option<u64>,
    /// The log is compacted by itself when it has so many times the bytes of what is live; 0 for never.
    pub compact_ratio: f64,
    /// Bytes of the log that are kept behind a base, for those who read it from behind; none for
    /// 64 MiB where there were some lately, and a tenth of what is live where there were not.
    pub backlog_bytes: Option<u64>,
    /// How much further on than it must a branch begins at most, by chance, in bytes. 0 only where tests name
    /// offsets: two histories could then give one version.
    pub branch_spread_bytes: u64,
    /// Makes a new store where the directory bears marks of one whose log is gone.
    pub new_store: bool,
    /// Where it is said how far a start has read the log.
    pub progress: Arc<Progress>,
    /// How long a writer waits for room, and then for its record to be written, before it gets an error.
    pub wait_max: Duration,
}
