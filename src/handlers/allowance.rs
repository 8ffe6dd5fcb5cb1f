//! What the request at hand may take of the memory that all connections share.

use super::connection_handle::overloaded;
use super::stream::TURN_MAX;
use crate::http::problem::Problem;
use crate::net::budget::{Charge, Use};
use crate::net::input::INPUT_BYTES;
use crate::net::registry::Peer;
use std::time::Instant;

/// What a connection may hold without being counted against the budget of all: a read, and as much of
/// answers to it.
pub(crate) const UNCHARGED_BYTES: usize = 2 * INPUT_BYTES;

/// What a connection may take of the budget for the request at hand, beside what it holds anyway.
pub(crate) struct Allowance<'a, 'c> {
    pub(crate) charge: &'c mut Charge<'a>,
    pub(crate) usage: Use,
    pub(crate) held_bytes: usize,
    pub(crate) peer: &'c Peer,
}

impl<'c> Allowance<'_, 'c> {
    /// Says whether the client is still there. A system call, not to be made too often.
    pub(crate) fn is_wanted(&self) -> impl Fn() -> bool + use<'c> {
        let peer = self.peer;
        move || !peer.transport.has_gone()
    }

    /// Takes room for `more` bytes, without a wait: what is held meanwhile is the whole request.
    pub(crate) fn take(&mut self, more: usize) -> Result<(), Problem> {
        let bytes = self.held_bytes + more;
        match bytes <= UNCHARGED_BYTES || self.charge.raise_to(self.usage, bytes) {
            true => Ok(()),
            false => Err(overloaded()),
        }
    }

    /// As [`Allowance::take`], but waits for slow answers to make room, where no other request waits.
    pub(crate) fn take_or_wait(&mut self, more: usize, go_on: impl Fn() -> bool) -> Result<(), Problem> {
        let deadline = Instant::now() + TURN_MAX;
        match self.take(more) {
            Err(_)
                if self.usage == Use::Request
                    && self.charge.wait_alone(self.held_bytes + more, deadline, go_on) =>
            {
                Ok(())
            }
            taken => taken,
        }
    }
}
