//! Reads of a node: one key at a time.

use super::{Found, Got, Meta, Node, sweep};
use crate::key::Key;
use crate::pair::Pair;

impl Node {
    /// Reads a key: appends its value to `value`. Makes the key the most recently used and counts a hit or a
    /// miss. An entry whose deadline has come is not there, swept or not.
    pub fn get(&self, key: Key<'_>, value: &mut Vec<u8>) -> Option<Found> {
        match self.read(key, value)? {
            Got::Copied(found) => Some(found),
            Got::Large(_) => {
                let (pair, found) = self.pair(key)?;
                value.extend_from_slice(pair.value());
                Some(found)
            }
        }
    }

    /// As [`Node::get`], except for a large value, which is left where it is.
    pub fn read(&self, key: Key<'_>, value: &mut Vec<u8>) -> Option<Got> {
        let hash = self.store.hash(key.as_bytes());
        loop {
            let mut locked = self.store.lock();
            let map = &mut locked.map;
            let Some(slot) = map.find_live(hash, key.as_bytes(), || self.clock.now_ms()) else {
                map.miss(hash);
                return None;
            };
            let entry = map.entry(slot);
            let found = Found::of(entry);
            let value_bytes = entry.value().len();
            let got = if entry.is_shared() {
                Got::Large(Meta { found, value_bytes })
            } else if value_bytes <= value.capacity() - value.len() {
                value.extend_from_slice(entry.value());
                Got::Copied(found)
            } else {
                // Room is made outside the lock; the key is then looked up anew.
                drop(locked);
                value.reserve(value_bytes);
                continue;
            };
            map.hit(hash, slot);
            return Some(got);
        }
    }

    /// The time that deadlines are counted from, in ms since the Unix epoch. Brings the clock back first where it is
    /// ahead of the system's.
    pub(super) fn now_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        if !self.clock.is_ahead() {
            return now_ms;
        }
        sweep::settle_clock(&self.store, &self.clock, &self.log.waiter());
        self.clock.now_ms()
    }

    /// How long there is until a deadline, in ms.
    pub fn ttl_ms(&self, deadline_ms: u64) -> u64 {
        deadline_ms.saturating_sub(self.clock.now_ms())
    }

    /// How far the node's clock has been ahead of what the system's says now, where that is more than some seconds:
    /// the system's was set back.
    pub fn clock_ahead(&self) -> Option<std::time::Duration> {
        self.clock.ahead()
    }

    /// A share of the key's pair: a copy, where it is small. Leaves recency and counters alone. Whoever holds it
    /// keeps its memory, whatever becomes of the key.
    pub(crate) fn pair(&self, key: Key<'_>) -> Option<(Pair, Found)> {
        let hash = self.store.hash(key.as_bytes());
        let locked = self.store.lock();
        let slot = locked
            .map
            .find_live(hash, key.as_bytes(), || self.clock.now_ms())?;
        let entry = locked.map.entry(slot);
        Some((entry.pair(), Found::of(entry)))
    }

    /// What is known of a key beside its value. Leaves recency and counters alone.
    pub fn peek(&self, key: Key<'_>) -> Option<Meta> {
        let hash = self.store.hash(key.as_bytes());
        let locked = self.store.lock();
        let slot = locked
            .map
            .find_live(hash, key.as_bytes(), || self.clock.now_ms())?;
        let entry = locked.map.entry(slot);
        Some(Meta {
            found: Found::of(entry),
            value_bytes: entry.value().len(),
        })
    }
}
