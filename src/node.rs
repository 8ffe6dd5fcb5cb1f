//! A node: a store, its log, and its role. The one thing that HTTP handlers and commands talk to.
//!
//! # A write
//! [`Node::put`] and [`Node::delete`] check, change the store and hand the record to the log, all in one
//! hold of the store's lock, and return the offset just past the record: the key's version. The write is
//! then seen by readers but not yet acknowledged. [`Node::wait`] returns when the log holds it as firmly
//! as the policy asks; only then may a client be answered. The two are apart so that a connection with
//! many requests in hand applies them all and waits once.
//!
//! # What must hold
//! - Every check that can refuse a write comes before the first change, so a refused write leaves no trace
//!   in the store or the log.
//! - The store never holds what the log was not handed, and in the same order.
//! - A read takes the store's lock and nothing else, so it never waits for the disk.

mod listing;
mod watch;
mod write;

pub use listing::{Cursor, Page, StaleCursor};
pub use write::{Meta, Mode, Precondition, WriteError, Written};

use crate::key::Key;
use crate::log::{self, Health, Log, Operation, Policy, Position, Refusal};
use crate::pair::Pair;
use crate::store::{self, Counters, Limits, LruMap, Replay, Store};
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How a node is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made if it is not there.
    pub dir: PathBuf,
    /// The bounds of the store.
    pub limits: Limits,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// The log's policy and limits.
    pub log: log::Options,
}

/// How a node is, at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The log's id, as 32 hexadecimal digits.
    pub log_id: String,
    /// The term of the log.
    pub term: u64,
    /// How far the log has been written and synced, in bytes.
    pub position: Position,
    /// The offset just past the last record handed to the log.
    pub offset: u64,
    /// The log's policy.
    pub policy: Policy,
    /// Whether the log takes writes.
    pub health: Health,
    /// Where the data is.
    pub dir: PathBuf,
    /// The bounds of the store.
    pub limits: Limits,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
    /// How long the node has been open.
    pub uptime: std::time::Duration,
}

/// A store, its log and its role. Shared by reference among all threads; [`Node::close`] ends it.
///
/// Opening it locks the data directory and starts one thread, `log`, which ends in [`Node::close`].
pub struct Node {
    store: Arc<Store>,
    log: Log,
    dir: PathBuf,
    limits: Limits,
    value_bytes_max: usize,
    opened: Instant,
    /// Random: tells the cursors of this run from those of others.
    run: u32,
}

impl Node {
    /// Opens a data directory, recovering what it holds.
    pub fn open(options: Options) -> Result<Node, log::Error> {
        Node::open_on(log::Disk::default(), options)
    }

    /// As [`Node::open`], on a disk that a test makes fail.
    pub(crate) fn open_on(disk: log::Disk, options: Options) -> Result<Node, log::Error> {
        let hasher = RandomState::new();
        let mut map = LruMap::new(options.limits, hasher.clone());
        let mut replay = Replay::new(&mut map);
        let (mut log, appender) = Log::open(disk, &options.dir, options.log, |record, version| {
            replay.push(record, version)
        })?;
        replay.finish();
        let store = Arc::new(Store::new(map, appender, hasher.clone()));
        log.start(Arc::clone(&store) as Arc<dyn log::Source>)?;
        let run = std::hash::BuildHasher::hash_one(&hasher, "cursors") as u32;
        let node = Node {
            store,
            log,
            dir: options.dir,
            limits: options.limits,
            value_bytes_max: options.value_bytes_max,
            opened: Instant::now(),
            run,
        };
        node.evict_excess();
        Ok(node)
    }

    /// Stops the log's thread, syncs the log and releases the directory.
    pub fn close(self) -> Result<(), log::Error> {
        self.log.close()
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Largest value, in bytes.
    pub fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }

    /// Reads a key: appends its value to `value` and returns its version. Makes the key the most recently
    /// used and counts a hit or a miss.
    pub fn get(&self, key: Key<'_>, value: &mut Vec<u8>) -> Option<u64> {
        let hash = self.store.hash(key.as_bytes());
        loop {
            let mut locked = self.store.lock();
            let map = &mut locked.map;
            let Some(slot) = map.find(hash, key.as_bytes()) else {
                map.counters.misses += 1;
                return None;
            };
            let entry = map.entry(slot);
            let (version, value_bytes) = (entry.version(), entry.value().len());
            let shared = if entry.is_shared() {
                Some(entry.pair())
            } else if value_bytes <= value.capacity() - value.len() {
                value.extend_from_slice(entry.value());
                None
            } else {
                // Room is made outside the lock; the key is then looked up anew.
                drop(locked);
                value.reserve(value_bytes);
                continue;
            };
            map.touch(slot);
            map.counters.hits += 1;
            drop(locked);
            if let Some(pair) = shared {
                value.extend_from_slice(pair.value());
            }
            return Some(version);
        }
    }

    /// What is known of a key beside its value. Leaves recency and counters alone.
    pub fn peek(&self, key: Key<'_>) -> Option<Meta> {
        let hash = self.store.hash(key.as_bytes());
        let locked = self.store.lock();
        let entry = locked.map.entry(locked.map.find(hash, key.as_bytes())?);
        Some(Meta {
            version: entry.version(),
            value_bytes: entry.value().len(),
        })
    }

    /// Adds or replaces a value.
    pub fn put(
        &self,
        key: Key<'_>,
        value: &[u8],
        mode: Mode,
        precondition: Precondition,
    ) -> Result<Written, WriteError> {
        if value.len() > self.value_bytes_max {
            return Err(WriteError::TooLarge {
                bytes_max: self.value_bytes_max as u64,
            });
        }
        let pair = Pair::new(key.as_bytes(), value);
        let cost = store::cost_bytes(&pair);
        if cost > self.limits.bytes_max {
            return Err(WriteError::TooLarge {
                bytes_max: self.limits.bytes_max,
            });
        }
        let hash = self.store.hash(key.as_bytes());
        let logged = pair.clone();
        let timestamp_ms = now_ms();
        let reserved = self.log.reserve(&logged)?;

        let mut locked = self.store.lock();
        let store::Locked { map, log } = &mut *locked;
        let slot = map.find(hash, key.as_bytes());
        let version = slot.map(|slot| map.entry(slot).version());
        match (mode, version) {
            (Mode::Update, None) => return Err(WriteError::Missing),
            (Mode::Add, Some(version)) => return Err(WriteError::Exists { version }),
            _ => precondition.check(version)?,
        }
        log.check()?;
        let (slot, replaced_cost) = match slot {
            Some(slot) => {
                // First, so that the evictions to come never reach the entry itself.
                map.touch(slot);
                (Some(slot), map.cost_of(slot))
            }
            None => (None, 0),
        };
        evict(map, log, slot.is_none() as u64, cost, replaced_cost, timestamp_ms);
        let operation = if slot.is_some() {
            Operation::Update
        } else {
            Operation::Set
        };
        let version = log.append(operation, timestamp_ms, logged, reserved);
        let replaced = match slot {
            Some(slot) => {
                map.counters.updates += 1;
                Some(map.replace(slot, pair, version))
            }
            None => {
                map.counters.adds += 1;
                map.insert(hash, pair, version);
                None
            }
        };
        drop(locked);
        drop(replaced); // Freed here: the allocator has no place under the lock.
        Ok(Written {
            version,
            created: slot.is_none(),
        })
    }

    /// Deletes a key and returns the offset to wait for.
    pub fn delete(&self, key: Key<'_>, precondition: Precondition) -> Result<u64, WriteError> {
        let logged = Pair::of_key(key.as_bytes());
        let hash = self.store.hash(key.as_bytes());
        let timestamp_ms = now_ms();
        let reserved = self.log.reserve(&logged)?;

        let mut locked = self.store.lock();
        let store::Locked { map, log } = &mut *locked;
        let slot = map.find(hash, key.as_bytes());
        precondition.check(slot.map(|slot| map.entry(slot).version()))?;
        let slot = slot.ok_or(WriteError::Missing)?;
        log.check()?;
        let offset = log.append(Operation::Delete, timestamp_ms, logged, reserved);
        map.counters.deletes += 1;
        let removed = map.remove(slot);
        drop(locked);
        drop(removed);
        Ok(offset)
    }

    /// Returns when the log holds everything up to `offset` as firmly as the policy asks.
    ///
    /// An error means that the outcome is not known: the writes are in the store, and may or may not be
    /// there after a restart.
    pub fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.log.wait(offset)
    }

    /// As [`Node::wait`] without the wait: leaves `then` to whoever brings the log that far. `false`, and
    /// nothing left, where nobody is at it and this thread has to wait. `then` must not block.
    pub(crate) fn defer(&self, offset: u64, then: log::Then) -> bool {
        self.log.defer(offset, then)
    }

    /// What the store has counted.
    pub fn counters(&self) -> Counters {
        self.store.lock().map.counters()
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        let offset = self.store.lock().log.next();
        Status {
            log_id: self.log.id().to_string(),
            term: self.log.term(),
            position: self.log.position(),
            offset,
            policy: self.log.policy(),
            health: self.log.health(),
            dir: self.dir.clone(),
            limits: self.limits,
            value_bytes_max: self.value_bytes_max,
            uptime: self.opened.elapsed(),
        }
    }

    /// Whether the node takes writes.
    pub fn health(&self) -> Health {
        self.log.health()
    }

    /// The log's policy.
    pub fn policy(&self) -> Policy {
        self.log.policy()
    }

    /// Brings a store that was recovered under larger bounds within those of now.
    fn evict_excess(&self) {
        let timestamp_ms = now_ms();
        loop {
            let mut locked = self.store.lock();
            let store::Locked { map, log } = &mut *locked;
            if !map.is_over(0, 0, 0) || log.check().is_err() {
                return;
            }
            evict_oldest(map, log, timestamp_ms);
            drop(locked);
        }
    }
}

/// Evicts until an entry of `cost` bytes fits, in place of one of `replaced_cost` where there is one.
fn evict(
    map: &mut LruMap,
    log: &mut log::Appender,
    entries_more: u64,
    cost: u64,
    replaced_cost: u64,
    timestamp_ms: u64,
) {
    while map.is_over(entries_more, cost, replaced_cost) && map.entries() + entries_more > 1 {
        evict_oldest(map, log, timestamp_ms);
    }
}

fn evict_oldest(map: &mut LruMap, log: &mut log::Appender, timestamp_ms: u64) {
    let Some(slot) = map.oldest() else { return };
    map.counters.evictions += 1;
    // The log takes the evicted pair itself: its key is what the record needs, and the log's writer frees
    // it outside the lock.
    let evicted = map.remove(slot);
    log.append_eviction(timestamp_ms, evicted);
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
