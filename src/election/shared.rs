//! The machine, shared: one thread drives it, and the connections of clients and of other members ask it.
//!
//! # What must hold
//! - The fence is moved under the same lock as the machine: nobody sees one without the other.
//! - Nothing under the machine's lock waits or asks: what the node is like is looked up before.

use super::question::Answer;
use super::report::Holder;
use super::state::Machine;
use crate::boot_clock::{BootInstant, Fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For how long what the others said of themselves is shown.
const SEEN_FOR: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct SharedMachine {
    inner: Mutex<Inner>,
    changed: Condvar,
    fence: Fence,
    /// What the other members answered when somebody last wanted to see the cluster: when, and under which primary.
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    at: Instant,
    holder: Option<Holder>,
    answers: Vec<Answer>,
}

struct Inner {
    machine: Machine,
    /// Counts what the thread is to look at at once.
    calls: u64,
    /// How many of these it has looked at.
    heard: u64,
    /// When the thread last drove the machine.
    driven_at: BootInstant,
    /// For how long it may rest.
    rest_max: Duration,
}

impl SharedMachine {
    /// A machine, and the fence that its deadline is.
    pub(crate) fn new(machine: Machine, fence: Fence) -> SharedMachine {
        SharedMachine {
            inner: Mutex::new(Inner {
                machine,
                calls: 0,
                heard: 0,
                driven_at: BootInstant::now(),
                rest_max: Duration::ZERO,
            }),
            changed: Condvar::new(),
            fence,
            seen: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the machine's lock panics")
    }

    /// What the other members answer to one who wants to see the cluster: they are asked once for all who want that at
    /// about one time, under one primary.
    pub(crate) fn see_others(
        &self,
        holder: Option<&Holder>,
        ask: impl FnOnce() -> Vec<Answer>,
    ) -> Vec<Answer> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some(seen) if seen.at.elapsed() < SEEN_FOR && seen.holder.as_ref() == holder => {
                seen.answers.clone()
            }
            _ => {
                let answers = ask();
                *seen = Some(Seen {
                    at: Instant::now(),
                    holder: holder.cloned(),
                    answers: answers.clone(),
                });
                answers
            }
        }
    }

    /// Looks at the machine, or has it answer a member.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Machine) -> T) -> T {
        look(&mut self.lock().machine)
    }

    /// Drives the machine, as its thread does.
    pub(crate) fn drive<T>(&self, drive: impl FnOnce(&mut Machine) -> T) -> T {
        let mut inner = self.lock();
        let driven = drive(&mut inner.machine);
        self.fence.set(inner.machine.deadline());
        inner.driven_at = BootInstant::now();
        inner.rest_max = Duration::ZERO;
        drop(inner);
        self.changed.notify_all();
        driven
    }

    /// Tells the machine something that its thread is to act on at once.
    pub(crate) fn call<T>(&self, tell: impl FnOnce(&mut Machine) -> T) -> T {
        let mut inner = self.lock();
        inner.calls += 1;
        let told = tell(&mut inner.machine);
        drop(inner);
        self.changed.notify_all();
        told
    }

    /// Has the thread wait for a call, but not for longer than `time`.
    pub(crate) fn rest(&self, time: Duration) {
        let mut inner = self.lock();
        inner.rest_max = time;
        let waited = self
            .changed
            .wait_timeout_while(inner, time, |inner| inner.calls == inner.heard);
        let mut inner = waited.expect("nothing under the machine's lock panics").0;
        inner.heard = inner.calls;
    }

    /// For how long the thread has not driven the machine, and for how long it may not: what it does between two drives
    /// takes no longer than a lease.
    pub(crate) fn still_for(&self) -> (Duration, Duration) {
        let inner = self.lock();
        let ttl = Duration::from_nanos(inner.machine.lease_time());
        (inner.driven_at.elapsed(), inner.rest_max + ttl)
    }

    /// Waits until there is something to be seen, which is looked for whenever the machine has moved. None at the
    /// deadline.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&Machine) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(seen) = look(&inner.machine) {
                return Some(seen);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.expect("nothing under the machine's lock panics").0;
        }
    }
}
