//! Why a feed cannot continue.

use super::error::Error;
use std::fmt;

/// Why a feed cannot give what comes after an offset.
#[derive(Debug)]
pub enum FeedError {
    /// The log does not go back that far any more, or lost that part in a crash.
    Gone {
        /// The first offset that it has.
        oldest: u64,
    },
    /// The log has a hole there: in this history no such offset was ever given.
    Hole {
        /// The offset up to which it has records before the hole.
        start: u64,
        /// Where it continues.
        next_offset: u64,
    },
    /// The log is not that far.
    Ahead {
        /// How far it is written.
        written: u64,
    },
    /// No record begins at this offset.
    NotABoundary {
        /// The offset.
        offset: u64,
    },
    /// The log has another record there than the one that was named.
    OtherRecord {
        /// Where the record begins.
        start: u64,
    },
    /// The log cannot be read.
    Log(Error),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeedError::Gone { oldest } => {
                write!(
                    f,
                    "the log no longer holds what came after this; it begins at offset {oldest}"
                )
            }
            FeedError::Hole { start, next_offset } => write!(
                f,
                "the log has nothing there; it has a hole from offset {start} to offset {next_offset}"
            ),
            FeedError::Ahead { written } => write!(f, "the log ends at offset {written}, before this offset"),
            FeedError::NotABoundary { offset } => write!(
                f,
                "no record begins at offset {offset}: name the version of a change that was seen, or 0"
            ),
            FeedError::OtherRecord { start } => write!(f, "the log has another record at offset {start}"),
            FeedError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FeedError {}

impl From<Error> for FeedError {
    fn from(error: Error) -> FeedError {
        FeedError::Log(error)
    }
}
