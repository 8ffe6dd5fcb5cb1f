//! The map: entries in a slab, found by an index, ordered by use.
//!
//! Knows no lock, no I/O and no clock. Lookup, insertion, removal and eviction are O(1); the order is
//! exact: the entry evicted is the one whose last read or write is the longest ago.
//!
//! # Invariants
//! - A slot is live if and only if it is in the index under its key's hash and in the LRU list, once each.
//! - `entries` and `bytes` are the sums over the live entries.
//! - `order` has the live entries, where there is one; see there.
//! - `deadlines` has exactly the live entries that have a deadline. That one has come changes nothing here:
//!   an entry lives until it is removed.

mod apply;
mod growth;
mod ordered;
mod samples;
mod steps;
mod walk;

pub(super) use apply::Replayed;
pub(crate) use walk::Walk;

use super::counters::Counters;
use super::deadlines::{DEADLINE_OVERHEAD_BYTES, Deadlines};
use super::index::Index;
use super::order::Order;
use super::samples::Samples;
use super::slab::{Entry, NIL, SLOTS_MAX, Slab, Slot};
use crate::digest::{self, Digest};
use crate::pair::Pair;
use std::hash::{BuildHasher, RandomState};

/// What an entry is counted with beside the allocation of its key and value, in bytes: 32 for the slab
/// and some 12 for its place in the index, whose tables are between 44 % and 88 % full at 5 bytes a place.
pub(crate) const ENTRY_OVERHEAD_BYTES: u64 = 44;

/// The bounds of the store. What is over them is evicted, least recently used first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entries held.
    pub entries_max: u64,
    /// Most bytes held: keys, values, and what the store adds to them.
    pub bytes_max: u64,
}

impl Limits {
    /// Slots are 32-bit numbers, of which one is the marker of a walk.
    pub const ENTRIES_MAX: u64 = SLOTS_MAX as u64 - 1;
}

/// A least-recently-used map from keys to values.
pub(crate) struct LruMap {
    slab: Slab,
    index: Index,
    /// From the first listing by prefix on.
    order: Option<Order>,
    deadlines: Deadlines,
    hasher: RandomState,
    limits: Limits,
    newest: Slot,
    oldest: Slot,
    /// A slot that is no entry: how far a walk by order of use has come. Linked into the list only while
    /// there is a walk.
    marker: Slot,
    walk: Option<Walk>,
    bytes: u64,
    /// Bytes that are free and kept for one write.
    kept_bytes: u64,
    /// What happened so far; `entries` and `bytes` in it are filled in by [`LruMap::counters`].
    pub(crate) counters: Counters,
    samples: Samples,
}

/// What an entry of this pair is counted with, in bytes.
pub(crate) fn cost_bytes(pair: &Pair) -> u64 {
    entry_cost_bytes(pair.bytes().allocated_bytes(), pair.deadline_ms().is_some())
}

fn entry_cost_bytes(allocated_bytes: usize, has_deadline: bool) -> u64 {
    let deadline = if has_deadline { DEADLINE_OVERHEAD_BYTES } else { 0 };
    allocated_bytes as u64 + ENTRY_OVERHEAD_BYTES + deadline
}

/// The size of a map, in entries, that its hit ratio is one of: how many it may hold, where that is what bounds it.
fn size(limits: &Limits, counters: &Counters) -> u64 {
    let is_bounded_by_bytes = counters.evictions > 0 || limits.entries_max == Limits::ENTRIES_MAX;
    match is_bounded_by_bytes && counters.entries < limits.entries_max {
        true => counters.entries,
        false => limits.entries_max,
    }
}

impl LruMap {
    /// An empty map. `hasher` must be the one that callers hash their keys with.
    pub(crate) fn new(limits: Limits, hasher: RandomState) -> LruMap {
        let mut slab = Slab::new();
        let marker = slab.insert_marker();
        LruMap {
            slab,
            index: Index::new(),
            order: None,
            deadlines: Deadlines::default(),
            hasher,
            limits,
            newest: NIL,
            oldest: NIL,
            marker,
            walk: None,
            bytes: 0,
            kept_bytes: 0,
            counters: Counters::default(),
            samples: Samples::default(),
        }
    }

    /// The entries held.
    pub(crate) fn entries(&self) -> u64 {
        self.counters.entries
    }

    /// The counters, and what is held now.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            bytes: self.bytes,
            ..self.counters
        }
    }

    /// Counts on where another map was.
    pub(crate) fn take_counters(&mut self, other: &LruMap) {
        let entries = self.counters.entries;
        self.counters = Counters {
            entries,
            ..other.counters
        };
    }

    /// The slot of a key. Leaves its recency alone. `hash` is the key's, by the hasher of this map.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.index.find(hash, |&slot| self.slab[slot].key() == key)
    }

    /// As [`LruMap::find`], where the entry's deadline has not come. `now_ms` is asked for where it has one.
    pub(crate) fn find_live(&self, hash: u64, key: &[u8], now_ms: impl FnOnce() -> u64) -> Option<Slot> {
        let slot = self.find(hash, key)?;
        (!self.slab[slot].is_expired(now_ms)).then_some(slot)
    }

    pub(crate) fn entry(&self, slot: Slot) -> &Entry {
        &self.slab[slot]
    }

    /// Counts a read that found its key, and makes the entry the most recently used.
    pub(crate) fn hit(&mut self, hash: u64, slot: Slot) {
        self.counters.hits += 1;
        self.touch(slot);
        self.samples.hottest.read(slot);
        let (limits, counters) = (&self.limits, &self.counters);
        self.samples.sampler.hit(hash, || size(limits, counters));
    }

    /// Counts a read that did not.
    pub(crate) fn miss(&mut self, hash: u64) {
        self.counters.misses += 1;
        self.samples.sampler.miss(hash);
    }

    /// Makes an entry the most recently used.
    pub(crate) fn touch(&mut self, slot: Slot) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    /// Whether another entry of `cost` bytes, in place of one of `cost_replaced`, is over a bound.
    pub(crate) fn is_over(&self, entries_more: u64, cost: u64, cost_replaced: u64) -> bool {
        self.counters.entries + entries_more > self.limits.entries_max
            || self.bytes + self.kept_bytes - cost_replaced + cost > self.limits.bytes_max
    }

    /// Keeps as much of what is free for a write as it needs, so that others do not take it; none for 0.
    pub(crate) fn keep_room(&mut self, bytes: u64) {
        self.kept_bytes = bytes.min(self.limits.bytes_max.saturating_sub(self.bytes));
    }

    pub(crate) fn cost_of(&self, slot: Slot) -> u64 {
        let entry = &self.slab[slot];
        entry_cost_bytes(entry.allocated_bytes(), entry.has_deadline())
    }

    /// The entry to evict next.
    pub(crate) fn oldest(&self) -> Option<Slot> {
        let oldest = if self.oldest == self.marker {
            self.slab[self.marker].newer
        } else {
            self.oldest
        };
        (oldest != NIL).then_some(oldest)
    }

    /// Adds a key that is not in the map, as the most recently used.
    pub(super) fn insert(&mut self, hash: u64, pair: Pair, version: u64) -> Slot {
        self.bytes += cost_bytes(&pair);
        self.counters.entries += 1;
        let deadline_ms = pair.deadline_ms();
        let bytes = pair.key_and_value().len() as u64;
        let slot = self.slab.insert(pair, version);
        self.samples.largest.add(slot, bytes);
        let (limits, counters) = (&self.limits, &self.counters);
        self.samples.sampler.added(hash, || size(limits, counters));
        self.deadlines.insert(deadline_ms, slot);
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.index.insert(
            hash,
            slot,
            |slots| slab.touch_keys(slots),
            |&other| hasher.hash_one(slab[other].key()),
        );
        if let Some(order) = &mut self.order {
            order.insert(&self.slab, slot);
        }
        self.link_newest(slot);
        slot
    }

    pub(super) fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// Gives an entry a new value, makes it the most recently used, and returns what it held. `hash` is its key's.
    pub(super) fn replace(&mut self, hash: u64, slot: Slot, pair: Pair, version: u64) -> Pair {
        let bytes_before = self.slab[slot].key_and_value().len() as u64;
        self.samples
            .largest
            .change(slot, bytes_before, pair.key_and_value().len() as u64);
        self.note_update(hash);
        self.bytes = self.bytes - self.cost_of(slot) + cost_bytes(&pair);
        self.deadlines.remove(self.slab[slot].deadline_ms(), slot);
        self.deadlines.insert(pair.deadline_ms(), slot);
        self.touch(slot);
        self.slab[slot].replace(pair, version)
    }

    /// Removes an entry that a map of any size would lose, and returns what it held.
    pub(super) fn remove(&mut self, slot: Slot) -> Pair {
        let hash = self.hasher.hash_one(self.slab[slot].key());
        self.samples.sampler.removed(hash);
        self.take_out(hash, slot)
    }

    /// Removes an entry for want of room, and returns what it held.
    pub(super) fn evict(&mut self, slot: Slot) -> Pair {
        let hash = self.hasher.hash_one(self.slab[slot].key());
        self.take_out(hash, slot)
    }

    fn take_out(&mut self, hash: u64, slot: Slot) -> Pair {
        self.bytes -= self.cost_of(slot);
        self.counters.entries -= 1;
        self.deadlines.remove(self.slab[slot].deadline_ms(), slot);
        let bytes = self.slab[slot].key_and_value().len() as u64;
        self.samples.vacated(slot, bytes);
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.index
            .remove(hash, slot, |&other| hasher.hash_one(slab[other].key()));
        if let Some(order) = &mut self.order {
            order.remove(&self.slab, slot);
        }
        self.unlink(slot);
        self.slab.remove(slot)
    }

    /// The earliest deadline, and whose it is.
    pub(crate) fn first_deadline(&self) -> Option<(u64, Slot)> {
        self.deadlines.first()
    }

    /// The entries that have a deadline.
    pub(crate) fn entries_with_deadline(&self) -> u64 {
        self.deadlines.len() as u64
    }

    /// The digest of all entries. Looks at every one of them.
    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.walk(0, usize::MAX, |_, entry| {
            let hash = digest::hash(
                entry.key_and_value(),
                entry.key().len(),
                entry.version(),
                entry.deadline_ms(),
            );
            digest.add_hash(hash);
            true
        });
        digest
    }

    /// The live entries in up to `slots` slots from `from` on, in order of slots, and where to go on; `None`
    /// at the end. Where `each` says `false`, the walk is to go on with that very entry. As an entry keeps its
    /// slot, one that lives throughout a walk is seen exactly once.
    pub(crate) fn walk(
        &self,
        from: Slot,
        slots: usize,
        mut each: impl FnMut(Slot, &Entry) -> bool,
    ) -> Option<Slot> {
        let first = self.slab.next_live(from)?;
        let end = (first as usize).saturating_add(slots).min(self.slab.slots());
        for slot in first as usize..end {
            let slot = slot as Slot;
            if let Some(entry) = self.slab.get(slot)
                && !each(slot, entry)
            {
                return Some(slot);
            }
        }
        (end < self.slab.slots()).then_some(end as Slot)
    }

    fn note_update(&mut self, hash: u64) {
        let (limits, counters) = (&self.limits, &self.counters);
        self.samples.sampler.updated(hash, || size(limits, counters));
    }

    fn link_newest(&mut self, slot: Slot) {
        self.link_between(slot, self.newest, NIL);
    }

    fn link_between(&mut self, slot: Slot, older: Slot, newer: Slot) {
        let entry = &mut self.slab[slot];
        entry.older = older;
        entry.newer = newer;
        match older {
            NIL => self.oldest = slot,
            _ => self.slab[older].newer = slot,
        }
        match newer {
            NIL => self.newest = slot,
            _ => self.slab[newer].older = slot,
        }
    }

    fn unlink(&mut self, slot: Slot) {
        let (newer, older) = (self.slab[slot].newer, self.slab[slot].older);
        match newer {
            NIL => self.newest = older,
            _ => self.slab[newer].older = older,
        }
        match older {
            NIL => self.oldest = newer,
            _ => self.slab[older].newer = newer,
        }
    }
}
