//! What it means that a [`Feed`] stands after all records of its segment.

use super::error::Error;
use super::feed::Feed;
use super::feed_error::FeedError;
use super::header::HEADER_BYTES;
use crate::record::{Operation, Record, SKIP_BYTES};
use std::os::unix::fs::FileExt;

impl Feed<'_> {
    /// What it means that the cursor stands after all records of its segment, and before the next one's.
    pub(super) fn hole(&self, next_offset: u64) -> Result<FeedError, FeedError> {
        let Some(segment) = &self.segment else {
            return Ok(FeedError::Gone { oldest: next_offset });
        };
        let cannot_read = |error| Error::io("cannot read", &segment.named.path)(error);
        let bytes = segment.file.metadata().map_err(cannot_read)?.len();
        let end = segment.named.first_offset + bytes.saturating_sub(HEADER_BYTES as u64);
        if self.offset <= end {
            return Ok(FeedError::Gone { oldest: next_offset });
        }
        // The record that says where the log continues is of this history alone.
        let mut last = [0; SKIP_BYTES];
        let start = end.saturating_sub(SKIP_BYTES as u64);
        let read = bytes
            .checked_sub(SKIP_BYTES as u64)
            .map(|at| segment.file.read_exact_at(&mut last, at));
        let is_skip = matches!(read, Some(Ok(())))
            && Record::decode(start, &last).is_ok_and(|(record, _)| record.operation == Operation::Skip);
        Ok(FeedError::Hole {
            start: if is_skip { start } else { end },
            next_offset,
        })
    }
}
