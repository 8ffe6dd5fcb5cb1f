//! Backups: the state of a store that serves meanwhile, as one file that proves to be whole.
//!
//! A backup begins as a base does: a header with the offset N at which it was begun, and the entries that
//! the walk finds. They are as of N, or left out where they were written since. Then come the changes that
//! the log has from N on up to the walk's end, E, each as a record of its own; and an END that names, beside
//! the number of records, the digest of the store at E, and E. So the file is the state at E, exactly, and one
//! that was cut off has no END.
//!
//! To restore one is to check all of it, and to write it anew as the base at E of a store of its own. That
//! store has another id: what was written to the first one after E is not in its history.

use super::appender::OFFSET_TAKEN_MAX;
use super::base::{BaseCount, Batch, Source};
use super::digest_verifier::DigestVerifier;
use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::feed_error::FeedError;
use super::file_reader::{FileReader, Next};
use super::handle::Log;
use super::header::{HEADER_BYTES, Header, Kind};
use super::health::Refusal;
use super::listing::LogFile;
use super::lock::{self, Mark};
use super::term::LogId;
use crate::digest::Digest;
use crate::record::{Operation, Record};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes given at once, except for a longer value.
const PIECE_BYTES: usize = 64 * 1024;

/// What making a backup holds, in bytes, beside one longer value: a chunk, what is copied of the store, and what is read
/// ahead of the log.
pub(crate) const BACKUP_BYTES: usize = 3 * 64 * 1024;

/// Whoever takes a backup.
pub trait Take {
    /// Why it takes no more.
    type Error;

    /// Is asked for room before a longer value of so many bytes is held, and with 0 once it is released.
    fn hold(&mut self, _bytes: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Takes a chunk.
    fn take(&mut self, piece: &[u8]) -> Result<(), Self::Error>;
}

impl<E, F: FnMut(&[u8]) -> Result<(), E>> Take for F {
    type Error = E;

    fn take(&mut self, piece: &[u8]) -> Result<(), E> {
        self(piece)
    }
}

/// Why a backup was not brought to its end.
#[derive(Debug)]
pub enum BackupError<E> {
    /// Whoever takes it takes no more.
    Taker(E),
    /// The log could not be waited for.
    Refused(Refusal),
    /// The log could not be read.
    Feed(FeedError),
}

impl<E: fmt::Display> fmt::Display for BackupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::Taker(error) => error.fmt(f),
            BackupError::Refused(refusal) => refusal.fmt(f),
            BackupError::Feed(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for BackupError<E> {}

/// Writes a backup, piece by piece. Holds up nobody; what of the log it needs is kept meanwhile.
impl Log {
    /// Writes a backup of the store that the log is of, piece by piece.
    pub(crate) fn backup<E>(
        &self,
        source: &dyn Source,
        take: &mut dyn Take<Error = E>,
    ) -> Result<(), BackupError<E>> {
        write(self, source, take)
    }
}

fn write<E>(log: &Log, source: &dyn Source, take: &mut dyn Take<Error = E>) -> Result<(), BackupError<E>> {
    let generation = log.shared.generation();
    let replaced = || {
        let is_replaced = log.shared.is_awaiting_snapshot() || log.shared.generation() != generation;
        let oldest = log.position().written;
        is_replaced.then_some(BackupError::Feed(FeedError::Gone { oldest }))
    };
    // Nothing may be dropped between the question how far the log is and the guard that keeps it from there.
    let everything = log.shared.retention.retain(0);
    let start = source.tip();
    let _retained = log.shared.retention.retain(start);
    drop(everything);
    log.wait_led(start).map_err(BackupError::Refused)?;
    let mut feed = log.feed(Some(start)).map_err(BackupError::Feed)?;
    let header = Header {
        kind: Kind::Base,
        id: log.shared.history.id(),
        first_offset: start,
        branches: log.shared.history.branches(),
    };
    let mut out = Pieces {
        bytes: header.encode(),
        given: 0,
        records: 0,
        take,
        holds: false,
    };
    let mut batch = Batch::new();
    let mut slot = Some(0);
    while let Some(from) = slot {
        slot = source.walk_slots(from, start, &mut batch);
        for (record, _) in batch.records() {
            out.push(&record).map_err(BackupError::Taker)?;
        }
        batch.clear();
        if let Some(error) = replaced() {
            return Err(error);
        }
    }
    let walked = source.tip();
    log.wait_led(walked).map_err(BackupError::Refused)?;
    let (end, digest) = loop {
        let state = log.state();
        if state.0 >= walked {
            break state;
        }
        std::thread::yield_now(); // Who has written it is about to say so.
    };
    while feed.offset() < end {
        let next_bytes = feed.next_bytes().map_err(BackupError::Feed)?;
        if let Some(bytes) = next_bytes.filter(|bytes| *bytes > PIECE_BYTES) {
            feed.give_back();
            out.hold(bytes).map_err(BackupError::Taker)?;
        }
        let Some(read) = feed.next().map_err(BackupError::Feed)? else {
            break;
        };
        let record = Record {
            version: Some(read.version),
            more: false,
            ..read.record
        };
        out.push(&record).map_err(BackupError::Taker)?;
    }
    if let Some(error) = replaced() {
        return Err(error);
    }
    let value = [out.records, digest.0, end].map(u64::to_le_bytes).concat();
    out.push(&Record::new(Operation::End, 0, &[], &value))
        .and_then(|()| out.give())
        .map_err(BackupError::Taker)
}

/// Records on their way out.
struct Pieces<'a, E> {
    bytes: Vec<u8>,
    /// Bytes that were given before those.
    given: u64,
    records: u64,
    take: &'a mut dyn Take<Error = E>,
    /// Whether room was asked for that is not needed any more once the next record is given.
    holds: bool,
}

impl<E> Pieces<'_, E> {
    fn push(&mut self, record: &Record<'_>) -> Result<(), E> {
        let position = self.given + self.bytes.len() as u64 - HEADER_BYTES as u64;
        self.records += 1;
        if record.value.len() < PIECE_BYTES {
            record.encode(position, &mut self.bytes);
        } else {
            // A long value is given from where it is.
            record.encode_head(position, &mut self.bytes);
            self.give()?;
            self.take.take(record.value)?;
            self.given += record.value.len() as u64;
        }
        if self.bytes.len() >= PIECE_BYTES {
            self.give()?;
        }
        if std::mem::take(&mut self.holds) {
            self.take.hold(0)?;
        }
        Ok(())
    }

    /// Asks for room for a long value.
    fn hold(&mut self, bytes: usize) -> Result<(), E> {
        self.give()?;
        self.holds = true;
        self.take.hold(bytes)
    }

    fn give(&mut self) -> Result<(), E> {
        if !self.bytes.is_empty() {
            self.take.take(&self.bytes)?;
        }
        self.given += self.bytes.len() as u64;
        self.bytes = Vec::new();
        Ok(())
    }
}

/// What a backup, or a base, was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The offset that it is the state at.
    pub offset: u64,
    /// Entries in it.
    pub entries: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Reads a backup, or a base, to its end. An error where it is not whole, or does not add up.
pub(crate) fn verify(path: &Path) -> Result<Whole, Error> {
    let mut reader = open(path)?;
    read(&mut reader).map_err(not_whole)
}

/// A backup is not repaired, so it is not said to be damaged in the words that files of a store are.
fn not_whole(error: Error) -> Error {
    match error {
        Error::Damaged {
            path,
            file_position,
            why,
            ..
        } => Error::IncompleteBackup {
            path,
            file_position,
            why,
        },
        error => error,
    }
}

fn open(path: &Path) -> Result<FileReader, Error> {
    let named = LogFile::of_file(path)?;
    if named.kind != Kind::Base {
        return Err(Error::NoStore {
            path: path.to_path_buf(),
            why: "it is a part of a log, and no backup",
        });
    }
    FileReader::open(&named).map_err(not_whole)
}

fn read(reader: &mut FileReader) -> Result<Whole, Error> {
    let mut count = BaseCount::default();
    let mut verifier = DigestVerifier::default();
    let mut whole = None;
    loop {
        let at = reader.file_position();
        let start = reader.offset();
        match reader.peek()? {
            Next::Record(bytes) => {
                let record = reader.record(bytes);
                let mismatch = verifier.push(&record, record.version.unwrap_or(start));
                let counted = count.count(&record);
                if record.operation == Operation::End {
                    let offset = record.value.get(16..24).and_then(|end| end.try_into().ok());
                    let offset = offset.map_or(start, u64::from_le_bytes);
                    if offset > OFFSET_TAKEN_MAX {
                        return Err(reader.damaged(at, "it names an offset that no log reaches"));
                    }
                    whole = Some(Whole {
                        offset,
                        entries: verifier.entries(),
                        digest: verifier.digest(),
                    });
                }
                match (counted, mismatch) {
                    (Err(why), _) => return Err(reader.damaged(at, why)),
                    (_, Some(_)) => return Err(reader.damaged(at, "its records do not add up to its digest")),
                    _ if count.has_gap => return Err(reader.damaged(at, "a repair has lost a part of it")),
                    _ => {}
                }
            }
            Next::End => {
                return whole
                    .ok_or_else(|| reader.damaged(at, "it ends before its last record: it was cut off"));
            }
            Next::Invalid(why) => return Err(reader.damaged(at, why)),
        }
    }
}

/// Makes a store of a backup, in a directory that has none.
pub(crate) fn restore(path: &Path, dir: &Path) -> Result<Whole, Error> {
    let mut reader = open(path)?;
    let whole = read(&mut reader).map_err(not_whole)?;
    let header = Header {
        kind: Kind::Base,
        id: LogId::random().map_err(|error| Error::io("cannot get random bytes for", dir)(error.into()))?,
        first_offset: whole.offset,
        // Another log, with a history of its own. So a store whose terms were used up has a way out.
        branches: Vec::new(),
    };
    let from = reader.into_file();
    let disk = Disk::default();
    let had_lock = dir.join(lock::NAME).exists();
    let dir = Dir::open_or_create(&disk, dir)?;
    if dir.list()?.all().next().is_some() {
        return Err(Error::Exists {
            dir: dir.path().to_path_buf(),
        });
    }
    let named = LogFile::new(dir.path(), Kind::Base, whole.offset);
    dir.make(&disk, &named.path, |to| {
        disk.write_at(to, &header.encode(), 0)
            .map_err(Error::io("cannot write", &named.path))?;
        copy_records(&disk, (&from, path), (to, &named.path))
    })
    .inspect_err(|_| {
        // A LOCK says that there was a store here: one that this has made is taken away again.
        if !had_lock {
            let _ = disk.remove(&dir, &dir.path().join(lock::NAME));
        }
    })?;
    let mark = Mark {
        id: header.id,
        last_segment: None,
        closed_at: None,
    };
    dir.set_mark(&disk, mark);
    Ok(whole)
}

/// Copies all after the header. A record's checksum covers its place after the header, which stays.
fn copy_records(
    disk: &Disk,
    (from, path): (&File, &Path),
    (to, to_path): (&File, &Path),
) -> Result<(), Error> {
    let end = from.metadata().map_err(Error::io("cannot read", path))?.len();
    let mut buffer = vec![0; 1 << 20];
    let mut at = HEADER_BYTES as u64;
    while at < end {
        let part = &mut buffer[..(end - at).min(1 << 20) as usize];
        from.read_exact_at(part, at)
            .map_err(Error::io("cannot read", path))?;
        disk.write_at(to, part, at)
            .map_err(Error::io("cannot write", to_path))?;
        at += part.len() as u64;
    }
    Ok(())
}
