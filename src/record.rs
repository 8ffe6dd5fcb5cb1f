//! The one record format: in the log, in a base, and on the way to a follower.
//!
//! A record says what became of one key. All numbers are little-endian.
//!
//! ```text
//!  0  crc32      4  of the record's position (8 bytes) and of all that follows this field
//!  4  length     4  bytes after this field
//!  8  operation  1
//!  9  flags      1  bit 0: a deadline is present; bit 1: a version is present; bit 2: the next record is of
//!                   the same batch; others are 0
//! 10  key bytes  2
//! 12  timestamp  8  when the change was made, in ms since the Unix epoch
//! 20 [deadline   8] when the key expires, in ms since the Unix epoch
//!    [version    8] in a base, where the position no longer tells it
//!     key
//!     value
//! ```
//!
//! The position is the offset of the record's first byte in the log, or its place after the header in a base. Taking it
//! into the checksum means that a record is valid only where it was written: one inside a value that somebody stored,
//! or that the medium put in a wrong place, is none of ours. The checksum is CRC-32 (IEEE 802.3), as zlib's.
//!
//! The value of a TERM record is the term (8 bytes: its number in the upper half, its mark in the lower) and the nonce
//! of the branch that begins with it (8 bytes; none in a log of format 1). It has no key. A GAP stands where `pykv
//! check --repair` found bytes that are no record: its body is whatever was there, so its checksum covers the first 20
//! bytes alone. An END closes a base; its value is the number of records before it and their digest ([`crate::digest`],
//! 8 bytes each), in a backup also the offset that it is the state at. A SKIP is the last record of its segment: its
//! value is the offset at which the log continues (8 bytes). A CLOSE says that the node was stopped in order; its value
//! is the digest of the store.
//!
//! The records of a batch follow one another, and all but the last say so. They count together or not at
//! all: a batch that is not complete is no batch.

mod operation;

pub use operation::Operation;

use crc32fast::Hasher;
use std::fmt;

/// The largest offset, and so the largest version: 8 PiB of log, and exact as a number in JSON.
pub(crate) const OFFSET_MAX: u64 = (1 << 53) - 1;

/// Bytes of a record before its optional fields.
pub(crate) const HEAD_BYTES: usize = 20;

/// Length of a SKIP, in bytes: a head, and the offset at which the log continues.
pub(crate) const SKIP_BYTES: usize = HEAD_BYTES + 8;

/// Longest record, in bytes: the largest value that `--max-value` allows, a key and the fields.
pub(crate) const RECORD_BYTES_MAX: usize = VALUE_BYTES_MAX + 2048;

/// The largest value that `--max-value` may be set to, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 256 << 20;

const FLAG_DEADLINE: u8 = 1;
const FLAG_VERSION: u8 = 2;
const FLAG_MORE: u8 = 4;

/// A record, its key and value borrowed from wherever it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What became of the key.
    pub operation: Operation,
    /// When, in ms since the Unix epoch.
    pub timestamp_ms: u64,
    /// When the key expires, in ms since the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// The version of the key, in a base.
    pub version: Option<u64>,
    /// Whether the next record is of the same batch.
    pub more: bool,
    /// The key; empty for operations that have none.
    pub key: &'a [u8],
    /// The value; empty for operations that have none.
    pub value: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the record does. Holds how many the record needs in all, as far as is known.
    Incomplete(usize),
    /// The bytes are none that [`Record::encode`] has written at this position.
    Corrupt(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Incomplete(bytes) => write!(f, "the record is cut short; it needs {bytes} bytes"),
            DecodeError::Corrupt(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DecodeError {}

impl<'a> Record<'a> {
    /// A record of an operation on a key, without deadline and version.
    pub fn new(operation: Operation, timestamp_ms: u64, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
        Record {
            operation,
            timestamp_ms,
            deadline_ms: None,
            version: None,
            more: false,
            key,
            value,
        }
    }

    /// Bytes of this record as encoded.
    pub fn encoded_bytes(&self) -> usize {
        let optional = self.deadline_ms.is_some() as usize + self.version.is_some() as usize;
        HEAD_BYTES + 8 * optional + self.key.len() + self.value.len()
    }

    /// Appends the record as it stands at `position`.
    pub fn encode(&self, position: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.push_fields(out);
        out.extend_from_slice(self.value);
        let crc = checksum(position, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// As [`Record::encode`], without the value, which is to follow.
    pub(crate) fn encode_head(&self, position: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.push_fields(out);
        let mut hasher = Hasher::new();
        hasher.update(&position.to_le_bytes());
        hasher.update(&out[start + 4..]);
        hasher.update(self.value);
        out[start..start + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }

    /// Appends everything before the value, the checksum left out.
    fn push_fields(&self, out: &mut Vec<u8>) {
        let flags = [
            (self.deadline_ms.is_some(), FLAG_DEADLINE),
            (self.version.is_some(), FLAG_VERSION),
            (self.more, FLAG_MORE),
        ];
        let flags = flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, flag)| flag)
            .sum();
        let mut head = [0; HEAD_BYTES];
        head[4..8].copy_from_slice(&((self.encoded_bytes() - 8) as u32).to_le_bytes());
        head[8] = self.operation as u8;
        head[9] = flags;
        head[10..12].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        head[12..20].copy_from_slice(&self.timestamp_ms.to_le_bytes());
        out.extend_from_slice(&head);
        for optional in [self.deadline_ms, self.version].into_iter().flatten() {
            out.extend_from_slice(&optional.to_le_bytes());
        }
        out.extend_from_slice(self.key);
    }

    /// The first 20 bytes of a GAP of `bytes` in all, which is laid over damaged bytes at `position`.
    ///
    /// # Panics
    /// If `bytes` is below [`HEAD_BYTES`] or over [`RECORD_BYTES_MAX`].
    pub fn encode_gap(position: u64, bytes: usize, timestamp_ms: u64) -> [u8; HEAD_BYTES] {
        assert!(
            (HEAD_BYTES..=RECORD_BYTES_MAX).contains(&bytes),
            "a gap is as long as a record may be"
        );
        let mut head = [0; HEAD_BYTES];
        head[4..8].copy_from_slice(&((bytes - 8) as u32).to_le_bytes());
        head[8] = Operation::Gap as u8;
        head[12..20].copy_from_slice(&timestamp_ms.to_le_bytes());
        let crc = checksum(position, &head[4..]);
        head[..4].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Reads the record that stands at `position` and begins `bytes`; returns it and its length in bytes.
    pub fn decode(position: u64, bytes: &'a [u8]) -> Result<(Record<'a>, usize), DecodeError> {
        let head = Head::decode(bytes)?;
        let Some(record) = bytes.get(..head.total_bytes) else {
            return Err(DecodeError::Incomplete(head.total_bytes));
        };
        let covered = if head.operation == Operation::Gap {
            &record[4..HEAD_BYTES]
        } else {
            &record[4..]
        };
        if checksum(position, covered) != head.crc {
            return Err(DecodeError::Corrupt("the checksum does not match"));
        }
        let record = head.split(record);
        let is_within = |offset: u64| offset <= OFFSET_MAX;
        let end = position.saturating_add(head.total_bytes as u64);
        if !is_within(end) || !record.version.is_none_or(is_within) {
            return Err(DecodeError::Corrupt(
                "its offset is past the last one that a log reaches",
            ));
        }
        Ok((record, head.total_bytes))
    }

    /// The length of the record that begins `bytes`, and whether the next one is of the same batch. Looks at its
    /// head alone, and not at its checksum.
    pub(crate) fn peek(bytes: &[u8]) -> Result<(usize, bool), DecodeError> {
        let head = Head::decode(bytes)?;
        Ok((head.total_bytes, head.flags & FLAG_MORE != 0))
    }

    /// Checks a record piece by piece that is too long to be at hand as a whole. `next` gives its bytes, as they follow one
    /// another from the first on.
    pub(crate) fn check_pieces<E>(
        position: u64,
        mut next: impl FnMut() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<bool, E> {
        let mut hasher = Hasher::new();
        hasher.update(&position.to_le_bytes());
        let mut expected = None;
        while let Some(piece) = next()? {
            let covered = match expected {
                Some(_) => &piece[..],
                None => {
                    let Ok(head) = Head::decode(&piece) else {
                        return Ok(false);
                    };
                    expected = Some(head.crc);
                    if head.operation == Operation::Gap {
                        hasher.update(&piece[4..HEAD_BYTES]);
                        break;
                    }
                    &piece[4..]
                }
            };
            hasher.update(covered);
        }
        Ok(expected == Some(hasher.finalize()))
    }

    /// Reads a record that [`Record::decode`] has read before from the same bytes, without checking it again.
    ///
    /// # Panics
    /// If it has not.
    pub(crate) fn decode_checked(record: &'a [u8]) -> Record<'a> {
        Head::decode(record)
            .expect("the record was decoded before")
            .split(record)
    }

    /// What the first fields of a record say, whether the rest of it is right or not: its length in bytes, whether
    /// its batch continues after it, and its timestamp.
    pub(crate) fn peek_head(bytes: &[u8]) -> Option<(usize, bool, u64)> {
        let head = Head::decode(bytes).ok()?;
        Some((head.total_bytes, head.flags & FLAG_MORE != 0, head.timestamp_ms))
    }

    /// The key that a record seems to have, whether the rest of it is right or not.
    pub(crate) fn peek_key(bytes: &[u8]) -> Option<&[u8]> {
        let head = Head::decode(bytes).ok()?;
        bytes.get(head.body_start()..)?.get(..head.key_bytes)
    }

    /// The number that is the value of a TERM, a SKIP or a CLOSE, or that begins the value of an END.
    pub fn value_u64(&self) -> Option<u64> {
        self.value.first_chunk().copied().map(u64::from_le_bytes)
    }

    /// Where a SKIP that ends at `end` lets the log continue; none where no log can.
    pub fn skips_to(&self, end: u64) -> Option<u64> {
        self.value_u64().filter(|to| (end..=OFFSET_MAX).contains(to))
    }

    /// What about a record no node has written: clients cannot give such a key or deadline.
    pub(crate) fn is_foreign(&self) -> Option<&'static str> {
        let is_late = self.deadline_ms.is_some_and(|deadline_ms| deadline_ms >= 1 << 48);
        match std::str::from_utf8(self.key).is_ok() {
            true => is_late.then_some("its deadline is past the year 10000"),
            false => Some("its key is not UTF-8"),
        }
    }

    /// The digest of the state that a CLOSE or an END tells.
    pub fn digest(&self) -> Option<u64> {
        match self.operation {
            Operation::Close => self.value_u64(),
            Operation::End => self.value.get(8..16)?.try_into().ok().map(u64::from_le_bytes),
            _ => None,
        }
    }
}

/// The fixed fields of a record, each within its bounds.
struct Head {
    crc: u32,
    total_bytes: usize,
    operation: Operation,
    flags: u8,
    key_bytes: usize,
    timestamp_ms: u64,
}

impl Head {
    fn decode(bytes: &[u8]) -> Result<Head, DecodeError> {
        let Some((head, _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(DecodeError::Incomplete(HEAD_BYTES));
        };
        let [
            c0,
            c1,
            c2,
            c3,
            l0,
            l1,
            l2,
            l3,
            operation,
            flags,
            k0,
            k1,
            timestamp @ ..,
        ] = *head;
        let head = Head {
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            total_bytes: (u32::from_le_bytes([l0, l1, l2, l3]) as usize).saturating_add(8),
            operation: Operation::from_byte(operation).ok_or(DecodeError::Corrupt("no such operation"))?,
            flags,
            key_bytes: u16::from_le_bytes([k0, k1]).into(),
            timestamp_ms: u64::from_le_bytes(timestamp),
        };
        if flags & !(FLAG_DEADLINE | FLAG_VERSION | FLAG_MORE) != 0 {
            return Err(DecodeError::Corrupt("unknown flags"));
        }
        if head.key_bytes > crate::pair::KEY_BYTES_MAX || head.operation.has_key() == (head.key_bytes == 0) {
            return Err(DecodeError::Corrupt("the key's length is none that a key has"));
        }
        if !(head.body_start() + head.key_bytes..=RECORD_BYTES_MAX).contains(&head.total_bytes) {
            return Err(DecodeError::Corrupt("the length is none that a record has"));
        }
        Ok(head)
    }

    fn body_start(&self) -> usize {
        HEAD_BYTES + 8 * (self.flags & (FLAG_DEADLINE | FLAG_VERSION)).count_ones() as usize
    }

    fn split<'a>(&self, record: &'a [u8]) -> Record<'a> {
        let (optional, body) = record[HEAD_BYTES..].split_at(self.body_start() - HEAD_BYTES);
        let mut optional = optional
            .chunks_exact(8)
            .map(|field| u64::from_le_bytes(field.try_into().expect("chunks of 8 bytes")));
        let mut field = |flag| {
            if self.flags & flag != 0 {
                optional.next()
            } else {
                None
            }
        };
        let (deadline_ms, version) = (field(FLAG_DEADLINE), field(FLAG_VERSION));
        let (key, value) = body.split_at(self.key_bytes);
        Record {
            operation: self.operation,
            timestamp_ms: self.timestamp_ms,
            deadline_ms,
            version,
            more: self.flags & FLAG_MORE != 0,
            key,
            value: if self.operation == Operation::Gap {
                &[]
            } else {
                value
            },
        }
    }
}

/// Gives the record that `bytes` begin with the checksum that it should have at `position`; returns its length in
/// bytes, none where there is not as much.
#[cfg(any(test, fuzzing))]
pub(crate) fn seal(position: u64, bytes: &mut [u8]) -> Option<usize> {
    let head = Head::decode(bytes).ok()?;
    let record = bytes.get_mut(..head.total_bytes)?;
    let covered = match head.operation {
        Operation::Gap => HEAD_BYTES,
        _ => head.total_bytes,
    };
    let crc = checksum(position, &record[4..covered]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    Some(head.total_bytes)
}

fn checksum(position: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Record<'static> {
        Record::new(Operation::Set, 0x0102_0304_0506, b"key", b"value")
    }

    /// The bytes of the format, put down by hand from the table above; the checksum by zlib's crc32.
    #[test]
    fn golden() {
        let mut out = Vec::new();
        example().encode(0x1122, &mut out);
        let mut expected = vec![0u8; 4];
        expected.extend([20, 0, 0, 0, 1, 0, 3, 0, 6, 5, 4, 3, 2, 1, 0, 0]);
        expected.extend(b"keyvalue");
        expected[..4].copy_from_slice(&GOLDEN_CRC.to_le_bytes());
        assert_eq!(out, expected);
    }

    const GOLDEN_CRC: u32 = 0x28dabe87;

    #[test]
    fn a_record_is_valid_only_where_it_was_written() {
        let mut out = Vec::new();
        example().encode(100, &mut out);
        assert_eq!(Record::decode(100, &out), Ok((example(), out.len())));
        assert_eq!(
            Record::decode(101, &out),
            Err(DecodeError::Corrupt("the checksum does not match"))
        );
    }

    #[test]
    fn a_gap_does_not_cover_its_body() {
        let mut bytes = vec![0xff; 100];
        bytes[..HEAD_BYTES].copy_from_slice(&Record::encode_gap(7, 100, 5));
        bytes[50] = 0;
        let (record, length) = Record::decode(7, &bytes).unwrap();
        assert_eq!(
            (record.operation, record.value, length),
            (Operation::Gap, &[][..], 100)
        );
    }

    #[test]
    fn every_cut_is_incomplete_and_every_flip_is_noticed() {
        let record = Record {
            deadline_ms: Some(9),
            version: Some(8),
            ..example()
        };
        let mut out = Vec::new();
        record.encode(0, &mut out);
        for cut in 0..out.len() {
            assert!(
                matches!(Record::decode(0, &out[..cut]), Err(DecodeError::Incomplete(_))),
                "cut at {cut}"
            );
        }
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(0, &flipped).is_err(), "bit {bit} flipped");
        }
    }

    proptest! {
        #[test]
        fn decode_reads_what_encode_wrote(
            key in proptest::collection::vec(any::<u8>(), 1..50),
            value in proptest::collection::vec(any::<u8>(), 0..500),
            timestamp_ms: u64, deadline_ms: Option<u64>, version: Option<u64>, more: bool, position in 0..OFFSET_MAX / 2,
        ) {
            let version = version.map(|version| version & OFFSET_MAX);
            let record = Record { operation: Operation::Update, timestamp_ms, deadline_ms, version, more, key: &key, value: &value };
            let mut out = Vec::new();
            record.encode(position, &mut out);
            prop_assert_eq!(out.len(), record.encoded_bytes());
            prop_assert_eq!(Record::decode(position, &out), Ok((record, out.len())));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), position: u64) {
            let _ = Record::decode(position, &bytes);
        }
    }
}
