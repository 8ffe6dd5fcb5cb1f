//! A node: a store, its log, and its role. The one thing that HTTP handlers and commands talk to.
//!
//! # A write
//! [`Node::put`] and [`Node::delete`] check, change the store and hand the record to the log, all in one
//! hold of the store's lock, and return the offset just past the record: the key's version. The write is
//! then seen by readers but not yet acknowledged. [`Node::wait`] returns when the log holds it as durably
//! as the policy asks; only then may a client be answered. The two are apart so that a connection with
//! many requests in hand applies them all and waits once.
//!
//! # What must hold
//! - Every check that can refuse a write comes before the first change, so a refused write leaves no trace
//!   in the store or the log.
//! - The store never holds what the log was not handed, and in the same order.
//! - A read takes the store's lock and nothing else, so it never waits for the disk.

mod acknowledge;
mod batch;
mod batch_edit;
mod chunk;
mod clock;
mod cluster;
mod cluster_status;
mod edit;
mod election;
mod election_state;
mod followers;
mod gate;
mod handover;
mod hold;
mod listing;
mod order;
mod pace;
mod poll;
mod prefix;
mod read;
mod replica;
mod report;
mod role;
mod room;
mod status;
mod step;
mod sweep;
mod take_error;
mod upstream;
mod usage;
mod walk;
mod watch;
mod watermark;
mod write;
mod writers;

pub use batch::BatchError;
pub use batch::Batched;
pub(crate) use batch::Reads;
pub(crate) use chunk::ReplicatedChunk;
pub(crate) use cluster::{Change, Cluster};
pub use cluster_status::Options as ClusterOptions;
pub(crate) use cluster_status::{ClusterStatus, PeerTls, Phase, Secret};
pub use edit::{Edit, Edited};
pub(crate) use election_state::election_now;
pub use followers::acknowledged;
pub(crate) use followers::{FollowerName, FollowerStatus, Reached};
pub(crate) use hold::{HELD_MAX, Hold};
pub use listing::Ahead;
pub(crate) use listing::{Cursor, CursorError, LISTER_BYTES, Listed, Lister, Question};
pub(crate) use poll::{Poll, PollError, Polled};
pub(crate) use prefix::PrefixDeletion;
pub(crate) use replica::{AckRequirement, End};
pub(crate) use role::{PromoteError, Promotion};
pub use status::Options;
pub(crate) use status::Status;
pub use step::{Outcome, Step};
pub(crate) use take_error::{ReceiveError, TakeError};
pub(crate) use upstream::HEARTBEAT_EVERY;
pub(crate) use usage::Usage;
pub use write::Written;
pub use write::{Deadline, Mode, Precondition, WriteError};
pub(crate) use write::{Found, Got, Meta};

use crate::boot_clock::Fence;
use crate::key::Key;
use crate::pair::Pair;
use crate::store::{self, Limits, LruMap, Prepared, Store};
use crate::wal::{self, Finished, Log, Marker, Role};
use crate::worker::{Signal, Worker};
use clock::Clock;
use election_state::Election;
use followers::Followers;
use order::Orderer;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A store, its log and its role. Shared by reference among all threads; [`Node::close`] ends it.
///
/// Opening it locks the data directory and starts threads, which end in [`Node::close`].
pub struct Node {
    store: Arc<Store>,
    log: Log,
    clock: Arc<Clock>,
    alarm: Arc<Signal>,
    sweeper: Worker,
    order: Orderer,
    dir: PathBuf,
    limits: Limits,
    value_bytes_max: usize,
    opened: Instant,
    /// Random: tells the cursors of this run from those of others.
    run: u32,
    cluster: Cluster,
    followers: Followers,
    election: Election,
    /// Passed by the one write that has room kept for it: before the store's lock.
    room: gate::Gate,
    /// Edits that were overtaken are made anew one after the other.
    edits: edit::Turns,
}

impl Node {
    /// Opens a data directory, recovering what it holds.
    pub fn open(options: Options) -> Result<Node, wal::Error> {
        Node::open_on(wal::Disk::default(), options)
    }

    /// As [`Node::open`], on a disk that a test makes fail.
    pub(crate) fn open_on(disk: wal::Disk, options: Options) -> Result<Node, wal::Error> {
        let hasher = RandomState::new();
        let mut map = LruMap::new(options.limits, hasher.clone());
        let marker = Marker::read(&options.dir)?;
        let is_elected = options.cluster.election.is_some();
        let role = |term| match &marker {
            // It is primary once etcd says so.
            _ if is_elected => Role::Replica,
            Some(marker) => marker.role(term),
            None if options.cluster.is_replica => Role::Replica,
            None => Role::Primary,
        };
        let progress = Arc::clone(&options.log.progress);
        let (mut log, mut appender) = store::replay(
            &mut map,
            || progress.fraction(),
            |replay| {
                Log::open(disk, &options.dir, options.log, role, |record, version| {
                    replay.push(record, version)
                })
            },
        )
        .map_err(wal::Error::io("cannot start a thread for", &options.dir))??;
        let role = role(log.term());
        let fence = Fence::default();
        appender.set_fence(fence.clone());
        let digest = map.digest();
        let store = Arc::new(Store::new(map, appender, hasher.clone()));
        log.start(Arc::clone(&store) as Arc<dyn wal::Source>, digest)?;
        let clock = Arc::new(Clock::new());
        let alarm = Arc::default();
        let sweeper = sweep::start(&alarm, Arc::clone(&store), Arc::clone(&clock), log.waiter())
            .map_err(|error| wal::Error::io("cannot start a thread for", &options.dir)(error))?;
        let order = Orderer::start(Arc::clone(&store))
            .map_err(|error| wal::Error::io("cannot start a thread for", &options.dir)(error))?;
        let run = std::hash::BuildHasher::hash_one(&hasher, "cursors") as u32;
        let cluster_id = std::hash::BuildHasher::hash_one(&hasher, "cluster");
        let election = Election::new(&options.cluster, cluster_id, marker.as_ref(), fence);
        let cluster = Cluster::new(options.cluster, marker.as_ref(), role, log.appended(), cluster_id);
        let followers = Followers::default();
        // A replica is one from its first start on, and a promotion that a start has found is over.
        let to_remember = match &marker {
            Some(marker) => marker.promotes_above.is_some(),
            None => role == Role::Replica,
        };
        let was_synced = marker.as_ref().and_then(|marker| marker.is_synced) == Some(true);
        if let Some(marker) = marker {
            followers.set_successors(marker.successors, marker.has_successor);
        }
        let node = Node {
            cluster,
            followers,
            election,
            store,
            log,
            clock,
            alarm,
            sweeper,
            order,
            dir: options.dir,
            limits: options.limits,
            value_bytes_max: options.value_bytes_max,
            opened: Instant::now(),
            run,
            room: gate::Gate::new(),
            edits: edit::Turns::default(),
        };
        if role == Role::Replica && node.is_empty_store() && !was_synced {
            // What it has is not what it is to show.
            node.cluster.set_synced(false);
        }
        if to_remember {
            node.remember_or_fail(role)?;
        }
        let evicted = node.evict_excess();
        if evicted > 0 {
            log::warn!("the bounds are smaller than what the store held: it evicted {evicted} keys");
        }
        Ok(node)
    }

    /// Stops the node's threads, syncs the log and releases the directory.
    pub fn close(mut self) -> Result<(), wal::Error> {
        self.sweeper.stop();
        self.order.stop();
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

    /// Adds or replaces a value, and its deadline.
    pub fn put(
        &self,
        key: Key<'_>,
        value: &[u8],
        deadline: Deadline,
        mode: Mode,
        precondition: Precondition<'_>,
    ) -> Result<Written, WriteError> {
        self.check_value(value)?;
        self.put_checked(key, value, deadline, mode, precondition)
    }

    /// As [`Node::put`], of a value that may be longer than new ones may be.
    fn put_checked(
        &self,
        key: Key<'_>,
        value: &[u8],
        deadline: Deadline,
        mode: Mode,
        precondition: Precondition<'_>,
    ) -> Result<Written, WriteError> {
        let timestamp_ms = self.now_ms();
        let deadline_ms = deadline.at_ms(timestamp_ms);
        let prepared = self.prepare(key, value, deadline_ms, timestamp_ms)?;
        let bytes = wal::put_bytes(&prepared.pair);
        let reserved = self.log.reserve(bytes)?;

        let mut turn = None;
        let (mut locked, slot) = loop {
            let mut locked = self.store.lock();
            locked.log.check()?;
            let slot = locked.find_or_expire(prepared.hash, key.as_bytes(), timestamp_ms);
            let version = slot.map(|slot| locked.map.entry(slot).version());
            match (mode, version) {
                (Mode::Update, None) => return Err(WriteError::Missing),
                (Mode::Add, Some(version)) => return Err(WriteError::Exists { version }),
                _ => precondition.check(version)?,
            }
            let cost_bytes = prepared.cost_bytes;
            if !locked.map.is_over(1, cost_bytes, 0)
                || self.make_room_for_one(&mut locked, &mut turn, slot, cost_bytes, timestamp_ms)
            {
                break (locked, slot);
            }
            drop(locked);
            self.let_others(&mut turn)?;
        };
        reserved.spend(bytes);
        let (version, is_first) = locked.put(slot, prepared, timestamp_ms);
        drop(locked);
        drop(turn);
        if is_first {
            self.alarm.call();
        }
        Ok(Written {
            version,
            deadline_ms,
            created: slot.is_none(),
        })
    }

    /// Deletes a key and returns the offset to wait for.
    pub fn delete(&self, key: Key<'_>, precondition: Precondition<'_>) -> Result<u64, WriteError> {
        let hash = self.store.hash(key.as_bytes());
        let timestamp_ms = self.clock.now_ms();
        let bytes = wal::removal_bytes(key.as_bytes());
        let reserved = self.log.reserve(bytes)?;

        let mut locked = self.store.lock();
        locked.log.check_removal()?;
        let slot = locked.find_or_expire(hash, key.as_bytes(), timestamp_ms);
        precondition.check(slot.map(|slot| locked.map.entry(slot).version()))?;
        let slot = slot.ok_or(WriteError::Missing)?;
        reserved.spend(bytes);
        Ok(locked.delete(slot, timestamp_ms))
    }

    /// Whether a value that comes from a client is as short as it must be.
    fn check_value(&self, value: &[u8]) -> Result<(), WriteError> {
        if value.len() > self.value_bytes_max {
            return Err(WriteError::TooLarge {
                bytes_max: self.value_bytes_max as u64,
            });
        }
        Ok(())
    }

    /// Makes a pair, outside the lock.
    fn prepare(
        &self,
        key: Key<'_>,
        value: &[u8],
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<Prepared, WriteError> {
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            return Err(WriteError::Past);
        }
        let pair = Pair::with_deadline(key.as_bytes(), value, deadline_ms);
        let cost_bytes = store::cost_bytes(&pair);
        if cost_bytes > self.limits.bytes_max {
            return Err(WriteError::TooLarge {
                bytes_max: self.limits.bytes_max,
            });
        }
        Ok(Prepared {
            hash: self.store.hash(key.as_bytes()),
            logged: pair.clone(),
            pair,
            cost_bytes,
        })
    }

    /// Writes a backup, piece by piece: the state at an offset that its end names. Clients are served meanwhile.
    pub fn backup<E>(&self, take: &mut dyn wal::Take<Error = E>) -> Result<(), wal::BackupError<E>> {
        self.log.backup(&*self.store, take)
    }

    /// Asks for a compaction of the log; returns its number, or that of the one that is going on.
    pub fn compact(&self) -> u64 {
        self.log.compact()
    }

    /// Waits until that compaction has ended; none at the deadline, or where it is not to go on, which is
    /// asked again at [`Node::wake_watchers`].
    pub fn wait_compaction(&self, job: u64, deadline: Instant, go_on: impl Fn() -> bool) -> Option<Finished> {
        self.log.wait_compaction(job, deadline, go_on)
    }

    /// Brings a store that was recovered under larger bounds within those of now. Returns how many keys it
    /// evicted.
    fn evict_excess(&self) -> u64 {
        let timestamp_ms = self.clock.now_ms();
        let mut evicted = 0;
        loop {
            let mut locked = self.store.lock();
            if !locked.map.is_over(0, 0, 0) || locked.log.check_removal().is_err() {
                return evicted;
            }
            locked.evict_oldest(timestamp_ms);
            evicted += 1;
        }
    }
}
