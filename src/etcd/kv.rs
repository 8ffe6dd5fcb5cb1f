//! What etcd holds and answers: keys, revisions, leases, transactions, events.
//!
//! A **revision** counts the changes of a cluster of etcd, all keys together. Every number of etcd is a positive one of
//! 63 bits, and 0 stands for none.

use std::fmt;
use std::time::Duration;

/// Most keys of an answer: a cluster of pykv has a few keys for each node.
pub(super) const KEYS_MAX: usize = 1024;

/// Longest TTL, in seconds.
pub(super) const TTL_SECONDS_MAX: u64 = 24 * 60 * 60;

/// The id of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub(super) u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0) // As etcdctl shows it.
    }
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What names it.
    pub id: LeaseId,
    /// How long it lives without a renewal. etcd may have given more than was asked for.
    pub ttl: Duration,
}

/// Who answers, and from when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The id of etcd's cluster. It is made of the members' addresses: a cluster that lost its data and was started
    /// anew in the same way has the same one.
    pub cluster_id: u64,
    /// The revision that the answer is of.
    pub revision: u64,
    /// The term of etcd's own raft.
    pub raft_term: u64,
}

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision at which it came to be; one that was deleted and made anew has a higher one.
    pub create_revision: u64,
    /// The revision at which it was last written.
    pub mod_revision: u64,
    /// The lease that it ends with.
    pub lease: Option<LeaseId>,
}

/// The keys that were asked for, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Who answers, and from when.
    pub header: Header,
    /// The keys, in order.
    pub kvs: Vec<KeyValue>,
}

/// What must hold for a transaction to succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key came to be at this revision; with 0, it is not there.
    CreateRevision(String, u64),
    /// The key was last written at this revision; with 0, it is not there.
    ModRevision(String, u64),
    /// The key is there and holds this.
    Value(String, Vec<u8>),
}

impl Compare {
    /// The key is not there.
    pub fn absent(key: impl Into<String>) -> Compare {
        Compare::CreateRevision(key.into(), 0)
    }
}

/// A step of a transaction. Two steps of one transaction must not write one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
        /// The lease that it ends with.
        lease: Option<LeaseId>,
    },
    /// Deletes a key, if it is there.
    Delete(String),
    /// Reads a key.
    Range(String),
    /// Reads all keys that begin so.
    RangePrefix(String),
}

impl Op {
    /// Whether it changes anything.
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Op::Put { .. } | Op::Delete(_))
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The key was written.
    Put,
    /// So many keys were deleted.
    Deleted(u64),
    /// What was read.
    Range(Vec<KeyValue>),
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnAnswer {
    /// Who answers, and from when: where it wrote, its revision is that of the writes.
    pub header: Header,
    /// Whether the compares held, so whether the steps of success or those of failure were done.
    pub succeeded: bool,
    /// What came of each step, in order.
    pub done: Vec<Done>,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was written.
    Put(KeyValue),
    /// It was deleted, or its lease has ended.
    Delete {
        /// The key.
        key: String,
        /// The revision of the change.
        revision: u64,
    },
}
