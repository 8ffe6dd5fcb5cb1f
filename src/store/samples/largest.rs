//! The entries with the most bytes.
//!
//! A few more are kept than are reported, so that the reported ones stay the largest while some of them go. Entries
//! that were pushed out are not remembered; when too many of those kept have gone, the map has to be walked to know
//! anew ([`Largest::is_worn`]).

use super::slots::Slots;
use crate::store::slab::Slot;

/// Entries that are kept.
const KEPT: usize = 64;

const _: () = assert!(KEPT < Slots::MAX);

/// Entries that are reported.
pub(in crate::store) const TOLD: usize = 10;

/// The largest entries.
#[derive(Debug)]
pub(in crate::store) struct Largest {
    slots: Slots,
    bytes: Vec<u64>,
    /// Entries that were seen and are not kept have no more bytes than this; 0 while all are kept.
    least: u64,
}

impl Default for Largest {
    fn default() -> Largest {
        Largest {
            slots: Slots::new(),
            bytes: Vec::new(),
            least: 0,
        }
    }
}

impl Largest {
    /// A slot has got an entry of so many bytes.
    pub(in crate::store) fn add(&mut self, slot: Slot, bytes: u64) {
        if bytes > self.least {
            self.keep(slot, bytes);
        }
    }

    /// An entry that may be known already.
    pub(in crate::store) fn add_again(&mut self, slot: Slot, bytes: u64) {
        if self.slots.find(slot).is_none() {
            self.add(slot, bytes);
        }
    }

    /// The entry in a slot has got another value.
    pub(in crate::store) fn change(&mut self, slot: Slot, bytes_before: u64, bytes: u64) {
        if bytes_before != bytes {
            self.remove(slot, bytes_before);
            self.add(slot, bytes);
        }
    }

    /// A slot holds no entry any more.
    pub(in crate::store) fn remove(&mut self, slot: Slot, bytes: u64) {
        if bytes >= self.least
            && let Some(at) = self.slots.find(slot)
        {
            self.slots.swap_remove(at);
            self.bytes.swap_remove(at);
        }
    }

    /// Whether others may be larger than some that are reported, if the map has so many entries.
    pub(in crate::store) fn is_worn(&self, entries: u64) -> bool {
        self.slots.len() < TOLD && entries > self.slots.len() as u64
    }

    /// The largest, the very largest first.
    pub(in crate::store) fn top(&self) -> Vec<(Slot, u64)> {
        let mut top: Vec<_> = self.slots.iter().zip(self.bytes.iter().copied()).collect();
        top.sort_unstable_by_key(|&(slot, bytes)| (std::cmp::Reverse(bytes), slot));
        top.truncate(TOLD);
        top
    }

    fn keep(&mut self, slot: Slot, bytes: u64) {
        self.slots.push(slot);
        self.bytes.push(bytes);
        if self.slots.len() > KEPT {
            let least = self.bytes.iter().enumerate().min_by_key(|&(_, bytes)| *bytes);
            if let Some((at, &bytes)) = least {
                self.slots.swap_remove(at);
                self.bytes.swap_remove(at);
                self.least = self.least.max(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// As long as it is not worn, it has what a sort of all has.
        #[test]
        fn as_a_sort_says(steps in proptest::collection::vec((0_u32..300, 0_u64..50), 1..900)) {
            let mut largest = Largest::default();
            let mut all: BTreeMap<Slot, u64> = BTreeMap::new();
            for (slot, bytes) in steps {
                match (all.get(&slot).copied(), bytes) {
                    (Some(before), 0..10) => {
                        largest.remove(slot, before);
                        all.remove(&slot);
                    }
                    (Some(before), _) => {
                        largest.change(slot, before, bytes);
                        all.insert(slot, bytes);
                    }
                    (None, _) => {
                        largest.add(slot, bytes + 1);
                        all.insert(slot, bytes + 1);
                    }
                }
                let mut sizes: Vec<u64> = all.values().copied().collect();
                sizes.sort_unstable_by(|one, other| other.cmp(one));
                sizes.truncate(TOLD);
                if largest.is_worn(all.len() as u64) {
                    largest = Largest::default();
                    all.iter().for_each(|(&slot, &bytes)| largest.add_again(slot, bytes));
                }
                let told: Vec<u64> = largest.top().iter().map(|&(_, bytes)| bytes).collect();
                prop_assert_eq!(told, sizes);
                prop_assert!(largest.top().iter().all(|(slot, bytes)| all.get(slot) == Some(bytes)));
            }
        }
    }
}
