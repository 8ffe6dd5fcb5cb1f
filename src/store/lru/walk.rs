//! The walk that a base is made by: every entry that was there when it began, least recently used first.
//!
//! A marker in the list of use says how far it has come. An entry that is used meanwhile moves to the list's
//! end, and is met there again, so none is missed; one that was given is marked as seen, so none is given
//! twice; and one that was written since the walk began is left out, as the log after its beginning tells of
//! it. Between two steps the map may change in any way.
//!
//! # Why it ends
//! Clients may use entries as fast as the walk gives them, and so keep the list's end away from it. So its
//! steps along the list are counted, seen entries too, and where they come to twice the entries that there
//! were, what is left is given by order of slots, of which there are no more than there are.

use super::super::slab::{Entry, Slot};

/// A walk that is going on.
pub(crate) struct Walk {
    /// One bit a slot: whether its entry was given.
    seen: Vec<u64>,
    /// Entries of a higher version are left out.
    pub(super) version_max: u64,
    pub(super) steps_left: u64,
    /// Where it is once it goes by slots.
    pub(super) slot: Option<Slot>,
}

impl Walk {
    /// A walk over a map that has used so many slots, that gives no entry of a version above `version_max`.
    /// Made outside the lock.
    pub(crate) fn new(slots: usize, entries: u64, version_max: u64) -> Walk {
        Walk {
            seen: vec![0; slots / 64 + 1],
            version_max,
            steps_left: 2 * entries + 64,
            slot: None,
        }
    }

    /// Whether an entry is to be given, which it then was.
    pub(super) fn takes(&mut self, slot: Slot, entry: &Entry) -> bool {
        // A slot that was not used when the walk began has an entry that was written since.
        let Some(seen) = self.seen.get_mut(slot as usize / 64) else {
            return false;
        };
        let bit = 1 << (slot % 64);
        let is_new = *seen & bit == 0 && entry.version() <= self.version_max;
        if is_new {
            *seen |= bit;
        }
        is_new
    }

    /// Takes back that an entry was given.
    pub(super) fn put_back(&mut self, slot: Slot) {
        self.seen[slot as usize / 64] &= !(1 << (slot % 64));
    }
}
