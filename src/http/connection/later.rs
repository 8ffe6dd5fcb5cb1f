//! What a handler left to be done once everything before it was sent; see [`crate::http::stream`].

use super::{Connection, Next};
use crate::http::observe::Spent;
use crate::http::response::Envelope;
use crate::http::stream::{Later, Line, Outcome, Sink, Stream};
use std::io;
use std::time::Instant;

/// A request whose answer is made later.
pub(super) struct Pending<'a> {
    pub(super) later: Later<'a>,
    pub(super) envelope: Envelope,
}

impl<'a> Connection<'a> {
    /// Does what a handler left; everything before it was sent. May take as long as it likes, so nothing is
    /// held meanwhile that can be had anew.
    pub(super) fn answer_later(&mut self) -> io::Result<Next> {
        let Some(Pending { later, mut envelope }) = self.pending.take() else {
            return Ok(Next::Go);
        };
        if self.input.is_empty() {
            self.give_buffers_back();
        }
        self.scratch.body.clear();
        let line = Line::new(self.context, self.peer);
        let outcome = later(line, &mut self.scratch);
        self.output.encoder.tick(Instant::now());
        envelope.close |= line.is_stopping();
        let reply = match outcome {
            Ok(Outcome::Stream(stream)) => return self.stream(line, envelope, stream),
            Ok(Outcome::Reply(reply)) => reply,
            Err(problem) => problem.into_reply(&mut self.scratch.body),
        };
        Ok(self.answer(envelope, &reply, 0))
    }

    /// Sends an answer whose body is made meanwhile.
    fn stream(&mut self, line: Line<'a>, mut envelope: Envelope, stream: Stream<'a>) -> io::Result<Next> {
        // HTTP/1.0 knows the end of such a body by the close alone.
        envelope.close |= envelope.is_http10;
        self.push(envelope, &stream.head);
        let mut marks = self.output.take_marks();
        self.flush()?;
        let mut sent = Ok(());
        if !envelope.is_head {
            let mut sink = Sink::new(line, &mut self.charge, !envelope.is_http10);
            sent = (stream.body)(&mut sink).and_then(|()| sink.end());
            marks.add_bytes(sink.sent_bytes());
        }
        marks.settle(&self.context.shared.observer, self.peer, Spent::default());
        sent.map_err(io::Error::other)?;
        envelope.close |= line.is_stopping();
        Ok(self.after(envelope))
    }
}
