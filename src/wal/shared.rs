//! What the log's end, its threads and its users share. The order of the locks stands in [`super::locks`].

use super::branch::History;
use super::budget::Budget;
use super::commit::{Commit, Wait};
use super::compaction_state::CompactionState;
use super::dir::Dir;
use super::disk::Disk;
use super::entry::WriteRequest;
use super::error::Error;
use super::flush::{Failure, Flushed};
use super::health::Refusal;
use super::listing::Backlog;
use super::locks::Locks;
use super::options::Options;
use super::rescue::Rescue;
use super::retention::Retention;
use super::segments::Segments;
use super::stall::Stall;
use crossbeam_channel::Sender;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the log's end, its thread and its users share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) commit: Commit,
    pub(super) budget: Budget,
    /// The offset just past the last record handed over.
    pub(super) appended: AtomicU64,
    pub(super) locks: Locks,
    /// Those that feeds read.
    pub(super) segments: Segments,
    pub(super) dir: Arc<Dir>,
    pub(super) disk: Disk,
    /// Of what is done while the writer is held, and of syncs beside it.
    pub(super) writing: Stall,
    pub(super) syncing: Stall,
    /// How often the log's thread has gone round.
    pub(super) turns: AtomicU64,
    /// Which log it is. Changed by whoever holds the writer.
    pub(super) history: Arc<History>,
    /// The other end of what the writer takes, for records that another node has written.
    pub(super) requests: Sender<WriteRequest>,
    pub(super) compaction: CompactionState,
    pub(super) retention: Retention,
    /// Changes whenever the log is put in another's place: what was read of the former one is of no use.
    pub(super) generation: AtomicU64,
    /// Whether the store was emptied to take over another state: then nothing is to be made of it.
    pub(super) is_awaiting_snapshot: AtomicBool,
}

impl Shared {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_awaiting_snapshot(&self) -> bool {
        self.is_awaiting_snapshot.load(Ordering::Acquire)
    }

    pub(super) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// The farthest that the log goes: no file of it begins past it.
    pub(super) fn end_max(&self) -> u64 {
        self.appended().max(self.commit.position().written)
    }

    /// How long the disk has been at a write or a sync, where that is too long.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        self.writing.stalled_for().max(self.syncing.stalled_for())
    }

    /// Writes what waits in the channel, and syncs it if the policy asks for that. On a full disk the backlog gives way
    /// before a client learns of it.
    pub(super) fn write(&self) -> Result<Flushed, Failure> {
        match self.write_once() {
            Err(Failure::Write(error)) if error.is_disk_full() => match self.drop_backlog() {
                Ok(bytes) if bytes > 0 => self.write_once(),
                Err(displaced) if displaced.is_displaced() => Err(Failure::Sync(displaced)),
                _ => Err(Failure::Write(error)),
            },
            written => written,
        }
    }

    /// Gives up what nothing but absent readers need. Returns the bytes that it had.
    pub(super) fn drop_backlog(&self) -> Result<u64, Error> {
        let dir = &self.dir;
        dir.check_place()?;
        let listing = dir.list()?;
        dir.check_own(&listing, self.history.id(), self.end_max())?;
        let dispensable = listing.dispensable(dir, Backlog::AtLeast(0), self.retention.lowest());
        let bytes = dispensable
            .iter()
            .filter_map(|path| dir.file_bytes(path).ok())
            .sum();
        if bytes > 0 {
            dir.remove_own(&self.disk, self.history.id(), dispensable);
            log::warn!(
                "the disk is full: {bytes} bytes of the log that were kept for watchers and replicas are gone"
            );
        }
        Ok(bytes)
    }

    fn write_once(&self) -> Result<Flushed, Failure> {
        let mut writer = self.locks.writer();
        let _at_work = self.writing.begin();
        let flushed = writer.write()?;
        self.budget.give_back(flushed.held_bytes);
        if self.options.policy.acknowledges_synced() && flushed.bytes > 0 {
            let begun = Instant::now();
            writer.sync()?;
            self.commit.syncs.count(begun.elapsed());
        }
        Ok(flushed)
    }

    pub(super) fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.wait_since(offset, Instant::now(), None)
    }

    /// As [`Shared::wait`], for somebody who waits since then. Where this thread leads past its time limit, `rescue` is
    /// called.
    pub(super) fn wait_since(
        &self,
        offset: u64,
        since: Instant,
        rescue: Option<Arc<dyn Rescue>>,
    ) -> Result<(), Refusal> {
        let wait = Wait {
            since,
            wait_max: self.options.wait_max,
            rescue,
        };
        self.commit.wait_for(offset, wait, || self.write())
    }

    /// As [`Shared::wait`], but leaves the writing to other threads.
    pub(super) fn wait_led(&self, offset: u64) -> Result<(), Refusal> {
        self.commit.wait_led(offset, self.options.wait_max)
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
