//! The data directory: who has it open, and how a file in it comes to be.
//!
//! ```text
//! LOCK                      locked by the process that has the directory open; names the log: see `lock`
//! base-<offset>.pykv        the state at an offset
//! log-<offset>.pykv         a segment of the log, by its first offset
//! damaged-<offset>.pykv     what `pykv check --repair` took out of a file, byte for byte
//! diverged-<term>-<offset>.pykv  a stretch of the log that is no part of its history: see `replication`
//! replaced-<id>/            a store that this one has taken the place of: see `replication`
//! ROLE                      what the node is in its cluster, where that is not plain
//! RESERVE                   room on a disk that is nearly full: see `disk_space`
//! *.tmp                     a file that was being made when the process ended; removed at the next start
//! ```
//!
//! # What must hold
//! - Once open, the directory is reached by its descriptor and never again by its path: whatever is put in its
//!   place later, no file of that is touched.
//! - The directory itself is locked, and LOCK too: a process that finds no LOCK still finds the lock.
//! - Directories and files that are made here are for the owner alone, whatever the umask.

use super::dir_handle::DirHandle;
use super::disk::Disk;
use super::error::Error;
use super::file_reader::FileReader;
use super::header::Header;
use super::listing::{Listing, LogFile};
use super::lock::Lock;
use super::term::LogId;
use crate::system;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open data directory. Unlocked when dropped, or when the process ends in whatever way.
///
/// What is done with files in it alone stands in [`DirHandle`], which this is as well.
pub(super) struct Dir {
    handle: DirHandle,
    lock: Lock,
}

impl Deref for Dir {
    type Target = DirHandle;

    fn deref(&self) -> &DirHandle {
        &self.handle
    }
}

impl Dir {
    /// Locks a directory that is there, to change what is in it.
    pub(super) fn open(path: &Path) -> Result<Dir, Error> {
        let file = File::open(path).map_err(Error::io("cannot open", path))?;
        Dir::lock(path, file, Lock::take)
    }

    /// Locks a directory that is there, as far as one may that cannot be written, and changes nothing.
    pub(super) fn open_to_read(path: &Path) -> Result<Dir, Error> {
        let file = File::open(path).map_err(Error::io("cannot open", path))?;
        Dir::lock(path, file, Lock::take_to_read)
    }

    /// Makes the directory where it is not there, and locks it.
    pub(super) fn open_or_create(disk: &Disk, path: &Path) -> Result<Dir, Error> {
        disk.make_dirs(path).map_err(Error::io("cannot make", path))?;
        Dir::open(path)
    }

    fn lock(
        path: &Path,
        file: File,
        take: impl FnOnce(&Path, &File) -> Result<Lock, Error>,
    ) -> Result<Dir, Error> {
        let lock = take(path, &file)?;
        Ok(Dir {
            handle: DirHandle::new(path, file),
            lock,
        })
    }

    pub(super) fn lock_file(&self) -> &Lock {
        &self.lock
    }

    /// Bytes of files, as far as they are there.
    pub(super) fn files_bytes<'a>(&self, files: impl Iterator<Item = &'a LogFile>) -> u64 {
        files.filter_map(|named| self.file_bytes(&named.path).ok()).sum()
    }

    /// What is in it.
    pub(super) fn list(&self) -> Result<Listing, Error> {
        let cannot = |error: rustix::io::Errno| Error::io("cannot list", self.path())(error.into());
        let entries = rustix::fs::Dir::read_from(self.file()).map_err(cannot)?;
        let paths = entries.map(|entry| {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            Ok(self.path().join(name))
        });
        Listing::of(paths).map_err(Error::io("cannot list", self.path()))
    }

    /// Makes a file so that it is there whole or not at all: `write` fills a temporary one, which is synced,
    /// renamed, and the directory synced. A failure leaves at most the temporary file.
    pub(super) fn make(
        &self,
        disk: &Disk,
        path: &Path,
        write: impl FnOnce(&File) -> Result<(), Error>,
    ) -> Result<File, Error> {
        let temporary = path.with_extension("tmp");
        let file = disk
            .create(self, &temporary)
            .map_err(Error::io("cannot create", &temporary))?;
        let made = write(&file).and_then(|()| {
            disk.sync_all(&file)
                .map_err(Error::io("cannot sync", &temporary))?;
            disk.rename(self, &temporary, path)
                .map_err(Error::io("cannot rename", &temporary))?;
            disk.sync_dir(self).map_err(Error::io("cannot sync", self.path()))
        });
        if let Err(error) = made {
            // On a full disk, room matters more than the leftover; the next start removes it anyway.
            let _ = disk.remove(self, &temporary);
            return Err(error);
        }
        Ok(file)
    }

    /// Removes files that nothing needs any more. One that stays is no harm: it is said, and tried again at
    /// the next start.
    pub(super) fn remove(&self, disk: &Disk, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            if let Err(error) = disk.remove(self, &path) {
                log::warn!("cannot remove {}: {}", path.display(), system::words(&error));
            }
        }
    }
}

/// Whether a process has a directory open.
pub(crate) fn is_open(path: &Path) -> bool {
    path.is_dir() && matches!(Dir::open_to_read(path), Err(Error::Locked { .. }))
}

/// Whether the directory is still this node's: asked now and then, and before anything is built on it.
impl Dir {
    /// An error where the path no longer leads to the directory that is open, or LOCK is another file.
    pub(super) fn check_place(&self) -> Result<(), Error> {
        let here = self
            .file()
            .metadata()
            .map_err(Error::io("cannot look at", self.path()))?;
        match std::fs::metadata(self.path()) {
            Ok(there) if (there.dev(), there.ino()) == (here.dev(), here.ino()) => {}
            Ok(_) => return Err(self.moved("another directory is in its place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.moved("it is no longer there"));
            }
            // The error says nothing about the directory, which is open.
            Err(error) => log::debug!("cannot look at {}: {error}", self.path().display()),
        }
        self.lock.check(self.path(), self.file())
    }

    /// An error where a file in it is not this log's: of another log, or of an offset past `end`, the
    /// farthest that this log goes.
    pub(super) fn check_own(&self, listing: &Listing, id: LogId, end: u64) -> Result<(), Error> {
        let header_of = |named: &LogFile| FileReader::header_in(self, named).ok();
        self.check_ahead(listing, end)?;
        let is_own =
            |named: &LogFile, header: &Header| header.id == id && header.first_offset == named.first_offset;
        let own_base = listing
            .bases
            .iter()
            .rev()
            .find(|base| header_of(base).is_some_and(|header| is_own(base, &header)));
        // What a base of this log has made superfluous may be of the log that it was a copy of before.
        let from = own_base.map_or(0, |base| base.first_offset);
        for named in listing.all().filter(|named| named.first_offset >= from) {
            if let Some(header) = header_of(named)
                && !is_own(named, &header)
            {
                let what = if header.id == id {
                    "part of this log"
                } else {
                    "log"
                };
                return Err(self.displaced(format!(
                    "{} is of another {what}; no file is touched until that one is moved away",
                    named.path.display()
                )));
            }
        }
        Ok(())
    }

    /// An error where a file in it is of an offset past `end`.
    pub(super) fn check_ahead(&self, listing: &Listing, end: u64) -> Result<(), Error> {
        match listing.all().find(|named| named.first_offset > end) {
            None => Ok(()),
            Some(named) => Err(self.displaced(format!(
                "{} is of a later offset than this node has written; no file is touched until that one is moved away",
                named.path.display()
            ))),
        }
    }

    fn moved(&self, why: &str) -> Error {
        self.displaced(format!(
            "{why}; no file is touched until the directory that was opened is back in its place"
        ))
    }

    fn displaced(&self, why: String) -> Error {
        Error::Displaced {
            dir: self.path().to_path_buf(),
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = Dir::open(dir.path()).unwrap();
        assert!(matches!(Dir::open(dir.path()), Err(Error::Locked { .. })));
        std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        assert!(
            matches!(Dir::open(dir.path()), Err(Error::Locked { .. })),
            "the directory is locked as well"
        );
        drop(first);
        Dir::open(dir.path()).unwrap();
    }

    #[test]
    fn what_is_put_in_its_place_is_noticed_and_not_touched() {
        let home = tempfile::tempdir().unwrap();
        let (path, aside) = (home.path().join("d"), home.path().join("aside"));
        let disk = Disk::default();
        let dir = Dir::open_or_create(&disk, &path).unwrap();
        dir.check_place().unwrap();
        std::fs::rename(&path, &aside).unwrap();
        assert!(matches!(dir.check_place(), Err(Error::Displaced { .. })));
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(dir.check_place(), Err(Error::Displaced { .. })));
        dir.make(&disk, &path.join("f"), |_| Ok(())).unwrap();
        assert!(aside.join("f").exists() && !path.join("f").exists());
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        dir.check_place().unwrap();

        let lock = path.join("LOCK");
        std::fs::remove_file(&lock).unwrap();
        dir.check_place().unwrap();
        assert!(lock.exists(), "it is made again where nobody else has it");
        std::fs::remove_file(&lock).unwrap();
        std::fs::write(&lock, "").unwrap();
        assert!(matches!(dir.check_place(), Err(Error::Displaced { .. })));
    }
}
