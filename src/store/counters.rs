//! What the store counts.

/// What the store counts, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys added.
    pub adds: u64,
    /// Values replaced.
    pub updates: u64,
    /// Keys deleted by a client.
    pub deletes: u64,
    /// Entries dropped to stay within the bounds.
    pub evictions: u64,
    /// Entries dropped because their deadline came.
    pub expiries: u64,
    /// Entries held now.
    pub entries: u64,
    /// Bytes held now: keys, values and what the store adds to each.
    pub bytes: u64,
}
