//! The walk that a base is made by: every entry that was there when it began, least recently used first.
//!
//! A marker in the list of use says how far it has come. An entry that is used meanwhile moves to the list's
//! end, and is met there again, so none is missed; one that was given is marked as seen, so none is given
//! twice; and one that was written since the walk began is left out, as the log behind its beginning tells of
//! it. Between two steps the map may change in any way.
//!
//! # Why it ends
//! Clients may use entries as fast as the walk gives them, and so keep the list's end away from it. So its
//! steps along the list are counted, seen entries too, and where they come to twice the entries that there
//! were, what is left is given by order of slots, of which there are no more than there are.

use super::super::slab::{Entry, NIL, Slot};
use super::LruMap;

/// A walk that is going on.
pub(crate) struct Walk {
    /// One bit a slot: whether its entry was given.
    seen: Vec<u64>,
    /// Entries of a higher version are left out.
    version_max: u64,
    steps_left: u64,
    /// Where it is once it goes by slots.
    slot: Option<Slot>,
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
    fn takes(&mut self, slot: Slot, entry: &Entry) -> bool {
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
}

impl LruMap {
    /// Slots ever used.
    pub(crate) fn slots(&self) -> usize {
        self.slab.slots()
    }

    /// Starts a walk, giving up one that was going on.
    pub(crate) fn start_walk(&mut self, walk: Walk) {
        self.end_walk();
        let oldest = self.oldest;
        self.link_between(self.marker, NIL, oldest);
        self.walk = Some(walk);
    }

    /// Goes on for `steps` entries at most, of which `each` gets those that are to be given. Where it says
    /// `false`, that entry was not taken, and is the next one. Returns whether there is more.
    pub(crate) fn walk_by_use(&mut self, steps: usize, mut each: impl FnMut(&Entry) -> bool) -> bool {
        let Some(mut walk) = self.walk.take() else {
            return false;
        };
        let more = match walk.slot {
            None => self.walk_list(&mut walk, steps, &mut each),
            Some(slot) => {
                walk.slot = self.walk_slots(&mut walk, slot, steps, &mut each);
                walk.slot.is_some()
            }
        };
        if more {
            self.walk = Some(walk);
        }
        more
    }

    fn walk_list(&mut self, walk: &mut Walk, steps: usize, each: &mut impl FnMut(&Entry) -> bool) -> bool {
        let mut last = self.marker;
        let mut is_end = false;
        for _ in 0..steps {
            let next = self.slab[last].newer;
            if next == NIL {
                is_end = true;
                break;
            }
            let entry = &self.slab[next];
            if walk.takes(next, entry) && !each(entry) {
                walk.seen[next as usize / 64] &= !(1 << (next % 64));
                break;
            }
            walk.steps_left = walk.steps_left.saturating_sub(1);
            last = next;
        }
        if is_end {
            self.unlink(self.marker);
            return false;
        }
        if last != self.marker {
            self.unlink(self.marker);
            let newer = self.slab[last].newer;
            self.link_between(self.marker, last, newer);
        }
        if walk.steps_left == 0 {
            self.unlink(self.marker);
            walk.slot = Some(0);
        }
        true
    }

    fn walk_slots(
        &self,
        walk: &mut Walk,
        from: Slot,
        steps: usize,
        each: &mut impl FnMut(&Entry) -> bool,
    ) -> Option<Slot> {
        self.walk(from, steps, |slot, entry| {
            let is_taken = !walk.takes(slot, entry) || each(entry);
            if !is_taken {
                walk.seen[slot as usize / 64] &= !(1 << (slot % 64));
            }
            is_taken
        })
    }

    /// Gives up the walk that is going on, if there is one.
    pub(crate) fn end_walk(&mut self) {
        if let Some(walk) = self.walk.take()
            && walk.slot.is_none()
        {
            self.unlink(self.marker);
        }
    }
}
