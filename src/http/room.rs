//! What the request at hand may take of the memory that all connections share.

use super::budget::{Charge, Use};
use super::input::INPUT_BYTES;
use super::line::overloaded;
use super::problem::Problem;

/// What a connection may hold without being counted against the budget of all: a read, and as much of
/// answers to it.
pub(super) const UNCHARGED_BYTES: usize = 2 * INPUT_BYTES;

/// What a connection may take of the budget for the request at hand, beside what it holds anyway.
pub(super) struct Room<'a, 'c> {
    pub(super) charge: &'c mut Charge<'a>,
    pub(super) usage: Use,
    pub(super) held_bytes: usize,
}

impl Room<'_, '_> {
    /// Takes room for `more` bytes, without a wait: what is held meanwhile is the whole request.
    pub(super) fn take(&mut self, more: usize) -> Result<(), Problem> {
        let bytes = self.held_bytes + more;
        match bytes <= UNCHARGED_BYTES || self.charge.raise_to(self.usage, bytes) {
            true => Ok(()),
            false => Err(overloaded()),
        }
    }
}
