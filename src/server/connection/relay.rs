//! Requests that a gateway relays: the thread that reads the engine's answer sends it on to the client.
//!
//! While other requests are being sent to the engine's server, this one goes out behind them, and the connection's
//! thread reads the next request rather than wait for the answer ([`crate::engine`], `relay`).
//!
//! # What must hold
//! - A request is relayed if it is alone: all before it was answered, and nothing has come behind it.
//! - It stays in the input until it is answered. So where the engine says something out of the ordinary, the
//!   connection's thread handles it once more, from its bytes, and waits.
//! - Before it handles another request, or ends, the connection's thread learns what has become of the one that is
//!   relayed. It looks after [`LOOK_AFTER`] at the latest, since nothing wakes it.
//! - Under TLS nothing is relayed, as nobody else can send.

use super::state::{Awaited, Connection, Next, Relaying};
use crate::engine::{Engine, Relay, Relayed};
use crate::handlers::admit::Admitted;
use crate::handlers::consistency::Asked;
use crate::handlers::relay;
use crate::http::request::{Framing, Head};
use crate::http::response::{Envelope, Reply};
use crate::observe::Marks;
use std::sync::Arc;
use std::time::Duration;

/// How long a read waits for the next request before the connection's thread sees to the one that is relayed. A client
/// waits so much longer for an answer that is not the plain one.
pub(crate) const LOOK_AFTER: Duration = Duration::from_millis(5);

impl Connection<'_> {
    /// Whether requests of this connection may be relayed at all.
    pub(crate) fn relays(&self) -> bool {
        matches!(self.context.engine, Engine::Redis(_)) && !self.peer.transport.is_sent_by_owner()
    }

    /// Begins a request that ends after `end` bytes, where it can be relayed now.
    pub(crate) fn begin_relay(
        &self,
        head: &Head<'_>,
        admitted: &Admitted<'_>,
        body: &[u8],
        asked: &Asked,
        (envelope, end): (Envelope, usize),
    ) -> Option<Relay> {
        let is_alone = self.output.len() == 0 && self.input.unread().len() == end;
        // Chunks are decoded where they are, and could not be read once more.
        let is_plain = !envelope.close && !envelope.is_http10 && !matches!(head.framing, Framing::Chunked);
        if self.handles_itself || self.wait.is_some() || !is_alone || !is_plain || !self.relays() {
            return None;
        }
        relay::begin(&self.context, head, admitted, body, asked, || {
            let slot = Arc::clone(&self.slot);
            let mut marks = Marks::default();
            marks.push(&self.asked, 0, 0);
            move |reply: &Reply, body: &[u8]| slot.send_relayed(reply, body, envelope, marks)
        })
    }

    /// Notes that the request in hand is relayed.
    pub(crate) fn set_relaying(&mut self, relay: Relay, envelope: Envelope, end: usize) -> Next {
        self.relaying = Some(Relaying { relay, end, envelope });
        self.awaited = Awaited::Request;
        self.started = None;
        Next::Read
    }

    /// Waits until it is known what has become of the request that is relayed. Where nobody has answered it, this thread
    /// answers it, or handles it next.
    pub(crate) fn end_relay(&mut self) {
        let (Some(relaying), Engine::Redis(gateway)) = (self.relaying.take(), self.context.engine) else {
            return;
        };
        match gateway.end_relay(&relaying.relay) {
            Relayed::SentOn => {
                self.asked.clear();
                if let Some(rest) = self.slot.reclaim() {
                    self.output.put_back(rest);
                }
            }
            Relayed::Failed(error) => {
                self.scratch.body.clear();
                let reply = relay::refusal(error).into_reply(&mut self.scratch.body);
                self.push(relaying.envelope, reply);
            }
            Relayed::Again => {
                self.handles_itself = true;
                return;
            }
        }
        self.consume(relaying.end);
    }
}
