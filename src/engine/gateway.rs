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

use super::error::{EngineError, unexpected};
use super::layout::{self, VERSION_MAX};
use super::pool::Dial;
use super::report::Report;
use super::request::Request;
use super::routing::Routing;
use super::script::{self, Changed};
use super::slots::slot_of;
use crate::key::Key;
use crate::node::{
    AckRequirement, Deadline, Edit, Edited, Found, Got, Meta, Mode, Precondition, WriteError, Written,
};
use crate::pair::Pair;
use crate::wall;
use redis::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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

/// The greatest version that was seen.
#[derive(Default)]
pub(super) struct Seen(AtomicU64);

/// See the module.
pub(crate) struct Gateway {
    pub(super) routing: Routing,
    pub(super) report: Mutex<Report>,
    pub(super) options: GatewayOptions,
    pub(super) seen: Arc<Seen>,
    opened: std::time::Instant,
}

impl Gateway {
    /// A gateway to an engine that may be reached later.
    pub(crate) fn new(options: GatewayOptions) -> Gateway {
        Gateway {
            routing: Routing::new(options.dial.clone(), options.url.seeds.clone()),
            report: Mutex::new(Report::default()),
            options,
            seen: Arc::default(),
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
        self.seen.note(found.version);
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
            upsert: None,
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
        if matches!(
            (mode, precondition, deadline),
            (Mode::Upsert, Precondition::None, Deadline::Never)
        ) {
            return self.upsert(key, value, sync);
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

    pub(super) fn too_large(&self) -> WriteError {
        WriteError::TooLarge {
            bytes_max: self.options.value_bytes_max as u64,
        }
    }
}

impl Seen {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes a version that the engine has given.
    pub(super) fn note(&self, version: u64) {
        // Most are of the past, and nothing is written then that other threads read.
        if version > self.get() {
            let now_us = wall::now_ms().saturating_mul(1000);
            if version <= now_us.saturating_add(AHEAD_US_MAX).min(VERSION_MAX) {
                self.0.fetch_max(version, Ordering::Relaxed);
            }
        }
    }
}
