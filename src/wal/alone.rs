//! A log without a node, for the tests of single files: its store is a map in order of keys, its end in the test's
//! hands.

use super::base::Batch;
use super::disk::Disk;
use super::{Appender, Change, Log, Operation, Options, Policy, Role, Source};
use crate::digest::Digest;
use crate::pair::Pair;
use crate::record::Record;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const EIO: i32 = 5;

pub(super) struct Alone {
    pub(super) log: Log,
    pub(super) appender: Appender,
    pub(super) store: Arc<MapStore>,
}

/// Pairs by their keys, each with its version.
#[derive(Default)]
pub(super) struct MapStore(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    pairs: BTreeMap<Vec<u8>, (Pair, u64)>,
    tip: u64,
    /// The first key that the walk has not given yet.
    walk: Vec<u8>,
    version_max: u64,
}

/// Options under which the log does nothing by itself.
pub(super) fn options(policy: Policy) -> Options {
    Options {
        policy,
        unwritten_bytes_max: 1 << 20,
        segment_bytes_max: 1 << 20,
        compact_bytes_min: Some(0),
        compact_ratio: 0.0,
        backlog_bytes: Some(0),
        branch_spread_bytes: 0,
        new_store: false,
        progress: Arc::default(),
        wait_max: PATIENCE,
    }
}

impl Alone {
    pub(super) fn primary(dir: &Path) -> Alone {
        Alone::open(&Disk::default(), dir, options(Policy::No), Role::Primary)
    }

    /// Opens a log, and starts its threads.
    pub(super) fn open(disk: &Disk, dir: &Path, options: Options, role: Role) -> Alone {
        let store = MapStore::default();
        let replay = |record: &Record<'_>, version| store.replay(record, version);
        let (mut log, appender) = Log::open(disk.clone(), dir, options, |_| role, replay).unwrap();
        store.0.lock().unwrap().tip = appender.next();
        let store = Arc::new(store);
        let source = Arc::clone(&store) as Arc<dyn Source>;
        log.start(source, store.digest()).unwrap();
        Alone { log, appender, store }
    }

    /// Puts a pair, and returns its version. It waits in the channel.
    pub(super) fn put(&mut self, key: &str, value: &str) -> u64 {
        let pair = Pair::new(key.as_bytes(), value.as_bytes());
        let version = self.appender.version_of_next(&pair);
        let replaced = self.store.insert(pair.clone(), version);
        self.appender.append_unreserved(0, Change::Put { pair, replaced })
    }

    /// Removes a key that is there, and returns the offset past the record.
    pub(super) fn delete(&mut self, key: &str) -> u64 {
        let (pair, version) = self.store.remove(key.as_bytes()).unwrap();
        let operation = Operation::Delete;
        let removed = Change::Removed {
            operation,
            pair,
            version,
        };
        let offset = self.appender.append_unreserved(0, removed);
        self.store.0.lock().unwrap().tip = offset;
        offset
    }

    /// As [`Alone::put`], and waits until it is durable.
    pub(super) fn set(&mut self, key: &str, value: &str) -> u64 {
        let version = self.put(key, value);
        self.log.wait(version).unwrap();
        version
    }
}

impl MapStore {
    fn insert(&self, pair: Pair, version: u64) -> Option<(Pair, u64)> {
        let mut inner = self.0.lock().unwrap();
        inner.tip = version;
        inner.pairs.insert(pair.key().to_vec(), (pair, version))
    }

    fn remove(&self, key: &[u8]) -> Option<(Pair, u64)> {
        self.0.lock().unwrap().pairs.remove(key)
    }

    /// Does what a record says, at the version that it gives its key.
    pub(super) fn replay(&self, record: &Record<'_>, version: u64) {
        match record.operation {
            Operation::Set | Operation::Update => {
                self.insert(Pair::new(record.key, record.value), version);
            }
            operation if operation.has_key() => {
                self.remove(record.key);
            }
            _ => {}
        }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        let inner = self.0.lock().unwrap();
        let pairs = inner.pairs.values();
        pairs.for_each(|(pair, version)| digest.add(pair, *version));
        digest
    }

    /// Keys and values.
    pub(super) fn contents(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let inner = self.0.lock().unwrap();
        let pairs = inner.pairs.values();
        pairs
            .map(|(pair, _)| (text(pair.key()), text(pair.value())))
            .collect()
    }
}

impl Source for MapStore {
    fn tip(&self) -> u64 {
        self.0.lock().unwrap().tip
    }

    fn size(&self) -> (u64, u64) {
        let inner = self.0.lock().unwrap();
        let bytes = inner.pairs.values().map(|(pair, _)| pair.key_and_value().len());
        (inner.pairs.len() as u64, bytes.sum::<usize>() as u64)
    }

    fn start_walk(&self, version_max: u64) {
        let mut inner = self.0.lock().unwrap();
        inner.walk.clear();
        inner.version_max = version_max;
    }

    fn walk(&self, batch: &mut Batch) -> bool {
        let mut inner = self.0.lock().unwrap();
        let steps = batch.steps();
        let mut next = None;
        for (at, (key, (pair, version))) in inner.pairs.range(inner.walk.clone()..).enumerate() {
            let key_bytes = key.len();
            let is_taken = at < steps
                && (*version > inner.version_max
                    || batch.copy(pair.key_and_value(), key_bytes, *version, pair.deadline_ms()));
            if !is_taken {
                next = Some(key.clone());
                break;
            }
        }
        let has_more = next.is_some();
        inner.walk = next.unwrap_or_default();
        has_more
    }

    fn end_walk(&self) {}

    fn walk_slots(&self, from: u32, version_max: u64, batch: &mut Batch) -> Option<u32> {
        let inner = self.0.lock().unwrap();
        for (slot, (key, (pair, version))) in (0..).zip(&inner.pairs).skip(from as usize) {
            let bytes = pair.key_and_value();
            if *version <= version_max && !batch.copy(bytes, key.len(), *version, pair.deadline_ms()) {
                return Some(slot);
            }
        }
        None
    }
}

/// The files of a directory whose names begin so, in order.
pub(super) fn files(dir: &Path, begin: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begin));
    paths.sort();
    paths
}
