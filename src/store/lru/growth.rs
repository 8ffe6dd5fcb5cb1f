//! How the index grows: keys that are hashed again are loaded first, and a replay makes room at once.

use super::LruMap;
use std::hash::BuildHasher;

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

    /// How many entries the index has room for.
    #[cfg(test)]
    pub(in crate::store) fn index_capacity(&self) -> usize {
        self.index.capacity()
    }
}
