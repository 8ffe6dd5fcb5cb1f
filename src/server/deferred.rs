//! Answers that another thread sends: deferred ones, and those that are given up.
//!
//! While another thread writes the log, a connection's thread would sleep until it may write in turn, wake,
//! send its answer, and sleep again until the next request: two changes of threads a request, which cost
//! more than the request does. So if the log is being written and there is one answer to send, the thread
//! defers it and reads the next request. The thread that brings the log far enough sends the answer.
//!
//! # What must hold
//! - One thread sends an answer: the one that takes it out of the slot, under the slot's lock.
//! - Before a connection makes another answer, or ends, or has waited for a second, it takes back an answer that is
//!   still deferred, and waits for the log itself. So answers keep their order, and the bound on the wait for
//!   the log holds.
//! - Sending never blocks: what the socket does not take stays for the connection's thread.
//!
//! Where a gateway relays a request, the thread that reads the engine's answer sends it on
//! ([`crate::server::connection`], `relay`).
//!
//! # Where the disk does not answer
//! A connection's thread that writes the log itself is in the kernel until the disk answers. Before it waits for the log
//! it lends its answers to the slot. Once the time limit is over, the log's thread `watchdog` takes them, and tells the
//! client that the outcome is not known. The connection ends then, as its thread cannot serve it.

use super::in_hand::{DeferredResponse, InHand};
use crate::http::problem::Problem;
use crate::http::response::{Encoder, Envelope, Reply};
use crate::net::registry::Peer;
use crate::node::Node;
use crate::observe::{Marks, Observer, Spent};
use crate::wal::{Refusal, Rescue};
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Where a connection keeps answers that another thread may send.
pub(crate) struct Slot {
    peer: Arc<Peer>,
    observer: Arc<Observer>,
    left: Mutex<Option<DeferredResponse>>,
    /// The answers of a thread that waits for the log.
    lent: Mutex<Option<InHand>>,
    /// Of answers that a gateway relays.
    encoder: Mutex<Encoder>,
}

impl Slot {
    pub(crate) fn new(peer: Arc<Peer>, observer: Arc<Observer>) -> Arc<Slot> {
        Arc::new(Slot {
            peer,
            observer,
            left: Mutex::new(None),
            lent: Mutex::new(None),
            encoder: Mutex::new(Encoder::new("")),
        })
    }

    /// Defers an answer until the log has its write; gives it back if this thread has to wait for the log.
    pub(crate) fn park(self: &Arc<Slot>, node: &Node, answer: DeferredResponse) -> Option<DeferredResponse> {
        let Some(offset) = answer.offset else {
            return Some(answer);
        };
        if !node.may_defer(offset) {
            return Some(answer);
        }
        let begun = answer.waits_since;
        *self.lock() = Some(answer);
        let slot = Arc::clone(self);
        let is_left = node.defer(offset, Box::new(move |outcome| slot.send(offset, begun, outcome)));
        if is_left { None } else { self.reclaim() }
    }

    /// Takes the answer back if it was not sent.
    pub(crate) fn reclaim(&self) -> Option<DeferredResponse> {
        self.lock().take()
    }

    /// Sends the answer to the write at `offset`, if it is still here.
    fn send(&self, offset: u64, begun: Instant, outcome: Result<(), Refusal>) {
        let mut left = self.lock();
        let Some(answer) = left.take_if(|answer| answer.offset == Some(offset)) else {
            return;
        };
        let mut answer = DeferredResponse {
            offset: None,
            ..answer
        };
        if let Err(refusal) = outcome {
            let problem = Problem::of_refusal(&refusal);
            answer.marks.set_status(0, problem.kind.status);
            answer.bytes = unknown(problem, answer.envelope);
        }
        let sent = self.peer.transport.write_now(&answer.bytes).unwrap_or(0);
        if sent < answer.bytes.len() {
            answer.bytes.drain(..sent);
            *left = Some(answer);
            return;
        }
        let spent = Spent {
            log: begun.elapsed(),
            ..Spent::default()
        };
        answer.marks.settle(&self.observer, &self.peer, spent);
    }

    /// Sends the answer to a request that is relayed. What the socket does not take stays for the connection's thread.
    pub(super) fn send_relayed(&self, reply: &Reply, body: &[u8], envelope: Envelope, mut marks: Marks) {
        let mut bytes = Vec::new();
        {
            let mut encoder = self.encoder.lock().expect("nothing under a slot's lock panics");
            encoder.tick(Instant::now());
            encoder.encode(&mut bytes, envelope, reply, body);
        }
        self.peer.count(reply.status.0);
        marks.set_status(0, reply.status.0);
        marks.set_bytes(0, bytes.len());
        let sent = self.peer.transport.write_now(&bytes).unwrap_or(0);
        if sent == bytes.len() {
            marks.settle(&self.observer, &self.peer, Spent::default());
            return;
        }
        bytes.drain(..sent);
        *self.lock() = Some(DeferredResponse {
            bytes,
            offset: None,
            envelope,
            marks,
            waits_since: Instant::now(),
        });
    }

    /// Lends the answers of this thread to whoever gives them up, while it waits for the log.
    pub(super) fn lend(&self, in_hand: &mut InHand) {
        *self.lent() = Some(std::mem::take(in_hand));
    }

    /// Takes them back. An error where they were given up.
    pub(super) fn take_back(&self, in_hand: &mut InHand) -> io::Result<()> {
        match self.lent().take() {
            Some(lent) => *in_hand = lent,
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the disk did not answer in time",
                ));
            }
        }
        Ok(())
    }

    fn lent(&self) -> MutexGuard<'_, Option<InHand>> {
        self.lent.lock().expect("nothing under a slot's lock panics")
    }

    fn lock(&self) -> MutexGuard<'_, Option<DeferredResponse>> {
        self.left.lock().expect("nothing under a slot's lock panics")
    }
}

impl Rescue for Slot {
    /// Tells the client that the outcome of its writes is not known, and ends the connection.
    fn rescue(&self, refusal: &Refusal) {
        let mut lent = self.lent();
        let Some(mut in_hand) = lent.take() else {
            return;
        };
        let mut encoder = Encoder::new("");
        encoder.tick(Instant::now());
        in_hand.revoke_all(&encoder, refusal);
        // What the client does not take at once is lost with the connection.
        let _ = self.peer.transport.write_now(&in_hand.bytes);
        let _ = self.peer.transport.shutdown(Shutdown::Write);
        let spent = Spent {
            log: in_hand
                .waits_since
                .map_or_else(Default::default, |since| since.elapsed()),
            ..Spent::default()
        };
        in_hand.marks.settle(&self.observer, &self.peer, spent);
    }
}

/// The answer to a write whose outcome is not known.
fn unknown(problem: Problem, envelope: Envelope) -> Vec<u8> {
    let mut body = Vec::new();
    let mut answer = Vec::new();
    let reply = problem.into_reply(&mut body);
    let mut encoder = Encoder::new("");
    encoder.tick(Instant::now());
    encoder.encode(&mut answer, envelope, &reply, &body);
    answer
}
