//! LOCK: who has a data directory open, and which log is to be found in it.
//!
//! The file is locked, and so is the directory itself, which nobody can take away: LOCK may be deleted by hand.
//! It is empty until the log has its first segment. From then on it is a line of fixed length,
//!
//! ```text
//! <id of the log: 32 hexadecimal digits> <first offset of the last segment: 20 digits, or 20 times -> <crc32: 8 digits>
//! ```
//!
//! so that a log whose files are gone, or whose last segment is, is not taken for a new one, or a whole one.
//!
//! # What must hold
//! - The segment that LOCK names has been in the directory, and it may be missing only where a base of a higher
//!   offset is there. So it is named after it was made, and named no longer before it is removed.
//! - A line that is cut short or whose checksum is wrong says nothing, and nothing follows from it: a process
//!   that is stopped in the middle of a first start leaves an empty LOCK.

use super::dir::{Dir, Listing, Named, identity_of_stat};
use super::disk::Disk;
use super::error::Error;
use super::file_reader::FileReader;
use super::header::Kind;
use super::regular;
use super::term::LogId;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, statat};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

const NAME: &str = "LOCK";

/// The line, in bytes.
const LINE_BYTES: usize = 32 + 1 + 20 + 1 + 8 + 1;

/// Which log a directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: LogId,
    /// The first offset of its last segment, where that is certain.
    pub(super) last_segment: Option<u64>,
}

impl Mark {
    fn encode(&self) -> String {
        let segment = match self.last_segment {
            Some(offset) => format!("{offset:020}"),
            None => "-".repeat(20),
        };
        let text = format!("{} {segment}", self.id);
        format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    fn decode(line: &[u8]) -> Option<Mark> {
        let line = std::str::from_utf8(line)
            .ok()
            .filter(|line| line.len() == LINE_BYTES)?;
        let mut words = line.split_ascii_whitespace();
        let id = LogId::from_hex(words.next()?)?;
        let last_segment = words.next()?.parse().ok();
        let mark = Mark { id, last_segment };
        (mark.encode() == line).then_some(mark)
    }
}

/// The lock of an open directory. Let go of when dropped.
pub(super) struct Lock {
    /// None only where a directory that is read alone has no LOCK.
    file: Mutex<Option<File>>,
}

impl Lock {
    /// Locks a directory, and LOCK in it, which is made where it is not there.
    pub(super) fn take(path: &Path, dir: &File) -> Result<Lock, Error> {
        lock_dir(path, dir)?;
        let file =
            open(dir, OFlags::RDWR | OFlags::CREATE).map_err(Error::io("cannot open", &path.join(NAME)))?;
        lock_file(path, &file)?;
        Ok(Lock::of(Some(file)))
    }

    /// As [`Lock::take`], for who changes nothing: makes no LOCK, and needs none.
    pub(super) fn take_to_read(path: &Path, dir: &File) -> Result<Lock, Error> {
        lock_dir(path, dir)?;
        let file = match open(dir, OFlags::RDONLY) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("cannot open", &path.join(NAME))(error)),
        };
        if let Some(file) = &file {
            lock_file(path, file)?;
        }
        Ok(Lock::of(file))
    }

    fn of(file: Option<File>) -> Lock {
        Lock {
            file: Mutex::new(file),
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().expect("nothing under the lock of LOCK panics")
    }

    /// An error where LOCK is not the file that is locked here. One that was deleted is made again, unless
    /// somebody else was quicker.
    pub(super) fn check(&self, path: &Path, dir: &File) -> Result<(), Error> {
        let mut file = self.file();
        let Some(locked) = file.as_ref().and_then(|file| file.metadata().ok()) else {
            return Ok(());
        };
        let replaced = || Error::Displaced {
            dir: path.to_path_buf(),
            why: "its file LOCK is another one: another process may have the store open".to_owned(),
        };
        match statat(dir, NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if identity_of_stat(&found) == (locked.dev(), locked.ino()) => Ok(()),
            Err(Errno::NOENT) => {
                let made = open(dir, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).map_err(|_| replaced())?;
                made.try_lock().map_err(|_| replaced())?;
                ::log::warn!(
                    "{} was deleted; made it again. It is no sign of a process that has gone: leave it there",
                    path.join(NAME).display()
                );
                let line = file.as_ref().and_then(read).map(|mark| mark.encode());
                if let Some(line) = line {
                    let _ = made.write_all_at(line.as_bytes(), 0); // Without it less is noticed at a start.
                }
                *file = Some(made);
                Ok(())
            }
            _ => Err(replaced()),
        }
    }

    /// Which log the directory has, as far as LOCK says.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.file().as_ref().and_then(read)
    }
}

impl Dir {
    /// Names the log and its last segment, which is durable. Where that fails, less is noticed at a start.
    pub(super) fn set_mark(&self, disk: &Disk, mark: Mark) {
        if self.lock_file().mark() == Some(mark) {
            return;
        }
        if let Err(error) = self.write_mark(disk, mark) {
            ::log::debug!("cannot write {}: {error}", self.path().join(NAME).display());
        }
    }

    /// Names the last segment no longer: it may be removed once this has returned.
    pub(super) fn forget_last_segment(&self, disk: &Disk) -> Result<(), Error> {
        let Some(mark) = self.lock_file().mark().filter(|mark| mark.last_segment.is_some()) else {
            return Ok(());
        };
        let mark = Mark {
            last_segment: None,
            ..mark
        };
        let path = self.path().join(NAME);
        self.write_mark(disk, mark)
            .map_err(Error::io("cannot write", &path))?;
        match &*self.lock_file().file() {
            Some(file) => disk.sync_data(file).map_err(Error::io("cannot sync", &path)),
            None => Ok(()),
        }
    }

    /// An error where the directory bears marks of a store, and is asked because it has no file of a log.
    pub(super) fn check_is_new(&self) -> Result<(), Error> {
        let lost = |why: String| Error::Lost {
            dir: self.path().to_path_buf(),
            why,
            remedy: "restore it from a copy, or begin with an empty store by --new-store".to_owned(),
        };
        if let Some(mark) = self.lock_file().mark() {
            return Err(lost(format!(
                "LOCK names the log {}, and no file of it is there",
                mark.id
            )));
        }
        if self.exists(&self.path().join("ROLE")) {
            let why = "ROLE says what the node was in its cluster, and no file of its log is there";
            return Err(lost(why.to_owned()));
        }
        Ok(())
    }

    /// An error where the segment that LOCK names as the last one is missing.
    pub(super) fn check_last_segment(&self, listing: &Listing) -> Result<(), Error> {
        let Some(mark) = self.lock_file().mark() else {
            return Ok(());
        };
        let Some(offset) = mark.last_segment else {
            return Ok(());
        };
        let is_there = listing
            .segments
            .iter()
            .any(|segment| segment.first_offset == offset);
        let is_superseded = listing
            .bases
            .last()
            .is_some_and(|base| base.first_offset > offset);
        // Files of another log were put here by hand; LOCK says nothing of them.
        let is_of_this_log = || {
            let first = listing.current().next();
            let first = first.and_then(|first| FileReader::open_in(self, first).ok());
            first.is_none_or(|first| first.header().id == mark.id)
        };
        if is_there || is_superseded || !is_of_this_log() {
            return Ok(());
        }
        let missing = Named::new(self.path(), Kind::Log, offset);
        let dir = self.path().display();
        Err(Error::Lost {
            dir: self.path().to_path_buf(),
            why: format!(
                "{}, which LOCK names as the end of the log, is missing",
                missing.path.display()
            ),
            remedy: format!(
                "put it back, or `pykv check --dir {dir} --repair` lets the log end before it: what it held is lost then"
            ),
        })
    }

    fn write_mark(&self, disk: &Disk, mark: Mark) -> io::Result<()> {
        match &*self.lock_file().file() {
            Some(file) => disk.write_at(file, mark.encode().as_bytes(), 0),
            None => Ok(()),
        }
    }
}

fn open(dir: &File, flags: OFlags) -> io::Result<File> {
    // Not by way of a link, and not waiting for the other end of a pipe.
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    regular::checked(openat(dir, NAME, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn lock_dir(path: &Path, dir: &File) -> Result<(), Error> {
    match flock(dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(locked(path)),
        // Not every file system has locks for directories; LOCK is locked as well.
        Err(error) => {
            ::log::debug!("cannot lock {}: {error}", path.display());
            Ok(())
        }
    }
}

fn lock_file(path: &Path, file: &File) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(locked(path)),
        Err(TryLockError::Error(error)) => Err(Error::io("cannot lock", &path.join(NAME))(error)),
    }
}

fn locked(path: &Path) -> Error {
    Error::Locked {
        dir: path.to_path_buf(),
    }
}

fn read(file: &File) -> Option<Mark> {
    let mut line = [0; LINE_BYTES];
    file.read_exact_at(&mut line, 0).ok()?;
    Mark::decode(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_no_other() {
        let id = LogId::from_hex("000102030405060708090a0b0c0d0e0f").unwrap();
        for last_segment in [None, Some(0), Some(4_294_967_396), Some(u64::MAX)] {
            let mark = Mark { id, last_segment };
            let line = mark.encode();
            assert_eq!(line.len(), LINE_BYTES);
            assert_eq!(Mark::decode(line.as_bytes()), Some(mark));
            for at in 0..line.len() {
                let mut flipped = line.clone().into_bytes();
                flipped[at] ^= 1;
                assert_eq!(Mark::decode(&flipped), None, "byte {at}");
                assert_eq!(Mark::decode(&line.as_bytes()[..at]), None, "cut at {at}");
            }
        }
        assert_eq!(
            Mark {
                id,
                last_segment: Some(42)
            }
            .encode(),
            "000102030405060708090a0b0c0d0e0f 00000000000000000042 5047aa84\n"
        );
    }
}
