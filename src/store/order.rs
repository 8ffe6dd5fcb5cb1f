//! The keys in order: a B-tree of slots, by which a listing finds the keys that begin alike.
//!
//! A leaf is a sorted array of slots, 6 bytes an entry, and holds no keys: a search fetches those that it compares with
//! from the slab ([`leaf`]). The leaves stand in a [`BTreeMap`], each under the shortest text that separates it from
//! the leaf before.
//!
//! A store has no order until the first listing by prefix asks for one, so a node that never lists pays nothing. The
//! order then takes in the entries of a few slots at a time ([`Order::build`]). Later ones wait in a short list, and take
//! their places together: one longer hold of the store's lock makes fewer threads wait for it than many that are a
//! little longer each.
//!
//! # Invariants
//! - The live entries of all slots below `built` are in a leaf or wait, once each, and no others. So whoever inserts or
//!   removes an entry says so here, and an entry of a higher slot is left to the build.
//! - Each key of a leaf is at or above the leaf's separator, and below the next one. The first separator is empty.
//! - A leaf has at most [`LEAF_SLOTS_MAX`] slots. None but the first is empty.

mod leaf;
mod text;

use super::slab::{Entry, Slab, Slot};
use leaf::{LEAF_SLOTS_MAX, Leaf, common};
use std::collections::BTreeMap;
use std::ops::Bound;
use text::Text;

/// A leaf with fewer slots is joined with a neighbour that is at most half full.
const LEAF_SLOTS_LOW: usize = LEAF_SLOTS_MAX / 4;

/// Entries that wait for their places at most: these take some 40 µs.
const WAITING_MAX: usize = 32;

/// Entries that a walk fetches side by side.
const WALK_GROUP: usize = 32;

pub(super) struct Order {
    leaves: BTreeMap<Text, Leaf>,
    waiting: Vec<Slot>,
    /// Slots below are taken in.
    built: usize,
}

impl Order {
    /// An order that has taken in nothing yet.
    pub(super) fn new() -> Order {
        Order {
            leaves: BTreeMap::from([(Text::new(b""), Leaf::default())]),
            waiting: Vec::with_capacity(WAITING_MAX),
            built: 0,
        }
    }

    /// Whether every live entry is in.
    pub(super) fn is_complete(&self) -> bool {
        self.built == usize::MAX
    }

    /// Takes in the entries of up to `slots` slots. Returns whether there are more.
    pub(super) fn build(&mut self, slab: &Slab, slots: usize) -> bool {
        let end = (self.built.saturating_add(slots)).min(slab.slots());
        for slot in self.built..end {
            if slab.get(slot as Slot).is_some() {
                self.add(slab, slot as Slot);
            }
        }
        self.built = if end == slab.slots() { usize::MAX } else { end };
        !self.is_complete()
    }

    /// Notes an entry that the slab has now.
    pub(super) fn insert(&mut self, slab: &Slab, slot: Slot) {
        if slot as usize >= self.built {
            return;
        }
        self.waiting.push(slot);
        if self.waiting.len() == WAITING_MAX {
            self.settle(slab);
        }
    }

    /// Gives the entries that wait their places.
    pub(super) fn settle(&mut self, slab: &Slab) {
        // As they came: keys in ascending order leave full leaves.
        for at in 0..self.waiting.len() {
            self.add(slab, self.waiting[at]);
        }
        self.waiting.clear();
    }

    fn add(&mut self, slab: &Slab, slot: Slot) {
        let key = slab[slot].key();
        let leaf = self.leaf_mut(key).1;
        let at = leaf.position(slab, key);
        if !leaf.is_full() {
            leaf.insert(slab, at, slot);
            return;
        }
        // Keys that come in ascending order leave full leaves.
        let middle = if at == leaf.len() { at } else { LEAF_SLOTS_MAX / 2 };
        let mut upper = leaf.split_off(slab, middle);
        if at > middle || upper.len() == 0 {
            upper.insert(slab, at - middle, slot);
        } else {
            leaf.insert(slab, at, slot);
        }
        let key_of = |slot: Option<&Slot>| slot.map_or(&[][..], |&slot| slab[slot].key());
        let (below, above) = (key_of(leaf.slots().last()), key_of(upper.slots().first()));
        let separator = separator(below, above);
        self.leaves.insert(separator, upper);
    }

    /// Notes that an entry is about to leave the slab.
    ///
    /// # Panics
    /// If the slab does not have it, or it was never noted.
    pub(super) fn remove(&mut self, slab: &Slab, slot: Slot) {
        if slot as usize >= self.built {
            return;
        }
        if let Some(at) = self.waiting.iter().position(|&other| other == slot) {
            self.waiting.swap_remove(at);
            return;
        }
        let (separator, leaf) = self.leaf_mut(slab[slot].key());
        leaf.remove(slot);
        if leaf.len() >= LEAF_SLOTS_LOW {
            return;
        }
        let is_empty = leaf.len() == 0;
        let separator = separator.clone();
        if is_empty && !separator.is_empty() {
            self.leaves.remove(&separator);
            return;
        }
        let is_small =
            |(separator, leaf): (&Text, &Leaf)| (leaf.len() <= LEAF_SLOTS_MAX / 2).then(|| separator.clone());
        let after = (Bound::Excluded(&*separator), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Excluded(&*separator));
        if let Some(next) = self.leaves.range::<[u8], _>(after).next().and_then(is_small) {
            self.join(slab, &separator, &next);
        } else if let Some(previous) = self
            .leaves
            .range::<[u8], _>(before)
            .next_back()
            .and_then(is_small)
        {
            self.join(slab, &previous, &separator);
        }
    }

    /// Puts the slots of a leaf into the one before it.
    fn join(&mut self, slab: &Slab, separator: &[u8], next: &[u8]) {
        if let Some(next) = self.leaves.remove(next) {
            self.leaf_mut(separator).1.append(slab, &next);
        }
    }

    /// The leaf that a key belongs to, and its separator.
    fn leaf_mut(&mut self, key: &[u8]) -> (&Text, &mut Leaf) {
        let up_to = (Bound::Unbounded, Bound::Included(key));
        let last = self.leaves.range_mut::<[u8], _>(up_to).next_back();
        last.expect("the first separator is below every key")
    }

    /// Counts the keys that are not below `from`, and below `to` where that is given, in so many leaves at most. No entry
    /// is fetched but a few at both ends; those that wait are left out. Where there are more, puts the key to go on with
    /// into `next`.
    pub(super) fn count(
        &self,
        slab: &Slab,
        from: &[u8],
        to: Option<&[u8]>,
        leaves_max: usize,
        next: &mut Vec<u8>,
    ) -> Counted {
        let up_to = (Bound::Unbounded, Bound::Included(from));
        let first = self.leaves.range::<[u8], _>(up_to).next_back();
        let (separator, mut leaf) = first.expect("the first separator is below every key");
        let mut begin = leaf.position(slab, from);
        let mut keys = 0;
        let after = (Bound::Excluded(&**separator), Bound::Unbounded);
        for (leaves, (separator, other)) in self.leaves.range::<[u8], _>(after).enumerate() {
            if to.is_some_and(|to| &**separator >= to) {
                break;
            }
            keys += leaf.len() - begin;
            if leaves + 1 >= leaves_max {
                next.clear();
                next.extend_from_slice(separator);
                return Counted { keys, has_more: true };
            }
            (leaf, begin) = (other, 0);
        }
        let end = to.map_or(leaf.len(), |to| leaf.position(slab, to));
        keys += end.saturating_sub(begin);
        Counted {
            keys,
            has_more: false,
        }
    }

    /// Gives the entries from the key `from` on, in order, until `each` says `false`. Fetches a few more than it gives, and
    /// leaves out those that wait.
    pub(super) fn walk(&self, slab: &Slab, from: &[u8], mut each: impl FnMut(Slot, &Entry) -> bool) {
        let up_to = (Bound::Unbounded, Bound::Included(from));
        let first = self.leaves.range::<[u8], _>(up_to).next_back();
        let (separator, leaf) = first.expect("the first separator is below every key");
        let after = (Bound::Excluded(&**separator), Bound::Unbounded);
        let others = self.leaves.range::<[u8], _>(after).map(|(_, leaf)| leaf.slots());
        let first = &leaf.slots()[leaf.position(slab, from)..];
        for slots in std::iter::once(first).chain(others) {
            for group in slots.chunks(WALK_GROUP) {
                slab.touch_keys(&mut group.iter().copied());
                for &slot in group {
                    if !each(slot, &slab[slot]) {
                        return;
                    }
                }
            }
        }
    }
}

/// How many keys there are in a range, as far as it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) keys: usize,
    /// Whether there are more; it is gone on at the key that was put down.
    pub(crate) has_more: bool,
}

/// The shortest text above the key `below` and not above the key `above`.
fn separator(below: &[u8], above: &[u8]) -> Text {
    let bytes = common(below, above).len() + 1;
    Text::new(&above[..bytes.min(above.len())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Pair;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A slab with an order, and the slots of its keys.
    struct Ordered {
        slab: Slab,
        order: Order,
        slots: BTreeMap<Vec<u8>, Slot>,
    }

    impl Ordered {
        fn new() -> Ordered {
            Ordered {
                slab: Slab::new(),
                order: Order::new(),
                slots: BTreeMap::new(),
            }
        }

        fn add(&mut self, key: &[u8]) {
            if !self.slots.contains_key(key) {
                let slot = self.slab.insert(Pair::new(key, b"value"), 1);
                self.order.insert(&self.slab, slot);
                self.slots.insert(key.to_vec(), slot);
            }
        }

        fn remove(&mut self, key: &[u8]) {
            if let Some(slot) = self.slots.remove(key) {
                self.order.remove(&self.slab, slot);
                self.slab.remove(slot);
            }
        }

        fn from(&mut self, from: &[u8]) -> Vec<Vec<u8>> {
            let mut found = Vec::new();
            self.order.settle(&self.slab);
            self.order.walk(&self.slab, from, |_, entry| {
                found.push(entry.key().to_vec());
                true
            });
            found
        }

        /// Counts in steps of so many leaves.
        fn count(&self, from: &[u8], to: Option<&[u8]>, leaves_max: usize) -> usize {
            let (mut at, mut next, mut keys) = (from.to_vec(), Vec::new(), 0);
            loop {
                let counted = self.order.count(&self.slab, &at, to, leaves_max, &mut next);
                keys += counted.keys;
                if !counted.has_more {
                    return keys;
                }
                std::mem::swap(&mut at, &mut next);
            }
        }

        fn check(&mut self, from: &[u8]) {
            let expected: Vec<Vec<u8>> = self
                .slots
                .range(from.to_vec()..)
                .map(|(key, _)| key.clone())
                .collect();
            assert_eq!(self.from(from), expected);
            for (at, (separator, leaf)) in self.order.leaves.iter().enumerate() {
                assert!(leaf.len() <= LEAF_SLOTS_MAX && (at == 0 || leaf.len() > 0));
                assert_eq!(at == 0, separator.is_empty());
                leaf.check(&self.slab);
            }
        }
    }

    /// Keys that share beginnings, and some that are the beginning of others.
    fn key(number: u16) -> Vec<u8> {
        match number % 5 {
            0 => format!("user:{}", number / 5).into_bytes(),
            1 => format!("user:{}:name", number / 5).into_bytes(),
            2 => vec![b'a'; 1 + number as usize % 300],
            3 => number.to_be_bytes().to_vec(),
            _ => vec![0xff; 1 + number as usize % 7],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Keys come, go and take the slots of others, before the build, between its steps and after it.
        #[test]
        fn the_order_is_that_of_a_set(
            before in proptest::collection::vec(0..4000u16, 0..3000),
            meanwhile in proptest::collection::vec((0..4000u16, any::<bool>()), 0..3000),
            after in proptest::collection::vec((0..4000u16, 0..4u8), 0..6000),
            step in 1..4000usize,
            from in proptest::collection::vec(any::<u16>(), 4),
        ) {
            let mut ordered = Ordered::new();
            before.iter().for_each(|&number| ordered.add(&key(number)));
            let mut meanwhile = meanwhile.into_iter();
            while ordered.order.build(&ordered.slab, step) {
                for (number, adds) in meanwhile.by_ref().take(200) {
                    if adds { ordered.add(&key(number)) } else { ordered.remove(&key(number)) }
                }
            }
            ordered.check(b"");
            for &(number, what) in &after {
                if what == 0 { ordered.add(&key(number)) } else { ordered.remove(&key(number)) }
            }
            ordered.check(b"");
            from.iter().for_each(|&from| ordered.check(&key(from)));
            for &one in &from {
                for &other in &from {
                    let (one, other) = (key(one), key(other));
                    let expected = ordered.slots.keys().filter(|&key| one <= *key && *key < other).count();
                    prop_assert_eq!(ordered.count(&one, Some(&other), step), expected);
                }
                let expected = ordered.slots.keys().filter(|&other| key(one) <= *other).count();
                prop_assert_eq!(ordered.count(&key(one), None, 1), expected);
            }
            let left: BTreeSet<Vec<u8>> = ordered.slots.keys().cloned().collect();
            left.iter().for_each(|key| ordered.remove(key));
            ordered.check(b"");
            prop_assert_eq!(ordered.order.leaves.len(), 1);
        }
    }

    #[test]
    fn keys_in_ascending_order_fill_their_leaves() {
        let mut ordered = Ordered::new();
        while ordered.order.build(&ordered.slab, 1) {}
        for number in 0..10 * LEAF_SLOTS_MAX {
            ordered.add(format!("key:{number:08}").as_bytes());
        }
        assert_eq!(ordered.order.leaves.len(), 10);
        ordered.check(b"key:00001000");
    }

    #[test]
    fn leaves_that_become_small_are_joined() {
        let mut ordered = Ordered::new();
        while ordered.order.build(&ordered.slab, 1) {}
        let keys: Vec<String> = (0..100 * LEAF_SLOTS_MAX)
            .map(|number| format!("{number:08}"))
            .collect();
        keys.iter().for_each(|key| ordered.add(key.as_bytes()));
        for (number, key) in keys.iter().enumerate() {
            if number % 16 > 0 {
                ordered.remove(key.as_bytes());
            }
        }
        ordered.check(b"");
        assert!(
            ordered.order.leaves.len() <= 25,
            "{} leaves",
            ordered.order.leaves.len()
        );
    }

    #[test]
    fn a_separator_is_the_shortest() {
        for (below, above, expected) in [
            (&b"apple"[..], &b"banana"[..], &b"b"[..]),
            (b"user:1", b"user:12", b"user:12"),
            (b"user:1234", b"user:2", b"user:2"),
            (b"", b"a", b"a"),
        ] {
            assert_eq!(&*separator(below, above), expected);
        }
    }
}
