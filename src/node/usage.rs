//! How the store is used, as far as samples tell.

use super::Node;
use super::walk::WALK_SLOTS;
use crate::store::Curve;

/// What samples tell.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// What the hit ratio would be at other sizes; none where too little was read.
    pub curve: Option<Curve>,
    /// The keys that are read most, and how often since the node was started: a number that is not too high except for
    /// chance.
    pub hot_keys: Vec<(String, u64)>,
    /// The keys with the most bytes, with their values.
    pub big_keys: Vec<(String, u64)>,
}

impl Node {
    /// What samples tell of how the store is used. Where many of the largest entries have gone, this looks at all of
    /// them, some in each hold of the store's lock.
    pub fn usage(&self) -> Usage {
        self.find_largest();
        let mut locked = self.store.lock();
        let curve = locked.map.curve();
        let (hottest, largest) = (locked.map.hottest(), locked.map.largest());
        drop(locked);
        let text = |(key, number): (Box<[u8]>, u64)| (String::from_utf8_lossy(&key).into_owned(), number);
        Usage {
            curve,
            hot_keys: hottest.into_iter().map(text).collect(),
            big_keys: largest.into_iter().map(text).collect(),
        }
    }

    /// What the hit ratio would be at other sizes; none where too little was read.
    pub fn curve(&self) -> Option<Curve> {
        self.store.lock().map.curve()
    }

    fn find_largest(&self) {
        let mut from = {
            let mut locked = self.store.lock();
            if !locked.map.is_largest_worn() {
                return;
            }
            locked.map.forget_largest();
            Some(0)
        };
        while let Some(slot) = from {
            from = self.store.lock().map.find_largest(slot, WALK_SLOTS);
        }
    }
}
