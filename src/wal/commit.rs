//! Group commit: how far the log is, who waits for it, and who writes.
//!
//! A connection's thread that waits for its record does not sleep until a writer's thread has got to it:
//! if nobody is writing, it takes the writer's part itself. It drains the channel, writes what everybody
//! has put there in one go, syncs if the policy asks for it, and wakes those it has covered. Those who came
//! meanwhile wait; when the leader is done, one of them leads next. Under load each write thus serves all
//! who came during the one before; alone, a write costs one system call and no switch of threads (handing
//! each record to a thread and waiting for its answer costs a third of the throughput).
//!
//! Many come during one write or sync, and to put each of their threads to sleep and wake it again costs more
//! than all the rest. So a thread that finds the log led need not wait: it may leave behind what is to be
//! done once its record is covered ([`Commit::defer`]), and go on. The leader does it. (To yield the processor
//! instead of sleeping gave 5 % more throughput, and three times the latency at p99.)
//! A thread that led for a client of its own does not go on to lead for others; where nobody waits who could,
//! the log's thread is called.
//!
//! # Invariants
//! - `synced` never passes `written`. Both only grow, but for a replica that takes over another state
//!   ([`Commit::set_position`]).
//! - At most one thread leads, and while anyone waits someone leads: a leader ends by naming the next.
//! - While the log has failed nobody leads and nobody waits: see [`Commit::fail`].

use super::error::{Health, Refusal};
use super::options::Policy;
use super::signal::Signal;
use super::watchers::Watchers;
use super::writer::{Failure, Flushed};
use crate::digest::Digest;
use crate::histogram::Histogram;
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
    /// Whether there is room for deletions alone.
    is_short: AtomicBool,
    /// Whether a thread leads, or was told to. Changed under the queue's lock only.
    is_led: AtomicBool,
    queue: Mutex<Queue>,
    /// Calls the log's thread.
    pub(super) log_thread: Signal,
    /// Told whenever `written` has grown.
    pub(super) watchers: Watchers,
    /// How long syncs took, of those that follow what clients write.
    pub(super) syncs: Histogram,
}

/// What a thread leaves behind to be done once its record is covered, or will not be.
pub(crate) type Then = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

struct Queue {
    waiters: Vec<Arc<Waiter>>,
    deferred: Vec<(u64, Then)>,
    health: Health,
    /// An offset up to which the log is written, and the digest of the store at it.
    state: (u64, Digest),
}

/// A thread that waits for an offset.
struct Waiter {
    offset: u64,
    told: AtomicU8,
    thread: Thread,
}

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
            deferred: Vec::new(),
            health: Health::Ok,
            state: (position, Digest::default()),
        };
        Commit {
            policy,
            written: AtomicU64::new(position),
            synced: AtomicU64::new(position),
            is_failed: AtomicBool::new(false),
            is_short: AtomicBool::new(false),
            is_led: AtomicBool::new(false),
            queue: Mutex::new(queue),
            log_thread: Signal::default(),
            watchers: Watchers::default(),
            syncs: Histogram::default(),
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

    pub(super) fn state(&self) -> (u64, Digest) {
        self.queue().state
    }

    pub(super) fn set_state(&self, offset: u64, digest: Digest) {
        self.queue().state = (offset, digest);
    }

    pub(super) fn health(&self) -> Health {
        self.queue().health.clone()
    }

    /// Whether the log takes writes.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.is_failed.load(Ordering::Acquire) || self.is_short.load(Ordering::Relaxed) {
            Err(Refusal::Unhealthy(self.health()))
        } else {
            Ok(())
        }
    }

    /// Whether the log takes writes that remove something.
    pub(super) fn check_removal(&self) -> Result<(), Refusal> {
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
        while !self.is_covered(offset) {
            let mut queue = self.queue();
            if self.is_covered(offset) {
                return Ok(());
            }
            if !queue.health.takes_removals() {
                return Err(Refusal::Unknown(queue.health.clone()));
            }
            if !self.is_led.swap(true, Ordering::Relaxed) {
                drop(queue);
                self.lead_once(&mut write);
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
                LEAD => self.lead_once(&mut write),
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

    /// Whether [`Commit::defer`] is worth a try: asked without the lock, so the answer may be old.
    pub(super) fn may_defer(&self, offset: u64) -> bool {
        self.is_led.load(Ordering::Relaxed) && !self.is_covered(offset)
    }

    /// Leaves `then` to be done once the log holds everything up to `offset`, by the thread that sees to it.
    /// `false`, and nothing left, where nobody leads: then it is for this thread to [`Commit::wait`].
    ///
    /// What is done must not block: all who are covered at once are served one after the other.
    pub(super) fn defer(&self, offset: u64, then: Then) -> bool {
        let mut queue = self.queue();
        let is_taken = self.is_led.load(Ordering::Relaxed) && !self.is_covered(offset);
        if is_taken {
            queue.deferred.push((offset, then));
        }
        is_taken
    }

    /// Leads as long as there is something left behind, and no thread waits that could lead: for the log's
    /// thread, when it was called.
    pub(super) fn lead(&self, mut write: impl FnMut() -> Result<Flushed, Failure>) {
        while self.write_for_all(&mut write) {}
    }

    /// Leads where nobody does. For the log's thread too, which may itself be the one that is called to lead:
    /// it must never wait for another.
    pub(super) fn lead_if_free(&self, write: impl FnMut() -> Result<Flushed, Failure>) {
        let queue = self.queue();
        let is_free = queue.health.takes_removals() && !self.is_led.swap(true, Ordering::Relaxed);
        drop(queue);
        if is_free {
            self.lead(write);
        }
    }

    fn lead_once(&self, write: &mut impl FnMut() -> Result<Flushed, Failure>) {
        if self.write_for_all(write) {
            self.log_thread.call();
        }
    }

    /// Writes what waits, and serves those that are covered then. Returns whether the log's thread must lead
    /// next.
    fn write_for_all(&self, write: &mut impl FnMut() -> Result<Flushed, Failure>) -> bool {
        let lost_leader = LostLeader(self);
        let written = write();
        std::mem::forget(lost_leader);
        match written {
            Ok(flushed) => {
                self.advance(flushed.written, self.policy == Policy::Always);
                self.wake(&flushed)
            }
            Err(failure) => {
                self.fail(&failure);
                false
            }
        }
    }

    /// Publishes how far the log is written, and synced if it was.
    pub(super) fn advance(&self, written: u64, synced: bool) {
        self.written.fetch_max(written, Ordering::AcqRel);
        if synced {
            self.synced.fetch_max(written, Ordering::AcqRel);
        }
        self.watchers.tell_grown();
    }

    /// Puts the log at an offset, written and synced, wherever it was. Nobody may be waiting for an offset
    /// behind it, nor write.
    pub(super) fn set_position(&self, position: u64) {
        // Not more synced than written, whichever way it goes.
        self.synced.fetch_min(position, Ordering::AcqRel);
        self.written.store(position, Ordering::Release);
        self.synced.store(position, Ordering::Release);
        self.watchers.tell_grown();
    }

    pub(super) fn advance_synced(&self, synced: u64) {
        self.synced.fetch_max(synced, Ordering::AcqRel);
    }

    /// Serves those who are covered now, and names the next leader: a thread that waits, or, by returning
    /// `true`, the log's.
    fn wake(&self, flushed: &Flushed) -> bool {
        let mut queue = self.queue();
        if let Some(digest) = flushed.digest {
            queue.state = (flushed.written, digest);
        }
        let Queue {
            waiters, deferred, ..
        } = &mut *queue;
        let covered: Vec<_> = waiters
            .extract_if(.., |waiter| self.is_covered(waiter.offset))
            .collect();
        let done: Vec<_> = deferred
            .extract_if(.., |(offset, _)| self.is_covered(*offset))
            .collect();
        let next = waiters.pop();
        let is_for_log_thread = next.is_none() && !deferred.is_empty();
        if next.is_none() && !is_for_log_thread {
            self.is_led.store(false, Ordering::Relaxed);
        }
        if let Some(next) = next {
            next.tell(LEAD);
        }
        for waiter in &covered {
            waiter.told.store(COVERED, Ordering::Release);
        }
        // Unparked after the lock is let go: each would otherwise wake only to wait for it.
        drop(queue);
        covered.iter().for_each(|waiter| waiter.thread.unpark());
        done.into_iter().for_each(|(_, then)| then(Ok(())));
        is_for_log_thread
    }

    /// The log has failed: refuses writes from now on, and tells those who wait that their outcome is not
    /// known.
    pub(super) fn fail(&self, failure: &Failure) {
        let health = match failure {
            Failure::Write(error) | Failure::Sync(error) if error.is_displaced() => Health::Displaced {
                why: error.to_string(),
            },
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
        self.fail_with(health);
    }

    fn fail_with(&self, health: Health) {
        let mut queue = self.queue();
        // A failed sync is not forgotten over a write that fails after it: it asks for more to be healed.
        let is_worse = match queue.health {
            Health::SyncFailed { .. } => matches!(health, Health::Displaced { .. }),
            Health::Displaced { .. } => false,
            _ => true,
        };
        if is_worse {
            log::error!("{health}; taking no writes until that is over");
            queue.health = health;
        }
        self.is_failed.store(true, Ordering::Release);
        self.is_led.store(false, Ordering::Relaxed);
        let refusal = Refusal::Unknown(queue.health.clone());
        queue.waiters.drain(..).for_each(|waiter| waiter.tell(FAILED));
        let deferred = std::mem::take(&mut queue.deferred);
        drop(queue);
        deferred
            .into_iter()
            .for_each(|(_, then)| then(Err(refusal.clone())));
    }

    /// The log takes writes again; only deletions where that is what the health says.
    pub(super) fn recover(&self, health: Health) {
        match &health {
            Health::Ok => log::info!("the log can be written again; taking writes"),
            health => log::warn!("{health}"),
        }
        let mut queue = self.queue();
        self.is_short.store(health != Health::Ok, Ordering::Relaxed);
        queue.health = health;
        self.is_failed.store(false, Ordering::Release);
    }
}

/// Dropped only where the leader panics. That is a bug; it must not leave those who wait without an answer.
struct LostLeader<'a>(&'a Commit);

impl Drop for LostLeader<'_> {
    fn drop(&mut self) {
        self.0.fail_with(Health::WriteFailed {
            why: "the log's writer has panicked; restart the node".to_string(),
        });
    }
}
