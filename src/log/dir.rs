//! The data directory: what its files are called, who has it open, and how a file comes to be.
//!
//! ```text
//! LOCK                      held by the process that has the directory open
//! base-<offset>.pykv        the state at an offset
//! log-<offset>.pykv         a segment of the log, by its first offset
//! damaged-<offset>.pykv     what `pykv check --repair` took out of a file, byte for byte
//! diverged-<term>-<offset>.pykv  a stretch of the log that is no part of its history: see `replication`
//! ROLE                      what the node is in its cluster, where that is not plain
//! *.tmp                     a file that was being made when the process ended; removed at the next start
//! ```
//!
//! Offsets in names have 20 digits, so that names sort as their offsets do.

use super::disk::Disk;
use super::error::Error;
use super::header::{HEADER_BYTES, Header, HeaderError, Kind};
use super::regular;
use crate::store::VERSION_MAX;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file of the log, as its name tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) first_offset: u64,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
}

impl Named {
    pub(super) fn new(dir: &Path, kind: Kind, first_offset: u64) -> Named {
        let path = dir.join(format!("{}-{first_offset:020}.pykv", kind.name()));
        Named {
            first_offset,
            kind,
            path,
        }
    }

    /// What a path's name says it is; `None` for files that are none of the log's.
    pub(super) fn from_path(path: &Path) -> Option<Named> {
        let (kind, offset) = path
            .file_name()?
            .to_str()?
            .strip_suffix(".pykv")?
            .split_once('-')?;
        let kind = [Kind::Base, Kind::Log].into_iter().find(|of| of.name() == kind)?;
        let digits = offset.len() == 20 && offset.bytes().all(|byte| byte.is_ascii_digit());
        let first_offset = offset
            .parse()
            .ok()
            .filter(|offset| digits && *offset <= VERSION_MAX)?;
        Some(Named {
            first_offset,
            kind,
            path: path.to_path_buf(),
        })
    }
}

impl Named {
    /// A file by itself: by its name where that is one of the log's, else by its header.
    pub(super) fn of_file(path: &Path) -> Result<Named, Error> {
        if let Some(named) = Named::from_path(path) {
            return Ok(named);
        }
        let no_store = |why| Error::NoStore {
            path: path.to_path_buf(),
            why,
        };
        if !path.exists() {
            return Err(no_store("it is not there"));
        }
        let mut bytes = Vec::new();
        regular::open(path)
            .and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut bytes))
            .map_err(Error::io("cannot read", path))?;
        match Header::decode(&bytes) {
            Ok(header) => Ok(Named {
                first_offset: header.first_offset,
                kind: header.kind,
                path: path.to_path_buf(),
            }),
            Err(HeaderError::Version(found)) => Err(Error::Version {
                path: path.to_path_buf(),
                found,
            }),
            Err(HeaderError::Damaged(_)) => Err(no_store(
                "it is no backup, base or segment, or its header is damaged",
            )),
        }
    }
}

/// Bases and segments of a directory, each by ascending offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) bases: Vec<Named>,
    pub(super) segments: Vec<Named>,
    /// Leftovers of a process that ended while it made a file.
    pub(super) temporary: Vec<PathBuf>,
}

impl Listing {
    pub(super) fn read(dir: &Path) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for entry in std::fs::read_dir(dir).map_err(Error::io("cannot list", dir))? {
            let path = entry.map_err(Error::io("cannot list", dir))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                listing.temporary.push(path);
                continue;
            }
            match Named::from_path(&path) {
                Some(named) if named.kind == Kind::Base => listing.bases.push(named),
                Some(named) => listing.segments.push(named),
                None => {}
            }
        }
        listing.bases.sort();
        listing.segments.sort();
        Ok(listing)
    }

    /// Leaves a file out.
    pub(super) fn forget(&mut self, named: &Named) {
        self.bases.retain(|other| other != named);
        self.segments.retain(|other| other != named);
    }

    /// What a recovery reads: the newest base, if there is one, and the segments from its offset on.
    pub(super) fn current(&self) -> impl Iterator<Item = &Named> {
        let base = self.bases.last();
        let from = base.map_or(0, |base| base.first_offset);
        base.into_iter().chain(
            self.segments
                .iter()
                .filter(move |segment| segment.first_offset >= from),
        )
    }

    /// Bases and segments.
    pub(super) fn all(&self) -> impl Iterator<Item = &Named> {
        self.bases.iter().chain(&self.segments)
    }

    /// What a newer base has made superfluous, but for the latest segments that together have at least
    /// `backlog_bytes`.
    /// Also kept is what is needed to read on from `read_from`.
    pub(super) fn dispensable(&self, backlog_bytes: u64, read_from: Option<u64>) -> Vec<PathBuf> {
        let from = self.bases.last().map_or(0, |base| base.first_offset);
        let is_read = |at: usize| {
            let end = self
                .segments
                .get(at + 1)
                .map_or(u64::MAX, |next| next.first_offset);
            read_from.is_some_and(|read_from| end > read_from)
        };
        let mut kept_bytes = 0;
        let segments = self.segments.iter().enumerate().rev().filter(|(at, named)| {
            if named.first_offset >= from || is_read(*at) {
                return false;
            }
            let is_enough = kept_bytes >= backlog_bytes;
            if !is_enough {
                kept_bytes += std::fs::metadata(&named.path).map_or(0, |metadata| metadata.len());
            }
            is_enough
        });
        let segments: Vec<&Named> = segments.map(|(_, named)| named).collect();
        let bases = self.bases.iter().filter(|named| named.first_offset < from);
        // The oldest first: what is left has no hole, wherever it ends.
        bases
            .chain(segments.into_iter().rev())
            .map(|named| named.path.clone())
            .collect()
    }

    /// What a newer base has made superfluous.
    pub(super) fn superseded(&self) -> impl Iterator<Item = &Named> {
        let from = self.bases.last().map_or(0, |base| base.first_offset);
        self.bases
            .iter()
            .chain(&self.segments)
            .filter(move |file| file.first_offset < from)
    }
}

/// An open data directory. Unlocked when dropped, or when the process ends in whatever way.
pub(super) struct Dir {
    path: PathBuf,
    _lock: File,
}

impl Dir {
    /// Locks a directory that is there.
    pub(super) fn open(path: &Path) -> Result<Dir, Error> {
        let lock_path = path.join("LOCK");
        let mut options = OpenOptions::new();
        let lock = regular::open_as(options.write(true).create(true).truncate(false), &lock_path)
            // Enough to lock it: a check needs no more.
            .or_else(|_| regular::open(&lock_path));
        let lock = lock.map_err(Error::io("cannot open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Dir {
                path: path.to_path_buf(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                dir: path.to_path_buf(),
            }),
            Err(TryLockError::Error(error)) => Err(Error::io("cannot lock", &lock_path)(error)),
        }
    }

    /// Makes the directory where it is not there, and locks it.
    pub(super) fn open_or_create(path: &Path) -> Result<Dir, Error> {
        std::fs::create_dir_all(path).map_err(Error::io("cannot make", path))?;
        Dir::open(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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
            .create(&temporary)
            .map_err(Error::io("cannot create", &temporary))?;
        let made = write(&file).and_then(|()| {
            disk.sync_all(&file)
                .map_err(Error::io("cannot sync", &temporary))?;
            disk.rename(&temporary, path)
                .map_err(Error::io("cannot rename", &temporary))?;
            disk.sync_dir(&self.path)
                .map_err(Error::io("cannot sync", &self.path))
        });
        if let Err(error) = made {
            // On a full disk, room matters more than the leftover; the next start removes it anyway.
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        Ok(file)
    }

    /// Removes files that nothing needs any more. One that stays is no harm: it is said, and tried again at
    /// the next start.
    pub(super) fn remove(&self, disk: &Disk, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            if let Err(error) = disk.remove(&path) {
                ::log::warn!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        let named = Named::new(Path::new("d"), Kind::Log, 42);
        assert_eq!(named.path, Path::new("d/log-00000000000000000042.pykv"));
        assert_eq!(Named::from_path(&named.path), Some(named));
        for other in [
            "log-42.pykv",
            "log-00000000000000000042",
            "LOCK",
            "log-+0000000000000000042.pykv",
        ] {
            assert_eq!(Named::from_path(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_second_opening_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = Dir::open(dir.path()).unwrap();
        assert!(matches!(Dir::open(dir.path()), Err(Error::Locked { .. })));
        drop(first);
        Dir::open(dir.path()).unwrap();
    }
}
