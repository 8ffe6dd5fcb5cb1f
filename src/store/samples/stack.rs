//! How many other keys were used since a key was: the distance of its reuse, of which an LRU cache makes a hit or a
//! miss.
//!
//! Each use takes the next place in a row, and the place that the key had before falls vacant. The keys used since
//! are the taken places after it, which a Fenwick tree counts in the logarithm of the row's length (Bennett
//! and Kruskal 1975; Fenwick 1994). When the row is used up it is closed up. Keys are known by their hashes alone.
//!
//! # Invariants
//! - `places` has, for each key, its place; `row` has the key at that place, and [`VACANT`] everywhere else.
//! - `tree` counts the taken places of `row`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What stands at a place that no key has. It is a hash too, which is then taken for no key: one in 2^64.
const VACANT: u64 = u64::MAX;

/// Hashes are hashed already. Those here are small numbers, and the map tells keys of one group apart by the highest
/// bits: so bits from the low end stand there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turned(u64);

/// As many as the map takes from the high end.
const TURNED_BITS: u32 = 7;

impl Hasher for Turned {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are 64-bit numbers");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash.rotate_right(TURNED_BITS);
    }
}

/// A place in the row: a key, and what was the case when it was used.
#[derive(Clone, Copy, Debug)]
struct Place<M> {
    key: u64,
    mark: M,
}

/// Keys in the order of their use, each with a mark of that use.
#[derive(Debug)]
pub(super) struct Stack<M> {
    places: HashMap<u64, u32, BuildHasherDefault<Turned>>,
    row: Vec<Place<M>>,
    /// Behind the last place that was given.
    next: usize,
    tree: Vec<u32>,
}

impl<M: Copy + Default> Stack<M> {
    /// Room for so many keys; memory for all of them is taken at once.
    pub(super) fn new(keys_max: usize) -> Stack<M> {
        let vacant = Place {
            key: VACANT,
            mark: M::default(),
        };
        let length = (2 * keys_max).next_power_of_two();
        Stack {
            places: HashMap::with_capacity_and_hasher(keys_max, BuildHasherDefault::default()),
            row: vec![vacant; length],
            next: 0,
            tree: vec![0; length + 1],
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many other keys were used since this one was, and the mark of its use; none where it is not known.
    pub(super) fn distance(&self, key: u64) -> Option<(usize, M)> {
        let place = *self.places.get(&key)? as usize;
        Some((self.len() - self.taken_up_to(place), self.row[place].mark))
    }

    /// Makes a key the last one used. There must be room: see [`Stack::is_used_up`].
    pub(super) fn use_key(&mut self, key: u64, mark: M) {
        if let Some(old) = self.places.insert(key, self.next as u32) {
            self.vacate(old as usize);
        }
        self.row[self.next] = Place { key, mark };
        self.add(self.next, 1);
        self.next += 1;
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, key: u64) {
        if let Some(place) = self.places.remove(&key) {
            self.vacate(place as usize);
        }
    }

    /// Whether all places were given, so that the row must be closed up before another use.
    pub(super) fn is_used_up(&self) -> bool {
        self.next == self.row.len()
    }

    /// Closes the row up, and forgets all keys but the `keys_max` that were used last and, of these, those that are
    /// to be kept. Marks are made anew.
    pub(super) fn close_up(&mut self, keys_max: usize, keep: impl Fn(u64) -> bool, remark: impl Fn(M) -> M) {
        let mut left_out = self.len().saturating_sub(keys_max);
        let mut next = 0;
        for at in 0..self.next {
            let Place { key, mark } = self.row[at];
            self.row[at].key = VACANT;
            if key == VACANT {
                continue;
            }
            if left_out > 0 || !keep(key) {
                left_out = left_out.saturating_sub(1);
                self.places.remove(&key);
                continue;
            }
            let mark = remark(mark);
            self.row[next] = Place { key, mark };
            self.places.insert(key, next as u32);
            next += 1;
        }
        self.next = next;
        // Each node counts the places below it that are among the first `next`.
        for node in 1..self.tree.len() {
            let width = node & node.wrapping_neg();
            self.tree[node] = next.saturating_sub(node - width).min(width) as u32;
        }
    }

    /// The keys, those used longest ago first.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.row[..self.next]
            .iter()
            .map(|place| place.key)
            .filter(|&key| key != VACANT)
    }

    fn vacate(&mut self, place: usize) {
        self.row[place].key = VACANT;
        self.add(place, u32::MAX); // One less.
    }

    fn add(&mut self, place: usize, difference: u32) {
        let mut node = place + 1;
        while node < self.tree.len() {
            self.tree[node] = self.tree[node].wrapping_add(difference);
            node += node & node.wrapping_neg();
        }
    }

    /// Places that are taken, up to and with one.
    fn taken_up_to(&self, place: usize) -> usize {
        let mut node = place + 1;
        let mut taken = 0;
        while node > 0 {
            taken += self.tree[node] as usize;
            node &= node - 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list that is searched from the end.
        #[test]
        fn as_a_list_says(steps in proptest::collection::vec((0_u64..20, 0_u8..12), 1..600)) {
            let mut stack = Stack::new(16);
            let mut list: Vec<(u64, usize)> = Vec::new();
            for (at, (key, step)) in steps.into_iter().enumerate() {
                if stack.is_used_up() || stack.len() == 16 {
                    stack.close_up(12, |key| key != 7, |mark| mark + 1);
                    list.drain(..list.len().saturating_sub(12));
                    list.retain(|&(other, _)| other != 7);
                    list.iter_mut().for_each(|(_, mark)| *mark += 1);
                }
                let found = list.iter().position(|&(other, _)| other == key);
                let expected = found.map(|found| (list.len() - found - 1, list[found].1));
                prop_assert_eq!(stack.distance(key), expected);
                list.retain(|&(other, _)| other != key);
                if step == 0 {
                    stack.remove(key);
                } else {
                    stack.use_key(key, at);
                    list.push((key, at));
                }
                prop_assert!(stack.keys().eq(list.iter().map(|&(key, _)| key)));
            }
        }
    }
}
