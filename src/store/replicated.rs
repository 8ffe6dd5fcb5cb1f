//! Changes that another node has made, as a replica applies them.
//!
//! They are whole when they come here: the pair is made, the key hashed. Under the lock they are only linked
//! in, a few in each hold, but a batch in one: nobody sees a part of it here either. What they replace is
//! freed outside the lock, and counted out of the digest, which a replica keeps here and not in the log's
//! writer: there it would not be known yet what a record replaces.

use super::Store;
use crate::digest::Digest;
use crate::pair::Pair;
use crate::record::{Operation, Record};

/// Changes applied in one hold of the lock, and the rest of the last one's batch.
const HOLD_CHANGES: usize = 64;

/// A record of another node's log, ready to be applied.
pub(crate) struct ReplicatedChange {
    operation: Operation,
    hash: u64,
    /// Of a removal, the key alone.
    pair: Pair,
    /// The offset just past the record.
    end: u64,
    /// What it adds to the digest.
    added: u64,
    /// Whether the next one is of the same batch.
    more: bool,
}

impl Store {
    /// Prepares a record; none where it tells of no key.
    pub(crate) fn copied(&self, record: &Record<'_>, end: u64) -> Option<ReplicatedChange> {
        record.operation.has_key().then(|| {
            let pair = Pair::with_deadline(record.key, record.value, record.deadline_ms);
            let mut added = Digest::default();
            if record.operation.is_put() {
                added.add(&pair, end);
            }
            ReplicatedChange {
                operation: record.operation,
                hash: self.hash(record.key),
                pair,
                end,
                added: added.0,
                more: record.more,
            }
        })
    }

    /// Applies changes, in their order, after which the store is at `end`; and brings the digest to what it
    /// then holds.
    pub(crate) fn apply(&self, changes: Vec<ReplicatedChange>, end: u64, digest: &mut Digest) {
        changes.iter().for_each(|change| digest.add_hash(change.added));
        let mut replaced: Vec<(Pair, u64)> = Vec::with_capacity(changes.len());
        let mut spent: Vec<Pair> = Vec::with_capacity(changes.len());
        let mut slots = Vec::with_capacity(HOLD_CHANGES);
        let mut changes = changes.into_iter();
        while !changes.as_slice().is_empty() {
            let next = &changes.as_slice()[..changes.len().min(HOLD_CHANGES)];
            let mut locked = self.lock();
            let map = &mut locked.map;
            map.load(next.iter().map(|change| change.hash), &mut slots);
            let (mut held, mut applied) = (0, 0);
            for change in changes.by_ref() {
                held += 1;
                applied = change.end;
                let is_last = held >= HOLD_CHANGES && !change.more;
                let slot = map.find(change.hash, change.pair.key());
                if change.operation.is_put() {
                    let (_, before) = map.put(change.hash, slot, change.pair, applied);
                    replaced.extend(before);
                } else {
                    replaced.extend(slot.map(|slot| map.take(slot, change.operation)));
                    spent.push(change.pair);
                }
                if is_last {
                    break;
                }
            }
            locked.log.set_next(applied);
        }
        self.lock().log.set_next(end);
        for (pair, version) in &replaced {
            digest.remove(pair, *version);
        }
    }
}
