//! What the operations of the log mean to the map: for the node that writes them, for a replica and for a start.

use super::super::slab::Slot;
use super::LruMap;
use crate::pair::Pair;
use crate::record::Operation;

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
    pub(crate) fn replay(&mut self, hash: u64, operation: Operation, entry: Replayed<'_>, version: u64) {
        let slot = self.find(hash, entry.key());
        if operation.is_put() {
            // In place where that can be, which costs no allocation.
            if let Some(slot) = slot
                && let Replayed::Bytes(_, value, None) = entry
                && self.slab[slot].overwrite(value, version)
            {
                self.touch(slot);
                self.note_update(hash);
            } else {
                self.put(hash, slot, entry.into_pair(), version);
            }
        } else if let Some(slot) = slot {
            self.take(slot, operation);
        }
    }
}

/// The key, the value and the deadline of a record that is replayed.
pub(crate) enum Replayed<'a> {
    /// In memory of their own, as an entry holds them.
    Pair(Pair),
    /// As bytes, of which an entry takes a copy.
    Bytes(&'a [u8], &'a [u8], Option<u64>),
}

impl Replayed<'_> {
    fn key(&self) -> &[u8] {
        match self {
            Replayed::Pair(pair) => pair.key(),
            Replayed::Bytes(key, ..) => key,
        }
    }

    fn into_pair(self) -> Pair {
        match self {
            Replayed::Pair(pair) => pair,
            Replayed::Bytes(key, value, deadline_ms) => Pair::with_deadline(key, value, deadline_ms),
        }
    }
}
