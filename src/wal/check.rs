//! Says whether a directory is complete, and mends what is not.
//!
//! This file finds what is damaged and decides how it is to be mended; the mending is in `repair`. Both
//! follow the rules of a start ([`super::recovery`]), so that what is complete here opens there.

use super::base::BaseCount;
use super::digest_verifier::DigestVerifier;
use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::file_reader::{FileReader, Next};
use super::header::{HEADER_BYTES, Header, Kind};
use super::inspect::{check_start, find_useless, is_bare_tail};
use super::listing::{Listing, LogFile};
use super::reader::no_store;
use super::repair::{Fix, mend};
use super::report::{Damage, FileReport, Lost, Report};
use super::term::LogId;
use crate::record::{HEAD_BYTES, RECORD_BYTES_MAX, SKIP_BYTES};
use std::path::{Path, PathBuf};

/// Reads all of a directory that no process has open. Changes nothing.
///
/// That a file cannot be written is no obstacle: a directory on a read-only file system is checked as any other.
pub fn check(dir: &Path) -> Result<Report, Error> {
    let dir = open_store(dir, Dir::open_to_read)?;
    dir.check_no_stranger(&dir.list()?)?;
    // What is beyond repair is said before anything that a repair would accept.
    let report = examine(&dir, &mut |_, _| Ok(None)).map_err(|error| error.not_mended(dir.path()))?;
    match dir.check_last_segment(&dir.list()?) {
        Err(Error::Lost { dir, why, .. }) => Err(Error::Lost {
            remedy: format!(
                "put back what is missing; `pykv check --dir {} --repair` accepts that it is lost",
                dir.display()
            ),
            dir,
            why,
        }),
        checked => checked.map(|()| report),
    }
}

/// As [`check`], and mends what it finds. The report says what was damaged, and where it was saved to.
///
/// # Errors
/// [`Error::NotMended`] where something is beyond repair. Nothing is changed then: all is read before the first
/// change. Where the disk fails, what could not be mended is as it was, and a second repair mends that.
pub(crate) fn repair(dir: &Path) -> Result<Report, Error> {
    repair_on(&Disk::default(), dir)
}

pub(super) fn repair_on(disk: &Disk, dir: &Path) -> Result<Report, Error> {
    let dir = open_store(dir, Dir::open)?;
    dir.check_no_stranger(&dir.list()?)?;
    examine(&dir, &mut |_, _| Ok(None)).map_err(|error| error.not_mended(dir.path()))?;
    let missing = missing(dir.check_last_segment(&dir.list()?))?;
    let mut report = examine(&dir, &mut |damage, fix| mend(&dir, disk, damage, fix))?;
    report.missing = missing.or(report.missing);
    // LOCK still names what is missing now, or was set aside. Only once all is mended nobody is to miss it.
    let listing = dir.list()?;
    if report.missing.is_some() || dir.check_last_segment(&listing).is_err() {
        let mark = dir.lock_file().mark();
        let forgotten = dir.forget_end(disk);
        forgotten.inspect_err(|_| mark.into_iter().for_each(|mark| dir.set_mark(disk, mark)))?;
    }
    Ok(report)
}

/// What is missing, where something is.
fn missing(checked: Result<(), Error>) -> Result<Option<String>, Error> {
    match checked {
        Ok(()) => Ok(None),
        Err(Error::Lost { why, .. }) => Ok(Some(why)),
        Err(error) => Err(error),
    }
}

/// Locks a directory that has a store; leaves any other as it is.
fn open_store(path: &Path, open: impl FnOnce(&Path) -> Result<Dir, Error>) -> Result<Dir, Error> {
    if !path.is_dir() {
        return Err(no_store(path));
    }
    if Listing::read(path)?.current().next().is_some() {
        return open(path);
    }
    // One that had a store is to be opened, or it is not known what it lacks. A lock file is not to come to be.
    if ["LOCK", "ROLE"].iter().any(|name| path.join(name).exists()) {
        let dir = open(path)?;
        dir.check_is_new(&dir.list()?)?;
    }
    Err(no_store(path))
}

/// The same error, with the file that the log began with where that is of no use.
fn with_lost_start(error: Error, useless: &[Damage]) -> Error {
    match (error, useless.first()) {
        (Error::Inconsistent { dir, why }, Some(first)) => {
            let name = first.path.file_name().unwrap_or_default().display();
            let state = match first.bytes {
                0 => "is empty",
                _ => "holds no record",
            };
            let why = format!("{why}: {name}, which held what comes before, {state}");
            Error::Inconsistent { dir, why }
        }
        (error, _) => error,
    }
}

type Mend<'a> = dyn FnMut(&Damage, Fix<'_>) -> Result<Option<PathBuf>, Error> + 'a;

fn examine(dir: &Dir, mend: &mut Mend<'_>) -> Result<Report, Error> {
    let mut listing = dir.list()?;
    let mut report = Report::default();
    let closed_at = dir.closed_at(&listing);
    while let Some(named) = find_useless(dir, &listing)? {
        let torn_tail =
            is_bare_tail(dir, &listing, &named)? && closed_at.is_none_or(|at| at <= named.first_offset);
        let bytes = file_bytes(dir, &named.path)?;
        let what = if bytes == 0 {
            "the file is empty"
        } else {
            "what is in it is of no use"
        };
        let mut damage = Damage {
            path: named.path.clone(),
            file_position: 0,
            offset: named.first_offset,
            bytes,
            why: format!("{what}; the other files are better without it"),
            torn_tail,
            lost: Lost::default(),
            saved_to: None,
        };
        damage.saved_to = mend(&damage, Fix::SetAside)?;
        report.damage.push(damage);
        listing.forget(&named);
    }
    let files: Vec<&LogFile> = listing.current().collect();
    check_start(dir, &files).map_err(|error| with_lost_start(error, &report.damage))?;
    let known = files
        .iter()
        .find_map(|named| Some(FileReader::open_in(dir, named).ok()?.header().clone()));
    let mut follows: Option<(LogId, u64)> = None;
    let mut verifier = DigestVerifier::default();
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
        let is_last = at + 1 == files.len();
        let expected = Expected {
            next_offset,
            torn_from: is_last.then_some(closed_at.unwrap_or(0)),
        };
        let records = examine_file(&mut reader, &expected, &mut verifier, &mut report, mend)?;
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
    report.digest = verifier.digest();
    if let Some((_, end)) = follows {
        report.missing = missing(dir.check_end(closed_at, end))?;
    }
    Ok(report)
}

/// What a file is expected to end with.
struct Expected {
    /// Where the segment after it begins, if there is one.
    next_offset: Option<u64>,
    /// From which offset on a torn tail may stand there; none but after the last file.
    torn_from: Option<u64>,
}

fn file_bytes(dir: &Dir, path: &Path) -> Result<u64, Error> {
    dir.file_bytes(path).map_err(Error::io("cannot read", path))
}

fn open_file(
    dir: &Dir,
    named: &LogFile,
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
        lost: Lost::default(),
        saved_to: None,
    };
    damage.saved_to = mend(&damage, Fix::Header(&header))?;
    report.damage.push(damage);
    Ok(FileReader::with_header(named.clone(), header, file))
}

/// Reads a file to its end and returns how many complete records it has.
fn examine_file(
    reader: &mut FileReader,
    expected: &Expected,
    verifier: &mut DigestVerifier,
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
                report.mismatches.extend(verifier.push(&record, version));
                records += u64::from(record.operation.has_key());
                if is_base && let Err(why) = in_base.count(&record) {
                    return Err(reader.damaged(at, why));
                }
                continue;
            }
            Next::End if is_base && !in_base.is_ended => "the base ends before its last record",
            Next::End if !is_base && expected.next_offset.is_some_and(|next| offset < next) => {
                "the segment ends before the next one begins"
            }
            Next::End => return Ok(records),
            Next::Invalid(why) => why,
        };
        verifier.note_gap();
        let (mut damage, is_tail) = look_at_damage(reader, expected, why)?;
        let missing = expected
            .next_offset
            .map_or(0, |next| next.saturating_sub(damage.offset));
        let is_behind_skip = damage.file_position < at;
        let fix = match is_tail {
            true if is_base && !in_base.is_ended => Fix::EndBase { records },
            // Behind the end of a base, or of a segment that another one follows, there is nothing to keep.
            true if missing == 0 => Fix::Cut,
            true if is_behind_skip || missing > RECORD_BYTES_MAX as u64 => {
                Fix::SkipTo(damage.offset + missing)
            }
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
        let end = damage.file_position + missing;
        damage.saved_to = mend(&damage, fix)?;
        report.damage.push(damage);
        if is_tail {
            // What follows, if anything, begins where a mended file ends.
            reader.skip_forward(end);
            return Ok(records);
        }
    }
}

/// Looks at the damage at the cursor, and moves behind it: to the next record that is to be kept. Returns whether there is
/// none.
fn look_at_damage(
    reader: &mut FileReader,
    expected: &Expected,
    why: &'static str,
) -> Result<(Damage, bool), Error> {
    let (mut at, mut offset) = (reader.file_position(), reader.offset());
    let is_base = reader.named().kind == Kind::Base;
    let is_missing_more = reader.is_behind_skip() && expected.next_offset.is_some_and(|next| offset < next);
    let mut lost = Lost::default();
    reader.broken_keys().into_iter().for_each(|key| lost.push(key));
    let broken = reader.broken();
    let is_followed = reader.seek_valid()?;
    // Where the next record begins where the damaged one ends, its first fields are right.
    let is_known = broken.end == Some(reader.file_position());
    lost.has_unread = !is_known || lost.keys.is_empty();
    let is_tail = !is_followed
        || match (is_known, broken.more) {
            (true, false) => false,
            (true, true) => !skip_rest_of_batch(reader, broken.timestamp_ms, &mut lost)?,
            (false, _) => !skip_rest_of_batch(reader, broken.batch_timestamp_ms, &mut lost)?,
        };
    if is_missing_more {
        // Files are missing that followed. The SKIP, which leads to them, is mended with what stands behind it.
        at -= SKIP_BYTES as u64;
        offset = reader.named().first_offset + at - HEADER_BYTES as u64;
    }
    let damage = Damage {
        path: reader.named().path.clone(),
        file_position: at,
        offset,
        bytes: reader.file_position() - at,
        why: why.to_string(),
        torn_tail: !is_followed && !is_base && expected.torn_from.is_some_and(|from| offset >= from),
        lost,
        saved_to: None,
    };
    Ok((damage, is_tail))
}

/// From a cursor after damage, moves past what is left of a batch that the damage is in: a part of a batch is
/// not to be there without the rest. `false` where nothing stands after it.
///
/// Records of a batch have one timestamp. Where the damage has taken the first of them, so that the timestamp is
/// not known, records after it that say that their batch continues count as the rest of one.
fn skip_rest_of_batch(
    reader: &mut FileReader,
    mut timestamp_ms: Option<u64>,
    lost: &mut Lost,
) -> Result<bool, Error> {
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
                lost.push(String::from_utf8_lossy(record.key).into_owned());
                reader.record(bytes);
                if is_last {
                    return Ok(reader.peek()? != Next::End);
                }
            }
        }
    }
}
