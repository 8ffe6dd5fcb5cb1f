//! The entries of the store, in chunks of a fixed size.
//!
//! # Invariants
//! - An entry keeps its slot from insertion to removal, whatever happens to others: the index, the LRU
//!   list and a listing's cursor all speak of slots.
//! - A vacant slot has empty bytes and is linked into the free list; a live one never has empty bytes, as
//!   no key is empty. (A marker has empty bytes too: it is passed over like a vacant slot.)
//! - Chunks are never moved or given back: growth costs one chunk's allocation, never a copy of the whole.

use crate::pair::{self, Bytes, KEY_BYTES_MAX, Pair};

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
    /// deadline behind the value in the last.
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
pub const VERSION_MAX: u64 = crate::record::OFFSET_MAX;

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

pub(crate) struct Slab {
    chunks: Vec<Vec<Entry>>,
    /// First vacant slot; the others follow by `older`.
    free: Slot,
}

impl Slab {
    pub(crate) fn new() -> Slab {
        Slab {
            chunks: Vec::new(),
            free: NIL,
        }
    }

    /// Slots ever used: every live slot is below it.
    pub(crate) fn slots(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK_SLOTS + last.len())
    }

    /// A slot that can be linked and is no entry.
    pub(crate) fn insert_marker(&mut self) -> Slot {
        self.push(Entry {
            bytes: Bytes::Owned(Box::default()),
            meta: 0,
            newer: NIL,
            older: NIL,
        })
    }

    /// # Panics
    /// At 2^32 - 1 entries, which the store's capacity keeps it from reaching.
    pub(crate) fn insert(&mut self, pair: Pair, version: u64) -> Slot {
        let entry = Entry::new(pair, version);
        if self.free != NIL {
            let slot = self.free;
            self.free = self[slot].older;
            self[slot] = entry;
            return slot;
        }
        self.push(entry)
    }

    fn push(&mut self, entry: Entry) -> Slot {
        let slot = self.slots();
        assert!(slot < NIL as usize, "the capacity keeps slots within 32 bits");
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_SLOTS => last.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK_SLOTS);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        slot as Slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Pair {
        let free = self.free;
        let entry = &mut self[slot];
        let (key_bytes, has_deadline) = (entry.key_bytes(), entry.has_deadline());
        let bytes = std::mem::replace(&mut entry.bytes, Bytes::Owned(Box::default()));
        entry.older = free;
        self.free = slot;
        Pair::from_parts(bytes, key_bytes, has_deadline)
    }
}

impl std::ops::Index<Slot> for Slab {
    type Output = Entry;
    fn index(&self, slot: Slot) -> &Entry {
        &self.chunks[slot as usize / CHUNK_SLOTS][slot as usize % CHUNK_SLOTS]
    }
}

impl std::ops::IndexMut<Slot> for Slab {
    fn index_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.chunks[slot as usize / CHUNK_SLOTS][slot as usize % CHUNK_SLOTS]
    }
}
