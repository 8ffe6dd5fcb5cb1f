//! Whether a write may be answered: the log holds it, and the node is the one that may say so.

use super::Node;
use crate::wal::{OnDurable, Refusal, Rescue};
use std::sync::Arc;
use std::time::Instant;

impl Node {
    /// Returns when the log holds everything up to `offset` as durably as the policy asks.
    ///
    /// An error means that the outcome is not known: the writes are in the store, and may or may not be
    /// there after a restart, or at the next primary.
    pub fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.log.wait(offset)?;
        self.check_lease()
    }

    /// As [`Node::wait`], for a client that waits since then. Where this thread writes the log and the disk does not
    /// answer in time, `rescue` is called by another thread.
    pub(crate) fn wait_since(
        &self,
        offset: u64,
        since: Instant,
        rescue: Arc<dyn Rescue>,
    ) -> Result<(), Refusal> {
        self.log.wait_since(offset, since, rescue)?;
        self.check_lease()
    }

    /// As [`Node::wait`], but this thread never writes the log itself: so it does not wait longer than the time limit.
    pub(crate) fn wait_led(&self, offset: u64) -> Result<(), Refusal> {
        self.log.wait_led(offset)?;
        self.check_lease()
    }

    /// Whether it is worth a try to [`Node::defer`].
    pub(crate) fn may_defer(&self, offset: u64) -> bool {
        self.log.may_defer(offset)
    }

    /// As [`Node::wait`] without the wait: leaves `then` to whoever brings the log that far. `false`, and
    /// nothing left, where nobody is at it and this thread has to wait. `then` must not block.
    pub(crate) fn defer(&self, offset: u64, then: OnDurable) -> bool {
        let then = self.before_lease_ends(then);
        self.log.defer(offset, then)
    }

    /// Whether a write that the log holds may be answered: not by a primary whose lease is over.
    pub(crate) fn check_lease(&self) -> Result<(), Refusal> {
        match self.fence().is_over() {
            true => Err(Refusal::LeaseOverSince),
            false => Ok(()),
        }
    }

    /// The same for what another thread does once the log is far enough.
    fn before_lease_ends(&self, then: OnDurable) -> OnDurable {
        if !self.is_elected() {
            return then;
        }
        let fence = self.fence().clone();
        Box::new(move |outcome| {
            then(match fence.is_over() {
                true => outcome.and(Err(Refusal::LeaseOverSince)),
                false => outcome,
            });
        })
    }
}
