//! Branches: which history a part of the log belongs to.
//!
//! An offset says where, and not in which history. One store can have several histories: a directory is put
//! back from a copy, a copy is started beside the original, a host loses what was not synced, two nodes take
//! over at once. So a node that begins to give offsets begins a **branch**: at every start as primary, and at
//! every promotion. A TERM record says so in the log itself: the term, and a nonce of 64 random bits.
//!
//! # What must hold
//! - No two branches have one nonce, whatever became of copies of the log.
//! - Within a branch one process gives the offsets. So two logs whose last branches before an offset are the
//!   same are the same up to there.
//! - A branch begins at an offset that no other branch gives: further on than anything that can have been lost
//!   ([`SKIPPED_BYTES`](super::recovered::SKIPPED_BYTES)), and by chance. So a version or an offset of one branch
//!   is none of another.

use super::last_record::LastRecord;
use super::term::LogId;
use super::term::Term;
use crate::record::{Operation, Record};
use std::sync::{Mutex, MutexGuard};

/// How much further on than it must a branch begins at most, by chance, in bytes. A start takes some 20 GiB of
/// offsets with it on average, so the 8 PiB that there are last for 400,000 starts.
pub(crate) const BRANCH_SPREAD_BYTES: u64 = 32 << 30;

/// A branch of a log's history, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Branch {
    /// The term that it is of.
    pub term: Term,
    /// Random; 0 where the log was written before there were branches.
    pub nonce: u64,
    /// The offset of the first byte of its TERM record.
    pub start: u64,
}

impl Branch {
    /// Bytes of the value of the TERM record that begins a branch.
    pub(crate) const VALUE_BYTES: usize = 16;

    /// The value of the TERM record that begins it.
    pub(super) fn record_value(term: Term, nonce: u64) -> [u8; Branch::VALUE_BYTES] {
        let mut value = [0; Branch::VALUE_BYTES];
        value[..8].copy_from_slice(&term.bits().to_le_bytes());
        value[8..].copy_from_slice(&nonce.to_le_bytes());
        value
    }

    /// The branch that a record at `start` begins; none where the record is another one.
    pub(crate) fn of_record(record: &Record<'_>, start: u64) -> Option<Branch> {
        let is_term = record.operation == Operation::Term;
        let bits = record.value_u64().filter(|_| is_term)?;
        let nonce = record.value.get(8..16).and_then(|nonce| nonce.try_into().ok());
        Some(Branch {
            term: Term::from_bits(bits),
            nonce: nonce.map_or(0, u64::from_le_bytes),
            start,
        })
    }

    /// Takes a branch into a history, if it is not in it.
    pub(super) fn note(self, history: &mut Vec<Branch>) {
        let is_next = |last: &Branch| last.start < self.start && last.term <= self.term;
        if history.last().is_none_or(is_next) {
            history.push(self);
        }
    }
}

/// A branch that is to begin at the end of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) term: Term,
    pub(super) nonce: u64,
    /// Where the log continues, after a SKIP that says so.
    pub(super) continues_at: u64,
}

impl Beginning {
    /// Its TERM record and the SKIP, as they stand at offset `start`, and what the log ends in with them.
    pub(super) fn encode(&self, start: u64, timestamp_ms: u64) -> (Vec<u8>, Option<LastRecord>) {
        let mut encoded = Vec::new();
        let value = Branch::record_value(self.term, self.nonce);
        Record::new(Operation::Term, timestamp_ms, &[], &value).encode(start, &mut encoded);
        let skip = encoded.len();
        let value = self.continues_at.to_le_bytes();
        Record::new(Operation::Skip, timestamp_ms, &[], &value).encode(start + skip as u64, &mut encoded);
        let last = LastRecord::of_bytes(start + skip as u64, &encoded[skip..]);
        (encoded, last)
    }

    /// The branch, where it begins at offset `start`.
    pub(super) fn branch(&self, start: u64) -> Branch {
        Branch {
            term: self.term,
            nonce: self.nonce,
            start,
        }
    }
}

/// Draws the number that distinguishes a branch from others, and how much further on than it must it begins: up to
/// `spread_bytes`.
pub(super) fn draw(spread_bytes: u64) -> Result<(u64, u64), getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let nonce = u64::from_le_bytes(*random.first_chunk().expect("16 bytes are 8 and more"));
    let chance = u64::from_le_bytes(*random.last_chunk().expect("16 bytes are 8 and more"));
    // Not 0, which a log without branches has.
    Ok((nonce.max(1), chance.checked_rem(spread_bytes).unwrap_or(0)))
}

/// The branch that the bytes just before an offset were written in.
pub fn branch_before(history: &[Branch], offset: u64) -> Option<Branch> {
    let later = history.partition_point(|branch| branch.start < offset);
    later.checked_sub(1).map(|at| history[at])
}

/// The term that the bytes just before an offset were written in.
pub fn term_before(history: &[Branch], offset: u64) -> Term {
    branch_before(history, offset).map_or(Term::default(), |branch| branch.term)
}

/// The offset up to which two logs agree by their histories; none where these do not differ.
///
/// Histories may have lost their oldest branches, which do not fit a header. What only one of them remembers
/// does not count against the other.
pub fn fork(one: &[Branch], other: &[Branch]) -> Option<u64> {
    let oldest = |history: &[Branch]| history.first().map_or(0, |first| first.start);
    let from = oldest(one).max(oldest(other));
    let known = |history: &[Branch]| {
        let known = history.iter().filter(|branch| branch.start >= from);
        known.copied().collect::<Vec<_>>()
    };
    let (one, other) = (known(one), known(other));
    let alike = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    [one.get(alike), other.get(alike)]
        .into_iter()
        .flatten()
        .map(|branch| branch.start)
        .min()
}

/// What distinguishes a log from others: its id, and the branches of its history.
///
/// A mutex of its own, held to copy some words: a reader of it must not wait for the disk, as it would for
/// the writer.
pub(super) struct History(Mutex<Inner>);

struct Inner {
    id: LogId,
    branches: Vec<Branch>,
}

impl History {
    pub(super) fn new(id: LogId, branches: Vec<Branch>) -> History {
        History(Mutex::new(Inner { id, branches }))
    }

    pub(super) fn id(&self) -> LogId {
        self.lock().id
    }

    pub(super) fn branches(&self) -> Vec<Branch> {
        self.lock().branches.clone()
    }

    /// The latest branch.
    pub(super) fn last(&self) -> Option<Branch> {
        self.lock().branches.last().copied()
    }

    /// The latest term.
    pub(super) fn term(&self) -> Term {
        self.last().map_or(Term::default(), |last| last.term)
    }

    pub(super) fn note(&self, branch: Branch) {
        branch.note(&mut self.lock().branches);
    }

    /// Forgets the branches that begin at an offset or after it.
    pub(super) fn cut(&self, offset: u64) {
        self.lock().branches.retain(|branch| branch.start < offset);
    }

    /// Becomes that of another log.
    pub(super) fn replace(&self, id: LogId, branches: Vec<Branch>) {
        *self.lock() = Inner { id, branches };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing under the history's lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(branches: &[(u32, u64, u64)]) -> Vec<Branch> {
        let branch = |&(number, nonce, start)| Branch {
            term: Term::new(number, 0),
            nonce,
            start,
        };
        branches.iter().map(branch).collect()
    }

    #[test]
    fn logs_agree_until_their_histories_differ() {
        let one = history(&[(1, 5, 0), (2, 7, 100)]);
        assert_eq!(fork(&one, &one), None);
        assert_eq!(fork(&one, &history(&[(1, 5, 0)])), Some(100));
        assert_eq!(
            fork(&one, &history(&[(1, 5, 0), (2, 8, 90)])),
            Some(90),
            "two nodes began a second term"
        );
        assert_eq!(
            fork(&one, &history(&[(1, 5, 0), (2, 8, 100)])),
            Some(100),
            "two copies of one directory were started"
        );
        assert_eq!(
            fork(&one, &history(&[(2, 7, 100), (3, 1, 200)])),
            Some(200),
            "what one has forgotten does not count"
        );
        assert_eq!(fork(&one, &[]), Some(0));
    }

    #[test]
    fn the_bytes_before_an_offset_are_of_the_branch_that_began_before() {
        let branches = history(&[(1, 5, 0), (2, 7, 100)]);
        assert_eq!(branch_before(&branches, 0), None);
        assert_eq!(branch_before(&branches, 36), Some(branches[0]));
        assert_eq!(branch_before(&branches, 100), Some(branches[0]));
        assert_eq!(branch_before(&branches, 101), Some(branches[1]));
        assert_eq!(term_before(&branches, 0), Term::default());
        assert_eq!(term_before(&branches, 101), Term::new(2, 0));
    }

    #[test]
    fn a_record_says_its_branch_and_an_old_one_its_term_alone() {
        let value = Branch::record_value(Term::new(3, 4), 77);
        let record = Record::new(Operation::Term, 0, &[], &value);
        let branch = Branch {
            term: Term::new(3, 4),
            nonce: 77,
            start: 9,
        };
        assert_eq!(Branch::of_record(&record, 9), Some(branch));
        let old = Record::new(Operation::Term, 0, &[], &value[..8]);
        assert_eq!(Branch::of_record(&old, 9), Some(Branch { nonce: 0, ..branch }));
        assert_eq!(
            Branch::of_record(&Record::new(Operation::Set, 0, b"k", &value), 9),
            None
        );
    }

    #[test]
    fn a_history_only_grows_and_its_terms_too() {
        let mut branches = history(&[(2, 1, 100)]);
        for (number, start) in [(2, 100), (2, 50), (1, 200)] {
            history(&[(number, 9, start)])[0].note(&mut branches);
        }
        assert_eq!(branches.len(), 1);
        history(&[(2, 9, 200)])[0].note(&mut branches);
        assert_eq!(branches.len(), 2);
    }

    #[test]
    fn chance_stays_within_its_bound() {
        for _ in 0..100 {
            let (nonce, chance) = draw(10).unwrap();
            assert!(nonce != 0 && chance < 10);
        }
        assert_eq!(draw(0).unwrap().1, 0);
    }
}
