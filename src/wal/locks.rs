//! The locks of the log, and the order in which they are taken.
//!
//! - Order: base < the lock of a change of role (`node::role`) < apply < writer < the store's lock. A thread that holds
//!   one may take a later one, and never an earlier one. [`lock_order`](crate::lock_order) checks it in debug builds.
//! - A later lock is taken from the guard of an earlier one: [`BaseGuard::apply`], [`ApplyGuard::writer`]. So a
//!   function shows in its arguments what is held.
//! - `base` is held for as long as a walk over the store takes, or a snapshot; `apply` for one chunk; `writer` for
//!   one write or sync.

use super::writer::Writer;
use crate::lock_order::{Rank, Ranked};
use std::sync::{Mutex, MutexGuard};

pub(super) struct Locks {
    /// Held by the thread that walks the store to make a base, or replaces the store.
    base: Mutex<()>,
    /// Held by a replica from before it writes a chunk of the log until it has applied it, and by threads that
    /// need the log and the store at one offset.
    apply: Mutex<()>,
    /// Held for one write or sync.
    writer: Mutex<Writer>,
}

/// Says that no other thread makes a base or replaces the store.
pub(super) struct BaseGuard<'a> {
    locks: &'a Locks,
    _guard: Ranked<MutexGuard<'a, ()>>,
}

/// Says that no chunk of another node's log is written and not yet applied.
pub(super) struct ApplyGuard<'a> {
    locks: &'a Locks,
    _guard: Ranked<MutexGuard<'a, ()>>,
}

/// The right to write.
pub(super) type WriterGuard<'a> = Ranked<MutexGuard<'a, Writer>>;

impl Locks {
    pub(super) fn new(writer: Writer) -> Locks {
        Locks {
            base: Mutex::new(()),
            apply: Mutex::new(()),
            writer: Mutex::new(writer),
        }
    }

    pub(super) fn base(&self) -> BaseGuard<'_> {
        let lock = || self.base.lock().expect("nothing under the base's lock panics");
        BaseGuard {
            locks: self,
            _guard: Ranked::take(Rank::Base, lock),
        }
    }

    /// None where another thread has it.
    pub(super) fn try_base(&self) -> Option<BaseGuard<'_>> {
        Some(BaseGuard {
            locks: self,
            _guard: Ranked::try_take(Rank::Base, || self.base.try_lock().ok())?,
        })
    }

    /// Of a thread that makes no base.
    pub(super) fn apply(&self) -> ApplyGuard<'_> {
        let lock = || self.apply.lock().expect("nothing under the apply lock panics");
        ApplyGuard {
            locks: self,
            _guard: Ranked::take(Rank::Apply, lock),
        }
    }

    /// Of a thread that holds neither of the others.
    pub(super) fn writer(&self) -> WriterGuard<'_> {
        let lock = || {
            self.writer
                .lock()
                .expect("nothing under the writer's lock panics")
        };
        Ranked::take(Rank::Writer, lock)
    }
}

impl<'a> BaseGuard<'a> {
    pub(super) fn apply(&self) -> ApplyGuard<'a> {
        self.locks.apply()
    }

    /// None where another thread has it.
    pub(super) fn try_apply(&self) -> Option<ApplyGuard<'a>> {
        Some(ApplyGuard {
            locks: self.locks,
            _guard: Ranked::try_take(Rank::Apply, || self.locks.apply.try_lock().ok())?,
        })
    }
}

impl<'a> ApplyGuard<'a> {
    pub(super) fn writer(&self) -> WriterGuard<'a> {
        self.locks.writer()
    }
}
