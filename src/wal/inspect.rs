//! Looks at the files of a directory and changes nothing: what a start and a check both ask of them.

use super::base::BaseCount;
use super::dir::Dir;
use super::error::{Error, inconsistent};
use super::file_reader::{FileReader, Next};
use super::header::Kind;
use super::listing::{Listing, LogFile};

/// Whether the files of a directory begin where a log can: at a base, or at offset 0.
pub(super) fn check_start(dir: &Dir, files: &[&LogFile]) -> Result<(), Error> {
    match files.first() {
        Some(first) if first.kind == Kind::Log && first.first_offset != 0 => {
            let offset = first.first_offset;
            inconsistent(
                dir.path(),
                format!("the log begins at offset {offset}, and no base stands before it"),
            )
        }
        _ => Ok(()),
    }
}

/// A file that a start would read and that does more harm than good: one without a header and without a
/// single record, whose name alone says what it is; or a base that is not complete, where the files that it
/// was made of are still there and lose nothing.
pub(super) fn find_useless(dir: &Dir, listing: &Listing) -> Result<Option<LogFile>, Error> {
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
pub(super) fn is_bare_tail(dir: &Dir, listing: &Listing, named: &LogFile) -> Result<bool, Error> {
    let files: Vec<&LogFile> = listing.current().collect();
    let Some((last, [.., before])) = files.split_last() else {
        return Ok(false);
    };
    let is_bare = *last == named
        && named.kind == Kind::Log
        && matches!(FileReader::open_in(dir, named), Err(Error::Damaged { .. }))
        && !has_record(dir, named)?;
    Ok(is_bare && whole_end(dir, before)? == Some(named.first_offset))
}

/// Whether there is a complete record in a file, whatever its header is.
pub(super) fn has_record(dir: &Dir, named: &LogFile) -> Result<bool, Error> {
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

/// Whether a file has a record of a key, as far as it can be read. One that cannot be read to its end may have one.
pub(super) fn has_key(dir: &Dir, named: &LogFile) -> bool {
    let Ok(mut reader) = FileReader::open_in(dir, named) else {
        return true;
    };
    loop {
        match reader.peek() {
            Ok(Next::Record(bytes)) => {
                if reader.record(bytes).operation.has_key() {
                    return true;
                }
            }
            Ok(Next::End) => return false,
            Ok(Next::Invalid(_)) | Err(_) => return true,
        }
    }
}

/// The offset just past the last record of a file that is complete; none of one that is not.
fn whole_end(dir: &Dir, named: &LogFile) -> Result<Option<u64>, Error> {
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

/// Whether the files without a base hold everything up to its offset.
fn is_reached(dir: &Dir, listing: &Listing, base: &LogFile) -> Result<bool, Error> {
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
