//! The end of a log that is closed in order.

use super::super::flush::Failure;
use super::super::last_record::LastRecord;
use super::super::lock::Mark;
use super::Writer;
use crate::record::{Operation, Record};
use crate::wall::now_ms;

impl Writer {
    /// Says at the end of the log that the node was stopped in order, and syncs it. Nothing may wait in the
    /// channel. A log that comes from another node is synced alone: what it says is that node's.
    ///
    /// LOCK names how far the log reaches then, so that a start can tell a log that has lost its end from one that
    /// a crash has torn.
    pub(in crate::wal) fn close(&mut self) -> Result<(), Failure> {
        if self.follows {
            self.sync()?;
            if self.next_segment_at.is_none() {
                self.mark_closed(self.position);
            }
            return Ok(());
        }
        self.catch_up()?;
        if self.next_segment_at.is_some() {
            self.start_segment()?;
        }
        let closed_at = self.position;
        let digest = self.buffer.digest().0.to_le_bytes();
        let close = Record::new(Operation::Close, now_ms(), &[], &digest);
        let mut encoded = Vec::new();
        close.encode(closed_at, &mut encoded);
        self.write_records(&encoded)?;
        self.buffer.set_last(LastRecord::of_bytes(closed_at, &encoded));
        self.position += encoded.len() as u64;
        self.mark_closed(closed_at);
        Ok(())
    }

    fn mark_closed(&self, closed_at: u64) {
        let mark = Mark {
            id: self.history.id(),
            last_segment: Some(self.segment.first_offset),
            closed_at: Some(closed_at),
        };
        self.dir.set_closed(&self.disk, mark);
    }
}
