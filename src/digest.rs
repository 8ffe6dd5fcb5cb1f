//! A digest of what a store holds: two stores with the same entries have the same digest.
//!
//! Each entry (key, value, version, deadline) is hashed by itself, and the hashes are added up. So the order
//! does not matter, and a change costs the hash of what goes and the hash of what comes. The log's writer
//! keeps it, because it sees all changes in their order and holds no lock that others wait for.
//!
//! The hash is XXH3 (64 bits) of the key and the value, one behind the other, with a seed made of all else.
//! It finds what went wrong by itself, not what somebody has contrived: it is no cryptographic hash.

use crate::pair::Pair;
use crate::record::Record;
use std::fmt;
use twox_hash::XxHash3_64;

/// The digest of a set of entries. The empty set's is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Digest {
    /// Takes an entry in.
    pub(crate) fn add(&mut self, pair: &Pair, version: u64) {
        self.0 = self.0.wrapping_add(of_pair(pair, version));
    }

    /// Takes out an entry that was taken in.
    pub(crate) fn remove(&mut self, pair: &Pair, version: u64) {
        self.0 = self.0.wrapping_sub(of_pair(pair, version));
    }

    /// Takes in what [`Digest::of_record`] is of an entry.
    pub(crate) fn add_hash(&mut self, hash: u64) {
        self.0 = self.0.wrapping_add(hash);
    }

    /// Takes out what [`Digest::of_record`] is of an entry.
    pub(crate) fn remove_hash(&mut self, hash: u64) {
        self.0 = self.0.wrapping_sub(hash);
    }

    /// What the entry that a record leaves adds to a digest.
    pub(crate) fn of_record(record: &Record<'_>, version: u64) -> u64 {
        let bytes = [record.key, record.value].concat();
        hash(&bytes, record.key.len(), version, record.deadline_ms)
    }
}

/// As 16 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn of_pair(pair: &Pair, version: u64) -> u64 {
    hash(
        pair.key_and_value(),
        pair.key().len(),
        version,
        pair.deadline_ms(),
    )
}

pub(crate) fn hash(key_and_value: &[u8], key_bytes: usize, version: u64, deadline_ms: Option<u64>) -> u64 {
    // The multiplier (of Knuth's multiplicative hashing) spreads the parts, so that no two of them can trade
    // places. No deadline is as the one that never comes.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let seed = [deadline_ms.unwrap_or(u64::MAX), key_bytes as u64]
        .into_iter()
        .fold(version, |seed, part| seed.wrapping_mul(SPREAD).wrapping_add(part));
    XxHash3_64::oneshot_with_seed(seed, key_and_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Operation;

    #[test]
    fn what_goes_leaves_nothing_and_the_order_does_not_matter() {
        let (a, b) = (Pair::new(b"a", b"1"), Pair::with_deadline(b"b", b"2", Some(9)));
        let mut one = Digest::default();
        one.add(&a, 1);
        one.add(&b, 2);
        let mut other = Digest::default();
        other.add(&b, 2);
        other.add(&a, 1);
        assert_eq!(one, other);
        one.remove(&a, 1);
        one.remove(&b, 2);
        assert_eq!(one, Digest::default());
    }

    #[test]
    fn every_part_counts() {
        let of = |key: &[u8], value: &[u8], deadline_ms, version| {
            of_pair(&Pair::with_deadline(key, value, deadline_ms), version)
        };
        let all = [
            of(b"k", b"v", None, 1),
            of(b"k", b"w", None, 1),
            of(b"l", b"v", None, 1),
            of(b"kv", b"", None, 1),
            of(b"k", b"v", Some(1), 1),
            of(b"k", b"v", Some(2), 1),
            of(b"k", b"v", None, 2),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_record_counts_as_its_pair() {
        let record = Record {
            deadline_ms: Some(5),
            ..Record::new(Operation::Set, 7, b"key", b"value")
        };
        let pair = Pair::with_deadline(b"key", b"value", Some(5));
        assert_eq!(Digest::of_record(&record, 30), of_pair(&pair, 30));
    }
}
