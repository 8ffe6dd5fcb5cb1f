//! Reads the log beside the one who writes it: what was recorded after an offset, and then what comes.
//!
//! Records are read out of the segments' files, up to what is written. So a feed costs the writer nothing,
//! and one that falls behind costs no memory: what it has not read yet is on disk anyway.
//!
//! # What must hold
//! - Nothing past `written` is read: what stands there may be cut off again.
//! - A feed gives every record from where it starts on, each once and in order, or fails. Where the log has
//!   a hole it goes on only if the record before the hole says where (see [`Feed::follow`]).
//! - A segment that is removed while a feed is in it stays readable to that feed: it has the file open.
//! - All feeds in a segment share one open file, so watchers do not use up the file descriptors; a feed that
//!   waits holds no buffer.

use super::error::Error;
use super::header::HEADER_BYTES;
use super::last_record::LastRecord;
use super::reader::Read;
use super::segments::Segment;
use super::shared::Shared;
use crate::record::{DecodeError, HEAD_BYTES, Operation, Record};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

/// Read at a time, in bytes, but for a record that is longer. Small, as there may be a thousand feeds.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Length of a SKIP, in bytes.
const SKIP_BYTES: usize = HEAD_BYTES + 8;

/// Why a feed cannot give what comes after an offset.
#[derive(Debug)]
pub enum FeedError {
    /// The log does not go back that far any more, or lost that part in a crash.
    Gone {
        /// The first offset that it has.
        oldest: u64,
    },
    /// The log has a hole there: in this history no such offset was ever given.
    Hole {
        /// The offset up to which it has records before the hole.
        start: u64,
        /// Where it goes on.
        goes_on_at: u64,
    },
    /// The log is not that far.
    Ahead {
        /// How far it is written.
        written: u64,
    },
    /// No record begins at this offset.
    NotABoundary {
        /// The offset.
        offset: u64,
    },
    /// The log has another record there than the one that was named.
    OtherRecord {
        /// Where the record begins.
        start: u64,
    },
    /// The log cannot be read.
    Log(Error),
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeedError::Gone { oldest } => {
                write!(
                    f,
                    "the log no longer holds what came after this; it begins at offset {oldest}"
                )
            }
            FeedError::Hole { start, goes_on_at } => write!(
                f,
                "the log has nothing there; it has a hole from offset {start} to offset {goes_on_at}"
            ),
            FeedError::Ahead { written } => write!(f, "the log is not that far; it ends at offset {written}"),
            FeedError::NotABoundary { offset } => write!(f, "no record begins at offset {offset}"),
            FeedError::OtherRecord { start } => write!(f, "the log has another record at offset {start}"),
            FeedError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FeedError {}

impl From<Error> for FeedError {
    fn from(error: Error) -> FeedError {
        FeedError::Log(error)
    }
}

/// A cursor over the log that moves on as the log grows.
pub struct Feed<'a> {
    shared: &'a Shared,
    /// Where the next record begins.
    offset: u64,
    /// The segment it is in; none before the first look.
    segment: Option<Arc<Segment>>,
    /// Whole or cut short, what was read of the log from `offset` on begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// Where the log goes on if the segment ends here: the record before, of the log itself, has said so.
    goes_on_at: Option<u64>,
    /// Whether a record was found where the feed starts.
    has_begun: bool,
    looked: Instant,
    /// That of the log when the feed began.
    generation: u64,
}

/// Where a feed has come to, to go on from in another one. Keeps the segment open.
pub(crate) struct FeedPosition {
    offset: u64,
    segment: Option<Arc<Segment>>,
    generation: u64,
}

impl FeedPosition {
    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

impl<'a> Feed<'a> {
    /// A feed of what comes after an offset; of what comes from now on where none is given.
    pub(super) fn new(shared: &'a Shared, after: Option<u64>) -> Result<Feed<'a>, FeedError> {
        let written = shared.commit.position().written;
        let offset = after.unwrap_or(written);
        if offset > written {
            return Err(FeedError::Ahead { written });
        }
        shared.commit.watchers.enter();
        let mut feed = Feed {
            shared,
            offset,
            segment: None,
            buffer: Vec::new(),
            start: 0,
            goes_on_at: None,
            // The log is always written up to the end of a record.
            has_begun: offset == written,
            looked: Instant::now(),
            generation: shared.generation(),
        };
        // So that an offset that cannot be gone on from is refused here.
        if let Some(bytes) = feed.next_bytes_any()?.filter(|bytes| *bytes > BUFFER_BYTES) {
            feed.check_long(bytes)?;
        }
        Ok(feed)
    }

    /// A feed that continues at a saved position. What a new one would have to look for is at hand.
    pub(super) fn resume(shared: &'a Shared, position: FeedPosition) -> Feed<'a> {
        shared.commit.watchers.enter();
        Feed {
            shared,
            offset: position.offset,
            segment: position.segment,
            buffer: Vec::new(),
            start: 0,
            goes_on_at: None,
            has_begun: true,
            looked: Instant::now(),
            generation: position.generation,
        }
    }

    /// See [`Feed::resume`].
    pub(crate) fn position(&self) -> FeedPosition {
        FeedPosition {
            offset: self.offset,
            segment: self.segment.clone(),
            generation: self.generation,
        }
    }

    /// Bytes of the log that are written and were not read.
    pub fn bytes_ahead(&self) -> u64 {
        self.shared.commit.position().written.saturating_sub(self.offset)
    }

    /// Bytes of the next record, be it of a key or not; none where nothing more is written now. Reads no more of it
    /// than a feed reads at a time: a longer one is in memory only once it is asked for.
    pub(crate) fn next_bytes_any(&mut self) -> Result<Option<usize>, FeedError> {
        self.peek_within(BUFFER_BYTES)
    }

    /// Bytes of the next record of a key, which [`Feed::next`] will hold; none where nothing more is written now.
    /// Reads as little ahead as a feed does.
    pub fn next_bytes(&mut self) -> Result<Option<usize>, FeedError> {
        while let Some(bytes) = self.next_bytes_any()? {
            let record = self.buffer.get(self.start..self.start + bytes);
            if record.is_none_or(|record| Record::decode_checked(record).operation.has_key()) {
                return Ok(Some(bytes));
            }
            self.advance_any(bytes);
        }
        Ok(None)
    }

    /// The next record of a key, as [`Feed::next`] gives it, which then gives it again.
    pub fn peek_next(&mut self) -> Result<Option<Read<'_>>, FeedError> {
        let Some(bytes) = self.peek()? else {
            return Ok(None);
        };
        Ok(Some(Read {
            offset: self.offset,
            version: self.offset + bytes as u64,
            record: Record::decode_checked(&self.buffer[self.start..self.start + bytes]),
        }))
    }

    /// Frees what was read ahead: it is read anew.
    pub fn give_back(&mut self) {
        self.buffer = Vec::new();
        self.start = 0;
    }

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
        self.goes_on_at = None;
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

    /// Where the next record begins, or will: everything before it was given.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record of a key; none where nothing more is written now.
    #[allow(
        clippy::should_implement_trait,
        reason = "lends from its buffer, which Iterator cannot"
    )]
    pub fn next(&mut self) -> Result<Option<Read<'_>>, FeedError> {
        let Some(bytes) = self.peek()? else {
            return Ok(None);
        };
        let (at, offset) = (self.start, self.offset);
        self.advance(bytes);
        Ok(Some(Read {
            offset,
            version: self.offset,
            record: Record::decode_checked(&self.buffer[at..at + bytes]),
        }))
    }

    /// Waits until more is written than was read, and returns whether it is: `false` at the deadline, or
    /// where it is not to go on, which is asked again at [`wake_watchers`](super::Log::wake_watchers). May
    /// wait a little longer than until there is more: many feeds share how often all of them look.
    pub fn wait(&mut self, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        if self.start == self.buffer.len() {
            self.give_back();
        }
        let commit = &self.shared.commit;
        let watchers = &commit.watchers;
        watchers.rest_until(deadline.min(self.looked + watchers.rest()), &go_on);
        let offset = self.offset;
        let has_grown = watchers.wait(|| commit.position().written > offset, deadline, go_on);
        self.looked = Instant::now();
        has_grown
    }

    /// Moves to the next record of a key and returns how many bytes it has; none where there is none now.
    fn peek(&mut self) -> Result<Option<usize>, FeedError> {
        while let Some(bytes) = self.peek_any()? {
            let record = Record::decode_checked(&self.buffer[self.start..self.start + bytes]);
            if record.operation.has_key() {
                return Ok(Some(bytes));
            }
            self.advance_any(bytes);
        }
        Ok(None)
    }

    /// Moves past a record of whatever operation.
    fn advance_any(&mut self, bytes: usize) {
        let record = Record::decode_checked(&self.buffer[self.start..self.start + bytes]);
        let goes_on_at = (record.operation == Operation::Skip)
            .then(|| record.value_u64())
            .flatten();
        self.advance(bytes);
        self.goes_on_at = goes_on_at;
    }

    /// Moves to the next record and returns how many bytes it has; none where there is none now.
    fn peek_any(&mut self) -> Result<Option<usize>, FeedError> {
        self.peek_within(usize::MAX)
    }

    /// As [`Feed::peek_any`], but does not read a record that is longer than `bytes_max`.
    fn peek_within(&mut self, bytes_max: usize) -> Result<Option<usize>, FeedError> {
        let written = self.shared.commit.position().written;
        if self.generation != self.shared.generation() {
            // Another state was put in the place of this log.
            return Err(FeedError::Gone { oldest: written });
        }
        while self.offset < written {
            match Record::decode(self.offset, &self.buffer[self.start..]) {
                Ok((_, bytes)) => {
                    self.has_begun = true;
                    return Ok(Some(bytes));
                }
                Err(DecodeError::Incomplete(bytes)) if bytes > bytes_max => return Ok(Some(bytes)),
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

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
        self.goes_on_at = None;
    }

    /// Reads on until at least `bytes` from the cursor on are in the buffer; an inner error says how many the
    /// segment has where it does not have them.
    fn fill(&mut self, bytes: usize, written: u64) -> Result<Result<(), usize>, FeedError> {
        let segment = match &self.segment {
            Some(segment) => Arc::clone(segment),
            None => Arc::clone(self.segment.insert(self.find_segment()?)),
        };
        let cannot_read = |error| Error::io("cannot read", &segment.named.path)(error);
        let at = self.offset - segment.named.first_offset + HEADER_BYTES as u64;
        // By what is there, not by what a damaged length says.
        let there = segment
            .file
            .metadata()
            .map_err(cannot_read)?
            .len()
            .saturating_sub(at);
        let there = usize::try_from(there.min(written - self.offset)).unwrap_or(usize::MAX);
        if there < bytes {
            return Ok(Err(there));
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        if self.buffer.capacity() > BUFFER_BYTES && bytes <= BUFFER_BYTES {
            self.buffer.shrink_to(BUFFER_BYTES); // A long record was before.
        }
        let wanted = bytes.max(BUFFER_BYTES).min(there).max(have);
        self.buffer.reserve_exact(wanted - have);
        self.buffer.resize(wanted, 0);
        segment
            .file
            .read_exact_at(&mut self.buffer[have..], at + have as u64)
            .map_err(cannot_read)?;
        Ok(Ok(()))
    }

    /// Checks that a record of so many bytes stands at the cursor, without holding all of it.
    fn check_long(&mut self, bytes: usize) -> Result<(), FeedError> {
        let Some(segment) = self.segment.clone() else {
            return Ok(()); // Its beginning was read out of one.
        };
        let cannot_read = |error| Error::io("cannot read", &segment.named.path)(error);
        let at = self.offset - segment.named.first_offset + HEADER_BYTES as u64;
        let end = at + bytes as u64;
        if segment.file.metadata().map_err(cannot_read)?.len() < end {
            // What it means that the segment ends before is said where records are read.
            return self.peek_any().map(|_| ());
        }
        let mut next = at;
        let is_whole = Record::check_pieces(self.offset, || {
            let piece_bytes = (end - next).min(BUFFER_BYTES as u64) as usize;
            if piece_bytes == 0 {
                return Ok(None);
            }
            let mut piece = vec![0; piece_bytes];
            segment
                .file
                .read_exact_at(&mut piece, next)
                .map_err(cannot_read)?;
            next += piece_bytes as u64;
            Ok::<_, Error>(Some(piece))
        })?;
        if !is_whole {
            return Err(self.invalid("the checksum does not match"));
        }
        self.has_begun = true;
        Ok(())
    }

    /// The segment that the cursor is in.
    fn find_segment(&self) -> Result<Arc<Segment>, FeedError> {
        let offset = self.offset;
        let (segment, oldest) = self.shared.segments.find(|segments| {
            segments
                .partition_point(|segment| segment.first_offset <= offset)
                .checked_sub(1)
        })?;
        segment.ok_or(FeedError::Gone {
            oldest: oldest.unwrap_or_else(|| self.shared.commit.position().written),
        })
    }

    /// Goes on to the next segment, where this one ends but for `left` bytes that are no record. It begins
    /// where this one ends, or where the last record of this one says. Otherwise there are changes that the
    /// log does not hold: it goes on behind a base that does (see [`super::keeper`]).
    fn follow(&mut self, left: usize) -> Result<(), FeedError> {
        let ended = self.segment.as_ref().map(|segment| segment.inode);
        if left > 0 && !self.has_begun {
            return Err(self.invalid("the bytes are no record"));
        }
        let offset = self.offset;
        let (next, _) = self
            .shared
            .segments
            .find(|segments| Some(segments.partition_point(|segment| segment.first_offset < offset)))?;
        let next = next.filter(|next| Some(next.inode) != ended);
        let Some(next) = next else {
            return Err(self.invalid("the segment ends before the log does"));
        };
        let first_offset = next.named.first_offset;
        if left == 0 && !self.has_begun {
            return Err(self.hole(first_offset)?);
        }
        if left > 0 || (first_offset != offset && self.goes_on_at != Some(first_offset)) {
            return Err(FeedError::Gone { oldest: first_offset });
        }
        self.offset = first_offset;
        self.segment = Some(next);
        self.goes_on_at = None;
        self.has_begun = true;
        Ok(())
    }

    /// What it means that the cursor stands behind all records of its segment, and before the next one's.
    fn hole(&self, next_offset: u64) -> Result<FeedError, FeedError> {
        let Some(segment) = &self.segment else {
            return Ok(FeedError::Gone { oldest: next_offset });
        };
        let cannot_read = |error| Error::io("cannot read", &segment.named.path)(error);
        let bytes = segment.file.metadata().map_err(cannot_read)?.len();
        let end = segment.named.first_offset + bytes.saturating_sub(HEADER_BYTES as u64);
        if self.offset <= end {
            return Ok(FeedError::Gone { oldest: next_offset });
        }
        // The record that says where the log goes on is of this history alone.
        let mut last = [0; SKIP_BYTES];
        let start = end.saturating_sub(SKIP_BYTES as u64);
        let read = bytes
            .checked_sub(SKIP_BYTES as u64)
            .map(|at| segment.file.read_exact_at(&mut last, at));
        let is_skip = matches!(read, Some(Ok(())))
            && Record::decode(start, &last).is_ok_and(|(record, _)| record.operation == Operation::Skip);
        Ok(FeedError::Hole {
            start: if is_skip { start } else { end },
            goes_on_at: next_offset,
        })
    }

    /// What it means that no record stands at the cursor.
    fn invalid(&self, why: &str) -> FeedError {
        if !self.has_begun {
            return FeedError::NotABoundary { offset: self.offset };
        }
        let named = self.segment.as_ref().map(|segment| &segment.named);
        FeedError::Log(match named {
            None => Error::Inconsistent {
                dir: self.shared.dir.path().to_path_buf(),
                why: why.to_owned(),
            },
            Some(named) => Error::Damaged {
                path: named.path.clone(),
                file_position: self.offset - named.first_offset + HEADER_BYTES as u64,
                offset: self.offset,
                why: why.to_owned(),
            },
        })
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

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.shared.commit.watchers.leave();
    }
}
