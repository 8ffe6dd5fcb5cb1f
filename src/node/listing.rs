//! Listings: keys, or keys and values, a few at a time, and where the next one continues.

mod cursor;

pub(crate) use cursor::{Cursor, CursorError};

use super::walk::{self, Beginnings, WALK_SLOTS, Walk};
use super::{Found, Node};
use crate::pair::Pair;
use crate::store::Slot;
use std::sync::Arc;

/// What a walk may copy in one hold of the lock, in bytes; room for it is made before. It has room for any
/// entry that is copied and not shared.
const COPY_BYTES: usize = 32 * 1024;

/// What a [`Lister`] holds at most, in bytes, beside one large entry that it was allowed to take.
pub(crate) const LISTER_BYTES: usize = COPY_BYTES + WALK_SLOTS * size_of::<ListedEntry>() + walk::WALK_BYTES;

/// An entry that was copied under the lock: where it ends, and what is known of it.
struct ListedEntry {
    slot: Slot,
    end: usize,
    /// The key's length; the bytes begin with it, but for those of a shared pair.
    key_bytes: usize,
    value_bytes: usize,
    found: Found,
    /// The pair itself where it is shared rather than copied. Nothing stands beside it then.
    shared: Option<Pair>,
}

/// An entry of a listing.
#[derive(Clone)]
pub struct Listed<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; empty where keys alone are listed.
    pub value: &'a [u8],
    /// Size of the value, whether it is listed or not.
    pub value_bytes: usize,
    /// Version and deadline.
    pub found: Found,
    /// The pair itself, where it is large: nothing of it was copied.
    pub shared: Option<Pair>,
}

/// What a listing has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// An entry, which [`Lister::next`] gives.
    Entry,
    /// A large entry of so many bytes, for which more than was allowed is needed.
    Large(usize),
    /// Nothing so far: it was looked at a few hundred slots, and there are more.
    Nothing,
    /// The end.
    End,
}

/// What a listing is to give.
#[derive(Default)]
pub(crate) struct Question<'a> {
    /// What all keys begin with.
    pub(crate) prefix: &'a str,
    /// A pattern by which the caller takes keys; empty where it takes all.
    pub(crate) pattern: &'a str,
    /// What every key begins with that is like the pattern.
    pub(crate) pattern_head: &'a str,
    /// What starts with one of these alone, where there is no prefix: the caller sees to it that one is allowed.
    pub(crate) within: Option<Arc<[Box<str>]>>,
    /// Whether the caller wants the keys in the order of their names, where that can be had.
    pub(crate) is_by_name: bool,
}

impl Question<'_> {
    fn beginnings(&self) -> Beginnings {
        let (prefix, head) = (self.prefix, self.pattern_head);
        let is_within = |within: &[Box<str>]| within.iter().any(|one| head.starts_with(&**one));
        match &self.within {
            Some(within) if prefix.is_empty() && !is_within(within) => Beginnings::Many(Arc::clone(within)),
            _ if head.starts_with(prefix) => Beginnings::One(head.as_bytes().into()),
            _ => Beginnings::One(prefix.as_bytes().into()),
        }
    }
}

/// Walks over the entries whose keys start alike, in no order that a client may count on.
///
/// An entry that stays throughout is given exactly once; one that comes or goes meanwhile may be given or not.
/// Recency is left alone. The lock is held for a few hundred slots at a time.
pub struct Lister<'a> {
    node: &'a Node,
    walk: Walk,
    question: u32,
    with_values: bool,
    bytes: Vec<u8>,
    copied: Vec<ListedEntry>,
    /// How many of them were given, and where the next one begins.
    given: usize,
    start: usize,
}

impl Lister<'_> {
    /// Looks for the next entry. Of values that are shared it takes one at a time, of at most
    /// `large_bytes_max` with its key: whoever allows it knows that so much memory may depend on this lister alone.
    pub fn look(&mut self, large_bytes_max: usize) -> Ahead {
        if self.given < self.copied.len() {
            return Ahead::Entry;
        }
        if self.walk.has_ended() {
            self.give_back();
            return Ahead::End;
        }
        // Room for all that the walk may find, so that nothing is allocated under the lock.
        self.bytes.clear();
        self.bytes.reserve(COPY_BYTES);
        self.copied.clear();
        self.copied.reserve(WALK_SLOTS);
        (self.given, self.start) = (0, 0);
        let (walk, bytes, copied) = (&mut self.walk, &mut self.bytes, &mut self.copied);
        let with_values = self.with_values;
        let now_ms = self.node.clock.now_ms();
        let mut large = None;
        let mut is_full = false;
        walk.step(&mut self.node.store.lock().map, |slot, entry| {
            if entry.is_expired(|| now_ms) {
                return true;
            }
            let is_shared = with_values && entry.is_shared();
            let part = match (with_values, is_shared) {
                (true, false) => entry.key_and_value(),
                (true, true) => &[],
                (false, _) => entry.key(),
            };
            if is_full || bytes.len() + part.len() > COPY_BYTES {
                return false;
            }
            if is_shared {
                let needed = entry.key_and_value().len();
                large = (needed > large_bytes_max).then_some(needed);
                if !copied.is_empty() || large.is_some() {
                    return false;
                }
                is_full = true;
            }
            bytes.extend_from_slice(part);
            copied.push(ListedEntry {
                slot,
                end: bytes.len(),
                key_bytes: entry.key().len(),
                value_bytes: entry.key_and_value().len() - entry.key().len(),
                found: Found::of(entry),
                shared: is_shared.then(|| entry.pair()),
            });
            true
        });
        match (self.copied.is_empty(), large, self.walk.has_ended()) {
            (false, _, _) => Ahead::Entry,
            (true, Some(needed), _) => Ahead::Large(needed),
            (true, None, false) => Ahead::Nothing,
            (true, None, true) => Ahead::End,
        }
    }

    /// The entry that [`Lister::look`] has found.
    #[allow(
        clippy::should_implement_trait,
        reason = "lends from its buffer, which Iterator cannot"
    )]
    pub fn next(&mut self) -> Option<Listed<'_>> {
        let entry = self.copied.get(self.given)?;
        let start = std::mem::replace(&mut self.start, entry.end);
        self.given += 1;
        let (key, value) = match &entry.shared {
            Some(pair) => (pair.key(), pair.value()),
            None => self.bytes[start..entry.end].split_at(entry.key_bytes),
        };
        Some(Listed {
            key,
            value,
            value_bytes: entry.value_bytes,
            found: entry.found,
            shared: entry.shared.clone(),
        })
    }

    /// Where another listing continues with what this one has not given; none at the end.
    pub fn cursor(&self) -> Option<Cursor> {
        let place = match self.copied.get(self.given) {
            Some(entry) => {
                let key = match &entry.shared {
                    Some(pair) => pair.key(),
                    None => &self.bytes[self.start..][..entry.key_bytes],
                };
                self.walk.place_of(entry.slot, key)
            }
            None => self.walk.place()?,
        };
        Some(Cursor::new(self.node.run, self.question, place))
    }

    /// Whether it gives keys in the order of their names, and can pass over some.
    pub(crate) fn can_pass(&self) -> bool {
        self.walk.can_pass()
    }

    /// Goes on at the first key that is not below `key`, where it [can](Lister::can_pass).
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.drop_copied();
        self.walk.seek(key);
    }

    /// Begins again, in no order.
    pub(crate) fn begin_again(&mut self) {
        self.drop_copied();
        self.walk.begin_by_slots();
    }

    fn drop_copied(&mut self) {
        self.copied.clear();
        self.bytes.clear();
        (self.given, self.start) = (0, 0);
    }

    /// Passes over all that begins with `beginning`, from where it is, and says how many keys that were. Those that have
    /// expired and are still to be removed count. None where it cannot pass over anything.
    pub(crate) fn pass(&mut self, beginning: &[u8]) -> Option<u64> {
        let mut keys = 0;
        while let Some(entry) = self.copied.get(self.given) {
            if !self.bytes[self.start..entry.end].starts_with(beginning) {
                return Some(keys);
            }
            (self.given, self.start) = (self.given + 1, entry.end);
            keys += 1;
        }
        let mut has_more = !self.walk.has_ended();
        while has_more {
            let counted = self.walk.pass(&mut self.node.store.lock().map, beginning)?;
            keys += counted.keys as u64;
            has_more = counted.has_more;
        }
        Some(keys)
    }

    /// Frees what it has given.
    pub fn give_back(&mut self) {
        if self.given == self.copied.len() {
            (self.given, self.start) = (0, 0);
            self.copied = Vec::new();
            self.bytes = Vec::new();
        }
    }
}

impl Node {
    /// Begins a listing of what starts with `prefix`, from `cursor` on.
    pub fn lister(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        with_values: bool,
    ) -> Result<Lister<'_>, CursorError> {
        let question = Question {
            prefix,
            ..Question::default()
        };
        self.lister_of(question, cursor, with_values)
    }

    /// As [`Node::lister`], of what a question asks for.
    pub(crate) fn lister_of(
        &self,
        question: Question<'_>,
        cursor: Option<Cursor>,
        with_values: bool,
    ) -> Result<Lister<'_>, CursorError> {
        let Question {
            prefix,
            pattern,
            is_by_name,
            ..
        } = question;
        // No text has this byte.
        let name = [prefix.as_bytes(), b"\xff", pattern.as_bytes()].concat();
        let name = self.store.hash(&name) as u32;
        let place = cursor.map(|cursor| cursor.place(self.run, name)).transpose()?;
        Ok(Lister {
            node: self,
            walk: Walk::new(self, question.beginnings(), place, is_by_name),
            question: name,
            with_values,
            bytes: Vec::new(),
            copied: Vec::new(),
            given: 0,
            start: 0,
        })
    }
}
