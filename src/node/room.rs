//! Makes room for what is large, in many short holds of the store's lock.
//!
//! A value of a megabyte may take the place of ten thousand small entries. To evict all of them in one hold would keep
//! every other client waiting. So a write evicts a few entries at a time and lets others in between; the last few, and
//! the write itself, share one hold.
//!
//! # What must hold
//! - What was evicted for a write is not taken by others meanwhile: it is kept for the write, and counts as used.
//! - One write at a time has room kept for it, or two could wait for each other. The others wait for their turn, except
//!   for those that a few evictions are enough for.
//! - Each eviction is a record of its own, before that of the write. Where the write is refused in the end, because its
//!   key has changed meanwhile, they stay.
//! - The records that wait to be written stay bounded: the log is waited for now and then.

use super::Node;
use super::gate::Pass;
use super::pace::Pace;
use crate::lock_order::Rank;
use crate::store::{self, Locked, LruMap, Slot};
use crate::wal::Refusal;

/// Entries evicted in one hold of the lock: some 0.2 ms, where none is in a cache.
const HOLD_EVICTIONS: usize = 128;

/// What a batch may evict in the hold that it is applied in: as much as one hold evicts otherwise, where the entries are
/// as small as can be.
pub(super) const EVICTIONS_MAX: usize = HOLD_EVICTIONS;
const LITTLE_BYTES: u64 = (EVICTIONS_MAX * ENTRY_BYTES_MIN) as u64;
const LITTLE_ENTRIES: u64 = EVICTIONS_MAX as u64;

/// Bytes that the smallest entry is counted with.
const ENTRY_BYTES_MIN: usize = 16 + store::ENTRY_OVERHEAD_BYTES as usize;

/// Holds after which the log is waited for.
const HOLDS_BEFORE_WAIT: usize = 32;

/// What a write adds to the store, at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Need {
    /// Whether more must give way for it than one hold of the lock should evict.
    pub(super) fn is_much(&self, map: &LruMap) -> bool {
        map.is_over(0, self.bytes.saturating_sub(LITTLE_BYTES), 0)
            || map.is_over(self.entries.saturating_sub(LITTLE_ENTRIES), 0, 0)
    }
}

/// The turn of a write that needs more room than one hold of the lock can make.
pub(super) struct Turn<'a> {
    node: &'a Node,
    pass: Pass<'a>,
    pace: Pace,
    holds: usize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.node.store.lock().map.keep_room(0);
    }
}

impl Node {
    /// Evicts some entries for a write that needs so much, unless there is room for it. Returns whether it can be made
    /// in this very hold of the lock. If not, [`Node::let_others`], and then look again whether it is still to be made.
    pub(super) fn make_room(
        &self,
        locked: &mut Locked,
        turn: &mut Option<Turn<'_>>,
        need: Need,
        now_ms: u64,
    ) -> bool {
        // A write that is larger than the store takes its own entries' place.
        let bytes = need.bytes.min(self.limits.bytes_max);
        let entries = need.entries.min(self.limits.entries_max);
        if turn.is_some() {
            locked.map.keep_room(0);
        }
        for _ in 0..HOLD_EVICTIONS {
            if !locked.map.is_over(entries, bytes, 0) || locked.map.entries() <= 1 {
                return true;
            }
            locked.evict_oldest(now_ms);
        }
        if !locked.map.is_over(entries, bytes, 0) {
            return true;
        }
        if turn.is_some() {
            locked.map.keep_room(bytes);
        }
        false
    }

    /// As [`Node::make_room`], for one entry, which takes the place of another one where there is a slot.
    pub(super) fn make_room_for_one(
        &self,
        locked: &mut Locked,
        turn: &mut Option<Turn<'_>>,
        slot: Option<Slot>,
        cost_bytes: u64,
        now_ms: u64,
    ) -> bool {
        let Some(slot) = slot else {
            let need = Need {
                entries: 1,
                bytes: cost_bytes,
            };
            return self.make_room(locked, turn, need, now_ms);
        };
        // So that the evictions do not come to the entry itself.
        locked.map.touch(slot);
        let need = Need {
            entries: 0,
            bytes: cost_bytes.saturating_sub(locked.map.cost_of(slot)),
        };
        self.make_room(locked, turn, need, now_ms)
    }

    /// As [`Node::make_room`], in as many holds of the lock as that takes, and keeps the room for the write. What the
    /// write was checked for must be checked again.
    pub(super) fn make_room_in_steps<'a>(
        &'a self,
        turn: &mut Option<Turn<'a>>,
        need: Need,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        loop {
            self.let_others(turn)?;
            let mut locked = self.store.lock();
            locked.log.check()?;
            if self.make_room(&mut locked, turn, need, now_ms) {
                locked.map.keep_room(need.bytes);
                return Ok(());
            }
        }
    }

    /// Lets others have the lock, between two holds of it. Waits for the turn of the write, where it has not got it.
    pub(super) fn let_others<'a>(&'a self, turn: &mut Option<Turn<'a>>) -> Result<(), Refusal> {
        let turn = match turn {
            Some(turn) => turn,
            None => turn.insert(Turn {
                pass: self.room.enter(Rank::Turn)?,
                node: self,
                pace: Pace::new(),
                holds: 0,
            }),
        };
        turn.holds += 1;
        if turn.holds.is_multiple_of(HOLDS_BEFORE_WAIT) {
            let offset = self.store.lock().log.next();
            self.log.wait_led(offset).map_err(|refusal| {
                // These records are not the write's: it is refused at the door.
                let refusal = match refusal {
                    Refusal::TimedOut { waited } => Refusal::Busy { waited },
                    Refusal::Unknown(health) => Refusal::Unhealthy(health),
                    refusal => refusal,
                };
                turn.pass.note_refusal(&refusal);
                refusal
            })?;
        }
        turn.pace.rest();
        Ok(())
    }
}
