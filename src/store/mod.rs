//! Memory: the LRU map and the lock it is shared under.
//!
//! | file | what it is |
//! | --- | --- |
//! | `slab` | the entries, each in a slot of its own |
//! | `index` | from a key to its slot |
//! | `order` | the keys in order, from the first listing by prefix on |
//! | `deadlines` | which entry expires when |
//! | `lru` | the map of both, with the order of use and the bounds |
//! | `samples` | how it is used: the hit ratio at other sizes, the hottest and the largest entries |
//! | `changes` | changes of the map and of the log in one hold of the lock |
//! | `replicated` | changes that another node has made |
//! | `counters` | what the store counts |
//! | `holds` | how long the lock is held, for `benches/holds.rs` alone |
//! | `replay` | from the log into the map, many records at a time |
//!
//! `Store` puts the map and the end of the log under one mutex. It is a plain [`Mutex`], not a
//! reader-writer lock: every read moves its entry to the front of the LRU list, so there are no readers.
//! It is one for both because a change's place in the log must be the order in which it was made: offset
//! and hand-over to the log's channel belong to the same hold as the change.
//!
//! What may happen under the lock: lookups, links, moving a pair that was allocated before, copying a
//! small value into room that was made before. Not: I/O, encoding, checksums, freeing, waiting. So it is
//! held for about a microsecond, and nobody ever waits for a disk behind it.

mod changes;
mod counters;
mod deadlines;
#[cfg(feature = "measure-holds")]
pub mod holds;
mod index;
mod lru;
mod order;
mod replay;
mod replicated;
mod samples;
mod slab;

#[cfg(test)]
mod tests;

pub(crate) use changes::Prepared;
pub(crate) use counters::Counters;
pub use lru::Limits;
pub(crate) use lru::Walk;
pub(crate) use lru::{ENTRY_OVERHEAD_BYTES, LruMap, cost_bytes};
pub(crate) use order::Counted;
pub(crate) use replay::replay;
pub(crate) use replicated::ReplicatedChange;
pub(crate) use samples::Curve;
#[cfg(test)]
use slab::VERSION_MAX;
pub(crate) use slab::{Entry, NIL, Slot};

use crate::lock_order::{Rank, Ranked};
use crate::waits;
use crate::wal::{Appender, Batch, Source};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Instant;

/// Bytes of a base's record beside key and value.
const RECORD_OVERHEAD_BYTES: u64 = 28;

/// What the store's lock guards.
pub(crate) struct Locked {
    pub(crate) map: LruMap,
    pub(crate) log: Appender,
}

/// The map and the end of the log, under one lock.
pub(crate) struct Store {
    locked: Mutex<Locked>,
    /// The map's own hasher, to be had without the lock. SipHash with a random key: keys come from
    /// outside, and nobody may choose them to fall into one bucket.
    hasher: RandomState,
}

/// The store's lock, held.
pub(crate) type StoreGuard<'a> = Ranked<MutexGuard<'a, Locked>>;

impl Store {
    pub(crate) fn new(map: LruMap, log: Appender, hasher: RandomState) -> Store {
        Store {
            locked: Mutex::new(Locked { map, log }),
            hasher,
        }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The hasher, for a map that is to take this one's place.
    pub(crate) fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// Puts another map in this one's place, which then holds everything before `next`; returns the former
    /// one, to be freed outside the lock.
    pub(crate) fn replace(&self, mut map: LruMap, next: u64) -> LruMap {
        let mut locked = self.lock();
        map.take_counters(&locked.map);
        locked.log.set_next(next);
        std::mem::replace(&mut locked.map, map)
    }

    #[cfg(feature = "measure-holds")]
    #[track_caller]
    pub(crate) fn lock(&self) -> holds::Hold<'_> {
        holds::Hold::new(self.lock_unmeasured())
    }

    #[cfg(not(feature = "measure-holds"))]
    pub(crate) fn lock(&self) -> StoreGuard<'_> {
        self.lock_unmeasured()
    }

    fn lock_unmeasured(&self) -> StoreGuard<'_> {
        Ranked::take(Rank::Store, || self.lock_unranked())
    }

    fn lock_unranked(&self) -> MutexGuard<'_, Locked> {
        match self.locked.try_lock() {
            Ok(locked) => locked,
            Err(TryLockError::WouldBlock) => {
                let begun = Instant::now();
                let locked = self.locked.lock().expect("nothing under the store's lock panics");
                waits::for_lock_since(begun);
                locked
            }
            Err(TryLockError::Poisoned(_)) => panic!("nothing under the store's lock panics"),
        }
    }
}

impl Source for Store {
    fn tip(&self) -> u64 {
        self.lock().log.next()
    }

    fn size(&self) -> (u64, u64) {
        let counters = self.lock().map.counters();
        // A record has 28 bytes beside key and value where an entry is counted with 44.
        let bytes = counters.bytes - (ENTRY_OVERHEAD_BYTES - RECORD_OVERHEAD_BYTES) * counters.entries;
        (counters.entries, bytes)
    }

    fn start_walk(&self, version_max: u64) {
        let (slots, entries) = {
            let locked = self.lock();
            (locked.map.slots(), locked.map.entries())
        };
        let walk = Walk::new(slots, entries, version_max);
        self.lock().map.start_walk(walk);
    }

    fn walk(&self, batch: &mut Batch) -> bool {
        let steps = batch.steps();
        self.lock().map.walk_by_use(steps, |entry| take(batch, entry))
    }

    fn walk_slots(&self, from: Slot, version_max: u64, batch: &mut Batch) -> Option<Slot> {
        let steps = batch.steps();
        self.lock().map.walk(from, steps, |_, entry| {
            entry.version() > version_max || take(batch, entry)
        })
    }

    fn end_walk(&self) {
        self.lock().map.end_walk();
    }
}

/// Copies an entry, or takes a share of it where it is large; `false` where there is no room for it.
fn take(batch: &mut Batch, entry: &Entry) -> bool {
    if entry.is_shared() {
        return batch.share(|| entry.pair(), entry.version());
    }
    let key_bytes = entry.key().len();
    batch.copy(
        entry.key_and_value(),
        key_bytes,
        entry.version(),
        entry.deadline_ms(),
    )
}
