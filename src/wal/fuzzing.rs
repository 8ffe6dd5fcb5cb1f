//! What reads files of a data directory, as [`crate::fuzzing`] calls it.

use super::backup::{restore, verify};
use super::branch::Branch;
use super::check::{check, repair};
use super::header::{BRANCHES_MAX, HEADER_BYTES, Header, Kind};
use super::listing::LogFile;
use super::reader::Reader;
use super::term::{LogId, Term};
use crate::record::seal;
use std::fs;
use std::path::Path;

/// A header, as it is and with a right checksum.
pub(crate) fn header(bytes: &[u8]) {
    let _ = Header::decode(bytes);
    let mut whole = bytes.to_vec();
    whole.resize(HEADER_BYTES, 0);
    let crc = crc32fast::hash(&whole[12..]);
    whole[8..12].copy_from_slice(&crc.to_le_bytes());
    if let Ok(mut header) = Header::decode(&whole) {
        // Format 1 has room for more terms than format 2 has for branches; the latest are kept.
        let first_kept = header.branches.len().saturating_sub(BRANCHES_MAX);
        header.branches.drain(..first_kept);
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
}

/// Base and segment with these records: checked, read, repaired and checked again, in a directory that is empty.
pub(crate) fn base(dir: &Path, bytes: &[u8]) {
    let Some((plan, rest)) = Plan::read(bytes) else {
        return;
    };
    let at = rest.len() / 2;
    write(dir, Kind::Base, &plan, &rest[..at]);
    write(dir, Kind::Log, &plan, &rest[at..]);
    let _ = check(dir);
    read_all(dir);
    if repair(dir).is_ok() {
        let _ = check(dir);
        read_all(dir);
    }
}

/// A backup with these records: checked, and restored into a directory that is not there.
pub(crate) fn backup(dir: &Path, bytes: &[u8]) {
    let Some((plan, rest)) = Plan::read(bytes) else {
        return;
    };
    let path = write(dir, Kind::Base, &plan, rest);
    let verified = verify(&path);
    let to = dir.join("restored");
    let restored = restore(&path, &to);
    if restored.is_ok() {
        assert!(verified.is_ok());
        assert!(check(&to).is_ok_and(|report| report.is_whole()));
    }
}

/// What the first bytes of an input decide.
struct Plan {
    first_offset: u64,
    /// Checksums are made right, so that what they guard is reached.
    is_sealed: bool,
}

impl Plan {
    fn read(bytes: &[u8]) -> Option<(Plan, &[u8])> {
        let (&[how, shift], rest) = bytes.split_first_chunk()?;
        let plan = Plan {
            first_offset: (1u64 << (shift % 64)).wrapping_sub(u64::from(how >> 4)),
            is_sealed: how & 1 == 0,
        };
        Some((plan, rest))
    }
}

fn write(dir: &Path, kind: Kind, plan: &Plan, records: &[u8]) -> std::path::PathBuf {
    let header = Header {
        kind,
        id: LogId::default(),
        first_offset: plan.first_offset,
        branches: vec![Branch {
            term: Term::new(1, 1),
            nonce: 7,
            start: 0,
        }],
    };
    let mut bytes = header.encode();
    let mut position = match kind {
        Kind::Base => 0,
        Kind::Log => plan.first_offset,
    };
    let start = bytes.len();
    bytes.extend_from_slice(records);
    let mut at = start;
    while plan.is_sealed
        && let Some(record_bytes) = seal(position, &mut bytes[at..])
    {
        at += record_bytes;
        position = position.wrapping_add(record_bytes as u64);
    }
    let path = LogFile::new(dir, kind, plan.first_offset).path;
    fs::write(&path, bytes).expect("the directory can be written");
    path
}

fn read_all(dir: &Path) {
    if let Ok(mut reader) = Reader::open(dir) {
        while let Ok(Some(_)) = reader.next() {}
    }
}
