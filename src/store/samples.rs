//! What is known of how the map is used, from samples: what more memory would buy, the keys that are read most, and
//! the largest entries.
//!
//! | file | what it is |
//! | --- | --- |
//! | `curve` | the hit ratio over the number of entries, as it would be |
//! | `stack` | how many other keys were used since a key was |
//! | `hottest` | the entries that are read most |
//! | `largest` | the entries with the most bytes |
//! | `slots` | what both keep them by |
//!
//! All of it stands beside the map under the store's lock, so a use of a key and what is noted of it are one step,
//! whoever makes it: a client, a batch, a replica, or the replay at a start, from which the stack knows the order of
//! use. For nearly every use there is nothing to note, and that is found out by one or two comparisons of numbers.

mod curve;
mod hottest;
mod largest;
mod slots;
mod stack;

pub(crate) use curve::Curve;

use super::slab::Slot;
use curve::Sampler;
use hottest::Hottest;
use largest::Largest;

/// What is kept beside the map.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) sampler: Sampler,
    pub(super) hottest: Hottest,
    pub(super) largest: Largest,
}

impl Samples {
    /// A slot holds no entry any more.
    pub(super) fn vacated(&mut self, slot: Slot, bytes: u64) {
        self.hottest.remove(slot);
        self.largest.remove(slot, bytes);
    }
}
