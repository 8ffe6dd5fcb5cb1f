//! What the files of a data directory are called, and which of them count.
//!
//! Offsets in names have 20 digits, so that names sort as their offsets do.

use super::dir_handle::DirHandle;
use super::error::Error;
use super::header::{HEADER_BYTES, Header, HeaderError, Kind};
use super::regular;
use crate::record::OFFSET_MAX;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file of the log, as its name describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogFile {
    pub(super) first_offset: u64,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
}

impl LogFile {
    pub(super) fn new(dir: &Path, kind: Kind, first_offset: u64) -> LogFile {
        let path = dir.join(format!("{}-{first_offset:020}.pykv", kind.name()));
        LogFile {
            first_offset,
            kind,
            path,
        }
    }

    /// What a path's name says it is; `None` for files that are none of the log's.
    pub(super) fn from_path(path: &Path) -> Option<LogFile> {
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
            .filter(|offset| digits && *offset <= OFFSET_MAX)?;
        Some(LogFile {
            first_offset,
            kind,
            path: path.to_path_buf(),
        })
    }
}

impl LogFile {
    /// A file by itself: by its name where that is one of the log's, else by its header.
    pub(super) fn of_file(path: &Path) -> Result<LogFile, Error> {
        if let Some(named) = LogFile::from_path(path) {
            return Ok(named);
        }
        let no_store = |why| Error::NoStore {
            path: path.to_path_buf(),
            why,
        };
        if !path.exists() {
            return Err(no_store(match path == Path::new("-") {
                true => "a file is read by its name, and not from standard input",
                false => "No such file or directory",
            }));
        }
        if path.is_dir() {
            return Err(no_store("it is a directory, and no backup, base or segment"));
        }
        let mut bytes = Vec::new();
        regular::open(path)
            .and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut bytes))
            .map_err(Error::io("cannot read", path))?;
        match Header::decode(&bytes) {
            Ok(header) => Ok(LogFile {
                first_offset: header.first_offset,
                kind: header.kind,
                path: path.to_path_buf(),
            }),
            Err(HeaderError::Version(found)) => Err(Error::Version {
                path: path.to_path_buf(),
                found,
            }),
            Err(HeaderError::Damaged(why)) if Kind::may_begin(&bytes) => Err(Error::IncompleteBackup {
                path: path.to_path_buf(),
                file_position: 0,
                why: match bytes.is_empty() {
                    true => "the file is empty".to_owned(),
                    false => why.to_owned(),
                },
            }),
            Err(HeaderError::Damaged(_)) => Err(no_store(
                "it is no backup, base or segment of pykv; `pykv import` reads JSON lines",
            )),
        }
    }
}

/// How much of the log is kept that is older than its base, in bytes: whole files, the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    AtLeast(u64),
    AtMost(u64),
}

/// Bases and segments of a directory, each by ascending offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) bases: Vec<LogFile>,
    pub(super) segments: Vec<LogFile>,
    /// Leftovers of a process that ended while it made a file.
    pub(super) temporary: Vec<PathBuf>,
}

impl Listing {
    /// That of a directory that may be open elsewhere.
    pub(super) fn read(dir: &Path) -> Result<Listing, Error> {
        let entries = std::fs::read_dir(dir).map_err(Error::io("cannot list", dir))?;
        Listing::of(entries.map(|entry| entry.map(|entry| entry.path())))
            .map_err(Error::io("cannot list", dir))
    }

    /// That of these paths, all of one directory.
    pub(super) fn of(paths: impl Iterator<Item = io::Result<PathBuf>>) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for path in paths {
            let path = path?;
            if path.extension().is_some_and(|extension| extension == "tmp") {
                listing.temporary.push(path);
                continue;
            }
            match LogFile::from_path(&path) {
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
    pub(super) fn forget(&mut self, named: &LogFile) {
        self.bases.retain(|other| other != named);
        self.segments.retain(|other| other != named);
    }

    /// What a recovery reads: the newest base, if there is one, and the segments from its offset on.
    pub(super) fn current(&self) -> impl Iterator<Item = &LogFile> {
        let base = self.bases.last();
        let from = base.map_or(0, |base| base.first_offset);
        base.into_iter().chain(
            self.segments
                .iter()
                .filter(move |segment| segment.first_offset >= from),
        )
    }

    /// Bases and segments.
    pub(super) fn all(&self) -> impl Iterator<Item = &LogFile> {
        self.bases.iter().chain(&self.segments)
    }

    /// What a newer base has made superfluous, except for a backlog of the latest segments.
    /// Also kept is what is needed to read on from `read_from`.
    pub(super) fn dispensable(
        &self,
        dir: &DirHandle,
        backlog: Backlog,
        read_from: Option<u64>,
    ) -> Vec<PathBuf> {
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
            let with_it = || kept_bytes + dir.file_bytes(&named.path).unwrap_or(0);
            let is_enough = match backlog {
                Backlog::AtLeast(bytes) => kept_bytes >= bytes,
                Backlog::AtMost(bytes) => with_it() > bytes,
            };
            // Behind one that goes none stays: the log has no holes.
            kept_bytes = match is_enough {
                true => u64::MAX / 2,
                false => with_it(),
            };
            is_enough
        });
        let segments: Vec<&LogFile> = segments.map(|(_, named)| named).collect();
        let bases = self.bases.iter().filter(|named| named.first_offset < from);
        // The oldest first: what is left has no hole, wherever it ends.
        bases
            .chain(segments.into_iter().rev())
            .map(|named| named.path.clone())
            .collect()
    }

    /// What a newer base has made superfluous.
    pub(super) fn superseded(&self) -> impl Iterator<Item = &LogFile> {
        let from = self.bases.last().map_or(0, |base| base.first_offset);
        self.bases
            .iter()
            .chain(&self.segments)
            .filter(move |file| file.first_offset < from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        let named = LogFile::new(Path::new("d"), Kind::Log, 42);
        assert_eq!(named.path, Path::new("d/log-00000000000000000042.pykv"));
        assert_eq!(LogFile::from_path(&named.path), Some(named));
        for other in [
            "log-42.pykv",
            "log-00000000000000000042",
            "LOCK",
            "log-+0000000000000000042.pykv",
        ] {
            assert_eq!(LogFile::from_path(Path::new(other)), None, "{other}");
        }
    }
}
