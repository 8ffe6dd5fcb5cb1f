//! The steps of a [`Walk`]: along the list of use first, by slots where that does not end.

use super::super::slab::{Entry, NIL, Slot};
use super::LruMap;
use super::walk::Walk;

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

    /// Continues for `steps` entries at most, of which `each` gets those that are to be given. Where it says
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
        // Each link is waited for; the keys then come side by side.
        let newer = |&slot: &Slot| Some(self.slab[slot].newer).filter(|&slot| slot != NIL);
        let mut ahead = std::iter::successors(newer(&self.marker), newer).take(steps);
        self.slab.touch_keys(&mut ahead);
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
                walk.put_back(next);
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
                walk.put_back(slot);
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
