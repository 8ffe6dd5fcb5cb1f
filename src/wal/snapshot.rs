//! Puts the state of another node in place of the log: what a replica does that cannot continue from where it is.
//!
//! A snapshot comes as a backup does ([`super::backup`]): the state at an offset E, of which only the last
//! record says that it is complete, and what E is. It is written to a temporary file as it comes. Once it is
//! whole and its digest is that of what was made of it, it gets the header of a base at E, is synced, and
//! becomes the one base; the log continues at E, and what was there before goes.
//!
//! # What must hold
//! - Until the new base has its name the old files are what a start would find; from then on they are not
//!   needed. (Files of another store, which were to be replaced and have higher offsets, go first.)
//! - A store of another id that is replaced is kept, file by file, in the directory `replaced-<id>`; so is one of
//!   the same id whose history parts from the new one before its base.
//! - Nobody makes a base of a store that is being replaced, nor of one that is left empty because a snapshot
//!   broke off.

use super::appender::OFFSET_TAKEN_MAX;
use super::base::BaseCount;
use super::branch::fork;
use super::error::Error;
use super::file_reader::{FileReader, Next};
use super::flush::Failure;
use super::handle::Log;
use super::header::{HEADER_BYTES, Header, Kind};
use super::listing::LogFile;
use super::locks::BaseGuard;
use super::shared::Shared;
use crate::digest::Digest;
use crate::record::{DecodeError, Operation, Record};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Written to the file at once, in bytes.
const WRITE_BYTES: usize = 1 << 20;

/// Bytes after which the file is synced, so that the last sync is short.
const SYNC_BYTES: u64 = 16 << 20;

/// Why a snapshot was not taken.
#[derive(Debug)]
pub(crate) enum SnapshotError {
    /// What came is none, or not a complete one.
    Invalid(String),
    /// It could not be written.
    Log(Error),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Invalid(why) => write!(f, "the snapshot is not complete: {why}"),
            SnapshotError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<Error> for SnapshotError {
    fn from(error: Error) -> SnapshotError {
        SnapshotError::Log(error)
    }
}

/// A snapshot on its way in. Dropped before it is installed, it leaves the log as it was.
pub(crate) struct Snapshot<'a> {
    shared: &'a Shared,
    base_lock: BaseGuard<'a>,
    temporary: PathBuf,
    file: File,
    /// What came and was not looked at yet begins at `start`; what is before it is to be written.
    buffer: Vec<u8>,
    start: usize,
    /// Bytes that are in the file, and synced.
    written: u64,
    synced: u64,
    header: Option<Header>,
    count: BaseCount,
    /// What the last record says: the offset and the digest.
    end: Option<(u64, Digest)>,
    is_installed: bool,
    /// Whether the log that is replaced has anything in it.
    replaces_content: bool,
}

impl Log {
    /// Begins to put another state in place of the log. Who reads the log learns that it is
    /// gone, and no base is made of the store before a snapshot was installed.
    pub(crate) fn begin_snapshot(&self) -> Result<Snapshot<'_>, Error> {
        let shared = &*self.shared;
        let base_lock = shared.locks.base();
        shared.generation.fetch_add(1, Ordering::AcqRel);
        shared.is_awaiting_snapshot.store(true, Ordering::Release);
        shared.commit.watchers.wake_all();
        let temporary = shared.dir.path().join("snapshot.tmp");
        let file = shared
            .disk
            .create(&shared.dir, &temporary)
            .map_err(Error::io("cannot create", &temporary))?;
        Ok(Snapshot {
            shared,
            base_lock,
            temporary,
            file,
            buffer: Vec::new(),
            start: 0,
            written: 0,
            synced: 0,
            header: None,
            count: BaseCount::default(),
            end: None,
            is_installed: false,
            replaces_content: !self.is_new(),
        })
    }
}

impl Log {
    /// Reads the log's own files, from the newest base on, where a snapshot broke off that was to replace them.
    /// Gives each record to `each`, with the version that it gives its key, and returns the offset that they are
    /// the state at. From then on bases are made of the store again.
    pub(crate) fn reload(&self, mut each: impl FnMut(&Record<'_>, u64)) -> Result<u64, Error> {
        let shared = &*self.shared;
        let _base = shared.locks.base();
        let end = shared.commit.position().written;
        for named in shared.dir.list()?.current() {
            let mut reader = FileReader::open_in(&shared.dir, named)?;
            loop {
                let start = reader.offset();
                if named.kind == Kind::Log && start >= end {
                    break;
                }
                match reader.peek()? {
                    Next::Record(bytes) => {
                        let after = start + bytes as u64;
                        let record = reader.record(bytes);
                        match named.kind {
                            Kind::Base => each(&record, record.version.unwrap_or(start)),
                            Kind::Log => each(&record, after),
                        }
                    }
                    Next::End => break,
                    Next::Invalid(why) => return Err(reader.damaged(reader.file_position(), why)),
                }
            }
        }
        shared.is_awaiting_snapshot.store(false, Ordering::Release);
        Ok(end)
    }
}

impl Snapshot<'_> {
    /// Takes what came, and gives each complete record in it to `each`, with the version that it gives its key.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&Record<'_>, u64),
    ) -> Result<(), SnapshotError> {
        self.buffer.extend_from_slice(bytes);
        if self.header.is_none() {
            let Some(header) = self.buffer.get(..HEADER_BYTES) else {
                return Ok(());
            };
            let header = Header::decode(header)
                .ok()
                .filter(|header| header.kind == Kind::Base)
                .ok_or_else(|| invalid("it does not begin as one"))?;
            self.header = Some(header);
            self.start = HEADER_BYTES;
        }
        loop {
            let position = self.written + self.start as u64 - HEADER_BYTES as u64;
            match Record::decode(position, &self.buffer[self.start..]) {
                Ok((record, bytes)) => {
                    self.count.count(&record).map_err(invalid)?;
                    if let Some(why) = record.is_foreign() {
                        return Err(invalid(why));
                    }
                    if record.operation == Operation::End {
                        let end = record.value.get(16..24).and_then(|end| end.try_into().ok());
                        let end = end.map(u64::from_le_bytes).filter(|end| *end <= OFFSET_TAKEN_MAX);
                        let (Some(end), Some(digest)) = (end, record.digest()) else {
                            return Err(invalid("its last record does not say what it is the state at"));
                        };
                        self.end = Some((end, Digest(digest)));
                    } else {
                        let version = record.version.ok_or_else(|| invalid("a record has no version"))?;
                        each(&record, version);
                    }
                    self.start += bytes;
                    if self.start >= WRITE_BYTES {
                        self.write()?;
                    }
                }
                Err(DecodeError::Incomplete(_)) => return Ok(()),
                Err(DecodeError::Corrupt(why)) => return Err(invalid(why)),
            }
        }
    }

    /// Ends it before anything of the store was replaced: bases are made of that again.
    pub(crate) fn give_up(self) {
        self.shared.is_awaiting_snapshot.store(false, Ordering::Release);
    }

    /// What it is the state at, and the digest that it must have, once it has come to its end.
    pub(crate) fn end(&self) -> Result<(u64, Digest), SnapshotError> {
        match self.end {
            Some(end) if self.start == self.buffer.len() => Ok(end),
            Some(_) => Err(invalid("it continues after its last record")),
            None => Err(invalid("it ends before its last record")),
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        let disk = &self.shared.disk;
        disk.write_at(&self.file, &self.buffer[..self.start], self.written)
            .map_err(Error::io("cannot write", &self.temporary))?;
        self.written += self.start as u64;
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.written - self.synced >= SYNC_BYTES {
            disk.sync_data(&self.file)
                .map_err(Error::io("cannot sync", &self.temporary))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Makes it the log's new beginning. The store must hold it, and nothing else, before anybody is served
    /// from it. Returns where the log continues.
    pub(crate) fn install(mut self) -> Result<u64, SnapshotError> {
        let (end, digest) = self.end()?;
        let header = self.header.take().ok_or_else(|| invalid("it has no header"))?;
        self.write()?;
        let shared = self.shared;
        let apply = self.base_lock.apply();
        let mut writer = apply.writer();
        if self.replaces_content && self.is_kept_nowhere(&header)? {
            self.keep_replaced()?;
        }
        self.name(&header, end)?;
        shared.history.replace(header.id, header.branches);
        shared.budget.give_back(writer.drop_waiting());
        writer.set_digest(digest);
        if let Err(error) = writer.skip_forward(end) {
            // The new base is what counts now, and memory has it. The log is brought back past it as after
            // any failure.
            shared.commit.fail(&Failure::Sync(error));
        }
        shared.commit.set_position(end);
        shared.commit.set_state(end, digest);
        drop(writer);
        shared.is_awaiting_snapshot.store(false, Ordering::Release);
        let listing = shared.dir.list()?;
        shared
            .dir
            .remove(&shared.disk, listing.superseded().map(|named| named.path.clone()));
        Ok(end)
    }

    /// Whether the log that is replaced has something that neither the new one has nor a `diverged-` file: it is
    /// another store, or its histories part before its base.
    fn is_kept_nowhere(&self, header: &Header) -> Result<bool, Error> {
        let history = &self.shared.history;
        if header.id != history.id() {
            return Ok(true);
        }
        let listing = self.shared.dir.list()?;
        let base = listing.bases.last().map_or(0, |base| base.first_offset);
        Ok(fork(&history.branches(), &header.branches).is_some_and(|fork| fork < base))
    }

    /// Links the files of the log that is replaced into a directory of their own, from which they can be served.
    /// They are durable there before any of them goes from here.
    fn keep_replaced(&self) -> Result<(), Error> {
        let (disk, dir) = (&self.shared.disk, &*self.shared.dir);
        let kept = dir.replaced_path(self.shared.history.id());
        let into = disk
            .make_dir_in(dir, &kept)
            .map_err(Error::io("cannot make", &kept))?;
        for named in dir.list()?.all() {
            match disk.link(dir, &named.path, &into) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                linked => linked.map_err(Error::io("cannot keep the replaced store in", &kept))?,
            }
        }
        disk.sync_all(&into).map_err(Error::io("cannot sync", &kept))?;
        disk.sync_dir(dir).map_err(Error::io("cannot sync", dir.path()))?;
        log::warn!("the store that is replaced is kept in {}", kept.display());
        Ok(())
    }

    /// Gives the file the header of a base at `offset`, and its name.
    fn name(&mut self, header: &Header, offset: u64) -> Result<(), Error> {
        let (disk, dir) = (&self.shared.disk, &self.shared.dir);
        dir.check_place()?;
        let named = LogFile::new(dir.path(), Kind::Base, offset);
        let header = Header {
            first_offset: offset,
            ..header.clone()
        };
        let cannot = |doing| Error::io(doing, &self.temporary);
        disk.write_at(&self.file, &header.encode(), 0)
            .map_err(cannot("cannot write"))?;
        disk.sync_all(&self.file).map_err(cannot("cannot sync"))?;
        // A base of another log is a stranger to a start, unless LOCK names that log before.
        dir.announce(disk, header.id)?;
        let named = self.put_in_place(named);
        if !self.is_installed {
            // The node keeps its own log, so LOCK names that again. If this fails, a start notices less.
            let _ = dir.announce(disk, self.shared.history.id());
        }
        named
    }

    /// Gives the file the name of a base.
    fn put_in_place(&mut self, named: LogFile) -> Result<(), Error> {
        let (disk, dir, offset) = (&self.shared.disk, &self.shared.dir, named.first_offset);
        let listing = dir.list()?;
        // What a start would take for newer than this; there is some only where another store is replaced.
        let ahead = listing.all().filter(|named| named.first_offset >= offset);
        let mut ahead: Vec<_> = ahead.collect();
        ahead.sort();
        for named in ahead.into_iter().rev() {
            disk.remove(dir, &named.path)
                .map_err(Error::io("cannot remove", &named.path))?;
        }
        disk.rename(dir, &self.temporary, &named.path)
            .map_err(Error::io("cannot rename", &self.temporary))?;
        self.is_installed = true;
        disk.sync_dir(dir).map_err(Error::io("cannot sync", dir.path()))
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if !self.is_installed {
            // The next start removes it anyway.
            let _ = self.shared.disk.remove(&self.shared.dir, &self.temporary);
        }
    }
}

fn invalid(why: &str) -> SnapshotError {
    SnapshotError::Invalid(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::alone::{Alone, MapStore, files, options};
    use super::super::dir::Dir;
    use super::super::disk::{Disk, faults::Plan};
    use super::super::{Policy, Role};
    use super::*;
    use std::convert::Infallible;
    use std::path::Path;

    /// The state of another store, as it is sent, and the offset that it is the state at.
    fn sent(dir: &Path) -> (Vec<u8>, Vec<(String, String)>, u64) {
        let mut alone = Alone::primary(dir);
        for n in 0..5 {
            alone.set(&format!("key{n}"), "value");
        }
        let end = alone.delete("key3");
        alone.log.wait(end).unwrap();
        let mut bytes = Vec::new();
        let mut take = |chunk: &[u8]| {
            bytes.extend_from_slice(chunk);
            Ok::<(), Infallible>(())
        };
        alone.log.backup(&*alone.store, &mut take).unwrap();
        (bytes, alone.store.contents(), alone.log.appended())
    }

    fn replica(dir: &Path) -> Alone {
        Alone::open(&Disk::default(), dir, options(Policy::No), Role::Replica)
    }

    /// Pushes all of it in chunks, and says what its end says.
    fn push(
        snapshot: &mut Snapshot<'_>,
        chunks: &[&[u8]],
        store: &MapStore,
    ) -> Result<(u64, Digest), SnapshotError> {
        for chunk in chunks {
            snapshot.push(chunk, |record, version| store.replay(record, version))?;
        }
        snapshot.end()
    }

    #[test]
    fn a_snapshot_that_comes_byte_by_byte_becomes_the_one_base() {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (bytes, contents, at) = sent(theirs.path());
        let mut alone = replica(ours.path());
        let store = MapStore::default();
        let mut snapshot = alone.log.begin_snapshot().unwrap();
        assert!(snapshot.end().is_err(), "nothing has come");
        let chunks: Vec<_> = bytes.chunks(1).collect();
        let (end, digest) = push(&mut snapshot, &chunks, &store).unwrap();
        assert_eq!((end, digest), (at, store.digest()));
        assert_eq!(store.contents(), contents);
        assert_eq!(snapshot.install().unwrap(), end);
        alone.appender.set_next(end);
        assert_eq!(alone.log.state(), (end, digest));
        let named = |kind| vec![LogFile::new(ours.path(), kind, end).path];
        assert_eq!(files(ours.path(), "base-"), named(Kind::Base));
        assert_eq!(files(ours.path(), "log-"), named(Kind::Log));
        drop(alone);
        assert_eq!(replica(ours.path()).store.contents(), contents);
    }

    #[test]
    fn one_that_is_cut_short_or_damaged_anywhere_is_refused_and_changes_nothing() {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (bytes, ..) = sent(theirs.path());
        let alone = replica(ours.path());
        let before = files(ours.path(), "");
        let is_refused = |bytes: &[u8]| {
            let mut snapshot = alone.log.begin_snapshot().unwrap();
            push(&mut snapshot, &[bytes], &MapStore::default()).is_err()
        };
        for at in 0..bytes.len() {
            assert!(is_refused(&bytes[..at]), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(is_refused(&flipped), "flipped at {at}");
        }
        assert!(is_refused(&[&bytes[..], b"more"].concat()));
        assert!(!is_refused(&bytes));
        assert_eq!(files(ours.path(), ""), before, "no temporary file is left");
    }

    /// Until the base has its name LOCK is not to call it a stranger, and afterwards not the files that are left.
    #[test]
    fn a_crash_while_another_log_is_put_in_place_leaves_one_that_opens() {
        let theirs = tempfile::tempdir().unwrap();
        let (bytes, new, _) = sent(theirs.path());
        for old_keys in [0, 1, 20] {
            let mut seen = [false; 2];
            for at in 0.. {
                let ours = tempfile::tempdir().unwrap();
                let mut before = Alone::primary(ours.path());
                for n in 0..old_keys {
                    before.set(&format!("old{n}"), "value");
                }
                let old = before.store.contents();
                drop(before);
                let disk = Disk::default();
                let alone = Alone::open(&disk, ours.path(), options(Policy::No), Role::Replica);
                disk.faults.plan(Plan::Crash { at });
                let installed = alone.log.begin_snapshot().is_ok_and(|mut snapshot| {
                    push(&mut snapshot, &[&bytes], &MapStore::default()).is_ok() && snapshot.install().is_ok()
                });
                let made = disk.faults.made();
                drop(alone);
                let found = replica(ours.path()).store.contents();
                assert!(
                    found == new || found == old,
                    "{old_keys} keys, operation {at}: {found:?}"
                );
                assert!(found == new || !installed, "{old_keys} keys, operation {at}");
                seen[usize::from(found == new)] = true;
                let marked = Dir::open(ours.path()).unwrap();
                marked.check_no_stranger(&marked.list().unwrap()).unwrap();
                if made <= at {
                    break;
                }
            }
            assert_eq!(seen, [true, true]);
        }
    }

    #[test]
    fn no_base_is_made_of_a_store_that_waits_for_a_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let mut alone = Alone::primary(dir.path());
        alone.set("a", "1");
        drop(alone.log.begin_snapshot().unwrap());
        assert!(alone.log.shared.is_awaiting_snapshot());
        let read = MapStore::default();
        let end = alone.log.reload(|record, version| read.replay(record, version));
        assert_eq!(end.unwrap(), alone.log.appended());
        assert_eq!(read.contents(), alone.store.contents());
        assert!(!alone.log.shared.is_awaiting_snapshot());
        alone.log.begin_snapshot().unwrap().give_up();
        assert!(!alone.log.shared.is_awaiting_snapshot());
    }
}
