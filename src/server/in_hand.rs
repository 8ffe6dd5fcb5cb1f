//! Answers that were made and not sent.

use crate::api;
use crate::http::problem::Problem;
use crate::http::response::{Encoder, Envelope, Reply};
use crate::node::{AckRequirement, Reached};
use crate::observe::{Asked, Marks};
use crate::wal::Refusal;
use std::ops::Range;
use std::time::Instant;

/// Largest answer that is deferred, in bytes: a socket has room for it at once.
const DEFERRED_BYTES_MAX: usize = 4096;

/// An answer that may not go out before the log has a write.
#[derive(Debug)]
pub(crate) struct DeferredResponse {
    pub(crate) bytes: Vec<u8>,
    /// What must be in the log; none once it is, or once the bytes say that it is not.
    pub(crate) offset: Option<u64>,
    pub(crate) envelope: Envelope,
    /// Of the request that it answers.
    pub(crate) marks: Marks,
    /// Since when it waits for the log.
    pub(crate) waits_since: Instant,
}

/// An answer that acknowledges a write, and may not go out before the log has it.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    /// Where it stands among the bytes; where it will, if it is not encoded yet.
    answer: Range<usize>,
    /// What is encoded once it is known how many replicas have the write.
    pub(super) unencoded: Option<Unencoded>,
    pub(super) offset: u64,
    envelope: Envelope,
    /// Its place among the marks.
    mark: usize,
}

/// An answer that waits for replicas: it says how many have the write.
#[derive(Debug)]
pub(super) struct Unencoded {
    reply: Reply,
    body: Vec<u8>,
    pub(super) sync: AckRequirement,
    /// Who has it.
    pub(super) reached: Option<Reached>,
}

/// Answers that were made and not sent.
#[derive(Debug, Default)]
pub(super) struct InHand {
    pub(super) bytes: Vec<u8>,
    pub(super) unacknowledged: Vec<Unacknowledged>,
    /// The bodies of answers that are not encoded yet.
    pub(super) unencoded_bytes: usize,
    /// Of the requests that they answer.
    pub(super) marks: Marks,
    /// Since when the first write waits for the log; none where none does.
    pub(super) waits_since: Option<Instant>,
}

impl InHand {
    /// Appends the answer to what was asked.
    pub(super) fn push(
        &mut self,
        encoder: &Encoder,
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
                encoder.encode(&mut self.bytes, envelope, &reply, body);
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

    /// Takes out the one answer that waits, where it acknowledges a write and nothing else waits to be sent.
    pub(super) fn take_unacknowledged(&mut self) -> Option<DeferredResponse> {
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
            waits_since: self.waits_since.take().unwrap_or_else(Instant::now),
        })
    }

    /// Puts such an answer back, before anything else.
    pub(super) fn put_back(&mut self, left: DeferredResponse) {
        debug_assert!(self.bytes.is_empty(), "taken back before other answers are made");
        self.bytes = left.bytes;
        self.marks = left.marks;
        if let Some(offset) = left.offset {
            self.waits_since = Some(left.waits_since);
            self.unacknowledged.push(Unacknowledged {
                answer: 0..self.bytes.len(),
                unencoded: None,
                offset,
                envelope: left.envelope,
                mark: 0,
            });
        }
    }

    /// Puts a problem in place of every answer that acknowledges a write, and says in the last that the connection ends.
    pub(super) fn revoke_all(&mut self, encoder: &Encoder, refusal: &Refusal) {
        let end = self.bytes.len();
        if let Some(last) = self.unacknowledged.last_mut()
            && last.answer.end == end
        {
            last.envelope.close = true;
        }
        self.finish(encoder, |_| Some(Problem::of_refusal(refusal)));
    }

    /// Encodes the answers to writes that are not encoded yet, and puts a problem in place of those for which there
    /// is one. Returns the status of the last of these.
    pub(super) fn finish(
        &mut self,
        encoder: &Encoder,
        problem: impl Fn(&Unacknowledged) -> Option<Problem>,
    ) -> Option<u16> {
        self.unencoded_bytes = 0;
        let answers = std::mem::take(&mut self.bytes);
        let mut revoked = None;
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
                    revoked = Some(problem.kind.status);
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
            encoder.encode(&mut self.bytes, write.envelope, &reply, &body);
            self.marks.set_bytes(write.mark, self.bytes.len() - start);
        }
        self.bytes.extend_from_slice(&answers[copied..]);
        revoked
    }

    /// Gives memory back, except for `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
        self.marks.shrink_to(bytes);
        self.unacknowledged.shrink_to(bytes / size_of::<Unacknowledged>());
    }
}
