//! Where a listing continues, as clients hand it back.

use crate::node::walk::Place;
use crate::pair::KEY_BYTES_MAX;
use crate::store::{NIL, Slot};
use std::fmt::Write;

/// Where a listing continues: a slot of the store, or a key. Valid until the process ends, and in a listing of the same
/// prefix and pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Random: tells the cursors of this run from those of others.
    run: u32,
    /// Tells the prefix and the pattern from others.
    question: u32,
    place: Place,
}

/// Why a listing cannot go on at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorError {
    /// It is of another run of the node: slots are not kept over a restart.
    Stale,
    /// It is of a listing of another prefix or pattern, whose keys before it this one never gave.
    OtherQuestion,
}

/// Hexadecimal digits of a number of 32 bits.
const DIGITS: usize = 8;

impl Cursor {
    pub(super) fn new(run: u32, question: u32, place: Place) -> Cursor {
        Cursor { run, question, place }
    }

    pub(super) fn place(self, run: u32, question: u32) -> Result<Place, CursorError> {
        match self {
            _ if self.run != run => Err(CursorError::Stale),
            _ if self.question != question => Err(CursorError::OtherQuestion),
            _ => Ok(self.place),
        }
    }

    /// As text, for a query: three numbers and the key, all in hexadecimal digits.
    pub fn encode(self) -> String {
        let slot = self.place.slot.unwrap_or(NIL);
        let mut text = format!("{:08x}{:08x}{slot:08x}", self.run, self.question);
        for byte in &self.place.key {
            let _ = write!(text, "{byte:02x}"); // A string takes all.
        }
        text
    }

    /// From text; `None` where it is no cursor of any node.
    pub fn decode(text: &str) -> Option<Cursor> {
        if !text.is_ascii() || text.len() < 3 * DIGITS {
            return None;
        }
        let (numbers, key) = text.split_at(3 * DIGITS);
        if key.len() % 2 != 0 || key.len() > 2 * KEY_BYTES_MAX {
            return None;
        }
        let number = |at: usize| number(&numbers[at * DIGITS..][..DIGITS]);
        let slot: Slot = number(2)?;
        let key = (0..key.len())
            .step_by(2)
            .map(|at| Some(self::number(&key[at..at + 2])? as u8));
        Some(Cursor {
            run: number(0)?,
            question: number(1)?,
            place: Place {
                slot: (slot != NIL).then_some(slot),
                key: key.collect::<Option<_>>()?,
            },
        })
    }
}

/// A number of hexadecimal digits, without a sign.
fn number(digits: &str) -> Option<u32> {
    let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(slot: Option<Slot>, key: &[u8]) -> Cursor {
        let key = key.to_vec();
        Cursor::new(0xdead_beef, 7, Place { slot, key })
    }

    #[test]
    fn a_cursor_is_what_it_was() {
        let longest = [0xe9; KEY_BYTES_MAX];
        for (slot, key) in [
            (Some(0), &b""[..]),
            (Some(NIL - 1), b"user:1"),
            (None, b"user:1"),
            (None, &longest),
        ] {
            let cursor = cursor(slot, key);
            assert_eq!(Cursor::decode(&cursor.clone().encode()), Some(cursor));
        }
        assert_eq!(cursor(Some(9), b"").encode(), "deadbeef0000000700000009");
        assert_eq!(cursor(None, b"k").encode(), "deadbeef00000007ffffffff6b");
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        let too_long = "0".repeat(24 + 2 * KEY_BYTES_MAX + 2);
        for text in [
            "",
            "deadbeef",
            "deadbeef000000070000000",
            "deadbeef00000007+0000009",
            "deadbeef00000007000000096",
            "deadbeef0000000700000009+b",
            "éééééééééééééééééééééééééé",
            &too_long,
        ] {
            assert_eq!(Cursor::decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_cursor_is_of_one_run_and_one_question() {
        let place = |run, question| cursor(Some(1), b"").place(run, question).map(|place| place.slot);
        assert_eq!(place(0xdead_beef, 7), Ok(Some(1)));
        assert_eq!(place(1, 7), Err(CursorError::Stale));
        assert_eq!(place(0xdead_beef, 8), Err(CursorError::OtherQuestion));
    }
}
