//! What one write of the log came to.

use super::error::Error;
use super::health::Health;
use crate::digest::Digest;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flushed {
    /// The offset up to which the log is written now.
    pub(super) written: u64,
    /// The digest of the store at that offset, where it is known already.
    pub(super) digest: Option<Digest>,
    /// Bytes of records that this took.
    pub(super) bytes: u64,
    /// What these held of the budget.
    pub(super) held_bytes: u64,
}

/// Which step failed: what follows from it differs.
#[derive(Debug)]
pub(super) enum Failure {
    Write(Error),
    Sync(Error),
}

impl Failure {
    /// The health of a log with this failure.
    pub(super) fn health(&self) -> Health {
        let (Failure::Write(error) | Failure::Sync(error)) = self;
        let why = error.to_string();
        match self {
            _ if error.is_displaced() => Health::Displaced { why },
            Failure::Sync(_) => Health::SyncFailed { why },
            Failure::Write(error) if error.is_disk_full() => Health::DiskFull { why },
            Failure::Write(_) => Health::WriteFailed { why },
        }
    }

    pub(super) fn into_error(self) -> Error {
        let (Failure::Write(error) | Failure::Sync(error)) = self;
        error
    }
}
