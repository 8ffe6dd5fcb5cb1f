//! Listings, of a node or of another engine.

use crate::engine::{self, EngineError};
use crate::node::{self, Ahead, Listed};

/// Where a listing continues.
#[derive(Clone, Debug)]
pub(crate) enum Cursor {
    Node(node::Cursor),
    Engine(engine::Cursor),
}

impl Cursor {
    /// As text, for a query.
    pub(crate) fn encode(self) -> String {
        match self {
            Cursor::Node(cursor) => cursor.encode(),
            Cursor::Engine(cursor) => cursor.encode(),
        }
    }
}

/// A listing.
pub(crate) enum Lister<'a> {
    Node(node::Lister<'a>),
    Engine(Box<engine::Lister<'a>>),
}

impl<'a> Lister<'a> {
    /// As [`node::Lister::look`].
    pub(crate) fn look(&mut self, large_bytes_max: usize) -> Result<Ahead, EngineError> {
        match self {
            Lister::Node(lister) => Ok(lister.look(large_bytes_max)),
            Lister::Engine(lister) => lister.look(large_bytes_max),
        }
    }

    /// As [`node::Lister::next`].
    #[allow(
        clippy::should_implement_trait,
        reason = "lends from its buffer, which Iterator cannot"
    )]
    pub(crate) fn next(&mut self) -> Option<Listed<'_>> {
        match self {
            Lister::Node(lister) => lister.next(),
            Lister::Engine(lister) => lister.next(),
        }
    }

    /// The lister of a node, where it gives keys in the order of their names.
    pub(crate) fn in_order(&mut self) -> Option<&mut node::Lister<'a>> {
        match self {
            Lister::Node(lister) if lister.can_pass() => Some(lister),
            _ => None,
        }
    }

    /// As [`node::Lister::begin_again`]; an engine has no order to begin with.
    pub(crate) fn begin_again(&mut self) {
        if let Lister::Node(lister) = self {
            lister.begin_again();
        }
    }

    /// Whether a page may end here.
    pub(crate) fn may_pause(&self) -> bool {
        match self {
            Lister::Node(_) => true,
            Lister::Engine(lister) => lister.may_pause(),
        }
    }

    /// As [`node::Lister::cursor`].
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        match self {
            Lister::Node(lister) => lister.cursor().map(Cursor::Node),
            Lister::Engine(lister) => Some(Cursor::Engine(lister.cursor())),
        }
    }

    /// As [`node::Lister::give_back`].
    pub(crate) fn give_back(&mut self) {
        match self {
            Lister::Node(lister) => lister.give_back(),
            Lister::Engine(lister) => lister.give_back(),
        }
    }
}
