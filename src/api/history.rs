//! The JSON of `GET /history`.

use serde::{Deserialize, Serialize};

/// What the node kept of the last hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    /// How far samples lie apart, in ms, while the node is not held up.
    pub interval_ms: u64,
    /// The samples.
    pub samples: Samples,
}

/// Samples by column: all have one length, and one place in each is one moment. Rates are of the time since the
/// sample before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// When it was taken, in ms since the Unix epoch.
    pub at_ms: Vec<u64>,
    /// Keys read, a second, those that were not there too.
    pub gets: Vec<f64>,
    /// Keys added or given another value, a second.
    pub puts: Vec<f64>,
    /// Keys deleted by clients, a second.
    pub deletes: Vec<f64>,
    /// Answers, a second, to whatever was asked.
    pub answers: Vec<f64>,
    /// Hits over reads; none where nothing was read.
    pub hit_ratio: Vec<Option<f64>>,
    /// Entries held.
    pub entries: Vec<u64>,
    /// Bytes held for them.
    pub bytes: Vec<u64>,
    /// Entries dropped to stay within the bounds, a second.
    pub evictions: Vec<f64>,
    /// Entries dropped because their deadline came, a second.
    pub expiries: Vec<f64>,
    /// Bytes of the log's files.
    pub log_bytes: Vec<u64>,
    /// Connections open.
    pub connections: Vec<u64>,
    /// How far a replica is behind, or the last of a primary's followers, in bytes of the log; none where there is
    /// neither.
    pub lag_bytes: Vec<Option<u64>>,
    /// How long half of the requests for keys and values took at most, in ms, since the sample before; none where
    /// there were none. This and the next two are up to an eighth too high.
    pub latency_p50_ms: Vec<Option<f64>>,
    /// What 99 of a hundred took at most.
    pub latency_p99_ms: Vec<Option<f64>>,
    /// What 999 of a thousand took at most.
    pub latency_p999_ms: Vec<Option<f64>>,
    /// The longest sync of the log since the sample before, in ms; none where there was none.
    pub sync_ms: Vec<Option<f64>>,
}
