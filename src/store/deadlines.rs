//! Which entry expires when: the entries that have a deadline, and no others, by time.
//!
//! An ordered set rather than a wheel of timers: the earliest is at hand, nothing ticks where nothing is
//! due, and a deadline that changes leaves nothing behind. A change costs O(log n) of the entries that have
//! one.

use super::slab::Slot;
use std::collections::BTreeSet;

/// What an entry with a deadline is counted with beside one without, in bytes: 16 for its place here, in
/// nodes that are between half full and full. (The deadline itself stands after the value.)
pub(super) const DEADLINE_OVERHEAD_BYTES: u64 = 32;

/// The deadlines of all entries that have one.
#[derive(Default)]
pub(super) struct Deadlines(BTreeSet<(u64, Slot)>);

impl Deadlines {
    pub(super) fn insert(&mut self, deadline_ms: Option<u64>, slot: Slot) {
        if let Some(deadline_ms) = deadline_ms {
            self.0.insert((deadline_ms, slot));
        }
    }

    pub(super) fn remove(&mut self, deadline_ms: Option<u64>, slot: Slot) {
        if let Some(deadline_ms) = deadline_ms {
            self.0.remove(&(deadline_ms, slot));
        }
    }

    /// The earliest deadline, and whose it is.
    pub(super) fn first(&self) -> Option<(u64, Slot)> {
        self.0.first().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
