//! Changes: of the map and of the log, in one hold of the lock.
//!
//! Each function here makes one change of the map and hands its record over. Whoever calls them has asked the
//! log before whether it takes records, and has checked all that can be refused.

use super::Locked;
use super::lru::LruMap;
use super::slab::Slot;
use crate::pair::Pair;
use crate::wal::{Appender, Change, Operation};

/// A pair to be put, made before the lock was taken.
pub(crate) struct Prepared {
    pub(crate) hash: u64,
    /// For the store, and the same for the log.
    pub(crate) pair: Pair,
    pub(crate) logged: Pair,
    pub(crate) cost_bytes: u64,
}

impl Locked {
    /// Puts a pair in place of the one in `slot`, or as a new one, and evicts what has no room any more.
    /// Returns the version, and whether no other deadline comes earlier.
    pub(crate) fn put(&mut self, slot: Option<Slot>, prepared: Prepared, timestamp_ms: u64) -> (u64, bool) {
        let Locked { map, log } = self;
        let Prepared {
            hash,
            pair,
            logged,
            cost_bytes,
        } = prepared;
        let replaced_cost = slot.map_or(0, |slot| {
            // First, so that the evictions to come never reach the entry itself.
            map.touch(slot);
            map.cost_of(slot)
        });
        evict(
            map,
            log,
            slot.is_none() as u64,
            cost_bytes,
            replaced_cost,
            timestamp_ms,
        );
        let version = log.version_of_next(&pair);
        let deadline_ms = pair.deadline_ms();
        match slot {
            Some(_) => map.counters.updates += 1,
            None => map.counters.adds += 1,
        }
        let (slot, replaced) = map.put(hash, slot, pair, version);
        // What was replaced goes along: the log needs it for the digest, and frees it outside the lock.
        let change = Change::Put {
            pair: logged,
            replaced,
        };
        log.append(timestamp_ms, change);
        let is_first = deadline_ms.is_some() && map.first_deadline().is_some_and(|(_, first)| first == slot);
        (version, is_first)
    }

    /// The slot of a key, for a write. One whose deadline has come is removed first, so that the write finds
    /// what a reader would.
    pub(crate) fn find_or_expire(&mut self, hash: u64, key: &[u8], now_ms: u64) -> Option<Slot> {
        let slot = self.map.find(hash, key)?;
        if self.map.entry(slot).is_expired(|| now_ms) {
            self.expire(slot, now_ms);
            return None;
        }
        Some(slot)
    }

    /// Removes the pair in `slot`, for which room was reserved, and returns the offset past its record.
    pub(crate) fn delete(&mut self, slot: Slot, timestamp_ms: u64) -> u64 {
        self.map.counters.deletes += 1;
        let change = removal(&mut self.map, slot, Operation::Delete);
        self.log.append(timestamp_ms, change)
    }

    /// Removes a pair whose deadline has come.
    pub(crate) fn expire(&mut self, slot: Slot, timestamp_ms: u64) -> u64 {
        self.map.counters.expiries += 1;
        let change = removal(&mut self.map, slot, Operation::Expire);
        self.log.append_unreserved(timestamp_ms, change)
    }

    /// Removes the pair that was used the longest ago, if there is one.
    pub(crate) fn evict_oldest(&mut self, timestamp_ms: u64) {
        evict_oldest(&mut self.map, &mut self.log, timestamp_ms);
    }
}

/// Evicts until an entry of `cost` bytes fits, in place of one of `replaced_cost` where there is one.
fn evict(
    map: &mut LruMap,
    log: &mut Appender,
    entries_more: u64,
    cost: u64,
    replaced_cost: u64,
    timestamp_ms: u64,
) {
    while map.is_over(entries_more, cost, replaced_cost) && map.entries() + entries_more > 1 {
        evict_oldest(map, log, timestamp_ms);
    }
}

fn evict_oldest(map: &mut LruMap, log: &mut Appender, timestamp_ms: u64) {
    let Some(slot) = map.oldest() else { return };
    map.counters.evictions += 1;
    let change = removal(map, slot, Operation::Evict);
    log.append_unreserved(timestamp_ms, change);
}

/// Takes an entry out. The log gets the pair itself: its key is what the record needs, all of it what the
/// digest needs, and the log's writer frees it outside the lock.
fn removal(map: &mut LruMap, slot: Slot, operation: Operation) -> Change {
    let (pair, version) = map.take(slot, operation);
    Change::Removed {
        operation,
        pair,
        version,
    }
}
