//! A [`Feed`] for followers: the records as they stand in the log, of every operation.

use super::error::Error;
use super::feed::{BUFFER_BYTES, Feed};
use super::feed_error::FeedError;
use super::header::HEADER_BYTES;
use super::last_record::LastRecord;
use super::shared::Shared;
use crate::record::{DecodeError, HEAD_BYTES, Record};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

impl Feed<'_> {
    /// Appends records to `out` as they stand in the log, of every operation, up to `bytes_max` and the rest of
    /// the last one's batch; none where nothing more is written now. They follow one another without a hole: a
    /// SKIP is the last. An item of more than `bytes_max`, that is a record or a batch, is left for
    /// [`Feed::read_raw`]. Returns the offset of the first.
    pub(crate) fn copy(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> Result<u64, FeedError> {
        let first = self.offset;
        let mut first_copied = None;
        let is_from = out.len();
        let mut is_in_batch = false;
        while let Some((bytes, more)) = self.peek_head()? {
            let copied = out.len() - is_from;
            let first = *first_copied.get_or_insert(self.offset);
            if first + copied as u64 != self.offset || copied >= bytes_max && !is_in_batch {
                break; // Behind a hole, or enough.
            }
            if !is_in_batch && (more || bytes > bytes_max) {
                let item_bytes = self.item_bytes()?.unwrap_or(0);
                if item_bytes > bytes_max as u64 {
                    break;
                }
            }
            let Some(bytes) = self.peek_any()? else { break };
            out.extend_from_slice(&self.buffer[self.start..self.start + bytes]);
            self.advance_any(bytes);
            is_in_batch = more;
        }
        Ok(first_copied.unwrap_or(first))
    }

    /// The length of the record or batch at the cursor, in bytes; none where nothing more is written now. Reads
    /// the heads of its records alone.
    pub(crate) fn item_bytes(&mut self) -> Result<Option<u64>, FeedError> {
        if self.peek_head()?.is_none() {
            return Ok(None);
        }
        let written = self.shared.commit.position().written;
        let Some(segment) = self.segment.clone() else {
            return Ok(None);
        };
        let mut window = HeadWindow::default();
        let mut end = self.offset;
        loop {
            let at = end - segment.named.first_offset + HEADER_BYTES as u64;
            let head = window
                .head(&segment.file, at)
                .map_err(Error::io("cannot read", &segment.named.path))?;
            let (bytes, more) = Record::peek(head).map_err(|_| self.invalid("the bytes are no record"))?;
            end += bytes as u64;
            if end > written {
                return Err(self.invalid("the segment ends before the log does"));
            }
            if !more {
                return Ok(Some(end - self.offset));
            }
        }
    }

    /// Appends `bytes` bytes of the log to `out`, unchecked, and moves past them. They are a part of an item, all
    /// parts of which are read in turn.
    pub(crate) fn read_raw(&mut self, bytes: usize, out: &mut Vec<u8>) -> Result<(), FeedError> {
        if self.generation != self.shared.generation() {
            let oldest = self.shared.commit.position().written;
            return Err(FeedError::Gone { oldest });
        }
        let Some(segment) = self.segment.clone() else {
            return Err(self.invalid("the bytes are no record"));
        };
        self.give_back();
        let at = self.offset - segment.named.first_offset + HEADER_BYTES as u64;
        let from = out.len();
        out.resize(from + bytes, 0);
        let read = segment.file.read_exact_at(&mut out[from..], at);
        read.map_err(Error::io("cannot read", &segment.named.path))?;
        self.offset += bytes as u64;
        self.has_begun = true;
        self.next_offset = None;
        Ok(())
    }

    /// The length of the record at the cursor, and whether its batch continues; none where nothing more is
    /// written now. Reads its head alone.
    fn peek_head(&mut self) -> Result<Option<(usize, bool)>, FeedError> {
        let written = self.shared.commit.position().written;
        if self.generation != self.shared.generation() {
            return Err(FeedError::Gone { oldest: written });
        }
        while self.offset < written {
            match Record::peek(&self.buffer[self.start..]) {
                Ok(head) => return Ok(Some(head)),
                Err(DecodeError::Incomplete(bytes)) => {
                    if let Err(left) = self.fill(bytes, written)? {
                        self.follow(left)?;
                    }
                }
                Err(DecodeError::Corrupt(why)) => return Err(self.invalid(why)),
            }
        }
        Ok(None)
    }

    /// As [`Feed::wait`], without a rest between looks: for the few who must hear at once.
    pub(crate) fn wait_next(&mut self, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        let commit = &self.shared.commit;
        let offset = self.offset;
        let has_grown = || commit.position().written > offset;
        has_grown() || commit.watchers.wait(has_grown, deadline, go_on)
    }
}

/// Reads the heads of records that follow one another: many of small ones at once.
#[derive(Default)]
struct HeadWindow {
    bytes: Vec<u8>,
    /// Where in the file they begin.
    at: u64,
}

impl HeadWindow {
    /// The head that stands at a place of the file.
    fn head(&mut self, file: &File, at: u64) -> io::Result<&[u8]> {
        let is_there = |window: &HeadWindow| {
            at >= window.at && at + HEAD_BYTES as u64 <= window.at + window.bytes.len() as u64
        };
        if !is_there(self) {
            self.bytes.resize(BUFFER_BYTES, 0);
            let read = file.read_at(&mut self.bytes, at)?;
            self.bytes.truncate(read);
            self.at = at;
        }
        Ok(&self.bytes[(at - self.at) as usize..])
    }
}

/// Looks whether this log has the record that another one has. Passes where this log does not hold that part
/// any more.
pub(super) fn check_last(shared: &Shared, last: LastRecord) -> Result<(), FeedError> {
    let (segment, _) = shared.segments.find(|segments| {
        segments
            .partition_point(|segment| segment.first_offset <= last.start)
            .checked_sub(1)
    })?;
    let Some(segment) = segment else {
        return Ok(());
    };
    let mut crc = [0; 4];
    let at = last.start - segment.named.first_offset + HEADER_BYTES as u64;
    match segment.file.read_exact_at(&mut crc, at) {
        Ok(()) if u32::from_le_bytes(crc) == last.crc => Ok(()),
        Ok(()) => Err(FeedError::OtherRecord { start: last.start }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(FeedError::OtherRecord { start: last.start })
        }
        Err(error) => Err(Error::io("cannot read", &segment.named.path)(error).into()),
    }
}
