//! What handlers work with.

use super::shared::Shared;
use crate::engine::Engine;
use crate::node::Node;

/// What every request is handled with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) engine: Engine<'a>,
    pub(crate) shared: &'a Shared,
}

impl<'a> Context<'a> {
    /// The node that holds the entries itself; none where another engine does.
    pub(crate) fn node(&self) -> Option<&'a Node> {
        self.engine.node()
    }
}

/// What is handled with that a node alone has.
#[derive(Clone, Copy)]
pub(crate) struct NodeContext<'a> {
    pub(crate) node: &'a Node,
    pub(crate) shared: &'a Shared,
}

impl<'a> NodeContext<'a> {
    /// As requests have it that any engine answers.
    pub(crate) fn any(self) -> Context<'a> {
        Context {
            engine: Engine::Embedded(self.node),
            shared: self.shared,
        }
    }
}

/// Buffers that handlers write into, kept from one request to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The body of the answer.
    pub(crate) body: Vec<u8>,
    /// A value on its way into the body.
    pub(crate) value: Vec<u8>,
}
