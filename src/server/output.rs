//! Answers on their way out: one buffer for all that is in hand, one wait for the log, one write.

use super::deferred::{DEFERRED_BYTES_MAX, DeferredResponse};
use crate::api;
use crate::http::problem::Problem;
use crate::http::response::{Encoder, Envelope, Reply};
use crate::net::registry::Peer;
use crate::net::time_for;
use crate::node::{AckRequirement, Node, Reached};
use crate::observe::{Asked, Marks, Observer, Spent};
use crate::wal::{Policy, Refusal};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::time::{Duration, Instant};

/// From this many bytes on, answers go out though more requests are in hand.
const FLUSH_BYTES: usize = 256 * 1024;

/// An answer that acknowledges a write, and may not go out before the log has it.
#[derive(Debug)]
struct Unacknowledged {
    /// Where it stands among the bytes; where it will, if it is not encoded yet.
    answer: Range<usize>,
    /// What is encoded once it is known how many replicas have the write.
    unencoded: Option<Unencoded>,
    offset: u64,
    envelope: Envelope,
    /// Its place among the marks.
    mark: usize,
}

/// An answer that waits for replicas: it says how many have the write.
#[derive(Debug)]
struct Unencoded {
    reply: Reply,
    body: Vec<u8>,
    sync: AckRequirement,
    /// Who has it.
    reached: Option<Reached>,
}

/// Answers that were made and not sent.
#[derive(Debug)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    unacknowledged: Vec<Unacknowledged>,
    /// The bodies of answers that are not encoded yet.
    unencoded_bytes: usize,
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
        let durable = match policy.acknowledges_synced() {
            true => crate::api::DURABLE_SYNCED,
            false => crate::api::DURABLE_WRITTEN,
        };
        Output {
            bytes: Vec::new(),
            unacknowledged: Vec::new(),
            unencoded_bytes: 0,
            marks: Marks::default(),
            spent: Spent::default(),
            revoked: None,
            encoder: Encoder::new(durable),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FLUSH_BYTES
    }

    /// Bytes that wait to be sent, except for the heads of answers that are not encoded yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.unencoded_bytes
    }

    /// Appends the answer to what was asked.
    pub(crate) fn push(
        &mut self,
        asked: &Asked,
        envelope: Envelope,
        reply: Reply,
        body: &[u8],
        sync: Option<AckRequirement>,
    ) {
        let start = self.bytes.len();
        let (status, offset) = (reply.status.0, reply.offset);
        let sync = sync.filter(|sync| sync.replicas > 0 && offset.is_some());
        let unencoded = match sync {
            None => {
                self.encoder.encode(&mut self.bytes, envelope, &reply, body);
                None
            }
            Some(sync) => Some(Unencoded {
                reply,
                body: body.to_vec(),
                sync,
                reached: None,
            }),
        };
        self.unencoded_bytes += unencoded.as_ref().map_or(0, |answer| answer.body.len());
        let mark = self.marks.push(asked, status, self.bytes.len() - start);
        if let Some(offset) = offset {
            self.unacknowledged.push(Unacknowledged {
                answer: start..self.bytes.len(),
                unencoded,
                offset,
                envelope,
                mark,
            });
        }
    }

    /// Takes what is known of the requests whose answers wait: of a stream, which is answered when it has ended.
    pub(crate) fn take_marks(&mut self) -> Marks {
        std::mem::take(&mut self.marks)
    }

    /// Takes out the one answer that waits, where it acknowledges a write and nothing else waits to be sent.
    pub(crate) fn take_unacknowledged(&mut self) -> Option<DeferredResponse> {
        let [write] = &self.unacknowledged[..] else {
            return None;
        };
        let is_alone = write.answer == (0..self.bytes.len()) && write.unencoded.is_none();
        if !is_alone || self.bytes.len() > DEFERRED_BYTES_MAX {
            return None;
        }
        let write = self.unacknowledged.pop()?;
        Some(DeferredResponse {
            bytes: std::mem::take(&mut self.bytes),
            offset: Some(write.offset),
            envelope: write.envelope,
            marks: std::mem::take(&mut self.marks),
        })
    }

    /// Puts such an answer back, before anything else.
    pub(crate) fn put_back(&mut self, left: DeferredResponse) {
        debug_assert!(self.bytes.is_empty(), "taken back before other answers are made");
        self.bytes = left.bytes;
        self.marks = left.marks;
        self.unacknowledged
            .extend(left.offset.map(|offset| Unacknowledged {
                answer: 0..self.bytes.len(),
                unencoded: None,
                offset,
                envelope: left.envelope,
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
        node: Option<&Node>,
        observer: &Observer,
        peer: &Peer,
        go_on: impl Fn() -> bool,
    ) -> io::Result<usize> {
        if self.bytes.is_empty() && self.unacknowledged.is_empty() {
            return Ok(0);
        }
        // Offsets grow along a connection, as its requests are handled one after the other.
        if let (Some(last), Some(node)) = (self.unacknowledged.last(), node) {
            let begun = Instant::now();
            let waited = node.wait(last.offset);
            let has_log = Instant::now();
            self.spent.log = has_log.duration_since(begun);
            match waited {
                Ok(()) => {
                    self.wait_for_replicas(node, has_log, go_on);
                    // Nothing takes time between this and the answer.
                    match node.check_lease() {
                        Ok(()) => self.finish_replicated(),
                        Err(refusal) => self.revoke(0, &refusal),
                    }
                }
                Err(refusal @ Refusal::LeaseOverSince) => self.revoke(0, &refusal),
                Err(refusal) => self.revoke(node.durable(), &refusal),
            }
            self.spent.replicas = has_log.elapsed();
            self.unacknowledged.clear();
        }
        let sent = peer.transport.write_now(&self.bytes)?;
        if sent == self.bytes.len() {
            peer.transport.flush()?;
            self.settle(observer, peer);
        }
        Ok(sent)
    }

    /// Sends what follows the first `sent` bytes, as fast as the client takes it. `time` is for that;
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

    /// Waits for the replicas that writes ask for.
    fn wait_for_replicas(&mut self, node: &Node, begun: Instant, go_on: impl Fn() -> bool) {
        for write in &mut self.unacknowledged {
            if let Some(answer) = &mut write.unencoded {
                let (replicas, deadline) = (answer.sync.replicas, begun + answer.sync.timeout);
                answer.reached = Some(node.wait_followers(write.offset, replicas, deadline, &go_on));
            }
        }
    }

    /// Encodes the answers to writes that were waited for: they say how many replicas have them.
    fn finish_replicated(&mut self) {
        if self.unacknowledged.iter().all(|write| write.unencoded.is_none()) {
            return;
        }
        self.finish(|write| {
            let Unencoded { sync, reached, .. } = write.unencoded.as_ref()?;
            let reached = reached.as_ref()?;
            let problem = Problem::not_replicated(sync.replicas, reached.replicas);
            match reached.replicas < sync.replicas && sync.is_required {
                _ if !reached.is_covered => Some(problem.outcome("unknown")),
                true => Some(problem),
                false => None,
            }
        });
    }

    /// Puts a problem in place of every answer that acknowledges what lies past `durable` in the log.
    fn revoke(&mut self, durable: u64, refusal: &Refusal) {
        self.finish(|write| (write.offset > durable).then(|| Problem::of_refusal(refusal)));
    }

    /// Encodes the answers to writes that are not encoded yet, and puts a problem in place of those for which there
    /// is one.
    fn finish(&mut self, problem: impl Fn(&Unacknowledged) -> Option<Problem>) {
        self.unencoded_bytes = 0;
        let answers = std::mem::take(&mut self.bytes);
        let mut copied = 0;
        let mut body = Vec::new();
        for write in std::mem::take(&mut self.unacknowledged) {
            let problem = problem(&write);
            if problem.is_none() && write.unencoded.is_none() {
                continue;
            }
            self.bytes.extend_from_slice(&answers[copied..write.answer.start]);
            copied = write.answer.end;
            let reply = match (problem, write.unencoded) {
                (Some(problem), _) => {
                    self.marks.set_status(write.mark, problem.kind.status);
                    self.revoked = Some(problem.kind.status);
                    problem.into_reply(&mut body)
                }
                (None, Some(answer)) => {
                    body = answer.body;
                    match answer.reached {
                        Some(reached) => {
                            let replicas = reached.replicas.to_string();
                            answer.reply.header(api::HEADER_REPLICAS, &replicas)
                        }
                        None => answer.reply,
                    }
                }
                (None, None) => continue,
            };
            let start = self.bytes.len();
            self.encoder
                .encode(&mut self.bytes, write.envelope, &reply, &body);
            self.marks.set_bytes(write.mark, self.bytes.len() - start);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::{Body, Media};
    use crate::wal::Health;
    use tiny_http::StatusCode;

    #[test]
    fn only_what_the_log_does_not_hold_is_revoked() {
        let mut output = Output::new(Policy::Always);
        let envelope = Envelope::default();
        let push = |output: &mut Output, offset: Option<u64>, body: &str| {
            let mut reply = Reply::new(StatusCode(200), Body::Written(Media::Octets));
            reply.offset = offset;
            output.push(&Asked::new(), envelope, reply, body.as_bytes(), None);
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
