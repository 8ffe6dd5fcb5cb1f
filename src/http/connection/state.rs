//! What a connection holds, and where it stands between one request and the next.

use crate::http::budget::Charge;
use crate::http::chunked::Chunked;
use crate::http::context::{Context, Scratch};
use crate::http::input::Input;
use crate::http::left::Slot;
use crate::http::observe::Asked;
use crate::http::output::Output;
use crate::http::registry::Peer;
use crate::http::response::Envelope;
use crate::http::stream::Later;
use crate::node::AckRequirement;
use std::sync::Arc;
use std::time::Instant;

/// How much a buffer for answers keeps that had to grow. There are several, and there may be ten thousand
/// connections.
pub(super) const KEPT_BYTES: usize = 8 * 1024;

/// What is missing of the request that the input begins with.
#[derive(Debug)]
pub(super) enum Awaited {
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
pub(super) enum Next {
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
pub(super) enum Wait {
    /// A read: until the node shows everything before this offset.
    Offset(u64),
    /// A write: until the node holds its writers no longer.
    Hold,
}

/// A request whose answer is made later.
pub(super) struct Pending<'a> {
    pub(super) later: Later<'a>,
    pub(super) envelope: Envelope,
    /// What a read of a replica shows: everything before this offset.
    pub(super) seen: Option<u64>,
    /// Whether replicas must have what it shows.
    pub(super) is_sync_read: bool,
}

/// A connection and all that it holds.
pub(super) struct Connection<'a> {
    pub(super) context: Context<'a>,
    pub(super) peer: &'a Peer,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) scratch: Scratch,
    pub(super) charge: Charge<'a>,
    pub(super) awaited: Awaited,
    /// When the part of the request that is awaited was begun.
    pub(super) started: Option<Instant>,
    /// Where an answer is left for another thread to send, and whether one was.
    pub(super) slot: Arc<Slot>,
    pub(super) has_left: bool,
    /// Reads that a request was waited for with that had begun.
    pub(super) reads: u64,
    /// The request at hand.
    pub(super) asked: Asked,
    /// Set where a step ends in [`Next::Later`].
    pub(super) pending: Option<Pending<'a>>,
    /// What the request at hand waits for, or has waited for.
    pub(super) wait: Option<Wait>,
    /// What the request at hand asks of replicas.
    pub(super) sync: Option<AckRequirement>,
}
