//! Deletes, or counts, all keys under a prefix.
//!
//! A few hundred slots are looked at in one hold of the lock, as in a listing, and what is found is deleted in
//! the next ones, a few keys each. So nobody waits for it, and it is no single step: each key is a record of
//! its own. A key that is there throughout is deleted; one that comes meanwhile may be or not.

use super::Node;
use super::pace::Pace;
use super::walk::{Beginnings, WALK_SLOTS, Walk};
use crate::pair::KEY_BYTES_MAX;
use crate::wal;
use crate::wal::Refusal;

/// Keys deleted in one hold of the lock.
const HOLD_KEYS: usize = 32;

/// What was found under a prefix, or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixDeletion {
    /// Keys.
    pub keys: u64,
    /// What to [`Node::wait`] for before it is acknowledged; none where nothing was deleted.
    pub offset: Option<u64>,
}

/// Why not all keys were deleted.
#[derive(Clone, Debug)]
pub struct PartialDeletion {
    /// What was.
    pub done: PrefixDeletion,
    /// Why it ended there.
    pub refusal: Refusal,
}

impl Node {
    /// How many keys start with `prefix`.
    pub fn count_prefix(&self, prefix: &str) -> u64 {
        let mut keys = 0;
        let mut walk = self.walk(prefix);
        let mut pace = Pace::new();
        while !walk.has_ended() {
            pace.rest();
            let now_ms = self.clock.now_ms();
            walk.step(&mut self.store.lock().map, |_, entry| {
                keys += u64::from(!entry.is_expired(|| now_ms));
                true
            });
        }
        keys
    }

    /// Deletes all keys that start with `prefix`.
    pub fn delete_prefix(&self, prefix: &str) -> Result<PrefixDeletion, PartialDeletion> {
        let mut done = PrefixDeletion::default();
        let mut found: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let mut walk = self.walk(prefix);
        let mut pace = Pace::new();
        while !walk.has_ended() {
            // Room for all that the walk may find, so that nothing is allocated under the lock.
            found.clear();
            found.reserve(WALK_SLOTS * KEY_BYTES_MAX);
            ends.clear();
            ends.reserve(WALK_SLOTS);
            walk.step(&mut self.store.lock().map, |_, entry| {
                found.extend_from_slice(entry.key());
                ends.push(found.len());
                true
            });
            pace.rest();
            let mut start = 0;
            let mut keys = ends.iter().map(|&end| {
                let key = &found[start..end];
                start = end;
                key
            });
            loop {
                let part: Vec<&[u8]> = keys.by_ref().take(HOLD_KEYS).collect();
                if part.is_empty() {
                    break;
                }
                self.delete_keys(&part, &mut done)
                    .map_err(|refusal| PartialDeletion { done, refusal })?;
                pace.rest();
            }
        }
        Ok(done)
    }

    fn walk(&self, prefix: &str) -> Walk {
        Walk::new(self, Beginnings::One(prefix.as_bytes().into()), None, false)
    }

    /// Deletes those of a few keys that are there still.
    fn delete_keys(&self, keys: &[&[u8]], done: &mut PrefixDeletion) -> Result<(), Refusal> {
        let bytes = keys.iter().map(|key| wal::removal_bytes(key)).sum();
        let hashes: Vec<u64> = keys.iter().map(|key| self.store.hash(key)).collect();
        let reserved = self.log.reserve(bytes)?;
        let now_ms = self.clock.now_ms();
        let mut spent_bytes = 0;
        let mut locked = self.store.lock();
        locked.log.check_removal()?;
        for (key, hash) in keys.iter().zip(hashes) {
            // What has expired is the sweep's.
            if let Some(slot) = locked.map.find_live(hash, key, || now_ms) {
                done.offset = Some(locked.delete(slot, now_ms));
                done.keys += 1;
                spent_bytes += wal::removal_bytes(key);
            }
        }
        drop(locked);
        reserved.spend(spent_bytes);
        Ok(())
    }
}
