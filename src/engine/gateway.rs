//! The engine as a client of the data sees it: reads, and changes that are one step each.
//!
//! # Versions
//! A version is never given twice for a key. A change gives the greatest of three numbers: the engine's time in
//! microseconds, one more than the version that the key has, and one more than any version that this gateway has seen.
//! - While a key is there, its version grows: the script reads it.
//! - Once it was deleted, the engine's time has gone on: a script takes more than a microsecond.
//! - After a failover the new master may have an earlier time, or may lack the last changes. The third number is above
//!   all that this gateway was answered.
//!
//! It can fail in one case: a key was deleted, or its last changes were lost, *and* the engine's clock went back, *and*
//! another gateway than the one that saw the old version makes the key anew in exactly the same microsecond of that
//! clock. Counters in keys of the engine were not taken: a failover sets them back with the data, and then they give the
//! same versions again for certain.

use super::error::EngineError;
use super::layout::{self, VERSION_MAX};
use super::pool::Dial;
use super::report::Report;
use super::routing::{Request, Routing};
use super::script;
use super::slots::slot_of;
use crate::key::Key;
use crate::node::{
    AckRequirement, BatchError, Batched, Deadline, Edit, Edited, Found, Got, Meta, Mode, Outcome, Precondition,
    Reads, Step, WriteError, Written,
};
use crate::pair::Pair;
use crate::wall;
use redis::Value;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Values longer than this are sent to the client from where they are, rather than copied.
const COPIED_BYTES_MAX: usize = 64 * 1024;

/// A version further ahead of this machine's clock is not taken for the time of an engine.
const AHEAD_US_MAX: u64 = 3600 * 1_000_000;

/// What a gateway is built from.
#[derive(Clone, Debug)]
pub(crate) struct GatewayOptions {
    pub(crate) url: super::EngineUrl,
    pub(crate) dial: Dial,
    /// Largest value, in bytes.
    pub(crate) value_bytes_max: usize,
    /// How many replicas must have a write that does not say otherwise.
    pub(crate) sync: AckRequirement,
}

/// See the module.
pub(crate) struct Gateway {
    pub(super) routing: Routing,
    pub(super) report: Mutex<Report>,
    options: GatewayOptions,
    /// The greatest version that was seen.
    seen: AtomicU64,
    opened: std::time::Instant,
}

/// What a change came to, and how many replicas have it where some were asked for.
type Changed<T> = (T, Option<usize>);

impl Gateway {
    /// A gateway to an engine that may be reached later.
    pub(crate) fn new(options: GatewayOptions) -> Gateway {
        Gateway {
            routing: Routing::new(options.dial.clone(), options.url.seeds.clone()),
            report: Mutex::new(Report::default()),
            options,
            seen: AtomicU64::new(0),
            opened: std::time::Instant::now(),
        }
    }

    pub(crate) fn url(&self) -> &super::EngineUrl {
        &self.options.url
    }

    pub(crate) fn value_bytes_max(&self) -> usize {
        self.options.value_bytes_max
    }

    pub(crate) fn sync_default(&self) -> AckRequirement {
        self.options.sync
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.opened.elapsed()
    }

    /// How long there is until a deadline, in ms, by this machine's clock.
    pub(crate) fn ttl_ms(&self, deadline_ms: u64) -> u64 {
        deadline_ms.saturating_sub(wall::now_ms())
    }

    /// Reads a key: appends its value to `value`, or leaves it where it is because it is large.
    pub(crate) fn read(&self, key: Key<'_>, value: &mut Vec<u8>) -> Result<Option<Got>, EngineError> {
        let Some(kept) = self.kept(key)? else {
            return Ok(None);
        };
        let (found, bytes) = layout::decode(&kept).ok_or(EngineError::Foreign)?;
        self.note(found.version);
        if bytes.len() > COPIED_BYTES_MAX {
            let value_bytes = bytes.len();
            return Ok(Some(Got::Large(Meta { found, value_bytes })));
        }
        value.extend_from_slice(bytes);
        Ok(Some(Got::Copied(found)))
    }

    /// A key's pair.
    pub(crate) fn pair(&self, key: Key<'_>) -> Result<Option<(Pair, Found)>, EngineError> {
        let Some(kept) = self.kept(key)? else {
            return Ok(None);
        };
        let (found, value) = layout::decode(&kept).ok_or(EngineError::Foreign)?;
        Ok(Some((Pair::new(key.as_bytes(), value), found)))
    }

    /// What is known of a key beside its value.
    pub(crate) fn peek(&self, key: Key<'_>) -> Result<Option<Meta>, EngineError> {
        let Some(kept) = self.kept(key)? else {
            return Ok(None);
        };
        let (found, value) = layout::decode(&kept).ok_or(EngineError::Foreign)?;
        let value_bytes = value.len();
        Ok(Some(Meta { found, value_bytes }))
    }

    fn kept(&self, key: Key<'_>) -> Result<Option<Vec<u8>>, EngineError> {
        let mut command = redis::cmd("GET");
        command.arg(key.as_bytes());
        let answers = self.routing.run(&Request {
            slot: slot_of(key.as_bytes()),
            packed: &command.get_packed_command(),
            answers: 1,
            with_script: None,
            is_change: false,
            patience: Duration::ZERO,
        })?;
        match answers.into_iter().next() {
            Some(Value::Nil) => Ok(None),
            Some(Value::BulkString(kept)) => Ok(Some(kept)),
            other => Err(unexpected(other.as_ref())),
        }
    }

    /// As [`Gateway::read`] has it, of a key that was listed.
    pub(super) fn kept_of(&self, key: &str) -> Result<Option<Vec<u8>>, EngineError> {
        match Key::new(key) {
            Ok(key) => self.kept(key),
            Err(_) => Ok(None),
        }
    }

    /// Adds or replaces a value, and its deadline.
    pub(crate) fn put(
        &self,
        key: Key<'_>,
        value: &[u8],
        deadline: Deadline,
        mode: Mode,
        precondition: Precondition<'_>,
        sync: AckRequirement,
    ) -> Result<Result<Changed<Written>, WriteError>, EngineError> {
        if value.len() > self.options.value_bytes_max {
            return Ok(Err(self.too_large()));
        }
        let step = script::Step {
            mode,
            precondition,
            deadline: Some(deadline),
            ..script::Step::new(script::Op::Set(value))
        };
        self.one(key, &step, sync, |outcome| outcome.written())
    }

    /// Gives a key another deadline, or none, and a new version.
    pub(crate) fn set_deadline(
        &self,
        key: Key<'_>,
        deadline: Deadline,
        precondition: Precondition<'_>,
        sync: AckRequirement,
    ) -> Result<Result<Changed<Written>, WriteError>, EngineError> {
        let step = script::Step {
            precondition,
            deadline: Some(deadline),
            ..script::Step::new(script::Op::Deadline)
        };
        self.one(key, &step, sync, |outcome| outcome.written())
    }

    /// Makes a value from the one that is there, as one step.
    pub(crate) fn edit(
        &self,
        key: Key<'_>,
        edit: Edit<'_>,
        deadline: Option<Deadline>,
        precondition: Precondition<'_>,
        sync: AckRequirement,
    ) -> Result<Result<Changed<Edited>, WriteError>, EngineError> {
        let step = script::Step {
            precondition,
            deadline,
            ..script::Step::new(script::Op::Edit(edit))
        };
        self.one(key, &step, sync, |outcome| outcome.edited())
    }

    /// Deletes a key.
    pub(crate) fn delete(
        &self,
        key: Key<'_>,
        precondition: Precondition<'_>,
        sync: AckRequirement,
    ) -> Result<Result<Changed<()>, WriteError>, EngineError> {
        let step = script::Step {
            precondition,
            ..script::Step::new(script::Op::Delete)
        };
        let deleted = self.one(key, &step, sync, |outcome| outcome.deleted())?;
        Ok(deleted.and_then(|(was_there, replicas)| match was_there {
            true => Ok(((), replicas)),
            false => Err(WriteError::Missing),
        }))
    }

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
        let read_max = reads.bytes_max.min(gets.saturating_mul(self.options.value_bytes_max));
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

    /// One step of one key.
    fn one<T>(
        &self,
        key: Key<'_>,
        step: &script::Step<'_>,
        sync: AckRequirement,
        take: impl Fn(&script::Answered) -> Option<T>,
    ) -> Result<Result<Changed<T>, WriteError>, EngineError> {
        let call = script::Call {
            keys: &[key.as_bytes()],
            steps: &[(1, *step)],
            value_bytes_max: self.options.value_bytes_max,
            read_bytes_max: 0,
        };
        let called = self.call(slot_of(key.as_bytes()), &call, sync, true)?;
        Ok(match called {
            Err((_, error)) => Err(error),
            Ok((answered, replicas)) => {
                let taken = answered.first().and_then(take).ok_or_else(|| unexpected(None))?;
                Ok((taken, replicas))
            }
        })
    }

    /// Runs the script, and waits for replicas where that is asked for. The inner error names the step at fault.
    #[allow(clippy::type_complexity, reason = "what went wrong where, and what came of each step")]
    fn call(
        &self,
        slot: u16,
        call: &script::Call<'_>,
        sync: AckRequirement,
        is_change: bool,
    ) -> Result<Result<Changed<Vec<script::Answered>>, (usize, WriteError)>, EngineError> {
        let waits = is_change && sync.replicas > 0;
        let wait = sync.timeout.min(self.routing.timeout());
        let floor = self.seen.load(Ordering::Relaxed);
        let then_wait = |mut packed: Vec<u8>| {
            if waits {
                let mut command = redis::cmd("WAIT");
                // 0 would be for ever.
                command.arg(sync.replicas).arg(wait.as_millis().max(1) as u64);
                packed.extend_from_slice(&command.get_packed_command());
            }
            packed
        };
        let with_script = || then_wait(call.with_script(floor));
        let packed = then_wait(call.by_digest(floor));
        let answers = self.routing.run(&Request {
            slot,
            packed: &packed,
            answers: if waits { 2 } else { 1 },
            with_script: Some(&with_script),
            is_change,
            patience: if waits { wait } else { Duration::ZERO },
        })?;
        let mut answers = answers.into_iter();
        let answered = match script::read(answers.next(), call.steps)? {
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
            .for_each(|version| self.note(version));
        let replicas = match answers.next() {
            None => None,
            Some(Value::Int(replicas)) => Some(usize::try_from(replicas).unwrap_or(0)),
            Some(other) => return Err(EngineError::Unknown(unexpected(Some(&other)).to_string())),
        };
        match replicas {
            Some(reached) if sync.is_required && reached < sync.replicas => Err(EngineError::NotReplicated {
                wanted: sync.replicas,
                reached,
            }),
            replicas => Ok(Ok((answered, replicas))),
        }
    }

    /// Notes a version that the engine has given.
    pub(super) fn note(&self, version: u64) {
        // Most are of the past, and nothing is written then that other threads read.
        if version > self.seen.load(Ordering::Relaxed) {
            let now_us = wall::now_ms().saturating_mul(1000);
            if version <= now_us.saturating_add(AHEAD_US_MAX).min(VERSION_MAX) {
                self.seen.fetch_max(version, Ordering::Relaxed);
            }
        }
    }

    fn too_large(&self) -> WriteError {
        WriteError::TooLarge {
            bytes_max: self.options.value_bytes_max as u64,
        }
    }
}

/// An answer that no engine of a version that is known gives.
pub(super) fn unexpected(answer: Option<&Value>) -> EngineError {
    match answer {
        Some(Value::ServerError(error)) => {
            EngineError::Refused(super::error::words(&redis::RedisError::from(error.clone())))
        }
        _ => EngineError::Refused("it answered something else than was asked for".to_owned()),
    }
}

