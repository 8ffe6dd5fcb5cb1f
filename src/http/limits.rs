//! What clients may take of the node: connections, time and memory.
//!
//! Every one of these has a bound, because every one can be asked for by somebody who gives nothing in
//! return. Memory is bounded twice: per connection by the sizes below, and over all of them by a
//! [`Budget`](crate::net::budget::Budget), which only those who hold more than a few KiB are counted against.

use crate::api::BATCH_OPERATIONS_DEFAULT;
use std::time::Duration;

/// Header fields that a request can have at all, whatever [`Limits::headers_max`] says.
pub(crate) const HEADERS_CEILING: usize = 128;

/// Bounds on what clients may take.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections open at once. What the system grants in file descriptors bounds it as well.
    pub connections_max: usize,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// For the body of a request; a second more for every 64 KiB that have come.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// For a client to take its answers; a second more for every 64 KiB of them.
    pub write_timeout: Duration,
    /// Method, target and version, in bytes.
    pub request_line_bytes_max: usize,
    /// All header fields together, in bytes.
    pub header_bytes_max: usize,
    /// Number of header fields; at most [`HEADERS_CEILING`].
    pub headers_max: usize,
    /// Largest body, in bytes, below what the largest value of the node allows; none for just that.
    pub body_bytes_max: Option<usize>,
    /// Operations in a batch.
    pub batch_operations_max: usize,
    /// Bytes of requests and answers in flight over all connections, of those that hold over 32 KiB.
    pub in_flight_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            request_line_bytes_max: 8 * 1024,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            body_bytes_max: None,
            batch_operations_max: BATCH_OPERATIONS_DEFAULT,
            in_flight_bytes_max: 256 << 20,
        }
    }
}

impl Limits {
    /// With timeouts that clocks and sockets can work with: a socket takes a timeout of nothing for none at
    /// all, and the end of the longest one is past what a clock can show.
    pub(crate) fn with_sound_timeouts(mut self) -> Limits {
        for timeout in [
            &mut self.header_timeout,
            &mut self.body_timeout,
            &mut self.idle_timeout,
            &mut self.write_timeout,
        ] {
            *timeout = (*timeout).clamp(Duration::from_millis(1), Duration::from_secs(365 * 24 * 3600));
        }
        self
    }
}
