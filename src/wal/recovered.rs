//! A log as a start has found or made it, and how it begins anew: a log, a segment, a branch of its history.

use super::branch::{self, Beginning, Branch};
use super::dir::Dir;
use super::disk::Disk;
use super::error::{Error, inconsistent};
use super::last_record::LastRecord;
use super::segment::Segment;
use super::term::LogId;
use super::term::Term;
use super::writer::Deferred;
use crate::digest::Digest;
use crate::record::{OFFSET_MAX, Operation, Record};
use crate::wall::now_ms;

/// How far past the log's end a branch begins at least, in bytes: more than can have been lost. That is what was not synced, at most the last segment, and what was not yet written;
/// the command line bounds both ([`SEGMENT_BYTES_CEILING`](super::SEGMENT_BYTES_CEILING), [`UNWRITTEN_BYTES_CEILING`](super::UNWRITTEN_BYTES_CEILING)), which leaves a
/// gibibyte for evictions, that wait without a bound of their own.
pub(super) const SKIPPED_BYTES: u64 = 4 << 30;

/// A directory that was read, and the segment to continue in.
pub(super) struct Recovered {
    pub(super) id: LogId,
    pub(super) branches: Vec<Branch>,
    pub(super) segment: Segment,
    /// The end of the log.
    pub(super) position: u64,
    /// What a CLOSE at the end says the digest is.
    pub(super) digest: Option<Digest>,
    /// The record before the end, where the log holds it.
    pub(super) last: Option<LastRecord>,
    /// Whether there is neither a base nor a record of a key.
    pub(super) is_empty: bool,
    /// What could not be written for want of room.
    pub(super) deferred: Option<Deferred>,
}

/// Begins a segment at the end of the log, or leaves that until there is room.
pub(super) fn begin_segment(dir: &Dir, disk: &Disk, log: &mut Recovered) -> Result<(), Error> {
    match Segment::create(dir, disk, log.id, &log.branches, log.position, &[]) {
        Ok(segment) => log.segment = segment,
        Err(error) if error.is_disk_full() => {
            log.deferred = Some(Deferred {
                error,
                begins_segment: true,
                branch: None,
            });
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Makes the first segment of a new log: the record of term 1, and a SKIP to where versions begin, which is by
/// chance, so that those of one store are none of another.
pub(super) fn start_log(dir: &Dir, disk: &Disk, spread_bytes: u64) -> Result<Recovered, Error> {
    let id = LogId::random().map_err(no_randomness(dir))?;
    let (nonce, chance) = branch::draw(spread_bytes).map_err(no_randomness(dir))?;
    let term = Term::FIRST;
    let value = Branch::record_value(term, nonce);
    let mut first = Vec::new();
    Record::new(Operation::Term, now_ms(), &[], &value).encode(0, &mut first);
    let branches = vec![Branch {
        term,
        nonce,
        start: 0,
    }];
    let segment = Segment::create(dir, disk, id, &[], 0, &first)?;
    log::info!("made a new store in {}", dir.path().display());
    let mut log = Recovered {
        id,
        branches,
        segment,
        position: first.len() as u64,
        digest: None,
        last: LastRecord::of_bytes(0, &first),
        is_empty: true,
        deferred: None,
    };
    if chance > log.position {
        let mut skip = Vec::new();
        let start = log.position;
        Record::new(Operation::Skip, now_ms(), &[], &chance.to_le_bytes()).encode(start, &mut skip);
        append(dir, disk, &mut log, &skip, chance)?;
        log.last = LastRecord::of_bytes(start, &skip);
    }
    Ok(log)
}

/// Begins a branch of this start, in the term that the log is in; where there is no room for it, once there is.
pub(super) fn begin_branch(
    dir: &Dir,
    disk: &Disk,
    log: &mut Recovered,
    spread_bytes: u64,
) -> Result<(), Error> {
    let (nonce, chance) = branch::draw(spread_bytes).map_err(no_randomness(dir))?;
    let continues_at = log.position + SKIPPED_BYTES + chance;
    if continues_at > OFFSET_MAX {
        return inconsistent(dir.path(), "its log has used up its offsets".to_owned());
    }
    let beginning = Beginning {
        term: log.branches.last().map_or(Term::FIRST, |last| last.term),
        nonce,
        continues_at,
    };
    if let Some(deferred) = &mut log.deferred {
        deferred.branch = Some(beginning);
        return Ok(());
    }
    let (records, last) = beginning.encode(log.position, now_ms());
    let before = log.branches.clone();
    beginning.branch(log.position).note(&mut log.branches);
    match append(dir, disk, log, &records, continues_at) {
        Ok(()) => {
            // After a base without records behind it there was nothing to close, as in a store that was restored.
            let was_closed = log.digest.is_some() || log.last.is_none();
            log.last = last;
            if !was_closed {
                log::warn!("the log was not closed in order; it continues at offset {continues_at}");
            }
            Ok(())
        }
        Err(error) if error.is_disk_full() => {
            log.branches = before;
            log.deferred = Some(Deferred {
                error,
                begins_segment: false,
                branch: Some(beginning),
            });
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Writes records to the end of the log, the last of which is a SKIP, and continues at `to` in a new segment.
fn append(dir: &Dir, disk: &Disk, log: &mut Recovered, records: &[u8], to: u64) -> Result<(), Error> {
    let Segment { file, path, .. } = &log.segment;
    disk.write_at(file, records, log.segment.file_position(log.position))
        .map_err(Error::io("cannot write", path))?;
    disk.sync_data(file).map_err(Error::io("cannot sync", path))?;
    log.segment = Segment::create(dir, disk, log.id, &log.branches, to, &[])?;
    log.position = to;
    Ok(())
}

fn no_randomness(dir: &Dir) -> impl Fn(getrandom::Error) -> Error {
    move |error| Error::io("cannot get random bytes for", dir.path())(error.into())
}
