//! Disk: the append-only log of all changes, and what is made of it. The only code that opens files of the
//! data directory.
//!
//! The log is one endless sequence of bytes: records that follow one another ([`crate::record`]). An
//! **offset** is a position in it; none is ever used twice or moved. The sequence is kept in segments, each
//! a file named by its first offset; a base is the state at an offset, and makes what came before it
//! superfluous.
//!
//! | file | what it is |
//! | --- | --- |
//! | `appender` | where records get their offsets |
//! | `commit` | group commit: how far the log is, who waits, who writes |
//! | `writer` | the end of the log: from the channel to the file |
//! | `keeper` | the log's thread: syncs, and brings a failed log back |
//! | `budget` | the bound on what is not written yet |
//! | `recovery` | opens a directory and finds the end |
//! | `compaction` | makes a base while the node serves, and drops what it makes superfluous |
//! | `base` | the state at an offset, as a file |
//! | `backup`, `pins` | the state of a store that goes on, as a file; and what that needs of the log |
//! | `copy`, `snapshot` | a log that is another node's: taken piece by piece, or put in place of this one |
//! | `term`, `marker` | who wrote what; what the node is in its cluster |
//! | `reader`, `file_reader` | records of a directory, of a file |
//! | `feed`, `watchers` | records of the log while it is written; who waits for more |
//! | `check`, `recount`, `repair` | what is damaged, whether it adds up, and how it is mended |
//! | `dir`, `header`, `disk` | names and the lock, the head of a file, the calls |
//!
//! # What holds
//! - A record is handed over under the lock that its change was made under (the appender is a part of what
//!   that lock guards), so the log has the order of the store.
//! - What [`Log::wait`] has returned for is on disk as firmly as the [`Policy`] says.
//! - When the disk fails, the log refuses writes before they change anything, says so in its [`Health`],
//!   and goes on by itself once it can.
//! - Nothing is deleted before what replaces it is synced, its directory entry too.

mod appender;
mod backup;
mod base;
mod branch;
mod budget;
mod check;
mod commit;
mod compaction;
mod copy;
mod dir;
mod disk;
mod error;
mod feed;
mod file_reader;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod header;
mod keeper;
mod listing;
mod lock;
mod marker;
mod pins;
mod reader;
mod recount;
mod recovery;
mod regular;
mod repair;
mod room;
mod snapshot;
mod stall;
mod term;
mod watchers;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use appender::{Appender, BatchRoom, Change, Reserved, put_bytes, removal_bytes};
pub(crate) use backup::BACKUP_BYTES;
pub use backup::{BackupError, Take, Whole, restore, verify};
pub(crate) use base::{Batch, Source};
pub use branch::{BRANCH_SPREAD_BYTES, Branch, branch_before, fork, term_before};
pub use check::{Damage, FileReport, Report, check, repair};
pub use commit::Position;
pub(crate) use commit::Then;
pub use compaction::{Cause, Compacted, CompactionStatus, Finished, Progress};
pub(crate) use copy::ReplicaAppend;
pub(crate) use disk::Disk;
pub use error::{Error, Health, Refusal};
pub(crate) use feed::{BUFFER_BYTES, FeedPosition};
pub use feed::{Feed, FeedError};
pub use file_reader::LastRecord;
pub use marker::{Marker, Role};
pub use reader::{Read, Reader};
pub use recount::Mismatch;
pub use recovery::{SEGMENT_BYTES_CEILING, UNWRITTEN_BYTES_CEILING};
pub(crate) use snapshot::SnapshotError;
pub use term::{LogId, Term};

pub use crate::record::Operation;

use crate::digest::Digest;
use crate::histogram::Counts;
use crate::record::Record;
use crate::waits;
use appender::Piece;
use branch::History;
use budget::Budget;
use commit::Commit;
use compaction::Compactor;
use crossbeam_channel::Sender;
use dir::Dir;
use keeper::Keeper;
use stall::Stall;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use writer::{Failure, Flushed, Writer};

/// When the log is synced, and so what an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Before each acknowledgement.
    Always,
    /// Once a second.
    Everysec,
    /// When the kernel likes.
    No,
}

impl Policy {
    /// As the command line and the API call it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Always => "always",
            Policy::Everysec => "everysec",
            Policy::No => "no",
        }
    }
}

/// Bytes that a log has before it is compacted by itself, where nothing else was said.
const COMPACT_BYTES_MIN_DEFAULT: u64 = 64 << 20;

/// Bytes of the log that are kept for those who read it from behind, where nothing else was said.
const BACKLOG_BYTES_DEFAULT: u64 = 64 << 20;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it is synced.
    pub policy: Policy,
    /// Bytes of records that may wait to be written before writers are held back.
    pub unwritten_bytes_max: u64,
    /// Size at which a new segment is started, in bytes.
    pub segment_bytes_max: u64,
    /// Bytes that the log must have before it is compacted by itself; none for 64 MiB, or an
    /// eighth of the disk where that is less.
    pub compact_bytes_min: Option<u64>,
    /// The log is compacted by itself when it has so many times the bytes of what is live; 0 for never.
    pub compact_ratio: f64,
    /// Bytes of the log that are kept behind a base, for those who read it from behind; none for
    /// 64 MiB where there were some lately, and a tenth of what is live where there were not.
    pub backlog_bytes: Option<u64>,
    /// How much further on than it must a branch begins at most, by chance, in bytes. 0 only where tests name
    /// offsets: two histories could then give one version.
    pub branch_spread_bytes: u64,
    /// Makes a new store where the directory bears marks of one whose log is gone.
    pub new_store: bool,
    /// How long a writer waits for room, and then for its record to be written, before it is told so.
    pub wait_max: Duration,
}

/// What the log's end, its thread and its users share.
struct Shared {
    options: Options,
    commit: Commit,
    budget: Budget,
    /// The offset just past the last record handed over.
    appended: AtomicU64,
    /// Held for the time of a write or a sync: nobody who holds the store's lock may take it.
    writer: Mutex<Writer>,
    /// Those that feeds read.
    segments: feed::Segments,
    dir: Arc<Dir>,
    disk: Disk,
    /// Of what is done while the writer is held, and of syncs beside it.
    writing: Stall,
    syncing: Stall,
    /// Which log it is. Changed by whoever holds the writer.
    history: Arc<History>,
    /// The other end of what the writer takes, for records that another node has written.
    pieces: Sender<Piece>,
    compaction: compaction::State,
    pins: pins::Pins,
    /// Held by whoever walks the store to make a base, or replaces it: before `stepping`.
    walking: Mutex<()>,
    /// Held by a replica from before it writes a piece of the log until it has applied it, and by whoever needs
    /// that there is no such piece: before the writer.
    stepping: Mutex<()>,
    /// Changes whenever the log is put in another's place: what was read of the former one is of no use.
    generation: AtomicU64,
    /// Whether the store was emptied to take over another state: then nothing is to be made of it.
    is_hollow: AtomicBool,
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer
            .lock()
            .expect("nothing under the writer's lock panics")
    }

    fn walking(&self) -> MutexGuard<'_, ()> {
        self.walking
            .lock()
            .expect("nothing under the lock of those who walk panics")
    }

    fn stepping(&self) -> MutexGuard<'_, ()> {
        self.stepping
            .lock()
            .expect("nothing under the lock of a replica's steps panics")
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn is_hollow(&self) -> bool {
        self.is_hollow.load(Ordering::Acquire)
    }

    fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// The farthest that the log goes: no file of it begins behind.
    fn end_max(&self) -> u64 {
        self.appended().max(self.commit.position().written)
    }

    /// Writes what waits in the channel, and syncs it if the policy asks for that.
    fn write(&self) -> Result<Flushed, Failure> {
        let mut writer = self.writer();
        let _at_work = self.writing.begin();
        let flushed = writer.write()?;
        self.budget.give_back(flushed.bytes);
        if self.options.policy == Policy::Always && flushed.bytes > 0 {
            let begun = Instant::now();
            writer.sync()?;
            self.commit.syncs.count(begun.elapsed());
        }
        Ok(flushed)
    }

    fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.commit.wait(offset, self.options.wait_max, || self.write())
    }
}

/// A way to wait for the log, for threads of the node's own.
#[derive(Clone)]
pub(crate) struct Waiter(Arc<Shared>);

impl Waiter {
    /// As [`Log::wait`].
    pub(crate) fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.0.wait(offset)
    }
}

/// The log of an open directory.
///
/// Opening it locks the directory. Starting it starts the threads `log` and `compact`, which end when the log
/// is closed or dropped.
pub struct Log {
    shared: Arc<Shared>,
    /// What the log says that the digest of the store is.
    digest_expected: Option<Digest>,
    /// Where the log ended when it was opened, if no key was in it.
    empty_at: Option<u64>,
    keeper: Option<Keeper>,
    compactor: Option<Compactor>,
}

impl Log {
    /// Opens a directory and gives each record in it to `replay`, with the version that it gives its key.
    pub(crate) fn open(
        disk: Disk,
        path: &Path,
        options: Options,
        role: Role,
        replay: impl FnMut(&Record<'_>, u64),
    ) -> Result<(Log, Appender), Error> {
        let dir = Arc::new(Dir::open_or_create(&disk, path)?);
        let recovered = recovery::recover(&dir, &disk, &options, role, replay)?;
        let (pieces, receiver) = crossbeam_channel::unbounded();
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
            writer: Mutex::new(writer),
            segments: feed::Segments::new(Arc::clone(&dir)),
            dir,
            disk,
            writing: Stall::new(),
            syncing: Stall::new(),
            history,
            pieces: pieces.clone(),
            compaction: compaction::State::new(),
            pins: pins::Pins::default(),
            walking: Mutex::new(()),
            stepping: Mutex::new(()),
            generation: AtomicU64::new(0),
            is_hollow: AtomicBool::new(false),
        });
        let mut appender = Appender::new(next, pieces, Arc::clone(&shared));
        appender.set_closed(role == Role::Replica);
        if let Some(deferred) = deferred {
            shared.commit.fail(&Failure::Write(deferred.error));
        }
        Ok((
            Log {
                shared,
                digest_expected: recovered.digest,
                empty_at: recovered.is_empty.then_some(next),
                keeper: None,
                compactor: None,
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
            ::log::warn!(
                "the digest of the store is {digest}, and was {expected} when the log was closed: it does not \
                 hold what it held then"
            );
        }
        self.shared.writer().set_digest(digest);
        self.shared
            .commit
            .set_state(self.shared.commit.position().written, digest);
        let cannot = || Error::io("cannot start the threads of", self.shared.dir.path());
        let keeper = Keeper::start(Arc::clone(&self.shared), Arc::clone(&source)).map_err(cannot())?;
        let compactor = Compactor::start(Arc::clone(&self.shared), source).map_err(cannot())?;
        (self.keeper, self.compactor) = (Some(keeper), Some(compactor));
        Ok(())
    }

    /// Ends the log's thread, writes and syncs what is left, and unlocks the directory.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        if let Some(compactor) = &mut self.compactor {
            compactor.stop();
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.stop();
        }
        let written = loop {
            match self.shared.write() {
                Ok(Flushed { bytes: 0, .. }) if self.health().takes_removals() => {
                    break self.shared.writer().close();
                }
                Ok(Flushed { bytes: 0, .. }) => break self.shared.writer().sync(),
                Ok(_) => {}
                Err(failure) => break Err(failure),
            }
        };
        written.map_err(|(Failure::Write(error) | Failure::Sync(error))| error)
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
            match self.shared.wait(self.shared.appended()) {
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

    /// Returns when the log holds everything up to `offset` as firmly as the policy asks. May do the
    /// writing itself.
    pub fn wait(&self, offset: u64) -> Result<(), Refusal> {
        self.shared.wait(offset)
    }

    /// Whether it is worth a try to [`Log::defer`].
    pub(crate) fn may_defer(&self, offset: u64) -> bool {
        self.shared.commit.may_defer(offset)
    }

    /// Leaves something to be done once the log holds everything up to `offset` as firmly as the policy asks,
    /// or when it has failed. `false` where it has to be waited for instead. What is done must not block.
    pub(crate) fn defer(&self, offset: u64, then: Then) -> bool {
        self.shared.commit.defer(offset, then)
    }

    /// Reads what is recorded after an offset, and then what comes; only what comes where none is given.
    pub fn feed(&self, after: Option<u64>) -> Result<Feed<'_>, FeedError> {
        Feed::new(&self.shared, after)
    }

    /// Reads what is recorded after an offset, for a node whose last record before it is `last`: an error where
    /// this log has another one there.
    pub(crate) fn feed_behind(&self, after: u64, last: Option<LastRecord>) -> Result<Feed<'_>, FeedError> {
        let feed = Feed::new(&self.shared, Some(after))?;
        if let Some(last) = last {
            feed::check_last(&self.shared, last)?;
        }
        Ok(feed)
    }

    /// Goes on where a feed was left.
    pub(crate) fn resume(&self, position: FeedPosition) -> Feed<'_> {
        Feed::resume(&self.shared, position)
    }

    /// The offset just past the last record that was handed over; of a replica, that was applied.
    pub(crate) fn appended(&self) -> u64 {
        self.shared.appended()
    }

    /// Makes everybody who waits in a [`Feed`], or for a compaction, ask whether to go on.
    pub fn wake_watchers(&self) {
        self.shared.commit.watchers.wake_all();
        self.shared.compaction.wake();
    }

    /// Writes a backup of the store that the log is of, piece by piece.
    pub(crate) fn backup<E>(
        &self,
        source: &dyn Source,
        take: &mut dyn Take<Error = E>,
    ) -> Result<(), BackupError<E>> {
        backup::write(self, source, take)
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
    pub fn position(&self) -> Position {
        self.shared.commit.position()
    }

    /// Bytes of all its files, as far as the directory can be read.
    pub fn bytes(&self) -> u64 {
        let dir = &self.shared.dir;
        dir.list().map_or(0, |listing| dir.files_bytes(listing.all()))
    }

    /// How long syncs of what was written took.
    pub(crate) fn syncs(&self) -> Counts {
        self.shared.commit.syncs.counts()
    }

    /// How long the disk has been at a write or a sync, where that is too long.
    pub fn stalled_for(&self) -> Option<Duration> {
        let shared = &self.shared;
        shared.writing.stalled_for().max(shared.syncing.stalled_for())
    }

    /// Whether it takes writes.
    pub fn health(&self) -> Health {
        self.shared.commit.health()
    }

    /// When it is synced.
    pub fn policy(&self) -> Policy {
        self.shared.options.policy
    }

    /// Whether no key was ever in it.
    pub(crate) fn is_new(&self) -> bool {
        self.empty_at == Some(self.position().written)
    }

    /// The term that it is written in.
    pub fn term(&self) -> Term {
        self.shared.history.term()
    }

    /// The branches of its history, as far as they are remembered.
    pub fn branches(&self) -> Vec<Branch> {
        self.shared.history.branches()
    }

    /// The branch that it is written in.
    pub fn branch(&self) -> Option<Branch> {
        self.shared.history.last()
    }

    /// Which log it is.
    pub fn id(&self) -> LogId {
        self.shared.history.id()
    }

    /// Remembers what the node is in its cluster.
    pub(crate) fn set_marker(&self, marker: &Marker) -> Result<(), Error> {
        marker.write(&self.shared.dir, &self.shared.disk)
    }
}
