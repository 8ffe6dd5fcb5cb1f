//! Reads the records of one file, in order, checking each.
//!
//! A batch is read only where all of it is there: one that is cut short is, from its first record on, no
//! record. So nobody who reads by this file ever sees a part of a batch as if it were all.
//!
//! Never more than a record or a batch and a buffer is held in memory, and never by a length that the file cannot
//! back: a damaged length field allocates nothing.

mod broken;

use super::dir_handle::DirHandle;
use super::error::Error;
use super::header::{HEADER_BYTES, Header, HeaderError, Kind};
use super::last_record::LastRecord;
use super::listing::LogFile;
use super::regular;
use super::term::LogId;
use crate::record::{DecodeError, Operation, Record};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Read at a time, in bytes: long enough that the system call does not count.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why the last bytes of a file are no record when a crash has interrupted their write.
pub(super) const CUT_SHORT: &str = "the record is cut short";

/// What stands where the next record should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A complete record, of this many bytes. [`FileReader::record`] reads it.
    Record(usize),
    /// Nothing: the file ends here.
    End,
    /// Bytes that are no record, or not all of one.
    Invalid(&'static str),
}

/// Why a segment has bytes after the record that says where the log continues.
const BEHIND_SKIP: &str = "the segment continues after its last record";

/// Why a SKIP is none that a node has written.
const BAD_SKIP: &str = "it skips to an offset that no log reaches, or back";

/// A cursor over the records of a file.
pub(super) struct FileReader {
    named: LogFile,
    header: Header,
    file: File,
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    start: usize,
    /// Where in the file that is.
    file_position: u64,
    /// Up to here in the file, a batch was seen to be complete.
    batch_end: u64,
    /// Up to here in the file, a batch was seen not to be whole, and why.
    broken_batch: Option<(u64, &'static str)>,
    /// Once a SKIP was read: where in the file it ends, and the offset that it has named.
    skip: Option<(u64, u64)>,
    /// The record that was read last.
    last: Option<LastRecord>,
}

impl FileReader {
    /// Opens a file by its path and checks its header, also against its name.
    pub(super) fn open(named: &LogFile) -> Result<FileReader, Error> {
        let file = regular::open(&named.path).map_err(Error::io("cannot open", &named.path))?;
        FileReader::new(named, file)
    }

    /// As [`FileReader::open`], of a directory that is open.
    pub(super) fn open_in(dir: &DirHandle, named: &LogFile) -> Result<FileReader, Error> {
        let file = dir
            .open_to_read_at(&named.path)
            .map_err(Error::io("cannot open", &named.path))?;
        FileReader::new(named, file)
    }

    /// The header of a file of a directory that is open, whatever its name says.
    pub(super) fn header_in(dir: &DirHandle, named: &LogFile) -> Result<Header, Error> {
        let file = dir
            .open_to_read_at(&named.path)
            .map_err(Error::io("cannot open", &named.path))?;
        read_header(named, &file)
    }

    fn new(named: &LogFile, file: File) -> Result<FileReader, Error> {
        let header = read_header(named, &file)?;
        if header.kind != named.kind || header.first_offset != named.first_offset {
            return Err(Error::Damaged {
                path: named.path.clone(),
                file_position: 0,
                offset: named.first_offset,
                why: "the header does not say what the file's name says".to_owned(),
            });
        }
        Ok(FileReader::with_header(named.clone(), header, file))
    }

    /// A reader of a file whose header is known otherwise, or made up to look at the records after a
    /// damaged one.
    pub(super) fn with_header(named: LogFile, header: Header, file: File) -> FileReader {
        FileReader {
            named,
            header,
            file,
            buffer: Vec::new(),
            start: 0,
            file_position: HEADER_BYTES as u64,
            batch_end: 0,
            broken_batch: None,
            skip: None,
            last: None,
        }
    }

    /// A reader of the records of a file whose header does not matter.
    pub(super) fn without_header(named: LogFile, file: File) -> FileReader {
        let header = Header {
            kind: named.kind,
            id: LogId::default(),
            first_offset: named.first_offset,
            branches: Vec::new(),
        };
        FileReader::with_header(named, header, file)
    }

    /// The file alone.
    pub(super) fn into_file(self) -> File {
        self.file
    }

    pub(super) fn named(&self) -> &LogFile {
        &self.named
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The record that was read last; none where none was.
    pub(super) fn last(&self) -> Option<LastRecord> {
        self.last
    }

    /// Where in the file the next record stands, in bytes.
    pub(super) fn file_position(&self) -> u64 {
        self.file_position
    }

    /// The offset in the log of the next record: in a base, the offset the base is the state at; after a
    /// SKIP, where the log continues.
    pub(super) fn offset(&self) -> u64 {
        match self.named.kind {
            Kind::Log => match self.skip {
                Some((_, next_offset)) => next_offset,
                None => self.checksum_position(),
            },
            Kind::Base => self.named.first_offset,
        }
    }

    /// Whether the record that was read last is a SKIP: the segment has nothing more to say.
    pub(super) fn is_behind_skip(&self) -> bool {
        self.skip.is_some()
    }

    /// What a record at the cursor has in its checksum: see [`crate::record`].
    fn checksum_position(&self) -> u64 {
        match self.named.kind {
            Kind::Log => self.named.first_offset + self.position(),
            Kind::Base => self.position(),
        }
    }

    fn position(&self) -> u64 {
        self.file_position - HEADER_BYTES as u64
    }

    /// Looks at what stands at the cursor.
    pub(super) fn peek(&mut self) -> Result<Next, Error> {
        loop {
            let unread = &self.buffer[self.start..];
            match Record::decode(self.checksum_position(), unread) {
                Ok(_) if self.is_behind_skip() => return Ok(Next::Invalid(BEHIND_SKIP)),
                Ok((record, bytes)) if record.operation == Operation::Skip => {
                    let end = self.checksum_position() + bytes as u64;
                    return Ok(match record.skips_to(end) {
                        Some(_) => Next::Record(bytes),
                        None => Next::Invalid(BAD_SKIP),
                    });
                }
                Ok((record, bytes)) if !record.more || self.file_position < self.batch_end => {
                    return Ok(Next::Record(bytes));
                }
                Ok((_, bytes)) => {
                    return Ok(match self.broken_batch()? {
                        Some(why) => Next::Invalid(why),
                        None => Next::Record(bytes),
                    });
                }
                Err(DecodeError::Corrupt(why)) => return Ok(Next::Invalid(why)),
                Err(DecodeError::Incomplete(bytes)) => {
                    let left = self.file_bytes()?.saturating_sub(self.file_position);
                    if left == 0 {
                        return Ok(Next::End);
                    }
                    if left < bytes as u64 {
                        return Ok(Next::Invalid(CUT_SHORT));
                    }
                    self.fill(bytes)?;
                }
            }
        }
    }

    /// Looks whether the batch that a record at the cursor is of is all there; says why if not.
    fn broken_batch(&mut self) -> Result<Option<&'static str>, Error> {
        if let Some((until, why)) = self.broken_batch
            && self.file_position < until
        {
            return Ok(Some(why));
        }
        let mut ahead = 0;
        let why = loop {
            let position = self.checksum_position() + ahead as u64;
            match Record::decode(position, &self.buffer[self.start + ahead..]) {
                Ok((record, bytes)) => {
                    ahead += bytes;
                    if !record.more {
                        self.batch_end = self.file_position + ahead as u64;
                        return Ok(None);
                    }
                }
                Err(DecodeError::Corrupt(why)) => break why,
                Err(DecodeError::Incomplete(bytes)) => {
                    let needed = ahead + bytes;
                    if self.file_bytes()?.saturating_sub(self.file_position) < needed as u64 {
                        break CUT_SHORT;
                    }
                    self.fill(needed)?;
                }
            }
        };
        self.broken_batch = Some((self.file_position + ahead as u64, why));
        Ok(Some(why))
    }

    /// The record that [`FileReader::peek`] found.
    pub(super) fn look(&self, bytes: usize) -> Record<'_> {
        Record::decode_checked(&self.buffer[self.start..self.start + bytes])
    }

    /// The record that [`FileReader::peek`] found, and moves past it.
    ///
    /// # Panics
    /// If the last call was not a `peek` that found one.
    pub(super) fn record(&mut self, bytes: usize) -> Record<'_> {
        let at = self.start;
        self.last = LastRecord::of_bytes(self.checksum_position(), &self.buffer[at..]);
        self.advance(bytes);
        let record = Record::decode_checked(&self.buffer[at..at + bytes]);
        if record.operation == Operation::Skip {
            self.skip = record.value_u64().map(|to| (self.file_position, to));
        }
        record
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.file_position += bytes as u64;
    }

    /// From a cursor at invalid bytes, goes to the next position where a valid record stands. `false`, with
    /// the cursor at the end of the file, where there is none.
    pub(super) fn seek_valid(&mut self) -> Result<bool, Error> {
        loop {
            if self.start == self.buffer.len() {
                let left = self.file_bytes()?.saturating_sub(self.file_position);
                if left == 0 {
                    return Ok(false);
                }
                self.fill(left.min(BUFFER_BYTES as u64) as usize)?;
            }
            self.advance(1);
            if let Next::Record(_) = self.peek()? {
                return Ok(true);
            }
        }
    }

    /// Moves the cursor to a place of the file.
    pub(super) fn skip_forward(&mut self, file_position: u64) {
        self.forget_buffer();
        self.file_position = file_position;
        self.batch_end = 0;
        self.skip = self.skip.filter(|(end, _)| *end == file_position);
    }

    /// Drops what was read ahead, which may have changed since.
    pub(super) fn forget_buffer(&mut self) {
        self.buffer.clear();
        self.start = 0;
        self.broken_batch = None;
    }

    fn file_bytes(&self) -> Result<u64, Error> {
        Ok(self
            .file
            .metadata()
            .map_err(Error::io("cannot read", &self.named.path))?
            .len())
    }

    /// Reads on until the unread part of the buffer has at least `bytes`, which the file must have.
    fn fill(&mut self, bytes: usize) -> Result<(), Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        self.buffer.resize(bytes.max(BUFFER_BYTES).max(have), 0);
        let read = read_full(
            &self.file,
            &mut self.buffer[have..],
            self.file_position + have as u64,
        )
        .map_err(Error::io("cannot read", &self.named.path))?;
        self.buffer.truncate(have + read);
        Ok(())
    }

    /// An error that says what is wrong at a place of this file.
    pub(super) fn damaged(&self, file_position: u64, why: &str) -> Error {
        let offset = match self.named.kind {
            Kind::Log => self.named.first_offset + file_position - HEADER_BYTES as u64,
            Kind::Base => self.named.first_offset,
        };
        Error::Damaged {
            path: self.named.path.clone(),
            file_position,
            offset,
            why: why.to_string(),
        }
    }
}

fn read_header(named: &LogFile, file: &File) -> Result<Header, Error> {
    let mut header = vec![0; HEADER_BYTES];
    let read = read_full(file, &mut header, 0).map_err(Error::io("cannot read", &named.path))?;
    Header::decode(&header[..read]).map_err(|error| match error {
        HeaderError::Damaged(why) => Error::Damaged {
            path: named.path.clone(),
            file_position: 0,
            offset: named.first_offset,
            why: why.to_owned(),
        },
        HeaderError::Version(found) => Error::Version {
            path: named.path.clone(),
            found,
        },
    })
}

/// Reads until the buffer is full or the file ends; returns how much it was.
fn read_full(file: &File, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], position + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
