//! Who waits for the log: threads that sleep, and work that is deferred until its record is durable.
//!
//! The queue knows no offset that the log has reached: its owner ([`super::commit`]) says what is covered, and
//! holds its lock around every call.

use super::health::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

/// Work that is deferred until its record is durable, or the log has failed.
pub(crate) type OnDurable = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// What a thread that waits learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verdict {
    /// Nothing yet.
    Wait,
    /// Its record is durable.
    Covered,
    /// It leads from now on.
    Lead,
    /// The log has failed.
    Failed,
}

/// A thread that waits for an offset.
pub(super) struct Waiter {
    offset: u64,
    may_lead: bool,
    verdict: AtomicU8,
    thread: Thread,
}

impl Waiter {
    /// Of this thread.
    fn new(offset: u64, may_lead: bool) -> Waiter {
        Waiter {
            offset,
            may_lead,
            verdict: AtomicU8::new(Verdict::Wait as u8),
            thread: thread::current(),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let verdicts = [Verdict::Covered, Verdict::Lead, Verdict::Failed];
        let verdict = self.verdict.load(Ordering::Acquire);
        let is_it = |known: &Verdict| *known as u8 == verdict;
        verdicts.into_iter().find(is_it).unwrap_or(Verdict::Wait)
    }

    /// Sleeps until there is a verdict; `false` where there is none at the deadline.
    pub(super) fn park_until(&self, deadline: Instant) -> bool {
        while self.verdict() == Verdict::Wait {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
        true
    }

    fn set(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Release);
    }
}

/// The threads that wait, and what is deferred.
#[derive(Default)]
pub(super) struct CommitQueue {
    waiters: Vec<Arc<Waiter>>,
    deferred: Vec<(u64, OnDurable)>,
}

/// Taken out of the queue, to be served once its lock is released: a thread that is unparked under it would only
/// wake to wait for the lock.
#[must_use]
pub(super) struct Released {
    waiters: Vec<Arc<Waiter>>,
    deferred: Vec<OnDurable>,
}

/// Who leads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextLeader {
    /// Nobody waits.
    Nobody,
    /// A thread that waits; it knows already.
    Waiter,
    /// Somebody waits, or work is deferred, and no thread waits that may lead.
    LogThread,
}

impl CommitQueue {
    /// Enters this thread. It is named to lead only where it may.
    pub(super) fn enter(&mut self, offset: u64, may_lead: bool) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::new(offset, may_lead));
        self.waiters.push(Arc::clone(&waiter));
        waiter
    }

    /// Takes a thread out that waits no longer. Returns its verdict, which is final: verdicts are given to
    /// threads in the queue only.
    pub(super) fn leave(&mut self, waiter: &Arc<Waiter>) -> Verdict {
        self.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        waiter.verdict()
    }

    pub(super) fn defer(&mut self, offset: u64, then: OnDurable) {
        self.deferred.push((offset, then));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiters.len() + self.deferred.len()
    }

    /// Takes out who waits for an offset that is covered.
    pub(super) fn release(&mut self, is_covered: impl Fn(u64) -> bool) -> Released {
        let covered = self.waiters.extract_if(.., |waiter| is_covered(waiter.offset));
        let waiters: Vec<_> = covered.collect();
        waiters.iter().for_each(|waiter| waiter.set(Verdict::Covered));
        let done = self.deferred.extract_if(.., |(offset, _)| is_covered(*offset));
        Released {
            waiters,
            deferred: done.map(|(_, then)| then).collect(),
        }
    }

    /// Takes everybody out, because the log has failed.
    pub(super) fn release_failed(&mut self) -> Released {
        let waiters = std::mem::take(&mut self.waiters);
        waiters.iter().for_each(|waiter| waiter.set(Verdict::Failed));
        let deferred = std::mem::take(&mut self.deferred);
        Released {
            waiters,
            deferred: deferred.into_iter().map(|(_, then)| then).collect(),
        }
    }

    /// Names the next leader among those who are still in the queue, and wakes it.
    pub(super) fn name_leader(&mut self) -> NextLeader {
        match self.waiters.iter().rposition(|waiter| waiter.may_lead) {
            Some(at) => {
                let next = self.waiters.swap_remove(at);
                next.set(Verdict::Lead);
                next.thread.unpark();
                NextLeader::Waiter
            }
            None if self.waiters.is_empty() && self.deferred.is_empty() => NextLeader::Nobody,
            None => NextLeader::LogThread,
        }
    }
}

impl Released {
    /// Wakes the threads, then does what was deferred.
    pub(super) fn serve(self, result: &Result<(), Refusal>) {
        self.waiters.iter().for_each(|waiter| waiter.thread.unpark());
        self.deferred.into_iter().for_each(|then| then(result.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    #[test]
    fn a_queue_serves_what_is_covered_and_names_one_leader() {
        let mut queue = CommitQueue::default();
        let done = Arc::new(Mutex::new(Vec::new()));
        let [first, second, third] = [10, 20, 30].map(|offset| queue.enter(offset, true));
        for offset in [10, 20, 30] {
            let done = Arc::clone(&done);
            queue.defer(
                offset,
                Box::new(move |result| done.lock().unwrap().push((offset, result.is_ok()))),
            );
        }
        queue.release(|offset| offset <= 10).serve(&Ok(()));
        assert_eq!(first.verdict(), Verdict::Covered);
        assert_eq!(*done.lock().unwrap(), [(10, true)]);

        assert_eq!(queue.name_leader(), NextLeader::Waiter);
        let verdicts = [second.verdict(), third.verdict()];
        assert_eq!(verdicts, [Verdict::Wait, Verdict::Lead]);

        let released = queue.release_failed();
        released.serve(&Err(Refusal::Full));
        assert_eq!(second.verdict(), Verdict::Failed);
        assert_eq!(third.verdict(), Verdict::Lead, "it has left the queue");
        assert_eq!(*done.lock().unwrap(), [(10, true), (20, false), (30, false)]);
        assert_eq!(queue.name_leader(), NextLeader::Nobody);
    }

    #[test]
    fn work_that_is_deferred_calls_the_logs_thread_where_no_thread_waits() {
        let mut queue = CommitQueue::default();
        queue.defer(10, Box::new(|_| {}));
        assert_eq!(queue.name_leader(), NextLeader::LogThread);
        queue.release(|_| true).serve(&Ok(()));
        assert_eq!(queue.name_leader(), NextLeader::Nobody);
    }

    #[test]
    fn a_thread_that_gives_up_is_named_no_leader() {
        let mut queue = CommitQueue::default();
        let waiter = queue.enter(10, true);
        assert!(!waiter.park_until(Instant::now()));
        assert_eq!(queue.leave(&waiter), Verdict::Wait);
        assert_eq!(queue.name_leader(), NextLeader::Nobody);

        // It was named between its deadline and its leaving: then it leads.
        let waiter = queue.enter(10, true);
        assert_eq!(queue.name_leader(), NextLeader::Waiter);
        assert!(waiter.park_until(Instant::now() + Duration::from_secs(20)));
        assert_eq!(queue.leave(&waiter), Verdict::Lead);
    }
}
