//! What is known of a request once it was answered.

use super::latencies::Kind;
use crate::waits::Waits;
use std::time::Duration;

/// A request that was answered.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) kind: Kind,
    pub(crate) status: u16,
    /// The request line.
    pub(crate) line: &'a str,
    /// What its token calls the client; none where it has no name.
    pub(crate) who: Option<&'a str>,
    pub(crate) answer_bytes: u64,
    pub(crate) took: Duration,
    pub(crate) waits: Waits,
    pub(crate) replicas: Duration,
}
