//! Where records get their offsets: the end of the log, as the store's lock guards it.

use super::budget::Budget;
use super::entry::{Change, Entry, WriteRequest, put_bytes};
use super::health::{Health, Refusal};
use super::shared::Shared;
use crate::boot_clock::Fence;
use crate::pair::Pair;
use crate::record::OFFSET_MAX;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The largest offset at which a log takes writes, and that a node takes from a backup or from another node. The rest
/// is left for one write with its evictions, and for the starts of a node, each of which moves the offset by some GB.
pub(crate) const OFFSET_TAKEN_MAX: u64 = OFFSET_MAX - (1 << 40);

/// Room in the budget for records to come, given back as far as they are not made.
pub(crate) struct Reserved<'a> {
    pub(super) budget: &'a Budget,
    pub(super) bytes: u64,
}

impl Reserved<'_> {
    /// Leaves so much of the room to records, which give it back when they are written.
    pub(crate) fn spend(mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// The place where records get their offsets. There is one, and it belongs under the store's lock.
pub(crate) struct Appender {
    next: u64,
    requests: Sender<WriteRequest>,
    /// Where a batch is being made: what it has so far.
    batch: Option<Vec<Entry>>,
    /// Whether the node is a replica: offsets are given elsewhere.
    is_closed: bool,
    /// No record is taken once it is over.
    fence: Fence,
    shared: Arc<Shared>,
}

impl Appender {
    pub(super) fn new(next: u64, requests: Sender<WriteRequest>, shared: Arc<Shared>) -> Appender {
        Appender {
            next,
            requests,
            batch: None,
            is_closed: false,
            fence: Fence::default(),
            shared,
        }
    }

    /// Hands a change over, for which room was reserved, and returns the offset just past its record.
    pub(crate) fn append(&mut self, timestamp_ms: u64, change: Change) -> u64 {
        let start = self.next;
        self.shared.budget.take(change.held_bytes());
        self.next += change.record_bytes();
        let entry = Entry {
            start,
            timestamp_ms,
            change,
        };
        match &mut self.batch {
            Some(batch) => batch.push(entry),
            None => self.send(WriteRequest::One(entry)),
        }
        self.next
    }

    /// As [`Appender::append`], for a change that no client waits for: room is taken whether there is some
    /// or not.
    pub(crate) fn append_unreserved(&mut self, timestamp_ms: u64, change: Change) -> u64 {
        self.shared.budget.take(change.record_bytes());
        self.append(timestamp_ms, change)
    }

    /// The version that a pair will have that is put next.
    pub(crate) fn version_of_next(&self, pair: &Pair) -> u64 {
        self.next + put_bytes(pair)
    }

    /// Makes all that is appended until [`Appender::end_batch`] count together or not at all.
    pub(crate) fn begin_batch(&mut self, room: BatchRoom) {
        self.batch = Some(room.0);
    }

    /// Hands the batch over.
    pub(crate) fn end_batch(&mut self) {
        if let Some(batch) = self.batch.take().filter(|batch| !batch.is_empty()) {
            self.send(WriteRequest::Batch(batch));
        }
    }

    fn send(&mut self, request: WriteRequest) {
        // The receiver is in `shared`, which this holds: sending cannot fail.
        let _ = self.requests.send(request);
        self.shared.appended.store(self.next, Ordering::Release);
    }

    /// Takes no record any more once a fence is over.
    pub(crate) fn set_fence(&mut self, fence: Fence) {
        self.fence = fence;
    }

    /// Leaves the records to another node, or takes them on again from `next` on.
    pub(crate) fn set_closed(&mut self, is_closed: bool) {
        self.is_closed = is_closed;
    }

    /// Notes that the store holds everything up to an offset, where another node gives the offsets.
    pub(crate) fn set_next(&mut self, next: u64) {
        self.next = next;
        self.shared.appended.store(next, Ordering::Release);
    }

    /// Whether a record can be taken. Asked under the store's lock, before the change: after a failure was
    /// noted no change slips through.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.is_closed {
            return Err(Refusal::Replica);
        }
        if self.fence.is_over() {
            return Err(Refusal::LeaseOver);
        }
        self.shared.commit.check()?;
        if self.next > OFFSET_TAKEN_MAX {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }

    /// As [`Appender::check`], for a record that removes something: a disk without room for others has some for
    /// that.
    pub(crate) fn check_removal(&self) -> Result<(), Refusal> {
        match self.check() {
            Err(Refusal::Unhealthy(Health::Short { .. })) => self.shared.commit.check_removal(),
            checked => checked,
        }
    }

    /// The offset just past the last record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }
}

/// Memory for a batch, made outside the lock.
pub(crate) struct BatchRoom(Vec<Entry>);

impl BatchRoom {
    /// For so many changes; more find room too, at the cost of an allocation.
    pub(crate) fn new(changes: usize) -> BatchRoom {
        BatchRoom(Vec::with_capacity(changes))
    }
}
