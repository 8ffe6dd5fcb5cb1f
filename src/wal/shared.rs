//! What the log's end, its threads and its users share, and the order of the locks.
//!
//! Lock order, first to last. Who holds one may take a later one, and never an earlier one:
//!
//! 1. `base_lock`: a walk over the store, to make a base or to replace the store.
//! 2. `apply_lock`: a replica, from before it writes a chunk of the log until it has applied it.
//! 3. `writer`: one write or sync.
//! 4. the store's lock: nobody who holds it takes any of these.

use super::branch::History;
use super::budget::Budget;
use super::commit::Commit;
use super::compaction_state::CompactionState;
use super::dir::Dir;
use super::disk::Disk;
use super::entry::WriteRequest;
use super::error::Refusal;
use super::flush::{Failure, Flushed};
use super::options::Options;
use super::retention::Retention;
use super::segments::Segments;
use super::stall::Stall;
use super::writer::Writer;
use crossbeam_channel::Sender;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// What the log's end, its thread and its users share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) commit: Commit,
    pub(super) budget: Budget,
    /// The offset just past the last record handed over.
    pub(super) appended: AtomicU64,
    /// Held for the time of a write or a sync: nobody who holds the store's lock may take it.
    pub(super) writer: Mutex<Writer>,
    /// Those that feeds read.
    pub(super) segments: Segments,
    pub(super) dir: Arc<Dir>,
    pub(super) disk: Disk,
    /// Of what is done while the writer is held, and of syncs beside it.
    pub(super) writing: Stall,
    pub(super) syncing: Stall,
    /// Which log it is. Changed by whoever holds the writer.
    pub(super) history: Arc<History>,
    /// The other end of what the writer takes, for records that another node has written.
    pub(super) requests: Sender<WriteRequest>,
    pub(super) compaction: CompactionState,
    pub(super) retention: Retention,
    /// Held by whoever walks the store to make a base, or replaces it: before `apply_lock`.
    pub(super) base_lock: Mutex<()>,
    /// Held by a replica from before it writes a chunk of the log until it has applied it, and by whoever needs
    /// that there is no such chunk: before the writer.
    pub(super) apply_lock: Mutex<()>,
    /// Changes whenever the log is put in another's place: what was read of the former one is of no use.
    pub(super) generation: AtomicU64,
    /// Whether the store was emptied to take over another state: then nothing is to be made of it.
    pub(super) is_awaiting_snapshot: AtomicBool,
}

impl Shared {
    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer
            .lock()
            .expect("nothing under the writer's lock panics")
    }

    pub(super) fn base_lock(&self) -> MutexGuard<'_, ()> {
        self.base_lock
            .lock()
            .expect("nothing under the lock of those who walk panics")
    }

    pub(super) fn apply_lock(&self) -> MutexGuard<'_, ()> {
        self.apply_lock
            .lock()
            .expect("nothing under the lock of a replica's steps panics")
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_awaiting_snapshot(&self) -> bool {
        self.is_awaiting_snapshot.load(Ordering::Acquire)
    }

    pub(super) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// The farthest that the log goes: no file of it begins behind.
    pub(super) fn end_max(&self) -> u64 {
        self.appended().max(self.commit.position().written)
    }

    /// Writes what waits in the channel, and syncs it if the policy asks for that.
    pub(super) fn write(&self) -> Result<Flushed, Failure> {
        let mut writer = self.writer();
        let _at_work = self.writing.begin();
        let flushed = writer.write()?;
        self.budget.give_back(flushed.bytes);
        if self.options.policy.acknowledges_synced() && flushed.bytes > 0 {
            let begun = Instant::now();
            writer.sync()?;
            self.commit.syncs.count(begun.elapsed());
        }
        Ok(flushed)
    }

    pub(super) fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.commit.wait(offset, self.options.wait_max, || self.write())
    }
}

/// A way to wait for the log, for threads of the node's own.
#[derive(Clone)]
pub(crate) struct Waiter(pub(super) Arc<Shared>);

impl Waiter {
    /// As [`Log::wait`](super::Log::wait).
    pub(crate) fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.0.wait(offset)
    }
}
