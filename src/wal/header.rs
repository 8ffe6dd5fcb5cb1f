//! The header that every file of a data directory begins with: 4,096 bytes, of which most are zero.
//!
//! ```text
//!  0  magic          8  "pykv log" or "pykv bas"
//!  8  crc32          4  of all bytes after this field, to the end of the header
//! 12  version        2  of the format: 2
//! 14  branches       2  how many follow
//! 16  id            16  of the log, random, made when the store was
//! 32  first offset   8  of the log: where a segment starts, or what a base is the state at
//! 40  branches  24 each  the term (its number in the upper 4 bytes), the nonce, and the offset it starts at,
//!                        oldest first
//! ```
//!
//! Its size is fixed so that a record's place in the file follows from its offset even where the header
//! itself is damaged. The 169 latest branches fit. Older ones are of no use to a follower: their records
//! were compacted away long ago.
//!
//! Format 1 knows terms alone, 16 bytes each: the term and the offset. It is read, and never written.

use super::branch::Branch;
use super::term::{LogId, Term};
use crate::record::OFFSET_MAX;

pub(super) const HEADER_BYTES: usize = 4096;
const FORMAT_VERSION: u16 = 2;
const BRANCH_BYTES: usize = 24;
pub(super) const BRANCHES_MAX: usize = (HEADER_BYTES - 40) / BRANCH_BYTES;
/// Of format 1.
const TERM_BYTES: usize = 16;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The state at an offset.
    Base,
    /// A stretch of the log.
    Log,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Kind::Base => b"pykv bas",
            Kind::Log => b"pykv log",
        }
    }

    /// Whether these may be the first bytes of a file of any kind, as far as they go.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        [Kind::Base, Kind::Log].iter().any(|kind| {
            let magic = kind.magic();
            bytes.starts_with(magic) || magic.starts_with(bytes)
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Base => "base",
            Kind::Log => "log",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) id: LogId,
    pub(super) first_offset: u64,
    pub(super) branches: Vec<Branch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not a header of this program, or no longer.
    Damaged(&'static str),
    /// Of a later format.
    Version(u16),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        let branches = &self.branches[self.branches.len().saturating_sub(BRANCHES_MAX)..];
        out[..8].copy_from_slice(self.kind.magic());
        out[12..14].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[14..16].copy_from_slice(&(branches.len() as u16).to_le_bytes());
        out[16..32].copy_from_slice(&self.id.bytes());
        out[32..40].copy_from_slice(&self.first_offset.to_le_bytes());
        for (field, branch) in out[40..].chunks_exact_mut(BRANCH_BYTES).zip(branches) {
            field[..8].copy_from_slice(&branch.term.bits().to_le_bytes());
            field[8..16].copy_from_slice(&branch.nonce.to_le_bytes());
            field[16..].copy_from_slice(&branch.start.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .try_into()
            .map_err(|_| HeaderError::Damaged("the header is cut short"))?;
        let kind = [Kind::Base, Kind::Log]
            .into_iter()
            .find(|kind| bytes.starts_with(kind.magic()));
        let kind = kind.ok_or(HeaderError::Damaged("the file does not begin as one of pykv's"))?;
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        if crc32fast::hash(&bytes[12..]).to_le_bytes() != bytes[8..12] {
            return Err(HeaderError::Damaged("the header's checksum does not match"));
        }
        let branch_bytes = match u16_at(12) {
            1 => TERM_BYTES,
            FORMAT_VERSION => BRANCH_BYTES,
            other => return Err(HeaderError::Version(other)),
        };
        let branches = usize::from(u16_at(14));
        if branches > (HEADER_BYTES - 40) / branch_bytes {
            return Err(HeaderError::Damaged(
                "the header has more branches than it has room for",
            ));
        }
        let first_offset = u64_at(32);
        if first_offset > OFFSET_MAX {
            return Err(HeaderError::Damaged(
                "the header names an offset that no log reaches",
            ));
        }
        let branch = |at: usize| Branch {
            term: Term::from_bits(u64_at(at)),
            nonce: if branch_bytes == TERM_BYTES {
                0
            } else {
                u64_at(at + 8)
            },
            start: u64_at(at + branch_bytes - 8),
        };
        Ok(Header {
            kind,
            id: LogId::from_bytes(bytes[16..32].try_into().expect("16 bytes")),
            first_offset,
            branches: (0..branches).map(|at| branch(40 + branch_bytes * at)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Header {
        let branch = |term, nonce, start| Branch { term, nonce, start };
        Header {
            kind: Kind::Log,
            id: LogId::from_bytes([7; 16]),
            first_offset: 0x200,
            branches: vec![
                branch(Term::FIRST, 0x0506, 0),
                branch(Term::new(4, 9), 0x0708, 0x100),
            ],
        }
    }

    #[test]
    fn golden() {
        let bytes = example().encode();
        let mut expected = b"pykv log".to_vec();
        expected.extend(&bytes[8..12]);
        expected.extend([2, 0, 2, 0]);
        expected.extend([7; 16]);
        expected.extend([0, 2, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend([6, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([9, 0, 0, 0, 4, 0, 0, 0]);
        expected.extend([8, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        expected.resize(4096, 0);
        assert_eq!(bytes, expected);
        assert_eq!(Header::decode(&bytes), Ok(example()));
    }

    #[test]
    fn format_1_is_read() {
        let mut bytes = b"pykv log\0\0\0\0".to_vec();
        bytes.extend([1, 0, 2, 0]);
        bytes.extend([7; 16]);
        bytes.extend([0, 2, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([9, 0, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.resize(4096, 0);
        let crc = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        let mut expected = example();
        for branch in &mut expected.branches {
            branch.nonce = 0;
        }
        assert_eq!(Header::decode(&bytes), Ok(expected));
    }

    #[test]
    fn every_cut_and_every_flip_is_noticed() {
        let bytes = example().encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(Header::decode(&flipped).is_err(), "byte {at} flipped");
            assert!(Header::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn no_header_names_an_offset_past_the_last_one() {
        let at = |first_offset| Header {
            first_offset,
            ..example()
        };
        assert!(Header::decode(&at(OFFSET_MAX).encode()).is_ok());
        assert!(Header::decode(&at(OFFSET_MAX + 1).encode()).is_err());
        assert!(Header::decode(&at(u64::MAX).encode()).is_err());
    }

    #[test]
    fn the_latest_branches_are_kept() {
        let branches = (1..=300)
            .map(|number| Branch {
                term: Term::new(number, 0),
                nonce: 1,
                start: u64::from(number) * 100,
            })
            .collect();
        let decoded = Header::decode(
            &Header {
                branches,
                ..example()
            }
            .encode(),
        )
        .unwrap();
        assert_eq!(decoded.branches.len(), BRANCHES_MAX);
        let last = decoded.branches.last().unwrap();
        assert_eq!((last.term, last.start), (Term::new(300, 0), 30_000));
    }
}
