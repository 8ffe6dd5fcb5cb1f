//! Applies the records of the log to the map, many at a time.
//!
//! At a start millions of records meet a map that is in no cache: each would wait in turn for the index,
//! for the entry, for its key and for its neighbours in the LRU list, about 100 ns each. So records are
//! gathered, and each of these is touched for all of them before the next, which lets the processor fetch
//! them side by side. The records are then applied one after the other, to memory that is at hand. This
//! more than doubles the rate of a start.

use super::lru::LruMap;
use super::slab::Slot;
use crate::record::{Operation, Record};
use std::hint::black_box;
use std::ops::Range;

/// Records gathered: enough to keep all of a core's outstanding loads busy, few enough that what was touched
/// is still in its cache when it is applied.
const GATHERED_RECORDS: usize = 64;

/// Bytes from which on what was gathered is applied, however few records it is.
const GATHERED_BYTES: usize = 64 * 1024;

struct Item {
    operation: Operation,
    deadline_ms: Option<u64>,
    version: u64,
    hash: u64,
    key: Range<usize>,
    value: Range<usize>,
}

/// Records on their way into a map. What was pushed is applied at the latest by [`Replay::finish`].
pub(crate) struct Replay<'a> {
    map: &'a mut LruMap,
    bytes: Vec<u8>,
    items: Vec<Item>,
    touched: Vec<Slot>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(map: &'a mut LruMap) -> Replay<'a> {
        let items = Vec::with_capacity(GATHERED_RECORDS);
        Replay {
            map,
            bytes: Vec::new(),
            items,
            touched: Vec::with_capacity(GATHERED_RECORDS),
        }
    }

    /// Takes a record, and the version that it gives its key.
    pub(crate) fn push(&mut self, record: &Record<'_>, version: u64) {
        if !record.operation.has_key() {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(record.value);
        self.items.push(Item {
            operation: record.operation,
            deadline_ms: record.deadline_ms,
            version,
            hash: self.map.hash(record.key),
            key: start..middle,
            value: middle..self.bytes.len(),
        });
        if self.items.len() == GATHERED_RECORDS || self.bytes.len() >= GATHERED_BYTES {
            self.apply();
        }
    }

    /// Applies what is left.
    pub(crate) fn finish(mut self) {
        self.apply();
    }

    fn apply(&mut self) {
        self.touch();
        for item in &self.items {
            let (key, value) = (&self.bytes[item.key.clone()], &self.bytes[item.value.clone()]);
            let record = Record {
                deadline_ms: item.deadline_ms,
                ..Record::new(item.operation, 0, key, value)
            };
            self.map.replay(item.hash, &record, item.version);
        }
        self.items.clear();
        self.bytes.clear();
        self.bytes.shrink_to(4 * GATHERED_BYTES);
    }

    /// Loads what applying will need. Each loop's loads depend on nothing in the same loop.
    fn touch(&mut self) {
        let map = &*self.map;
        self.touched.clear();
        self.touched
            .extend(self.items.iter().filter_map(|item| map.find_likely(item.hash)));
        for &slot in &self.touched {
            black_box(map.entry(slot).version());
        }
        for &slot in &self.touched {
            black_box(map.entry(slot).key().first());
            for neighbour in map.neighbours(slot).into_iter().flatten() {
                black_box(map.entry(neighbour).version());
            }
        }
    }
}
