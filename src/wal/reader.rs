//! Reads a directory, or one file of it, beside whoever has it open.
//!
//! This is what `pykv log` shows: the newest base, then the log from its offset on. It takes no lock and
//! changes nothing, so it may run beside a node; a record that the node is just writing is one that is not
//! there yet.

use super::error::Error;
use super::file_reader::{FileReader, Next};
use super::header::Kind;
use super::listing::{Listing, LogFile};
use super::term::LogId;
use crate::record::Record;
use std::path::{Path, PathBuf};

/// A record and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// Where the record starts. In a base, which is not a stretch of the log: the offset the base is the
    /// state at.
    pub offset: u64,
    /// The offset just past the record that wrote the key: its version.
    pub version: u64,
    /// The record.
    pub record: Record<'a>,
}

/// A cursor over the records of a directory or of one file.
pub(crate) struct Reader {
    /// Where to look for the segment that follows; `None` for one file alone.
    dir: Option<PathBuf>,
    file: FileReader,
}

impl Reader {
    /// Opens a data directory, or a single file of one.
    pub(crate) fn open(path: &Path) -> Result<Reader, Error> {
        if !path.is_dir() {
            return Ok(Reader {
                dir: None,
                file: FileReader::open(&LogFile::of_file(path)?)?,
            });
        }
        let listing = Listing::read(path)?;
        let first = listing.current().next().ok_or_else(|| no_store(path))?;
        Ok(Reader {
            dir: Some(path.to_path_buf()),
            file: FileReader::open(first)?,
        })
    }

    /// The id of the log.
    pub(crate) fn log_id(&self) -> LogId {
        self.file.header().id
    }

    /// Where the next record begins, if there is one.
    pub(crate) fn offset(&self) -> u64 {
        self.file.offset()
    }

    /// The next record. `None` where there is no more now: a later call sees what was written since.
    #[allow(
        clippy::should_implement_trait,
        reason = "lends from its buffer, which Iterator cannot"
    )]
    pub(crate) fn next(&mut self) -> Result<Option<Read<'_>>, Error> {
        let bytes = loop {
            match self.file.peek()? {
                Next::Record(bytes) => break bytes,
                Next::End | Next::Invalid(_) if self.follow()? => {}
                Next::End => return Ok(None),
                Next::Invalid(why) => return self.invalid(why).map(|()| None),
            }
        };
        let file = &mut self.file;
        let offset = file.offset();
        let version = if file.named().kind == Kind::Base {
            offset
        } else {
            offset + bytes as u64
        };
        let record = file.record(bytes);
        Ok(Some(Read {
            offset,
            version: record.version.unwrap_or(version),
            record,
        }))
    }

    /// Continues to the segment that starts where this file ends, if there is one.
    fn follow(&mut self) -> Result<bool, Error> {
        let Some(dir) = &self.dir else {
            return Ok(false);
        };
        let file = &mut self.file;
        let named = LogFile::new(dir, Kind::Log, file.offset());
        if named == *file.named() || !named.path.exists() {
            return Ok(false);
        }
        *file = FileReader::open(&named)?;
        Ok(true)
    }

    /// Invalid bytes at the end may be a record that is being written. Before a valid one they are damage.
    fn invalid(&mut self, why: &'static str) -> Result<(), Error> {
        let file = &mut self.file;
        let at = file.file_position();
        let mut ahead = FileReader::open(file.named())?;
        ahead.skip_forward(at);
        if file.named().kind == Kind::Base || ahead.seek_valid()? {
            return Err(file.damaged(at, why));
        }
        file.forget_buffer();
        Ok(())
    }
}

/// A directory without any file of a log.
pub(super) fn no_store(path: &Path) -> Error {
    let why = if path.is_dir() {
        "the directory has no file of a log"
    } else if path.exists() {
        "it is a file, and no directory"
    } else {
        "it is not there"
    };
    Error::NoStore {
        path: path.to_path_buf(),
        why,
    }
}
