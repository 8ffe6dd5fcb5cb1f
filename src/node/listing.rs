//! Listings: pages of keys, and where the next one goes on.

use super::Node;
use crate::pair::KEY_BYTES_MAX;
use crate::store::Slot;

/// Slots that a listing looks at in one hold of the lock: some 20 µs where none is in a cache.
const WALK_SLOTS: usize = 256;

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, in no order that means anything.
    pub keys: Vec<String>,
    /// Where the next page starts; none after the last.
    pub next: Option<Cursor>,
}

/// Where a listing goes on: a slot of the store, valid until the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    slot: Slot,
    run: u32,
}

impl Cursor {
    /// As text, for a query.
    pub fn encode(self) -> String {
        format!("{:08x}{:08x}", self.run, self.slot)
    }

    /// From text; `None` where it is no cursor of any node.
    pub fn decode(text: &str) -> Option<Cursor> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let part = |range| u32::from_str_radix(&text[range], 16).ok();
        Some(Cursor {
            run: part(0..8)?,
            slot: part(8..16)?,
        })
    }
}

/// A cursor of another run of the node: slots are not kept over a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleCursor;

impl Node {
    /// Keys that start with `prefix`, at most `limit` of them, from `cursor` on.
    ///
    /// Over the pages of one listing, a key that stays throughout is given exactly once; one that comes or
    /// goes meanwhile may be given or not. Recency is left alone. The lock is held for a few hundred slots
    /// at a time.
    pub fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StaleCursor> {
        let mut from = match cursor {
            Some(cursor) if cursor.run != self.run => return Err(StaleCursor),
            Some(cursor) => Some(cursor.slot),
            None => Some(0),
        };
        let mut page = Page::default();
        let mut found: Vec<u8> = Vec::new();
        let mut ends: Vec<(usize, Slot)> = Vec::new();
        while let Some(slot) = from {
            // Room for all that the walk may find, so that nothing is allocated under the lock.
            found.clear();
            found.reserve(WALK_SLOTS * KEY_BYTES_MAX);
            ends.clear();
            ends.reserve(WALK_SLOTS);
            from = self.store.lock().map.walk(slot, WALK_SLOTS, |slot, entry| {
                if entry.key().starts_with(prefix.as_bytes()) {
                    found.extend_from_slice(entry.key());
                    ends.push((found.len(), slot));
                }
            });
            let mut start = 0;
            for &(end, slot) in &ends {
                if page.keys.len() == limit {
                    page.next = Some(Cursor { slot, run: self.run });
                    return Ok(page);
                }
                page.keys
                    .push(String::from_utf8_lossy(&found[start..end]).into_owned());
                start = end;
            }
        }
        Ok(page)
    }
}
