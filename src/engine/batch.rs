//! Batches of an engine: all steps or none, in one call of the script.

use super::error::{EngineError, unexpected};
use super::gateway::Gateway;
use super::layout;
use super::script::{self, Changed};
use super::slots::slot_of;
use crate::node::{AckRequirement, BatchError, Batched, Outcome, Reads, Step};
use crate::pair::Pair;
use std::collections::HashMap;

impl Gateway {
    /// All steps or none, in their order. Their keys are in one slot.
    pub(crate) fn batch(
        &self,
        steps: &[Step<'_>],
        reads: Reads<'_>,
        sync: AckRequirement,
    ) -> Result<Result<Changed<Batched>, BatchError>, EngineError> {
        let mut keys: Vec<&[u8]> = Vec::new();
        let mut places = HashMap::new();
        let mut numbered = Vec::with_capacity(steps.len());
        for step in steps {
            let key = step.key().as_bytes();
            let place = *places.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len()
            });
            numbered.push((place, script::Step::of(step)));
        }
        let slot = keys.first().map_or(0, |key| slot_of(key));
        if self.routing.is_cluster()
            && let Some(other) = keys.iter().find(|key| slot_of(key) != slot)
        {
            let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            let first = keys.first().map_or_else(String::new, |key| text(key));
            return Err(EngineError::CrossSlot {
                keys: [first, text(other)],
            });
        }
        for (index, step) in steps.iter().enumerate() {
            if let Step::Set { value, .. } = step
                && value.len() > self.options.value_bytes_max
            {
                let error = self.too_large();
                return Ok(Err(BatchError::Step { index, error }));
            }
        }
        // Room for what is read is taken before anything is done; how much that is, is known once it is.
        let gets = steps
            .iter()
            .filter(|step| matches!(step, Step::Get { .. }))
            .count();
        let changes = gets < steps.len();
        let read_max = reads
            .bytes_max
            .min(gets.saturating_mul(self.options.value_bytes_max));
        if gets > 0 && changes && !(reads.room)(read_max) {
            return Err(EngineError::NoRoom);
        }
        let call = script::Call {
            keys: &keys,
            steps: &numbered,
            value_bytes_max: self.options.value_bytes_max,
            read_bytes_max: read_max,
        };
        let (answer, replicas) = match self.call(slot, &call, sync, changes)? {
            Ok(answered) => answered,
            Err((index, error)) => return Ok(Err(BatchError::Step { index, error })),
        };
        let read_bytes = answer.iter().map(script::Answered::value_bytes).sum();
        if !changes && !(reads.room)(read_bytes) {
            return Err(EngineError::NoRoom);
        }
        let mut outcomes = Vec::with_capacity(steps.len());
        for (step, answered) in steps.iter().zip(answer) {
            outcomes.push(self.outcome(step, answered)?);
        }
        let offset = None;
        Ok(Ok((Batched { outcomes, offset }, replicas)))
    }

    fn outcome(&self, step: &Step<'_>, answered: script::Answered) -> Result<Outcome, EngineError> {
        let outcome = match step {
            Step::Get { key } => match answered {
                script::Answered::Absent => Some(Outcome::Got(None)),
                script::Answered::Passed(found) => Some(Outcome::Passed(found)),
                script::Answered::Kept(kept) => {
                    let (found, value) = layout::decode(&kept).ok_or(EngineError::Foreign)?;
                    Some(Outcome::Got(Some((Pair::new(key.as_bytes(), value), found))))
                }
                script::Answered::Written { .. } | script::Answered::Deleted => None,
            },
            Step::Set { .. } => answered.written().map(Outcome::Set),
            Step::Edit { .. } => answered.edited().map(Outcome::Edited),
            Step::Delete { .. } => answered.deleted().map(Outcome::Deleted),
        };
        outcome.ok_or_else(|| unexpected(None))
    }
}
