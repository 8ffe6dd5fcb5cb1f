//! The memory that requests and answers in flight may take, over all connections.
//!
//! A connection takes a [`Charge`] before it makes or keeps something large. Where the budget has no room it
//! either refuses the request at once ([`Charge::raise_to`]) or stands in a queue ([`Charge::wait_for`]).
//!
//! # What must hold
//! - All charges together never exceed the budget, and all of them come back.
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

/// Bytes that all connections together may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: usize,
    /// In the order of their tickets.
    queue: VecDeque<Waiting>,
    next_ticket: u64,
}

/// A thread that waits for room.
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
        self.lock().used_bytes
    }

    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            budget: self,
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under the budget's lock panics")
    }

    /// Gives room to those who wait, in their order, as far as there is some.
    fn grant(&self, state: &mut State) {
        while let Some(first) = state.queue.front()
            && state.used_bytes + first.bytes <= self.bytes_max
        {
            state.used_bytes += first.bytes;
            first.thread.unpark();
            state.queue.pop_front();
        }
    }
}

impl Charge<'_> {
    /// Takes enough to hold `bytes` in all, or everything there is where that is less. `false`, and nothing
    /// taken, where others have it.
    pub(crate) fn raise_to(&mut self, bytes: usize) -> bool {
        let bytes = bytes.min(self.budget.bytes_max);
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        let mut state = self.budget.lock();
        let is_its_turn = self.bytes > 0 || state.queue.is_empty();
        let fits = is_its_turn && state.used_bytes + more <= self.budget.bytes_max;
        if fits {
            state.used_bytes += more;
            self.bytes = bytes;
        }
        fits
    }

    /// As [`Charge::raise_to`], but waits for its turn where there is no room. What is held is given back
    /// first. `false`, and nothing held, where the queue is full, at the deadline, or where `go_on` says so,
    /// which is asked twice a second.
    pub(crate) fn wait_for(&mut self, bytes: usize, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        if self.raise_to(bytes) {
            return true;
        }
        self.release();
        let budget = self.budget;
        let bytes = bytes.min(budget.bytes_max);
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
            state.used_bytes -= self.bytes - bytes;
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
        assert!(one.raise_to(60));
        assert!(!other.raise_to(41));
        assert!(other.raise_to(40));
        assert!(!one.raise_to(61));
        assert!(one.raise_to(10), "what is held already needs no more");
        drop(other);
        assert!(one.raise_to(100));
        one.release();
        assert_eq!(budget.lock().used_bytes, 0);
    }

    #[test]
    fn what_is_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(100);
        let mut small = budget.charge();
        let mut large = budget.charge();
        assert!(small.raise_to(1));
        assert!(!large.raise_to(1000));
        small.release();
        assert!(large.raise_to(1000));
        assert!(!small.raise_to(1));
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
        assert!(holder.raise_to(100));
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for (number, bytes) in [90, 20, 80].into_iter().enumerate() {
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
                !budget.charge().raise_to(20),
                "there is room, but others were first"
            );
            assert!(holder.raise_to(60), "who holds something may take more");
            holder.release();
        });
        drop(served);
        let order: Vec<usize> = order.iter().collect();
        assert_eq!(order[0], 0, "{order:?}");
        assert_eq!((order.len(), budget.lock().used_bytes), (3, 0));
    }

    #[test]
    fn who_gives_up_leaves_the_queue_and_lets_the_next_one_in() {
        let budget = Budget::new(100);
        let mut holder = budget.charge();
        assert!(holder.raise_to(50));
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
        assert_eq!(budget.lock().used_bytes, 0);
    }
}
