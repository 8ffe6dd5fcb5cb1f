//! Implicit pipelining: small requests of many threads go to a server together, over one connection.
//!
//! A request that is sent by itself costs this process two calls of the system and a switch of threads, and the server as
//! much. So a thread whose request finds nobody at work *leads*: it sends what waits in one piece, reads the answers in
//! their order and hands them out. The pipeline's own thread leads what comes meanwhile, until nothing waits. The more
//! there is to do, the more is sent at once; a request that is alone is sent as fast as without a pipeline.
//!
//! # What must hold
//! - One thread leads at a time, and it holds one connection of the pool as any request does. It holds no lock while it
//!   sends and reads.
//! - A request is answered by its own answer: those of a connection come in the order of what was sent on it.
//! - A request that a leader took is always answered, whatever becomes of the leader.
//! - Whoever waits for longer than the time limit leaves: it was not sent, or what came of it is not known.
//! - Of a connection that broke, what was answered before is known. Of the rest nothing is: no leader sends it again.
//! - What a leader keeps of long answers is bounded: reads whose answers come behind that are made again, each alone.
//! - A leader takes no longer than the time limit, and at most one read's time more.
//! - Some requests go past the pipeline, each on a connection of its own: long ones, reads while answers are long,
//!   those that wait for replicas, and those that are tried again. All do if the pipeline's thread cannot be started.
//! - The pipeline's thread runs from the first request that finds a leader until [`Pipeline::end`], which joins it.

mod exchange;

use super::pending::{Answer, Missed, Outcome, Pending, SendOn};
use super::pool::{Dial, Server};
use super::upsert::Upsert;
use crate::resolver::Resolver;
use redis::{RedisResult, Value};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Longest request or answer that shares the connection, in bytes.
pub(super) const BYTES_MAX: usize = 8 * 1024;

/// How many reads go past the pipeline after a long answer: those behind it would wait, and long ones are seldom alone.
const PAST_AFTER_LONG: usize = 1024;

/// Most requests that are sent in one piece.
const BATCH_MAX: usize = 256;

/// A server, and the requests that wait to be sent to it.
pub(super) struct Pipeline {
    server: Server,
    resolver: Resolver,
    inner: Mutex<Inner>,
    /// The pipeline's thread has something to lead, or must end.
    called: Condvar,
    /// The pipeline's thread, once it was needed; none where it could not be started.
    thread: OnceLock<Option<Mutex<Option<JoinHandle<()>>>>>,
    /// Whether it takes keys of several slots in one call, as far as is known.
    sets_together: AtomicBool,
    /// How many reads go past the pipeline still.
    reads_past: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    /// Those that wait, in the order that they came. They wait for the leader: without one the queue is empty.
    queue: VecDeque<Waiting>,
    is_led: bool,
    /// Whether the leader is the pipeline's thread, and has not begun.
    is_called: bool,
    is_ending: bool,
}

/// What is sent.
pub(super) enum Item {
    /// A command, packed, which has one answer.
    Command(Vec<u8>),
    /// One that changes nothing, and may be sent once more.
    Read(Vec<u8>),
    /// A value that may be set in one call with others, of whatever slots.
    Upsert(Upsert<Vec<u8>>),
}

struct Waiting {
    item: Item,
    pending: Arc<Pending>,
}

/// A request that is under way, whose answer is sent on as soon as it comes.
pub(super) struct Relayed {
    pipeline: Arc<Pipeline>,
    pending: Arc<Pending>,
    deadline: Instant,
}

/// Those whose requests a leader has taken. The leader's end, however it comes, is the end of their waiting.
struct Taken<'l> {
    pipeline: &'l Pipeline,
    /// Those that have no answer yet.
    waiting: VecDeque<Waiting>,
    has_resigned: bool,
}

impl Pipeline {
    pub(super) fn new(address: &str, dial: &Dial, resolver: Resolver) -> RedisResult<Pipeline> {
        Ok(Pipeline {
            server: Server::new(address, dial)?,
            resolver,
            inner: Mutex::new(Inner::default()),
            called: Condvar::new(),
            thread: OnceLock::new(),
            sets_together: AtomicBool::new(true),
            reads_past: AtomicUsize::new(0),
        })
    }

    /// The server, for what goes past the pipeline.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Whether a read may share a connection: answers were short of late.
    pub(super) fn takes_reads(&self) -> bool {
        let left = self
            .reads_past
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.is_err()
    }

    /// Notes how long the answer to a read was.
    pub(super) fn note_read(&self, answer: &Value) {
        if bytes_of(answer) > BYTES_MAX {
            self.reads_past.store(PAST_AFTER_LONG, Ordering::Relaxed);
        }
    }

    /// Whether a read that may share a connection need not count as one that goes past.
    pub(super) fn has_short_answers(&self) -> bool {
        self.reads_past.load(Ordering::Relaxed) == 0
    }

    /// Sends a request together with those of other threads, and gives its answer, which may be an error of the server.
    /// None where it must go past the pipeline.
    pub(super) fn ask(self: &Arc<Pipeline>, item: Item) -> Option<Answer> {
        let deadline = Instant::now() + self.server.timeout();
        let pending = Arc::new(Pending::new(None));
        {
            let mut inner = self.lock();
            if inner.is_led && !self.has_thread() {
                return None;
            }
            inner.queue.push_back(Waiting {
                item,
                pending: Arc::clone(&pending),
            });
            if !std::mem::replace(&mut inner.is_led, true) {
                drop(inner);
                return Some(self.lead());
            }
        }
        match self.wait(&pending, deadline) {
            Outcome::Answer(answer) => Some(answer),
            Outcome::SentOn => unreachable!("the answer has nothing that sends it on"),
        }
    }

    /// Whether requests are being sent now, so that one more may go out behind them.
    pub(super) fn is_led(self: &Arc<Pipeline>) -> bool {
        self.lock().is_led && self.has_thread()
    }

    /// As [`Pipeline::ask`], by the pipeline's thread: the answer is sent on as soon as it comes, if it is what was expected.
    pub(super) fn relay(self: &Arc<Pipeline>, item: Item, send_on: SendOn) -> Option<Relayed> {
        if !self.has_thread() {
            return None;
        }
        let deadline = Instant::now() + self.server.timeout();
        let pending = Arc::new(Pending::new(Some(send_on)));
        let mut inner = self.lock();
        inner.queue.push_back(Waiting {
            item,
            pending: Arc::clone(&pending),
        });
        if !std::mem::replace(&mut inner.is_led, true) {
            self.call(inner);
        }
        Some(Relayed {
            pipeline: Arc::clone(self),
            pending,
            deadline,
        })
    }

    /// Waits until it is known what has become of a request.
    fn wait(&self, pending: &Arc<Pending>, deadline: Instant) -> Outcome {
        loop {
            if let Some(outcome) = pending.wait(deadline) {
                return outcome;
            }
            if let Some(missed) = self.leave(pending) {
                return Outcome::Answer(Err(missed));
            }
        }
    }

    /// Takes a request out of the queue, or lets go of its answer; none where that has come by now.
    fn leave(&self, pending: &Arc<Pending>) -> Option<Missed> {
        let mut inner = self.lock();
        if !pending.leave() {
            return None;
        }
        let place = inner
            .queue
            .iter()
            .position(|one| Arc::ptr_eq(&one.pending, pending));
        Some(match place {
            Some(place) => {
                inner.queue.remove(place);
                Missed::NotSent("too much is sent to the server already".to_owned())
            }
            // A leader has it.
            None => Missed::Broken("it did not answer in time".to_owned()),
        })
    }

    /// Sends what waits. The first of it is this thread's.
    fn lead(self: &Arc<Pipeline>) -> Answer {
        // Threads that are ready to run may have something for this piece.
        thread::yield_now();
        let mut taken = self.take();
        let answers = self.exchange(&taken.waiting);
        // The next leader sends while this one still hands out.
        taken.resign();
        let mut own = None;
        for answer in answers {
            let Some(waiting) = taken.waiting.pop_front() else {
                break;
            };
            match own {
                None => own = Some(answer),
                Some(_) => waiting.pending.give(answer),
            }
        }
        own.unwrap_or_else(|| Err(Missed::NotSent("nothing waited".to_owned())))
    }

    /// What the pipeline's thread does: it leads whenever it is called.
    fn run(self: &Arc<Pipeline>) {
        while self.await_call() {
            // A bug costs those who wait their answer, and no others.
            let _ = catch_unwind(AssertUnwindSafe(|| self.lead_others()));
        }
    }

    fn lead_others(self: &Arc<Pipeline>) {
        let mut taken = self.take();
        for answer in self.exchange(&taken.waiting) {
            let Some(waiting) = taken.waiting.pop_front() else {
                break;
            };
            waiting.pending.give(answer);
        }
    }

    /// Waits until this thread is called; `false` where it must end.
    fn await_call(&self) -> bool {
        let mut inner = self.lock();
        loop {
            if std::mem::take(&mut inner.is_called) {
                return true;
            }
            if inner.is_ending {
                return false;
            }
            inner = self.called.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the pipeline's thread the leader.
    fn call(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.is_called = true;
        drop(inner);
        self.called.notify_one();
    }

    /// Whether the pipeline has its thread, which is started where it has not.
    fn has_thread(self: &Arc<Pipeline>) -> bool {
        let start = || {
            let pipeline = Arc::clone(self);
            let thread = thread::Builder::new().name("pipeline".to_owned());
            match thread.spawn(move || pipeline.run()) {
                Ok(thread) => Some(Mutex::new(Some(thread))),
                Err(error) => {
                    log::warn!(
                        "requests to {} go one by one: cannot start a thread: {error}",
                        self.server.address()
                    );
                    None
                }
            }
        };
        self.thread.get_or_init(start).is_some()
    }

    /// Ends the pipeline's thread, once it has led whatever waits.
    pub(super) fn end(&self) {
        self.lock().is_ending = true;
        self.called.notify_one();
        if let Some(Some(thread)) = self.thread.get() {
            let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread
                && thread.join().is_err()
            {
                log::error!("the pipeline's thread of {} has panicked", self.server.address());
            }
        }
    }

    fn take(self: &Arc<Pipeline>) -> Taken<'_> {
        let mut inner = self.lock();
        let end = inner.queue.len().min(BATCH_MAX);
        Taken {
            pipeline: self,
            waiting: inner.queue.drain(..end).collect(),
            has_resigned: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes an answer has of what is long in it.
fn bytes_of(answer: &Value) -> usize {
    match answer {
        Value::BulkString(bytes) => bytes.len(),
        Value::Array(each) => each.iter().map(bytes_of).sum(),
        _ => 0,
    }
}

impl Relayed {
    /// Waits until it is known what has become of the request.
    pub(super) fn wait(&self) -> Outcome {
        self.pipeline.wait(&self.pending, self.deadline)
    }

    /// When its time is over.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its time is over.
    pub(super) fn is_overdue(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

impl Taken<'_> {
    /// Leaves what waits by now to the pipeline's thread.
    fn resign(&mut self) {
        self.has_resigned = true;
        let mut inner = self.pipeline.lock();
        match inner.queue.is_empty() {
            true => inner.is_led = false,
            false => self.pipeline.call(inner),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for one in self.waiting.drain(..) {
            let why = "the thread that sent it has ended".to_owned();
            one.pending.give(Err(Missed::Broken(why)));
        }
        if !self.has_resigned {
            self.resign();
        }
    }
}

#[cfg(test)]
mod tests;
