//! From the bytes that have come to the answer of one request.

use super::state::{Awaited, Connection, Next, Pending, Wait};
use crate::http::admit;
use crate::http::chunked::{Chunked, ChunkedError};
use crate::http::cluster::{self, NotYet};
use crate::http::handlers::{self, handle};
use crate::http::line::overloaded;
use crate::http::media::Sent;
use crate::http::problem::{self, Problem};
use crate::http::request::{Framing, Head};
use crate::http::response::{Envelope, Reply};
use crate::http::room::Room;
use crate::http::route::Route;
use crate::http::stream::Answer;
use std::time::Instant;
use tiny_http::Method;

/// Answers up to this size are made whatever the budget says; they go out at once where it is used up.
const SMALL_BYTES: usize = 16 * 1024;

impl Connection<'_> {
    /// Answers the request that the input begins with, if it is whole.
    pub(super) fn answer_one(&mut self) -> Next {
        let body_length = match self.take_awaited() {
            Ok(length) => length,
            Err(next) => return next,
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
        let has_waited = self.wait.take();
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
            // The hold began when the write had been admitted: it has changed nothing, and waits as those that
            // came later do.
            Err(problem) if problem.is_held() && asked.is_write() && has_waited != Some(Wait::Hold) => {
                self.sync = None;
                self.wait = Some(Wait::Hold);
                return Next::Await;
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

    /// Looks whether what was awaited has come; if not, there is no need to parse anything again. Gives the length of
    /// a body that came in chunks.
    fn take_awaited(&mut self) -> Result<Option<usize>, Next> {
        Ok(match &mut self.awaited {
            Awaited::Request => None,
            Awaited::Head { seen } => {
                if !may_end_head(self.input.unread(), *seen) {
                    return Err(Next::Read);
                }
                None
            }
            Awaited::Length { end } => {
                if self.input.unread().len() < *end {
                    return Err(Next::Read);
                }
                None
            }
            Awaited::Chunks {
                head_bytes,
                body_bytes_max,
                chunked,
            } => match chunked.advance(self.input.buffer(), *head_bytes, *body_bytes_max) {
                Ok(true) => Some(chunked.decoded_bytes()),
                Ok(false) => return Err(Next::Read),
                Err(ChunkedError::TooLarge) => {
                    let problem = admit::body_too_large(*body_bytes_max);
                    return Err(self.refuse(problem, false, false));
                }
                Err(ChunkedError::Malformed(why)) => {
                    return Err(self.refuse(Problem::new(problem::MALFORMED, why), false, false));
                }
            },
        })
    }

    /// Appends the answer to a request that ends after `end` bytes.
    pub(super) fn answer(&mut self, envelope: Envelope, reply: &Reply, end: usize) -> Next {
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
    pub(super) fn consume(&mut self, end: usize) {
        self.input.consume(end);
        self.awaited = Awaited::Request;
        self.started = None;
    }

    /// What comes after a whole answer.
    pub(super) fn after(&self, envelope: Envelope) -> Next {
        match (envelope.close, self.input.is_empty()) {
            (false, _) => Next::Go,
            (true, true) => Next::Close,
            (true, false) => Next::Linger,
        }
    }

    /// Answers a request that is not read to its end, after which nothing can be read.
    pub(super) fn refuse(&mut self, problem: Problem, is_head: bool, is_http10: bool) -> Next {
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

    pub(super) fn push(&mut self, envelope: Envelope, reply: &Reply) {
        self.peer.count(reply.status.0);
        let sync = self.sync.take();
        self.output
            .push(&self.asked, envelope, reply, &self.scratch.body, sync);
        self.asked.clear();
    }

    /// Whether the budget of all connections has room for what this one holds, and `more`.
    pub(super) fn may_hold(&mut self, more: usize) -> bool {
        let mut room = Room {
            held_bytes: self.input.capacity_for_more() + self.output.len(),
            charge: &mut self.charge,
        };
        room.take(more).is_ok()
    }

    /// Notes what must come, and starts its clock where it is something else than before.
    pub(super) fn await_more(&mut self, awaited: Awaited) {
        if std::mem::discriminant(&awaited) != std::mem::discriminant(&self.awaited) {
            self.started = Some(Instant::now());
        }
        self.awaited = awaited;
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
