//! What is known of a request once it was answered.

use super::latencies::Kind;
use crate::waits::Waits;
use std::time::Duration;

/// A request that was answered.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) kind: Kind,
    pub(super) status: u16,
    /// The request line.
    pub(super) line: &'a str,
    pub(super) answer_bytes: u64,
    pub(super) took: Duration,
    pub(super) waits: Waits,
    pub(super) replicas: Duration,
}
