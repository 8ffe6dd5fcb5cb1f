//! Applies the records of a log, a base or a snapshot to a map, on a thread of its own.
//!
//! The caller reads and checks records, and hashes their keys. The thread `replay` makes entries of them. So a start
//! uses two cores: one for the bytes, one for the map.
//!
//! # Batches
//! Records meet a map that is in no cache: each would wait in turn for the index, for the entry, for its key and for
//! its neighbours in the LRU list, about 100 ns each. So records travel in batches, and the thread loads each of these
//! for a group of records before the next: the processor then fetches them side by side.
//!
//! # Who allocates
//! The thread has more to do than the caller. So the caller allocates the pairs while most records make new entries. A
//! record of a key that is there needs no allocation where the lengths are the same: its value is then copied into the
//! entry, and the caller hands over the bytes alone.
//!
//! # The size of the index
//! A table that grows hashes its keys again, which costs more than all else. The thread estimates how many entries
//! there will be from how much was read, and makes room for them at once. Where the estimate was too high, the tables
//! shrink at the end.
//!
//! # Limits
//! - At most [`BATCHES`] batches travel, and one is being filled. A batch ends at [`BATCH_RECORDS`] records or
//!   [`BATCH_BYTES`] bytes, or with the record that exceeds them.
//! - A batch with a large record travels alone: the caller waits until it is applied. So a start holds one such record
//!   beside the map, and not one a batch.

use super::lru::{LruMap, Replayed};
use super::slab::Slot;
use crate::pair::Pair;
use crate::record::{Operation, Record};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::thread::{self, Builder};

/// Batches that travel between the two threads: enough that neither waits for a hiccup of the other.
const BATCHES: usize = 8;

/// Records of a batch: enough that handing one over costs nothing.
const BATCH_RECORDS: usize = 1024;

/// Bytes of keys and values from which on a batch is full.
const BATCH_BYTES: usize = 128 * 1024;

/// Records that are loaded together: enough to keep all of a core's outstanding loads busy, few enough that what was
/// loaded is still in its cache when it is applied.
const GROUP_RECORDS: usize = 64;

/// Entries from which on their number is estimated: a smaller map grows in no time.
const ESTIMATE_ENTRIES_MIN: u64 = 1 << 16;

/// Where the key, the value and the deadline of a record are.
enum Body {
    Pair(Pair),
    /// In the batch's bytes.
    Bytes(Range<usize>, Range<usize>, Option<u64>),
}

struct Item {
    operation: Operation,
    version: u64,
    hash: u64,
    body: Body,
}

/// Records on their way into the map.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    /// The keys and values of those items that are no pairs.
    bytes: Vec<u8>,
    /// Bytes of all keys and values.
    total_bytes: usize,
    /// Whether the items are to be pairs.
    makes_pairs: bool,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.items.len() >= BATCH_RECORDS || self.total_bytes >= BATCH_BYTES
    }

    fn push(&mut self, record: &Record<'_>, version: u64, hash: u64) {
        self.total_bytes += record.key.len() + record.value.len();
        let body = if self.makes_pairs && record.operation.is_put() {
            Body::Pair(Pair::with_deadline(record.key, record.value, record.deadline_ms))
        } else {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(record.key);
            let middle = self.bytes.len();
            self.bytes.extend_from_slice(record.value);
            Body::Bytes(start..middle, middle..self.bytes.len(), record.deadline_ms)
        };
        self.items.push(Item {
            operation: record.operation,
            version,
            hash,
            body,
        });
    }
}

/// The reading side of a replay.
pub(crate) struct Replay {
    hasher: RandomState,
    batch: Batch,
    full: Sender<Batch>,
    empty: Receiver<Batch>,
    /// Empty batches that the caller has back.
    spare: Vec<Batch>,
}

/// Runs `read`, which pushes records, and applies them to the map meanwhile. All of them are applied when this returns.
/// `fraction` says how much was read of what there is to read, from 0 to 1; `None` where that is not known.
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
    let mut replay = Replay {
        hasher: map.hasher(),
        batch: Batch::default(),
        full,
        empty,
        spare: std::iter::repeat_with(Batch::default).take(BATCHES).collect(),
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

    /// Hands the batch over. Waits for an empty one, and for all of them where the batch is large.
    fn send(&mut self) {
        let is_large = self.batch.total_bytes > 2 * BATCH_BYTES;
        // The other side ends early only by a panic, which the scope passes on.
        let Some(empty) = self.spare.pop().or_else(|| self.empty.recv().ok()) else {
            return;
        };
        let batch = std::mem::replace(&mut self.batch, empty);
        let _ = self.full.send(batch);
        while is_large && self.spare.len() < BATCHES {
            let Ok(empty) = self.empty.recv() else { return };
            self.spare.push(empty);
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
            let entries = self.map.entries();
            let records = batch.items.len() as u64;
            self.apply(&mut batch);
            batch.makes_pairs = self.map.entries().saturating_sub(entries) > records / 2;
            // The reader may have ended: it needs no more batches.
            let _ = applied.send(batch);
        }
        self.map.fit_index();
    }

    /// Applies a batch, and leaves it empty.
    fn apply(&mut self, batch: &mut Batch) {
        let bytes = &batch.bytes;
        let mut items = batch.items.drain(..);
        while !items.as_slice().is_empty() {
            let left = items.as_slice();
            self.touch(&left[..left.len().min(GROUP_RECORDS)]);
            for item in items.by_ref().take(GROUP_RECORDS) {
                let body = match item.body {
                    Body::Pair(pair) => Replayed::Pair(pair),
                    Body::Bytes(key, value, deadline_ms) => {
                        Replayed::Bytes(&bytes[key], &bytes[value], deadline_ms)
                    }
                };
                self.map.replay(item.hash, item.operation, body, item.version);
            }
        }
        drop(items);
        batch.bytes.clear();
        batch.bytes.shrink_to(2 * BATCH_BYTES);
        batch.total_bytes = 0;
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

    /// Loads what applying will need.
    fn touch(&mut self, items: &[Item]) {
        let hashes = items.iter().map(|item| item.hash);
        self.map.load(hashes, &mut self.touched);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const ROOMY: Limits = Limits {
        entries_max: Limits::ENTRIES_MAX,
        bytes_max: u64::MAX,
    };

    fn map() -> LruMap {
        LruMap::new(ROOMY, RandomState::new())
    }

    /// All entries: the value and the version of each key.
    fn contents(map: &LruMap) -> BTreeMap<Vec<u8>, (Vec<u8>, u64)> {
        let mut found = BTreeMap::new();
        map.walk(0, usize::MAX, |_, entry| {
            found.insert(entry.key().to_vec(), (entry.value().to_vec(), entry.version()));
            true
        });
        found
    }

    fn key(number: usize) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Some thousand records of few keys and of many: batches of both kinds, entries that are replaced in place,
        /// by values of other lengths, and removed.
        #[test]
        fn the_map_holds_what_the_last_record_of_each_key_says(
            records in proptest::collection::vec((0..3000usize, 0..4usize, 0..8u8), 0..6000),
        ) {
            let mut map = map();
            let mut model = BTreeMap::new();
            replay(&mut map, || None, |replay| {
                for (version, &(number, length, what)) in records.iter().enumerate() {
                    let (key, value) = (key(number), vec![what; length]);
                    let operation = match what {
                        0 => Operation::Delete,
                        _ => Operation::Update,
                    };
                    let value: &[u8] = if operation.is_put() { &value } else { &[] };
                    replay.push(&Record::new(operation, 0, &key, value), version as u64);
                    match operation.is_put() {
                        true => model.insert(key, (value.to_vec(), version as u64)),
                        false => model.remove(&key),
                    };
                }
            }).unwrap();
            prop_assert_eq!(map.entries(), model.len() as u64);
            prop_assert_eq!(contents(&map), model);
        }
    }

    #[test]
    fn an_index_of_which_too_much_was_expected_shrinks_at_the_end() {
        const RECORDS: usize = 4 * ESTIMATE_ENTRIES_MIN as usize;
        let fill = |fraction: Option<f64>| {
            let mut map = map();
            let all = |replay: &mut Replay| {
                for number in 0..RECORDS {
                    replay.push(&Record::new(Operation::Set, 0, &key(number), b"value"), 1);
                }
            };
            replay(&mut map, || fraction, all).unwrap();
            assert_eq!(map.entries(), RECORDS as u64);
            map.index_capacity()
        };
        let (by_growth, far_too_large) = (fill(None), fill(Some(0.001)));
        assert!(
            far_too_large <= 4 * by_growth,
            "room for {far_too_large}, where {by_growth} are enough"
        );
    }

    #[test]
    fn a_large_record_is_applied_before_the_next_is_read() {
        let mut map = map();
        let value = vec![7; 4 * BATCH_BYTES];
        let all = |replay: &mut Replay| {
            for version in 0..20 {
                replay.push(&Record::new(Operation::Set, 0, b"small", b"value"), version);
                replay.push(&Record::new(Operation::Set, 0, b"large", &value), version);
                assert_eq!(replay.spare.len(), BATCHES, "no batch travels");
                assert_eq!(replay.batch.items.len(), 0);
            }
        };
        replay(&mut map, || None, all).unwrap();
        assert_eq!(contents(&map)[b"large".as_slice()], (value.clone(), 19));
        assert_eq!(map.entries(), 2);
    }

    #[test]
    fn what_was_read_before_an_error_is_applied_and_the_error_passed_on() {
        let mut map = map();
        let result = replay(
            &mut map,
            || None,
            |replay| {
                replay.push(&Record::new(Operation::Set, 0, b"key", b"value"), 7);
                Err::<(), _>("the file ends")
            },
        );
        assert_eq!(result.unwrap(), Err("the file ends"));
        assert_eq!(contents(&map)[b"key".as_slice()], (b"value".to_vec(), 7));
    }
}
