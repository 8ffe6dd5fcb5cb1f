//! Listings: pages of keys, or of keys and values, and where the next one goes on.

use super::{Found, Node};
use crate::pair::Pair;
use crate::store::Slot;

/// Slots that a listing looks at in one hold of the lock: some 20 µs where none is in a cache.
pub(super) const WALK_SLOTS: usize = 256;

/// What a walk may copy in one hold of the lock, in bytes; room for it is made before. It has room for any
/// entry that is copied and not shared.
const WALK_BYTES: usize = 256 * 1024;

/// Values, in bytes, from which on a page has no room for more.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// An entry of a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Key and value.
    pub pair: Pair,
    /// Version and deadline.
    pub found: Found,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The keys, or entries, in no order that means anything.
    pub items: Vec<T>,
    /// Where the next page starts; none after the last.
    pub next: Option<Cursor>,
}

/// Where a listing goes on: a slot of the store, valid until the process ends, and in a listing of the same prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    slot: Slot,
    run: u32,
    /// Tells the prefix from others.
    prefix: u32,
}

impl Cursor {
    /// As text, for a query.
    pub fn encode(self) -> String {
        format!("{:08x}{:08x}{:08x}", self.run, self.prefix, self.slot)
    }

    /// From text; `None` where it is no cursor of any node.
    pub fn decode(text: &str) -> Option<Cursor> {
        if text.len() != 24 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let part = |range| u32::from_str_radix(&text[range], 16).ok();
        Some(Cursor {
            run: part(0..8)?,
            prefix: part(8..16)?,
            slot: part(16..24)?,
        })
    }
}

/// Why a listing cannot go on at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorError {
    /// It is of another run of the node: slots are not kept over a restart.
    Stale,
    /// It is of a listing of another prefix, whose keys before it this one never gave.
    OtherPrefix,
}

/// Where an entry that was copied under the lock ends, and what is known of it.
struct Copied {
    slot: Slot,
    end: usize,
    key_bytes: usize,
    found: Found,
    /// The pair itself where it is shared rather than copied.
    shared: Option<Pair>,
}

impl Node {
    /// Keys that start with `prefix`, at most `limit` of them, from `cursor` on.
    ///
    /// Over the pages of one listing, a key that stays throughout is given exactly once; one that comes or
    /// goes meanwhile may be given or not. Recency is left alone. The lock is held for a few hundred slots
    /// at a time.
    pub fn list(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<String>, CursorError> {
        let page = self.page(prefix, cursor, limit, false)?;
        let text = |listed: Listed| String::from_utf8_lossy(listed.pair.key()).into_owned();
        Ok(Page {
            items: page.items.into_iter().map(text).collect(),
            next: page.next,
        })
    }

    /// As [`Node::list`], with values, of which a page has some 4 MiB at most.
    pub fn list_entries(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Listed>, CursorError> {
        self.page(prefix, cursor, limit, true)
    }

    fn page(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
        with_values: bool,
    ) -> Result<Page<Listed>, CursorError> {
        let prefix_hash = self.store.hash(prefix.as_bytes()) as u32;
        let mut from = match cursor {
            Some(cursor) if cursor.run != self.run => return Err(CursorError::Stale),
            Some(cursor) if cursor.prefix != prefix_hash => return Err(CursorError::OtherPrefix),
            Some(cursor) => Some(cursor.slot),
            None => Some(0),
        };
        let mut items = Vec::new();
        let mut page_bytes = 0;
        let mut bytes: Vec<u8> = Vec::new();
        let mut copied: Vec<Copied> = Vec::new();
        while let Some(slot) = from {
            // Room for all that the walk may find, so that nothing is allocated under the lock.
            bytes.clear();
            bytes.reserve(WALK_BYTES);
            copied.clear();
            copied.reserve(WALK_SLOTS);
            let now_ms = self.clock.now_ms();
            from = self.store.lock().map.walk(slot, WALK_SLOTS, |slot, entry| {
                if !entry.key().starts_with(prefix.as_bytes()) || entry.is_expired(|| now_ms) {
                    return true;
                }
                let shared = (with_values && entry.is_shared()).then(|| entry.pair());
                let part = match (with_values, &shared) {
                    (true, None) => entry.key_and_value(),
                    (true, Some(_)) => &[],
                    (false, _) => entry.key(),
                };
                if bytes.len() + part.len() > WALK_BYTES {
                    return false;
                }
                bytes.extend_from_slice(part);
                copied.push(Copied {
                    slot,
                    end: bytes.len(),
                    key_bytes: entry.key().len(),
                    found: Found::of(entry),
                    shared,
                });
                true
            });
            let mut start = 0;
            for entry in copied.drain(..) {
                if items.len() == limit || page_bytes >= PAGE_BYTES_MAX {
                    let slot = entry.slot;
                    return Ok(Page {
                        items,
                        next: Some(Cursor {
                            slot,
                            run: self.run,
                            prefix: prefix_hash,
                        }),
                    });
                }
                let pair = entry.shared.unwrap_or_else(|| {
                    let (key, value) = bytes[start..entry.end].split_at(entry.key_bytes);
                    Pair::new(key, value)
                });
                start = entry.end;
                page_bytes += pair.value().len();
                items.push(Listed {
                    pair,
                    found: entry.found,
                });
            }
        }
        Ok(Page { items, next: None })
    }
}
