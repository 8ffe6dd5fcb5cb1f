//! Which log it is, and its terms: under whose hand a part of it was written.
//!
//! A node that is promoted begins a term, and a TERM record says so in the log itself. Where two nodes meet,
//! the higher term wins. Within a term a primary begins a branch at each of its starts: see [`super::branch`].
//!
//! A term is a number, one more than any that the node knows, and a mark, drawn at random. The mark orders two
//! terms that two nodes began at the same time, each without knowing of the other: without it they would be
//! one term, and neither would win.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_counts_first_and_then_the_mark() {
        assert!(Term::new(2, 0) > Term::new(1, u32::MAX));
        assert!(Term::new(2, 1) > Term::new(2, 0));
        let next = Term::FIRST.begin_next().unwrap().unwrap();
        assert_eq!((next.number(), next.to_string().as_str()), (2, "2"));
        assert_eq!(Term::new(u32::MAX, 0).begin_next().unwrap(), None);
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
