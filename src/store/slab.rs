//! The entries of the store, in chunks of a fixed size.
//!
//! # Invariants
//! - An entry keeps its slot from insertion to removal, whatever happens to others: the index, the LRU
//!   list and a listing's cursor all speak of slots.
//! - A vacant slot has empty bytes and is linked into the free list; a live one never has empty bytes, as
//!   no key is empty. (A marker has empty bytes too: it is passed over like a vacant slot.)
//! - Growth costs one chunk's allocation, never a copy of the whole.
//! - A chunk without a live slot is given back, except for one that is kept for the next insertion. Its slots are
//!   vacant then, and have numbers still.

use crate::pair::{self, Bytes, KEY_BYTES_MAX, Pair};
use std::hint::black_box;

/// Names an entry, for as long as it lives.
pub(crate) type Slot = u32;

/// The end of a list; never a slot.
pub(crate) const NIL: Slot = u32::MAX;

/// 256 KiB a chunk: small enough that allocating one is no pause, large enough that there are few.
const CHUNK_SLOTS: usize = 8192;

/// One entry: 32 bytes beside the key and the value.
pub(crate) struct Entry {
    bytes: Bytes,
    /// Version in the upper 53 bits, the key's length less one in the 10 below, and whether there is a
    /// deadline after the value in the last.
    meta: u64,
    pub(crate) newer: Slot,
    pub(crate) older: Slot,
}

const _: () = assert!(
    size_of::<Entry>() == 32,
    "the memory of an entry is a promise of the README"
);

/// Highest version an entry can hold. A version is an offset of the log; this many bytes are 8 PiB, and
/// also the integers that a JSON number carries exactly.
pub(crate) const VERSION_MAX: u64 = crate::record::OFFSET_MAX;

impl Entry {
    const KEY_BITS: u32 = KEY_BYTES_MAX.ilog2();

    fn new(pair: Pair, version: u64) -> Entry {
        let meta = Entry::pack(version, pair.key().len(), pair.deadline_ms().is_some());
        Entry {
            bytes: pair.into_bytes(),
            meta,
            newer: NIL,
            older: NIL,
        }
    }

    fn pack(version: u64, key_bytes: usize, has_deadline: bool) -> u64 {
        assert!(
            version <= VERSION_MAX,
            "the log refuses to grow past the last version"
        );
        version << (Self::KEY_BITS + 1) | ((key_bytes as u64 - 1) << 1) | has_deadline as u64
    }

    pub(crate) fn version(&self) -> u64 {
        self.meta >> (Self::KEY_BITS + 1)
    }

    fn key_bytes(&self) -> usize {
        (self.meta >> 1 & (KEY_BYTES_MAX as u64 - 1)) as usize + 1
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes.as_slice()[..self.key_bytes()]
    }

    pub(crate) fn value(&self) -> &[u8] {
        pair::value_in(self.bytes.as_slice(), self.key_bytes(), self.has_deadline())
    }

    pub(crate) fn key_and_value(&self) -> &[u8] {
        pair::value_in(self.bytes.as_slice(), 0, self.has_deadline())
    }

    pub(crate) fn has_deadline(&self) -> bool {
        self.meta & 1 != 0
    }

    /// When the key expires, in ms since the Unix epoch.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        // The flag first: an entry without a deadline need not be fetched for it.
        self.has_deadline()
            .then(|| pair::deadline_in(self.bytes.as_slice(), true))?
    }

    /// Whether the deadline has come.
    pub(crate) fn is_expired(&self, now_ms: impl FnOnce() -> u64) -> bool {
        self.deadline_ms()
            .is_some_and(|deadline_ms| deadline_ms <= now_ms())
    }

    /// The pair, to be read after the lock was let go: cheap where it is shared, a copy where it is small.
    pub(crate) fn pair(&self) -> Pair {
        Pair::from_parts(self.bytes.clone(), self.key_bytes(), self.has_deadline())
    }

    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.bytes, Bytes::Shared(_))
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.bytes.allocated_bytes()
    }

    /// Puts a new value in place of the old one, which is returned to be freed outside the lock.
    pub(crate) fn replace(&mut self, pair: Pair, version: u64) -> Pair {
        let (key_bytes, has_deadline) = (self.key_bytes(), self.has_deadline());
        self.meta = Entry::pack(version, key_bytes, pair.deadline_ms().is_some());
        let bytes = std::mem::replace(&mut self.bytes, pair.into_bytes());
        Pair::from_parts(bytes, key_bytes, has_deadline)
    }

    /// Puts a new value of the same length into the very place of the old one. `false`, with nothing done,
    /// where the length differs, the bytes are shared, or there is a deadline.
    pub(crate) fn overwrite(&mut self, value: &[u8], version: u64) -> bool {
        let (key_bytes, has_deadline) = (self.key_bytes(), self.has_deadline());
        let Bytes::Owned(bytes) = &mut self.bytes else {
            return false;
        };
        let fits = !has_deadline && bytes.len() - key_bytes == value.len();
        if fits {
            bytes[key_bytes..].copy_from_slice(value);
            self.meta = Entry::pack(version, key_bytes, false);
        }
        fits
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.bytes.as_slice().is_empty()
    }
}

/// Slots in one allocation.
#[derive(Default)]
struct Chunk {
    /// Empty where the chunk was given back.
    entries: Vec<Entry>,
    /// Live slots, and markers.
    live: u32,
    /// First vacant slot of this chunk; the others follow by `older`.
    free: Slot,
    /// The chunks on both sides of this one in the list of those with vacant slots.
    next: u32,
    previous: u32,
}

/// Chunks there can be: those whose slots are all numbers below [`NIL`].
const CHUNKS_MAX: usize = NIL as usize / CHUNK_SLOTS;

/// Slots whose keys are loaded side by side.
const TOUCHED_SLOTS: usize = 64;

/// Slots that there can be.
pub(crate) const SLOTS_MAX: usize = CHUNKS_MAX * CHUNK_SLOTS;

/// No chunk.
const NONE: u32 = u32::MAX;

pub(crate) struct Slab {
    chunks: Vec<Chunk>,
    /// First chunk with vacant slots; the others follow by `next`.
    first_free: u32,
    /// The chunk without entries that is kept.
    spare: u32,
    /// Chunks that were given back.
    given_back: Vec<u32>,
}

impl Slab {
    pub(crate) fn new() -> Slab {
        Slab {
            chunks: Vec::new(),
            first_free: NONE,
            spare: NONE,
            given_back: Vec::new(),
        }
    }

    /// Slots ever used: every live slot is below it.
    pub(crate) fn slots(&self) -> usize {
        self.chunks.len() * CHUNK_SLOTS
    }

    /// The entry in a slot that may be vacant, or in a chunk that was given back.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Entry> {
        let entry = self.chunks[slot as usize / CHUNK_SLOTS]
            .entries
            .get(slot as usize % CHUNK_SLOTS)?;
        (!entry.is_vacant()).then_some(entry)
    }

    /// The first slot from `slot` on whose chunk has a live one: what a walk need not look at is passed over.
    pub(crate) fn next_live(&self, slot: Slot) -> Option<Slot> {
        let first = slot as usize / CHUNK_SLOTS;
        let chunk = (first..self.chunks.len()).find(|&chunk| self.chunks[chunk].live > 0)?;
        Some(slot.max((chunk * CHUNK_SLOTS) as Slot))
    }

    /// Loads the keys of slots, so that hashing them waits for memory once and not once a key: the loads of a loop
    /// depend on nothing in it, and the processor does them side by side.
    pub(crate) fn touch_keys(&self, slots: &mut dyn Iterator<Item = Slot>) {
        let mut near = [NIL; TOUCHED_SLOTS];
        loop {
            let mut count = 0;
            for (at, slot) in near.iter_mut().zip(&mut *slots) {
                *at = slot;
                count += 1;
            }
            for &slot in &near[..count] {
                black_box(self[slot].version());
            }
            for &slot in &near[..count] {
                black_box(self[slot].key().first());
            }
            if count < TOUCHED_SLOTS {
                return;
            }
        }
    }

    /// A slot that can be linked and is no entry.
    pub(crate) fn insert_marker(&mut self) -> Slot {
        self.put(Entry {
            bytes: Bytes::Owned(Box::default()),
            meta: 0,
            newer: NIL,
            older: NIL,
        })
    }

    /// # Panics
    /// Past [`SLOTS_MAX`], which the store's capacity keeps it from reaching.
    pub(crate) fn insert(&mut self, pair: Pair, version: u64) -> Slot {
        self.put(Entry::new(pair, version))
    }

    fn put(&mut self, entry: Entry) -> Slot {
        if self.first_free == NONE {
            self.add_chunk();
        }
        let number = self.first_free;
        let chunk = &mut self.chunks[number as usize];
        let slot = if chunk.free != NIL {
            let slot = chunk.free;
            let at = &mut chunk.entries[slot as usize % CHUNK_SLOTS];
            chunk.free = at.older;
            *at = entry;
            slot
        } else {
            chunk.entries.push(entry);
            number * CHUNK_SLOTS as u32 + chunk.entries.len() as u32 - 1
        };
        chunk.live += 1;
        if self.spare == number {
            self.spare = NONE;
        }
        if chunk.live as usize == CHUNK_SLOTS {
            self.unlink(number);
        }
        slot
    }

    /// Takes memory for a chunk: for one that was given back, or a new one.
    fn add_chunk(&mut self) {
        let number = self.given_back.pop().unwrap_or_else(|| {
            let number = self.chunks.len();
            assert!(number < CHUNKS_MAX, "the capacity keeps slots within 32 bits");
            self.chunks.push(Chunk::default());
            number as u32
        });
        let chunk = &mut self.chunks[number as usize];
        chunk.entries = Vec::with_capacity(CHUNK_SLOTS);
        chunk.free = NIL;
        self.link_first(number);
    }

    /// Puts a chunk before all others that have vacant slots.
    fn link_first(&mut self, number: u32) {
        let next = std::mem::replace(&mut self.first_free, number);
        let chunk = &mut self.chunks[number as usize];
        (chunk.previous, chunk.next) = (NONE, next);
        if next != NONE {
            self.chunks[next as usize].previous = number;
        }
    }

    fn unlink(&mut self, number: u32) {
        let Chunk { previous, next, .. } = self.chunks[number as usize];
        match previous {
            NONE => self.first_free = next,
            _ => self.chunks[previous as usize].next = next,
        }
        if next != NONE {
            self.chunks[next as usize].previous = previous;
        }
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Pair {
        let number = slot / CHUNK_SLOTS as u32;
        let chunk = &mut self.chunks[number as usize];
        let entry = &mut chunk.entries[slot as usize % CHUNK_SLOTS];
        let (key_bytes, has_deadline) = (entry.key_bytes(), entry.has_deadline());
        let bytes = std::mem::replace(&mut entry.bytes, Bytes::Owned(Box::default()));
        entry.older = chunk.free;
        chunk.free = slot;
        let was_full = chunk.live as usize == CHUNK_SLOTS;
        chunk.live -= 1;
        let is_empty = chunk.live == 0;
        if was_full {
            self.link_first(number);
        } else if is_empty && self.spare == NONE {
            self.spare = number;
        } else if is_empty {
            self.chunks[number as usize].entries = Vec::new();
            self.unlink(number);
            self.given_back.push(number);
        }
        Pair::from_parts(bytes, key_bytes, has_deadline)
    }
}

impl std::ops::Index<Slot> for Slab {
    type Output = Entry;
    fn index(&self, slot: Slot) -> &Entry {
        &self.chunks[slot as usize / CHUNK_SLOTS].entries[slot as usize % CHUNK_SLOTS]
    }
}

impl std::ops::IndexMut<Slot> for Slab {
    fn index_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.chunks[slot as usize / CHUNK_SLOTS].entries[slot as usize % CHUNK_SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: usize) -> Pair {
        Pair::new(format!("key{number}").as_bytes(), b"")
    }

    fn chunks_held(slab: &Slab) -> usize {
        let held = slab.chunks.iter().filter(|chunk| chunk.entries.capacity() > 0);
        held.count()
    }

    #[test]
    fn a_chunk_without_entries_is_given_back_and_its_slots_are_used_again() {
        let mut slab = Slab::new();
        let slots: Vec<Slot> = (0..5 * CHUNK_SLOTS).map(|n| slab.insert(pair(n), 1)).collect();
        assert_eq!(chunks_held(&slab), 5);
        for &slot in &slots[CHUNK_SLOTS..4 * CHUNK_SLOTS] {
            slab.remove(slot);
        }
        assert!(chunks_held(&slab) <= 3, "one is kept for what comes next");
        assert_eq!(
            slab.next_live(CHUNK_SLOTS as Slot),
            Some((4 * CHUNK_SLOTS) as Slot)
        );
        assert!(slab.get(slots[CHUNK_SLOTS]).is_none());
        let again: Vec<Slot> = (0..3 * CHUNK_SLOTS).map(|n| slab.insert(pair(n), 2)).collect();
        assert_eq!((slab.slots(), chunks_held(&slab)), (5 * CHUNK_SLOTS, 5));
        let mut all: Vec<Slot> = slots[..CHUNK_SLOTS].to_vec();
        all.extend(&slots[4 * CHUNK_SLOTS..]);
        all.extend(&again);
        all.sort_unstable();
        assert_eq!(all, slots, "each slot has one entry");
        for &slot in &all {
            slab.remove(slot);
        }
        assert!(chunks_held(&slab) <= 1);
        assert_eq!(slab.next_live(0), None);
    }
}
