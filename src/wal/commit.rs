//! Group commit: how far the log is, who waits for it, and who writes.
//!
//! A connection's thread that waits for its record does not sleep until a writer's thread has got to it:
//! if nobody writes, it writes itself. It drains the channel, writes what everybody has put there in one go,
//! syncs if the policy asks for it, and wakes those it has covered. Threads that come meanwhile wait; when the
//! leader is done, one of them leads next. Under load each write thus serves all who came during the one before;
//! alone, a write costs one system call and no switch of threads (handing each record to a thread and waiting
//! for its answer costs a third of the throughput).
//!
//! Many come during one write or sync, and to put each of their threads to sleep and wake it again costs more
//! than all the rest. So a thread that finds the log led need not wait: it may defer what is to be done once its
//! record is covered ([`Commit::defer`]), and read the next request. The leader does it. (To yield the processor
//! instead of sleeping gave 5 % more throughput, and three times the latency at p99.)
//! A thread that led for a client of its own does not stay to lead for others; where nobody waits who could,
//! it calls the log's thread.
//!
//! # Invariants
//! - At most one thread leads. While anyone waits someone leads: a leader ends by naming the next.
//! - While the log has failed nobody leads and nobody waits: see [`Commit::fail`].
//! - `is_led` changes under the lock of `inner` only.
//! - Nothing waits, writes or runs deferred work under that lock.
//! - A client is answered within its time limit, also where its thread leads and the disk does not answer: see
//!   [`super::rescue`].

use super::commit_queue::{CommitQueue, NextLeader, OnDurable, Verdict, Waiter};
use super::flush::{Failure, Flushed};
use super::health::{Health, Refusal};
use super::options::Policy;
use super::rescue::{Leader, Rescue};
use super::watchers::Watchers;
use super::watermarks::{Position, Watermarks};
use crate::digest::Digest;
use crate::histogram::Histogram;
use crate::worker::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub(super) struct Commit {
    policy: Policy,
    watermarks: Watermarks,
    /// Whether `health` is other than Ok, for those who ask at every write.
    is_failed: AtomicBool,
    /// Whether there is room for deletions alone.
    is_short: AtomicBool,
    /// Whether a thread leads, or is named to.
    is_led: AtomicBool,
    inner: Mutex<Inner>,
    /// Calls the log's thread.
    pub(super) log_thread: Signal,
    /// The client of the thread that leads.
    pub(super) leader: Leader,
    /// Woken whenever the log has grown.
    pub(super) watchers: Watchers,
    /// How long syncs took, of those that follow what clients write.
    pub(super) syncs: Histogram,
}

/// How long a thread waits, and what becomes of its client.
pub(super) struct Wait {
    pub(super) since: Instant,
    pub(super) wait_max: Duration,
    /// Called where the thread leads, and the disk does not answer in time.
    pub(super) rescue: Option<Arc<dyn Rescue>>,
}

struct Inner {
    queue: CommitQueue,
    health: Health,
    /// An offset up to which the log is written, and the digest of the store at it.
    state: (u64, Digest),
}

impl Commit {
    pub(super) fn new(policy: Policy, position: u64) -> Commit {
        let inner = Inner {
            queue: CommitQueue::default(),
            health: Health::Ok,
            state: (position, Digest::default()),
        };
        Commit {
            policy,
            watermarks: Watermarks::new(policy, position),
            is_failed: AtomicBool::new(false),
            is_short: AtomicBool::new(false),
            is_led: AtomicBool::new(false),
            inner: Mutex::new(inner),
            log_thread: Signal::default(),
            leader: Leader::default(),
            watchers: Watchers::default(),
            syncs: Histogram::default(),
        }
    }

    pub(super) fn position(&self) -> Position {
        self.watermarks.position()
    }

    pub(super) fn state(&self) -> (u64, Digest) {
        self.lock().state
    }

    pub(super) fn set_state(&self, offset: u64, digest: Digest) {
        self.lock().state = (offset, digest);
    }

    pub(super) fn health(&self) -> Health {
        self.lock().health.clone()
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing under the commit's lock panics")
    }

    /// Returns when everything up to `offset` is durable, as the policy means it. `write` writes (and syncs)
    /// what waits in the channel; a thread that leads calls it.
    pub(super) fn wait_for(
        &self,
        offset: u64,
        wait: Wait,
        mut write: impl FnMut() -> Result<Flushed, Failure>,
    ) -> Result<(), Refusal> {
        let Wait {
            since,
            wait_max,
            rescue,
        } = wait;
        let deadline = since + wait_max;
        let mut lead = || {
            let _rescued = rescue.as_ref().map(|rescue| {
                let waited = wait_max;
                self.leader.enter(deadline, waited, rescue)
            });
            self.lead_once(&mut write);
        };
        while !self.watermarks.is_durable(offset) {
            let mut inner = self.lock();
            if self.watermarks.is_durable(offset) {
                return Ok(());
            }
            if !inner.health.takes_removals() {
                return Err(Refusal::Unknown(inner.health.clone()));
            }
            if !self.is_led.swap(true, Ordering::Relaxed) {
                drop(inner);
                lead();
                continue;
            }
            let waiter = inner.queue.enter(offset, true);
            drop(inner);
            match self.verdict(&waiter, deadline) {
                Verdict::Wait => return Err(Refusal::TimedOut { waited: wait_max }),
                Verdict::Lead => lead(),
                Verdict::Covered | Verdict::Failed => {}
            }
        }
        Ok(())
    }

    /// As [`Commit::wait_for`], but never leads: where nobody does, the log's thread is called to. So it ends at its time
    /// limit, whatever the disk does.
    pub(super) fn wait_led(&self, offset: u64, wait_max: Duration) -> Result<(), Refusal> {
        let mut deadline = None;
        while !self.watermarks.is_durable(offset) {
            let mut inner = self.lock();
            if self.watermarks.is_durable(offset) {
                return Ok(());
            }
            if !inner.health.takes_removals() {
                return Err(Refusal::Unknown(inner.health.clone()));
            }
            let is_led = self.is_led.swap(true, Ordering::Relaxed);
            let waiter = inner.queue.enter(offset, false);
            drop(inner);
            if !is_led {
                self.log_thread.call();
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait_max);
            if self.verdict(&waiter, deadline) == Verdict::Wait {
                return Err(Refusal::TimedOut { waited: wait_max });
            }
        }
        Ok(())
    }

    /// Sleeps until a thread that waits has its verdict, or until the deadline.
    fn verdict(&self, waiter: &Arc<Waiter>, deadline: Instant) -> Verdict {
        match waiter.park_until(deadline) {
            true => waiter.verdict(),
            false => self.lock().queue.leave(waiter),
        }
    }

    /// Whether [`Commit::defer`] is worth a try: asked without the lock, so the answer may be old.
    pub(super) fn may_defer(&self, offset: u64) -> bool {
        self.is_led.load(Ordering::Relaxed) && !self.watermarks.is_durable(offset)
    }

    /// Defers `then` until everything up to `offset` is durable; the thread that leads then does it.
    /// `false`, and nothing deferred, where nobody leads: then this thread has to [`Commit::wait_for`] it.
    ///
    /// `then` must not block: one thread serves all who are covered at once, one after the other.
    pub(super) fn defer(&self, offset: u64, then: OnDurable) -> bool {
        let mut inner = self.lock();
        let is_taken = self.is_led.load(Ordering::Relaxed) && !self.watermarks.is_durable(offset);
        if is_taken {
            inner.queue.defer(offset, then);
        }
        is_taken
    }

    /// Leads as long as work is deferred and no thread waits that could lead. For the log's thread, when it is
    /// called.
    pub(super) fn lead(&self, mut write: impl FnMut() -> Result<Flushed, Failure>) {
        while self.write_for_all(&mut write) == NextLeader::LogThread {}
    }

    /// Leads where nobody does. The log's thread must never wait for another leader: it may be the one that is
    /// called to lead.
    pub(super) fn lead_if_free(&self, write: impl FnMut() -> Result<Flushed, Failure>) {
        let inner = self.lock();
        let is_free = inner.health.takes_removals() && !self.is_led.swap(true, Ordering::Relaxed);
        drop(inner);
        if is_free {
            self.lead(write);
        }
    }

    fn lead_once(&self, write: &mut impl FnMut() -> Result<Flushed, Failure>) {
        if self.write_for_all(write) == NextLeader::LogThread {
            self.log_thread.call();
        }
    }

    /// Writes what waits in the channel, and serves those that are covered then.
    fn write_for_all(&self, write: &mut impl FnMut() -> Result<Flushed, Failure>) -> NextLeader {
        let lost_leader = LostLeader(self);
        let written = write();
        std::mem::forget(lost_leader);
        match written {
            Ok(flushed) => {
                self.advance(flushed.written, self.policy.acknowledges_synced());
                self.serve_covered(&flushed)
            }
            Err(failure) => {
                self.fail(&failure);
                NextLeader::Nobody
            }
        }
    }

    /// Publishes how far the log is written, and synced if it was.
    pub(super) fn advance(&self, written: u64, is_synced: bool) {
        self.watermarks.advance(written, is_synced);
        self.watchers.tell_grown();
    }

    pub(super) fn advance_synced(&self, synced: u64) {
        self.watermarks.advance_synced(synced);
    }

    /// Puts the log at an offset, written and synced, wherever it was. Nobody may be waiting for an offset
    /// after it, nor write.
    pub(super) fn set_position(&self, position: u64) {
        self.watermarks.set_position(position);
        self.watchers.tell_grown();
    }

    /// Serves those who are covered now, and names the next leader.
    fn serve_covered(&self, flushed: &Flushed) -> NextLeader {
        let mut inner = self.lock();
        if let Some(digest) = flushed.digest {
            inner.state = (flushed.written, digest);
        }
        let released = inner.queue.release(|offset| self.watermarks.is_durable(offset));
        let next = inner.queue.name_leader();
        if next == NextLeader::Nobody {
            self.is_led.store(false, Ordering::Relaxed);
        }
        drop(inner);
        released.serve(&Ok(()));
        next
    }

    /// The log has failed: refuses writes from now on, and answers those who wait that their outcome is not
    /// known.
    pub(super) fn fail(&self, failure: &Failure) {
        self.fail_with(failure.health());
    }

    fn fail_with(&self, health: Health) {
        let mut inner = self.lock();
        // A write that fails after a failed sync does not hide it: a failed sync asks for more to be healed.
        let is_worse = match inner.health {
            Health::SyncFailed { .. } => matches!(health, Health::Displaced { .. }),
            Health::Displaced { .. } => false,
            _ => true,
        };
        if is_worse {
            log::error!("{health}; taking no writes until that is over");
            inner.health = health;
        }
        self.is_failed.store(true, Ordering::Release);
        self.is_led.store(false, Ordering::Relaxed);
        let refusal = Refusal::Unknown(inner.health.clone());
        let released = inner.queue.release_failed();
        drop(inner);
        released.serve(&Err(refusal));
    }

    /// Says anew what is short, while deletions alone are taken.
    pub(super) fn renew_short(&self, short: Health) {
        let mut inner = self.lock();
        if matches!(inner.health, Health::Short { .. }) {
            inner.health = short;
        }
    }

    /// The log takes writes again; only deletions where that is what the health says.
    pub(super) fn recover(&self, health: Health) {
        match &health {
            Health::Ok => log::info!("the log can be written again; taking writes"),
            health => log::warn!("{health}"),
        }
        let mut inner = self.lock();
        self.is_short.store(health != Health::Ok, Ordering::Relaxed);
        inner.health = health;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::error::Error;
    use std::sync::atomic::{AtomicU64, AtomicUsize};
    use std::sync::mpsc;
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn flushed(written: u64) -> Flushed {
        Flushed {
            written,
            digest: None,
            bytes: 0,
            held_bytes: 0,
        }
    }

    impl Commit {
        fn wait(
            &self,
            offset: u64,
            wait_max: Duration,
            write: impl FnMut() -> Result<Flushed, Failure>,
        ) -> Result<(), Refusal> {
            let wait = Wait {
                since: Instant::now(),
                wait_max,
                rescue: None,
            };
            self.wait_for(offset, wait, write)
        }
    }

    fn no_write() -> Result<Flushed, Failure> {
        panic!("nobody is to write");
    }

    fn write_failure(errno: i32) -> Failure {
        let error = std::io::Error::from_raw_os_error(errno);
        Failure::Write(Error::io("cannot write", "log".as_ref())(error))
    }

    fn sync_failure() -> Failure {
        let error = std::io::Error::from_raw_os_error(5);
        Failure::Sync(Error::io("cannot sync", "log".as_ref())(error))
    }

    /// Threads are in the queue of `commit` that wait or defer.
    fn until_queued(commit: &Commit, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while commit.lock().queue.len() < count {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_alone_writes_itself_and_what_is_durable_is_not_waited_for() {
        let commit = Commit::new(Policy::Always, 10);
        commit.wait(10, PATIENCE, no_write).unwrap();
        let mut writes = 0;
        let write = || {
            writes += 1;
            Ok(flushed(30))
        };
        commit.wait(20, PATIENCE, write).unwrap();
        assert_eq!(writes, 1);
        let at = commit.position();
        assert_eq!((at.written, at.synced), (30, 30));
        assert!(!commit.may_defer(40), "nobody leads");
        assert!(!commit.defer(40, Box::new(|_| panic!("it was not taken"))));
    }

    #[test]
    fn one_write_serves_all_who_came_during_the_one_before() {
        const THREADS: u64 = 8;
        let commit = Commit::new(Policy::Always, 0);
        let (appended, writes, writing) = (AtomicU64::new(1), AtomicUsize::new(0), AtomicUsize::new(0));
        let write = || {
            assert_eq!(writing.fetch_add(1, Ordering::SeqCst), 0, "two threads lead");
            let number = writes.fetch_add(1, Ordering::SeqCst);
            let taken = appended.load(Ordering::SeqCst);
            if number == 0 {
                until_queued(&commit, THREADS as usize);
            }
            writing.fetch_sub(1, Ordering::SeqCst);
            Ok(flushed(taken))
        };
        thread::scope(|scope| {
            let leader = scope.spawn(|| commit.wait(1, PATIENCE, write));
            while writes.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            let others: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let offset = appended.fetch_add(1, Ordering::SeqCst) + 1;
                        commit.wait(offset, PATIENCE, write)
                    })
                })
                .collect();
            leader.join().unwrap().unwrap();
            others
                .into_iter()
                .for_each(|other| other.join().unwrap().unwrap());
        });
        assert_eq!(writes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn deferred_work_is_done_by_the_leader_and_the_rest_by_the_logs_thread() {
        let commit = Commit::new(Policy::Always, 0);
        let (sender, done) = mpsc::channel();
        let defer = |offset| {
            let sender = sender.clone();
            let then = move |result: Result<(), Refusal>| sender.send((offset, result.is_ok())).unwrap();
            assert!(commit.defer(offset, Box::new(then)));
        };
        let write = || {
            defer(10);
            defer(20);
            Ok(flushed(10))
        };
        commit.wait(10, PATIENCE, write).unwrap();
        assert_eq!(done.try_recv(), Ok((10, true)));
        assert!(done.try_recv().is_err());
        assert!(commit.log_thread.wait(Duration::ZERO).to_work);
        commit.lead(|| Ok(flushed(20)));
        assert_eq!(done.try_recv(), Ok((20, true)));
        assert!(!commit.may_defer(30), "nobody leads any more");
    }

    #[test]
    fn a_failure_answers_all_who_wait_and_leaves_nobody_leading() {
        let commit = Commit::new(Policy::Always, 0);
        let (sender, done) = mpsc::channel();
        thread::scope(|scope| {
            let mut other = None;
            let refused = commit.wait(10, PATIENCE, || {
                other = Some(scope.spawn(|| commit.wait(20, PATIENCE, no_write)));
                let sender = sender.clone();
                assert!(commit.defer(30, Box::new(move |result| sender.send(result).unwrap())));
                until_queued(&commit, 2);
                Err(sync_failure())
            });
            let unknown = Err(Refusal::Unknown(commit.health()));
            assert_eq!(refused, unknown);
            assert_eq!(other.unwrap().join().unwrap(), unknown);
            assert_eq!(done.try_recv().unwrap(), unknown);
        });
        assert!(matches!(commit.health(), Health::SyncFailed { .. }));
        assert_eq!(commit.check(), Err(Refusal::Unhealthy(commit.health())));
        commit.lead_if_free(no_write);
        commit.recover(Health::Ok);
        commit.check().unwrap();
        commit.wait(10, PATIENCE, || Ok(flushed(10))).unwrap();
    }

    #[test]
    fn a_failed_sync_is_not_hidden_by_a_failed_write() {
        let commit = Commit::new(Policy::No, 0);
        commit.fail(&write_failure(28));
        assert!(matches!(commit.health(), Health::DiskFull { .. }));
        commit.fail(&sync_failure());
        commit.fail(&write_failure(5));
        assert!(matches!(commit.health(), Health::SyncFailed { .. }));
    }

    #[test]
    fn a_short_log_takes_deletions_alone() {
        let commit = Commit::new(Policy::No, 0);
        commit.fail(&write_failure(28));
        assert!(commit.check_removal().is_err());
        let why = "short".to_owned();
        commit.recover(Health::Short { why });
        assert!(commit.check().is_err());
        commit.check_removal().unwrap();
        commit.wait(10, PATIENCE, || Ok(flushed(10))).unwrap();
    }

    #[test]
    fn a_thread_waits_no_longer_than_it_may_for_a_leader_that_hangs() {
        let commit = Commit::new(Policy::Always, 0);
        let write = || {
            let waited = Duration::from_millis(1);
            assert_eq!(
                commit.wait(20, waited, no_write),
                Err(Refusal::TimedOut { waited })
            );
            Ok(flushed(10))
        };
        commit.wait(10, PATIENCE, write).unwrap();
        assert_eq!(commit.lock().queue.len(), 0);
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let commit = Arc::new(Commit::new(Policy::Always, 0));
        let of_leader = Arc::clone(&commit);
        let leader = thread::spawn(move || {
            let of_other = Arc::clone(&of_leader);
            let mut other = None;
            of_leader.wait(10, PATIENCE, || {
                let of_other = Arc::clone(&of_other);
                other = Some(thread::spawn(move || of_other.wait(20, PATIENCE, no_write)));
                until_queued(&of_leader, 1);
                std::panic::resume_unwind(Box::new(other.take()));
            })
        });
        let lost = leader.join().unwrap_err();
        type Other = Option<thread::JoinHandle<Result<(), Refusal>>>;
        let other = lost.downcast::<Other>().unwrap().unwrap();
        assert_eq!(other.join().unwrap(), Err(Refusal::Unknown(commit.health())));
        assert!(matches!(commit.health(), Health::WriteFailed { .. }));
    }
}
