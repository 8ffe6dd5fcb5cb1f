//! The entries that are read most, by Space-Saving (Metwally, Agrawal and El Abbadi 2005).
//!
//! A read of an entry that has a counter counts; one of an entry that has none takes over the smallest counter, with
//! its count as what may be too much. So whatever has more than one in [`COUNTERS`] of all reads has a counter, and
//! what is reported, the count less what may be too much, is never too high for what was looked at.
//!
//! The first [`EXACT_READS`] reads are all looked at. From then on one in [`STEP`] is, picked as if by chance, and
//! counts for as many, so that it costs next to nothing where it would matter.

use super::slots::Slots;
use crate::store::slab::Slot;

/// Entries that are counted at once.
const COUNTERS: usize = 128;

const _: () = assert!(COUNTERS <= Slots::MAX);

/// Reads that are all looked at.
const EXACT_READS: u64 = 1 << 16;

/// One read in so many is looked at later on.
const STEP: u64 = 16;

/// Counts reads.
#[derive(Debug)]
pub(in crate::store) struct Hottest {
    reads: u64,
    /// The entries that have a counter.
    slots: Slots,
    counters: Vec<Counter>,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    reads: u64,
    /// Of them, at most so many are another entry's.
    too_many: u64,
}

impl Default for Hottest {
    fn default() -> Hottest {
        Hottest {
            reads: 0,
            slots: Slots::new(),
            counters: Vec::new(),
        }
    }
}

impl Hottest {
    /// An entry was read.
    pub(in crate::store) fn read(&mut self, slot: Slot) {
        self.reads += 1;
        if self.reads <= EXACT_READS {
            self.count(slot, 1);
        } else if self.reads.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 == 0 {
            // Fibonacci hashing of the number of the read: no pattern of reads goes along with it.
            self.count(slot, STEP);
        }
    }

    /// An entry is gone.
    pub(in crate::store) fn remove(&mut self, slot: Slot) {
        if let Some(at) = self.slots.find(slot) {
            self.slots.swap_remove(at);
            self.counters.swap_remove(at);
        }
    }

    /// The entries that are read most, and how often they were read at least, the most read first.
    pub(in crate::store) fn top(&self) -> Vec<(Slot, u64)> {
        let counts = self
            .counters
            .iter()
            .map(|counter| counter.reads - counter.too_many);
        let mut top: Vec<_> = self.slots.iter().zip(counts).collect();
        top.retain(|&(_, reads)| reads > 0);
        top.sort_unstable_by_key(|&(_, reads)| std::cmp::Reverse(reads));
        top
    }

    fn count(&mut self, slot: Slot, reads: u64) {
        if let Some(at) = self.slots.find(slot) {
            self.counters[at].reads += reads;
            return;
        }
        if self.slots.len() < COUNTERS {
            self.slots.push(slot);
            self.counters.push(Counter { reads, too_many: 0 });
            return;
        }
        let least = self
            .counters
            .iter()
            .enumerate()
            .min_by_key(|(_, counter)| counter.reads);
        let Some((at, &Counter { reads: least, .. })) = least else {
            return;
        };
        self.slots.replace(at, slot);
        self.counters[at] = Counter {
            reads: least + reads,
            too_many: least,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_entries_are_counted_exactly() {
        let mut hottest = Hottest::default();
        for slot in 0..100 {
            (0..=slot).for_each(|_| hottest.read(slot));
        }
        hottest.remove(99);
        let top = hottest.top();
        assert_eq!(top.len(), 99);
        assert_eq!(top[..2], [(98, 99), (97, 98)]);
    }

    #[test]
    fn the_hot_ones_are_found_among_many() {
        let mut hottest = Hottest::default();
        // Every tenth read is of one of five, every other of one that is read once.
        for read in 0..2_000_000_u32 {
            let slot = if read % 10 == 0 { read / 10 % 5 } else { 5 + read };
            hottest.read(slot);
        }
        let top = hottest.top();
        let mut hot: Vec<Slot> = top[..5].iter().map(|&(slot, _)| slot).collect();
        hot.sort_unstable();
        assert_eq!(hot, [0, 1, 2, 3, 4]);
        for &(_, reads) in &top[..5] {
            assert!((20_000..=44_000).contains(&reads), "{top:?}");
        }
    }
}
