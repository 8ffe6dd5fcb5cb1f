//! Batches that make values from those that are there: see [`edit`](super::edit).
//!
//! All values are made from one look at the store. The batch that puts them asks for the versions of that look; where
//! one has changed meanwhile, all values are made anew.

use super::Node;
use super::batch::{BatchError, Batched, Reads};
use super::edit::{Made, Seen, TRIES_MAX, is_overtaken};
use super::step::{Outcome, Step};
use super::write::{Found, WriteError};

/// Bytes of the values that a batch may make, where no value may have more: a batch is one piece of the log, and held
/// in memory as one.
const MADE_BYTES_MAX: usize = 8 << 20;

/// A value that one step of a batch has made.
struct MadeStep {
    seen: Seen,
    made: Made,
}

impl Node {
    /// As [`Node::batch`], with a bound on what it reads.
    pub fn batch_within(&self, steps: &[Step<'_>], reads: Reads<'_>) -> Result<Batched, BatchError> {
        if !steps.iter().any(|step| matches!(step, Step::Edit { .. })) {
            return self.batch_of_values(steps, reads);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let seen = self.look(steps)?;
            let held_bytes = made_bytes(steps, &seen);
            let bytes_max = MADE_BYTES_MAX.max(self.value_bytes_max());
            if let Some(index) = held_bytes.iter().position(|bytes| *bytes > bytes_max) {
                let error = WriteError::TooLarge {
                    bytes_max: bytes_max as u64,
                };
                return Err(BatchError::Step { index, error });
            }
            let held_bytes = held_bytes.last().copied().unwrap_or_default();
            if !(reads.room)(held_bytes) {
                return Err(BatchError::NoRoom);
            }
            let made = make(steps, seen)?;
            let go_on = reads.go_on;
            let reads = Reads {
                bytes_max: reads.bytes_max,
                room: &mut |bytes| (reads.room)(held_bytes + bytes),
                go_on,
            };
            match self.batch_of_values(&put(steps, &made), reads) {
                Err(BatchError::Step { index, error })
                    if let Step::Edit { deadline, .. } = steps[index]
                        && is_overtaken(&error, deadline.is_none()) =>
                {
                    if tries == TRIES_MAX || !go_on() {
                        let error = WriteError::Contended;
                        return Err(BatchError::Step { index, error });
                    }
                }
                batched => return batched.map(|batched| answer(batched, &made)),
            }
        }
    }

    /// What the steps that make values make them from. An error where a precondition does not hold: that of the first
    /// step at fault.
    fn look(&self, steps: &[Step<'_>]) -> Result<Vec<Option<Seen>>, BatchError> {
        let hashes: Vec<u64> = steps
            .iter()
            .map(|step| self.store.hash(step.key().as_bytes()))
            .collect();
        let mut seen = Vec::with_capacity(steps.len());
        let locked = self.store.lock();
        let now_ms = self.clock.now_ms();
        for (index, (step, hash)) in steps.iter().zip(hashes).enumerate() {
            let (precondition, is_edit) = match step {
                Step::Get { .. } => {
                    seen.push(None);
                    continue;
                }
                Step::Set { precondition, .. } | Step::Delete { precondition, .. } => (*precondition, false),
                Step::Edit { precondition, .. } => (*precondition, true),
            };
            let slot = locked.map.find_live(hash, step.key().as_bytes(), || now_ms);
            let entry = slot.map(|slot| locked.map.entry(slot));
            precondition
                .check(entry.map(|entry| entry.version()))
                .map_err(|error| BatchError::Step { index, error })?;
            seen.push(is_edit.then(|| Seen {
                found: entry.map(Found::of),
                pair: entry.map(|entry| entry.pair()),
            }));
        }
        Ok(seen)
    }
}

/// For each step, the bytes of the values that it and those before it may make.
fn made_bytes(steps: &[Step<'_>], seen: &[Option<Seen>]) -> Vec<usize> {
    let each = steps.iter().zip(seen).map(|(step, seen)| match (step, seen) {
        (Step::Edit { edit, .. }, Some(seen)) => {
            edit.value_bytes_max(seen.pair.as_ref().map_or(0, |pair| pair.value().len()))
        }
        _ => 0,
    });
    each.scan(0, |sum, bytes| {
        *sum += bytes;
        Some(*sum)
    })
    .collect()
}

fn make(steps: &[Step<'_>], seen: Vec<Option<Seen>>) -> Result<Vec<Option<MadeStep>>, BatchError> {
    let each = steps.iter().zip(seen).enumerate();
    each.map(|(index, (step, seen))| {
        let (Step::Edit { edit, .. }, Some(seen)) = (step, seen) else {
            return Ok(None);
        };
        let made = edit
            .make(seen.pair.as_ref().map(|pair| pair.value()))
            .map_err(|error| BatchError::Step { index, error })?;
        Ok(Some(MadeStep { seen, made }))
    })
    .collect()
}

/// The same steps, with the values that were made.
fn put<'a>(steps: &[Step<'a>], made: &'a [Option<MadeStep>]) -> Vec<Step<'a>> {
    let each = steps.iter().zip(made).map(|(step, made)| match (step, made) {
        (Step::Edit { key, deadline, .. }, Some(MadeStep { seen, made })) => Step::Set {
            key: *key,
            value: &made.value,
            deadline: deadline.unwrap_or(seen.deadline()),
            precondition: seen.precondition(),
        },
        _ => *step,
    });
    each.collect()
}

/// What came of the batch, in terms of its own steps.
fn answer(mut batched: Batched, made: &[Option<MadeStep>]) -> Batched {
    for (outcome, made) in batched.outcomes.iter_mut().zip(made) {
        if let (Outcome::Set(written), Some(MadeStep { made, .. })) = (&*outcome, made) {
            *outcome = Outcome::Edited(made.put(*written));
        }
    }
    batched
}
