//! Edits: they make a value from the one that is there: for counters, and for values that grow at their end.
//!
//! # What must hold
//! - An edit is one step: no write comes between the value that it was made from and the value that it leaves.
//! - The log holds the value that was made. A replay and a replica compute nothing.
//! - An edit takes the store's lock twice: to read the old value, and to put the new one. The put requires the version
//!   that was read. Versions are never reused, so the put fails where the key has changed meanwhile, and the edit is
//!   made anew. Edits that were overtaken take turns ([`Turns`]), so that they do not overtake one another again and
//!   again, and each of them holds one value at most.

use super::Node;
use super::gate::{Gate, Pass};
use super::write::{Deadline, Found, Mode, Precondition, WriteError, Written};
use crate::key::Key;
use crate::lock_order::Rank;
use crate::pair::Pair;
use crate::wal::Refusal;

/// How a value is made from the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Adds to a whole number.
    Increment {
        /// What is added.
        by: i64,
        /// The number that a key gets which is not there. Without one such a key is an error.
        initial: Option<i64>,
    },
    /// Puts bytes behind those that are there.
    Append(&'a [u8]),
}

/// An edit that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edited {
    /// What it has left.
    pub written: Written,
    /// The number, where it is one.
    pub number: Option<i64>,
    /// Size of the value, in bytes.
    pub value_bytes: usize,
}

/// A value that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) value: Vec<u8>,
    pub(super) number: Option<i64>,
}

impl Made {
    fn of_number(number: i64) -> Made {
        Made {
            value: number.to_string().into_bytes(),
            number: Some(number),
        }
    }

    /// What it is once it was put.
    pub(super) fn put(&self, written: Written) -> Edited {
        Edited {
            written,
            number: self.number,
            value_bytes: self.value.len(),
        }
    }
}

impl Edit<'_> {
    /// The new value of a key; none where the key is not there, and must be.
    pub(super) fn make(self, before: Option<&[u8]>) -> Result<Made, WriteError> {
        match (self, before) {
            (
                Edit::Increment {
                    initial: Some(initial),
                    ..
                },
                None,
            ) => Ok(Made::of_number(initial)),
            (_, None) => Err(WriteError::Missing),
            (Edit::Increment { by, .. }, Some(before)) => {
                let number = number(before).ok_or(WriteError::NotANumber)?;
                let sum = number.checked_add(by).ok_or(WriteError::Overflow)?;
                Ok(Made::of_number(sum))
            }
            (Edit::Append(more), Some(before)) => Ok(Made {
                value: [before, more].concat(),
                number: None,
            }),
        }
    }

    /// Bytes held while a value is made and put: the value, the pair made of it, and the old one, which another write may
    /// have taken out of the store meanwhile.
    fn held_bytes_max(self, seen: &Seen) -> usize {
        let before_bytes = seen.pair.as_ref().map_or(0, |pair| pair.value().len());
        match self {
            Edit::Increment { .. } => before_bytes,
            Edit::Append(_) => 2 * self.value_bytes_max(before_bytes) + before_bytes,
        }
    }

    /// Bytes that the new value may have, where the old one has so many.
    pub(super) fn value_bytes_max(self, before_bytes: usize) -> usize {
        match self {
            Edit::Increment { .. } => NUMBER_BYTES_MAX,
            Edit::Append(more) => before_bytes + more.len(),
        }
    }
}

/// How often an edit is made anew. Those that were overtaken take turns, so only other kinds of writes come before: a
/// client that loses to them so often is one that had better wait.
pub(super) const TRIES_MAX: usize = 1000;

/// Keys share so many turns, by their hashes.
const TURNS: usize = 64;

/// The turns of edits that were overtaken: one gate for all keys of like hashes. An edit is inside while its value is made
/// and put.
pub(super) struct Turns([Gate; TURNS]);

impl Default for Turns {
    fn default() -> Turns {
        Turns([const { Gate::new() }; TURNS])
    }
}

impl Turns {
    fn take(&self, hash: u64) -> Result<Pass<'_>, Refusal> {
        self.0[hash as usize % TURNS].enter(Rank::Edit)
    }
}

/// Bytes of the longest number, `-9223372036854775808`.
const NUMBER_BYTES_MAX: usize = 20;

/// The whole number that a value is: digits, perhaps with a minus before them.
fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.starts_with('+')).then(|| text.parse().ok()).flatten()
}

/// What an edit was made from.
pub(super) struct Seen {
    pub(super) pair: Option<Pair>,
    pub(super) found: Option<Found>,
}

impl Seen {
    /// What must hold when the new value is put: the key is as it was seen.
    pub(super) fn precondition(&self) -> Precondition<'static> {
        match self.found {
            Some(found) => Precondition::Version(found.version),
            None => Precondition::Absent,
        }
    }

    /// Until when the new value is kept, where nothing else was asked for.
    pub(super) fn deadline(&self) -> Deadline {
        let at_ms = self.found.and_then(|found| found.deadline_ms);
        at_ms.map_or(Deadline::Never, Deadline::At)
    }
}

/// Whether a write that was made from what was seen came too late, and must be made anew.
pub(super) fn is_overtaken(error: &WriteError, keeps_deadline: bool) -> bool {
    match error {
        WriteError::Precondition { .. } | WriteError::Missing | WriteError::Exists { .. } => true,
        // The deadline of what was seen has come meanwhile.
        WriteError::Past => keeps_deadline,
        _ => false,
    }
}

impl Node {
    /// Makes a key's value from the one that is there. The key keeps its deadline, unless there is another one. `room` is
    /// asked before a value is made, whether so many bytes of memory may be held; asked again, perhaps with more, where
    /// the value has changed meanwhile. `go_on` is asked before an edit that was overtaken is made anew: not for a client
    /// that has gone.
    pub fn edit(
        &self,
        key: Key<'_>,
        edit: Edit<'_>,
        deadline: Option<Deadline>,
        precondition: Precondition<'_>,
        room: &mut dyn FnMut(usize) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Edited, WriteError> {
        self.until_put(key, go_on, || {
            let seen = self.seen(key);
            precondition.check(seen.found.map(|found| found.version))?;
            if !room(edit.held_bytes_max(&seen)) {
                return Err(WriteError::NoRoom);
            }
            let made = edit.make(seen.pair.as_ref().map(Pair::value))?;
            let put = self.put(
                key,
                &made.value,
                deadline.unwrap_or(seen.deadline()),
                Mode::Upsert,
                seen.precondition(),
            );
            match put {
                Ok(written) => Ok(Some(made.put(written))),
                Err(error) if is_overtaken(&error, deadline.is_none()) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Gives a key another deadline, or none, and leaves its value as it is. That is a change like any other:
    /// the key gets a new version. `room` and `go_on` are as those of [`Node::edit`].
    pub fn set_deadline(
        &self,
        key: Key<'_>,
        deadline: Deadline,
        precondition: Precondition<'_>,
        room: &mut dyn FnMut(usize) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Written, WriteError> {
        self.until_put(key, go_on, || {
            let seen = self.seen(key);
            precondition.check(seen.found.map(|found| found.version))?;
            let pair = seen.pair.as_ref().ok_or(WriteError::Missing)?;
            // The copy, and the old one.
            if !room(2 * pair.value().len()) {
                return Err(WriteError::NoRoom);
            }
            // It may be longer than new values may be: the bound was another one then.
            match self.put_checked(key, pair.value(), deadline, Mode::Update, seen.precondition()) {
                Ok(written) => Ok(Some(written)),
                Err(error) if is_overtaken(&error, false) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Makes a write anew until no other one overtakes it; `attempt` has none where one did.
    fn until_put<T>(
        &self,
        key: Key<'_>,
        go_on: &dyn Fn() -> bool,
        mut attempt: impl FnMut() -> Result<Option<T>, WriteError>,
    ) -> Result<T, WriteError> {
        let mut turn: Option<Pass<'_>> = None;
        for _ in 0..TRIES_MAX {
            match attempt() {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) => {
                    if let (WriteError::Refused(refusal), Some(turn)) = (&error, &mut turn) {
                        turn.note_refusal(refusal);
                    }
                    return Err(error);
                }
            }
            if turn.is_none() {
                turn = Some(self.edits.take(self.store.hash(key.as_bytes()))?);
            }
            if !go_on() {
                break;
            }
        }
        Err(WriteError::Contended)
    }

    fn seen(&self, key: Key<'_>) -> Seen {
        let hash = self.store.hash(key.as_bytes());
        let locked = self.store.lock();
        let slot = locked.map.find_live(hash, key.as_bytes(), || self.clock.now_ms());
        let entry = slot.map(|slot| locked.map.entry(slot));
        Seen {
            found: entry.map(Found::of),
            pair: entry.map(|entry| entry.pair()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incremented(value: &[u8], by: i64) -> Result<String, String> {
        let edit = Edit::Increment { by, initial: None };
        let made = edit.make(Some(value)).map_err(|error| format!("{error:?}"))?;
        Ok(String::from_utf8(made.value).unwrap())
    }

    #[test]
    fn what_is_a_number() {
        for (value, by, expected) in [
            ("0", 1, "1"),
            ("41", 1, "42"),
            ("-1", 1, "0"),
            ("9223372036854775806", 1, "9223372036854775807"),
            ("-9223372036854775808", i64::MAX, "-1"),
            ("007", -8, "-1"),
        ] {
            assert_eq!(
                incremented(value.as_bytes(), by).as_deref(),
                Ok(expected),
                "{value}"
            );
        }
        for value in [
            "",
            " 1",
            "1\n",
            "+1",
            "1.0",
            "1e3",
            "0x1",
            "--1",
            "9223372036854775808",
            "\u{661}",
        ] {
            assert_eq!(
                incremented(value.as_bytes(), 1),
                Err("NotANumber".to_owned()),
                "{value:?}"
            );
        }
        assert_eq!(incremented(b"\xff", 1), Err("NotANumber".to_owned()));
        assert_eq!(incremented(b"9223372036854775807", 1), Err("Overflow".to_owned()));
        assert_eq!(
            incremented(b"-9223372036854775808", -1),
            Err("Overflow".to_owned())
        );
    }

    #[test]
    fn what_is_not_there() {
        let increment = |initial| Edit::Increment { by: 5, initial };
        assert_eq!(increment(Some(7)).make(None).unwrap().value, b"7");
        assert!(matches!(increment(None).make(None), Err(WriteError::Missing)));
        assert!(matches!(Edit::Append(b"x").make(None), Err(WriteError::Missing)));
    }
}
