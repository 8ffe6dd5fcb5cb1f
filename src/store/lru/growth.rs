//! How the index grows: keys that are hashed again are loaded first, and a replay makes room at once. And how what many
//! changes will need is loaded.

use super::LruMap;
use crate::store::slab::{NIL, Slot};
use std::hash::BuildHasher;
use std::hint::black_box;

impl LruMap {
    /// Makes room in the index for so many entries, or for as many as the bounds allow.
    pub(in crate::store) fn reserve_index(&mut self, entries: u64) {
        let entries = entries.min(self.limits.entries_max);
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.index.reserve(
            entries,
            |slots| slab.touch_keys(slots),
            |&other| hasher.hash_one(slab[other].key()),
        );
    }

    /// Gives back what the index has room for and does not need.
    pub(in crate::store) fn fit_index(&mut self) {
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.index.fit(|&other| hasher.hash_one(slab[other].key()));
    }

    /// Loads what changes of keys with these hashes will need: the index, the entries, their keys, and their neighbours
    /// in the order of use. Each loop's loads depend on nothing in the same loop, so the processor does them side by
    /// side. `slots` is room to work in.
    pub(in crate::store) fn load(&self, hashes: impl Iterator<Item = u64>, slots: &mut Vec<Slot>) {
        slots.clear();
        // One that may be that of the key: no entry is looked at yet.
        slots.extend(hashes.filter_map(|hash| self.index.find(hash, |_| true)));
        for &slot in &*slots {
            black_box(self.slab[slot].version());
        }
        for &slot in &*slots {
            let entry = &self.slab[slot];
            // A pair may lie on several lines of the cache.
            black_box(entry.key().first());
            black_box(entry.key_and_value().last());
            for neighbour in [entry.newer, entry.older] {
                if neighbour != NIL {
                    black_box(self.slab[neighbour].version());
                }
            }
        }
    }

    /// How many entries the index has room for.
    #[cfg(test)]
    pub(in crate::store) fn index_capacity(&self) -> usize {
        self.index.capacity()
    }
}
