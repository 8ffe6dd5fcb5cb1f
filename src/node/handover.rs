//! The primary's side of a handover: it holds its writers, steps down for the replica that takes over, and takes its
//! role back where that can do so no more. The other side, and the reasons, are in `replication/handover.rs`.
//!
//! # What must hold
//! - A primary steps down only while it holds its writers for the process that asks.
//! - It takes its role back in the term that it stepped down in, never in a higher one: a node that took over meanwhile
//!   wins.

use super::cluster::waits_for;
use super::hold::{Hold, INQUIRY_TIME_MAX};
use super::{Node, PromoteError};
use crate::wal::{HandedTo, Role};
use std::time::{Duration, Instant};

impl Node {
    /// Holds writers, and waits until the log is written up to where they came: the offset that a replica must
    /// have to take over without a loss.
    pub(crate) fn hand_over(&self, to: u64, address: &str, time: Duration) -> Result<u64, PromoteError> {
        if self.has_stepped_down_for(to) {
            // That it stepped down for another promotion of that process is as good.
            return Ok(self.log.appended());
        }
        self.check_successors(address)?;
        self.hold_writers(Hold::Handover(to), time)
            .map_err(|why| PromoteError::NoHandover(why.to_owned()))?;
        let offset = self.log.appended();
        match self.log.wait(offset) {
            Ok(()) => Ok(offset),
            Err(refusal) => {
                self.release_writers();
                Err(PromoteError::NoHandover(refusal.to_string()))
            }
        }
    }

    /// A role that was handed over is handed on only once a successor has spoken to this node: one that did not may have
    /// taken over in the number of this node's term, and that of the next one would win over it.
    fn check_successors(&self, to: &str) -> Result<(), PromoteError> {
        let successors = self.successors();
        let is_heard = successors
            .iter()
            .any(|(address, is_connected)| *is_connected || address == to);
        match successors.first() {
            Some((address, _)) if self.term().is_handed_over() && !is_heard => {
                Err(PromoteError::NoHandover(format!(
                    "{address} takes over by itself, and is not heard, and the role was handed over before: it may be \
                     primary; `pykv forget {address}` where it is gone"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Ends the hold of writers for a node; nothing is done where there is none for it.
    pub(crate) fn end_hold_for(&self, to: u64) {
        if self.cluster.hold_reason() == Some(Hold::Handover(to)) {
            self.release_writers();
        }
    }

    /// A node does not take over after all: the hold for it ends, or this node, which stepped down for it, takes the
    /// role back and asks the others before it takes writes.
    pub(crate) fn end_handover(&self, to: u64, attempt: u64) {
        self.end_hold_for(to);
        self.resume_if(|handed_to| handed_to.process == to && handed_to.attempt == attempt);
    }

    /// A replica of this log has spoken, whose term is no higher than this node's, and which has given up all its
    /// promotions up to `given_up`. Where this node stepped down for one of these, or for a former process at that
    /// address, nobody begins a term by that any more: this node takes the role back.
    pub(crate) fn hear_replica(&self, process: u64, address: &str, given_up: u64) {
        if self.cluster.handed_to().is_some() {
            self.resume_if(|to| to.address == address && (to.process != process || to.attempt <= given_up));
        }
    }

    fn resume_if(&self, is_over: impl FnOnce(&HandedTo) -> bool) {
        let _change = self.role_change();
        let handed_to = self.handed_to().filter(|_| self.role() == Role::Replica);
        if let Some(to) = handed_to.filter(is_over) {
            self.resume(&to);
        }
    }

    /// Whom this node stepped down for, in the term that its log is still in.
    fn handed_to(&self) -> Option<HandedTo> {
        let term = self.term().bits();
        self.cluster.handed_to().filter(|to| to.term == term)
    }

    /// The followers that take over by themselves: of the primary, or of the one that has just stepped down.
    pub(crate) fn successors_of_handover(&self) -> Vec<String> {
        match self.handed_to() {
            Some(to) => to.successors,
            None => self.followers.successors(),
        }
    }

    /// Whether this node has stepped down for a process, and heard of no higher term since.
    pub(crate) fn has_stepped_down_for(&self, process: u64) -> bool {
        self.role() == Role::Replica && self.handed_to().is_some_and(|to| to.process == process)
    }

    /// Why this node knows of no primary that could hand over to it.
    pub(crate) fn no_primary(&self) -> String {
        match self.handed_to() {
            Some(to) => waits_for(&to),
            None => "this node knows of no primary".to_owned(),
        }
    }

    /// Steps down for the node that writers are held for: from here on nothing is written that it does not have,
    /// however late it begins its term. An error where they are not held for it any more.
    pub(crate) fn step_down_for(&self, to: u64, attempt: u64, address: &str) -> Result<(), PromoteError> {
        let _change = self.role_change();
        if self.has_stepped_down_for(to) {
            // For another promotion than before: that it gave up the one before says nothing of this one.
            let handed_to = self.handed_to().map(|before| HandedTo { attempt, ..before });
            self.cluster.set_handed_to(handed_to);
            self.remember(Role::Replica);
            return Ok(());
        }
        // A hold that is over ends under the same lock, before the next writer is taken.
        if self.role() != Role::Primary || self.cluster.hold_reason() != Some(Hold::Handover(to)) {
            let why = "it does not hold its writers any more";
            return Err(PromoteError::NoHandover(why.to_owned()));
        }
        log::info!("this node steps down for {address}, which takes over");
        self.cluster.add_peer(address);
        let handed_to = HandedTo {
            address: address.to_owned(),
            process: to,
            attempt,
            term: self.term().bits(),
            successors: self.followers.successors(),
        };
        self.become_replica(None, Some(handed_to));
        Ok(())
    }

    /// Takes the role of the primary back in the node's own term, for a node that stepped down for `to`: no process
    /// can begin the next term for that any more. The caller holds the lock of a role change. Writers are held while
    /// the others are asked for a higher term.
    fn resume(&self, to: &HandedTo) {
        let held = Some((Hold::Inquiry, Instant::now() + INQUIRY_TIME_MAX));
        let resumed = self.become_primary(held, to.successors.clone(), |step, known| step.resume_term(known));
        match resumed {
            Ok(_) => {
                log::warn!("{} did not take over: this node is primary again", to.address);
                self.cluster.call_prober();
            }
            // It is tried again at the next handshake.
            Err(error) => {
                let why = format!(
                    "this node stepped down for {}, and cannot be primary again yet: {error}",
                    to.address
                );
                log::debug!("{why}");
                self.cluster.set_error(Some(why));
            }
        }
    }
}
