//! Walks in the order of keys, and the steps that make this order.

use super::LruMap;
use crate::store::order::{Counted, Order};
use crate::store::slab::{Entry, Slot};

/// Leaves that are counted in one hold of the lock: some 20 µs.
const COUNT_LEAVES: usize = 1024;

impl LruMap {
    /// Whether the entries can be walked in the order of their keys.
    pub(crate) fn is_ordered(&self) -> bool {
        self.order.as_ref().is_some_and(Order::is_complete)
    }

    /// Looks at up to `slots` slots more to bring the entries into order. Returns whether there are more.
    pub(crate) fn build_order(&mut self, slots: usize) -> bool {
        self.order.get_or_insert_with(Order::new).build(&self.slab, slots)
    }

    /// The live entries whose keys begin with `prefix`, in the order of keys from the key `from` on: `entries` of them at
    /// most. Returns whether there are more, and puts the key to go on with into `next`. Where `each` says `false`, that
    /// is the key of that very entry. There are none where [`LruMap::is_ordered`] says `false`.
    pub(crate) fn walk_prefix(
        &mut self,
        prefix: &[u8],
        from: &[u8],
        entries: usize,
        next: &mut Vec<u8>,
        mut each: impl FnMut(Slot, &Entry) -> bool,
    ) -> bool {
        let Some(order) = self.order.as_mut().filter(|order| order.is_complete()) else {
            return false;
        };
        order.settle(&self.slab);
        let (mut given, mut more) = (0, false);
        order.walk(&self.slab, from, |slot, entry| {
            let is_wanted = entry.key().starts_with(prefix);
            if is_wanted && (given == entries || !each(slot, entry)) {
                next.clear();
                next.extend_from_slice(entry.key());
                more = true;
            }
            given += 1;
            is_wanted && !more
        });
        more
    }

    /// Counts the keys that are not below `from`, and below `to` where that is given, in some leaves of the order. None
    /// where [`LruMap::is_ordered`] says `false`. Puts the key to go on with into `next` where there are more.
    pub(crate) fn count_range(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        next: &mut Vec<u8>,
    ) -> Option<Counted> {
        let order = self.order.as_mut().filter(|order| order.is_complete())?;
        order.settle(&self.slab);
        Some(order.count(&self.slab, from, to, COUNT_LEAVES, next))
    }
}
