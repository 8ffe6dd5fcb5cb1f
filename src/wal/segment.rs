//! The segment that is being written.

use super::branch::Branch;
use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::header::{HEADER_BYTES, Header, Kind};
use super::listing::LogFile;
use super::lock::Mark;
use super::term::LogId;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// The segment being written.
pub(super) struct Segment {
    pub(super) first_offset: u64,
    pub(super) path: PathBuf,
    /// Shared with the log's thread, which syncs it without holding up writers.
    pub(super) file: Arc<File>,
}

impl Segment {
    /// Makes the file of a segment that starts at an offset. `first` are records to begin it with.
    pub(super) fn create(
        dir: &Dir,
        disk: &Disk,
        id: LogId,
        branches: &[Branch],
        first_offset: u64,
        first: &[u8],
    ) -> Result<Segment, Error> {
        let named = LogFile::new(dir.path(), Kind::Log, first_offset);
        let header = Header {
            kind: Kind::Log,
            id,
            first_offset,
            branches: branches.to_vec(),
        };
        let file = dir.make(disk, &named.path, |file| {
            let mut start = header.encode();
            start.extend_from_slice(first);
            disk.write_at(file, &start, 0)
                .map_err(Error::io("cannot write", &named.path))
        })?;
        let segment = Segment {
            first_offset,
            path: named.path,
            file: Arc::new(file),
        };
        segment.mark(dir, disk, id);
        Ok(segment)
    }

    /// Names it in LOCK as the last one.
    pub(super) fn mark(&self, dir: &Dir, disk: &Disk, id: LogId) {
        let last_segment = Some(self.first_offset);
        let is_same = |mark: &Mark| (mark.id, mark.last_segment) == (id, last_segment);
        let before = dir.lock_file().mark().filter(is_same);
        let mark = Mark {
            id,
            last_segment,
            closed_at: before.and_then(|mark| mark.closed_at),
        };
        dir.set_mark(disk, mark);
    }

    /// Where in the file an offset is, in bytes from its start.
    pub(super) fn file_position(&self, offset: u64) -> u64 {
        offset - self.first_offset + HEADER_BYTES as u64
    }
}
