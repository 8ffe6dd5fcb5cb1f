//! The part of `GET /stats` that is estimated from samples.

use serde::{Deserialize, Serialize};

/// What the hit ratio would be, were there room for more entries, or for fewer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MissRatioCurve {
    /// Keys that it is estimated from.
    pub sampled: u64,
    /// The size of the store today: how many entries it may hold, or holds where memory is what bounds it.
    pub entries: u64,
    /// By size, from a tenth of today's to ten times that.
    pub points: Vec<CurvePoint>,
}

/// The hit ratio at a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CurvePoint {
    /// The size, in entries.
    pub entries: u64,
    /// Hits over reads.
    pub hit_ratio: f64,
}

/// One of the keys that are read most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HotKey {
    /// The key.
    pub key: String,
    /// How often it was read since the node was started, at least; past the first 65,536 reads, from a sample.
    pub reads: u64,
}

/// One of the largest keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BigKey {
    /// The key.
    pub key: String,
    /// Bytes of key and value.
    pub bytes: u64,
}
