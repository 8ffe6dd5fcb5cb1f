//! A server with a lane: small requests of many threads are sent to it together, over one connection.
//!
//! A request that is sent by itself costs this process two calls of the system and a switch of threads, and the server as
//! much. So a thread whose request finds nobody at work *leads*: it sends what waits in one piece, reads the answers in
//! their order and hands them out. What comes meanwhile waits for the next leader, which is the first that waits. The more
//! there is to do, the more is sent at once; a request that is alone is sent as fast as without a lane.
//!
//! # What must hold
//! - One thread leads at a time, and it holds one connection of the pool as any request does. No lock is held while it
//!   sends and reads.
//! - A request is answered by its own answer: those of a connection come in the order of what was sent on it.
//! - A request that a leader took is always answered, whatever becomes of the leader.
//! - Whoever waits for longer than the time limit leaves: it was not sent, or what came of it is not known.
//! - Of a connection that broke, what was answered before is known. Of the rest nothing is: no leader sends it again.
//! - A leader takes no longer than the time limit, and at most one read's time more. It may have waited before.
//! - Who is slow goes past the lane: what is long, reads while answers are, what waits for replicas, and what is tried
//!   again.

use super::error::words;
use super::pool::{Dial, Link, Server};
use super::upsert::{self, Upsert};
use crate::resolver::Resolver;
use redis::{RedisResult, ServerErrorKind, Value};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// What is longer than this goes past the lane, in bytes.
pub(super) const BYTES_MAX: usize = 16 * 1024;

/// How many reads go past the lane after a long answer: those behind it would wait, and long ones are seldom alone.
const PAST_AFTER_LONG: usize = 64;

/// Most requests that are sent in one piece.
const BATCH_MAX: usize = 256;

/// Most values that one call of the script sets: it holds up all other requests of the server.
const TOGETHER_MAX: usize = 64;

/// A server, and those who wait to send something to it.
pub(super) struct Lane {
    server: Server,
    inner: Mutex<Inner>,
    /// Whether it takes keys of several slots in one call, as far as is known.
    sets_together: AtomicBool,
    /// How many reads go past the lane still.
    reads_past: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    /// Those that wait, in the order that they came. While one of them was made the leader, that is the first.
    queue: VecDeque<Waiting>,
    is_led: bool,
}

/// What is sent.
pub(super) enum Item {
    /// A command, packed, which has one answer.
    Command(Vec<u8>),
    /// A value that may be set in one call with others, of whatever slots.
    Upsert(Upsert<Vec<u8>>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, in part or in whole, and not answered.
    Broken(String),
}

type Answer = Result<Value, Missed>;

struct Waiting {
    item: Item,
    seat: Arc<Seat>,
}

/// Where a thread waits for its answer.
#[derive(Default)]
struct Seat {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Waits,
    Leads,
    Has(Answer),
}

/// Those whose requests a leader has taken. The leader's end, however it comes, is the end of their waiting.
struct Taken<'l> {
    lane: &'l Lane,
    /// Those that have no answer yet. The first is the leader's own.
    waiting: VecDeque<Waiting>,
    has_resigned: bool,
}

/// Whose answer comes next.
enum Next {
    Of(usize),
    OfAll(Vec<usize>),
}

impl Lane {
    pub(super) fn new(address: &str, dial: &Dial) -> RedisResult<Lane> {
        Ok(Lane {
            server: Server::new(address, dial)?,
            inner: Mutex::new(Inner::default()),
            sets_together: AtomicBool::new(true),
            reads_past: AtomicUsize::new(0),
        })
    }

    /// The server, for what goes past the lane.
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

    /// Sends a request together with those of other threads, and gives its answer, which may be an error of the server.
    pub(super) fn ask(&self, item: Item, resolver: &Resolver) -> Answer {
        let deadline = Instant::now() + self.server.timeout();
        let seat = Arc::new(Seat::default());
        let leads = {
            let mut inner = self.lock();
            inner.queue.push_back(Waiting {
                item,
                seat: Arc::clone(&seat),
            });
            !std::mem::replace(&mut inner.is_led, true)
        };
        match leads {
            true => self.lead(resolver),
            false => self.wait(&seat, deadline).unwrap_or_else(|| self.lead(resolver)),
        }
    }

    /// Waits until there is an answer; none where this thread leads from now on.
    fn wait(&self, seat: &Arc<Seat>, deadline: Instant) -> Option<Answer> {
        let mut state = seat.lock();
        loop {
            match std::mem::take(&mut *state) {
                State::Leads => return None,
                State::Has(answer) => return Some(answer),
                State::Waits => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The queue is locked before a seat.
                drop(state);
                if let Some(missed) = self.leave(seat) {
                    return Some(Err(missed));
                }
                state = seat.lock();
                continue;
            }
            let waited = seat.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes a request out of the queue, or lets go of the answer; none where it has one by now, or leads.
    fn leave(&self, seat: &Arc<Seat>) -> Option<Missed> {
        let mut inner = self.lock();
        if !matches!(*seat.lock(), State::Waits) {
            return None;
        }
        let place = inner.queue.iter().position(|one| Arc::ptr_eq(&one.seat, seat));
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
    fn lead(&self, resolver: &Resolver) -> Answer {
        // Threads that are ready to run may have something for this piece.
        thread::yield_now();
        let mut taken = {
            let mut inner = self.lock();
            let end = inner.queue.len().min(BATCH_MAX);
            Taken {
                lane: self,
                waiting: inner.queue.drain(..end).collect(),
                has_resigned: false,
            }
        };
        let answers = self.exchange(&taken.waiting, resolver);
        // The next leader sends while this one still hands out.
        taken.resign();
        let mut own = None;
        for answer in answers {
            let Some(waiting) = taken.waiting.pop_front() else {
                break;
            };
            match own {
                None => own = Some(answer),
                Some(_) => waiting.seat.give(answer),
            }
        }
        own.unwrap_or_else(|| Err(Missed::NotSent("nothing waited".to_owned())))
    }

    /// Sends requests, and gives as many answers.
    fn exchange(&self, waiting: &VecDeque<Waiting>, resolver: &Resolver) -> Vec<Answer> {
        let limit = self.server.timeout();
        let mut link = match self.server.link(Instant::now() + limit, resolver) {
            Ok(link) => link,
            Err(why) => {
                return waiting
                    .iter()
                    .map(|_| Err(Missed::NotSent(why.clone())))
                    .collect();
            }
        };
        let (packed, order) = self.pack(waiting);
        let mut answers: Vec<Option<Answer>> = waiting.iter().map(|_| None).collect();
        let why = match self.receive_all(&mut link, &packed, &order, &mut answers) {
            Ok(()) => {
                link.give_back();
                String::new()
            }
            Err(error) => {
                self.server.purge();
                words(&error)
            }
        };
        let unanswered = || Err(Missed::Broken(why.clone()));
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect()
    }

    /// Requests in one piece, and whose answers come in which order.
    fn pack(&self, waiting: &VecDeque<Waiting>) -> (Vec<u8>, Vec<Next>) {
        let mut packed = Vec::new();
        let mut order = Vec::with_capacity(waiting.len());
        let mut upserts = Vec::new();
        for (place, one) in waiting.iter().enumerate() {
            match &one.item {
                Item::Command(command) => {
                    packed.extend_from_slice(command);
                    order.push(Next::Of(place));
                }
                Item::Upsert(upsert) => upserts.push((place, upsert)),
            }
        }
        let most = match self.sets_together.load(Ordering::Relaxed) {
            true => TOGETHER_MAX,
            false => 1,
        };
        for some in upserts.chunks(most) {
            let (places, some): (Vec<usize>, Vec<&Upsert<Vec<u8>>>) = some.iter().copied().unzip();
            packed.extend_from_slice(&upsert::together(&some));
            order.push(match places[..] {
                [place] => Next::Of(place),
                _ => Next::OfAll(places),
            });
        }
        (packed, order)
    }

    fn receive_all(
        &self,
        link: &mut Link<'_>,
        packed: &[u8],
        order: &[Next],
        answers: &mut [Option<Answer>],
    ) -> RedisResult<()> {
        let limit = self.server.timeout();
        let begun = Instant::now();
        let mut give = |place: usize, answer| {
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        };
        link.send(packed, limit)?;
        for next in order {
            // Each read has its own limit, and there may be many.
            if begun.elapsed() > limit {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            match (next, link.receive()?) {
                (Next::Of(place), answer) => give(*place, Ok(answer)),
                (Next::OfAll(places), Value::Array(each)) => {
                    places
                        .iter()
                        .zip(each)
                        .for_each(|(place, answer)| give(*place, Ok(answer)));
                }
                // It says of itself that it is no cluster, and takes keys of one slot alone.
                (Next::OfAll(places), Value::ServerError(error))
                    if error.kind() == Some(ServerErrorKind::CrossSlot) =>
                {
                    self.sets_together.store(false, Ordering::Relaxed);
                    let refused = || Err(Missed::NotSent("its keys are in several slots".to_owned()));
                    places.iter().for_each(|place| give(*place, refused()));
                }
                (Next::OfAll(places), of_all) => {
                    places.iter().for_each(|place| give(*place, Ok(of_all.clone())));
                }
            }
        }
        Ok(())
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

impl Taken<'_> {
    /// Makes the first who waits the next leader.
    fn resign(&mut self) {
        self.has_resigned = true;
        let next = {
            let mut inner = self.lane.lock();
            let next = inner.queue.front().map(|one| Arc::clone(&one.seat));
            match &next {
                Some(next) => *next.lock() = State::Leads,
                None => inner.is_led = false,
            }
            next
        };
        if let Some(next) = next {
            next.changed.notify_one();
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.has_resigned {
            self.resign();
        }
        for one in self.waiting.drain(..) {
            let why = "the thread that sent it has ended".to_owned();
            one.seat.give(Err(Missed::Broken(why)));
        }
    }
}

impl Seat {
    fn give(&self, answer: Answer) {
        *self.lock() = State::Has(answer);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
