//! The log's thread: syncs once a second, writes what nobody waits for, and brings a failed log back.
//!
//! # When the log has failed
//! - After a failed write it makes the same write again, every [`RETRY_EVERY`], until the disk takes it.
//! - After a failed sync it does not: the kernel may have dropped the pages and forgotten the error, so a
//!   second sync that succeeds would prove nothing. Memory is the truth then. While no write is taken the
//!   store stands still, so a new base is made of it, and the log goes on behind that.

use super::base::{self, Source};
use super::dir::{Listing, Named};
use super::error::{Error, Health};
use super::header::{Header, Kind};
use super::writer::{Failure, Writer};
use super::{Policy, Shared};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a failed log is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// The promise of `everysec`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked after records that nobody waits for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The running thread. It ends, and is joined, in [`Keeper::stop`] or when this is dropped.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>, source: Arc<dyn Source>) -> std::io::Result<Keeper> {
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log".to_string())
            .spawn(move || run(&of_thread, &*source))?;
        Ok(Keeper {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn stop(&mut self) {
        self.shared.commit.keeper.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            ::log::error!("the log's thread has panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, source: &dyn Source) {
    let mut last_sync = Instant::now();
    loop {
        let is_well = shared.commit.health() == Health::Ok;
        let called = shared
            .commit
            .keeper
            .wait(if is_well { LOOK_EVERY } else { RETRY_EVERY });
        if called.to_lead {
            shared.commit.lead(|| shared.write());
        }
        if called.to_stop {
            return;
        }
        let health = shared.commit.health();
        match health {
            Health::Ok => {
                write_leftovers(shared);
                if last_sync.elapsed() >= SYNC_EVERY {
                    last_sync = Instant::now();
                    let linked = shared.writer().check_linked();
                    if let Err(failure) = linked {
                        shared.commit.fail(&failure);
                    } else if shared.options.policy == Policy::Everysec {
                        sync(shared);
                    }
                }
            }
            Health::DiskFull { .. } | Health::WriteFailed { .. } => retry(shared),
            Health::SyncFailed { .. } => heal(shared, source),
        }
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
        let writer = shared.writer();
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

/// Makes the failed write again.
fn retry(shared: &Shared) {
    match shared.write() {
        Ok(flushed) => {
            shared
                .commit
                .advance(flushed.written, shared.options.policy == Policy::Always);
            if let Some(digest) = flushed.digest {
                shared.commit.set_state(flushed.written, digest);
            }
            shared.commit.recover();
        }
        Err(Failure::Write(error)) => ::log::debug!("still failing: {error}"),
        Err(failure) => shared.commit.fail(&failure),
    }
}

fn heal(shared: &Shared, source: &dyn Source) {
    // A compaction that is going on gives up, as the log has failed.
    let _walking = shared.walking();
    if shared.is_hollow() {
        return; // A new base is on its way anyway.
    }
    // What a replica has written and not yet applied would be left out of the base, and be lost with the log.
    let _step = shared.stepping();
    let mut writer = shared.writer();
    match rebase(shared, &mut writer, source) {
        Ok(()) => {
            // Back, where a replica is to fetch again what it had not applied.
            shared.commit.set_position(writer.position());
            shared.commit.set_state(writer.position(), writer.digest());
            drop(writer);
            shared.commit.recover();
        }
        Err(error) => ::log::debug!("still failing: {error}"),
    }
}

/// Makes a base of the store at its end, and goes on in a new segment behind it. No write may be taken
/// meanwhile.
fn rebase(shared: &Shared, writer: &mut Writer, source: &dyn Source) -> Result<(), Error> {
    let offset = source.tip();
    // What waits in memory is in the store; taking it in here brings the digest to the same offset.
    shared.budget.give_back(writer.drop_waiting());
    let header = Header {
        kind: Kind::Base,
        id: shared.history.id(),
        first_offset: offset,
        branches: shared.history.branches(),
    };
    let named = Named::new(writer.dir.path(), Kind::Base, offset);
    let mut entries = 0;
    writer.dir.make(&writer.disk, &named.path, |file| {
        (entries, _) = base::write(&writer.disk, (file, &named.path), &header, source, |_, _| Ok(()))?;
        Ok(())
    })?;
    writer.skip_to(offset)?;
    let listing = Listing::read(writer.dir.path())?;
    writer
        .dir
        .remove(&writer.disk, listing.superseded().map(|named| named.path.clone()));
    ::log::info!("wrote a new base of {entries} entries at offset {offset}");
    Ok(())
}
