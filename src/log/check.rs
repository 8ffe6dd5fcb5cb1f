//! Says whether a directory is whole, and mends what is not.
//!
//! This file finds what is damaged and decides how it is to be mended; the mending is in `repair`. Both
//! follow the rules of a start ([`super::recovery`]), so that what is whole here opens there.

use super::dir::{Dir, Listing, Named};
use super::disk::Disk;
use super::error::Error;
use super::file_reader::{FileReader, Next};
use super::header::{HEADER_BYTES, Header, Kind};
use super::reader::no_store;
use super::recount::{Mismatch, Recount};
use super::recovery::{BaseCount, check_start};
use super::repair::{Fix, mend};
use super::term::LogId;
use crate::digest::Digest;
use crate::record::HEAD_BYTES;
use std::path::{Path, PathBuf};

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// `base` or `log`.
    pub kind: &'static str,
    /// The offset it begins at, or is the state at.
    pub first_offset: u64,
    /// The offset just past its last whole record.
    pub end_offset: u64,
    /// Whole records in it.
    pub records: u64,
}

/// Bytes that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes from its start.
    pub file_position: u64,
    /// The offset in the log; in a base, that of the base.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong with them.
    pub why: String,
    /// Whether they are a torn tail: a start cuts it off by itself, and nothing acknowledged is in it.
    pub torn_tail: bool,
    /// Where a repair has saved them.
    pub saved_to: Option<PathBuf>,
}

/// What a directory holds, and what of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files that a start would read, in its order.
    pub files: Vec<FileReport>,
    /// What is damaged, in the same order.
    pub damage: Vec<Damage>,
    /// Where the digest is not what the files say.
    pub mismatches: Vec<Mismatch>,
    /// The digest of what a start would find.
    pub digest: Digest,
}

impl Report {
    /// Whether nothing is damaged but for a torn tail, and the digest is right.
    pub fn is_whole(&self) -> bool {
        self.damage.iter().all(|damage| damage.torn_tail) && self.mismatches.is_empty()
    }
}

/// Reads all of a directory that no process has open. Changes nothing.
///
/// That a file cannot be written is no obstacle: a directory on a read-only file system is checked as any other.
pub fn check(dir: &Path) -> Result<Report, Error> {
    let dir = open_store(dir, Dir::open_to_read)?;
    dir.check_last_segment(&dir.list()?)?;
    examine(&dir, &mut |_, _| Ok(None))
}

/// As [`check`], and mends what it finds. The report says what was damaged, and where it was saved to.
pub fn repair(dir: &Path) -> Result<Report, Error> {
    let dir = open_store(dir, Dir::open)?;
    let disk = Disk::default();
    // A last segment that is missing, or is set aside here, is missed by nobody any more.
    dir.forget_last_segment(&disk)?;
    examine(&dir, &mut |damage, fix| mend(&dir, &disk, damage, fix).map(Some))
}

/// Locks a directory that has a store; leaves any other as it is.
fn open_store(path: &Path, open: impl FnOnce(&Path) -> Result<Dir, Error>) -> Result<Dir, Error> {
    if !path.is_dir() || Listing::read(path)?.current().next().is_none() {
        return Err(no_store(path));
    }
    open(path)
}

type Mend<'a> = dyn FnMut(&Damage, Fix<'_>) -> Result<Option<PathBuf>, Error> + 'a;

fn examine(dir: &Dir, mend: &mut Mend<'_>) -> Result<Report, Error> {
    let mut listing = dir.list()?;
    let mut report = Report::default();
    while let Some(named) = find_useless(dir, &listing)? {
        let torn_tail = is_bare_tail(dir, &listing, &named)?;
        let mut damage = Damage {
            path: named.path.clone(),
            file_position: 0,
            offset: named.first_offset,
            bytes: file_bytes(dir, &named.path)?,
            why: "what is in it is of no use; the other files are better without it".to_string(),
            torn_tail,
            saved_to: None,
        };
        damage.saved_to = mend(&damage, Fix::SetAside)?;
        report.damage.push(damage);
        listing.forget(&named);
    }
    let files: Vec<&Named> = listing.current().collect();
    check_start(dir, &files)?;
    let known = files
        .iter()
        .find_map(|named| Some(FileReader::open_in(dir, named).ok()?.header().clone()));
    let mut follows: Option<(LogId, u64)> = None;
    let mut recount = Recount::default();
    for (at, named) in files.iter().enumerate() {
        let mut reader = open_file(dir, named, known.as_ref(), &mut report, mend)?;
        if let Some((id, end)) = follows
            && (reader.header().id, named.first_offset) != (id, end)
        {
            let why = format!(
                "{} does not follow the file before it, which ends at {end}",
                named.path.display()
            );
            let dir = dir.path().to_path_buf();
            return Err(Error::Inconsistent { dir, why });
        }
        let next_offset = match named.kind {
            Kind::Base => None,
            Kind::Log => files.get(at + 1).map(|next| next.first_offset),
        };
        let records = examine_file(&mut reader, next_offset, &mut recount, &mut report, mend)?;
        let end_offset = reader.offset();
        follows = Some((reader.header().id, end_offset));
        let (path, kind) = (named.path.clone(), named.kind.name());
        let first_offset = named.first_offset;
        report.files.push(FileReport {
            path,
            kind,
            first_offset,
            end_offset,
            records,
        });
    }
    report.digest = recount.digest();
    Ok(report)
}

/// A file that a start would read and that does more harm than good: one without a header and without a
/// single record, whose name alone says what it is; or a base that is not whole, where the files that it
/// was made of are still there and lose nothing.
fn find_useless(dir: &Dir, listing: &Listing) -> Result<Option<Named>, Error> {
    for named in listing.current() {
        let is_useless = match FileReader::open_in(dir, named) {
            Ok(_) if named.kind == Kind::Log => false,
            Ok(_) | Err(Error::Damaged { .. })
                if named.kind == Kind::Base && whole_end(dir, named)?.is_none() =>
            {
                !has_record(dir, named)? || is_reached(dir, listing, named)?
            }
            Err(Error::Damaged { .. }) => !has_record(dir, named)?,
            Ok(_) => false,
            Err(error) => return Err(error),
        };
        if is_useless {
            return Ok(Some(named.clone()));
        }
    }
    Ok(None)
}

/// Whether a file is a last segment without a header and a record, and the segment before it ends where it
/// begins: no record was ever acknowledged that is not there.
pub(super) fn is_bare_tail(dir: &Dir, listing: &Listing, named: &Named) -> Result<bool, Error> {
    let files: Vec<&Named> = listing.current().collect();
    let Some((last, [.., before])) = files.split_last() else {
        return Ok(false);
    };
    let is_bare = *last == named
        && named.kind == Kind::Log
        && matches!(FileReader::open_in(dir, named), Err(Error::Damaged { .. }))
        && !has_record(dir, named)?;
    Ok(is_bare && whole_end(dir, before)? == Some(named.first_offset))
}

/// Whether there is a whole record in a file, whatever its header is.
fn has_record(dir: &Dir, named: &Named) -> Result<bool, Error> {
    let file = dir
        .open_to_read_at(&named.path)
        .map_err(Error::io("cannot open", &named.path))?;
    let mut reader = FileReader::without_header(named.clone(), file);
    match reader.peek()? {
        Next::Record(_) => Ok(true),
        Next::End => Ok(false),
        Next::Invalid(_) => reader.seek_valid(),
    }
}

/// The offset just past the last record of a file that is whole; none of one that is not.
fn whole_end(dir: &Dir, named: &Named) -> Result<Option<u64>, Error> {
    let Ok(mut reader) = FileReader::open_in(dir, named) else {
        return Ok(None);
    };
    let mut in_base = BaseCount::default();
    loop {
        match reader.peek()? {
            Next::Record(bytes) => {
                let record = reader.record(bytes);
                if named.kind == Kind::Base && in_base.count(&record).is_err() {
                    return Ok(None);
                }
            }
            Next::End if named.kind == Kind::Log || in_base.is_ended => return Ok(Some(reader.offset())),
            Next::End | Next::Invalid(_) => return Ok(None),
        }
    }
}

/// Whether the files without a base tell everything up to its offset.
fn is_reached(dir: &Dir, listing: &Listing, base: &Named) -> Result<bool, Error> {
    let mut older = listing.clone();
    older.forget(base);
    let mut end = None;
    for named in older.current() {
        if named.first_offset >= base.first_offset && end == Some(base.first_offset) {
            return Ok(true);
        }
        let starts = named.kind == Kind::Base || named.first_offset == 0;
        if end.map_or(!starts, |end| end != named.first_offset) {
            return Ok(false);
        }
        match whole_end(dir, named)? {
            Some(whole) => end = Some(whole),
            None => return Ok(false),
        }
    }
    Ok(end.is_some_and(|end| end >= base.first_offset))
}

fn file_bytes(dir: &Dir, path: &Path) -> Result<u64, Error> {
    dir.file_bytes(path).map_err(Error::io("cannot read", path))
}

fn open_file(
    dir: &Dir,
    named: &Named,
    known: Option<&Header>,
    report: &mut Report,
    mend: &mut Mend<'_>,
) -> Result<FileReader, Error> {
    let why = match FileReader::open_in(dir, named) {
        Err(Error::Damaged { why, .. }) => why,
        opened => return opened,
    };
    let id = match known {
        Some(header) => header.id,
        None => LogId::random()
            .map_err(|error| Error::io("cannot get random bytes for", &named.path)(error.into()))?,
    };
    // The branches before this file are in the records before it; a start finds those in it again.
    let branches = known.map_or(Vec::new(), |header| header.branches.clone());
    let branches = branches
        .into_iter()
        .filter(|term| term.start < named.first_offset)
        .collect();
    let header = Header {
        kind: named.kind,
        id,
        first_offset: named.first_offset,
        branches,
    };
    let file = dir
        .open_to_read_at(&named.path)
        .map_err(Error::io("cannot open", &named.path))?;
    let length = file_bytes(dir, &named.path)?;
    let mut damage = Damage {
        path: named.path.clone(),
        file_position: 0,
        offset: named.first_offset,
        bytes: length.min(HEADER_BYTES as u64),
        why,
        torn_tail: false,
        saved_to: None,
    };
    damage.saved_to = mend(&damage, Fix::Header(&header))?;
    report.damage.push(damage);
    Ok(FileReader::with_header(named.clone(), header, file))
}

/// Reads a file to its end and returns how many whole records it has. `next_offset` is where the segment
/// behind it begins, if there is one.
fn examine_file(
    reader: &mut FileReader,
    next_offset: Option<u64>,
    recount: &mut Recount,
    report: &mut Report,
    mend: &mut Mend<'_>,
) -> Result<u64, Error> {
    let is_base = reader.named().kind == Kind::Base;
    let mut records = 0;
    let mut in_base = BaseCount::default();
    loop {
        let (at, offset) = (reader.file_position(), reader.offset());
        let why = match reader.peek()? {
            Next::Record(bytes) => {
                let record = reader.record(bytes);
                let version = record
                    .version
                    .unwrap_or(offset + if is_base { 0 } else { bytes as u64 });
                report.mismatches.extend(recount.push(&record, version));
                records += u64::from(record.operation.has_key());
                if is_base && let Err(why) = in_base.count(&record) {
                    return Err(reader.damaged(at, why));
                }
                continue;
            }
            Next::End if is_base && !in_base.is_ended => "the base ends before its last record",
            Next::End if !is_base && next_offset.is_some_and(|next| offset < next) => {
                "the segment ends before the next one begins"
            }
            Next::End => return Ok(records),
            Next::Invalid(why) => why,
        };
        recount.note_gap();
        let broken = reader.broken();
        let is_followed = reader.seek_valid()?;
        // Where the next record begins where the damaged one ends, its first fields are right.
        let is_known = broken.end == Some(reader.file_position());
        let is_tail = !is_followed
            || match (is_known, broken.more) {
                (true, false) => false,
                (true, true) => !skip_rest_of_batch(reader, broken.timestamp_ms)?,
                (false, _) => !skip_rest_of_batch(reader, broken.batch_timestamp_ms)?,
            };
        let mut damage = Damage {
            path: reader.named().path.clone(),
            file_position: at,
            offset,
            bytes: reader.file_position() - at,
            why: why.to_string(),
            torn_tail: !is_followed && !is_base && next_offset.is_none(),
            saved_to: None,
        };
        let missing = next_offset.map_or(0, |next| next.saturating_sub(offset));
        let fix = match is_tail {
            true if is_base && !in_base.is_ended => Fix::EndBase { records },
            // Behind the end of a base, or of a segment that another one follows, there is nothing to keep.
            true if missing == 0 => Fix::Cut,
            true => Fix::Gap {
                bytes: missing,
                is_tail,
            },
            false => Fix::Gap {
                bytes: damage.bytes,
                is_tail,
            },
        };
        if let Fix::Gap { bytes, .. } = fix
            && bytes < HEAD_BYTES as u64
        {
            return Err(reader.damaged(
                at,
                "it cannot be mended: what is missing is shorter than any record",
            ));
        }
        in_base.has_gap = true;
        damage.saved_to = mend(&damage, fix)?;
        report.damage.push(damage);
        if is_tail {
            // What follows, if anything, begins where a mended file ends.
            reader.skip_to(at + missing);
            return Ok(records);
        }
    }
}

/// From a cursor behind damage, moves past what is left of a batch that the damage is in: a part of a batch is
/// not to be there without the rest. `false` where nothing stands behind it.
///
/// Records of a batch have one timestamp. Where the damage has taken the first of them, so that the timestamp is
/// not known, records behind it that say that their batch goes on are taken for the rest of one.
fn skip_rest_of_batch(reader: &mut FileReader, mut timestamp_ms: Option<u64>) -> Result<bool, Error> {
    loop {
        match reader.peek()? {
            Next::End => return Ok(false),
            Next::Invalid(_) if !reader.seek_valid()? => return Ok(false),
            Next::Invalid(_) => {}
            Next::Record(bytes) => {
                let record = reader.look(bytes);
                if timestamp_ms.map_or(!record.more, |of_batch| of_batch != record.timestamp_ms) {
                    return Ok(true);
                }
                let is_last = !record.more;
                timestamp_ms = Some(record.timestamp_ms);
                reader.record(bytes);
                if is_last {
                    return Ok(reader.peek()? != Next::End);
                }
            }
        }
    }
}
