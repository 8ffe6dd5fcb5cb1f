//! Where a key's entry is: many small hash tables of slots.
//!
//! One large table would stop every request while it grows (hundreds of milliseconds at ten million
//! keys). Here each of 16,384 tables grows by itself, so the longest pause is the rehash of a 16,384th
//! part of the keys: some 0.1 ms at ten million.
//!
//! The tables hold no hashes: to grow one, the keys it names are hashed again. That saves four bytes an entry for good,
//! and costs a few cache misses a key once in a doubling. Two things make these cheap: the keys of a table are loaded
//! side by side before the first is hashed, and a replay makes the tables at their final size.

use super::slab::Slot;
use hashbrown::HashTable;

const TABLES: usize = 1 << 14;

/// hashbrown takes a table's bucket from the low bits of a hash and its tag from the seven highest; the
/// table is chosen by bits that neither uses.
const TABLE_SHIFT: u32 = 40;

/// A table of so many places stays as it is, however few are taken.
const KEPT_CAPACITY: usize = 16;

pub(crate) struct Index {
    tables: Box<[HashTable<Slot>]>,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
        }
    }

    fn table(hash: u64) -> usize {
        (hash >> TABLE_SHIFT) as usize % TABLES
    }

    pub(crate) fn find(&self, hash: u64, is_key: impl FnMut(&Slot) -> bool) -> Option<Slot> {
        self.tables[Self::table(hash)].find(hash, is_key).copied()
    }

    /// Adds a slot whose key is not in the index. `rehash` gives the hash of another slot's key; `touch` loads the keys
    /// of slots that are about to be hashed.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        slot: Slot,
        touch: impl Fn(&mut dyn Iterator<Item = Slot>),
        rehash: impl Fn(&Slot) -> u64,
    ) {
        let table = &mut self.tables[Self::table(hash)];
        if table.len() == table.capacity() {
            touch(&mut table.iter().copied());
        }
        table.insert_unique(hash, slot, rehash);
    }

    /// Makes room for so many slots in all, so that tables need not grow one doubling after the other. `touch` and
    /// `rehash` are as for [`Index::insert`].
    pub(crate) fn reserve(
        &mut self,
        slots: u64,
        touch: impl Fn(&mut dyn Iterator<Item = Slot>),
        rehash: impl Fn(&Slot) -> u64,
    ) {
        let each = (slots / TABLES as u64) as usize;
        for table in self.tables.iter_mut().filter(|table| table.capacity() < each) {
            touch(&mut table.iter().copied());
            table.reserve(each - table.len(), &rehash);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.tables.iter().map(HashTable::capacity).sum()
    }

    /// Makes every table smaller that is far too large for what is in it.
    pub(crate) fn fit(&mut self, rehash: impl Fn(&Slot) -> u64) {
        for table in &mut self.tables {
            fit(table, &rehash);
        }
    }

    /// Takes a slot out. A table that has become far too large for what is left in it is made smaller, for which
    /// `rehash` gives the hash of another slot's key.
    ///
    /// # Panics
    /// If the slot is not in the index under this hash.
    pub(crate) fn remove(&mut self, hash: u64, slot: Slot, rehash: impl Fn(&Slot) -> u64) {
        let table = &mut self.tables[Self::table(hash)];
        table
            .find_entry(hash, |other| *other == slot)
            .expect("every live slot is in the index")
            .remove();
        fit(table, rehash);
    }
}

/// Makes a table smaller where it is far too large for what is in it.
fn fit(table: &mut HashTable<Slot>, rehash: impl Fn(&Slot) -> u64) {
    if table.capacity() > KEPT_CAPACITY && table.len() < table.capacity() / 4 {
        table.shrink_to(2 * table.len(), rehash);
    }
}
