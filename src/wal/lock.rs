//! LOCK: who has a data directory open, and which log is to be found in it.
//!
//! The file is locked, and so is the directory itself, which nobody can take away: LOCK may be deleted by hand.
//! It is empty until the log has its first segment. From then on it is a line of fixed length,
//!
//! ```text
//! <id of the log: 32 hexadecimal digits> <first offset of the last segment> <offset it was closed at> <crc32: 8 digits>
//! ```
//!
//! so that a log whose files are gone, or whose end is, is not taken for a new one, or a complete one. Each offset
//! has 20 digits, or is 20 times `-` where it is not known.
//!
//! # What must hold
//! - The segment that LOCK names has been in the directory, and it may be missing only where a base of a higher
//!   offset is there. So it is named after it was made, and named no longer before it is removed.
//! - The log was durable up to where it was closed. That stays true while it grows, so a start need not take it back;
//!   whoever makes the log shorter does, before.
//! - The log that LOCK names is the one that the directory is of, as soon as a file of it is there: so it is named
//!   before another log is put in this one's place, and what else is there is a stranger.
//! - A line that is cut short or whose checksum is wrong says that there was a store, and no more: a process that is
//!   stopped in the middle of a first start leaves an empty LOCK.

use super::dir_handle::identity_of_stat;
use super::disk::Disk;
use super::error::Error;
use super::regular;
use super::term::LogId;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, statat};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Its name.
pub(super) const NAME: &str = "LOCK";

/// The line, in bytes.
const LINE_BYTES: usize = 32 + 2 * (1 + 20) + 1 + 8 + 1;

/// Which log a directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: LogId,
    /// The first offset of its last segment, where that is certain.
    pub(super) last_segment: Option<u64>,
    /// How far it reached when that segment was closed in order, except for the record that says so.
    pub(super) closed_at: Option<u64>,
}

impl Mark {
    fn encode(&self) -> String {
        let digits = |offset: Option<u64>| match offset {
            Some(offset) => format!("{offset:020}"),
            None => "-".repeat(20),
        };
        let text = format!(
            "{} {} {}",
            self.id,
            digits(self.last_segment),
            digits(self.closed_at)
        );
        format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    fn decode(line: &[u8]) -> Option<Mark> {
        let line = std::str::from_utf8(line)
            .ok()
            .filter(|line| line.len() == LINE_BYTES)?;
        let mut words = line.split_ascii_whitespace();
        let id = LogId::from_hex(words.next()?)?;
        let mark = Mark {
            id,
            last_segment: words.next()?.parse().ok(),
            closed_at: words.next()?.parse().ok(),
        };
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
            why: format!(
                "its file LOCK is not the one that this node has locked, as if a copy had taken its place; no file is \
                 touched until {} is removed, which the node makes again. Do not remove it if another process has the \
                 store open",
                path.join(NAME).display()
            ),
        };
        match statat(dir, NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if identity_of_stat(&found) == (locked.dev(), locked.ino()) => Ok(()),
            Err(Errno::NOENT) => {
                let made = open(dir, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).map_err(|_| replaced())?;
                made.try_lock().map_err(|_| replaced())?;
                log::warn!(
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
            Ok(_) => Err(replaced()),
            // The error says nothing about the file, which is open and locked.
            Err(error) => {
                log::debug!("cannot look at {}: {error}", path.join(NAME).display());
                Ok(())
            }
        }
    }

    /// Which log the directory has, as far as LOCK says.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.file().as_ref().and_then(read)
    }

    /// Whether it says something that cannot be read: there was a store then.
    pub(super) fn is_unreadable(&self) -> bool {
        let file = self.file();
        let has_bytes = |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        file.as_ref()
            .is_some_and(|file| has_bytes(file) && read(file).is_none())
    }

    /// Writes which log it has.
    pub(super) fn write(&self, disk: &Disk, mark: Mark) -> io::Result<()> {
        match &*self.file() {
            Some(file) => disk.write_at(file, mark.encode().as_bytes(), 0),
            None => Ok(()),
        }
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self, disk: &Disk) -> io::Result<()> {
        match &*self.file() {
            Some(file) => disk.sync_data(file),
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
            log::debug!("cannot lock {}: {error}", path.display());
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
        for offset in [None, Some(0), Some(4_294_967_396), Some(u64::MAX)] {
            let mark = Mark {
                id,
                last_segment: offset,
                closed_at: offset,
            };
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
        let mark = Mark {
            id,
            last_segment: Some(42),
            closed_at: Some(99),
        };
        assert_eq!(
            mark.encode(),
            "000102030405060708090a0b0c0d0e0f 00000000000000000042 00000000000000000099 20c8580a\n"
        );
    }
}
