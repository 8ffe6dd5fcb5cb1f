//! The handle of a log: what the rest of the program does with one.

use super::appender::{Appender, Reserved};
use super::base::Source;
use super::branch::{Branch, History};
use super::budget::Budget;
use super::commit::Commit;
use super::commit_queue::OnDurable;
use super::compaction_state::{CompactionState, CompactionStatus, Finished};
use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::feed::{Feed, FeedPosition};
use super::feed_error::FeedError;
use super::feed_raw::check_last;
use super::flush::{Failure, Flushed};
use super::health::{Health, Refusal};
use super::last_record::LastRecord;
use super::locks::Locks;
use super::marker::{Marker, Role};
use super::options::{Options, Policy};
use super::rescue::Rescue;
use super::retention::Retention;
use super::segments::Segments;
use super::shared::{Shared, Waiter};
use super::stall::Stall;
use super::term::{LogId, Term};
use super::watermarks::Position;
use super::writer::Writer;
use super::{compaction, log_thread, recovery, watchdog};
use crate::digest::Digest;
use crate::histogram::Counts;
use crate::record::Record;
use crate::waits;
use crate::worker::Worker;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The log of an open directory.
///
/// Opening it locks the directory. Starting it starts the threads `log`, `compact` and `watchdog`, which end when the
/// log is closed or dropped.
pub(crate) struct Log {
    pub(super) shared: Arc<Shared>,
    /// What the log says that the digest of the store is.
    digest_expected: Option<Digest>,
    /// Where the log ended when it was opened, if no key was in it.
    empty_at: Option<u64>,
    /// The threads `log`, `compact` and `watchdog`.
    log_thread: Option<Worker>,
    compactor: Option<Worker>,
    watchdog: Option<Worker>,
}

impl Log {
    /// Opens a directory and gives each record in it to `replay`, with the version that it gives its key. `role` says
    /// what the node is, by the term that the log is in.
    pub(crate) fn open(
        disk: Disk,
        path: &Path,
        options: Options,
        role: impl Fn(Term) -> Role,
        replay: impl FnMut(&Record<'_>, u64),
    ) -> Result<(Log, Appender), Error> {
        let dir = Arc::new(Dir::open_or_create(&disk, path)?);
        let recovered = recovery::recover(&dir, &disk, &options, &role, replay)?;
        let (requests, receiver) = crossbeam_channel::unbounded();
        let position = recovered.position;
        let history = Arc::new(History::new(recovered.id, recovered.branches));
        let mut writer = Writer::new(
            Arc::clone(&dir),
            disk.clone(),
            Arc::clone(&history),
            receiver,
            recovered.segment,
            options.segment_bytes_max,
            position,
        );
        let role = role(history.term());
        writer.set_follows(role == Role::Replica);
        writer.set_last(recovered.last);
        let deferred = recovered.deferred;
        let next = deferred
            .as_ref()
            .and_then(|deferred| deferred.branch)
            .map_or(position, |branch| branch.continues_at);
        if let Some(deferred) = &deferred {
            writer.defer(deferred);
        }
        let shared = Arc::new(Shared {
            commit: Commit::new(options.policy, position),
            budget: Budget::new(options.unwritten_bytes_max),
            options,
            appended: AtomicU64::new(next),
            locks: Locks::new(writer),
            segments: Segments::new(Arc::clone(&dir)),
            dir,
            disk,
            writing: Stall::new(),
            turns: AtomicU64::new(0),
            syncing: Stall::new(),
            history,
            requests: requests.clone(),
            compaction: CompactionState::new(),
            retention: Retention::default(),
            generation: AtomicU64::new(0),
            is_awaiting_snapshot: AtomicBool::new(false),
        });
        let mut appender = Appender::new(next, requests, Arc::clone(&shared));
        appender.set_closed(role == Role::Replica);
        if let Some(deferred) = deferred {
            shared.commit.fail(&Failure::Write(deferred.error));
        }
        Ok((
            Log {
                shared,
                digest_expected: recovered.digest,
                empty_at: recovered.is_empty.then_some(next),
                log_thread: None,
                compactor: None,
                watchdog: None,
            },
            appender,
        ))
    }

    /// Starts the log's thread. `source` is the store that the log is of, and `digest` its digest; nothing was
    /// appended yet.
    ///
    /// Where the log was closed in order, the digest is held against what it was then.
    pub(crate) fn start(&mut self, source: Arc<dyn Source>, digest: Digest) -> Result<(), Error> {
        if let Some(expected) = self.digest_expected.filter(|expected| *expected != digest) {
            log::warn!(
                "the digest of the store is {digest}, and was {expected} when the log was closed: it does not \
                 hold what it held then"
            );
        }
        self.shared.locks.writer().set_digest(digest);
        self.shared
            .commit
            .set_state(self.shared.commit.position().written, digest);
        let cannot = || Error::io("cannot start the threads of", self.shared.dir.path());
        let log_thread = log_thread::start(&self.shared, Arc::clone(&source)).map_err(cannot())?;
        let compactor = compaction::start(&self.shared, source).map_err(cannot())?;
        let watchdog = watchdog::start(&self.shared).map_err(cannot())?;
        (self.log_thread, self.compactor) = (Some(log_thread), Some(compactor));
        self.watchdog = Some(watchdog);
        Ok(())
    }

    /// Ends the log's thread, writes and syncs what is left, and unlocks the directory.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        if let Some(compactor) = &mut self.compactor {
            compactor.stop();
        }
        if let Some(log_thread) = &mut self.log_thread {
            log_thread.stop();
        }
        let written = loop {
            match self.shared.write() {
                Ok(Flushed { bytes: 0, .. }) if self.health().takes_removals() => {
                    break self.shared.locks.writer().close();
                }
                Ok(Flushed { bytes: 0, .. }) => break self.shared.locks.writer().sync(),
                Ok(_) => {}
                Err(failure) => break Err(failure),
            }
        };
        written.map_err(Failure::into_error)?;
        self.check_saved()
    }

    /// That a start finds what was written: that the directory is this node's, and the log in it.
    fn check_saved(&self) -> Result<(), Error> {
        let unsaved = |why: String| Error::Unsaved { why };
        match self.health() {
            Health::Displaced { why } | Health::SyncFailed { why } => return Err(unsaved(why)),
            _ => {}
        }
        let linked = self.shared.dir.check_place().and_then(|()| {
            let writer = self.shared.locks.writer();
            writer.check_linked().map_err(Failure::into_error)
        });
        match linked {
            // That the directory cannot be looked at says nothing about the file, which was synced.
            Err(Error::Io { source, .. }) if source.kind() != ErrorKind::NotFound => Ok(()),
            linked => linked.map_err(|error| unsaved(error.to_string())),
        }
    }

    /// Takes room for records of so many bytes, and waits for it where there is none.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reserved<'_>, Refusal> {
        let budget = &self.shared.budget;
        let mut since = None;
        while !budget.try_take(bytes) {
            self.shared.commit.check()?;
            let since = *since.get_or_insert_with(Instant::now);
            let waited = since.elapsed();
            if waited > self.shared.options.wait_max {
                return Err(Refusal::Busy { waited });
            }
            match self.shared.wait_led(self.shared.appended()) {
                // Room that others have reserved is handed over or given back in no time.
                Ok(()) => std::thread::yield_now(),
                Err(Refusal::TimedOut { waited }) => return Err(Refusal::Busy { waited }),
                // These records are not ours: ours is refused at the door.
                Err(Refusal::Unknown(health)) => return Err(Refusal::Unhealthy(health)),
                Err(refusal) => return Err(refusal),
            }
        }
        if let Some(since) = since {
            waits::for_log_since(since);
        }
        Ok(Reserved { budget, bytes })
    }

    /// Returns when the log holds everything up to `offset` as durably as the policy asks. May do the
    /// writing itself.
    pub(crate) fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.shared.wait(offset)
    }

    /// As [`Log::wait`], for a client that waits since then. Where this thread does the writing and the disk does not
    /// answer within the time limit, `rescue` is called by another thread.
    pub(crate) fn wait_since(
        &self,
        offset: u64,
        since: Instant,
        rescue: Arc<dyn Rescue>,
    ) -> Result<(), Refusal> {
        self.shared.wait_since(offset, since, Some(rescue))
    }

    /// As [`Log::wait`], but leaves the writing to other threads: so it ends within the time limit, whatever the disk
    /// does.
    pub(crate) fn wait_led(&self, offset: u64) -> Result<(), Refusal> {
        self.shared.wait_led(offset)
    }

    /// Whether it is worth a try to [`Log::defer`].
    pub(crate) fn may_defer(&self, offset: u64) -> bool {
        self.shared.commit.may_defer(offset)
    }

    /// Leaves something to be done once the log holds everything up to `offset` as durably as the policy asks,
    /// or when it has failed. `false` where it has to be waited for instead. What is done must not block.
    pub(crate) fn defer(&self, offset: u64, then: OnDurable) -> bool {
        self.shared.commit.defer(offset, then)
    }

    /// Reads what is recorded after an offset, and then what comes; only what comes where none is given.
    pub(crate) fn feed(&self, after: Option<u64>) -> Result<Feed<'_>, FeedError> {
        Feed::new(&self.shared, after)
    }

    /// Reads what is recorded after an offset, for a node whose last record before it is `last`: an error where
    /// this log has another one there.
    pub(crate) fn feed_behind(&self, after: u64, last: Option<LastRecord>) -> Result<Feed<'_>, FeedError> {
        let feed = Feed::new(&self.shared, Some(after))?;
        if let Some(last) = last {
            check_last(&self.shared, last)?;
        }
        Ok(feed)
    }

    /// Continues where a feed was left.
    pub(crate) fn resume(&self, position: FeedPosition) -> Feed<'_> {
        Feed::resume(&self.shared, position)
    }

    /// The offset just past the last record that was handed over; of a replica, that was applied.
    pub(crate) fn appended(&self) -> u64 {
        self.shared.appended()
    }

    /// Makes everybody who waits in a [`Feed`], or for a compaction, ask whether to go on.
    pub(crate) fn wake_watchers(&self) {
        self.shared.commit.watchers.wake_all();
        self.shared.compaction.wake();
    }

    /// Asks for a compaction; returns its number, or that of the one that is going on.
    pub(crate) fn compact(&self) -> u64 {
        self.shared.compaction.request()
    }

    /// Waits until that compaction has ended; none at the deadline, or where it is not to go on, which is
    /// asked again at [`Log::wake_watchers`].
    pub(crate) fn wait_compaction(
        &self,
        job: u64,
        deadline: Instant,
        go_on: impl Fn() -> bool,
    ) -> Option<Finished> {
        self.shared.compaction.wait(job, deadline, go_on)
    }

    /// How it is with compaction.
    pub(crate) fn compaction(&self) -> CompactionStatus {
        self.shared.compaction.status()
    }

    /// A way to wait for it.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter(Arc::clone(&self.shared))
    }

    /// An offset up to which the log is written, and the digest of the store at it.
    pub(crate) fn state(&self) -> (u64, Digest) {
        self.shared.commit.state()
    }

    /// How far the log is.
    pub(crate) fn position(&self) -> Position {
        self.shared.commit.position()
    }

    /// Bytes of all its files, as far as the directory can be read.
    pub(crate) fn bytes(&self) -> u64 {
        let dir = &self.shared.dir;
        dir.list().map_or(0, |listing| dir.files_bytes(listing.all()))
    }

    /// How long syncs of what was written took.
    pub(crate) fn syncs(&self) -> Counts {
        self.shared.commit.syncs.counts()
    }

    /// How often the log's thread has gone round: what stands still where it hangs.
    pub(crate) fn turns(&self) -> u64 {
        self.shared.turns.load(Relaxed)
    }

    /// How long the disk has been at a write or a sync, where that is too long.
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        self.shared.stalled_for()
    }

    /// Whether it takes writes.
    pub(crate) fn health(&self) -> Health {
        self.shared.commit.health()
    }

    /// When it is synced.
    pub(crate) fn policy(&self) -> Policy {
        self.shared.options.policy
    }

    /// Whether no key was ever in it.
    pub(crate) fn is_new(&self) -> bool {
        self.empty_at == Some(self.position().written)
    }

    /// The term that it is written in.
    pub(crate) fn term(&self) -> Term {
        self.shared.history.term()
    }

    /// The branches of its history, as far as they are remembered.
    pub(crate) fn branches(&self) -> Vec<Branch> {
        self.shared.history.branches()
    }

    /// The branch that it is written in.
    pub(crate) fn branch(&self) -> Option<Branch> {
        self.shared.history.last()
    }

    /// Which log it is.
    pub(crate) fn id(&self) -> LogId {
        self.shared.history.id()
    }

    /// Remembers what the node is in its cluster.
    pub(crate) fn set_marker(&self, marker: &Marker) -> Result<(), Error> {
        marker.write(&self.shared.dir, &self.shared.disk)
    }
}
