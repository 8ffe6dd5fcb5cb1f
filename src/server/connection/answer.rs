//! From the bytes that have come to the answer of one request.

use crate::handlers::admit::{self, Admitted};
use crate::handlers::allowance::Allowance;
use crate::handlers::connection_handle::overloaded;
use crate::handlers::consistency::{self, Asked, NotYet};
use crate::handlers::context::{Context, Scratch};
use crate::handlers::dispatch::{self, handle};
use crate::handlers::route::Route;
use crate::handlers::stream::Answer;
use crate::http::chunked::{Chunked, ChunkedError};
use crate::http::media::Sent;
use crate::http::problem::{self, Problem};
use crate::http::request::{Framing, Head};
use crate::http::response::{Envelope, Reply};
use crate::net::budget::Use;
use crate::node::AckRequirement;
use crate::observe;
use crate::server::connection::state::{Awaited, Connection, Next, Pending, Wait};
use std::time::Instant;
use tiny_http::Method;

/// Answers up to this size, such as the metrics, are made whatever the budget says. They go out at once where it is
/// used up, and a client that does not take them then is cut off. A read whose answer is longer waits for its turn.
const SMALL_BYTES: usize = 64 * 1024;

impl<'a> Connection<'a> {
    /// Answers the request that the input begins with, if all of it has come.
    pub(crate) fn answer_one(&mut self) -> Next {
        let body_length = match self.take_awaited() {
            Ok(length) => length,
            Err(next) => return next,
        };
        let unread = self.input.unread();
        let head = match Head::parse(unread, &self.context.shared.limits) {
            Ok(Some(head)) => head,
            Ok(None) => {
                let seen = unread.len();
                self.await_more(Awaited::Head { seen });
                return Next::Read;
            }
            Err(problem) => return self.refuse(problem, Envelope::default()),
        };
        let head_bytes = head.bytes;
        let end = end_of(&head, body_length);
        let whole = end.and_then(|end| Some((unread.get(head_bytes..end)?, end)));
        let envelope = self.envelope_of(&head);
        let wants_line = self.context.shared.observer.wants_lines();
        let admitted = match admit::admit(&self.context, self.peer.names(), &head) {
            Ok(admitted) => {
                self.asked.note(&head, Some(admitted.route.number()), wants_line);
                self.asked.who = admitted.grant.name().cloned();
                admitted
            }
            Err(problem) => {
                note_refused(&mut self.asked, &self.context, &head, wants_line);
                return match whole {
                    // A body that is here already can be read over; one that is to come is not waited for.
                    Some((_, end)) => self.answer_with(problem, envelope, end),
                    None => self.refuse(problem, envelope),
                };
            }
        };
        let Some((body, end)) = whole else {
            let asks_first = head.expects_continue && unread.len() == head_bytes;
            if asks_first
                && consistency::may_refuse_early(&self.context)
                && let Err(problem) = dispatch::foresee(self.context, &head, &admitted)
            {
                return self.refuse(problem, envelope);
            }
            return self.await_body(head_bytes, end, admitted.body_bytes_max, asks_first);
        };
        let asked = match consistency::ask(&self.context, &head, &admitted.route) {
            Ok(asked) => asked,
            Err(not_yet) => return self.answer_not_yet(not_yet, envelope, end),
        };
        if let Some(relay) = self.begin_relay(&head, &admitted, body, &asked, (envelope, end)) {
            return self.set_relaying(relay, envelope, end);
        }
        self.handles_itself = false;
        let has_waited = self.wait.take();
        self.sync = asked.sync;
        self.scratch.body.clear();
        let mut allowance = Allowance {
            usage: match admitted.sent {
                Some(_) => Use::Request,
                None => Use::Answer,
            },
            held_bytes: self.input.capacity_for_more() + self.output.len(),
            charge: &mut self.charge,
            peer: self.peer,
        };
        let is_read = matches!(head.method, Method::Get | Method::Head);
        let scratch = &mut self.scratch;
        let made = make_answer(
            self.context,
            &head,
            admitted,
            &asked,
            body,
            scratch,
            &mut allowance,
        );
        self.conclude(made, &asked, is_read, has_waited, envelope, end)
    }

    fn envelope_of(&self, head: &Head<'_>) -> Envelope {
        Envelope {
            is_head: head.method == Method::Head,
            is_http10: head.is_http10,
            close: !head.keep_alive || self.context.shared.is_stopping(),
            sharing: self.context.shared.hosts.origins().sharing(head),
        }
    }

    /// Answers a request that was handled and ends after `end` bytes, or has it wait.
    fn conclude(
        &mut self,
        made: Result<Answer<'a>, Problem>,
        asked: &Asked,
        is_read: bool,
        has_waited: Option<Wait>,
        envelope: Envelope,
        end: usize,
    ) -> Next {
        let mut reply = match made {
            Ok(Answer::Now(reply)) => reply,
            Ok(Answer::Later(later)) => {
                self.pending = Some(Pending {
                    later,
                    envelope,
                    seen: asked.seen,
                    shown: asked.shown,
                });
                self.consume(end);
                return Next::Later;
            }
            Err(problem) => {
                // The hold began when the write had been admitted: it has changed nothing, and waits as those that
                // came later do.
                if problem.is_held()
                    && asked.is_write()
                    && let Some(wait) = Wait::for_hold(has_waited)
                {
                    self.sync = None;
                    self.wait = Some(wait);
                    return Next::Await;
                }
                problem.into_reply(&mut self.scratch.body).seen(asked.seen)
            }
        };
        if let Some(shown) = asked.shown {
            self.show(&mut reply, shown);
        }
        let body_bytes = self.scratch.body.len();
        if is_read
            && body_bytes > SMALL_BYTES
            && !matches!(has_waited, Some(Wait::Room { .. }))
            && !self.may_hold(Use::Answer, body_bytes)
        {
            self.sync = None;
            // It may be longer when it is made anew.
            let bytes = self.input.capacity_for_more() + body_bytes + body_bytes / 4;
            self.wait = Some(Wait::Room { bytes });
            return Next::Await;
        }
        self.answer(envelope, reply, end)
    }

    /// Waits for the rest of a body that ends after `end` bytes, or comes in chunks.
    fn await_body(
        &mut self,
        head_bytes: usize,
        end: Option<usize>,
        body_bytes_max: usize,
        asks_first: bool,
    ) -> Next {
        if asks_first {
            self.output.push_continue();
        }
        match end {
            Some(end) => {
                self.await_more(Awaited::Length { end });
                Next::Read
            }
            None => {
                self.await_more(Awaited::Chunks {
                    head_bytes,
                    body_bytes_max,
                    chunked: Chunked::new(),
                });
                // Chunks may be here already.
                self.answer_one()
            }
        }
    }

    /// Answers a request that the node cannot handle now, or lets it wait.
    fn answer_not_yet(&mut self, not_yet: NotYet, envelope: Envelope, end: usize) -> Next {
        let before = self.wait.take();
        let (wait, problem) = match not_yet {
            NotYet::Refused(problem) => (None, problem),
            NotYet::Behind(offset) => {
                let wait = Some(Wait::Offset(offset)).filter(|_| before.is_none());
                (wait, consistency::behind(&self.context, offset))
            }
            NotYet::Held => (Wait::for_hold(before), Problem::held()),
        };
        self.wait = wait;
        match wait {
            Some(_) => Next::Await,
            None => self.answer_with(problem, envelope, end),
        }
    }

    /// Answers a request that ends after `end` bytes with a problem.
    fn answer_with(&mut self, problem: Problem, envelope: Envelope, end: usize) -> Next {
        self.scratch.body.clear();
        let reply = problem.into_reply(&mut self.scratch.body);
        self.answer(envelope, reply, end)
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
                    return Err(self.refuse(problem, Envelope::default()));
                }
                Err(ChunkedError::Malformed(why)) => {
                    return Err(self.refuse(Problem::new(problem::MALFORMED, why), Envelope::default()));
                }
            },
        })
    }

    /// Makes an answer wait for those who must have what it shows. All of that lies before what is visible now. What
    /// acknowledges a write waits for that already, and a problem that is not about keys shows nothing of them.
    pub(crate) fn show(&mut self, reply: &mut Reply, shown: AckRequirement) {
        let shows_keys = reply.status.0 < 400 || matches!(reply.status.0, 404 | 409 | 412);
        if let Some(node) = self.context.node()
            && reply.offset.is_none()
            && shows_keys
        {
            reply.offset = Some(node.visible());
            self.sync = Some(shown);
        }
    }

    /// Appends the answer to a request that ends after `end` bytes.
    pub(crate) fn answer(&mut self, envelope: Envelope, reply: Reply, end: usize) -> Next {
        let body_bytes = self.scratch.body.len();
        let usage = self.charge.usage();
        if body_bytes <= SMALL_BYTES || self.may_hold(usage, body_bytes) {
            self.push(envelope, reply);
        } else {
            let reply = overloaded().into_reply(&mut self.scratch.body);
            self.push(envelope, reply);
        }
        self.consume(end);
        self.after(envelope)
    }

    /// Moves past a request that ends after `end` bytes.
    pub(crate) fn consume(&mut self, end: usize) {
        self.input.consume(end);
        self.awaited = Awaited::Request;
        self.started = None;
    }

    /// What comes after a whole answer.
    pub(crate) fn after(&self, envelope: Envelope) -> Next {
        match (envelope.close, self.input.is_empty()) {
            (false, _) => Next::Go,
            (true, true) => Next::Close,
            (true, false) => Next::Linger,
        }
    }

    /// Answers a request that is not read to its end, after which nothing can be read.
    pub(crate) fn refuse(&mut self, problem: Problem, envelope: Envelope) -> Next {
        let reply = problem.into_reply(&mut self.scratch.body);
        let envelope = Envelope {
            close: true,
            ..envelope
        };
        self.asked.came = Instant::now();
        self.output.encoder.tick(self.asked.came);
        self.push(envelope, reply);
        Next::Linger
    }

    pub(crate) fn push(&mut self, envelope: Envelope, reply: Reply) {
        self.peer.count(reply.status.0);
        let sync = self.sync.take();
        self.output
            .push(&self.asked, envelope, reply, &self.scratch.body, sync);
        self.asked.clear();
    }

    /// Whether the budget of all connections has room for what this one holds, and `more`.
    pub(crate) fn may_hold(&mut self, usage: Use, more: usize) -> bool {
        let mut room = Allowance {
            usage,
            held_bytes: self.input.capacity_for_more() + self.output.len(),
            charge: &mut self.charge,
            peer: self.peer,
        };
        room.take(more).is_ok()
    }

    /// Notes what must come, and starts its clock where it is something else than before.
    pub(crate) fn await_more(&mut self, awaited: Awaited) {
        if std::mem::discriminant(&awaited) != std::mem::discriminant(&self.awaited) {
            self.started = Some(Instant::now());
        }
        self.awaited = awaited;
    }
}

/// Notes a request that was not admitted.
fn note_refused(asked: &mut observe::Asked, context: &Context<'_>, head: &Head<'_>, wants_line: bool) {
    asked.note(head, Route::number_of(head.path), wants_line);
    if wants_line && let Some(tokens) = &context.shared.tokens {
        asked.who = tokens.name(head.authorization);
    }
}

/// Where a request ends, in bytes from its start; none where its chunks have not all come. `chunks_length`: of a body
/// that came in chunks.
fn end_of(head: &Head<'_>, chunks_length: Option<usize>) -> Option<usize> {
    let body_length = match head.framing {
        Framing::None => Some(0),
        Framing::Length(length) => usize::try_from(length).ok(),
        Framing::Chunked => chunks_length,
    };
    body_length.and_then(|length| head.bytes.checked_add(length))
}

/// Has a request handled that has all come.
fn make_answer<'a>(
    context: Context<'a>,
    head: &Head<'_>,
    admitted: Admitted<'_>,
    asked: &Asked,
    body: &[u8],
    scratch: &mut Scratch,
    allowance: &mut Allowance<'a, '_>,
) -> Result<Answer<'a>, Problem> {
    // What its escapes stand for, and the pair that is made of it.
    if admitted.sent == Some(Sent::Json) {
        allowance.take_or_wait(2 * body.len(), || !context.shared.is_stopping())?;
    }
    let answer = handle(context, head, admitted, asked, body, scratch, allowance)?;
    // After the read: what it found was so while the lease held.
    if asked.is_leased && context.node().is_some_and(|node| node.check_lease().is_err()) {
        return Err(consistency::lease_over());
    }
    Ok(match answer {
        Answer::Now(reply) => Answer::Now(reply.seen(asked.seen)),
        later => later,
    })
}

/// Whether a head of which `seen` bytes were looked at is worth another look: it may have ended, or so much
/// has come that its limits may be passed. So a head that comes byte by byte is not parsed at every byte.
fn may_end_head(bytes: &[u8], seen: usize) -> bool {
    let tail = &bytes[seen.saturating_sub(3).min(bytes.len())..];
    bytes.len() >= seen.saturating_mul(2)
        || tail.windows(2).any(|pair| pair == b"\n\n")
        || tail.windows(3).any(|three| three == b"\n\r\n")
}
