//! Notices what somebody else has done to the files of a log that is open: put files of another store beside them, or
//! taken some of them away. A start would refuse such a directory; the node still has all that they held.
//!
//! The directory is read only where the time of its last change says that there is something to see.

use super::dir_handle::DirHandle;
use super::error::Error;
use super::header::{HEADER_BYTES, Kind};
use super::listing::{Listing, LogFile};
use super::shared::Shared;
use crate::record::{Operation, Record, SKIP_BYTES};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

/// A change as recent as that may have been followed by another one within the clock's grain.
const GRAIN: Duration = Duration::from_secs(2);

/// What was seen at the last look.
#[derive(Default)]
pub(super) struct DirWatch {
    changed: Option<SystemTime>,
}

impl DirWatch {
    /// Looks at the directory. An error says what is wrong with it.
    pub(super) fn look(&mut self, shared: &Shared) -> Result<(), Error> {
        // Whoever makes a base, or puts another state in the place of this one, looks for itself.
        let Some(base) = shared.locks.try_base() else {
            return Ok(());
        };
        let Some(_apply) = base.try_apply() else {
            return Ok(());
        };
        let dir = &shared.dir;
        let changed = dir.file().metadata().and_then(|metadata| metadata.modified());
        let changed = changed.map_err(Error::io("cannot look at", dir.path()))?;
        if self.changed == Some(changed) {
            return Ok(());
        }
        let is_recent = changed.elapsed().is_ok_and(|age| age < GRAIN);
        let listing = dir.list()?;
        dir.check_own(&listing, shared.history.id(), shared.end_max())?;
        if let Some(at) = missing_at(dir, &listing)? {
            let missing = LogFile::new(dir.path(), Kind::Log, at);
            return Err(Error::io("the log was removed:", &missing.path)(
                io::ErrorKind::NotFound.into(),
            ));
        }
        self.changed = (!is_recent).then_some(changed);
        Ok(())
    }
}

/// The offset at which a file is missing that a start would look for: after the base, or where the one before ends.
fn missing_at(dir: &DirHandle, listing: &Listing) -> Result<Option<u64>, Error> {
    let mut next_offset = vec![0];
    let mut before: Option<&LogFile> = None;
    for named in listing.current() {
        match before {
            Some(before) if before.kind == Kind::Base => next_offset = vec![before.first_offset],
            Some(before) => next_offset = ends_at(dir, before)?,
            None if named.kind == Kind::Base => next_offset = vec![named.first_offset],
            None => {}
        }
        if !next_offset.contains(&named.first_offset) {
            return Ok(next_offset.first().copied());
        }
        before = Some(named);
    }
    Ok(None)
}

/// Where the file after a segment begins: at its end, or where its last record says that the log continues.
fn ends_at(dir: &DirHandle, named: &LogFile) -> Result<Vec<u64>, Error> {
    let cannot_read = |error: io::Error| Error::io("cannot read", &named.path)(error);
    let file = dir.open_to_read_at(&named.path).map_err(cannot_read)?;
    let bytes = file.metadata().map_err(cannot_read)?.len();
    let end = named.first_offset + bytes.saturating_sub(HEADER_BYTES as u64);
    let mut ends = vec![end];
    let Some(at) = bytes
        .checked_sub(SKIP_BYTES as u64)
        .filter(|at| *at >= HEADER_BYTES as u64)
    else {
        return Ok(ends);
    };
    let mut last = [0; SKIP_BYTES];
    file.read_exact_at(&mut last, at).map_err(cannot_read)?;
    if let Ok((record, _)) = Record::decode(end - SKIP_BYTES as u64, &last)
        && record.operation == Operation::Skip
    {
        ends.extend(record.value_u64());
    }
    Ok(ends)
}
