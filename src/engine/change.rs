//! Changes: each is one call of a script, behind which replicas may be waited for.

use super::error::{EngineError, unexpected};
use super::gateway::Gateway;
use super::request::Request;
use super::script::{self, Changed};
use super::slots::slot_of;
use super::upsert::{self, Upsert};
use crate::key::Key;
use crate::node::{AckRequirement, WriteError, Written};
use redis::Value;
use std::time::Duration;

/// A call of a script, as it is sent.
struct Script<'s> {
    by_digest: Vec<u8>,
    with_script: &'s dyn Fn() -> Vec<u8>,
    /// Where it sets a value, and no more.
    upsert: Option<Upsert<&'s [u8]>>,
}

impl Gateway {
    /// Runs the script, and waits for replicas where that is asked for. The inner error names the step at fault.
    #[allow(
        clippy::type_complexity,
        reason = "what went wrong where, and what came of each step"
    )]
    pub(super) fn call(
        &self,
        slot: u16,
        call: &script::Call<'_>,
        sync: AckRequirement,
        is_change: bool,
    ) -> Result<Result<Changed<Vec<script::Answered>>, (usize, WriteError)>, EngineError> {
        let floor = self.seen.get();
        let script = Script {
            by_digest: call.by_digest(floor),
            with_script: &|| call.with_script(floor),
            upsert: None,
        };
        let (answer, replicas) = self.run(slot, script, sync, is_change)?;
        let answered = match script::read(answer, call.steps)? {
            Ok(answered) => answered,
            Err((index, error)) => {
                let error = match error {
                    WriteError::TooLarge { .. } => self.too_large(),
                    error => error,
                };
                return Ok(Err((index, error)));
            }
        };
        answered
            .iter()
            .filter_map(script::Answered::version)
            .for_each(|version| self.seen.note(version));
        let replicas = enough(replicas, sync)?;
        Ok(Ok((answered, replicas)))
    }

    /// Sets a value whatever there was, for ever.
    pub(super) fn upsert(
        &self,
        key: Key<'_>,
        value: &[u8],
        sync: AckRequirement,
    ) -> Result<Result<Changed<Written>, WriteError>, EngineError> {
        let upsert = Upsert {
            key: key.as_bytes(),
            value,
            floor: self.seen.get(),
        };
        let script = Script {
            by_digest: upsert.by_digest(),
            with_script: &|| upsert.with_script(),
            upsert: Some(upsert.clone()),
        };
        let (answer, replicas) = self.run(slot_of(key.as_bytes()), script, sync, true)?;
        let written = match upsert::read(answer.as_ref())? {
            Ok(written) => written,
            Err(error) => return Ok(Err(error)),
        };
        self.seen.note(written.version);
        let replicas = enough(replicas, sync)?;
        Ok(Ok((written, replicas)))
    }

    /// Runs a script, and waits for replicas where that is asked for. Gives what it answers, and how many have it.
    fn run(
        &self,
        slot: u16,
        script: Script<'_>,
        sync: AckRequirement,
        is_change: bool,
    ) -> Result<(Option<Value>, Option<Value>), EngineError> {
        let waits = is_change && sync.replicas > 0;
        let wait = sync.timeout.min(self.routing.timeout());
        let then_wait = |mut packed: Vec<u8>| {
            if waits {
                let mut command = redis::cmd("WAIT");
                // 0 would be for ever.
                command.arg(sync.replicas).arg(wait.as_millis().max(1) as u64);
                packed.extend_from_slice(&command.get_packed_command());
            }
            packed
        };
        let with_script = || then_wait((script.with_script)());
        let answers = self.routing.run(&Request {
            slot,
            packed: &then_wait(script.by_digest),
            answers: if waits { 2 } else { 1 },
            with_script: Some(&with_script),
            is_change,
            patience: if waits { wait } else { Duration::ZERO },
            upsert: script.upsert,
        })?;
        let mut answers = answers.into_iter();
        Ok((answers.next(), answers.next()))
    }
}

/// How many replicas have a change, as `WAIT` has said it; an error where that is fewer than must have it.
fn enough(replicas: Option<Value>, sync: AckRequirement) -> Result<Option<usize>, EngineError> {
    let replicas = match replicas {
        None => None,
        Some(Value::Int(replicas)) => Some(usize::try_from(replicas).unwrap_or(0)),
        Some(other) => return Err(EngineError::Unknown(unexpected(Some(&other)).to_string())),
    };
    match replicas {
        Some(reached) if sync.is_required && reached < sync.replicas => Err(EngineError::NotReplicated {
            wanted: sync.replicas,
            reached,
        }),
        replicas => Ok(replicas),
    }
}
