//! What the operations of the log mean to the map: for the node that writes them, for a replica and for a start.

use super::super::slab::Slot;
use super::LruMap;
use crate::pair::Pair;
use crate::record::{Operation, Record};

impl LruMap {
    /// Puts a pair in place of the one in `slot`, or as a new one. Returns its slot, and what it replaced with the
    /// version of that.
    pub(crate) fn put(
        &mut self,
        hash: u64,
        slot: Option<Slot>,
        pair: Pair,
        version: u64,
    ) -> (Slot, Option<(Pair, u64)>) {
        match slot {
            Some(slot) => {
                let version_before = self.slab[slot].version();
                let before = self.replace(hash, slot, pair, version);
                (slot, Some((before, version_before)))
            }
            None => (self.insert(hash, pair, version), None),
        }
    }

    /// Takes an entry out, as an operation says that removes one. Returns what it held, and its version.
    pub(crate) fn take(&mut self, slot: Slot, operation: Operation) -> (Pair, u64) {
        let version = self.slab[slot].version();
        let pair = match operation {
            Operation::Evict => self.evict(slot),
            _ => self.remove(slot),
        };
        (pair, version)
    }

    /// Applies a record of the log. Total: whatever the record says, on whatever the map holds, the result
    /// is what the writer of the log had, so that replaying a record twice does no harm.
    ///
    /// Bounds are not looked at: evictions are records too.
    pub(crate) fn replay(&mut self, hash: u64, record: &Record<'_>, version: u64) {
        let &Record {
            operation,
            key,
            value,
            deadline_ms,
            ..
        } = record;
        let slot = self.find(hash, key);
        if operation.is_put() {
            // In place where that can be, which costs no allocation.
            if let Some(slot) = slot
                && deadline_ms.is_none()
                && self.slab[slot].overwrite(value, version)
            {
                self.touch(slot);
                self.note_update(hash);
            } else {
                self.put(hash, slot, Pair::with_deadline(key, value, deadline_ms), version);
            }
        } else if let Some(slot) = slot.filter(|_| operation.has_key()) {
            self.take(slot, operation);
        }
    }
}
