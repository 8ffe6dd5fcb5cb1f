//! What the writer has taken from the channel and not yet written: encoded records.
//!
//! # Invariants
//! - It holds complete records, and complete batches of them, that follow one another.
//! - They leave it only when a write has taken them all ([`WriteBuffer::clear_written`]) or a base holds them
//!   ([`WriteBuffer::drop_waiting`]). So a write that failed half-way is made again from its start.
//! - `last` and `digest` are those at its end.

use super::branch::Branch;
use super::entry::{Change, Entry, WriteRequest};
use super::last_record::LastRecord;
use crate::digest::Digest;
use crate::record::{Operation, Record};
use crossbeam_channel::Receiver;

/// Most that is encoded for one write, in bytes (and one record or batch more): long enough for any batch of small
/// records, short enough that its buffer does not count.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The buffer that is kept from one batch to the next, in bytes.
const KEPT_BYTES: usize = 1 << 20;

pub(super) struct WriteBuffer {
    requests: Receiver<WriteRequest>,
    bytes: Vec<u8>,
    /// What its records hold of the budget.
    held_bytes: u64,
    /// The branches that begin in it.
    branches: Vec<Branch>,
    /// The record before its end, where it is known.
    last: Option<LastRecord>,
    digest: Digest,
}

impl WriteBuffer {
    pub(super) fn new(requests: Receiver<WriteRequest>) -> WriteBuffer {
        WriteBuffer {
            requests,
            bytes: Vec::new(),
            held_bytes: 0,
            branches: Vec::new(),
            last: None,
            digest: Digest::default(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What its records hold of the budget.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// The digest of the store at its end.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn set_digest(&mut self, digest: Digest) {
        self.digest = digest;
    }

    pub(super) fn last(&self) -> Option<LastRecord> {
        self.last
    }

    pub(super) fn set_last(&mut self, last: Option<LastRecord>) {
        self.last = last;
    }

    /// Takes what waits in the channel, and encodes it after what is there.
    pub(super) fn fill(&mut self) {
        while self.bytes.len() < BATCH_BYTES_MAX {
            let Ok(request) = self.requests.try_recv() else {
                return;
            };
            match request {
                WriteRequest::One(entry) => self.encode(entry, false),
                WriteRequest::Batch(batch) => {
                    let last = batch.len().saturating_sub(1);
                    for (at, entry) in batch.into_iter().enumerate() {
                        self.encode(entry, at < last);
                    }
                }
                WriteRequest::Raw {
                    bytes,
                    branches,
                    last,
                } => {
                    self.bytes.extend_from_slice(&bytes);
                    self.held_bytes += bytes.len() as u64;
                    self.branches.extend(branches);
                    self.last = last;
                }
            }
        }
    }

    /// Empties it after a write. Returns the branches that have begun with what was written.
    pub(super) fn clear_written(&mut self) -> impl Iterator<Item = Branch> {
        self.bytes.clear();
        self.held_bytes = 0;
        self.bytes.shrink_to(KEPT_BYTES);
        self.branches.drain(..)
    }

    /// Drops all that it has, and all that waits in the channel. Returns what that held of the budget.
    pub(super) fn drop_waiting(&mut self) -> u64 {
        let mut dropped = 0;
        loop {
            self.fill();
            if self.bytes.is_empty() {
                return dropped;
            }
            dropped += std::mem::take(&mut self.held_bytes);
            self.bytes.clear();
            self.branches.clear();
            self.last = None;
        }
    }

    fn encode(&mut self, entry: Entry, more: bool) {
        let record = match &entry.change {
            Change::Put { pair, replaced } => {
                let operation = match replaced {
                    Some(_) => Operation::Update,
                    None => Operation::Set,
                };
                Record {
                    deadline_ms: pair.deadline_ms(),
                    more,
                    ..Record::new(operation, entry.timestamp_ms, pair.key(), pair.value())
                }
            }
            Change::Removed { operation, pair, .. } => Record {
                more,
                ..Record::new(*operation, entry.timestamp_ms, pair.key(), &[])
            },
        };
        let at = self.bytes.len();
        self.held_bytes += entry.change.record_bytes() + entry.change.held_bytes();
        record.encode(entry.start, &mut self.bytes);
        self.last = LastRecord::of_bytes(entry.start, &self.bytes[at..]);
        let end = entry.start + record.encoded_bytes() as u64;
        match &entry.change {
            Change::Put { pair, replaced } => {
                if let Some((replaced, version)) = replaced {
                    self.digest.remove(replaced, *version);
                }
                self.digest.add(pair, end);
            }
            Change::Removed { pair, version, .. } => self.digest.remove(pair, *version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Pair;
    use crossbeam_channel::{Sender, unbounded};

    fn buffer() -> (WriteBuffer, Sender<WriteRequest>) {
        let (sender, requests) = unbounded();
        (WriteBuffer::new(requests), sender)
    }

    fn entry(start: u64, key: &str) -> Entry {
        Entry {
            start,
            timestamp_ms: 0,
            change: Change::Put {
                pair: Pair::new(key.as_bytes(), b"value"),
                replaced: None,
            },
        }
    }

    /// Bytes of the record of an entry with a key of one byte: a head of 20, the key, the value of 5.
    const ENTRY_BYTES: u64 = 26;

    fn records(bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let (mut at, mut records) = (0, Vec::new());
        while at < bytes.len() {
            let (record, bytes) = Record::decode(at as u64, &bytes[at..]).unwrap();
            records.push((record.key.to_vec(), record.more));
            at += bytes;
        }
        records
    }

    #[test]
    fn records_follow_one_another_and_a_batch_says_where_it_ends() {
        let (mut buffer, sender) = buffer();
        let at = |n: u64| n * ENTRY_BYTES;
        sender.send(WriteRequest::One(entry(0, "a"))).unwrap();
        let batch = vec![entry(at(1), "b"), entry(at(2), "c")];
        sender.send(WriteRequest::Batch(batch)).unwrap();
        buffer.fill();
        let record = |key: &str, more| (key.as_bytes().to_vec(), more);
        let expected = [record("a", false), record("b", true), record("c", false)];
        assert_eq!(records(buffer.bytes()), expected);
        assert_eq!(buffer.last().unwrap().start, at(2));
        assert_eq!(buffer.clear_written().count(), 0);
        assert!(buffer.is_empty());
        assert_eq!(
            buffer.last().unwrap().start,
            at(2),
            "it is still the last of the log"
        );
    }

    #[test]
    fn the_digest_is_that_of_what_is_left() {
        let (mut buffer, sender) = buffer();
        let pair = Pair::new(b"a", b"value");
        sender.send(WriteRequest::One(entry(0, "a"))).unwrap();
        let mut expected = Digest::default();
        expected.add(&pair, ENTRY_BYTES);
        buffer.fill();
        assert_eq!(buffer.digest(), expected);
        let change = Change::Removed {
            operation: Operation::Delete,
            pair,
            version: ENTRY_BYTES,
        };
        let removed = Entry {
            start: ENTRY_BYTES,
            timestamp_ms: 0,
            change,
        };
        sender.send(WriteRequest::One(removed)).unwrap();
        buffer.fill();
        assert_eq!(buffer.digest(), Digest::default());
    }

    #[test]
    fn a_record_holds_what_it_took_out_of_the_store() {
        let (mut buffer, sender) = buffer();
        let value = vec![b'v'; 100_000];
        let put = Entry {
            start: 0,
            timestamp_ms: 0,
            change: Change::Put {
                pair: Pair::new(b"a", b"value"),
                replaced: Some((Pair::new(b"a", &value), 7)),
            },
        };
        sender.send(WriteRequest::One(put)).unwrap();
        buffer.fill();
        assert!((100_000..140_000).contains(&buffer.held_bytes()));
        assert!(buffer.bytes().len() < 100);
        assert_eq!(buffer.clear_written().count(), 0);
        assert_eq!(buffer.held_bytes(), 0);
    }

    #[test]
    fn one_fill_is_bounded_and_a_drop_takes_all() {
        let (mut buffer, sender) = buffer();
        let raw = || WriteRequest::Raw {
            bytes: vec![0; BATCH_BYTES_MAX],
            branches: Vec::new(),
            last: None,
        };
        (0..3).for_each(|_| sender.send(raw()).unwrap());
        buffer.fill();
        assert_eq!(buffer.bytes().len(), BATCH_BYTES_MAX);
        assert_eq!(buffer.drop_waiting(), 3 * BATCH_BYTES_MAX as u64);
        assert!(buffer.is_empty() && buffer.last().is_none());
    }
}
