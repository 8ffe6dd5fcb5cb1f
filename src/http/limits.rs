//! What clients may take of the node: connections, time and memory.
//!
//! Every one of these has a bound, because every one can be asked for by somebody who gives nothing in
//! return. Memory is bounded twice: per connection by the sizes below, and over all of them by a
//! [`Budget`], which only those who hold more than a few KiB are counted against.

use crate::api::BATCH_OPERATIONS_DEFAULT;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Header fields that a request can have at all, whatever [`Limits::headers_max`] says.
pub const HEADERS_CEILING: usize = 128;

/// Bounds on what clients may take.
#[derive(Clone, Debug)]
pub struct Limits {
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
    pub(super) fn with_sound_timeouts(mut self) -> Limits {
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

/// How much longer a client may take that moves `bytes`: those who make no headway gain nothing.
pub(super) fn time_for(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 / 64)
}

/// Bytes that all connections together may hold.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: usize,
    left: AtomicUsize,
}

/// What one connection has taken of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Budget {
        Budget {
            bytes_max: bytes,
            left: AtomicUsize::new(bytes),
        }
    }

    /// What all connections may hold together.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What they hold at this moment.
    pub(super) fn used_bytes(&self) -> usize {
        self.bytes_max - self.left.load(Relaxed)
    }

    pub(super) fn charge(&self) -> Charge<'_> {
        Charge {
            budget: self,
            bytes: 0,
        }
    }
}

impl Charge<'_> {
    /// Takes enough to hold `bytes` in all; false, and nothing taken, where the budget has not that much.
    pub(super) fn raise_to(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes) else {
            return true;
        };
        let took = self
            .budget
            .left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(more));
        if took.is_ok() {
            self.bytes = bytes;
        }
        took.is_ok()
    }

    /// Gives all back.
    pub(super) fn release(&mut self) {
        if self.bytes > 0 {
            self.budget.left.fetch_add(self.bytes, Relaxed);
            self.bytes = 0;
        }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn_and_comes_back_whole() {
        let budget = Budget::new(100);
        let mut one = budget.charge();
        let mut other = budget.charge();
        assert!(one.raise_to(60));
        assert!(!other.raise_to(41));
        assert!(other.raise_to(40));
        assert!(!one.raise_to(61));
        assert!(one.raise_to(10), "what is held already needs no more");
        drop(other);
        assert!(one.raise_to(100));
        one.release();
        assert_eq!(budget.left.load(Relaxed), 100);
    }
}
