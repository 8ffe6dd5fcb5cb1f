//! Says whether a directory is whole, and mends what is not.
//!
//! A repair never guesses. Bytes that are no record are saved as they are to `damaged-<offset>.pykv` in the
//! same directory; then
//! - at the end of the last segment they are cut off, as a start would do with a torn tail;
//! - elsewhere a GAP record is laid over them, of their very length, so that every other record keeps its
//!   offset. What is lost is what the damaged records said: a key may show an older value, or be back
//!   though it was deleted;
//! - a header is written anew from the file's name and the other files' headers.

use super::dir::{Dir, Listing, Named};
use super::disk::Disk;
use super::error::Error;
use super::file_reader::{FileReader, Next};
use super::header::{HEADER_BYTES, Header, Kind, LogId};
use super::reader::no_store;
use super::recovery::{BaseCount, check_start};
use crate::record::{HEAD_BYTES, Operation, RECORD_BYTES_MAX, Record};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
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
}

impl Report {
    /// Whether a start would go through: nothing is damaged but for a torn tail.
    pub fn is_openable(&self) -> bool {
        self.damage.iter().all(|damage| damage.torn_tail)
    }
}

/// Reads all of a directory that no process has open. Changes nothing.
pub fn check(dir: &Path) -> Result<Report, Error> {
    let dir = open_store(dir)?;
    examine(&dir, &mut |_, _| Ok(None))
}

/// As [`check`], and mends what it finds. The report says what was damaged, and where it was saved to.
pub fn repair(dir: &Path) -> Result<Report, Error> {
    let dir = open_store(dir)?;
    let disk = Disk::default();
    examine(&dir, &mut |damage, fix| mend(&dir, &disk, damage, fix).map(Some))
}

/// Locks a directory that has a store; leaves any other as it is.
fn open_store(path: &Path) -> Result<Dir, Error> {
    if !path.is_dir() || Listing::read(path)?.current().next().is_none() {
        return Err(no_store(path));
    }
    Dir::open(path)
}

/// How a damage is mended.
enum Fix<'a> {
    Cut,
    /// Of this many bytes: more than are damaged where the file was cut short.
    Gap {
        bytes: u64,
    },
    Header(&'a Header),
    /// A base that ends too early: cut behind its last whole record, and ended there.
    EndBase {
        records: u64,
    },
}

type Mend<'a> = dyn FnMut(&Damage, Fix<'_>) -> Result<Option<PathBuf>, Error> + 'a;

fn examine(dir: &Dir, mend: &mut Mend<'_>) -> Result<Report, Error> {
    let listing = Listing::read(dir.path())?;
    let files: Vec<&Named> = listing.current().collect();
    let known = files
        .iter()
        .find_map(|named| Some(FileReader::open(named).ok()?.header().clone()));
    check_start(dir, &files)?;
    let mut report = Report::default();
    let mut follows: Option<(LogId, u64)> = None;
    for (at, named) in files.iter().enumerate() {
        let mut reader = open_file(named, known.as_ref(), &mut report, mend)?;
        if let Some((id, end)) = follows
            && (reader.header().id, named.first_offset) != (id, end)
        {
            let why = format!(
                "{} does not follow the file before it, which ends at {end}",
                named.path.display()
            );
            return Err(Error::Inconsistent {
                dir: dir.path().to_path_buf(),
                why,
            });
        }
        let next_offset = match named.kind {
            Kind::Base => None,
            Kind::Log => files.get(at + 1).map(|next| next.first_offset),
        };
        let records = examine_file(&mut reader, next_offset, &mut report, mend)?;
        let end_offset = reader.offset();
        follows = Some((reader.header().id, end_offset));
        let (path, kind) = (named.path.clone(), named.kind.name());
        report.files.push(FileReport {
            path,
            kind,
            first_offset: named.first_offset,
            end_offset,
            records,
        });
    }
    Ok(report)
}

fn open_file(
    named: &Named,
    known: Option<&Header>,
    report: &mut Report,
    mend: &mut Mend<'_>,
) -> Result<FileReader, Error> {
    let why = match FileReader::open(named) {
        Err(Error::Damaged { why, .. }) => why,
        opened => return opened,
    };
    let id = match known {
        Some(header) => header.id,
        None => LogId::random()
            .map_err(|error| Error::io("cannot get random bytes for", &named.path)(error.into()))?,
    };
    // The terms before this file are in the records before it; those in it are found again by a start.
    let terms = known.map_or(Vec::new(), |header| header.terms.clone());
    let terms = terms
        .into_iter()
        .filter(|term| term.start < named.first_offset)
        .collect();
    let header = Header {
        kind: named.kind,
        id,
        first_offset: named.first_offset,
        terms,
    };
    let file = File::open(&named.path).map_err(Error::io("cannot open", &named.path))?;
    let length = file
        .metadata()
        .map_err(Error::io("cannot read", &named.path))?
        .len();
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
        let is_tail = !reader.seek_valid()?;
        let mut damage = Damage {
            path: reader.named().path.clone(),
            file_position: at,
            offset,
            bytes: reader.file_position() - at,
            why: why.to_string(),
            torn_tail: is_tail && !is_base && next_offset.is_none(),
            saved_to: None,
        };
        let fix = match next_offset {
            _ if is_tail && is_base => Fix::EndBase { records },
            None if is_tail => Fix::Cut,
            Some(next) if is_tail => Fix::Gap {
                bytes: next.saturating_sub(offset),
            },
            _ => Fix::Gap { bytes: damage.bytes },
        };
        in_base.has_gap = true;
        damage.saved_to = mend(&damage, fix)?;
        report.damage.push(damage);
        if is_tail {
            // What follows, if anything, begins where a mended file ends.
            reader.skip_to(at + next_offset.map_or(0, |next| next.saturating_sub(offset)));
            return Ok(records);
        }
    }
}

fn mend(dir: &Dir, disk: &Disk, damage: &Damage, fix: Fix<'_>) -> Result<PathBuf, Error> {
    let path = &damage.path;
    let file = disk.open(path).map_err(Error::io("cannot open", path))?;
    let at = damage.file_position;
    let saved_to = save(dir, disk, (path, &file), damage.offset, at..at + damage.bytes)?;
    let write = |bytes: &[u8], at: u64| {
        disk.write_at(&file, bytes, at)
            .map_err(Error::io("cannot write", path))
    };
    let cut = || disk.set_len(&file, at).map_err(Error::io("cannot cut", path));
    match fix {
        Fix::Cut => cut()?,
        Fix::Header(header) => write(&header.encode(), 0)?,
        Fix::EndBase { records } => {
            cut()?;
            let mut end = Vec::new();
            let position = at - HEADER_BYTES as u64;
            Record::new(Operation::End, 0, &[], &records.to_le_bytes()).encode(position, &mut end);
            write(&end, at)?;
        }
        Fix::Gap { bytes } => {
            let position = match Named::from_path(path).map(|named| named.kind) {
                Some(Kind::Base) => at - HEADER_BYTES as u64,
                _ => damage.offset,
            };
            for (start, part_bytes) in gaps(bytes) {
                write(&Record::encode_gap(position + start, part_bytes, 0), at + start)?;
            }
            let length = file.metadata().map_err(Error::io("cannot read", path))?.len();
            disk.set_len(&file, length.max(at + bytes))
                .map_err(Error::io("cannot lengthen", path))?;
        }
    }
    disk.sync_all(&file).map_err(Error::io("cannot sync", path))?;
    Ok(saved_to)
}

/// Parts of a stretch of damaged bytes, each as long as a record may be: where it starts, how long it is.
/// A stretch has at least the bytes of one record, as what was there were whole records.
fn gaps(bytes: u64) -> impl Iterator<Item = (u64, usize)> {
    let part_bytes = (RECORD_BYTES_MAX / 2) as u64;
    let parts = (bytes / part_bytes).max(1);
    (0..parts).map(move |part| {
        let start = part * part_bytes;
        let end = if part + 1 == parts {
            bytes
        } else {
            start + part_bytes
        };
        (start, ((end - start) as usize).max(HEAD_BYTES))
    })
}

/// Copies a range of a file, which stands at `offset` of the log, to a file of its own whose name is not taken.
pub(super) fn save(
    dir: &Dir,
    disk: &Disk,
    (path, file): (&Path, &File),
    offset: u64,
    range: Range<u64>,
) -> Result<PathBuf, Error> {
    let stem = format!("damaged-{offset:020}");
    let names = std::iter::once(format!("{stem}.pykv")).chain((1..).map(|n| format!("{stem}-{n}.pykv")));
    let copy_path = names
        .map(|name| dir.path().join(name))
        .find(|path| !path.exists())
        .expect("names are endless");
    let copy = disk
        .create(&copy_path)
        .map_err(Error::io("cannot create", &copy_path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = range.start;
    while at < range.end {
        let part = &mut buffer[..(range.end - at).min(1 << 20) as usize];
        file.read_exact_at(part, at)
            .map_err(Error::io("cannot read", path))?;
        let copied = disk.write_at(&copy, part, at - range.start);
        copied.map_err(Error::io("cannot write", &copy_path))?;
        at += part.len() as u64;
    }
    disk.sync_all(&copy)
        .map_err(Error::io("cannot sync", &copy_path))?;
    disk.sync_dir(dir.path())
        .map_err(Error::io("cannot sync", dir.path()))?;
    Ok(copy_path)
}
