//! The end of the log: takes what waits in the channel, encodes it, writes it, syncs it.
//!
//! One [`Writer`] exists, behind a mutex. Whoever holds the mutex is the writer for that moment: a
//! connection's thread that would otherwise wait for its own record, or the log's thread; see
//! [`super::commit`].
//!
//! # Invariants
//! - The buffer's records follow `position`.
//! - The file ends at `position`, or has a part of the buffer past it after a failed write; the next write cuts
//!   that off first.
//! - All segments except the last are synced to their end before a record is written to the next. So only the
//!   last one can have a torn tail.

mod close;

use super::branch::{Beginning, History};
use super::dir::Dir;
use super::disk::Disk;
use super::entry::WriteRequest;
use super::error::Error;
use super::flush::{Failure, Flushed};
use super::last_record::LastRecord;
use super::segment::Segment;
use super::write_buffer::WriteBuffer;
use crate::digest::Digest;
use crate::wall::now_ms;
use crossbeam_channel::Receiver;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

pub(super) struct Writer {
    pub(super) dir: Arc<Dir>,
    pub(super) disk: Disk,
    history: Arc<History>,
    segment: Segment,
    segment_bytes_max: u64,
    /// What comes after `position`.
    buffer: WriteBuffer,
    /// Whether what is written comes from another node. Then the digest is known only once it is applied.
    follows: bool,
    /// The offset up to which the log is written: where the buffer goes.
    position: u64,
    /// Set by a failed write, which may have left a part of a record.
    has_torn_tail: bool,
    /// Where the next segment begins, when nothing may be written to the one before it any more: a failed
    /// attempt to start it may have left its file, or a record of the one before says where the log continues.
    /// Then `position` is there already.
    next_segment_at: Option<u64>,
    /// A branch that a start could not write for want of room: the buffer belongs after it.
    deferred: Option<Beginning>,
}

/// What a start leaves to be written once there is room, so that a full disk keeps nobody from reading.
#[derive(Debug)]
pub(super) struct Deferred {
    /// Why it was not written.
    pub(super) error: Error,
    /// Whether a segment is to begin at the end of the log.
    pub(super) begins_segment: bool,
    /// The branch that is to begin there.
    pub(super) branch: Option<Beginning>,
}

impl Writer {
    #[allow(
        clippy::too_many_arguments,
        reason = "called once, by recovery, which has all of it in hand"
    )]
    pub(super) fn new(
        dir: Arc<Dir>,
        disk: Disk,
        history: Arc<History>,
        requests: Receiver<WriteRequest>,
        segment: Segment,
        segment_bytes_max: u64,
        position: u64,
    ) -> Writer {
        Writer {
            dir,
            disk,
            history,
            segment,
            segment_bytes_max,
            buffer: WriteBuffer::new(requests),
            follows: false,
            position,
            has_torn_tail: false,
            next_segment_at: None,
            deferred: None,
        }
    }

    /// Takes over what a start could not write for want of room.
    pub(super) fn defer(&mut self, deferred: &Deferred) {
        self.next_segment_at = deferred.begins_segment.then_some(self.position);
        self.deferred = deferred.branch;
        self.has_torn_tail = !deferred.begins_segment;
    }

    /// Where the next write goes: everything before it is written.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The digest of the store at the end of all that was taken from the channel.
    pub(super) fn digest(&self) -> Digest {
        self.buffer.digest()
    }

    /// The record before the end of all that was taken from the channel; none where it is not known: after a
    /// base, or an end that was cut off.
    pub(super) fn last(&self) -> Option<LastRecord> {
        self.buffer.last()
    }

    pub(super) fn set_last(&mut self, last: Option<LastRecord>) {
        self.buffer.set_last(last);
    }

    pub(super) fn set_digest(&mut self, digest: Digest) {
        self.buffer.set_digest(digest);
    }

    /// From here on what is written comes from another node, or no longer. Nothing may wait in the channel.
    pub(super) fn set_follows(&mut self, follows: bool) {
        self.follows = follows;
    }

    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Writes what waits in the channel, one batch of it. After an error all of it is still here, for the
    /// next call.
    pub(super) fn write(&mut self) -> Result<Flushed, Failure> {
        self.buffer.fill();
        self.catch_up()?;
        if self.buffer.is_empty() && self.next_segment_at.is_none() {
            return Ok(self.flushed(0, 0));
        }
        let room = self
            .segment_bytes_max
            .saturating_sub(self.position - self.segment.first_offset);
        if room == 0 || self.next_segment_at.is_some() {
            self.start_segment()?;
        }
        self.cut_torn_tail()?;
        let at = self.segment.file_position(self.position);
        if let Err(error) = self.disk.write_at(&self.segment.file, self.buffer.bytes(), at) {
            return Err(self.write_failed(error));
        }
        let bytes = self.buffer.bytes().len() as u64;
        self.position += bytes;
        let held_bytes = self.buffer.held_bytes();
        let begun = self.buffer.clear_written();
        begun.for_each(|branch| self.history.note(branch));
        Ok(self.flushed(bytes, held_bytes))
    }

    /// Writes what a start could not.
    fn catch_up(&mut self) -> Result<(), Failure> {
        match self.deferred {
            Some(beginning) => self.write_beginning(beginning),
            None => Ok(()),
        }
    }

    /// Writes the beginning of a branch at the end of the log, and continues after it.
    fn write_beginning(&mut self, beginning: Beginning) -> Result<(), Failure> {
        if self.next_segment_at.is_some() {
            self.start_segment()?;
        }
        let start = self.position;
        let (encoded, last) = beginning.encode(start, now_ms());
        self.write_records(&encoded)?;
        self.history.note(beginning.branch(start));
        self.deferred = None;
        // Records that wait after it are the last ones already.
        if self.buffer.is_empty() {
            self.buffer.set_last(last);
        }
        self.restart_at(beginning.continues_at)
    }

    /// Writes records of the log's own at its end, and syncs them.
    fn write_records(&mut self, encoded: &[u8]) -> Result<(), Failure> {
        self.cut_torn_tail()?;
        let at = self.segment.file_position(self.position);
        if let Err(error) = self.disk.write_at(&self.segment.file, encoded, at) {
            return Err(self.write_failed(error));
        }
        self.sync().inspect_err(|_| self.has_torn_tail = true)
    }

    /// Cuts off what a failed write has left.
    fn write_failed(&mut self, error: std::io::Error) -> Failure {
        let at = self.segment.file_position(self.position);
        self.has_torn_tail = self.disk.set_len(&self.segment.file, at).is_err();
        Failure::Write(Error::io("cannot write", &self.segment.path)(error))
    }

    fn flushed(&self, bytes: u64, held_bytes: u64) -> Flushed {
        Flushed {
            written: self.position,
            digest: (!self.follows).then_some(self.buffer.digest()),
            bytes,
            held_bytes,
        }
    }

    /// Syncs what is written.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        self.disk
            .sync_data(&self.segment.file)
            .map_err(|error| Failure::Sync(Error::io("cannot sync", &self.segment.path)(error)))
    }

    /// Whether the file that is written is still the one of that name. If not, somebody has removed the log
    /// under the node: a start would not find what is written.
    pub(super) fn check_linked(&self) -> Result<(), Failure> {
        let path = &self.segment.path;
        let same = self
            .dir
            .identity(path)
            .and_then(|named| Ok((named, self.segment.file.metadata()?)))
            .and_then(|(named, open)| match named == (open.dev(), open.ino()) {
                true => Ok(()),
                false => Err(std::io::ErrorKind::NotFound.into()),
            });
        same.map_err(|error| {
            let doing = match error.kind() {
                std::io::ErrorKind::NotFound => "the log was removed:",
                _ => "cannot look at",
            };
            Failure::Sync(Error::io(doing, path)(error))
        })
    }

    /// Cuts off what a failed write has left, as a start after a crash would; also, that gives a full disk its
    /// room back.
    fn cut_torn_tail(&mut self) -> Result<(), Failure> {
        if self.has_torn_tail {
            let Segment { file, path, .. } = &self.segment;
            let at = self.segment.file_position(self.position);
            self.disk
                .set_len(file, at)
                .map_err(|error| Failure::Write(Error::io("cannot cut back", path)(error)))?;
            self.has_torn_tail = false;
        }
        Ok(())
    }

    /// Continues in a new segment from here on.
    pub(super) fn start_segment(&mut self) -> Result<(), Failure> {
        self.cut_torn_tail()?;
        self.sync()?;
        self.check_linked()?;
        self.check_alone().map_err(Failure::Write)?;
        self.next_segment_at = Some(self.position);
        self.segment = self.create_segment(self.position).map_err(Failure::Write)?;
        self.next_segment_at = None;
        log::info!("the log continues in {}", self.segment.path.display());
        Ok(())
    }

    /// That the directory is this node's still, and nobody has put a file there that is ahead of it.
    fn check_alone(&self) -> Result<(), Error> {
        self.dir.check_place()?;
        let end = self.next_segment_at.unwrap_or(self.position);
        self.dir.check_ahead(&self.dir.list()?, end)
    }

    fn create_segment(&self, first_offset: u64) -> Result<Segment, Error> {
        let (id, branches) = (self.history.id(), self.history.branches());
        Segment::create(&self.dir, &self.disk, id, &branches, first_offset, &[])
    }

    /// Begins a branch at the end of the log, and continues after it where no offset was ever given. Nothing
    /// may wait in the channel. A branch that has begun is in the history, even after an error.
    pub(super) fn begin_branch(&mut self, beginning: Beginning) -> Result<(), Failure> {
        self.catch_up()?;
        self.write_beginning(beginning)
    }

    /// Continues at `offset`, as the last record says that was written. After an error the next write tries to
    /// begin the segment there.
    pub(super) fn restart_at(&mut self, offset: u64) -> Result<(), Failure> {
        self.position = offset;
        self.next_segment_at = Some(offset);
        self.start_segment()
    }

    /// Drops what is not written yet, and returns what it held of the budget. Nothing may be appended meanwhile, and the log
    /// must continue in a new segment: see [`Writer::skip_forward`].
    pub(super) fn drop_waiting(&mut self) -> u64 {
        self.buffer.drop_waiting()
    }

    /// Continues at `offset` in a segment of its own: a base at that offset holds all that came before.
    pub(super) fn skip_forward(&mut self, offset: u64) -> Result<(), Error> {
        if let Some(beginning) = self.deferred.take() {
            // Its record is superfluous after the base; headers tell of it from here on.
            self.history.note(beginning.branch(self.position));
        }
        self.segment = self.create_segment(offset)?;
        self.position = offset;
        self.next_segment_at = None;
        self.has_torn_tail = false;
        self.buffer.set_last(None);
        Ok(())
    }

    /// Goes back to `offset` in `segment`, which holds it, and drops what is after it there. Nothing may wait in
    /// the channel, and no segment may be after that one.
    pub(super) fn cut_to(&mut self, segment: Segment, offset: u64) -> Result<(), Error> {
        let at = segment.file_position(offset);
        self.disk
            .set_len(&segment.file, at)
            .map_err(Error::io("cannot cut back", &segment.path))?;
        self.disk
            .sync_data(&segment.file)
            .map_err(Error::io("cannot sync", &segment.path))?;
        segment.mark(&self.dir, &self.disk, self.history.id());
        self.segment = segment;
        self.position = offset;
        self.next_segment_at = None;
        self.deferred = None;
        self.has_torn_tail = false;
        self.buffer.set_last(None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::alone::{EIO, files};
    use super::super::disk::faults::Plan;
    use super::super::header::HEADER_BYTES;
    use super::super::recovered;
    use super::*;
    use crate::record::{Operation, Record};
    use crossbeam_channel::{Sender, unbounded};
    use std::path::Path;

    const SEGMENT_BYTES_MAX: u64 = 200;

    /// A writer of a new log, and the channel that it takes from.
    fn writer(path: &Path) -> (Writer, Sender<WriteRequest>) {
        let disk = Disk::default();
        let dir = Arc::new(Dir::open_or_create(&disk, path).unwrap());
        let log = recovered::start_log(&dir, &disk, 0).unwrap();
        let history = Arc::new(History::new(log.id, log.branches));
        let (sender, requests) = unbounded();
        let (segment, position) = (log.segment, log.position);
        let writer = Writer::new(dir, disk, history, requests, segment, SEGMENT_BYTES_MAX, position);
        (writer, sender)
    }

    fn send(sender: &Sender<WriteRequest>, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let (branches, last) = (Vec::new(), None);
        let raw = WriteRequest::Raw {
            bytes,
            branches,
            last,
        };
        sender.send(raw).unwrap();
    }

    /// What stands after an offset in the segment that is written.
    fn behind(writer: &Writer, offset: u64) -> Vec<u8> {
        let mut bytes = std::fs::read(&writer.segment.path).unwrap();
        bytes.split_off(writer.segment.file_position(offset) as usize)
    }

    #[test]
    fn a_write_that_failed_is_made_again_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, sender) = writer(dir.path());
        let start = writer.position();
        // It cannot even be cut back at once; half of it stays in the file.
        send(&sender, b"first");
        writer.disk.faults.plan(Plan::Crash { at: 0 });
        assert!(matches!(writer.write(), Err(Failure::Write(_))));
        assert_eq!(behind(&writer, start), b"fi");
        send(&sender, b" and second");
        writer.disk.faults.plan(Plan::All {
            operation: "write",
            errno: EIO,
        });
        assert!(matches!(writer.write(), Err(Failure::Write(_))));
        assert_eq!(behind(&writer, start), b"", "it was cut back");
        assert_eq!(writer.position(), start);

        writer.disk.faults.plan(Plan::None);
        let flushed = writer.write().unwrap();
        assert_eq!((flushed.bytes, flushed.written), (16, start + 16));
        assert_eq!(behind(&writer, start), b"first and second");
        assert_eq!(writer.write().unwrap().bytes, 0);
    }

    #[test]
    fn a_segment_is_synced_before_the_next_one_begins() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, sender) = writer(dir.path());
        let start = writer.position();
        send(&sender, &[1; SEGMENT_BYTES_MAX as usize]);
        writer.write().unwrap();
        send(&sender, b"next");
        writer.disk.faults.plan(Plan::All {
            operation: "sync data",
            errno: EIO,
        });
        assert!(matches!(writer.write(), Err(Failure::Sync(_))));
        assert_eq!(files(dir.path(), "log-").len(), 1);

        writer.disk.faults.plan(Plan::None);
        writer.write().unwrap();
        let end = start + SEGMENT_BYTES_MAX;
        assert_eq!(files(dir.path(), "log-").len(), 2);
        assert_eq!(writer.segment().first_offset, end);
        assert_eq!(behind(&writer, end), b"next");
    }

    #[test]
    fn a_log_says_that_it_was_closed_unless_it_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, _sender) = writer(dir.path());
        let start = writer.position();
        writer.set_digest(Digest(7));
        writer.set_follows(true);
        writer.close().unwrap();
        assert_eq!(behind(&writer, start), b"");

        writer.set_follows(false);
        writer.close().unwrap();
        let bytes = behind(&writer, start);
        let (record, _) = Record::decode(start, &bytes).unwrap();
        assert_eq!((record.operation, record.digest()), (Operation::Close, Some(7)));
        assert_eq!(writer.position(), start + bytes.len() as u64);
    }

    #[test]
    fn a_segment_that_was_removed_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _sender) = writer(dir.path());
        writer.check_linked().unwrap();
        let bytes = std::fs::read(&writer.segment.path).unwrap();
        assert!(bytes.len() > HEADER_BYTES);
        std::fs::remove_file(&writer.segment.path).unwrap();
        assert!(writer.check_linked().is_err());
        // Another file of that name is none of this log's.
        std::fs::write(&writer.segment.path, bytes).unwrap();
        assert!(writer.check_linked().is_err());
    }
}
