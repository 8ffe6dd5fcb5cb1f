//! A leaf of the order: slots, sorted by their keys.
//!
//! Beside each slot stands a hint: a number of 16 bits that says about where the key is between the first and the last of
//! the leaf. So a search goes by the hints, and fetches from the slab those few keys alone whose hint is the same. It
//! fetches them side by side, so it waits for memory a few times and not once a comparison.
//!
//! # Invariants
//! - There are as many hints as slots, each of the key in the same place, by the leaf's scale.
//! - A key that is not below another one has no lower hint, whatever the scale. So a scale may be old, and is only made
//!   anew so that hints differ.

use super::super::slab::{Slab, Slot};
use super::text::Text;

/// Slots of a leaf: many, so that what it has beside them costs little; few, so that one more is soon put between them.
pub(super) const LEAF_SLOTS_MAX: usize = 512;

/// Slots by which a leaf's allocations grow: about the steps of the allocator's size classes.
const GROWTH: usize = 32;

/// Keys that a search fetches side by side.
const FETCHED_KEYS: usize = 16;

/// Numbers of slots at which a growing leaf gets another scale.
const SCALED_AT: [usize; 3] = [8, 32, 128];

#[derive(Default)]
pub(super) struct Leaf {
    slots: Vec<Slot>,
    hints: Vec<u16>,
    scale: Scale,
}

impl Leaf {
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= LEAF_SLOTS_MAX
    }

    /// How many keys are below `key`.
    pub(super) fn position(&self, slab: &Slab, key: &[u8]) -> usize {
        let hint = self.scale.hint(key);
        let mut low = self.hints.partition_point(|&other| other < hint);
        let mut high = low + self.hints[low..].partition_point(|&other| other == hint);
        while low < high {
            let step = (high - low).div_ceil(FETCHED_KEYS + 1);
            let fetched = || (low + step - 1..high).step_by(step);
            slab.touch_keys(&mut fetched().map(|at| self.slots[at]));
            let above = fetched().find(|&at| slab[self.slots[at]].key() >= key);
            // What is left is what stands between two of them.
            (low, high) = match above {
                Some(above) => (low.max((above + 1).saturating_sub(step)), above),
                None => (high - (high - low) % step, high),
            };
        }
        low
    }

    /// Puts a slot in its place.
    pub(super) fn insert(&mut self, slab: &Slab, at: usize, slot: Slot) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(GROWTH);
            self.hints.reserve_exact(GROWTH);
        }
        self.slots.insert(at, slot);
        self.hints.insert(at, self.scale.hint(slab[slot].key()));
        if SCALED_AT.contains(&self.slots.len()) {
            self.set_scale(slab);
        }
    }

    /// Takes a slot out, for which its key need not be fetched.
    ///
    /// # Panics
    /// If the slot is not in the leaf.
    pub(super) fn remove(&mut self, slot: Slot) {
        let at = self.slots.iter().position(|&other| other == slot);
        let at = at.expect("every live slot is in the order");
        self.slots.remove(at);
        self.hints.remove(at);
    }

    /// Takes out all slots from a place on.
    pub(super) fn split_off(&mut self, slab: &Slab, at: usize) -> Leaf {
        let mut upper = Leaf {
            slots: Vec::with_capacity(self.slots.len() - at + GROWTH),
            hints: Vec::with_capacity(self.slots.len() - at + GROWTH),
            scale: Scale::default(),
        };
        upper.slots.extend_from_slice(&self.slots[at..]);
        if at < self.slots.len() {
            self.slots.truncate(at);
            self.slots.shrink_to(at + GROWTH);
            self.hints.shrink_to(at + GROWTH);
            self.set_scale(slab);
            upper.set_scale(slab);
        }
        upper
    }

    /// Takes in the slots of the next leaf.
    pub(super) fn append(&mut self, slab: &Slab, next: &Leaf) {
        self.slots.reserve_exact(next.len() + GROWTH);
        self.hints.reserve_exact(next.len() + GROWTH);
        self.slots.extend_from_slice(&next.slots);
        self.set_scale(slab);
    }

    /// Makes the scale, and the hints, anew.
    fn set_scale(&mut self, slab: &Slab) {
        if let (Some(&first), Some(&last)) = (self.slots.first(), self.slots.last()) {
            self.scale = Scale::new(slab[first].key(), slab[last].key());
        }
        slab.touch_keys(&mut self.slots.iter().copied());
        self.hints.clear();
        let hints = self.slots.iter().map(|&slot| self.scale.hint(slab[slot].key()));
        self.hints.extend(hints);
    }

    /// Holds the leaf against its invariants.
    #[cfg(test)]
    pub(super) fn check(&self, slab: &Slab) {
        let keys = self.slots.iter().map(|&slot| slab[slot].key());
        assert!(keys.clone().is_sorted());
        assert!(self.hints.is_sorted());
        assert!(
            keys.map(|key| self.scale.hint(key))
                .eq(self.hints.iter().copied())
        );
    }
}

/// How hints are made of keys.
struct Scale {
    /// What the keys begin with, between which the scale goes.
    head: Text,
    /// The eight bytes after it that have the lowest hint.
    base: u64,
    /// How many bits of the distance to that are left out.
    shift: u32,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale::new(b"", b"")
    }
}

impl Scale {
    /// A scale that goes from one key to another.
    fn new(first: &[u8], last: &[u8]) -> Scale {
        let head = common(first, last);
        let base = number(&first[head.len()..]);
        let range = number(&last[head.len()..]).saturating_sub(base);
        Scale {
            head: Text::new(head),
            base,
            shift: (u64::BITS - range.leading_zeros()).saturating_sub(u16::BITS),
        }
    }

    fn hint(&self, key: &[u8]) -> u16 {
        match key.strip_prefix(&*self.head) {
            Some(rest) => {
                let distance = number(rest).saturating_sub(self.base) >> self.shift;
                u16::try_from(distance).unwrap_or(u16::MAX)
            }
            None if key < &*self.head => 0,
            None => u16::MAX,
        }
    }
}

/// The first eight bytes of a text as a number, in the order of texts: zero stands for one that is not there.
fn number(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    u64::from_be_bytes(bytes)
}

/// What two texts begin with.
pub(super) fn common<'a>(one: &'a [u8], other: &[u8]) -> &'a [u8] {
    let bytes = one.iter().zip(other).take_while(|(one, other)| one == other);
    &one[..bytes.count()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Of keys within the scale, below it, above it, and of some that do not begin as it does.
        #[test]
        fn hints_are_in_the_order_of_keys(
            ends in proptest::collection::vec("[ab]{0,14}", 2),
            mut keys in proptest::collection::vec("[abc]{0,14}", 0..30),
        ) {
            let (first, last) = (ends[0].clone().min(ends[1].clone()), ends[0].clone().max(ends[1].clone()));
            let scale = Scale::new(first.as_bytes(), last.as_bytes());
            keys.sort();
            let hints: Vec<u16> = keys.iter().map(|key| scale.hint(key.as_bytes())).collect();
            prop_assert!(hints.is_sorted(), "{:?} {:?}", keys, hints);
        }
    }

    #[test]
    fn few_numbered_keys_have_the_same_hint() {
        let keys: Vec<String> = (0..300)
            .map(|number| format!("user:{:08}", 17_000 + 3 * number))
            .collect();
        let scale = Scale::new(keys[0].as_bytes(), keys[299].as_bytes());
        let hints: Vec<u16> = keys.iter().map(|key| scale.hint(key.as_bytes())).collect();
        let most = hints.chunk_by(|one, other| one == other).map(<[u16]>::len).max();
        assert!(most <= Some(4), "{most:?} of 300 keys");
    }
}
