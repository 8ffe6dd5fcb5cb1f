//! Mends a directory.
//!
//! A repair never guesses, and throws nothing away. It saves bytes that are no record to `damaged-<offset>.pykv` in the
//! same directory; the copy gets that name once it is complete. Bytes at the end of a file that are all zero are no loss:
//! they are cut off without a copy. Where the disk fails, the repair restores the file that
//! it was mending and removes its copy. Files that it had mended before stay mended.
//! - At the end of the last segment they are cut off, as a start would do with a torn tail;
//! - where the end of a segment is missing, and more with it than a record can have, a GAP and a SKIP take its place:
//!   what was there ended with a SKIP, and the file stays as short as it was;
//! - elsewhere a GAP record is laid over them, of their very length, so that every other record keeps its
//!   offset. What is lost is what the damaged records said: a key may show an older value, or be back
//!   though it was deleted;
//! - a header is written anew from the file's name and the other files' headers;
//! - a file that is of no use at all is set aside as it is.

use super::dir::Dir;
use super::disk::Disk;
use super::error::Error;
use super::header::{HEADER_BYTES, Header, Kind};
use super::listing::LogFile;
use super::report::Damage;
use crate::record::{HEAD_BYTES, Operation, RECORD_BYTES_MAX, Record};
use crate::system;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// How a damage is mended.
pub(super) enum Fix<'a> {
    /// Cut off, to the file's end.
    Cut,
    /// A gap of this many bytes is laid over it. At a file's end that may be more or fewer bytes than are
    /// damaged: the file then ends with the gap.
    Gap { bytes: u64, is_tail: bool },
    /// The segment's tail is cut off, and ends with a gap and a SKIP to this offset, at which the next one begins.
    SkipTo(u64),
    /// The header is written anew.
    Header(&'a Header),
    /// A base that ends too early: cut after its last complete record, and ended there.
    EndBase { records: u64 },
    /// The file gets another name.
    SetAside,
}

/// Saves the damaged bytes, if there are any that are not zero at a file's end, mends what they were in, and returns where they were saved to.
pub(super) fn mend(dir: &Dir, disk: &Disk, damage: &Damage, fix: Fix<'_>) -> Result<Option<PathBuf>, Error> {
    let path = &damage.path;
    if let Fix::SetAside = fix {
        return set_aside(dir, disk, path, damage.offset).map(Some);
    }
    let file = disk.open(dir, path).map_err(Error::io("cannot open", path))?;
    let at = damage.file_position;
    let file_bytes = file.metadata().map_err(Error::io("cannot read", path))?.len();
    let saved = match damage.bytes {
        0 => None,
        bytes
            if matches!(fix, Fix::Cut)
                && at + bytes == file_bytes
                && is_zero(path, &file, at..file_bytes)? =>
        {
            None
        }
        bytes => Some(save(dir, disk, (path, &file), damage.offset, at..at + bytes)?),
    };
    if let Err(error) = overwrite(disk, &file, damage, fix) {
        let copied = saved.as_ref().map_or(Ok(()), |(_, copy)| {
            copy_range(disk, copy, 0..damage.bytes, &file, at)
        });
        let is_undone = copied
            .and_then(|()| disk.set_len(&file, file_bytes))
            .and_then(|()| disk.sync_all(&file));
        if let (Ok(()), Some((copy_path, _))) = (is_undone, saved) {
            dir.remove(disk, [copy_path]);
        }
        return Err(error);
    }
    Ok(saved.map(|(copy_path, _)| copy_path))
}

/// Mends a file in place. What is written goes before what is cut, so that it can be undone as far as it was done.
fn overwrite(disk: &Disk, file: &File, damage: &Damage, fix: Fix<'_>) -> Result<(), Error> {
    let (path, at) = (&damage.path, damage.file_position);
    let write = |bytes: &[u8], at: u64| {
        disk.write_at(file, bytes, at)
            .map_err(Error::io("cannot write", path))
    };
    let end_at = |end: u64| disk.set_len(file, end).map_err(Error::io("cannot resize", path));
    match fix {
        Fix::SetAside => {}
        Fix::Cut => end_at(at)?,
        Fix::Header(header) => write(&header.encode(), 0)?,
        Fix::EndBase { records } => {
            let mut end = Vec::new();
            let position = at - HEADER_BYTES as u64;
            // The gap shows a start that something was lost here.
            end.extend_from_slice(&Record::encode_gap(position, HEAD_BYTES, 0));
            let position = position + HEAD_BYTES as u64;
            Record::new(Operation::End, 0, &[], &records.to_le_bytes()).encode(position, &mut end);
            write(&end, at)?;
            end_at(at + end.len() as u64)?;
        }
        Fix::SkipTo(next_offset) => {
            let mut end = Record::encode_gap(damage.offset, HEAD_BYTES, 0).to_vec();
            let position = damage.offset + HEAD_BYTES as u64;
            Record::new(Operation::Skip, 0, &[], &next_offset.to_le_bytes()).encode(position, &mut end);
            write(&end, at)?;
            end_at(at + end.len() as u64)?;
        }
        Fix::Gap { bytes, is_tail } => {
            let position = match LogFile::from_path(path).map(|named| named.kind) {
                Some(Kind::Base) => at - HEADER_BYTES as u64,
                _ => damage.offset,
            };
            for (start, part_bytes) in gaps(bytes) {
                write(&Record::encode_gap(position + start, part_bytes, 0), at + start)?;
            }
            if is_tail {
                end_at(at + bytes)?;
            }
        }
    }
    disk.sync_all(file).map_err(Error::io("cannot sync", path))
}

/// Gives a file a name that no start looks for.
pub(super) fn set_aside(dir: &Dir, disk: &Disk, path: &Path, offset: u64) -> Result<PathBuf, Error> {
    let aside = free_name(dir, offset);
    disk.rename(dir, path, &aside)
        .map_err(Error::io("cannot rename", path))?;
    disk.sync_dir(dir).map_err(Error::io("cannot sync", dir.path()))?;
    Ok(aside)
}

/// Parts of a stretch of damaged bytes, each as long as a record may be: where it starts, how long it is.
/// A stretch has at least the bytes of one record, as what was there were complete records.
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
/// A failure leaves none.
pub(super) fn save(
    dir: &Dir,
    disk: &Disk,
    (path, file): (&Path, &File),
    offset: u64,
    range: Range<u64>,
) -> Result<(PathBuf, File), Error> {
    let copy_path = free_name(dir, offset);
    let bytes = range.end - range.start;
    let make = || {
        dir.make(disk, &copy_path, |copy| {
            copy_range(disk, file, range.clone(), copy, 0)
                .map_err(Error::io("cannot save the damaged bytes of", path))
        })
    };
    let mut saved = make();
    if saved.as_ref().is_err_and(Error::is_disk_full)
        && dir.reserve_bytes() > 0
        && dir.set_reserve(disk, 0).is_ok()
    {
        log::warn!("the disk is full: RESERVE gives way to a copy of {bytes} damaged bytes");
        saved = make();
    }
    let error = match saved {
        Ok(copy) => return Ok((copy_path, copy)),
        Err(error) => error,
    };
    // Where the sync of the directory has failed, it has its name already.
    let _ = disk.remove(dir, &copy_path);
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            let free_bytes = dir.space().map_or(0, |space| space.free_bytes);
            let why = format!(
                "{}: they are {bytes} bytes, and {free_bytes} bytes of the disk are free; make room there",
                system::words(&source)
            );
            let source = io::Error::new(source.kind(), why);
            Err(Error::io("cannot save the damaged bytes of", path)(source))
        }
        error => Err(error),
    }
}

/// Whether a range of a file is nothing but zeros, which need no copy.
pub(super) fn is_zero(path: &Path, file: &File, range: Range<u64>) -> Result<bool, Error> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = range.start;
    while at < range.end {
        let part = &mut buffer[..(range.end - at).min(COPY_BYTES as u64) as usize];
        file.read_exact_at(part, at)
            .map_err(Error::io("cannot read", path))?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += part.len() as u64;
    }
    Ok(true)
}

/// Copies a range of a file to a place in another one.
fn copy_range(disk: &Disk, from: &File, range: Range<u64>, to: &File, to_start: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = range.start;
    while at < range.end {
        let part = &mut buffer[..(range.end - at).min(COPY_BYTES as u64) as usize];
        from.read_exact_at(part, at)?;
        disk.write_at(to, part, to_start + (at - range.start))?;
        at += part.len() as u64;
    }
    Ok(())
}

/// A name for damaged bytes that is not taken.
fn free_name(dir: &Dir, offset: u64) -> PathBuf {
    let stem = format!("damaged-{offset:020}");
    let names = std::iter::once(format!("{stem}.pykv")).chain((1..).map(|n| format!("{stem}-{n}.pykv")));
    names
        .map(|name| dir.path().join(name))
        .find(|path| !dir.exists(path))
        .expect("names are endless")
}
