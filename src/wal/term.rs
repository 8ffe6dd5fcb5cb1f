//! Which log it is, and its terms: under whose hand a part of it was written.
//!
//! A node that is promoted begins a term, and a TERM record says so in the log itself. Where two nodes meet,
//! the higher term wins. Within a term a primary begins a branch at each of its starts: see [`super::branch`].
//!
//! A term is a number, one more than any that the node knows, and a mark, drawn at random. The mark orders two
//! terms that two nodes began at the same time, each without knowing of the other: without it they would be
//! one term, and neither would win. Of two such terms one that was taken wins over one that was handed over
//! ([`Succession`]): the follower that takes over by itself was not there when the role was handed over, and its
//! acknowledgements count.

use std::fmt;

/// Names a log, as opposed to another one: a store whose directory was wiped is not the same store.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct LogId([u8; 16]);

impl LogId {
    pub(super) fn random() -> Result<LogId, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(LogId(id))
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> LogId {
        LogId(bytes)
    }

    pub(super) const fn bytes(self) -> [u8; 16] {
        self.0
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

/// How a node came to begin a term. It is the highest bit of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// The primary before it stepped down for it.
    HandedOver,
    /// It took over by itself, or by `--force`.
    Taken,
}

/// The bit of a mark that stands for a term that was taken.
const TAKEN: u32 = 1 << 31;

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

    /// The most that one node's term may be above that of another. A larger jump is no term that a cluster
    /// has reached, but one that somebody made up to use the numbers up.
    pub const JUMP_MAX: u32 = 1 << 20;

    /// Whether a node of this term may believe that another one is in `other`.
    pub const fn may_meet(self, other: Term) -> bool {
        other.number() <= self.number().saturating_add(Term::JUMP_MAX) && other.number() < u32::MAX
    }

    /// Whether the primary before stepped down for the node that began it. A term that an older pykv has begun may
    /// seem to be either.
    pub(crate) const fn is_handed_over(self) -> bool {
        self.0 != Term::FIRST.0 && self.0 as u32 & TAKEN == 0
    }

    /// The term of a number that nobody else has.
    pub(super) fn of_number(number: u32) -> Result<Term, getrandom::Error> {
        let mut mark = [0; 4];
        getrandom::fill(&mut mark)?;
        Ok(Term::new(number, u32::from_le_bytes(mark) | TAKEN))
    }

    /// A term above this one that nobody else begins; none where the numbers are used up.
    pub(super) fn begin_next(self, succession: Succession) -> Result<Option<Term>, getrandom::Error> {
        let mut mark = [0; 4];
        getrandom::fill(&mut mark)?;
        let mark = u32::from_le_bytes(mark);
        let mark = match succession {
            Succession::HandedOver => mark & !TAKEN,
            Succession::Taken => mark | TAKEN,
        };
        let number = self.number().checked_add(1);
        Ok(number.map(|number| Term::new(number, mark)))
    }
}

/// The number alone.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_counts_first_and_then_the_mark() {
        assert!(Term::new(2, 0) > Term::new(1, u32::MAX));
        assert!(Term::new(2, 1) > Term::new(2, 0));
        for succession in [Succession::HandedOver, Succession::Taken] {
            let next = Term::FIRST.begin_next(succession).unwrap().unwrap();
            assert_eq!((next.number(), next.to_string().as_str()), (2, "2"));
            assert_eq!(next.is_handed_over(), succession == Succession::HandedOver);
            assert_eq!(Term::new(u32::MAX, 0).begin_next(succession).unwrap(), None);
        }
    }

    #[test]
    fn a_term_that_was_taken_wins_over_one_that_was_handed_over() {
        assert!(!Term::FIRST.is_handed_over());
        for _ in 0..50 {
            let next = |succession| Term::FIRST.begin_next(succession).unwrap().unwrap();
            assert!(next(Succession::Taken) > next(Succession::HandedOver));
        }
    }

    #[test]
    fn nobody_uses_the_terms_up() {
        assert!(Term::FIRST.may_meet(Term::new(1 << 20, 7)));
        assert!(!Term::FIRST.may_meet(Term::new(u32::MAX, 0)));
        assert!(!Term::FIRST.may_meet(Term::new((1 << 20) + 2, 0)));
        assert!(!Term::new(u32::MAX - 1, 0).may_meet(Term::new(u32::MAX, 0)));
        assert!(Term::new(9, 0).may_meet(Term::FIRST));
    }
}
