//! The JSON of `GET /slow`.

use serde::{Deserialize, Serialize};

/// The path of it.
pub(crate) const PATH_SLOW: &str = "/slow";

/// The requests that took long, of late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowRequests {
    /// From how many ms on a request is slow; none where nobody looks.
    pub from_ms: Option<f64>,
    /// The last ones, the newest first. Empty for a token that opens some prefixes alone.
    pub requests: Vec<SlowRequest>,
}

/// A request that took long, and what it waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowRequest {
    /// When it was answered, in ms since the Unix epoch.
    pub at_ms: u64,
    /// The request line.
    pub request: String,
    /// What its token calls the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// How long it took.
    pub took_ms: f64,
    /// Of that, how long it waited for the store's lock.
    pub lock_ms: f64,
    /// Of that, how long it waited for the log.
    pub log_ms: f64,
    /// Of that, how long it waited for replicas.
    pub replicas_ms: f64,
}
