//! Changes on their way from the store to the log's end.

use super::branch::Branch;
use super::last_record::LastRecord;
use crate::pair::Pair;
use crate::record::{HEAD_BYTES, Operation};

/// What became of an entry, with all that the log's writer needs to tell it, and to keep the digest.
pub(crate) enum Change {
    /// A pair was put, in place of another one if there was one.
    Put {
        pair: Pair,
        replaced: Option<(Pair, u64)>,
    },
    /// A pair was removed that had this version.
    Removed {
        operation: Operation,
        pair: Pair,
        version: u64,
    },
}

impl Change {
    /// Bytes of the record that tells it.
    pub(super) fn record_bytes(&self) -> u64 {
        match self {
            Change::Put { pair, .. } => put_bytes(pair),
            Change::Removed { pair, .. } => removal_bytes(pair.key()),
        }
    }

    /// Memory that it takes beside the bytes of its record, until it is written: its place in the channel, and the pair
    /// that it took out of the store. The store counts that no longer.
    pub(super) fn held_bytes(&self) -> u64 {
        let freed = match self {
            Change::Put { replaced, .. } => replaced.as_ref().map(|(pair, _)| pair),
            Change::Removed { pair, .. } => Some(pair),
        };
        let freed_bytes = freed.map_or(0, |pair| pair.bytes().allocated_bytes());
        (size_of::<WriteRequest>() + freed_bytes) as u64
    }
}

/// Bytes of the record of a pair that is put.
pub(crate) fn put_bytes(pair: &Pair) -> u64 {
    let deadline = if pair.deadline_ms().is_some() { 8 } else { 0 };
    (HEAD_BYTES + deadline + pair.key().len() + pair.value().len()) as u64
}

/// Bytes of the record of a key that is removed.
pub(crate) fn removal_bytes(key: &[u8]) -> u64 {
    (HEAD_BYTES + key.len()) as u64
}

/// A change on its way to the log's end.
pub(super) struct Entry {
    /// The offset of the record's first byte.
    pub(super) start: u64,
    pub(super) timestamp_ms: u64,
    pub(super) change: Change,
}

/// What the channel carries.
pub(super) enum WriteRequest {
    One(Entry),
    /// They count together or not at all, so they are encoded and written together.
    Batch(Vec<Entry>),
    /// Whole records, and whole batches, as another node has written them, and the branches that begin in them.
    Raw {
        bytes: Vec<u8>,
        branches: Vec<Branch>,
        /// The last of the records.
        last: Option<LastRecord>,
    },
}
