//! What a connection holds, and where it stands between one request and the next.

use crate::engine::Relay;
use crate::handlers::context::{Context, Scratch};
use crate::handlers::stream::DeferredHandler;
use crate::http::chunked::Chunked;
use crate::http::response::Envelope;
use crate::net::budget::Charge;
use crate::net::input::Input;
use crate::net::registry::Peer;
use crate::node::{AckRequirement, HELD_MAX};
use crate::observe::Asked;
use crate::server::deferred::Slot;
use crate::server::output::Output;
use std::sync::Arc;
use std::time::Instant;

/// How much a buffer for answers keeps that had to grow. There are several, and there may be ten thousand
/// connections.
pub(crate) const KEPT_BYTES: usize = 8 * 1024;

/// What is missing of the request that the input begins with.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// Nothing of it has come.
    Request,
    /// The rest of the head; `seen` bytes were looked at.
    Head { seen: usize },
    /// The rest of a body that ends after `end` bytes from the request's start.
    Length { end: usize },
    /// More chunks.
    Chunks {
        head_bytes: usize,
        body_bytes_max: usize,
        chunked: Chunked,
    },
}

/// What comes after a step of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another request may be in hand.
    Go,
    /// More bytes must come.
    Read,
    /// What a handler left must be done, once all before it was sent.
    Later,
    /// The node must get to where the request wants it, once all before it was sent; see [`Wait`].
    Await,
    /// The last answer was made; nothing that the client sent is unread.
    Close,
    /// The last answer was made, and the client may be sending still.
    Linger,
}

/// What a request waits for before it is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A read: until the node shows everything before this offset.
    Offset(u64),
    /// A read: until its answer, of so many bytes, has room in the budget. It is made anew then.
    Room { bytes: usize },
    /// A write: until the node holds its writers no longer. One hold may follow another; past this moment the write
    /// waits for no further one.
    Hold { until: Instant },
}

impl Wait {
    /// The wait of a write that finds its writers held, after the wait that it has behind it; none where it has waited
    /// for long enough.
    pub(crate) fn for_hold(before: Option<Wait>) -> Option<Wait> {
        let now = Instant::now();
        match before {
            Some(Wait::Hold { until }) => (now < until).then_some(Wait::Hold { until }),
            _ => Some(Wait::Hold {
                until: now + HELD_MAX,
            }),
        }
    }
}

/// A request whose answer is made later.
pub(crate) struct Pending<'a> {
    pub(crate) later: DeferredHandler<'a>,
    pub(crate) envelope: Envelope,
    /// What a read of a replica shows: everything before this offset.
    pub(crate) seen: Option<u64>,
    /// Who must have what it shows.
    pub(crate) shown: Option<AckRequirement>,
}

/// A request that is relayed. It is what the input begins with.
pub(crate) struct Relaying {
    pub(crate) relay: Relay,
    /// Where it ends, in bytes.
    pub(crate) end: usize,
    pub(crate) envelope: Envelope,
}

/// A connection and all that it holds.
pub(crate) struct Connection<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) peer: &'a Arc<Peer>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) scratch: Scratch,
    pub(crate) charge: Charge<'a>,
    pub(crate) awaited: Awaited,
    /// When the part of the request that is awaited was begun.
    pub(crate) started: Option<Instant>,
    /// Where an answer is left for another thread to send, and whether one was.
    pub(crate) slot: Arc<Slot>,
    pub(crate) has_deferred: bool,
    /// The request that is relayed.
    pub(crate) relaying: Option<Relaying>,
    /// Whether the next request was relayed before, and is not to be again.
    pub(crate) handles_itself: bool,
    /// Reads that a request was waited for with that had begun.
    pub(crate) reads: u64,
    /// The request at hand.
    pub(crate) asked: Asked,
    /// Set where a step ends in [`Next::Later`].
    pub(crate) pending: Option<Pending<'a>>,
    /// What the request at hand waits for, or has waited for.
    pub(crate) wait: Option<Wait>,
    /// The node that writers are held for, as this connection has asked.
    pub(crate) held_for: Option<u64>,
    /// What the request at hand asks of replicas.
    pub(crate) sync: Option<AckRequirement>,
}
