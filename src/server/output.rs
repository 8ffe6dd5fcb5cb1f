//! Answers on their way out: one buffer for all that is in hand, one wait for the log, one write.

use super::deferred::Slot;
use super::in_hand::{DeferredResponse, InHand, Unacknowledged, Unencoded};
use crate::http::problem::Problem;
use crate::http::response::{Encoder, Envelope, Reply};
use crate::net::registry::Peer;
use crate::net::time_for;
use crate::node::{AckRequirement, Node};
use crate::observe::{Asked, Marks, Observer, Spent};
use crate::wal::{Policy, Refusal, Rescue};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From this many bytes on, answers go out though more requests are in hand.
const FLUSH_BYTES: usize = 256 * 1024;

/// Answers that were made and not sent.
#[derive(Debug)]
pub(crate) struct Output {
    in_hand: InHand,
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
            in_hand: InHand::default(),
            spent: Spent::default(),
            revoked: None,
            encoder: Encoder::new(durable),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.in_hand.bytes.len() >= FLUSH_BYTES
    }

    /// Bytes that wait to be sent, except for the heads of answers that are not encoded yet.
    pub(crate) fn len(&self) -> usize {
        self.in_hand.bytes.len() + self.in_hand.unencoded_bytes
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
        self.in_hand
            .push(&self.encoder, asked, envelope, reply, body, sync);
    }

    /// Takes what is known of the requests whose answers wait: of a stream, which is answered when it has ended.
    pub(crate) fn take_marks(&mut self) -> Marks {
        std::mem::take(&mut self.in_hand.marks)
    }

    /// Takes out the one answer that waits, where it acknowledges a write and nothing else waits to be sent.
    pub(crate) fn take_unacknowledged(&mut self) -> Option<DeferredResponse> {
        self.in_hand.take_unacknowledged()
    }

    /// Puts such an answer back, before anything else.
    pub(crate) fn put_back(&mut self, left: DeferredResponse) {
        self.in_hand.put_back(left);
    }

    /// Says that the body may come.
    pub(crate) fn push_continue(&mut self) {
        self.in_hand
            .bytes
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// The status of the problem that has taken the place of the last answer, if one has since this was asked.
    pub(crate) fn take_revoked(&mut self) -> Option<u16> {
        self.revoked.take()
    }

    /// Waits for the log where an answer needs it, and then sends what the system takes at once. Returns how
    /// many bytes that was; the rest is for [`Output::send_rest`]. `slot` lends the answers meanwhile to whoever gives
    /// them up where the disk does not answer: then this is an error, and the client was answered.
    pub(crate) fn send(
        &mut self,
        node: Option<&Node>,
        slot: &Arc<Slot>,
        observer: &Observer,
        peer: &Peer,
        go_on: impl Fn() -> bool,
    ) -> io::Result<usize> {
        if self.in_hand.bytes.is_empty() && self.in_hand.unacknowledged.is_empty() {
            return Ok(0);
        }
        // Offsets grow along a connection, as its requests are handled one after the other.
        if let (Some(last), Some(node)) = (self.in_hand.unacknowledged.last(), node) {
            let offset = last.offset;
            let since = *self.in_hand.waits_since.get_or_insert_with(Instant::now);
            slot.lend(&mut self.in_hand);
            let waited = node.wait_since(offset, since, Arc::clone(slot) as Arc<dyn Rescue>);
            slot.take_back(&mut self.in_hand)?;
            let has_log = Instant::now();
            self.spent.log = has_log.duration_since(since);
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
            self.in_hand.unacknowledged.clear();
            self.in_hand.waits_since = None;
        }
        let sent = peer.transport.write_now(&self.in_hand.bytes)?;
        if sent == self.in_hand.bytes.len() {
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
        let deadline = Instant::now() + time + time_for(self.in_hand.bytes.len());
        while sent < self.in_hand.bytes.len() {
            match peer.transport.write(&[IoSlice::new(&self.in_hand.bytes[sent..])]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // The socket's own timeout bounds each write, this one all of them.
            if sent < self.in_hand.bytes.len() && Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        self.settle(observer, peer);
        Ok(())
    }

    /// Everything was sent.
    fn settle(&mut self, observer: &Observer, peer: &Peer) {
        self.in_hand.bytes.clear();
        let spent = std::mem::take(&mut self.spent);
        self.in_hand.marks.settle(observer, peer, spent);
    }

    /// Waits for the replicas that writes ask for.
    fn wait_for_replicas(&mut self, node: &Node, begun: Instant, go_on: impl Fn() -> bool) {
        for write in &mut self.in_hand.unacknowledged {
            if let Some(answer) = &mut write.unencoded {
                let (replicas, deadline) = (answer.sync.replicas, begun + answer.sync.timeout);
                answer.reached = Some(node.wait_followers(write.offset, replicas, deadline, &go_on));
            }
        }
    }

    /// Encodes the answers to writes that were waited for: they say how many replicas have them.
    fn finish_replicated(&mut self) {
        let mut writes = self.in_hand.unacknowledged.iter();
        if writes.all(|write| write.unencoded.is_none()) {
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

    fn finish(&mut self, problem: impl Fn(&Unacknowledged) -> Option<Problem>) {
        let revoked = self.in_hand.finish(&self.encoder, problem);
        self.revoked = revoked.or(self.revoked);
    }

    /// Gives memory back, except for `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.in_hand.shrink_to(bytes);
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

        let text = String::from_utf8(output.in_hand.bytes).unwrap();
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
