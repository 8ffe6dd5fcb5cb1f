//! The header that every file of a data directory begins with: 4,096 bytes, of which most are zero.
//!
//! ```text
//!  0  magic          8  "pykv log" or "pykv bas"
//!  8  crc32          4  of all bytes after this field, to the end of the header
//! 12  version        2  of the format: 1
//! 14  terms          2  how many follow
//! 16  id            16  of the log, random, made when the store was
//! 32  first offset   8  of the log: where a segment starts, or what a base is the state at
//! 40  terms      16 each  the term (its number in the upper 4 bytes) and the offset it starts at, oldest first
//! ```
//!
//! Its size is fixed so that a record's place in the file follows from its offset even where the header
//! itself is damaged. The 253 latest terms fit; older ones are of no use to a follower, as their records
//! were compacted away long ago.

use super::term::{Term, TermStart};
use crate::store::VERSION_MAX;
use std::fmt;

pub(super) const HEADER_BYTES: usize = 4096;
const FORMAT_VERSION: u16 = 1;
const TERMS_MAX: usize = (HEADER_BYTES - 40) / 16;

/// Names a log, as opposed to another one: a store whose directory was wiped is not the same store.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LogId([u8; 16]);

impl LogId {
    pub(super) fn random() -> Result<LogId, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(LogId(id))
    }

    /// Reads what [`fmt::Display`] writes; none where it is not that.
    pub fn from_hex(text: &str) -> Option<LogId> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Some(LogId(number.to_be_bytes()))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
    pub(super) terms: Vec<TermStart>,
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
        let terms = &self.terms[self.terms.len().saturating_sub(TERMS_MAX)..];
        out[..8].copy_from_slice(self.kind.magic());
        out[12..14].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[14..16].copy_from_slice(&(terms.len() as u16).to_le_bytes());
        out[16..32].copy_from_slice(&self.id.0);
        out[32..40].copy_from_slice(&self.first_offset.to_le_bytes());
        for (field, term) in out[40..].chunks_exact_mut(16).zip(terms) {
            field[..8].copy_from_slice(&term.term.bits().to_le_bytes());
            field[8..].copy_from_slice(&term.start.to_le_bytes());
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
        if u16_at(12) != FORMAT_VERSION {
            return Err(HeaderError::Version(u16_at(12)));
        }
        let terms = usize::from(u16_at(14));
        if terms > TERMS_MAX {
            return Err(HeaderError::Damaged(
                "the header has more terms than it has room for",
            ));
        }
        if u64_at(32) > VERSION_MAX {
            return Err(HeaderError::Damaged(
                "the file begins beyond the last offset that a log has",
            ));
        }
        Ok(Header {
            kind,
            id: LogId(bytes[16..32].try_into().expect("16 bytes")),
            first_offset: u64_at(32),
            terms: (0..terms)
                .map(|at| TermStart {
                    term: Term::from_bits(u64_at(40 + 16 * at)),
                    start: u64_at(48 + 16 * at),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Header {
        let terms = vec![
            TermStart {
                term: Term::FIRST,
                start: 0,
            },
            TermStart {
                term: Term::new(4, 9),
                start: 0x100,
            },
        ];
        Header {
            kind: Kind::Log,
            id: LogId([7; 16]),
            first_offset: 0x200,
            terms,
        }
    }

    #[test]
    fn golden() {
        let bytes = example().encode();
        let mut expected = b"pykv log".to_vec();
        expected.extend(&bytes[8..12]);
        expected.extend([1, 0, 2, 0]);
        expected.extend([7; 16]);
        expected.extend([0, 2, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([9, 0, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        expected.resize(4096, 0);
        assert_eq!(bytes, expected);
        assert_eq!(Header::decode(&bytes), Ok(example()));
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
    fn the_latest_terms_are_kept() {
        let terms = (1..=300)
            .map(|number| TermStart {
                term: Term::new(number, 0),
                start: u64::from(number) * 100,
            })
            .collect();
        let decoded = Header::decode(&Header { terms, ..example() }.encode()).unwrap();
        assert_eq!(decoded.terms.len(), TERMS_MAX);
        assert_eq!(
            decoded.terms.last(),
            Some(&TermStart {
                term: Term::new(300, 0),
                start: 30_000
            })
        );
    }
}
