//! What handlers work with.

use super::shared::Shared;
use crate::node::Node;

/// What every request is handled with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) node: &'a Node,
    pub(crate) shared: &'a Shared,
}

/// Buffers that handlers write into, kept from one request to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The body of the answer.
    pub(crate) body: Vec<u8>,
    /// A value on its way into the body.
    pub(crate) value: Vec<u8>,
}
