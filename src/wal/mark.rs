//! What LOCK says of the log, held against the files that are there: so that a log that is lost, or has lost its
//! end, is not taken for a new one, and no file of another log for a part of it.

use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::file_reader::FileReader;
use super::header::Kind;
use super::inspect::{has_key, has_record};
use super::listing::{Listing, LogFile};
use super::lock::{self, Mark};
use super::term::LogId;
use std::path::PathBuf;

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

    /// As [`Dir::set_mark`], for a log that was closed in order: makes it durable.
    pub(super) fn set_closed(&self, disk: &Disk, mark: Mark) {
        self.set_mark(disk, mark);
        if let Err(error) = self.lock_file().sync(disk) {
            log::debug!("cannot sync {}: {error}", self.path().join(lock::NAME).display());
        }
    }

    /// Names the end of the log no longer: it may be removed once this has returned. Returns what LOCK named.
    pub(super) fn forget_end(&self, disk: &Disk) -> Result<Option<Mark>, Error> {
        let before = self.lock_file().mark();
        if let Some(before) = before {
            self.announce(disk, before.id)?;
        }
        Ok(before)
    }

    /// Names a log, and no end of it: a file of it may come to be here once this has returned, and none need.
    pub(super) fn announce(&self, disk: &Disk, id: LogId) -> Result<(), Error> {
        let mark = Mark {
            id,
            last_segment: None,
            closed_at: None,
        };
        if self.lock_file().mark() != Some(mark) {
            let path = self.path().join(lock::NAME);
            let lock = self.lock_file();
            lock.write(disk, mark).map_err(Error::io("cannot write", &path))?;
            lock.sync(disk).map_err(Error::io("cannot sync", &path))?;
        }
        Ok(())
    }

    /// An error where a file of another log stands beside those of the log that LOCK names: whichever of them a start
    /// would begin with, it would take the others for superfluous, or for damage.
    ///
    /// What a replica has left of the log that it had before is no such file, once the base of the new one is there: it
    /// is kept in `replaced-<id>` too, or has no key.
    pub(super) fn check_no_stranger(&self, listing: &Listing) -> Result<(), Error> {
        let Some(mark) = self.lock_file().mark() else {
            if self.lock_file().is_unreadable() && listing.all().next().is_some() {
                log::warn!(
                    "{} cannot be read: it is not noticed if the end of the log is missing, or a file is of another log",
                    self.path().join(lock::NAME).display()
                );
            }
            return Ok(());
        };
        let mut own = Vec::new();
        let mut others = Vec::new();
        for named in listing.all() {
            match FileReader::header_in(self, named) {
                Ok(header) if header.id == mark.id => own.push(named),
                Ok(header) => others.push((named, header.id)),
                // It may be its own, and what is in it is not to be lost to another log.
                Err(_) if has_record(self, named)? => own.push(named),
                Err(_) => {}
            }
        }
        let base = own.iter().rev().find(|named| named.kind == Kind::Base);
        let base = base.map_or(0, |base| base.first_offset);
        let is_left = |named: &LogFile, id: LogId| {
            named.first_offset < base && (self.exists(&self.replaced_path(id)) || !has_key(self, named))
        };
        match others.iter().find(|(named, id)| !is_left(named, *id)) {
            Some((stranger, _)) if !own.is_empty() => Err(Error::Stranger {
                dir: self.path().to_path_buf(),
                path: stranger.path.clone(),
                id: mark.id,
            }),
            _ => Ok(()),
        }
    }

    /// Where the store goes that another one takes the place of.
    pub(super) fn replaced_path(&self, id: LogId) -> PathBuf {
        self.path().join(format!("replaced-{id}"))
    }

    /// An error where the directory bears marks of a store, and is asked because it has no file of a log.
    pub(super) fn check_is_new(&self, listing: &Listing) -> Result<(), Error> {
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
        if self.lock_file().is_unreadable() {
            let why = "LOCK was written once and cannot be read, and no file of a log is there";
            return Err(lost(why.to_owned()));
        }
        if self.exists(&self.path().join("ROLE")) {
            let why = "ROLE says what the node was in its cluster, and no file of its log is there";
            return Err(lost(why.to_owned()));
        }
        // A base without a log is made by a restore alone, and a replica has a log before it takes another's state.
        let is_base = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"base-"))
        };
        match listing.temporary.iter().find(|path| is_base(path)) {
            Some(base) => Err(lost(format!(
                "{} is part of a restore that did not end",
                base.display()
            ))),
            None => Ok(()),
        }
    }

    /// Removes files of the node's own log. One of another log that somebody has put there is left where it is.
    pub(super) fn remove_own(&self, disk: &Disk, id: LogId, paths: impl IntoIterator<Item = PathBuf>) {
        let is_own = |path: &PathBuf| {
            let header = LogFile::from_path(path).and_then(|named| FileReader::header_in(self, &named).ok());
            let is_own = header.is_none_or(|header| header.id == id);
            if !is_own {
                log::warn!(
                    "{} is of another log, and stays where it is: move it to another directory, or the next start refuses",
                    path.display()
                );
            }
            is_own
        };
        self.remove(disk, paths.into_iter().filter(is_own));
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
        if is_there || is_superseded || !self.is_marked(listing, mark) {
            return Ok(());
        }
        let missing = LogFile::new(self.path(), Kind::Log, offset);
        Err(self.lost_end(format!(
            "{}, which LOCK names as the end of the log, is missing",
            missing.path.display()
        )))
    }

    /// How far the log reached when it was closed in order, as far as LOCK knows: a log that ends before that has
    /// lost something, and no crash has torn it.
    pub(super) fn closed_at(&self, listing: &Listing) -> Option<u64> {
        let mark = self.lock_file().mark()?;
        mark.closed_at.filter(|_| self.is_marked(listing, mark))
    }

    /// An error where the log ends at `end`, and reached farther when it was closed in order.
    pub(super) fn check_end(&self, closed_at: Option<u64>, end: u64) -> Result<(), Error> {
        match closed_at {
            Some(closed_at) if end < closed_at => Err(self.lost_end(format!(
                "LOCK says that the log was closed at offset {closed_at}, and it ends at offset {end}"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether LOCK names the log that is there. Where no file of that is, files of another log were put here by hand, and
    /// LOCK says nothing of them.
    fn is_marked(&self, listing: &Listing, mark: Mark) -> bool {
        let first = listing.current().next();
        let first = first.and_then(|first| FileReader::open_in(self, first).ok());
        first.is_none_or(|first| first.header().id == mark.id)
    }

    fn lost_end(&self, why: String) -> Error {
        let dir = self.path().display();
        Error::Lost {
            dir: self.path().to_path_buf(),
            why,
            remedy: format!(
                "put back what is missing; `pykv check --dir {dir}` says whether a repair (--repair) can save the rest"
            ),
        }
    }
}
