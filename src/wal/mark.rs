//! What LOCK says of the log, held against the files that are there: so that a log that is lost, or has lost its
//! end, is not taken for a new one.

use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::file_reader::FileReader;
use super::header::Kind;
use super::listing::{Listing, LogFile};
use super::lock::{self, Mark};

impl Dir {
    /// Names the log and its last segment, which is durable. Where that fails, less is noticed at a start.
    pub(super) fn set_mark(&self, disk: &Disk, mark: Mark) {
        if self.lock_file().mark() == Some(mark) {
            return;
        }
        if let Err(error) = self.lock_file().write(disk, mark) {
            log::debug!("cannot write {}: {error}", self.path().join(lock::NAME).display());
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
        let path = self.path().join(lock::NAME);
        self.lock_file()
            .write(disk, mark)
            .map_err(Error::io("cannot write", &path))?;
        self.lock_file()
            .sync(disk)
            .map_err(Error::io("cannot sync", &path))
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
        let missing = LogFile::new(self.path(), Kind::Log, offset);
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
}
