//! Terms: under whose hand a part of the log was written.
//!
//! A node that becomes primary begins a term, and a TERM record says so in the log itself. So a log carries
//! the history of its terms, and two logs of one store agree up to the first offset at which their histories
//! differ. Where two nodes meet, the higher term wins.
//!
//! A term is a number, one more than any that was known, and a mark, drawn at random. The mark tells two
//! terms apart that two nodes began at the same time, each without knowing of the other: without it they
//! would be one term with two histories.

use crate::record::Record;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use super::header::LogId;

/// A term, ordered as terms win over each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// The one that every store begins with.
    pub const FIRST: Term = Term::new(1, 0);

    /// A term of a number and a mark.
    pub const fn new(number: u32, mark: u32) -> Term {
        Term((number as u64) << 32 | mark as u64)
    }

    /// As it stands in files and in requests: the number in the upper half, the mark in the lower one.
    pub const fn from_bits(bits: u64) -> Term {
        Term(bits)
    }

    /// See [`Term::from_bits`].
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What people call it.
    pub const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// What tells it from another one of the same number.
    pub(super) const fn mark(self) -> u32 {
        self.0 as u32
    }

    /// A term above this one that nobody else begins; none where the numbers are used up.
    pub(super) fn begin_next(self) -> Result<Option<Term>, getrandom::Error> {
        let mut mark = [0; 4];
        getrandom::fill(&mut mark)?;
        let number = self.number().checked_add(1);
        Ok(number.map(|number| Term::new(number, u32::from_le_bytes(mark))))
    }
}

/// The number alone.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// Where in the log a term begins: at its TERM record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermStart {
    /// The term.
    pub term: Term,
    /// The offset of the first byte of its TERM record.
    pub start: u64,
}

impl TermStart {
    /// What a TERM record at `start` says; none where the record is another one.
    pub(crate) fn of_record(record: &Record<'_>, start: u64) -> Option<TermStart> {
        (record.operation == crate::record::Operation::Term)
            .then(|| record.value_u64())
            .flatten()
            .map(|bits| TermStart {
                term: Term::from_bits(bits),
                start,
            })
    }

    /// Takes a term into a history, if it is not in it.
    pub(super) fn note(self, history: &mut Vec<TermStart>) {
        if history.last().is_none_or(|last| last.term < self.term) {
            history.push(self);
        }
    }
}

/// The term that the bytes just before an offset were written in.
pub fn term_before(history: &[TermStart], offset: u64) -> Term {
    let later = history.partition_point(|term| term.start < offset);
    later
        .checked_sub(1)
        .map_or(Term::default(), |at| history[at].term)
}

/// The offset up to which two logs agree by their histories; none where these do not differ.
///
/// Histories may have lost their oldest terms, which do not fit a header: what only one of them remembers is
/// not held against the other.
pub fn fork(one: &[TermStart], other: &[TermStart]) -> Option<u64> {
    let oldest = |history: &[TermStart]| history.first().map_or(Term::default(), |first| first.term);
    let from = oldest(one).max(oldest(other));
    let known = |history: &[TermStart]| {
        let known = history.iter().filter(|term| term.term >= from);
        known.copied().collect::<Vec<_>>()
    };
    let (one, other) = (known(one), known(other));
    let alike = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    [one.get(alike), other.get(alike)]
        .into_iter()
        .flatten()
        .map(|term| term.start)
        .min()
}

/// What tells a log from others: its id, and the terms that it was written in.
///
/// A mutex of its own, held to copy some words: those who ask must not wait for the disk, as they would for
/// the writer.
pub(super) struct History(Mutex<Inner>);

struct Inner {
    id: LogId,
    terms: Vec<TermStart>,
}

impl History {
    pub(super) fn new(id: LogId, terms: Vec<TermStart>) -> History {
        History(Mutex::new(Inner { id, terms }))
    }

    pub(super) fn id(&self) -> LogId {
        self.lock().id
    }

    pub(super) fn terms(&self) -> Vec<TermStart> {
        self.lock().terms.clone()
    }

    /// The latest.
    pub(super) fn term(&self) -> Term {
        self.lock().terms.last().map_or(Term::default(), |last| last.term)
    }

    pub(super) fn note(&self, term: TermStart) {
        term.note(&mut self.lock().terms);
    }

    /// Forgets the terms that begin at an offset or behind it.
    pub(super) fn cut(&self, offset: u64) {
        self.lock().terms.retain(|term| term.start < offset);
    }

    /// Becomes that of another log.
    pub(super) fn replace(&self, id: LogId, terms: Vec<TermStart>) {
        *self.lock() = Inner { id, terms };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing under the history's lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(terms: &[(u32, u32, u64)]) -> Vec<TermStart> {
        let start = |&(number, mark, start)| TermStart {
            term: Term::new(number, mark),
            start,
        };
        terms.iter().map(start).collect()
    }

    #[test]
    fn the_number_counts_first_and_then_the_mark() {
        assert!(Term::new(2, 0) > Term::new(1, u32::MAX));
        assert!(Term::new(2, 1) > Term::new(2, 0));
        let next = Term::FIRST.begin_next().unwrap().unwrap();
        assert_eq!((next.number(), next.to_string().as_str()), (2, "2"));
        assert_eq!(Term::new(u32::MAX, 0).begin_next().unwrap(), None);
    }

    #[test]
    fn logs_agree_until_their_histories_differ() {
        let one = history(&[(1, 0, 0), (2, 7, 100)]);
        assert_eq!(fork(&one, &one), None);
        assert_eq!(fork(&one, &history(&[(1, 0, 0)])), Some(100));
        assert_eq!(
            fork(&one, &history(&[(1, 0, 0), (2, 8, 90)])),
            Some(90),
            "two nodes began a second term"
        );
        assert_eq!(
            fork(&one, &history(&[(2, 7, 100), (3, 1, 200)])),
            Some(200),
            "what one has forgotten does not count"
        );
        assert_eq!(fork(&one, &[]), Some(0));
    }

    #[test]
    fn the_bytes_before_an_offset_are_of_the_term_that_began_before() {
        let terms = history(&[(1, 0, 0), (2, 7, 100)]);
        assert_eq!(term_before(&terms, 0), Term::default());
        assert_eq!(term_before(&terms, 28), Term::FIRST);
        assert_eq!(term_before(&terms, 100), Term::FIRST);
        assert_eq!(term_before(&terms, 101), Term::new(2, 7));
    }
}
