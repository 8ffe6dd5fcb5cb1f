//! Listings: keys, or keys and values, a few at a time, and where the next one continues.

use super::{Found, Node};
use crate::pair::Pair;
use crate::store::Slot;
use std::sync::Arc;

/// Slots that a listing looks at in one hold of the lock: some 20 µs where none is in a cache.
pub(super) const WALK_SLOTS: usize = 256;

/// What a walk may copy in one hold of the lock, in bytes; room for it is made before. It has room for any
/// entry that is copied and not shared.
const WALK_BYTES: usize = 32 * 1024;

/// What a [`Lister`] holds at most, in bytes, beside one large entry that it was allowed to take.
pub(crate) const LISTER_BYTES: usize = WALK_BYTES + WALK_SLOTS * size_of::<ListedEntry>();

/// Where a listing continues: a slot of the store, valid until the process ends, and in a listing of the same
/// prefix and pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    slot: Slot,
    run: u32,
    /// Tells the prefix and the pattern from others.
    question: u32,
}

impl Cursor {
    /// As text, for a query.
    pub fn encode(self) -> String {
        format!("{:08x}{:08x}{:08x}", self.run, self.question, self.slot)
    }

    /// From text; `None` where it is no cursor of any node.
    pub fn decode(text: &str) -> Option<Cursor> {
        if text.len() != 24 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let part = |range| u32::from_str_radix(&text[range], 16).ok();
        Some(Cursor {
            run: part(0..8)?,
            question: part(8..16)?,
            slot: part(16..24)?,
        })
    }
}

/// Why a listing cannot go on at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorError {
    /// It is of another run of the node: slots are not kept over a restart.
    Stale,
    /// It is of a listing of another prefix or pattern, whose keys before it this one never gave.
    OtherQuestion,
}

/// An entry that was copied under the lock: where it ends, and what is known of it.
struct ListedEntry {
    slot: Slot,
    end: usize,
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

/// Walks over the entries whose keys start alike, in no order that means anything.
///
/// An entry that stays throughout is given exactly once; one that comes or goes meanwhile may be given or not.
/// Recency is left alone. The lock is held for a few hundred slots at a time.
pub struct Lister<'a> {
    node: &'a Node,
    prefix: Vec<u8>,
    within: Option<Arc<[Box<str>]>>,
    question: u32,
    with_values: bool,
    /// Where the next walk begins; none after the last slot.
    from: Option<Slot>,
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
        let Some(from) = self.from else {
            self.give_back();
            return Ahead::End;
        };
        // Room for all that the walk may find, so that nothing is allocated under the lock.
        self.bytes.clear();
        self.bytes.reserve(WALK_BYTES);
        self.copied.clear();
        self.copied.reserve(WALK_SLOTS);
        (self.given, self.start) = (0, 0);
        let (prefix, within, bytes, copied) = (&self.prefix, &self.within, &mut self.bytes, &mut self.copied);
        let with_values = self.with_values;
        let now_ms = self.node.clock.now_ms();
        let mut large = None;
        let mut is_full = false;
        self.from = self.node.store.lock().map.walk(from, WALK_SLOTS, |slot, entry| {
            let is_wanted = entry.key().starts_with(prefix)
                && within
                    .as_ref()
                    .is_none_or(|within| within.iter().any(|one| entry.key().starts_with(one.as_bytes())));
            if !is_wanted || entry.is_expired(|| now_ms) {
                return true;
            }
            let is_shared = with_values && entry.is_shared();
            let part = match (with_values, is_shared) {
                (true, false) => entry.key_and_value(),
                (true, true) => &[],
                (false, _) => entry.key(),
            };
            if is_full || bytes.len() + part.len() > WALK_BYTES {
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
        match (self.copied.is_empty(), large, self.from) {
            (false, _, _) => Ahead::Entry,
            (true, Some(needed), _) => Ahead::Large(needed),
            (true, None, Some(_)) => Ahead::Nothing,
            (true, None, None) => Ahead::End,
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
        let slot = match self.copied.get(self.given) {
            Some(entry) => Some(entry.slot),
            None => self.from,
        };
        slot.map(|slot| Cursor {
            slot,
            run: self.node.run,
            question: self.question,
        })
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
        self.lister_within(prefix, "", None, cursor, with_values)
    }

    /// As [`Node::lister`], of what starts with one of `within` too, where those are given. The caller takes the keys
    /// that are like `pattern`, which is empty where it takes all of them: a cursor continues the same question alone.
    pub(crate) fn lister_within(
        &self,
        prefix: &str,
        pattern: &str,
        within: Option<Arc<[Box<str>]>>,
        cursor: Option<Cursor>,
        with_values: bool,
    ) -> Result<Lister<'_>, CursorError> {
        // No text has this byte.
        let question = [prefix.as_bytes(), b"\xff", pattern.as_bytes()].concat();
        let question = self.store.hash(&question) as u32;
        let from = match cursor {
            Some(cursor) if cursor.run != self.run => return Err(CursorError::Stale),
            Some(cursor) if cursor.question != question => return Err(CursorError::OtherQuestion),
            Some(cursor) => cursor.slot,
            None => 0,
        };
        Ok(Lister {
            node: self,
            prefix: prefix.as_bytes().to_vec(),
            within,
            question,
            with_values,
            from: Some(from),
            bytes: Vec::new(),
            copied: Vec::new(),
            given: 0,
            start: 0,
        })
    }
}
