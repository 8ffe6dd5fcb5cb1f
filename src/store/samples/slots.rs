//! A few slots, found again by their places, and nearly always known at once not to be among them.

use crate::store::slab::Slot;

/// Slots share so many counts of how many of them there are.
const COUNTS: usize = 1024;

/// A list without order, whose places others keep something at.
#[derive(Debug)]
pub(super) struct Slots {
    list: Vec<Slot>,
    /// How many of the list come to each remainder: where there is none, nothing need be searched.
    counts: Box<[u8; COUNTS]>,
}

impl Slots {
    /// Most there can be, so that no count overflows.
    pub(super) const MAX: usize = u8::MAX as usize;

    pub(super) fn new() -> Slots {
        Slots {
            list: Vec::new(),
            counts: Box::new([0; COUNTS]),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.list.iter().copied()
    }

    pub(super) fn find(&self, slot: Slot) -> Option<usize> {
        match self.counts[slot as usize % COUNTS] {
            0 => None,
            _ => self.list.iter().position(|&other| other == slot),
        }
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.list.push(slot);
        self.counts[slot as usize % COUNTS] += 1;
    }

    /// Takes one out; the last one takes its place.
    pub(super) fn swap_remove(&mut self, at: usize) {
        let slot = self.list.swap_remove(at);
        self.counts[slot as usize % COUNTS] -= 1;
    }

    pub(super) fn replace(&mut self, at: usize, slot: Slot) {
        let old = std::mem::replace(&mut self.list[at], slot);
        self.counts[old as usize % COUNTS] -= 1;
        self.counts[slot as usize % COUNTS] += 1;
    }
}
