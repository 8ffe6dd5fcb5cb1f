//! What is told of a request once it is answered: how long it took, and, where it is asked for, a line about it.
//!
//! | file | what it is |
//! | --- | --- |
//! | `latencies` | counts by duration, of each route, method and status |
//! | `seen` | a request that was answered |
//! | `marks` | what is known of requests whose answers are on their way |
//! | `slow` | a line in the node's log about a request that took long; the last of them |
//! | `access` | a line about every request, in a file of its own |
//! | `history` | samples of the last hour, and coarser ones of the last day |
//!
//! A request's time runs from when the last of it was read to when the system took the last of its answer: what the
//! node can do something about. In a pipeline it begins with the read that brought the request, so that a request
//! pays for those before it, as its client does.
//!
//! # What must hold
//! - Nobody waits here: counting is two additions, a line goes to a thread that writes it, or is dropped and counted.

mod access;
pub(crate) mod history;
mod latencies;
mod marks;
mod seen;
mod slow;

pub(crate) use access::Access;
pub(crate) use latencies::{Label, Latencies};
pub(crate) use marks::{Asked, Marks, Spent};
pub(crate) use slow::Slow;

use crate::api;
use crate::net::registry::Peer;
use seen::Seen;
use std::time::Instant;

/// Sees every request that was answered. Shared by all connections, and by those who send answers for them.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) latencies: Latencies,
    slow: Option<Slow>,
    access: Option<Access>,
}

impl Observer {
    /// One for these routes.
    pub(crate) fn new(
        routes: impl Iterator<Item = Label>,
        slow: Option<Slow>,
        access: Option<Access>,
    ) -> Observer {
        Observer {
            latencies: Latencies::new(routes),
            slow,
            access,
        }
    }

    /// Whether anybody wants to know what was asked, word by word.
    pub(crate) fn wants_lines(&self) -> bool {
        self.slow.is_some() || self.access.is_some()
    }

    /// The requests that took long, of late.
    pub(crate) fn slow_requests(&self) -> api::SlowRequests {
        self.slow.as_ref().map(Slow::recent).unwrap_or_default()
    }

    /// Lines of the access log that were dropped, since the disk did not keep up; none where there is no such log.
    pub(crate) fn dropped_lines(&self) -> Option<u64> {
        self.access.as_ref().map(Access::dropped)
    }

    fn see(&self, peer: &Peer, seen: &Seen<'_>) {
        self.latencies
            .count(seen.kind, seen.status, peer.shard, seen.took);
        if let Some(slow) = &self.slow
            && !self.latencies.waits(seen.kind)
        {
            slow.see(seen, Instant::now);
        }
        if let Some(access) = &self.access {
            access.see(peer, seen);
        }
    }
}
