//! What the map tells of how it is used.

use super::{LruMap, size};
use crate::store::samples::Curve;
use crate::store::slab::Slot;

/// Keys that are reported as the most read.
const HOTTEST_TOLD: usize = 10;

/// A key, and what is reported of it: reads, or bytes.
pub(crate) type Told = (Box<[u8]>, u64);

impl LruMap {
    /// What the hit ratio would be at other sizes; none where too little was read.
    pub(crate) fn curve(&mut self) -> Option<Curve> {
        let size = size(&self.limits, &self.counters);
        self.samples.sampler.curve(size)
    }

    /// The keys that are read most, with a number of reads that is not too high except for chance.
    pub(crate) fn hottest(&self) -> Vec<Told> {
        let top = self.samples.hottest.top();
        self.told(&top[..top.len().min(HOTTEST_TOLD)])
    }

    /// The keys with the most bytes, themselves and their values.
    pub(crate) fn largest(&self) -> Vec<Told> {
        self.told(&self.samples.largest.top())
    }

    /// Whether [`LruMap::largest`] is not to be had without a look at all entries.
    pub(crate) fn is_largest_worn(&self) -> bool {
        self.samples.largest.is_worn(self.counters.entries)
    }

    /// Begins that look.
    pub(crate) fn forget_largest(&mut self) {
        self.samples.largest = Default::default();
    }

    /// Looks at up to `slots` of them; returns where to continue, if that was not all.
    pub(crate) fn find_largest(&mut self, from: Slot, slots: usize) -> Option<Slot> {
        let mut found = Vec::new();
        let next = self.walk(from, slots, |slot, entry| {
            found.push((slot, entry.key_and_value().len() as u64));
            true
        });
        for (slot, bytes) in found {
            self.samples.largest.add_again(slot, bytes);
        }
        next
    }

    fn told(&self, top: &[(Slot, u64)]) -> Vec<Told> {
        top.iter()
            .map(|&(slot, number)| (self.slab[slot].key().into(), number))
            .collect()
    }
}
