//! Applies the records of a log, a base or a snapshot to a map, on a thread of its own.
//!
//! The caller reads and checks records, and hashes their keys. The thread `replay` makes entries of them. So a start
//! uses two cores: one for the bytes, one for the map.
//!
//! # Batches
//! Records meet a map that is in no cache: each would wait in turn for the index, for the entry, for its key and for
//! its neighbours in the LRU list, about 100 ns each. So records travel in batches, and the thread touches each of these
//! for a group of records before the next: the processor then fetches them side by side.
//!
//! # The size of the index
//! A table that grows hashes its keys again, which costs more than all else. The thread estimates how many entries
//! there will be from how much was read, and makes room for them at once. Where the estimate was too high, the tables
//! shrink at the end.
//!
//! # Limits
//! - At most [`BATCHES`] batches exist. A batch ends at [`BATCH_RECORDS`] records or [`BATCH_BYTES`] bytes, or with the
//!   record that exceeds them: so large values bound it, not their number.

use super::lru::LruMap;
use super::slab::Slot;
use crate::record::{Operation, Record};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::thread::{self, Builder};

/// Batches that travel between the two threads: enough that neither waits for a hiccup of the other.
const BATCHES: usize = 8;

/// Records of a batch: enough that handing one over costs nothing.
const BATCH_RECORDS: usize = 1024;

/// Bytes of keys and values from which on a batch is full.
const BATCH_BYTES: usize = 128 * 1024;

/// Records that are touched together: enough to keep all of a core's outstanding loads busy, few enough that what was
/// touched is still in its cache when it is applied.
const GROUP_RECORDS: usize = 64;

/// Entries from which on their number is estimated: a smaller map grows in no time.
const ESTIMATE_ENTRIES_MIN: u64 = 1 << 16;

struct Item {
    operation: Operation,
    deadline_ms: Option<u64>,
    version: u64,
    hash: u64,
    key: Range<usize>,
    value: Range<usize>,
}

/// Records on their way into the map: the ranges of `items` are within `bytes`.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.items.len() >= BATCH_RECORDS || self.bytes.len() >= BATCH_BYTES
    }

    fn push(&mut self, record: &Record<'_>, version: u64, hash: u64) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(record.value);
        self.items.push(Item {
            operation: record.operation,
            deadline_ms: record.deadline_ms,
            version,
            hash,
            key: start..middle,
            value: middle..self.bytes.len(),
        });
    }

    fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
        self.bytes.shrink_to(2 * BATCH_BYTES);
    }
}

/// The reading side of a replay.
pub(crate) struct Replay {
    hasher: RandomState,
    batch: Batch,
    full: Sender<Batch>,
    empty: Receiver<Batch>,
}

/// Runs `read`, which pushes records, and applies them to the map meanwhile. All of them are applied when this returns.
/// `fraction` tells how much of what there is to read was read, from 0 to 1; `None` where that is not known.
///
/// # Errors
/// Where the thread cannot be started. Nothing was read then.
///
/// # Panics
/// Where the thread has panicked.
pub(crate) fn replay<R>(
    map: &mut LruMap,
    fraction: impl Fn() -> Option<f64> + Send,
    read: impl FnOnce(&mut Replay) -> R,
) -> io::Result<R> {
    let (full, to_apply) = bounded(BATCHES);
    let (applied, empty) = bounded(BATCHES);
    for _ in 0..BATCHES {
        // The channel has room for all of them.
        let _ = applied.send(Batch::default());
    }
    let mut replay = Replay {
        hasher: map.hasher(),
        batch: Batch::default(),
        full,
        empty,
    };
    thread::scope(|scope| {
        let applier = Applier {
            map,
            fraction,
            estimate_at: ESTIMATE_ENTRIES_MIN,
            touched: Vec::with_capacity(GROUP_RECORDS),
        };
        Builder::new()
            .name("replay".to_owned())
            .spawn_scoped(scope, move || applier.run(&to_apply, &applied))?;
        let result = read(&mut replay);
        replay.send();
        // The sender goes with it: the thread ends, and the scope joins it.
        drop(replay);
        Ok(result)
    })
}

impl Replay {
    /// Takes a record, and the version that it gives its key.
    pub(crate) fn push(&mut self, record: &Record<'_>, version: u64) {
        if !record.operation.has_key() {
            return;
        }
        let hash = self.hasher.hash_one(record.key);
        self.batch.push(record, version, hash);
        if self.batch.is_full() {
            self.send();
        }
    }

    /// Hands the batch over. Waits for an empty one.
    fn send(&mut self) {
        // The other side goes away early only by a panic, which the scope passes on.
        if let Ok(empty) = self.empty.recv() {
            let batch = std::mem::replace(&mut self.batch, empty);
            let _ = self.full.send(batch);
        }
    }
}

/// The side that owns the map meanwhile.
struct Applier<'a, F> {
    map: &'a mut LruMap,
    fraction: F,
    /// The number of entries at which their final number is estimated again.
    estimate_at: u64,
    touched: Vec<Slot>,
}

impl<F: Fn() -> Option<f64>> Applier<'_, F> {
    fn run(mut self, to_apply: &Receiver<Batch>, applied: &Sender<Batch>) {
        for mut batch in to_apply {
            self.reserve();
            for group in batch.items.chunks(GROUP_RECORDS) {
                self.touch(group);
                for item in group {
                    let (key, value) = (&batch.bytes[item.key.clone()], &batch.bytes[item.value.clone()]);
                    let record = Record {
                        deadline_ms: item.deadline_ms,
                        ..Record::new(item.operation, 0, key, value)
                    };
                    self.map.replay(item.hash, &record, item.version);
                }
            }
            batch.clear();
            // The reader may have ended: it needs no more batches.
            let _ = applied.send(batch);
        }
        self.map.fit_index();
    }

    /// Makes room in the index for as many entries as there will be, going by those so far.
    fn reserve(&mut self) {
        let entries = self.map.entries();
        if entries < self.estimate_at {
            return;
        }
        let fraction = (self.fraction)().filter(|&fraction| fraction > 0.0);
        let estimate = fraction.map_or(0, |fraction| (entries as f64 / fraction) as u64);
        self.map.reserve_index(estimate);
        self.estimate_at = estimate.max(2 * entries);
    }

    /// Loads what applying will need. Each loop's loads depend on nothing in the same loop.
    fn touch(&mut self, items: &[Item]) {
        let map = &*self.map;
        self.touched.clear();
        self.touched
            .extend(items.iter().filter_map(|item| map.find_likely(item.hash)));
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
