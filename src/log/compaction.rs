//! Compaction: makes a base of the store while it serves, and drops what the base has made superfluous.
//!
//! 1. The log goes on in a new segment, at offset N.
//! 2. The store is walked, a few entries in a hold of its lock, into a temporary base at N (`base`).
//! 3. Once the log is synced up to where the walk ended, the base is synced, gets its name, and the directory
//!    is synced. Not before: a key that was written behind N has left the base to the log, so the log must
//!    hold it.
//! 4. What is older than N goes, but for a backlog of segments for those who read the log from behind.
//!
//! A crash anywhere leaves a directory that opens to the same state: until the base has its name it does not
//! count, and nothing goes before it has. An error is told, leaves the node as it was, and is no reason to
//! take no writes: those fail by themselves if the disk does.
//!
//! The thread `compact` does it: when asked, or by itself once the log has outgrown what is live. There is one
//! compaction at a time; who asks while one is going on joins it.

use super::base::{self, Source};
use super::dir::Named;
use super::error::{Error, Health};
use super::header::{Header, Kind};
use super::keeper;
use super::room;
use super::writer::Failure;
use super::{BACKLOG_BYTES_DEFAULT, COMPACT_BYTES_MIN_DEFAULT, Shared};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it is looked whether the log has outgrown what is live.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long none is begun by itself after one has failed.
const BACK_OFF: Duration = Duration::from_secs(60);

/// How long the walk works before it rests for as long, so that on a machine with few processors those who
/// wait for one get it. That costs half of the speed, of which there is enough.
const WORK_TIME: Duration = Duration::from_micros(500);

/// What a compaction was begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it.
    Request,
    /// The log had outgrown what is live.
    Growth,
}

impl Cause {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Request => "request",
            Cause::Growth => "growth",
        }
    }
}

/// How far a compaction is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Its number, counted from 1 since the process started.
    pub job: u64,
    /// What it was begun for.
    pub cause: Cause,
    /// When.
    pub started: Instant,
    /// Entries that are in the base.
    pub entries: u64,
    /// Entries that there were when it began.
    pub entries_total: u64,
    /// Bytes of the base that are written.
    pub bytes: u64,
}

/// What came of a compaction.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its number.
    pub job: u64,
    /// What it was begun for.
    pub cause: Cause,
    /// How long it took.
    pub took: Duration,
    /// What it did, or why it failed.
    pub result: Result<Compacted, String>,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The offset of the base.
    pub offset: u64,
    /// Entries in the base.
    pub entries: u64,
    /// Bytes of all files of the log before it.
    pub bytes_before: u64,
    /// And after it.
    pub bytes_after: u64,
    /// Bytes of these that are kept for those who read the log from behind.
    pub kept_bytes: u64,
}

/// How it is with compaction.
#[derive(Clone, Debug)]
pub struct CompactionStatus {
    /// The one that is going on.
    pub running: Option<Progress>,
    /// The last one that ended.
    pub last: Option<Finished>,
}

/// What the thread and those who ask share.
pub(super) struct State {
    inner: Mutex<Inner>,
    /// Something was asked for, or has ended.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    is_requested: bool,
    to_stop: bool,
    finished_jobs: u64,
    running: Option<Progress>,
    last: Option<Finished>,
}

impl State {
    pub(super) fn new() -> State {
        State {
            inner: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the compaction's lock panics")
    }

    /// Asks for a compaction; returns its number, or that of the one that is going on.
    pub(super) fn request(&self) -> u64 {
        let mut inner = self.lock();
        if inner.running.is_none() {
            inner.is_requested = true;
            self.changed.notify_all();
        }
        inner.finished_jobs + 1
    }

    /// Waits until a compaction has ended; none at the deadline, or where it is not to go on, which is asked
    /// again at [`State::wake`]. What it gives may be of a later one.
    pub(super) fn wait(&self, job: u64, deadline: Instant, go_on: impl Fn() -> bool) -> Option<Finished> {
        let mut inner = self.lock();
        loop {
            if inner.finished_jobs >= job {
                return inner.last.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.to_stop || !go_on() {
                return None;
            }
            inner = self
                .changed
                .wait_timeout(inner, left)
                .expect("nothing under the compaction's lock panics")
                .0;
        }
    }

    pub(super) fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    pub(super) fn status(&self) -> CompactionStatus {
        let inner = self.lock();
        CompactionStatus {
            running: inner.running,
            last: inner.last.clone(),
        }
    }

    /// Waits for work, or until it is time to look for some; none where the thread is to end.
    fn wait_for_work(&self) -> Option<bool> {
        let is_idle = |inner: &mut Inner| !inner.is_requested && !inner.to_stop;
        let waited = self.changed.wait_timeout_while(self.lock(), LOOK_EVERY, is_idle);
        let (inner, _) = waited.expect("nothing under the compaction's lock panics");
        (!inner.to_stop).then_some(inner.is_requested)
    }

    fn begin(&self, cause: Cause, entries_total: u64) {
        let mut inner = self.lock();
        inner.is_requested = false;
        inner.running = Some(Progress {
            job: inner.finished_jobs + 1,
            cause,
            started: Instant::now(),
            entries: 0,
            entries_total,
            bytes: 0,
        });
    }

    /// Notes how far it is; says whether it is to stop.
    fn advance(&self, entries: u64, bytes: u64) -> bool {
        let mut inner = self.lock();
        if let Some(running) = &mut inner.running {
            (running.entries, running.bytes) = (entries, bytes);
        }
        inner.to_stop
    }

    fn end(&self, result: Result<Compacted, String>) {
        let mut inner = self.lock();
        let Some(running) = inner.running.take() else {
            return;
        };
        inner.finished_jobs = running.job;
        inner.last = Some(Finished {
            job: running.job,
            cause: running.cause,
            took: running.started.elapsed(),
            result,
        });
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().to_stop = true;
        self.changed.notify_all();
    }
}

/// The running thread. It ends, and is joined, in [`Compactor::stop`] or when this is dropped; a compaction
/// that is going on is given up.
pub(super) struct Compactor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    pub(super) fn start(shared: Arc<Shared>, source: Arc<dyn Source>) -> std::io::Result<Compactor> {
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("compact".to_string())
            .spawn(move || run(&of_thread, &*source))?;
        Ok(Compactor {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn stop(&mut self) {
        self.shared.compaction.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            ::log::error!("the thread that compacts the log has panicked");
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, source: &dyn Source) {
    let state = &shared.compaction;
    let mut not_before = None;
    while let Some(is_requested) = state.wait_for_work() {
        let is_backing_off = not_before.is_some_and(|not_before| Instant::now() < not_before);
        let cause = match is_requested {
            true => Cause::Request,
            false if !is_backing_off && is_due(shared, source) => Cause::Growth,
            false => continue,
        };
        state.begin(cause, source.size().0);
        let result = compact(shared, source);
        match &result {
            Ok(done) => {
                not_before = None;
                ::log::info!(
                    "compacted the log from {} to {} bytes: a base of {} entries at offset {}",
                    done.bytes_before,
                    done.bytes_after,
                    done.entries,
                    done.offset
                );
            }
            Err(error) => {
                not_before = Some(Instant::now() + BACK_OFF);
                ::log::error!("the log could not be compacted, and stays as it is: {error}");
            }
        }
        state.end(result.map_err(|error| error.to_string()));
    }
}

/// Whether the log has outgrown what is live.
fn is_due(shared: &Shared, source: &dyn Source) -> bool {
    let compact_ratio = shared.options.compact_ratio;
    if compact_ratio <= 0.0 || shared.is_hollow() || shared.commit.health() != Health::Ok {
        return false;
    }
    let Ok(listing) = shared.dir.list() else {
        return false; // Said by whoever writes there.
    };
    let log_bytes = shared.dir.files_bytes(listing.current());
    let has_outgrown =
        log_bytes > bytes_min(shared) && log_bytes as f64 > compact_ratio * source.size().1 as f64;
    has_outgrown || room::is_scarce(&shared.dir, source, log_bytes)
}

/// Bytes that the log must have before it is compacted by itself.
fn bytes_min(shared: &Shared) -> u64 {
    shared.options.compact_bytes_min.unwrap_or_else(|| {
        let total = shared.dir.room().map_or(u64::MAX, |room| room.total_bytes);
        COMPACT_BYTES_MIN_DEFAULT.min(total / 8)
    })
}

/// Bytes of the log that are kept behind a base.
fn backlog_bytes(shared: &Shared, source: &dyn Source) -> u64 {
    let by_default = || match shared.commit.watchers.were_lately() {
        true => BACKLOG_BYTES_DEFAULT,
        false => source.size().1 / 10,
    };
    shared.options.backlog_bytes.unwrap_or_else(by_default)
}

fn compact(shared: &Shared, source: &dyn Source) -> Result<Compacted, Error> {
    let given_up = |why: &str| Error::GivenUp { why: why.to_string() };
    // Heals and compactions walk with one marker; a heal waits until this one has given up.
    let _walking = shared.walking();
    let before = shared.dir.list()?;
    if shared.commit.health() != Health::Ok {
        return Err(given_up("the log cannot be written"));
    }
    shared.dir.check_place()?;
    shared
        .dir
        .check_own(&before, shared.history.id(), shared.end_max())?;
    if shared.is_hollow() {
        return Err(given_up("the node is taking over the state of another"));
    }
    // Most of the segment is synced while writers go on; the rest when they are held up.
    keeper::sync(shared);
    let (header, is_new) = {
        // What a replica has written it has applied too, or the base would lack it.
        let _step = shared.stepping();
        let mut writer = shared.writer();
        let is_new = writer.position() > writer.segment().first_offset;
        if is_new {
            writer.start_segment().map_err(|failure| {
                // What may be lost is healed before anything is built on it.
                if let Failure::Sync(_) = failure {
                    shared.commit.fail(&failure);
                }
                let (Failure::Write(error) | Failure::Sync(error)) = failure;
                error
            })?;
        }
        let header = Header {
            kind: Kind::Base,
            id: shared.history.id(),
            first_offset: writer.position(),
            branches: shared.history.branches(),
        };
        (header, is_new)
    };
    let offset = header.first_offset;
    let bytes_before = shared.dir.files_bytes(before.all());
    if !is_new
        && before
            .bases
            .last()
            .is_some_and(|base| base.first_offset == offset)
    {
        // Nothing was written since the last base.
        let entries = source.size().0;
        return Ok(Compacted {
            offset,
            entries,
            bytes_before,
            bytes_after: bytes_before,
            kept_bytes: bytes_before - shared.dir.files_bytes(before.current()),
        });
    }
    let named = Named::new(shared.dir.path(), Kind::Base, offset);
    let mut entries = 0;
    let mut pace = Pace::new();
    shared.dir.make(&shared.disk, &named.path, |file| {
        (entries, _) = base::write(
            &shared.disk,
            (file, &named.path),
            &header,
            source,
            |entries, bytes| {
                if shared.compaction.advance(entries, bytes) {
                    return Err(given_up("the node stops"));
                }
                if shared.commit.check().is_err() {
                    return Err(given_up("the log cannot be written"));
                }
                pace.rest();
                Ok(())
            },
        )?;
        let end = source.tip();
        shared
            .wait(end)
            .map_err(|refusal| given_up(&refusal.to_string()))?;
        keeper::sync(shared);
        match shared.commit.position().synced >= end {
            true => Ok(()),
            false => Err(given_up("the log could not be synced")),
        }
    })?;
    let after = shared.dir.list()?;
    shared.dir.check_place()?;
    shared
        .dir
        .check_own(&after, shared.history.id(), shared.end_max())?;
    shared.dir.remove(
        &shared.disk,
        after.dispensable(&shared.dir, backlog_bytes(shared, source), shared.pins.lowest()),
    );
    let after = shared.dir.list()?;
    let bytes_after = shared.dir.files_bytes(after.all());
    Ok(Compacted {
        offset,
        entries,
        bytes_before,
        bytes_after,
        kept_bytes: bytes_after.saturating_sub(shared.dir.files_bytes(after.current())),
    })
}

/// Rests now and then, in proportion to the work that was done.
struct Pace {
    since: Instant,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            since: Instant::now(),
        }
    }

    fn rest(&mut self) {
        let worked = self.since.elapsed();
        if worked >= WORK_TIME {
            std::thread::sleep(worked);
            self.since = Instant::now();
        }
    }
}
