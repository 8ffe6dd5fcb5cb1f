//! The log's thread: syncs once a second, writes what nobody waits for, and brings a failed log back.
//!
//! # When the log has failed
//! - After a failed write it makes the same write again, every [`RETRY_EVERY`], until the disk takes it. On a full
//!   disk it makes room as well, as far as it can: see [`super::disk_space`].
//! - After a failed sync it does not: the kernel may have dropped the pages and forgotten the error, so a
//!   second sync that succeeds would prove nothing. Memory is the truth then. While no write is taken the
//!   store stands still, so a new base is made of it, and the log continues after that.
//! - Where the directory is no longer this node's, it touches no file, and looks whether it is again. Then it
//!   heals in the same way: what has happened to the files meanwhile is not known.

use super::base::{self, Source};
use super::dir_watch::DirWatch;
use super::disk_space::DiskSpace;
use super::error::Error;
use super::flush::Failure;
use super::header::{Header, Kind};
use super::health::Health;
use super::listing::LogFile;
use super::shared::Shared;
use super::writer::Writer;
use crate::worker::Worker;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often a failed log is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// The promise of `everysec`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked after records that nobody waits for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Starts the thread `log`.
pub(super) fn start(shared: &Arc<Shared>, source: Arc<dyn Source>) -> std::io::Result<Worker> {
    let (to_end, of_thread) = (Arc::clone(shared), Arc::clone(shared));
    let end = move || to_end.commit.log_thread.stop();
    let mut space = DiskSpace::new();
    if shared.commit.health() == Health::Ok {
        // Before the first write may use it up. What another node writes is not refused before there is no room for it.
        let follows = shared.locks.writer().follows();
        match follows {
            true => space.keep_reserve(shared, &*source),
            false => {
                let short = space.begin(shared, &*source);
                short.into_iter().for_each(|short| shared.commit.recover(short));
            }
        }
    }
    Worker::start("log", end, move || run(&of_thread, &*source, space))
}

fn run(shared: &Shared, source: &dyn Source, mut space: DiskSpace) {
    let mut last_sync = Instant::now();
    let mut dir_watch = DirWatch::default();
    loop {
        shared.turns.fetch_add(1, Relaxed);
        let is_well = shared.commit.health().takes_removals();
        let called = shared
            .commit
            .log_thread
            .wait(if is_well { LOOK_EVERY } else { RETRY_EVERY });
        if called.to_work {
            shared.commit.lead(|| shared.write());
        }
        if called.to_stop {
            return;
        }
        let health = shared.commit.health();
        if health.takes_removals() {
            write_leftovers(shared);
            if last_sync.elapsed() >= SYNC_EVERY {
                last_sync = Instant::now();
                look_after(shared, &mut dir_watch);
            }
        }
        match health {
            Health::Ok => space.keep_reserve(shared, source),
            Health::Short { .. } => stretch(shared, source, &mut space),
            Health::DiskFull { .. } => make_room(shared, source, &mut space),
            Health::WriteFailed { .. } => retry(shared, None),
            Health::SyncFailed { .. } | Health::Displaced { .. } => heal(shared, source, &mut space),
        }
    }
}

/// Looks whether the directory is this node's and the log in it, and syncs what is written.
fn look_after(shared: &Shared, dir_watch: &mut DirWatch) {
    if let Err(error) = shared.dir.check_place() {
        return shared.commit.fail(&Failure::Sync(error));
    }
    let linked = shared.locks.writer().check_linked();
    let is_whole = linked.and_then(|()| dir_watch.look(shared).map_err(Failure::Sync));
    if let Err(failure) = is_whole {
        // What is missing is made again, and what is there then is another look's.
        *dir_watch = DirWatch::default();
        shared.commit.fail(&failure);
    } else if shared.options.policy.syncs_every_second() {
        sync(shared);
    }
}

/// Makes the write again that found the disk full, and gives up one thing after the other for it: see
/// [`super::disk_space`].
fn make_room(shared: &Shared, source: &dyn Source, space: &mut DiskSpace) {
    if !space.may_try() {
        return retry(shared, None);
    }
    match shared.drop_backlog() {
        Ok(0) => {}
        Ok(_) => {
            retry(shared, None);
            if shared.commit.health().takes_removals() {
                return;
            }
        }
        Err(error) if error.is_displaced() => return shared.commit.fail(&Failure::Sync(error)),
        Err(error) => log::debug!("cannot make room: {error}"),
    }
    match space.spend_reserve(shared, source) {
        true => heal(shared, source, space),
        false => retry(shared, Some((source, space))),
    }
}

/// While deletions alone are taken: looks whether they, or somebody else, have made room. Where they have made enough for a
/// base, that comes first: the reserve would take the room again.
fn stretch(shared: &Shared, source: &dyn Source, space: &mut DiskSpace) {
    let short = space.short(shared, source);
    if (short.is_none() || space.may_try()) && space.spend_reserve(shared, source) {
        // Nothing is written meanwhile but by this thread.
        shared
            .commit
            .fail(&Failure::Write(Error::io("making room in", shared.dir.path())(
                std::io::ErrorKind::StorageFull.into(),
            )));
        return heal(shared, source, space);
    }
    match short {
        None => shared.commit.recover(Health::Ok),
        Some(short) => shared.commit.renew_short(short),
    }
}

/// Writes records that no client waits for, or whose client has given up. Where somebody leads, they are
/// written by them.
fn write_leftovers(shared: &Shared) {
    if shared.commit.position().written < shared.appended() {
        shared.commit.lead_if_free(|| shared.write());
    }
}

/// Syncs what is written, without holding up writers meanwhile.
pub(super) fn sync(shared: &Shared) {
    let (file, path, disk, written) = {
        let writer = shared.locks.writer();
        let segment = writer.segment();
        (
            Arc::clone(&segment.file),
            segment.path.clone(),
            writer.disk.clone(),
            writer.position(),
        )
    };
    if shared.commit.position().synced >= written {
        return;
    }
    let begun = Instant::now();
    // The log's thread and a compaction may both be at it: the one that ends first ends it, which tells too little.
    let _at_work = shared.syncing.begin();
    match disk.sync_data(&file) {
        Ok(()) => {
            shared.commit.syncs.count(begun.elapsed());
            shared.commit.advance_synced(written);
        }
        Err(error) => shared
            .commit
            .fail(&Failure::Sync(Error::io("cannot sync", &path)(error))),
    }
}

/// Makes the failed write again. Where that succeeds on a disk that has no more room than for it, deletions
/// alone are taken from then on.
fn retry(shared: &Shared, full: Option<(&dyn Source, &mut DiskSpace)>) {
    match shared.write() {
        Ok(flushed) => {
            shared
                .commit
                .advance(flushed.written, shared.options.policy.acknowledges_synced());
            if let Some(digest) = flushed.digest {
                shared.commit.set_state(flushed.written, digest);
            }
            let short = full.and_then(|(source, space)| space.short(shared, source));
            shared.commit.recover(short.unwrap_or(Health::Ok));
        }
        Err(Failure::Write(error)) if !error.is_displaced() => log::debug!("still failing: {error}"),
        Err(failure) => shared.commit.fail(&failure),
    }
}

/// Makes the log anew of what memory holds, where the files cannot be relied on or are too large for the disk.
fn heal(shared: &Shared, source: &dyn Source, space: &mut DiskSpace) {
    // A compaction that is going on gives up, as the log has failed.
    let base = shared.locks.base();
    if shared.is_awaiting_snapshot() {
        return; // A new base is on its way anyway.
    }
    // What a replica has written and not yet applied would be left out of the base, and be lost with the log.
    let apply = base.apply();
    let mut writer = apply.writer();
    match rebase(shared, &mut writer, source) {
        Ok(()) => {
            // Back, where a replica is to fetch again what it had not applied.
            shared.commit.set_position(writer.position());
            shared.commit.set_state(writer.position(), writer.digest());
            drop(writer);
            // Before the next write may use it up.
            space.renew_reserve(shared, source);
            shared.commit.recover(Health::Ok);
        }
        Err(error) if error.is_displaced() => {
            drop(writer);
            shared.commit.fail(&Failure::Sync(error));
        }
        Err(error) => {
            // From here on a start would begin with the new base: the log must continue after that and nowhere else.
            let named = LogFile::new(writer.dir.path(), Kind::Base, source.tip());
            let is_named = writer.dir.exists(&named.path);
            drop(writer);
            if is_named {
                shared.commit.fail(&Failure::Sync(error));
            } else {
                log::debug!("still failing: {error}");
            }
        }
    }
}

/// Makes a base of the store at its end, and continues in a new segment after it. No write may be taken
/// meanwhile. What waits to be written is dropped once the base has it, and not before: where the base cannot be
/// made, the write may still succeed.
fn rebase(shared: &Shared, writer: &mut Writer, source: &dyn Source) -> Result<(), Error> {
    let offset = source.tip();
    writer.dir.check_place()?;
    let listing = writer.dir.list()?;
    let end = shared.end_max().max(writer.position());
    writer.dir.check_own(&listing, shared.history.id(), end)?;
    let header = Header {
        kind: Kind::Base,
        id: shared.history.id(),
        first_offset: offset,
        branches: shared.history.branches(),
    };
    let named = LogFile::new(writer.dir.path(), Kind::Base, offset);
    let mut entries = 0;
    writer.dir.forget_end(&writer.disk)?;
    writer.dir.make(&writer.disk, &named.path, |file| {
        (entries, _) = base::write(&writer.disk, (file, &named.path), &header, source, |_, _| Ok(()))?;
        Ok(())
    })?;
    // Taking in what waits in memory, which is in the store, brings the digest to the same offset.
    shared.budget.give_back(writer.drop_waiting());
    writer.skip_forward(offset)?;
    let listing = writer.dir.list()?;
    let superseded = listing.superseded().map(|named| named.path.clone());
    let id = shared.history.id();
    writer.dir.remove_own(&writer.disk, id, superseded);
    log::info!("wrote a new base of {entries} entries at offset {offset}");
    Ok(())
}
