//! What handlers work with.

use super::shared::Shared;
use crate::node::Node;

/// What every request is handled with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) node: &'a Node,
    pub(super) shared: &'a Shared,
}

/// Buffers that handlers write into, kept from one request to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The body of the answer.
    pub(super) body: Vec<u8>,
    /// A value on its way into the body.
    pub(super) value: Vec<u8>,
}
