//! Opens a data directory: reads what it holds, in order, and finds the end of the log.
//!
//! The newest base is read first, if there is one, then the segments from its offset on. They must follow
//! one another without a gap, and be whole, except for one thing: the last segment may have a torn tail, bytes
//! at its end that are no record and have no valid record after them. They are what a write leaves that a
//! crash interrupted, and are cut off, with a warning; where they are more than a record cut short, they are
//! kept in a file of their own.
//! (A power cut can also lose an earlier page of the last, unsynced writes and keep a later one. That looks
//! like damage, and as damage it is left to the operator.)
//!
//! A node that gives offsets begins a branch of the log's history ([`super::branch`]): a TERM record with a
//! nonce of its own, and a SKIP. Records may have been lost that had offsets after the log's end, and the
//! directory may be a copy of one that has been written to since. So the branch begins a good way further on
//! ([`SKIPPED_BYTES`](super::recovered::SKIPPED_BYTES)), and by chance a little more, and no version is ever given twice.
//!
//! A replica's log is the primary's, byte for byte: nothing is added to it here.
//!
//! Anything else that is not as it was written stops the start: see [`Error::Damaged`]. What a repair does
//! is described in the module `repair`.

use super::base::BaseCount;
use super::branch::Branch;
use super::dir::Dir;
use super::disk::Disk;
use super::error::{Error, inconsistent};
use super::file_reader::{CUT_SHORT, FileReader, Next};
use super::header::{HEADER_BYTES, Kind};
use super::inspect::{check_start, is_bare_tail};
use super::listing::{Backlog, Listing, LogFile};
use super::marker::Role;
use super::options::{BACKLOG_BYTES_DEFAULT, Options, Progress};
use super::recovered::{Recovered, begin_branch, begin_segment, start_log};
use super::repair;
use super::segment::Segment;
use super::term::Term;
use crate::digest::Digest;
use crate::record::{Operation, Record};
use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

/// The largest size of a segment, in bytes.
pub(crate) const SEGMENT_BYTES_CEILING: u64 = 2 << 30;

/// The most that may wait to be written, in bytes.
pub(crate) const UNWRITTEN_BYTES_CEILING: u64 = 1 << 30;

/// Said of damage that may be no fault of the medium.
const LOST_PAGE: &str =
    ", with complete records behind it (a power cut may leave this where the log was not synced)";

/// Reads a directory, or makes a new log in an empty one. Each record is given to `replay` with the version
/// that it gives its key. `role` says what the node is, by the term of its log.
pub(super) fn recover(
    dir: &Dir,
    disk: &Disk,
    options: &Options,
    role: impl Fn(Term) -> Role,
    mut replay: impl FnMut(&Record<'_>, u64),
) -> Result<Recovered, Error> {
    let listing = dir.list()?;
    dir.check_no_stranger(&listing)?;
    if listing.all().next().is_none() && !options.new_store {
        dir.check_is_new(&listing)?;
    }
    for path in &listing.temporary {
        log::warn!(
            "removing {}, which was being made when the process ended",
            path.display()
        );
    }
    dir.remove(disk, listing.temporary.iter().cloned());

    let listing = set_bare_tail_aside(dir, disk, listing)?;
    let files: Vec<&LogFile> = listing.current().collect();
    if files.is_empty() {
        return if listing.superseded().next().is_none() {
            if !options.new_store {
                dir.check_is_new(&listing)?;
            }
            start_log(dir, disk, options.branch_spread_bytes)
        } else {
            unreachable_start(dir)
        };
    }
    check_start(dir, &files)?;
    dir.check_last_segment(&listing)?;
    let closed_at = dir.closed_at(&listing);
    let (mut log, has_lost) = read_files(dir, disk, &files, closed_at, &options.progress, &mut replay)?;
    dir.check_end(closed_at, log.position)?;
    let end = log.segment.file.metadata();
    let end = end.map_err(Error::io("cannot read", &log.segment.path))?.len();
    let is_open = files.last().is_some_and(|last| last.kind == Kind::Log)
        && log.segment.file_position(log.position) == end;
    if is_open {
        // What was written and not synced before is now what the store holds, and clients see: it is made
        // durable before anything is built on it.
        let Segment { file, path, .. } = &log.segment;
        disk.sync_data(file).map_err(Error::io("cannot sync", path))?;
    } else {
        // The process ended between making the base, or the SKIP, and the segment that follows it.
        begin_segment(dir, disk, &mut log)?;
    }
    // A replica's log is the primary's, byte for byte: it has no say in how it continues.
    let term = log.branches.last().map_or(Term::FIRST, |last| last.term);
    if role(term) == Role::Primary {
        begin_branch(dir, disk, &mut log, options.branch_spread_bytes)?;
    }
    // What a base was made of is kept where the base was damaged: somebody may want it yet.
    if !has_lost {
        let backlog = Backlog::AtLeast(options.backlog_bytes.unwrap_or(BACKLOG_BYTES_DEFAULT));
        dir.remove(disk, listing.dispensable(dir, backlog, None));
    }
    if log.deferred.is_none() {
        log.segment.mark(dir, disk, log.id);
    }
    Ok(log)
}

/// Reads a base and what follows it. Returns the log as it ends there, and whether a part of it was lost. `closed_at` is
/// where a stop in order has left it.
fn read_files(
    dir: &Dir,
    disk: &Disk,
    files: &[&LogFile],
    closed_at: Option<u64>,
    progress: &Progress,
    replay: &mut impl FnMut(&Record<'_>, u64),
) -> Result<(Recovered, bool), Error> {
    progress.set_all(files.iter().map(|file| bytes_of(&file.path)).sum());
    let mut read_bytes = 0;
    let mut log: Option<Recovered> = None;
    let mut has_lost = false;
    let mut is_empty = files.iter().all(|named| named.kind == Kind::Log);
    let mut digest = None;
    for (at, named) in files.iter().enumerate() {
        let mut reader = FileReader::open_in(dir, named)?;
        if let Some(log) = &log {
            check_follows(dir, log, &reader)?;
        }
        let mut branches = reader.header().branches.clone();
        let is_last = at + 1 == files.len();
        has_lost |= read_file(
            dir,
            disk,
            &mut reader,
            is_last.then_some(closed_at.unwrap_or(0)),
            &mut branches,
            &mut |record, version| {
                read_bytes += record.encoded_bytes() as u64;
                progress.set_read(read_bytes);
                digest = record.digest().filter(|_| record.operation == Operation::Close);
                is_empty &= !record.operation.has_key();
                replay(record, version);
            },
        )?;
        let position = reader.offset();
        let file = disk
            .open(dir, &named.path)
            .map_err(Error::io("cannot open", &named.path))?;
        let segment = Segment {
            first_offset: named.first_offset,
            path: named.path.clone(),
            file: Arc::new(file),
        };
        log = Some(Recovered {
            id: reader.header().id,
            branches,
            segment,
            position,
            digest: None,
            last: match named.kind {
                Kind::Log => reader.last().or(log.and_then(|log| log.last)),
                Kind::Base => None,
            },
            is_empty,
            deferred: None,
        });
    }
    let mut log = log.expect("there is at least one file");
    log.digest = digest.map(Digest);
    Ok((log, has_lost))
}

/// The size of a file, for what is said of how far a start is.
fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Takes a last segment away that is empty, or has no header and no record, after one that ends where it begins:
/// nothing that was acknowledged was in it.
fn set_bare_tail_aside(dir: &Dir, disk: &Disk, mut listing: Listing) -> Result<Listing, Error> {
    let Some(last) = listing.current().last().cloned() else {
        return Ok(listing);
    };
    if is_bare_tail(dir, &listing, &last)? {
        // LOCK is to forget this segment, and not one that was after it and is missing, nor what it held.
        dir.check_last_segment(&listing)?;
        dir.check_end(dir.closed_at(&listing), last.first_offset)?;
        let mark = dir.forget_end(disk)?;
        let aside = repair::set_aside(dir, disk, &last.path, last.first_offset);
        let aside = aside.inspect_err(|_| mark.into_iter().for_each(|mark| dir.set_mark(disk, mark)))?;
        log::warn!(
            "{} has no header and no record, as a power cut may leave a file that was just made; it is {} now",
            last.path.display(),
            aside.display()
        );
        listing.forget(&last);
    }
    Ok(listing)
}

fn check_follows(dir: &Dir, log: &Recovered, reader: &FileReader) -> Result<(), Error> {
    let (header, name) = (reader.header(), reader.named().path.display());
    if header.id != log.id {
        return inconsistent(dir.path(), format!("{name} is of another log"));
    }
    match header.first_offset.cmp(&log.position) {
        Ordering::Equal => Ok(()),
        Ordering::Greater if log.segment.first_offset < log.position => Err(Error::Damaged {
            path: log.segment.path.clone(),
            file_position: log.segment.file_position(log.position),
            offset: log.position,
            why: "the segment ends before the next one begins".to_string(),
        }),
        _ => {
            let end = log.position;
            inconsistent(
                dir.path(),
                format!("{name} does not begin where the file before it ends, at offset {end}"),
            )
        }
    }
}

/// Reads one file to its end, and cuts off a torn tail, which may begin at `torn_from` or after it; there is none
/// where that is not given. Returns whether it is a base of which a repair has lost something.
fn read_file(
    dir: &Dir,
    disk: &Disk,
    reader: &mut FileReader,
    torn_from: Option<u64>,
    branches: &mut Vec<Branch>,
    replay: &mut impl FnMut(&Record<'_>, u64),
) -> Result<bool, Error> {
    let is_base = reader.named().kind == Kind::Base;
    let mut in_base = BaseCount::default();
    loop {
        let start = reader.offset();
        match reader.peek()? {
            Next::Record(bytes) => {
                let after = start + bytes as u64;
                let file_position = reader.file_position();
                let record = reader.record(bytes);
                if let Some(branch) = Branch::of_record(&record, start) {
                    branch.note(branches);
                }
                if is_base {
                    if let Err(why) = in_base.count(&record) {
                        return Err(reader.damaged(file_position, why));
                    }
                    replay(&record, record.version.unwrap_or(start));
                } else {
                    replay(&record, after);
                }
            }
            Next::End if is_base && !in_base.is_ended => {
                return Err(reader.damaged(reader.file_position(), "the base ends before its last record"));
            }
            Next::End => return Ok(in_base.has_gap),
            Next::Invalid(why) => {
                let at = reader.file_position();
                let Some(torn_from) = torn_from.filter(|_| !is_base) else {
                    return Err(reader.damaged(at, why));
                };
                if start < torn_from {
                    let why = format!(
                        "{why}, and the log was complete up to offset {torn_from} when it was closed"
                    );
                    return Err(reader.damaged(at, &why));
                }
                if reader.seek_valid()? {
                    return Err(reader.damaged(at, &format!("{why}{LOST_PAGE}")));
                }
                cut_tail(dir, disk, reader, at, why)?;
                reader.skip_forward(at);
                return Ok(false);
            }
        }
    }
}

fn cut_tail(dir: &Dir, disk: &Disk, reader: &FileReader, at: u64, why: &str) -> Result<(), Error> {
    let path = &reader.named().path;
    let file = disk.open(dir, path).map_err(Error::io("cannot open", path))?;
    let end = file.metadata().map_err(Error::io("cannot read", path))?.len();
    let offset = reader.named().first_offset + at - HEADER_BYTES as u64;
    let (name, cut) = (path.display(), end - at);
    if why == CUT_SHORT {
        log::warn!("{name} ends in a record that was cut short; cutting off {cut} bytes at offset {offset}");
    } else if repair::is_zero(path, &file, at..end)? {
        log::warn!(
            "{name} ends in {cut} bytes that are zero, as a power cut may leave them; cutting them off at offset {offset}"
        );
    } else {
        // A power cut leaves this too; but it may also be the medium, so the bytes are kept.
        let (saved, _) = repair::save(dir, disk, (path, &file), offset, at..end)?;
        log::warn!(
            "{name} ends in {cut} bytes that are no record ({why}); cutting them off at offset {offset}, \
             and keeping them in {}",
            saved.display()
        );
    }
    disk.set_len(&file, at).map_err(Error::io("cannot cut", path))?;
    disk.sync_data(&file).map_err(Error::io("cannot sync", path))
}

fn unreachable_start(dir: &Dir) -> Result<Recovered, Error> {
    inconsistent(
        dir.path(),
        "there are files of a log, and none that it could begin with".to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::alone::{Alone, MapStore, files, options};
    use super::super::header::Header;
    use super::super::{Change, Policy};
    use super::*;
    use crate::pair::Pair;
    use std::path::Path;

    /// What a start finds in a directory: the keys, and the end of the log. It adds nothing, as a replica's does.
    fn start(path: &Path) -> Result<(String, u64), Error> {
        let disk = Disk::default();
        let dir = Dir::open_or_create(&disk, path)?;
        let store = MapStore::default();
        let replay = |record: &Record<'_>, version| store.replay(record, version);
        let log = recover(&dir, &disk, &options(Policy::No), |_| Role::Replica, replay)?;
        let keys: Vec<_> = store.contents().into_iter().map(|(key, _)| key).collect();
        Ok((keys.join(" "), log.position))
    }

    /// The only segment of a log with the keys `a` and `b`, and a batch of `c` and `d`; and where each of the three ends.
    fn example(path: &Path) -> (LogFile, Vec<u8>, [u64; 3]) {
        let mut alone = Alone::primary(path);
        let ends = [alone.set("a", "1"), alone.set("b", "2")];
        alone.appender.begin_batch(crate::wal::BatchRoom::new(2));
        for key in ["c", "d"] {
            let pair = Pair::new(key.as_bytes(), b"3");
            let replaced = None;
            alone
                .appender
                .append_unreserved(0, Change::Put { pair, replaced });
        }
        alone.appender.end_batch();
        let end = alone.appender.next();
        alone.log.wait(end).unwrap();
        drop(alone);
        let named = LogFile::from_path(&files(path, "log-")[0]).unwrap();
        let bytes = std::fs::read(&named.path).unwrap();
        (named, bytes, [ends[0], ends[1], end])
    }

    #[test]
    fn a_log_cut_anywhere_opens_to_the_records_before_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (named, bytes, ends) = example(dir.path());
        let keys = ["", "a", "a b", "a b c d"];
        let first = ends[0] as usize - 22; // A head of 20 bytes, a key and a value of one each.
        for end in first..=ends[2] as usize {
            std::fs::write(&named.path, &bytes[..HEADER_BYTES + end]).unwrap();
            let intact = ends.iter().filter(|at| **at <= end as u64).count();
            let expected = intact.checked_sub(1).map_or(first as u64, |at| ends[at]);
            let (found, position) = start(dir.path()).unwrap();
            assert_eq!((found, position), (keys[intact].to_owned(), expected), "{end}");
        }
    }

    #[test]
    fn damage_with_records_behind_it_stops_the_start_and_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (named, mut bytes, ends) = example(dir.path());
        bytes[HEADER_BYTES + ends[0] as usize + 5] ^= 1;
        std::fs::write(&named.path, &bytes).unwrap();
        match start(dir.path()) {
            Err(Error::Damaged { offset, .. }) => assert_eq!(offset, ends[0]),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(&named.path).unwrap(), bytes);
    }

    #[test]
    fn files_that_do_not_follow_one_another_stop_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let (named, bytes, ends) = example(dir.path());
        let mut header = Header::decode(&bytes[..HEADER_BYTES]).unwrap();
        header.first_offset = ends[2] + 1;
        let behind = LogFile::new(dir.path(), Kind::Log, header.first_offset);
        std::fs::write(&behind.path, header.encode()).unwrap();
        let error = start(dir.path()).unwrap_err();
        assert!(
            matches!(error, Error::Inconsistent { .. } | Error::Damaged { .. }),
            "{error:?}"
        );

        // One that begins where the log ends is its next segment.
        std::fs::remove_file(&behind.path).unwrap();
        header.first_offset = ends[2];
        let behind = LogFile::new(dir.path(), Kind::Log, header.first_offset);
        std::fs::write(&behind.path, header.encode()).unwrap();
        assert_eq!(start(dir.path()).unwrap().1, ends[2]);
        assert_eq!(std::fs::read(&named.path).unwrap(), bytes);
    }
}
