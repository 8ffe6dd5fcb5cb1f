//! Batches: many operations as one step.
//!
//! All preconditions are held against the state before the batch, and only where all hold is anything
//! changed. The operations are then applied in their order, in one hold of the store's lock, and their records
//! make one batch of the log: a crash keeps all of them or none. What has to give way for room, or has
//! expired, is a part of it.

use super::Node;
use super::room::{EVICTIONS_MAX, Need, Turn};
use super::step::{Outcome, Step};
use super::write::{Found, Precondition, WriteError, Written};
use crate::key::Key;
use crate::store::{Locked, LruMap, Prepared};
use crate::wal::Refusal;
use crate::wal::{self, BatchRoom};
use std::fmt;

/// A batch that was applied.
#[derive(Clone, Debug)]
pub struct Batched {
    /// What came of each operation, in their order.
    pub outcomes: Vec<Outcome>,
    /// What to [`Node::wait`] for before it is acknowledged; none where nothing was changed.
    pub offset: Option<u64>,
}

/// What a batch may read.
pub struct Reads<'a> {
    /// A get takes no further value once those before it have so many bytes.
    pub bytes_max: usize,
    /// Is asked, before any value is held, for room for so many bytes of them; says whether there is some. Asked
    /// again, with more, where values have changed meanwhile.
    pub room: &'a mut dyn FnMut(usize) -> bool,
    /// Is asked, before a batch that other writes have overtaken is made anew, whether it still is to be.
    pub go_on: &'a dyn Fn() -> bool,
}

/// Why a batch was refused. Nothing changed and nothing was logged.
#[derive(Clone, Debug)]
pub enum BatchError {
    /// One of its operations cannot be done.
    Step {
        /// Which one, counted from 0.
        index: usize,
        /// Why not.
        error: WriteError,
    },
    /// The log takes no writes now.
    Refused(Refusal),
    /// There is no room for what it reads.
    NoRoom,
}

impl From<Refusal> for BatchError {
    fn from(refusal: Refusal) -> BatchError {
        BatchError::Refused(refusal)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Step { index, error } => write!(f, "operation {index}: {error}"),
            BatchError::Refused(refusal) => refusal.fmt(f),
            BatchError::NoRoom => f.write_str("there is no room for the values that it reads"),
        }
    }
}

impl std::error::Error for BatchError {}

/// Whether a batch can be applied, under the lock that it was checked under.
enum Beginning {
    Ready,
    /// It reads so many bytes of values.
    NoRoomForReads(usize),
    /// More must give way for it than one hold of the lock should evict.
    NoRoomForWrites(Need),
}

/// What the operations of a batch have come to so far.
struct Tally {
    /// How many bytes of values may still be read.
    left_bytes: usize,
    /// Bytes of the records that were written.
    spent_bytes: u64,
    /// Whether the sweeper is to hear of a deadline.
    is_first: bool,
}

/// An operation with all that can be made outside the lock.
enum PreparedStep<'a> {
    Get {
        key: Key<'a>,
        hash: u64,
    },
    Set {
        key: Key<'a>,
        prepared: Prepared,
        precondition: Precondition<'a>,
    },
    Delete {
        key: Key<'a>,
        hash: u64,
        precondition: Precondition<'a>,
    },
}

impl PreparedStep<'_> {
    /// Bytes of the record that it may come to.
    fn record_bytes(&self) -> u64 {
        match self {
            PreparedStep::Get { .. } => 0,
            PreparedStep::Set { prepared, .. } => wal::put_bytes(&prepared.pair),
            PreparedStep::Delete { key, .. } => wal::removal_bytes(key.as_bytes()),
        }
    }

    /// What the store will count the entry with that it may come to.
    fn cost_bytes(&self) -> u64 {
        match self {
            PreparedStep::Set { prepared, .. } => prepared.cost_bytes,
            PreparedStep::Get { .. } | PreparedStep::Delete { .. } => 0,
        }
    }

    fn condition(&self) -> Option<(Key<'_>, u64, Precondition<'_>)> {
        match self {
            PreparedStep::Get { .. } => None,
            PreparedStep::Set {
                key,
                prepared,
                precondition,
            } => Some((*key, prepared.hash, *precondition)),
            PreparedStep::Delete {
                key,
                hash,
                precondition,
            } => Some((*key, *hash, *precondition)),
        }
    }
}

/// What a look at the store before a batch has come to.
struct Checked {
    /// Whether there is anything to change.
    is_change: bool,
    /// Whether it sets anything: then a full disk refuses it.
    grows: bool,
    need: Need,
}

/// Holds all preconditions against the store.
fn check(map: &LruMap, made: &[PreparedStep<'_>], now_ms: u64) -> Result<Checked, BatchError> {
    let (mut is_change, mut grows) = (false, false);
    let (mut entries, mut replaced, mut cost_bytes, mut replaced_bytes) = (0, 0, 0, 0);
    for (index, step) in made.iter().enumerate() {
        let Some((key, hash, precondition)) = step.condition() else {
            continue;
        };
        let slot = map.find_live(hash, key.as_bytes(), || now_ms);
        precondition
            .check(slot.map(|slot| map.entry(slot).version()))
            .map_err(|error| BatchError::Step { index, error })?;
        let is_set = matches!(step, PreparedStep::Set { .. });
        is_change |= slot.is_some() || is_set;
        grows |= is_set;
        entries += u64::from(is_set);
        replaced += u64::from(slot.is_some());
        cost_bytes += step.cost_bytes();
        replaced_bytes += slot.map_or(0, |slot| map.cost_of(slot));
    }
    let need = Need {
        entries: entries.saturating_sub(replaced),
        bytes: cost_bytes.saturating_sub(replaced_bytes),
    };
    Ok(Checked {
        is_change,
        grows,
        need,
    })
}

/// Bytes of the values that a batch will read, up to a bound and the rest of the last one: those of before the batch,
/// and those that it sets itself.
fn bytes_read(map: &LruMap, made: &[PreparedStep<'_>], now_ms: u64, bytes_max: usize) -> usize {
    let gets = made
        .iter()
        .filter(|step| matches!(step, PreparedStep::Get { .. }))
        .count();
    if gets == 0 {
        return 0;
    }
    let (mut bytes, mut set_bytes_max) = (0, 0);
    for step in made {
        match step {
            PreparedStep::Set { prepared, .. } => {
                set_bytes_max = set_bytes_max.max(prepared.pair.value().len())
            }
            PreparedStep::Get { key, hash } if bytes < bytes_max => {
                let slot = map.find_live(*hash, key.as_bytes(), || now_ms);
                let there = slot.map_or(0, |slot| map.entry(slot).value().len());
                bytes += there.max(set_bytes_max);
            }
            PreparedStep::Get { .. } | PreparedStep::Delete { .. } => {}
        }
    }
    bytes
}

impl Node {
    /// Applies all operations, or none.
    ///
    /// The store's lock is held for all of them, so their number should have a bound.
    pub fn batch(&self, steps: &[Step<'_>]) -> Result<Batched, BatchError> {
        let reads = Reads {
            bytes_max: usize::MAX,
            room: &mut |_| true,
            go_on: &|| true,
        };
        self.batch_within(steps, reads)
    }

    /// As [`Node::batch_within`], of steps that make no values from others.
    pub(super) fn batch_of_values(
        &self,
        steps: &[Step<'_>],
        reads: Reads<'_>,
    ) -> Result<Batched, BatchError> {
        let now_ms = self.now_ms();
        let mut made = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let step = self.make(*step, now_ms);
            made.push(step.map_err(|error| BatchError::Step { index, error })?);
        }
        let bytes = made.iter().map(PreparedStep::record_bytes).sum();
        let reserved = if bytes > 0 {
            Some(self.log.reserve(bytes)?)
        } else {
            None
        };
        let room = BatchRoom::new(made.len() + EVICTIONS_MAX);
        let mut outcomes = Vec::with_capacity(made.len());
        let mut read_bytes = 0;
        let mut turn = None;

        let mut locked = loop {
            let mut locked = self.store.lock();
            match self.begin(&mut locked, &made, now_ms, reads.bytes_max, read_bytes, &mut turn)? {
                Beginning::Ready => break locked,
                Beginning::NoRoomForReads(wanted_bytes) => {
                    drop(locked);
                    if !(reads.room)(wanted_bytes) {
                        return Err(BatchError::NoRoom);
                    }
                    read_bytes = wanted_bytes;
                }
                Beginning::NoRoomForWrites(need) => {
                    drop(locked);
                    self.make_room_in_steps(&mut turn, need, now_ms)?;
                }
            }
        };
        locked.log.begin_batch(room);
        let mut tally = Tally {
            left_bytes: reads.bytes_max,
            spent_bytes: 0,
            is_first: false,
        };
        for step in made {
            outcomes.push(apply(&mut locked, step, now_ms, &mut tally));
        }
        if let Some(reserved) = reserved {
            reserved.spend(tally.spent_bytes);
        }
        let offset = locked.log.next();
        locked.log.end_batch();
        drop(locked);
        drop(turn);
        if tally.is_first {
            self.alarm.call();
        }
        Ok(Batched {
            outcomes,
            offset: (tally.spent_bytes > 0).then_some(offset),
        })
    }

    /// Checks all of a batch against the store, under its lock, and makes room. `read_bytes` is what there is room for
    /// of the values that it reads.
    fn begin<'a>(
        &'a self,
        locked: &mut Locked,
        made: &[PreparedStep<'_>],
        now_ms: u64,
        reads_bytes_max: usize,
        read_bytes: usize,
        turn: &mut Option<Turn<'a>>,
    ) -> Result<Beginning, BatchError> {
        let checked = check(&locked.map, made, now_ms)?;
        match checked.is_change {
            true if checked.grows => locked.log.check()?,
            true => locked.log.check_removal()?,
            false => {}
        }
        let wanted_bytes = bytes_read(&locked.map, made, now_ms, reads_bytes_max);
        if wanted_bytes > read_bytes {
            return Ok(Beginning::NoRoomForReads(wanted_bytes));
        }
        // A few evictions are a part of the batch.
        let is_little = turn.is_none() && !checked.need.is_much(&locked.map);
        Ok(
            match is_little || self.make_room(locked, turn, checked.need, now_ms) {
                true => Beginning::Ready,
                false => Beginning::NoRoomForWrites(checked.need),
            },
        )
    }

    fn make<'a>(&self, step: Step<'a>, now_ms: u64) -> Result<PreparedStep<'a>, WriteError> {
        let hash = |key: Key<'_>| self.store.hash(key.as_bytes());
        Ok(match step {
            Step::Get { key } => PreparedStep::Get { key, hash: hash(key) },
            Step::Set {
                key,
                value,
                deadline,
                precondition,
            } => {
                self.check_value(value)?;
                PreparedStep::Set {
                    key,
                    prepared: self.prepare(key, value, deadline.at_ms(now_ms), now_ms)?,
                    precondition,
                }
            }
            Step::Edit { .. } => unreachable!("`batch_within` has made it a step that sets a value"),
            Step::Delete { key, precondition } => PreparedStep::Delete {
                key,
                hash: hash(key),
                precondition,
            },
        })
    }
}

/// Applies one operation of a batch.
fn apply(locked: &mut Locked, step: PreparedStep<'_>, now_ms: u64, tally: &mut Tally) -> Outcome {
    let bytes = step.record_bytes();
    match step {
        PreparedStep::Get { key, hash } => {
            let map = &mut locked.map;
            match map.find_live(hash, key.as_bytes(), || now_ms) {
                Some(slot) => {
                    map.hit(hash, slot);
                    let entry = map.entry(slot);
                    let found = Found::of(entry);
                    let is_taken = tally.left_bytes > 0;
                    tally.left_bytes = tally.left_bytes.saturating_sub(entry.value().len());
                    match is_taken {
                        true => Outcome::Got(Some((entry.pair(), found))),
                        false => Outcome::Passed(found),
                    }
                }
                None => {
                    map.miss(hash);
                    Outcome::Got(None)
                }
            }
        }
        PreparedStep::Set { key, prepared, .. } => {
            let slot = locked.find_or_expire(prepared.hash, key.as_bytes(), now_ms);
            let deadline_ms = prepared.pair.deadline_ms();
            let (version, first) = locked.put(slot, prepared, now_ms);
            tally.spent_bytes += bytes;
            tally.is_first |= first;
            Outcome::Set(Written {
                version,
                deadline_ms,
                created: slot.is_none(),
            })
        }
        PreparedStep::Delete { key, hash, .. } => {
            // One that has expired is left to the sweep: there is nothing to put in its place.
            let slot = locked.map.find_live(hash, key.as_bytes(), || now_ms);
            if let Some(slot) = slot {
                locked.delete(slot, now_ms);
                tally.spent_bytes += bytes;
            }
            Outcome::Deleted(slot.is_some())
        }
    }
}
