//! Reads the log beside the one who writes it: what was recorded after an offset, and then what comes.
//!
//! Records are read out of the segments' files, up to what is written. So a feed costs the writer nothing,
//! and one that falls behind costs no memory: what it has not read yet is on disk anyway.
//!
//! # What must hold
//! - Nothing past `written` is read: what stands there may be cut off again.
//! - A feed gives every record from where it starts on, each once and in order, or fails. Where the log has
//!   a hole it continues only if the record before the hole says where (see [`Feed::follow`]).
//! - A segment that is removed while a feed is in it stays readable to that feed: it has the file open.
//! - All feeds in a segment share one open file, so watchers do not use up the file descriptors; a feed that
//!   waits holds no buffer.

use super::error::Error;
use super::feed_error::FeedError;
use super::header::HEADER_BYTES;
use super::reader::Read;
use super::segments::Segment;
use super::shared::Shared;
use crate::record::{DecodeError, Operation, Record};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

/// Read at a time, in bytes, except for a record that is longer. Small, as there may be a thousand feeds.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// A cursor over the log that moves on as the log grows.
pub struct Feed<'a> {
    pub(super) shared: &'a Shared,
    /// Where the next record begins.
    pub(super) offset: u64,
    /// The segment it is in; none before the first look.
    pub(super) segment: Option<Arc<Segment>>,
    /// Whole or cut short, what was read of the log from `offset` on begins at `start`.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    /// Where the log continues if the segment ends here: the record before, of the log itself, has said so.
    pub(super) next_offset: Option<u64>,
    /// Whether a record was found where the feed starts.
    pub(super) has_begun: bool,
    looked: Instant,
    /// That of the log when the feed began.
    pub(super) generation: u64,
}

/// Where a feed has come to, to continue from in another one. Keeps the segment open.
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
            next_offset: None,
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
            next_offset: None,
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
    /// where it is not to continue, which is asked again at [`wake_watchers`](super::Log::wake_watchers). May
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
    pub(super) fn advance_any(&mut self, bytes: usize) {
        let record = Record::decode_checked(&self.buffer[self.start..self.start + bytes]);
        let next_offset = (record.operation == Operation::Skip)
            .then(|| record.value_u64())
            .flatten();
        self.advance(bytes);
        self.next_offset = next_offset;
    }

    /// Moves to the next record and returns how many bytes it has; none where there is none now.
    pub(super) fn peek_any(&mut self) -> Result<Option<usize>, FeedError> {
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
        self.next_offset = None;
    }

    /// Reads on until at least `bytes` from the cursor on are in the buffer; an inner error says how many the
    /// segment has where it does not have them.
    pub(super) fn fill(&mut self, bytes: usize, written: u64) -> Result<Result<(), usize>, FeedError> {
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
    pub(super) fn find_segment(&self) -> Result<Arc<Segment>, FeedError> {
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

    /// Continues to the next segment, where this one ends except for `left` bytes that are no record. It begins
    /// where this one ends, or where the last record of this one says. Otherwise there are changes that the
    /// log does not hold: it continues after a base that does (see [`super::log_thread`]).
    pub(super) fn follow(&mut self, left: usize) -> Result<(), FeedError> {
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
        if left > 0 || (first_offset != offset && self.next_offset != Some(first_offset)) {
            return Err(FeedError::Gone { oldest: first_offset });
        }
        self.offset = first_offset;
        self.segment = Some(next);
        self.next_offset = None;
        self.has_begun = true;
        Ok(())
    }

    /// What it means that no record stands at the cursor.
    pub(super) fn invalid(&self, why: &str) -> FeedError {
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

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.shared.commit.watchers.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::super::alone::{Alone, PATIENCE, files, options};
    use super::super::disk::Disk;
    use super::super::{Policy, Role};
    use super::*;
    use std::path::Path;

    /// A log with segments of a few records.
    fn log(dir: &Path) -> Alone {
        let mut options = options(Policy::No);
        options.segment_bytes_max = 100;
        Alone::open(&Disk::default(), dir, options, Role::Primary)
    }

    fn versions(feed: &mut Feed<'_>) -> Vec<u64> {
        let mut versions = Vec::new();
        while let Some(read) = feed.next().unwrap() {
            versions.push(read.version);
        }
        versions
    }

    #[test]
    fn a_feed_gives_each_record_once_and_in_order_over_segments() {
        let dir = tempfile::tempdir().unwrap();
        let mut alone = log(dir.path());
        let start = alone.log.appended();
        let expected: Vec<_> = (0..20).map(|n| alone.set(&format!("key{n}"), "value")).collect();
        assert!(files(dir.path(), "log-").len() > 3);
        let mut feed = alone.log.feed(Some(start)).unwrap();
        assert_eq!(versions(&mut feed), expected);
        assert_eq!(feed.bytes_ahead(), 0);
        let position = alone.log.feed(Some(expected[9])).unwrap().position();
        assert_eq!(versions(&mut alone.log.resume(position)), expected[10..]);
    }

    #[test]
    fn what_is_not_written_yet_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let mut alone = log(dir.path());
        let start = alone.log.appended();
        let shared = Arc::clone(&alone.log.shared);
        let nobody_writes = shared.locks.writer();
        let version = alone.put("key", "value");
        let mut feed = alone.log.feed(Some(start)).unwrap();
        assert!(versions(&mut feed).is_empty());
        assert!(matches!(
            alone.log.feed(Some(version)),
            Err(FeedError::Ahead { written }) if written == start
        ));
        drop(nobody_writes);
        alone.log.wait(version).unwrap();
        assert!(feed.wait(Instant::now() + PATIENCE, || true));
        assert_eq!(versions(&mut feed), [version]);
    }

    #[test]
    fn a_removed_segment_stays_readable_to_those_who_are_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut alone = log(dir.path());
        let start = alone.log.appended();
        let first = alone.set("a", "1");
        let second = alone.set("b", "2");
        let mut feed = alone.log.feed(Some(start)).unwrap();
        assert_eq!(feed.next().unwrap().unwrap().version, first);
        feed.give_back();
        std::fs::remove_file(&files(dir.path(), "log-")[0]).unwrap();
        assert_eq!(feed.next().unwrap().unwrap().version, second);
    }

    #[test]
    fn a_feed_ends_where_another_state_takes_the_place_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut alone = log(dir.path());
        let start = alone.log.appended();
        alone.set("a", "1");
        let mut feed = alone.log.feed(Some(start)).unwrap();
        let snapshot = alone.log.begin_snapshot().unwrap();
        assert!(matches!(feed.next(), Err(FeedError::Gone { .. })));
        snapshot.give_up();
    }
}
