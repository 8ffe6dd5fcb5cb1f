//! Compaction: makes a base of the store while it serves, and drops what the base has made superfluous.
//!
//! 1. The log continues in a new segment, at offset N.
//! 2. The store is walked, a few entries in a hold of its lock, into a temporary base at N (`base`).
//! 3. Once the log is synced up to where the walk ended, the base is synced, gets its name, and the directory
//!    is synced. Not before: a key that was written after N has left the base to the log, so the log must
//!    hold it.
//! 4. What is older than N goes, except for a backlog of segments for those who read the log from behind.
//!
//! A crash anywhere leaves a directory that opens to the same state: until the base has its name it does not
//! count, and nothing goes before it has. An error is reported, leaves the node as it was, and is no reason to
//! take no writes: those fail by themselves if the disk does.
//!
//! The thread `compact` does it: when asked, or by itself once the log has outgrown what is live. There is one
//! compaction at a time; a request during one joins it.

use super::base::{self, Source};
use super::compaction_state::{Cause, Compacted};
use super::disk_space;
use super::error::Error;
use super::flush::Failure;
use super::header::{Header, Kind};
use super::health::{Health, Refusal};
use super::listing::{Backlog, Listing, LogFile};
use super::locks::BaseGuard;
use super::log_thread;
use super::options::{BACKLOG_BYTES_DEFAULT, COMPACT_BYTES_MIN_DEFAULT};
use super::shared::Shared;
use crate::worker::Worker;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long none is begun by itself after one has failed.
const BACK_OFF: Duration = Duration::from_secs(60);

/// For how long the walk uses a processor before it rests for as long, so that on a machine with few processors those who
/// wait for one get it. While it waits for the disk, or for a processor, it takes nothing from them, and that is no work.
const WORK_TIME: Duration = Duration::from_micros(500);

/// Starts the thread `compact`. Ending it gives up a compaction that is running.
pub(super) fn start(shared: &Arc<Shared>, source: Arc<dyn Source>) -> std::io::Result<Worker> {
    let (to_end, of_thread) = (Arc::clone(shared), Arc::clone(shared));
    let end = move || to_end.compaction.stop();
    Worker::start("compact", end, move || run(&of_thread, &*source))
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
                log::info!(
                    "compacted the log, which had {} bytes; {} bytes are kept, in a base of {} entries at offset {} and in \
                     what watchers and replicas may still need",
                    done.bytes_before,
                    done.bytes_after,
                    done.entries,
                    done.offset
                );
            }
            Err(error) => {
                not_before = Some(Instant::now() + BACK_OFF);
                log::error!("the log could not be compacted, and stays as it is: {error}");
            }
        }
        state.end(result.map_err(|error| error.to_string()));
    }
}

/// Whether the log has outgrown what is live.
fn is_due(shared: &Shared, source: &dyn Source) -> bool {
    let compact_ratio = shared.options.compact_ratio;
    if compact_ratio <= 0.0 || shared.is_awaiting_snapshot() || shared.commit.health() != Health::Ok {
        return false;
    }
    let Ok(listing) = shared.dir.list() else {
        return false; // Said by whoever writes there.
    };
    let log_bytes = shared.dir.files_bytes(listing.current());
    has_outgrown(log_bytes, source.size().1, bytes_min(shared), compact_ratio)
        || disk_space::is_scarce(&shared.dir, source, log_bytes)
}

fn has_outgrown(log_bytes: u64, live_bytes: u64, bytes_min: u64, ratio: f64) -> bool {
    log_bytes > bytes_min && log_bytes as f64 > ratio * live_bytes as f64
}

/// Bytes that the log must have before it is compacted by itself.
fn bytes_min(shared: &Shared) -> u64 {
    shared.options.compact_bytes_min.unwrap_or_else(|| {
        let total = shared.dir.space().map_or(u64::MAX, |space| space.total_bytes);
        COMPACT_BYTES_MIN_DEFAULT.min(total / 8)
    })
}

/// What of the log is kept after a base.
fn backlog(shared: &Shared, source: &dyn Source) -> Backlog {
    match shared.options.backlog_bytes {
        Some(bytes) => Backlog::AtLeast(bytes),
        None if shared.commit.watchers.were_lately() => Backlog::AtLeast(BACKLOG_BYTES_DEFAULT),
        None => Backlog::AtMost(source.size().1 / 10),
    }
}

fn compact(shared: &Shared, source: &dyn Source) -> Result<Compacted, Error> {
    // Heals and compactions walk with one marker; a heal waits until this one has given up.
    let base_lock = shared.locks.base();
    let before = shared.dir.list()?;
    check_health(shared)?;
    check_dir(shared, &before)?;
    if shared.is_awaiting_snapshot() {
        return Err(given_up("the node is taking over the state of another"));
    }
    // Most of the segment is synced while writers go on; the rest when they are held up.
    log_thread::sync(shared);
    let (header, is_new) = begin_segment(shared, &base_lock)?;
    let offset = header.first_offset;
    let bytes_before = shared.dir.files_bytes(before.all());
    let last = before.bases.last();
    if !is_new && last.is_some_and(|base| base.first_offset == offset) {
        // Nothing was written since the last base.
        return Ok(Compacted {
            offset,
            entries: source.size().0,
            bytes_before,
            bytes_after: bytes_before,
            kept_bytes: bytes_before - shared.dir.files_bytes(before.current()),
        });
    }
    let entries = make_base(shared, source, &header)?;
    drop_superfluous(shared, source)?;
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

fn given_up(why: &str) -> Error {
    Error::GivenUp { why: why.to_string() }
}

/// That the log takes writes: where it does not, what has to be done first is its thread's.
fn check_health(shared: &Shared) -> Result<(), Error> {
    match shared.commit.check() {
        Err(Refusal::Unhealthy(health)) => Err(given_up(&health.to_string())),
        Err(refusal) => Err(given_up(&refusal.to_string())),
        Ok(()) => Ok(()),
    }
}

/// That the directory is this node's still, and no file in it another's.
fn check_dir(shared: &Shared, listing: &Listing) -> Result<(), Error> {
    shared.dir.check_place()?;
    shared
        .dir
        .check_own(listing, shared.history.id(), shared.end_max())
}

/// Continues the log in a new segment, unless nothing is in this one. Returns the header of the base to make, and
/// whether the segment is new.
fn begin_segment(shared: &Shared, base_lock: &BaseGuard<'_>) -> Result<(Header, bool), Error> {
    // What a replica has written it has applied too, or the base would lack it.
    let apply = base_lock.apply();
    let mut writer = apply.writer();
    let is_new = writer.position() > writer.segment().first_offset;
    if is_new {
        writer.start_segment().map_err(|failure| {
            // What may be lost is healed before anything is built on it.
            if let Failure::Sync(_) = failure {
                shared.commit.fail(&failure);
            }
            failure.into_error()
        })?;
    }
    // Under the writer's lock: a branch that begins after the base is none of the base's.
    let header = Header {
        kind: Kind::Base,
        id: shared.history.id(),
        first_offset: writer.position(),
        branches: shared.history.branches(),
    };
    Ok((header, is_new))
}

/// Walks the store into a base, which gets its name once the log is synced up to the end of the walk. Returns the number
/// of its entries.
fn make_base(shared: &Shared, source: &dyn Source, header: &Header) -> Result<u64, Error> {
    let named = LogFile::new(shared.dir.path(), Kind::Base, header.first_offset);
    let mut entries = 0;
    let mut pace = Pace::new();
    let mut each = |entries, bytes| {
        if shared.compaction.advance(entries, bytes) {
            return Err(given_up("the node stops"));
        }
        check_health(shared)?;
        pace.rest();
        Ok(())
    };
    shared.dir.make(&shared.disk, &named.path, |file| {
        let to = (file, &*named.path);
        (entries, _) = base::write(&shared.disk, to, header, source, &mut each)?;
        let end = source.tip();
        shared
            .wait(end)
            .map_err(|refusal| given_up(&refusal.to_string()))?;
        log_thread::sync(shared);
        match shared.commit.position().synced >= end {
            true => Ok(()),
            false => Err(given_up("the log could not be synced")),
        }
    })?;
    Ok(entries)
}

/// Removes what is older than the newest base, except for the backlog and what a backup needs.
fn drop_superfluous(shared: &Shared, source: &dyn Source) -> Result<(), Error> {
    let listing = shared.dir.list()?;
    check_dir(shared, &listing)?;
    let backlog = backlog(shared, source);
    let lowest_retained = shared.retention.lowest();
    let dispensable = listing.dispensable(&shared.dir, backlog, lowest_retained);
    let id = shared.history.id();
    shared.dir.remove_own(&shared.disk, id, dispensable);
    Ok(())
}

/// Rests now and then, in proportion to the work that was done.
struct Pace {
    /// When the last rest ended, and how long the thread had then used a processor.
    since: Instant,
    used: Duration,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            since: Instant::now(),
            used: processor_time(),
        }
    }

    fn rest(&mut self) {
        // Cheaper to ask for, and never less.
        if self.since.elapsed() < WORK_TIME {
            return;
        }
        let worked = processor_time().saturating_sub(self.used);
        if worked >= WORK_TIME {
            std::thread::sleep(worked);
            *self = Pace::new();
        }
    }
}

/// How long this thread has used a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::super::alone::{Alone, EIO, files, options};
    use super::super::disk::{Disk, faults::Plan};
    use super::super::{Policy, Role};
    use super::*;
    use std::path::Path;

    fn example(disk: &Disk, dir: &Path) -> Alone {
        let mut alone = Alone::open(disk, dir, options(Policy::Everysec), Role::Primary);
        for n in 0..200 {
            alone.set(&format!("key{}", n % 100), &"value".repeat(20));
        }
        let end = alone.delete("key7");
        alone.log.wait(end).unwrap();
        alone
    }

    fn reopened(dir: &Path) -> Vec<(String, String)> {
        Alone::primary(dir).store.contents()
    }

    #[test]
    fn a_base_takes_the_place_of_all_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let alone = example(&Disk::default(), dir.path());
        let (contents, end) = (alone.store.contents(), alone.log.appended());
        let done = compact(&alone.log.shared, &*alone.store).unwrap();
        assert_eq!((done.offset, done.entries), (end, 99));
        assert!(done.bytes_after < done.bytes_before);
        let named = |kind| vec![LogFile::new(dir.path(), kind, end).path];
        assert_eq!(files(dir.path(), "base-"), named(Kind::Base));
        assert_eq!(files(dir.path(), "log-"), named(Kind::Log));
        // Nothing was written since: there is nothing to do.
        let again = compact(&alone.log.shared, &*alone.store).unwrap();
        assert_eq!((again.offset, again.bytes_before), (end, done.bytes_after));
        drop(alone);
        assert_eq!(reopened(dir.path()), contents);
    }

    #[test]
    fn whatever_fails_or_is_the_last_leaves_a_directory_of_the_same_state() {
        for crashes in [false, true] {
            let mut at = 0;
            loop {
                let dir = tempfile::tempdir().unwrap();
                let disk = Disk::default();
                let alone = example(&disk, dir.path());
                let contents = alone.store.contents();
                disk.faults.plan(match crashes {
                    true => Plan::Crash { at },
                    false => Plan::Once { at, errno: EIO },
                });
                let done = compact(&alone.log.shared, &*alone.store);
                let made = disk.faults.made();
                if !crashes {
                    disk.faults.plan(Plan::None);
                }
                drop(alone);
                assert_eq!(reopened(dir.path()), contents, "{at}, {crashes}");
                if made <= at {
                    assert!(done.is_ok());
                    assert!(at > 8, "there is much that can fail");
                    break;
                }
                at += 1;
            }
        }
    }

    #[test]
    fn a_log_has_outgrown_what_is_live_at_the_ratio_and_not_below_the_least_size() {
        assert!(has_outgrown(301, 100, 0, 3.0));
        assert!(!has_outgrown(300, 100, 0, 3.0));
        assert!(!has_outgrown(301, 100, 301, 3.0));
        assert!(has_outgrown(1, 0, 0, 3.0), "of nothing");
    }
}
