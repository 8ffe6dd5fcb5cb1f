//! One connection, on a thread of its own: requests in, answers out, in order.
//!
//! The loop takes every whole request that has come, lets each append its answer to one buffer, waits once
//! for the log, sends the buffer with one write, and reads again. So a request that comes alone costs one
//! read and one write, and a pipeline no more; in between nothing is allocated and no option of the socket
//! is touched. An answer that must be waited for, or is a stream, is made when all before it was sent
//! ([`crate::handlers::stream`]); what comes behind it waits.
//!
//! # What must hold
//! - No answer that acknowledges a write goes out before the log has it.
//! - What has come is bounded by the limits before it is kept, and memory follows what came, never what
//!   was announced.
//! - Who closes says so in the last answer, and stays until the client has had time to read it.
//! - An idle connection keeps its thread and nothing else.

mod answer;
mod io;
mod later;
mod relay;
mod state;

use super::deferred::Slot;
use super::output::Output;
use crate::handlers::connection_handle::ConnectionHandle;
use crate::handlers::consistency;
use crate::handlers::context::{Context, Scratch};
use crate::handlers::stream::TURN_MAX;
use crate::http::problem::{self, Problem};
use crate::net::budget::Use;
use crate::net::input::Input;
use crate::net::linger;
use crate::net::registry::Peer;
use crate::net::tls_handshake::Handshake;
use crate::node::Node;
use crate::observe::Asked;
use io::BUFFERS_KEPT;
use relay::LOOK_AFTER;
use state::{Awaited, Connection, Next, Wait};
use std::sync::Arc;
use std::time::Instant;

/// Serves a connection until it ends. Errors of the socket end it too: there is nobody to tell.
pub(crate) fn serve(context: Context<'_>, peer: &Arc<Peer>) {
    let mut connection = Connection {
        context,
        peer,
        input: Input::default(),
        output: Output::new(context.node().map(Node::policy).unwrap_or_default()),
        scratch: Scratch::default(),
        charge: context.shared.budget.charge(),
        awaited: Awaited::Request,
        started: None,
        slot: Slot::new(Arc::clone(peer), Arc::clone(&context.shared.observer)),
        reads: 0,
        asked: Asked::new(),
        has_deferred: false,
        relaying: None,
        handles_itself: false,
        pending: None,
        wait: None,
        sync: None,
        held_for: None,
    };
    if let Err(error) = connection.run() {
        log::debug!("a connection ended: {error}");
    }
    // Whoever asked for the hold has given up, or is gone.
    if let (Some(other), Some(node)) = (connection.held_for, context.node()) {
        node.end_hold_for(other);
    }
}

/// What a client is sent that speaks plain HTTP where TLS is spoken.
fn not_tls() -> Vec<u8> {
    let why = "this port speaks TLS; name the node with https://";
    Problem::new(problem::NOT_TLS, why).into_last_answer()
}

impl<'a> Connection<'a> {
    fn run(&mut self) -> std::io::Result<()> {
        let limits = &self.context.shared.limits;
        let read_timeout = match self.relays() {
            true => LOOK_AFTER,
            false => BUFFERS_KEPT,
        };
        let read_timeout = read_timeout.min(limits.idle_timeout);
        self.peer.transport.prepare(read_timeout, limits.write_timeout)?;
        if self.handshake()? == Handshake::NotTls {
            self.peer.count(problem::NOT_TLS.status);
            return Ok(());
        }
        if self.peer.transport.is_sent_by_owner() {
            self.peer.set_names(self.peer.transport.client_names());
            if let Some(age) = self.context.shared.tls_only {
                self.output.encoder.set_tls_only(age);
            }
        }
        loop {
            let next = self.answer_all_in_hand()?;
            let is_left = next == Next::Read && (self.relaying.is_some() || self.defer_answer());
            if !is_left {
                self.flush()?;
            }
            let next = match next {
                Next::Read => self.read()?,
                Next::Later => self.answer_later()?,
                Next::Await => self.wait(),
                next => next,
            };
            match next {
                Next::Go | Next::Read | Next::Later | Next::Await => {}
                Next::Close => {
                    self.reclaim_answer();
                    self.flush()?;
                    return self.peer.transport.end();
                }
                Next::Linger => {
                    self.flush()?;
                    self.give_buffers_back();
                    return linger(&self.peer.transport);
                }
            }
        }
    }

    /// Does the handshake of TLS. One that is long is charged as a request is, and gives way to those who wait for room.
    fn handshake(&mut self) -> std::io::Result<Handshake> {
        let shared = self.context.shared;
        let transport = &self.peer.transport;
        let _begun = transport
            .is_sent_by_owner()
            .then(|| shared.handshakes.begin(self.peer));
        let deadline = Instant::now() + shared.limits.header_timeout;
        let charge = &mut self.charge;
        let may_hold = |bytes| charge.raise_to(Use::Request, bytes) && !charge.is_in_the_way();
        let done = transport.handshake(deadline, not_tls, may_hold);
        self.charge.release();
        done
    }

    fn answer_all_in_hand(&mut self) -> std::io::Result<Next> {
        if self.input.is_empty() {
            return Ok(Next::Read);
        }
        self.reclaim_answer();
        let now = Instant::now();
        self.output.encoder.tick(now);
        self.end_relay();
        if !self.handles_itself {
            self.asked.came = now;
        }
        if self.input.is_empty() {
            return Ok(Next::Read);
        }
        loop {
            match self.answer_one() {
                Next::Go if self.input.is_empty() => return Ok(Next::Read),
                Next::Go if self.output.is_full() || !self.may_hold(Use::Answer, 0) => self.flush()?,
                Next::Go => {}
                next => return Ok(next),
            }
        }
    }

    /// Waits until the request can be answered; everything before it was sent.
    fn wait(&mut self) -> Next {
        if let Some(Wait::Room { bytes }) = self.wait {
            // Where there is none in the end, the request is refused.
            ConnectionHandle::new(self.context.shared, self.peer).await_room(
                &mut self.charge,
                bytes,
                TURN_MAX,
            );
        }
        let Some(node) = self.context.node() else {
            return Next::Go;
        };
        match self.wait {
            Some(Wait::Offset(offset)) => {
                let shared = self.context.shared;
                let deadline = Instant::now() + consistency::AWAIT_MAX;
                node.wait_visible(offset, deadline, || !shared.is_stopping());
            }
            Some(Wait::Hold { until }) => node.wait_hold(until),
            Some(Wait::Room { .. }) | None => {}
        }
        Next::Go
    }
}
