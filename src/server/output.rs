//! Answers on their way out: one buffer for all that is in hand, one wait for the log, one write.

use super::deferred::{LEFT_BYTES_MAX, LeftBehind};
use crate::api;
use crate::http::problem::Problem;
use crate::http::response::{Encoder, Envelope, Reply};
use crate::log::{Policy, Refusal};
use crate::net::registry::Peer;
use crate::net::time_for;
use crate::node::{AckRequirement, Node};
use crate::observe::{Asked, Marks, Observer, Spent};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::time::{Duration, Instant};

/// From this many bytes on, answers go out though more requests are in hand.
const FLUSH_BYTES: usize = 256 * 1024;

/// An answer that acknowledges a write, and may not go out before the log has it.
#[derive(Debug)]
struct Unacknowledged {
    answer: Range<usize>,
    offset: u64,
    envelope: Envelope,
    /// What it asks of those who follow this node.
    sync: Option<AckRequirement>,
    /// Its place among the marks.
    mark: usize,
}

/// Answers that were made and not sent.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    unacknowledged: Vec<Unacknowledged>,
    /// Of the requests that they answer.
    marks: Marks,
    /// What was spent on all of them since the last flush.
    spent: Spent,
    /// The status of the last problem that took the place of an answer, since it was asked for.
    revoked: Option<u16>,
    pub(crate) encoder: Encoder,
}

impl Output {
    pub(crate) fn new(policy: Policy) -> Output {
        let durable = match policy {
            Policy::Always => crate::api::DURABLE_SYNCED,
            Policy::Everysec | Policy::No => crate::api::DURABLE_WRITTEN,
        };
        Output {
            bytes: Vec::new(),
            unacknowledged: Vec::new(),
            marks: Marks::default(),
            spent: Spent::default(),
            revoked: None,
            encoder: Encoder::new(durable),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FLUSH_BYTES
    }

    /// Bytes that wait to be sent.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the answer to what was asked.
    pub(crate) fn push(
        &mut self,
        asked: &Asked,
        envelope: Envelope,
        reply: &Reply,
        body: &[u8],
        sync: Option<AckRequirement>,
    ) {
        let start = self.bytes.len();
        self.encoder.encode(&mut self.bytes, envelope, reply, body);
        let mark = self.marks.push(asked, reply.status.0, self.bytes.len() - start);
        if let Some(offset) = reply.offset {
            self.unacknowledged.push(Unacknowledged {
                answer: start..self.bytes.len(),
                offset,
                envelope,
                sync: sync.filter(|sync| sync.replicas > 0),
                mark,
            });
        }
    }

    /// Takes what is known of the requests whose answers wait: of a stream, which is answered when it has ended.
    pub(crate) fn take_marks(&mut self) -> Marks {
        std::mem::take(&mut self.marks)
    }

    /// Takes out the one answer that waits, where it acknowledges a write and nothing else waits to be sent.
    pub(crate) fn take_unacknowledged(&mut self) -> Option<LeftBehind> {
        let [write] = &self.unacknowledged[..] else {
            return None;
        };
        let is_alone = write.answer == (0..self.bytes.len()) && write.sync.is_none();
        if !is_alone || self.bytes.len() > LEFT_BYTES_MAX {
            return None;
        }
        let write = self.unacknowledged.pop()?;
        Some(LeftBehind {
            bytes: std::mem::take(&mut self.bytes),
            offset: Some(write.offset),
            envelope: write.envelope,
            marks: std::mem::take(&mut self.marks),
        })
    }

    /// Puts such an answer back, before anything else.
    pub(crate) fn put_back(&mut self, left: LeftBehind) {
        debug_assert!(self.bytes.is_empty(), "taken back before other answers are made");
        self.bytes = left.bytes;
        self.marks = left.marks;
        self.unacknowledged
            .extend(left.offset.map(|offset| Unacknowledged {
                answer: 0..self.bytes.len(),
                offset,
                envelope: left.envelope,
                sync: None,
                mark: 0,
            }));
    }

    /// Says that the body may come.
    pub(crate) fn push_continue(&mut self) {
        self.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// The status of the problem that has taken the place of the last answer, if one has since this was asked.
    pub(crate) fn take_revoked(&mut self) -> Option<u16> {
        self.revoked.take()
    }

    /// Waits for the log where an answer needs it, and then sends what the system takes at once. Returns how
    /// many bytes that was; the rest is for [`Output::send_rest`].
    pub(crate) fn send(
        &mut self,
        node: &Node,
        observer: &Observer,
        peer: &Peer,
        go_on: impl Fn() -> bool,
    ) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Ok(0);
        }
        // Offsets grow along a connection, as its requests are handled one after the other.
        if let Some(last) = self.unacknowledged.last() {
            let begun = Instant::now();
            let waited = node.wait(last.offset);
            let has_log = Instant::now();
            self.spent.log = has_log.duration_since(begun);
            match waited {
                Ok(()) => self.wait_for_replicas(node, has_log, go_on),
                Err(refusal) => self.revoke(held(node), &refusal),
            }
            self.spent.replicas = has_log.elapsed();
            self.unacknowledged.clear();
        }
        let sent = peer.transport.write_now(&self.bytes)?;
        if sent == self.bytes.len() {
            self.settle(observer, peer);
        }
        Ok(sent)
    }

    /// Sends what is left behind the first `sent` bytes, as fast as the client takes it. `time` is for that;
    /// more, the more there is.
    pub(crate) fn send_rest(
        &mut self,
        mut sent: usize,
        observer: &Observer,
        peer: &Peer,
        time: Duration,
    ) -> io::Result<()> {
        let deadline = Instant::now() + time + time_for(self.bytes.len());
        while sent < self.bytes.len() {
            match peer.transport.write(&[IoSlice::new(&self.bytes[sent..])]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // The socket's own timeout bounds each write, this one all of them.
            if sent < self.bytes.len() && Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.settle(observer, peer);
        Ok(())
    }

    /// Everything was sent.
    fn settle(&mut self, observer: &Observer, peer: &Peer) {
        self.bytes.clear();
        let spent = std::mem::take(&mut self.spent);
        self.marks.settle(observer, peer, spent);
    }

    /// Waits for the replicas that writes ask for, and says in their answers how many have them.
    fn wait_for_replicas(&mut self, node: &Node, begun: Instant, go_on: impl Fn() -> bool) {
        if self.unacknowledged.iter().all(|write| write.sync.is_none()) {
            return;
        }
        self.put_instead(|write, answer| {
            let sync = write.sync?;
            let deadline = begun + sync.timeout;
            let reached = node.wait_followers(write.offset, sync.replicas, deadline, &go_on);
            Some(match reached < sync.replicas && sync.is_required {
                true => Instead::Problem(Problem::not_replicated(sync.replicas, reached)),
                false => Instead::Bytes(with_replicas(answer, reached)),
            })
        });
    }

    /// Puts a problem in place of every answer that acknowledges what lies past `held` in the log.
    fn revoke(&mut self, held: u64, refusal: &Refusal) {
        self.put_instead(|write, _| {
            (write.offset > held).then(|| Instead::Problem(Problem::of_refusal(refusal)))
        });
    }

    /// Puts something else in place of answers to writes.
    fn put_instead(&mut self, instead: impl Fn(&Unacknowledged, &[u8]) -> Option<Instead>) {
        let answers = std::mem::take(&mut self.bytes);
        let mut copied = 0;
        let mut body = Vec::new();
        for write in &self.unacknowledged {
            let Some(instead) = instead(write, &answers[write.answer.clone()]) else {
                continue;
            };
            self.bytes.extend_from_slice(&answers[copied..write.answer.start]);
            copied = write.answer.end;
            match instead {
                Instead::Bytes(bytes) => self.bytes.extend_from_slice(&bytes),
                Instead::Problem(problem) => {
                    self.marks.set_status(write.mark, problem.kind.status);
                    self.revoked = Some(problem.kind.status);
                    let reply = problem.into_reply(&mut body);
                    self.encoder
                        .encode(&mut self.bytes, write.envelope, &reply, &body);
                }
            }
        }
        self.bytes.extend_from_slice(&answers[copied..]);
    }

    /// Gives memory back, except for `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
        self.marks.shrink_to(bytes);
        self.unacknowledged.shrink_to(bytes / size_of::<Unacknowledged>());
    }
}

/// What takes an answer's place.
enum Instead {
    Bytes(Vec<u8>),
    Problem(Problem),
}

/// An answer with one header more, behind its status line.
fn with_replicas(answer: &[u8], reached: usize) -> Vec<u8> {
    let line = answer.windows(2).position(|pair| pair == b"\r\n");
    let (line, rest) = answer.split_at(line.unwrap_or(answer.len()));
    let field = format!("\r\n{}: {reached}", api::HEADER_REPLICAS);
    [line, field.as_bytes(), rest].concat()
}

/// Up to here the log holds writes as firmly as its policy asks.
fn held(node: &Node) -> u64 {
    let position = node.status().position;
    match node.policy() {
        Policy::Always => position.synced,
        Policy::Everysec | Policy::No => position.written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::{Body, Media};
    use crate::log::Health;
    use tiny_http::StatusCode;

    #[test]
    fn only_what_the_log_does_not_hold_is_revoked() {
        let mut output = Output::new(Policy::Always);
        let envelope = Envelope {
            is_head: false,
            is_http10: false,
            close: false,
        };
        let push = |output: &mut Output, offset: Option<u64>, body: &str| {
            let mut reply = Reply::new(StatusCode(200), Body::Written(Media::Octets));
            reply.offset = offset;
            output.push(&Asked::new(), envelope, &reply, body.as_bytes(), None);
        };
        push(&mut output, None, "read 1");
        push(&mut output, Some(10), "held");
        push(&mut output, Some(20), "lost 1");
        push(&mut output, None, "read 2");
        push(&mut output, Some(30), "lost 2");
        push(&mut output, None, "read 3");
        let why = "I/O error".to_owned();
        output.revoke(10, &Refusal::Unknown(Health::WriteFailed { why }));

        let text = String::from_utf8(output.bytes).unwrap();
        let mut statuses = text.split("HTTP/1.1 ").skip(1).map(|answer| {
            let kept = ["read 1", "held", "lost 1", "read 2", "lost 2", "read 3"]
                .into_iter()
                .find(|body| answer.ends_with(body));
            (&answer[..3], kept.unwrap_or("outcome"))
        });
        let expected = [
            ("200", "read 1"),
            ("200", "held"),
            ("503", "outcome"),
            ("200", "read 2"),
            ("503", "outcome"),
            ("200", "read 3"),
        ];
        assert!(expected.into_iter().eq(statuses.by_ref()), "{text}");
        assert_eq!(text.matches("\"outcome\":\"unknown\"").count(), 2);
        assert_eq!(text.matches("Pykv-Durable: synced").count(), 1);
    }
}
