//! What a handler left to be done once everything before it was sent; see [`crate::handlers::stream`].

use crate::handlers::connection_handle::{Aborted, ConnectionHandle, overloaded};
use crate::handlers::context::Scratch;
use crate::handlers::sink::Sink;
use crate::handlers::stream::{LateResponse, Stream, TURN_MAX, Workspace};
use crate::http::problem::Problem;
use crate::http::response::{Body, Envelope, Reply};
use crate::net::input::Input;
use crate::node::{AckRequirement, Node};
use crate::observe::{Marks, Spent};
use crate::server::connection::state::{Connection, KEPT_BYTES, Next, Pending};
use std::io;
use std::time::Instant;

impl<'a> Connection<'a> {
    /// Does what a handler left; everything before it was sent. May take as long as it likes, so nothing is
    /// held meanwhile that can be had anew.
    pub(crate) fn answer_later(&mut self) -> io::Result<Next> {
        let Some(pending) = self.pending.take() else {
            return Ok(Next::Go);
        };
        let Pending {
            later,
            mut envelope,
            seen,
            shown,
        } = pending;
        if self.input.is_empty() {
            self.input = Input::default();
        } else {
            self.input.shrink_to(KEPT_BYTES);
        }
        self.output.shrink_to(0);
        self.scratch = Scratch::default();
        self.charge.turn_to_answer();
        let connection = ConnectionHandle::new(self.context.shared, self.peer);
        let outcome = later(&mut Workspace {
            connection,
            scratch: &mut self.scratch,
            charge: &mut self.charge,
            held_for: &mut self.held_for,
        });
        self.output.encoder.tick(Instant::now());
        envelope.close |= connection.is_stopping();
        let mut reply = match outcome {
            Ok(LateResponse::Stream(mut stream)) => {
                stream.head = stream.head.seen(seen);
                return self.stream(connection, envelope, stream, shown);
            }
            Ok(LateResponse::Reply(reply)) => reply.seen(seen),
            Err(problem) => problem.into_reply(&mut self.scratch.body),
        };
        if let Some(shown) = shown {
            self.show(&mut reply, shown);
        }
        Ok(self.answer(envelope, reply, 0))
    }

    /// Sends an answer whose body is made meanwhile.
    ///
    /// A read that waits for replicas waits before the end that a client looks for: before the first byte where the
    /// head says the length, before the last chunk otherwise.
    fn stream(
        &mut self,
        connection: ConnectionHandle<'a>,
        mut envelope: Envelope,
        mut stream: Stream<'a>,
        shown: Option<AckRequirement>,
    ) -> io::Result<Next> {
        let is_write = stream.head.offset.is_some();
        let is_measured = matches!(stream.head.body, Body::Measured(..));
        let mut waits_at_end = shown.filter(|_| !is_write);
        if (is_measured || envelope.is_http10 || envelope.is_head)
            && let Some(shown) = waits_at_end.take()
        {
            self.show(&mut stream.head, shown);
        }
        if envelope.is_head {
            return Ok(self.answer(envelope, stream.head, 0));
        }
        // What was done is said whether there is room or not: its answer was granted room before.
        if !is_write && !connection.await_room(&mut self.charge, stream.holds, TURN_MAX) {
            return Ok(self.answer_instead(envelope, overloaded()));
        }
        let mut marks = Marks::default();
        let status = stream.head.status.0;
        let mut head = Some(stream.head);
        if head.as_ref().is_some_and(|head| head.offset.is_some())
            && let Some(head) = head.take()
        {
            // HTTP/1.0 knows the end of such a body by the close alone.
            envelope.close |= envelope.is_http10;
            if let Some(revoked) = self.acknowledge(envelope, head, &mut marks)? {
                marks.set_status(0, revoked);
                self.peer.count(revoked);
                self.asked.clear();
                self.settle();
                marks.settle(&self.context.shared.observer, self.peer, Spent::default());
                return Ok(self.after(envelope));
            }
        } else {
            self.sync = None;
            marks.push(&self.asked, status, 0);
        }
        let encoder = &self.output.encoder;
        let mut sink = Sink::new(connection, &mut self.charge, encoder, envelope, head);
        if stream.is_endless {
            sink = sink.endless();
        }
        let sent = (stream.body)(&mut sink)
            .and_then(|()| match waits_at_end {
                Some(shown) => acknowledged(self.context.node(), connection, shown),
                None => Ok(()),
            })
            .and_then(|()| sink.end());
        let sent = match sent {
            Err(cut) if sink.is_unsent() => match cut.into_problem() {
                Ok(problem) => return Ok(self.answer_instead(envelope, problem)),
                Err(error) => Err(Aborted::Client(error)),
            },
            sent => sent,
        };
        marks.add_bytes(sink.sent_bytes());
        envelope.close |= sink.ends_with_close();
        self.peer.count(status);
        self.asked.clear();
        marks.settle(&self.context.shared.observer, self.peer, Spent::default());
        self.charge.release();
        sent.map_err(io::Error::other)?;
        envelope.close |= connection.is_stopping();
        Ok(self.after(envelope))
    }

    /// Sends the head of an answer to a write, once the log has it. Returns the status of the problem that
    /// went out in its place, if one did, which was whole.
    fn acknowledge(&mut self, envelope: Envelope, head: Reply, marks: &mut Marks) -> io::Result<Option<u16>> {
        let sync = self.sync.take();
        self.output.take_revoked();
        self.output.push(&self.asked, envelope, head, &[], sync);
        *marks = self.output.take_marks();
        self.send_all()?;
        Ok(self.output.take_revoked())
    }

    fn answer_instead(&mut self, envelope: Envelope, problem: Problem) -> Next {
        self.scratch.body.clear();
        let reply = problem.into_reply(&mut self.scratch.body);
        self.answer(envelope, reply, 0)
    }
}

/// Waits until replicas have all that the node shows now.
fn acknowledged(
    node: Option<&Node>,
    connection: ConnectionHandle<'_>,
    sync: AckRequirement,
) -> Result<(), Aborted> {
    let Some(node) = node else {
        return Ok(());
    };
    let offset = node.visible();
    node.wait_led(offset)
        .map_err(|refusal| Aborted::Unacknowledged(Problem::of_refusal(&refusal)))?;
    let deadline = Instant::now() + sync.timeout;
    let reached = node.wait_followers(offset, sync.replicas, deadline, || !connection.is_stopping());
    match sync.is_required && reached.replicas < sync.replicas || !reached.is_covered {
        true => Err(Aborted::Unacknowledged(Problem::not_replicated(
            sync.replicas,
            reached.replicas,
        ))),
        false => Ok(()),
    }
}
