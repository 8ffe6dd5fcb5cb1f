//! One connection, on a thread of its own: requests in, answers out, in order.
//!
//! The loop takes every whole request that has come, lets each append its answer to one buffer, waits once
//! for the log, sends the buffer with one write, and reads again. So a request that comes alone costs one
//! read and one write, and a pipeline no more; in between nothing is allocated and no option of the socket
//! is touched. An answer that must be waited for, or is a stream, is made when all before it was sent
//! ([`super::stream`]); what comes behind it waits.
//!
//! # What must hold
//! - No answer that acknowledges a write goes out before the log has it.
//! - What has come is bounded by the limits before it is kept, and memory follows what came, never what
//!   was announced.
//! - Who closes says so in the last answer, and stays until the client has had time to read it.
//! - An idle connection keeps its thread and nothing else.

mod later;
mod linger;
mod state;

use super::admit;
use super::chunked::{Chunked, ChunkedError};
use super::cluster::{self, NotYet};
use super::context::{Context, Scratch};
use super::handlers::{self, handle};
use super::input::{Got, INPUT_BYTES, Input, wait_readable};
use super::left::Slot;
use super::limits::time_for;
use super::line::overloaded;
use super::media::Sent;
use super::observe::Asked;
use super::output::Output;
use super::problem::{self, Problem};
use super::registry::Peer;
use super::request::{Framing, Head};
use super::response::{Envelope, Reply};
use super::room::Room;
use super::route::Route;
use super::stream::Answer;
use linger::linger;
use state::{Awaited, Connection, KEPT_BYTES, Next, Pending, Wait};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::Method;

/// How long, once the server stops, a connection that was just told that it stays open waits for the request that
/// its client may have sent already.
const PROMISE_KEPT: Duration = Duration::from_millis(100);

/// How soon before the end a connection must have been told so.
const PROMISE_RECENT: Duration = Duration::from_secs(2);

/// How long a connection keeps its buffers when no request comes.
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// How much of what it read a connection keeps that had to grow.
const INPUT_KEPT_BYTES: usize = 2 * INPUT_BYTES;

/// Answers up to this size are made whatever the budget says; they go out at once where it is used up.
const SMALL_BYTES: usize = 16 * 1024;

/// Serves a connection until it ends. Errors of the socket end it too: there is nobody to tell.
pub(super) fn serve(context: Context<'_>, peer: &Arc<Peer>) {
    let mut connection = Connection {
        context,
        peer,
        input: Input::default(),
        output: Output::new(context.node.policy()),
        scratch: Scratch::default(),
        charge: context.shared.budget.charge(),
        awaited: Awaited::Request,
        started: None,
        slot: Slot::new(Arc::clone(peer), Arc::clone(&context.shared.observer)),
        reads: 0,
        asked: Asked::new(),
        has_left: false,
        pending: None,
        wait: None,
        sync: None,
    };
    if let Err(error) = connection.run() {
        log::debug!("a connection ended: {error}");
    }
}

impl<'a> Connection<'a> {
    fn run(&mut self) -> io::Result<()> {
        let limits = &self.context.shared.limits;
        let stream = &self.peer.stream;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(limits.write_timeout))?;
        stream.set_read_timeout(Some(BUFFERS_KEPT.min(limits.idle_timeout)))?;
        loop {
            let next = self.answer_all_in_hand()?;
            if next != Next::Read || !self.leave_answer() {
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
                    self.take_answer_back();
                    return self.flush();
                }
                Next::Linger => {
                    self.flush()?;
                    self.give_buffers_back();
                    return linger(&self.peer.stream);
                }
            }
        }
    }

    fn answer_all_in_hand(&mut self) -> io::Result<Next> {
        if self.input.is_empty() {
            return Ok(Next::Read);
        }
        self.take_answer_back();
        self.asked.came = Instant::now();
        self.output.encoder.tick(self.asked.came);
        loop {
            match self.answer_one() {
                Next::Go if self.input.is_empty() => return Ok(Next::Read),
                Next::Go if self.output.is_full() || !self.may_hold(0) => self.flush()?,
                Next::Go => {}
                next => return Ok(next),
            }
        }
    }

    /// Answers the request that the input begins with, if it is whole.
    fn answer_one(&mut self) -> Next {
        // What was awaited may have come; if not, there is no need to parse anything again.
        let body_length = match &mut self.awaited {
            Awaited::Request => None,
            Awaited::Head { seen } => {
                if !may_end_head(self.input.unread(), *seen) {
                    return Next::Read;
                }
                None
            }
            Awaited::Length { end } => {
                if self.input.unread().len() < *end {
                    return Next::Read;
                }
                None
            }
            Awaited::Chunks {
                head_bytes,
                body_bytes_max,
                chunked,
            } => match chunked.advance(self.input.buffer(), *head_bytes, *body_bytes_max) {
                Ok(true) => Some(chunked.decoded_bytes()),
                Ok(false) => return Next::Read,
                Err(ChunkedError::TooLarge) => {
                    let problem = admit::body_too_large(*body_bytes_max);
                    return self.refuse(problem, false, false);
                }
                Err(ChunkedError::Malformed(why)) => {
                    return self.refuse(Problem::new(problem::MALFORMED, why), false, false);
                }
            },
        };
        let head = match Head::parse(self.input.unread(), &self.context.shared.limits) {
            Ok(Some(head)) => head,
            Ok(None) => {
                let seen = self.input.unread().len();
                self.await_more(Awaited::Head { seen });
                return Next::Read;
            }
            Err(problem) => return self.refuse(problem, false, false),
        };
        let body_length = match (head.framing, body_length) {
            (Framing::None, _) => Some(0),
            (Framing::Length(length), _) => usize::try_from(length).ok(),
            (Framing::Chunked, length) => length,
        };
        let head_bytes = head.bytes;
        let end = body_length.and_then(|length| head_bytes.checked_add(length));
        let body = end.and_then(|end| self.input.unread().get(head_bytes..end));
        let envelope = Envelope {
            is_head: head.method == Method::Head,
            is_http10: head.is_http10,
            close: !head.keep_alive || self.context.shared.is_stopping(),
        };
        let wants_line = self.context.shared.observer.wants_lines();
        let admitted = match admit::admit(&self.context, &head) {
            Ok(admitted) => {
                self.asked.note(&head, admitted.route.template(), wants_line);
                admitted
            }
            // A body that is here already can be read over; one that is to come is not waited for.
            Err(problem) => {
                self.asked.note(&head, Route::template_of(head.path), wants_line);
                let Some((_, end)) = body.zip(end) else {
                    return self.refuse(problem, envelope.is_head, envelope.is_http10);
                };
                self.scratch.body.clear();
                let reply = problem.into_reply(&mut self.scratch.body);
                return self.answer(envelope, &reply, end);
            }
        };
        let Some((body, end)) = body.zip(end) else {
            let asks_first = head.expects_continue && self.input.unread().len() == head_bytes;
            if asks_first && let Err(problem) = handlers::foresee(self.context, &head, &admitted.route) {
                return self.refuse(problem, envelope.is_head, envelope.is_http10);
            }
            let body_bytes_max = admitted.body_bytes_max;
            let awaited = match end {
                Some(end) => Awaited::Length { end },
                None => Awaited::Chunks {
                    head_bytes,
                    body_bytes_max,
                    chunked: Chunked::new(),
                },
            };
            let is_chunked = end.is_none();
            if asks_first {
                self.output.push_continue();
            }
            self.await_more(awaited);
            // Chunks may be here already.
            return if is_chunked { self.answer_one() } else { Next::Read };
        };
        let asked = match cluster::ask(&self.context, &head, &admitted.route) {
            Ok(asked) => asked,
            Err(NotYet::Refused(problem)) => {
                self.scratch.body.clear();
                let reply = problem.into_reply(&mut self.scratch.body);
                return self.answer(envelope, &reply, end);
            }
            Err(not_yet @ (NotYet::Behind(_) | NotYet::Held)) => {
                let wait = match not_yet {
                    NotYet::Behind(offset) => Wait::Offset(offset),
                    _ => Wait::Hold,
                };
                if self.wait != Some(wait) {
                    self.wait = Some(wait);
                    return Next::Await;
                }
                self.wait = None;
                let problem = match wait {
                    Wait::Offset(offset) => cluster::behind(&self.context, offset),
                    Wait::Hold => Problem::held(),
                };
                self.scratch.body.clear();
                let reply = problem.into_reply(&mut self.scratch.body);
                return self.answer(envelope, &reply, end);
            }
        };
        self.wait = None;
        self.sync = asked.sync;
        self.scratch.body.clear();
        let mut room = Room {
            held_bytes: self.input.capacity_for_more() + self.output.len(),
            charge: &mut self.charge,
        };
        // What its escapes stand for, and the pair that is made of it.
        if admitted.sent == Some(Sent::Json) && room.take(2 * body.len()).is_err() {
            let reply = overloaded().into_reply(&mut self.scratch.body);
            return self.answer(envelope, &reply, end);
        }
        let reply = match handle(self.context, &head, admitted, body, &mut self.scratch, &mut room) {
            Ok(Answer::Now(reply)) if asked.seen.is_some() => reply.seen(asked.seen),
            // Whatever it shows lies before this offset.
            Ok(Answer::Now(reply)) if asked.is_sync_read => reply.offset(self.context.node.visible()),
            Ok(Answer::Now(reply)) => reply,
            Ok(Answer::Later(later)) => {
                self.pending = Some(Pending {
                    later,
                    envelope,
                    seen: asked.seen,
                    is_sync_read: asked.is_sync_read,
                });
                self.consume(end);
                return Next::Later;
            }
            Err(problem) => {
                let reply = problem.into_reply(&mut self.scratch.body);
                match asked.is_sync_read {
                    true => reply.offset(self.context.node.visible()),
                    false => reply.seen(asked.seen),
                }
            }
        };
        self.answer(envelope, &reply, end)
    }

    /// Appends the answer to a request that ends after `end` bytes.
    fn answer(&mut self, envelope: Envelope, reply: &Reply, end: usize) -> Next {
        let body_bytes = self.scratch.body.len();
        if body_bytes <= SMALL_BYTES || self.may_hold(body_bytes) {
            self.push(envelope, reply);
        } else {
            let reply = overloaded().into_reply(&mut self.scratch.body);
            self.push(envelope, &reply);
        }
        self.consume(end);
        self.after(envelope)
    }

    /// Moves past a request that ends after `end` bytes.
    fn consume(&mut self, end: usize) {
        self.input.consume(end);
        self.awaited = Awaited::Request;
        self.started = None;
    }

    /// What comes after a whole answer.
    fn after(&self, envelope: Envelope) -> Next {
        match (envelope.close, self.input.is_empty()) {
            (false, _) => Next::Go,
            (true, true) => Next::Close,
            (true, false) => Next::Linger,
        }
    }

    /// Answers a request that is not read to its end, after which nothing can be read.
    fn refuse(&mut self, problem: Problem, is_head: bool, is_http10: bool) -> Next {
        let reply = problem.into_reply(&mut self.scratch.body);
        let envelope = Envelope {
            is_head,
            is_http10,
            close: true,
        };
        self.asked.came = Instant::now();
        self.output.encoder.tick(self.asked.came);
        self.push(envelope, &reply);
        Next::Linger
    }

    fn push(&mut self, envelope: Envelope, reply: &Reply) {
        self.peer.count(reply.status.0);
        let sync = self.sync.take();
        self.output
            .push(&self.asked, envelope, reply, &self.scratch.body, sync);
        self.asked.clear();
    }

    /// Waits until the node shows what the request wants to see; everything before it was sent.
    fn wait(&mut self) -> Next {
        let node = self.context.node;
        match self.wait {
            Some(Wait::Offset(offset)) => {
                let shared = self.context.shared;
                let deadline = Instant::now() + cluster::AWAIT_MAX;
                node.wait_visible(offset, deadline, || !shared.is_stopping());
            }
            Some(Wait::Hold) => node.wait_hold(),
            None => {}
        }
        Next::Go
    }

    /// Whether the budget of all connections has room for what this one holds, and `more`.
    fn may_hold(&mut self, more: usize) -> bool {
        let mut room = Room {
            held_bytes: self.input.capacity_for_more() + self.output.len(),
            charge: &mut self.charge,
        };
        room.take(more).is_ok()
    }

    /// Notes what must come, and starts its clock where it is something else than before.
    fn await_more(&mut self, awaited: Awaited) {
        if std::mem::discriminant(&awaited) != std::mem::discriminant(&self.awaited) {
            self.started = Some(Instant::now());
        }
        self.awaited = awaited;
    }

    /// Leaves the one answer in hand for whoever is writing the log to send, if somebody is.
    fn leave_answer(&mut self) -> bool {
        let is_between_requests = self.input.is_empty() && matches!(self.awaited, Awaited::Request);
        if !is_between_requests {
            return false;
        }
        let Some(answer) = self.output.take_unacknowledged() else {
            return false;
        };
        match self.slot.leave(self.context.node, answer) {
            None => self.has_left = true,
            Some(answer) => self.output.put_back(answer),
        }
        if self.has_left {
            self.settle();
        }
        self.has_left
    }

    /// Takes back what was left and not sent.
    fn take_answer_back(&mut self) {
        if std::mem::take(&mut self.has_left)
            && let Some(answer) = self.slot.take_back()
        {
            self.output.put_back(answer);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_all()?;
        self.settle();
        Ok(())
    }

    fn send_all(&mut self) -> io::Result<()> {
        // A client may take its time with the answers, and this is not charged to anybody.
        if self.scratch.body.capacity().max(self.scratch.value.capacity()) > KEPT_BYTES {
            self.scratch = Scratch::default();
        }
        let shared = self.context.shared;
        let sent = self
            .output
            .send(self.context.node, &shared.observer, self.peer, || {
                !shared.is_stopping()
            })?;
        if self.output.len() > 0 {
            // The client takes its time: what is not needed for it goes.
            self.scratch = Scratch::default();
            if self.input.is_empty() {
                self.input = Input::default();
            }
            let time = shared.limits.write_timeout;
            self.output.send_rest(sent, &shared.observer, self.peer, time)?;
        }
        Ok(())
    }

    /// Gives back what answers took that are gone now.
    fn settle(&mut self) {
        // What a request that waits was granted stays its own.
        if matches!(self.awaited, Awaited::Request) && self.pending.is_none() {
            self.charge.release();
        }
        self.output.shrink_to(KEPT_BYTES);
    }

    fn give_buffers_back(&mut self) {
        self.input = Input::default();
        self.output.shrink_to(0);
        self.scratch = Scratch::default();
        self.charge.release();
    }

    fn read(&mut self) -> io::Result<Next> {
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
        if !self.may_hold(0) {
            return Ok(self.refuse(overloaded(), false, false));
        }
        self.reads += 1;
        self.peer.set_reads(self.reads);
        let got = self.input.read_until(&self.peer.stream, started + time)?;
        self.peer.set_reads(0);
        match got {
            Got::Bytes => Ok(Next::Go),
            Got::End if self.context.shared.is_stopping() => {
                let why = "the node is stopping, and the rest of the request did not come";
                Ok(self.refuse(Problem::new(problem::NOT_READY, why), false, false))
            }
            Got::End => Ok(Next::Close),
            Got::TimedOut => {
                let detail = format!("{what} did not come within {} s", time.as_secs_f32());
                Ok(self.refuse(Problem::new(problem::TIMEOUT, detail), false, false))
            }
        }
    }

    /// Waits for the next request; after a while without buffers.
    fn read_idle(&mut self) -> io::Result<Next> {
        let peer = self.peer;
        let stream = &peer.stream;
        self.input.shrink_to(INPUT_KEPT_BYTES);
        self.peer.set_at_work(false);
        let stopping = self.context.shared.is_stopping();
        let mut got = if stopping {
            // What has come is answered; nothing is waited for.
            self.input.read_until(stream, Instant::now())?
        } else {
            self.input.read(stream)?
        };
        if got == Got::TimedOut && self.has_left {
            self.take_answer_back();
            self.flush()?;
        }
        if got == Got::TimedOut && !stopping {
            self.give_buffers_back();
            let idle_timeout = self.context.shared.limits.idle_timeout;
            let deadline = Instant::now() + idle_timeout.saturating_sub(BUFFERS_KEPT);
            if wait_readable(stream, deadline)? {
                got = self.input.read(stream)?;
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
}

impl Connection<'_> {
    /// Once the server stops: reads a request that a client has sent because the answer before did not say that the
    /// connection would close. It may be on its way still.
    fn read_promised(&mut self) -> io::Result<Got> {
        let until = Instant::now() + PROMISE_KEPT;
        let is_recent = self.asked.came.elapsed() < PROMISE_RECENT;
        while is_recent && Instant::now() < until {
            // Its end was made by this node, to wake this thread: more may come behind it.
            if self.input.read_until(&self.peer.stream, Instant::now())? == Got::Bytes {
                return Ok(Got::Bytes);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Got::End)
    }
}

/// Whether a head of which `seen` bytes were looked at is worth another look: it may have ended, or so much
/// has come that its limits may be passed. So a head that comes byte by byte is not parsed at every byte.
fn may_end_head(bytes: &[u8], seen: usize) -> bool {
    let tail = &bytes[seen.saturating_sub(3).min(bytes.len())..];
    bytes.len() >= seen.saturating_mul(2)
        || tail.windows(2).any(|pair| pair == b"\n\n")
        || tail.windows(3).any(|three| three == b"\n\r\n")
}
