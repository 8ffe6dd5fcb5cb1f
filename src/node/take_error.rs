//! Why a replica does not take what another node has sent.

use crate::wal::{Refusal, SnapshotError};
use std::fmt;
use std::io;

/// Why a chunk of another node's log was not taken.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// It is none, or none that belongs here.
    Invalid(String),
    /// The log could not take it now.
    Refused(Refusal),
    /// The thread that is to take it cannot be started.
    Thread(io::Error),
    /// The node is no replica any more.
    RoleChanged,
}

/// Why a snapshot was not taken.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// It ended too early, or could not be read.
    Link(io::Error),
    /// The thread that makes a map of it cannot be started.
    Thread(io::Error),
    Snapshot(SnapshotError),
    /// What was made of it is not what it says it is.
    Digest,
    /// The node is no replica any more.
    RoleChanged,
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveError::Link(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("the snapshot broke off: the other node sends too little, or nothing any more")
            }
            ReceiveError::Link(error) => write!(f, "the snapshot broke off: {error}"),
            ReceiveError::Thread(error) => write!(f, "cannot start a thread for the snapshot: {error}"),
            ReceiveError::Snapshot(error) => error.fmt(f),
            ReceiveError::Digest => f.write_str("the snapshot does not have the digest that it says"),
            ReceiveError::RoleChanged => f.write_str("the node is no replica any more"),
        }
    }
}

impl From<SnapshotError> for ReceiveError {
    fn from(error: SnapshotError) -> ReceiveError {
        ReceiveError::Snapshot(error)
    }
}
