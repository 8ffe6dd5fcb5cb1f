//! What a connection reads and sends, and which buffers it keeps meanwhile.

use crate::handlers::connection_handle::overloaded;
use crate::handlers::context::Scratch;
use crate::handlers::stream::TURN_MAX;
use crate::http::problem::{self, Problem};
use crate::http::response::Envelope;
use crate::net::budget::Use;
use crate::net::input::{INPUT_BYTES, Input};
use crate::net::time_for;
use crate::net::transport::Got;
use crate::server::connection::state::{Awaited, Connection, KEPT_BYTES, Next};
use std::io;
use std::time::{Duration, Instant};

/// How long a connection keeps its buffers when no request comes.
pub(crate) const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// How long, once the server stops, a connection whose last answer promised to keep it open waits for the request that
/// its client may have sent already.
const PROMISE_KEPT: Duration = Duration::from_millis(100);

/// How soon before the end a connection must have had that promise.
const PROMISE_RECENT: Duration = Duration::from_secs(2);

/// How much of what it read a connection keeps that had to grow.
const INPUT_KEPT_BYTES: usize = 2 * INPUT_BYTES;

/// What a connection may hold of answers that its client does not take at once, whatever the budget says.
const SLOW_BYTES: usize = 48 * 1024;

impl Connection<'_> {
    /// Leaves the one answer in hand for whoever is writing the log to send, if somebody is.
    pub(crate) fn defer_answer(&mut self) -> bool {
        let is_between_requests = self.input.is_empty() && matches!(self.awaited, Awaited::Request);
        if !is_between_requests || self.peer.transport.is_sent_by_owner() {
            return false;
        }
        // An engine has written what it acknowledges.
        let Some(node) = self.context.node() else {
            return false;
        };
        let Some(answer) = self.output.take_unacknowledged() else {
            return false;
        };
        match self.slot.park(node, answer) {
            None => self.has_deferred = true,
            Some(answer) => self.output.put_back(answer),
        }
        if self.has_deferred {
            self.settle();
        }
        self.has_deferred
    }

    /// Takes back what was left and not sent.
    pub(crate) fn reclaim_answer(&mut self) {
        if std::mem::take(&mut self.has_deferred)
            && let Some(answer) = self.slot.reclaim()
        {
            self.output.put_back(answer);
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.send_all()?;
        self.settle();
        Ok(())
    }

    pub(crate) fn send_all(&mut self) -> io::Result<()> {
        // A client may take its time with the answers, and this is not charged to anybody.
        if self.scratch.body.capacity().max(self.scratch.value.capacity()) > KEPT_BYTES {
            self.scratch = Scratch::default();
        }
        let shared = self.context.shared;
        let sent = self.output.send(
            self.context.node(),
            &self.slot,
            &shared.observer,
            self.peer,
            || !shared.is_stopping(),
        )?;
        if self.output.len() > 0 {
            // The client takes its time: what is not needed for it goes.
            self.charge.turn_to_answer();
            self.scratch = Scratch::default();
            if self.input.is_empty() {
                self.input = Input::default();
            }
            if self.output.len() > SLOW_BYTES && !self.may_hold(Use::Answer, 0) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let time = shared.limits.write_timeout;
            self.output.send_rest(sent, &shared.observer, self.peer, time)?;
        }
        Ok(())
    }

    /// Gives back what answers took that are gone now.
    pub(crate) fn settle(&mut self) {
        // What a request that waits was granted stays its own.
        if matches!(self.awaited, Awaited::Request) && self.pending.is_none() {
            self.charge.release();
        }
        self.output.shrink_to(KEPT_BYTES);
    }

    pub(crate) fn give_buffers_back(&mut self) {
        self.input = Input::default();
        self.output.shrink_to(0);
        self.scratch = Scratch::default();
        self.charge.release();
    }

    pub(crate) fn read(&mut self) -> io::Result<Next> {
        let Some(started) = self.started else {
            return self.read_idle();
        };
        let limits = &self.context.shared.limits;
        let (time, what) = match self.awaited {
            Awaited::Request | Awaited::Head { .. } => (limits.header_timeout, "the header"),
            Awaited::Length { .. } | Awaited::Chunks { .. } => (
                limits.body_timeout + time_for(self.input.unread().len()),
                "the body",
            ),
        };
        if !self.may_hold(Use::Request, 0) && !self.await_room() {
            return Ok(self.refuse(overloaded(), Envelope::default()));
        }
        self.reads += 1;
        self.peer.set_reads(self.reads);
        let got = self.input.read_until(&self.peer.transport, started + time)?;
        self.peer.set_reads(0);
        match got {
            Got::Bytes => Ok(Next::Go),
            Got::End if self.context.shared.is_stopping() => {
                let why = "the node is stopping, and the rest of the request did not come";
                Ok(self.refuse(Problem::new(problem::NOT_READY, why), Envelope::default()))
            }
            Got::End => Ok(Next::Close),
            Got::TimedOut => {
                let detail = format!("{what} did not come within {} s", time.as_secs_f32());
                Ok(self.refuse(Problem::new(problem::TIMEOUT, detail), Envelope::default()))
            }
        }
    }

    /// Waits for slow answers to make room for a body that keeps coming, where no other waits.
    fn await_room(&mut self) -> bool {
        let shared = self.context.shared;
        let transport = &self.peer.transport;
        let bytes = self.input.capacity_for_more() + self.output.len();
        self.charge.wait_alone(bytes, Instant::now() + TURN_MAX, || {
            !shared.is_stopping() && !transport.has_gone()
        })
    }

    /// Waits for the next request; after a while without buffers.
    pub(crate) fn read_idle(&mut self) -> io::Result<Next> {
        let peer = self.peer;
        let transport = &peer.transport;
        self.input.shrink_to(INPUT_KEPT_BYTES);
        self.peer.set_at_work(false);
        let stopping = self.context.shared.is_stopping();
        let mut got = if stopping {
            // What has come is answered; nothing is waited for.
            self.input.read_until(transport, Instant::now())?
        } else {
            self.input.read(transport)?
        };
        if got != Got::Bytes && self.relaying.is_some() {
            self.peer.set_at_work(true);
            return Ok(Next::Go);
        }
        if got == Got::TimedOut && self.has_deferred {
            self.reclaim_answer();
            self.flush()?;
        }
        // A gateway's read times out early, for what it relays.
        if got == Got::TimedOut
            && !stopping
            && self.relays()
            && transport
                .wait_readable(Instant::now() + BUFFERS_KEPT.min(self.context.shared.limits.idle_timeout))?
        {
            got = self.input.read(transport)?;
        }
        if got == Got::TimedOut && !stopping {
            self.give_buffers_back();
            let idle_timeout = self.context.shared.limits.idle_timeout;
            let deadline = Instant::now() + idle_timeout.saturating_sub(BUFFERS_KEPT);
            if transport.wait_readable(deadline)? {
                got = self.input.read(transport)?;
            }
        }
        if got != Got::Bytes && self.context.shared.is_stopping() {
            got = self.read_promised()?;
        }
        self.peer.set_at_work(true);
        match got {
            Got::Bytes => Ok(Next::Go),
            Got::End | Got::TimedOut => Ok(Next::Close),
        }
    }

    /// Once the server stops: reads a request that a client has sent because the answer before did not say that the
    /// connection would close. It may be on its way still.
    pub(crate) fn read_promised(&mut self) -> io::Result<Got> {
        let until = Instant::now() + PROMISE_KEPT;
        let is_recent = self.asked.came.elapsed() < PROMISE_RECENT;
        while is_recent && Instant::now() < until {
            // Its end was made by this node, to wake this thread: more may come behind it.
            if self.input.read_until(&self.peer.transport, Instant::now())? == Got::Bytes {
                return Ok(Got::Bytes);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Got::End)
    }
}
