//! The memory that requests and answers in flight may take, over all connections.
//!
//! A connection takes a [`Charge`] before it makes or keeps something large. Where the budget has no room it
//! either refuses the request at once ([`Charge::raise_to`]) or stands in a queue ([`Charge::wait_for`]).
//!
//! Requests and answers take from the same budget, each with a quarter that the other cannot have. So clients
//! that are slow to take their answers do not keep out bodies, and slow uploads do not keep out answers.
//!
//! # What must hold
//! - All charges together never exceed the budget, and all of them come back.
//! - Answers never take the last quarter. One larger than the other three counts as three quarters.
//! - Requests leave a quarter as well, except for a body that is larger than three: it is alone then.
//! - While answers queue, a new request takes only of the requests' own quarter.
//! - Who waits holds nothing. So whoever holds something can go on, and nobody waits in a circle.
//! - The queue is first come, first served. Who holds something may take more past the queue: it gives all
//!   of it back the sooner.
//! - Who needs more than the whole budget gets all of it once nobody else holds any. So one item that is
//!   larger than the budget passes alone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Connections that may wait for room at once. Those beyond are refused.
const WAITING_MAX: usize = 1024;

/// How often those who wait look whether they still have to.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a charge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request, and what is made of it.
    Request,
    /// An answer, until its client has taken it.
    Answer,
}

/// Bytes that all connections together may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    request_bytes: usize,
    answer_bytes: usize,
    /// In the order of their tickets.
    queue: VecDeque<Waiting>,
    next_ticket: u64,
}

impl State {
    fn used_bytes(&self) -> usize {
        self.request_bytes + self.answer_bytes
    }

    fn of(&mut self, usage: Use) -> &mut usize {
        match usage {
            Use::Request => &mut self.request_bytes,
            Use::Answer => &mut self.answer_bytes,
        }
    }
}

/// A thread that waits for room for an answer.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    bytes: usize,
    thread: Thread,
}

/// What one connection has taken of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    budget: &'a Budget,
    usage: Use,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Budget {
        Budget {
            bytes_max,
            state: Mutex::default(),
        }
    }

    /// What all connections may hold together.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What they hold at this moment.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lock().used_bytes()
    }

    /// What one use leaves to the other.
    fn quarter_bytes(&self) -> usize {
        self.bytes_max / 4
    }

    /// The most that one charge takes, however much it is for.
    fn charge_bytes_max(&self, usage: Use) -> usize {
        match usage {
            Use::Request => self.bytes_max,
            Use::Answer => self.bytes_max - self.quarter_bytes(),
        }
    }

    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            budget: self,
            usage: Use::Answer,
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under the budget's lock panics")
    }

    /// Gives room to those who wait, in their order, as far as there is some.
    fn grant(&self, state: &mut State) {
        while let Some(first) = state.queue.front()
            && state.used_bytes() + first.bytes <= self.bytes_max
            && state.answer_bytes + first.bytes <= self.charge_bytes_max(Use::Answer)
        {
            state.answer_bytes += first.bytes;
            first.thread.unpark();
            state.queue.pop_front();
        }
    }
}

impl Charge<'_> {
    /// Takes enough to hold `bytes` in all, or as much as one charge may. `false`, and nothing taken, where
    /// others have it. What is held already is for the same use from then on.
    pub(crate) fn raise_to(&mut self, usage: Use, bytes: usize) -> bool {
        bytes <= self.bytes || self.take(usage, bytes)
    }

    /// Counts what is held as an answer's, where answers have room for it: its request is done with, and its
    /// client may be slow.
    pub(crate) fn turn_to_answer(&mut self) {
        if self.bytes > 0 && self.usage == Use::Request {
            self.take(Use::Answer, self.bytes);
        }
    }

    /// What the charge is for; of an empty one, what the last was for.
    pub(crate) fn usage(&self) -> Use {
        self.usage
    }

    fn take(&mut self, usage: Use, bytes: usize) -> bool {
        let budget = self.budget;
        let bytes = bytes.min(budget.charge_bytes_max(usage)).max(self.bytes);
        if bytes == self.bytes && usage == self.usage {
            return true;
        }
        let mut state = budget.lock();
        let others_bytes = state.used_bytes() - self.bytes;
        let own_bytes = if self.usage == usage { self.bytes } else { 0 };
        let alike_bytes = *state.of(usage) - own_bytes;
        let leaves_a_quarter = alike_bytes + bytes <= budget.charge_bytes_max(Use::Answer);
        let is_alone = usage == Use::Request && alike_bytes == 0;
        let is_its_turn = self.bytes > 0
            || state.queue.is_empty()
            || (usage == Use::Request && alike_bytes + bytes <= budget.quarter_bytes());
        let fits = others_bytes + bytes <= budget.bytes_max && (leaves_a_quarter || is_alone) && is_its_turn;
        if fits {
            *state.of(self.usage) -= self.bytes;
            *state.of(usage) += bytes;
            if self.usage != usage {
                budget.grant(&mut state);
            }
            (self.usage, self.bytes) = (usage, bytes);
        }
        fits
    }

    /// As [`Charge::raise_to`] for an answer, but waits for its turn where there is no room. What is held is given
    /// back first. `false`, and nothing held, where the queue is full, at the deadline, or where `go_on` says so,
    /// which is asked twice a second.
    pub(crate) fn wait_for(&mut self, bytes: usize, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        if self.raise_to(Use::Answer, bytes) {
            return true;
        }
        self.release();
        self.usage = Use::Answer;
        let budget = self.budget;
        let bytes = bytes.min(budget.charge_bytes_max(Use::Answer));
        let mut state = budget.lock();
        if state.queue.len() >= WAITING_MAX {
            return false;
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(Waiting {
            ticket,
            bytes,
            thread: thread::current(),
        });
        // What was given back just now may be enough already.
        budget.grant(&mut state);
        drop(state);
        loop {
            let goes_on = go_on();
            let left = deadline.saturating_duration_since(Instant::now());
            let mut state = budget.lock();
            let Ok(at) = state
                .queue
                .binary_search_by_key(&ticket, |waiting| waiting.ticket)
            else {
                self.bytes = bytes;
                return true;
            };
            if left.is_zero() || !goes_on {
                state.queue.remove(at);
                // It may have stood before others that need less.
                budget.grant(&mut state);
                return false;
            }
            drop(state);
            thread::park_timeout(left.min(LOOK_EVERY));
        }
    }

    /// Gives back what is over `bytes`.
    pub(crate) fn lower_to(&mut self, bytes: usize) {
        if self.bytes > bytes {
            let mut state = self.budget.lock();
            *state.of(self.usage) -= self.bytes - bytes;
            self.bytes = bytes;
            self.budget.grant(&mut state);
        }
    }

    /// Gives all back.
    pub(crate) fn release(&mut self) {
        self.lower_to(0);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_budget_is_never_overdrawn_and_comes_back_whole() {
        let budget = Budget::new(100);
        let mut one = budget.charge();
        let mut other = budget.charge();
        assert!(one.raise_to(Use::Answer, 60));
        assert!(!other.raise_to(Use::Request, 41));
        assert!(other.raise_to(Use::Request, 40));
        assert!(!one.raise_to(Use::Answer, 61));
        assert!(
            one.raise_to(Use::Answer, 10),
            "what is held already needs no more"
        );
        drop(other);
        assert!(one.raise_to(Use::Answer, 75));
        one.release();
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn answers_leave_a_quarter_to_requests_and_requests_one_to_answers() {
        let budget = Budget::new(100);
        for (first, second) in [(Use::Answer, Use::Request), (Use::Request, Use::Answer)] {
            let (mut one, mut two, mut other) = (budget.charge(), budget.charge(), budget.charge());
            assert!(one.raise_to(first, 50));
            assert!(!two.raise_to(first, 26));
            assert!(two.raise_to(first, 25));
            assert!(!other.raise_to(second, 26));
            assert!(other.raise_to(second, 25));
        }
    }

    #[test]
    fn one_that_is_larger_than_its_share_passes_alone() {
        let budget = Budget::new(100);
        let (mut small, mut large, mut body) = (budget.charge(), budget.charge(), budget.charge());
        assert!(small.raise_to(Use::Answer, 1));
        assert!(!large.raise_to(Use::Answer, 1000));
        assert!(!body.raise_to(Use::Request, 100));
        small.release();
        assert!(large.raise_to(Use::Answer, 1000));
        assert!(!small.raise_to(Use::Answer, 1));
        assert!(body.raise_to(Use::Request, 25), "a body of a quarter comes in");
        assert!(!body.raise_to(Use::Request, 26));
        large.release();
        assert!(body.raise_to(Use::Request, 100));
        assert!(!small.raise_to(Use::Request, 1));
    }

    #[test]
    fn what_was_a_requests_is_an_answers_once_that_is_sent() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.charge(), budget.charge());
        assert!(one.raise_to(Use::Request, 70) && !two.raise_to(Use::Request, 10));
        one.turn_to_answer();
        assert!(two.raise_to(Use::Request, 30));
        two.turn_to_answer();
        assert_eq!(two.usage(), Use::Request, "answers have no room for it");
        assert_eq!(budget.lock().request_bytes, 30);
        assert_eq!(budget.used_bytes(), 100);
        drop((one, two));
        assert_eq!(budget.used_bytes(), 0);
    }

    /// Waits until so many stand in the queue.
    fn await_queue(budget: &Budget, length: usize) {
        let begun = Instant::now();
        while budget.lock().queue.len() != length {
            assert!(begun.elapsed() < PATIENCE, "the queue has not {length} in it");
            thread::yield_now();
        }
    }

    #[test]
    fn those_who_wait_are_served_in_their_order() {
        let budget = Budget::new(100);
        let mut holder = budget.charge();
        assert!(holder.raise_to(Use::Request, 100));
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for (number, bytes) in [75, 20, 70].into_iter().enumerate() {
                let (budget, served) = (&budget, served.clone());
                scope.spawn(move || {
                    let mut charge = budget.charge();
                    assert!(charge.wait_for(bytes, Instant::now() + PATIENCE, || true));
                    served.send(number).unwrap();
                });
                await_queue(budget, number + 1);
            }
            holder.lower_to(50);
            assert!(
                !budget.charge().raise_to(Use::Answer, 20),
                "there is room, but others were first"
            );
            assert!(!budget.charge().raise_to(Use::Request, 20));
            assert!(
                holder.raise_to(Use::Request, 60),
                "who holds something may take more"
            );
            holder.release();
        });
        drop(served);
        let order: Vec<usize> = order.iter().collect();
        assert_eq!(order[0], 0, "{order:?}");
        assert_eq!((order.len(), budget.used_bytes()), (3, 0));
    }

    #[test]
    fn who_gives_up_leaves_the_queue_and_lets_the_next_one_in() {
        let budget = Budget::new(100);
        let mut holder = budget.charge();
        assert!(holder.raise_to(Use::Request, 50));
        let late = Instant::now();
        assert!(!budget.charge().wait_for(60, late, || true));
        assert!(!budget.charge().wait_for(60, late + PATIENCE, || false));
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                let mut charge = budget.charge();
                charge.wait_for(60, Instant::now() + PATIENCE, || budget.lock().queue.len() < 2)
            });
            await_queue(&budget, 1);
            let second = scope.spawn(|| budget.charge().wait_for(40, Instant::now() + PATIENCE, || true));
            assert!(!first.join().unwrap());
            assert!(second.join().unwrap());
        });
        holder.release();
        assert_eq!(budget.used_bytes(), 0);
    }
}
