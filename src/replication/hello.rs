//! What nodes tell each other of themselves, and what follows from it.

use crate::api::Hello;
use crate::log::{Role, Term};
use crate::node::Node;

/// What this node says of itself.
pub fn hello(node: &Node) -> Hello {
    Hello {
        id: node.log_id().to_string(),
        term: node.term().bits().to_string(),
        role: node.role().name().to_owned(),
        address: node.cluster().address().to_owned(),
        primary: node.primary(),
        offset: node.written(),
        check: 0,
    }
    .sealed()
}

/// Another node, as far as it matters to this one.
#[derive(Clone, Debug)]
pub(super) struct Met {
    /// Whether its log is another one than this node's.
    pub(super) is_other: bool,
    pub(super) term: Term,
    pub(super) is_primary: bool,
    pub(super) address: String,
    pub(super) primary: Option<String>,
    pub(super) offset: u64,
}

impl Met {
    /// Where writes are to go, as `host:port`, as far as it knows.
    pub(super) fn primary(&self) -> Option<&String> {
        match self.is_primary {
            true => Some(&self.address),
            false => self.primary.as_ref(),
        }
    }
}

/// Hears what another node says of itself. The higher term wins: a primary of a lower one steps down, and a
/// replica goes over to a primary of a higher one.
///
/// An error says what is wrong with it.
pub fn meet(node: &Node, hello: &Hello) -> Result<(), &'static str> {
    met(node, hello).map(drop)
}

pub(super) fn met(node: &Node, hello: &Hello) -> Result<Met, &'static str> {
    if !hello.is_sound() {
        return Err("its checksum does not match");
    }
    let term: u64 = hello.term.parse().map_err(|_| "its term is no number")?;
    let met = Met {
        is_other: hello.id != node.log_id().to_string(),
        term: Term::from_bits(term),
        is_primary: hello.role == Role::Primary.name(),
        address: hello.address.clone(),
        primary: hello.primary.clone(),
        offset: hello.offset,
    };
    // The terms of another store mean nothing here.
    if met.is_other || met.term <= node.term() {
        return Ok(met);
    }
    node.cluster().note_term(met.term);
    // Where it is not the primary itself, nor knows of one, the way to that leads over it.
    if met.is_primary || node.role() == Role::Primary {
        let own = node.cluster().address();
        let primary = met.primary().filter(|primary| *primary != own);
        node.step_down(Some((primary.unwrap_or(&met.address), met.term)));
    }
    Ok(met)
}
