//! Group commit: how far the log is, who waits for it, and who writes.
//!
//! A connection's thread that waits for its record does not sleep until a writer's thread has got to it:
//! if nobody is writing, it takes the writer's part itself. It drains the channel, writes what everybody
//! has put there in one go, syncs if the policy asks for it, and wakes those it has covered. Those who came
//! meanwhile wait; when the leader is done, one of them leads next. Under load each write thus serves all
//! who came during the one before; alone, a write costs one system call and no switch of threads (handing
//! each record to a thread and waiting for its answer costs a third of the throughput).
//!
//! # Invariants
//! - `written` and `synced` only grow, and `synced` never passes `written`.
//! - At most one thread leads, and while anyone waits someone leads: a leader ends by naming the next.
//! - While the log has failed nobody leads and nobody waits: see [`Commit::fail`].

use super::Policy;
use super::error::{Health, Refusal};
use super::writer::{Failure, Flushed};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How far the log is, in offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Up to here write(2) has taken it: it survives the process.
    pub written: u64,
    /// Up to here fdatasync has covered it: it survives the machine.
    pub synced: u64,
}

pub(super) struct Commit {
    policy: Policy,
    written: AtomicU64,
    synced: AtomicU64,
    /// Whether `health` is other than Ok, for those who ask at every write.
    is_failed: AtomicBool,
    /// Whether a thread leads, or was told to. Changed under the queue's lock only.
    is_led: AtomicBool,
    queue: Mutex<Queue>,
}

struct Queue {
    waiters: Vec<Arc<Waiter>>,
    health: Health,
}

/// A thread that waits for an offset.
struct Waiter {
    offset: u64,
    told: AtomicU8,
    thread: Thread,
}

/// How often a thread lets others run, where a write without a sync is going on, before it sleeps: such a
/// write takes some microseconds, less than to sleep and be woken.
const YIELDS_MAX: u32 = 8;

const WAIT: u8 = 0;
const COVERED: u8 = 1;
const LEAD: u8 = 2;
const FAILED: u8 = 3;

impl Waiter {
    fn tell(&self, what: u8) {
        self.told.store(what, Ordering::Release);
        self.thread.unpark();
    }
}

impl Commit {
    pub(super) fn new(policy: Policy, position: u64) -> Commit {
        let queue = Queue {
            waiters: Vec::new(),
            health: Health::Ok,
        };
        Commit {
            policy,
            written: AtomicU64::new(position),
            synced: AtomicU64::new(position),
            is_failed: AtomicBool::new(false),
            is_led: AtomicBool::new(false),
            queue: Mutex::new(queue),
        }
    }

    pub(super) fn position(&self) -> Position {
        // In this order, or a sync in between shows more synced than written.
        let synced = self.synced.load(Ordering::Acquire);
        Position {
            written: self.written.load(Ordering::Acquire),
            synced,
        }
    }

    pub(super) fn health(&self) -> Health {
        self.queue().health.clone()
    }

    /// Whether the log takes writes.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.is_failed.load(Ordering::Acquire) {
            Err(Refusal::Unhealthy(self.health()))
        } else {
            Ok(())
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing under the queue's lock panics")
    }

    /// Whether the log holds everything up to `offset` as firmly as the policy asks.
    fn is_covered(&self, offset: u64) -> bool {
        let reached = match self.policy {
            Policy::Always => &self.synced,
            Policy::Everysec | Policy::No => &self.written,
        };
        reached.load(Ordering::Acquire) >= offset
    }

    /// Returns when the log holds everything up to `offset` as firmly as the policy asks. `write` writes
    /// (and syncs) what waits; it is called where this thread is to lead.
    pub(super) fn wait(
        &self,
        offset: u64,
        wait_max: Duration,
        mut write: impl FnMut() -> Result<Flushed, Failure>,
    ) -> Result<(), Refusal> {
        let mut deadline = None;
        let mut yields = if self.policy == Policy::Always {
            0
        } else {
            YIELDS_MAX
        };
        while !self.is_covered(offset) {
            if yields > 0 && self.is_led.load(Ordering::Relaxed) {
                yields -= 1;
                thread::yield_now();
                continue;
            }
            let mut queue = self.queue();
            if self.is_covered(offset) {
                return Ok(());
            }
            if queue.health != Health::Ok {
                return Err(Refusal::Unknown(queue.health.clone()));
            }
            if !self.is_led.swap(true, Ordering::Relaxed) {
                drop(queue);
                self.lead(&mut write);
                continue;
            }
            let waiter = Arc::new(Waiter {
                offset,
                told: AtomicU8::new(WAIT),
                thread: thread::current(),
            });
            queue.waiters.push(Arc::clone(&waiter));
            drop(queue);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait_max);
            match self.park(&waiter, deadline) {
                WAIT => return Err(Refusal::TimedOut { waited: wait_max }),
                LEAD => self.lead(&mut write),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sleeps until the waiter is told something; `WAIT` if that is not before the deadline.
    fn park(&self, waiter: &Arc<Waiter>, deadline: Instant) -> u8 {
        loop {
            let told = waiter.told.load(Ordering::Acquire);
            if told != WAIT {
                return told;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let mut queue = self.queue();
                queue.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
                // Told under the queue's lock only, so this is final.
                return waiter.told.load(Ordering::Acquire);
            }
            thread::park_timeout(left);
        }
    }

    fn lead(&self, write: &mut impl FnMut() -> Result<Flushed, Failure>) {
        match write() {
            Ok(flushed) => {
                let synced = self.policy == Policy::Always;
                self.advance(flushed.written, synced);
                self.wake(true);
            }
            Err(failure) => self.fail(&failure),
        }
    }

    /// Publishes how far the log is written, and synced if it was.
    pub(super) fn advance(&self, written: u64, synced: bool) {
        self.written.fetch_max(written, Ordering::AcqRel);
        if synced {
            self.synced.fetch_max(written, Ordering::AcqRel);
        }
    }

    pub(super) fn advance_synced(&self, synced: u64) {
        self.synced.fetch_max(synced, Ordering::AcqRel);
    }

    /// Wakes those who are covered now. A leader that ends also names the next one.
    pub(super) fn wake(&self, leader_ends: bool) {
        let mut queue = self.queue();
        let waiters = &mut queue.waiters;
        let mut covered = Vec::new();
        waiters.retain(|waiter| {
            let is_covered = self.is_covered(waiter.offset);
            if is_covered {
                covered.push(Arc::clone(waiter));
            }
            !is_covered
        });
        if leader_ends {
            match waiters.pop() {
                Some(next) => next.tell(LEAD),
                None => self.is_led.store(false, Ordering::Relaxed),
            }
        }
        for waiter in &covered {
            waiter.told.store(COVERED, Ordering::Release);
        }
        // Unparked after the lock is let go: each would otherwise wake only to wait for it.
        drop(queue);
        covered.iter().for_each(|waiter| waiter.thread.unpark());
    }

    /// The log has failed: refuses writes from now on, and tells those who wait that their outcome is not
    /// known.
    pub(super) fn fail(&self, failure: &Failure) {
        let health = match failure {
            Failure::Write(error) if error.is_disk_full() => Health::DiskFull {
                why: error.to_string(),
            },
            Failure::Write(error) => Health::WriteFailed {
                why: error.to_string(),
            },
            Failure::Sync(error) => Health::SyncFailed {
                why: error.to_string(),
            },
        };
        ::log::error!("{health}; taking no writes until that is over");
        let mut queue = self.queue();
        // A failed sync is not forgotten over a write that fails after it: it asks for more to be healed.
        if !matches!(queue.health, Health::SyncFailed { .. }) {
            queue.health = health;
        }
        self.is_failed.store(true, Ordering::Release);
        self.is_led.store(false, Ordering::Relaxed);
        queue.waiters.drain(..).for_each(|waiter| waiter.tell(FAILED));
    }

    /// The log takes writes again.
    pub(super) fn recover(&self) {
        ::log::info!("the log can be written again; taking writes");
        let mut queue = self.queue();
        queue.health = Health::Ok;
        self.is_failed.store(false, Ordering::Release);
    }
}
