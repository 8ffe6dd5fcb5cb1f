//! The memory that requests and answers in flight may take, over all connections.
//!
//! A connection takes a [`Charge`] before it makes or keeps something large. Where the budget has no room it
//! refuses the request at once ([`Charge::raise_to`]) or stands in a queue ([`Charge::wait_for`]); one body at a time
//! may wait ([`Charge::wait_alone`]).
//!
//! The budget is divided among requests and answers, and of each among small and large ones ([`super::parts`]). So
//! clients that are slow to take their answers do not keep out bodies, slow uploads do not keep out answers, and
//! neither keeps out what is small, such as the metrics or a page of keys.
//!
//! # What must hold
//! - All charges together never exceed the budget, and all of them come back.
//! - Who waits holds nothing, except for the one body that waits. So whoever holds something can continue, and nobody
//!   waits in a circle.
//! - Each queue is first come, first served; small answers have one of their own, and large ones come after the body
//!   that waits. Who holds something may take more past the queue: it gives all of it back the sooner.
//! - A body waits for answers alone, and never for another body.
//! - An answer that holds much and can do without, or does not move, gives it back while [`Budget::is_wanted`].
//! - Who needs more than its kind may ever have counts as that much. So one item that is larger passes alone.

use super::parts::{Held, Kind, Parts, UsedBytes};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

pub(crate) use super::parts::Use;

/// Connections that may wait for room at once. Those beyond are refused.
const WAITING_MAX: usize = 1024;

/// How often those who wait look whether they still have to, and those who may have to give back whether others wait.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bytes that all connections together may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    parts: Parts,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What each kind holds.
    used_bytes: UsedBytes,
    /// Answers that wait, in the order of their tickets.
    small_queue: VecDeque<Waiting>,
    large_queue: VecDeque<Waiting>,
    /// The body that waits, and what its connection holds already.
    alone: Option<Waiting>,
    alone_held: Held,
    next_ticket: u64,
}

impl State {
    fn is_wanted(&self) -> bool {
        self.alone.is_some() || !self.small_queue.is_empty() || !self.large_queue.is_empty()
    }

    fn queue(&mut self, kind: Kind) -> &mut VecDeque<Waiting> {
        match kind.is_large() {
            true => &mut self.large_queue,
            false => &mut self.small_queue,
        }
    }

    /// Counts one thing held in place of another.
    fn change(&mut self, from: Held, to: Held) {
        self.used_bytes[from.kind as usize] -= from.bytes;
        self.used_bytes[to.kind as usize] += to.bytes;
    }

    fn take_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

/// A thread that waits for room.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    /// What it holds once there is room.
    wanted: Held,
    thread: Thread,
}

/// What one connection has taken of a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    budget: &'a Budget,
    usage: Use,
    held: Held,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Budget {
        Budget {
            parts: Parts { bytes_max },
            state: Mutex::default(),
        }
    }

    /// What all connections may hold together.
    pub(crate) fn bytes_max(&self) -> usize {
        self.parts.bytes_max
    }

    /// What they hold at this moment.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lock().used_bytes.iter().sum()
    }

    /// Whether somebody waits for room.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().is_wanted()
    }

    /// The most that an answer can hold and be charged for all of it.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        self.parts.charge_bytes_max(Use::Answer)
    }

    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            budget: self,
            usage: Use::Answer,
            held: Held::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under the budget's lock panics")
    }

    /// Gives room to those who wait, in their order, as far as there is some.
    fn grant(&self, state: &mut State) {
        if let Some(first) = &state.alone
            && self.parts.fit(state.used_bytes, state.alone_held, first.wanted)
            && let Some(first) = state.alone.take()
        {
            state.change(state.alone_held, first.wanted);
            first.thread.unpark();
        }
        for kind in [Kind::SmallAnswer, Kind::LargeAnswer] {
            while let Some(wanted) = state.queue(kind).front().map(|first| first.wanted)
                && self.parts.fit(state.used_bytes, Held::default(), wanted)
                && !(kind.is_large() && state.alone.is_some())
                && let Some(first) = state.queue(kind).pop_front()
            {
                state.change(Held::default(), wanted);
                first.thread.unpark();
            }
        }
    }
}

impl Charge<'_> {
    /// Takes enough to hold `bytes` in all, or as much as one charge may. `false`, and nothing taken, where
    /// others have it. What is held already is for the same use from then on.
    pub(crate) fn raise_to(&mut self, usage: Use, bytes: usize) -> bool {
        bytes <= self.held.bytes || self.take(usage, bytes)
    }

    /// Counts what is held as an answer's, where answers have room for it: its request is done with, and its
    /// client may be slow.
    pub(crate) fn turn_to_answer(&mut self) {
        if self.held.bytes > 0 && self.usage == Use::Request {
            self.take(Use::Answer, self.held.bytes);
        }
    }

    /// What the charge is for; of an empty one, what the last was for.
    pub(crate) fn usage(&self) -> Use {
        self.usage
    }

    /// Whether others wait for what is held: for all that is large, and for small ones where they have more than their
    /// own part.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let (state, parts) = (self.budget.lock(), self.budget.parts);
        let kind = self.held.kind;
        match kind.is_large() {
            true => state.is_wanted(),
            false => state.is_wanted() && state.used_bytes[kind as usize] > parts.own_bytes(kind),
        }
    }

    pub(crate) fn budget(&self) -> &Budget {
        self.budget
    }

    /// What is to be held for `bytes` in all.
    fn wanted(&self, usage: Use, bytes: usize) -> Held {
        let budget = self.budget;
        let bytes = bytes
            .min(budget.parts.charge_bytes_max(usage))
            .max(self.held.bytes);
        Held {
            kind: budget.parts.kind(usage, bytes),
            bytes,
        }
    }

    fn take(&mut self, usage: Use, bytes: usize) -> bool {
        let budget = self.budget;
        let wanted = self.wanted(usage, bytes);
        if wanted.bytes == self.held.bytes && usage == self.usage {
            return true;
        }
        let mut state = budget.lock();
        let is_its_turn = self.held.bytes > 0
            || match wanted.kind {
                Kind::SmallRequest => true,
                Kind::SmallAnswer => state.small_queue.is_empty(),
                Kind::LargeAnswer => state.large_queue.is_empty() && state.alone.is_none(),
                // While answers queue, a new body takes only of the part of its kind.
                Kind::LargeRequest => {
                    state.large_queue.is_empty()
                        || state.used_bytes[wanted.kind as usize] + wanted.bytes
                            <= budget.parts.own_bytes(wanted.kind)
                }
            };
        let fits = is_its_turn && budget.parts.fit(state.used_bytes, self.held, wanted);
        if fits {
            state.change(self.held, wanted);
            if self.held.kind != wanted.kind {
                budget.grant(&mut state);
            }
            (self.usage, self.held) = (usage, wanted);
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
        let wanted = self.wanted(Use::Answer, bytes);
        let mut state = budget.lock();
        if state.queue(wanted.kind).len() >= WAITING_MAX {
            return false;
        }
        let ticket = state.take_ticket();
        state.queue(wanted.kind).push_back(Waiting {
            ticket,
            wanted,
            thread: thread::current(),
        });
        // What was given back just now may be enough already.
        budget.grant(&mut state);
        drop(state);
        let is_granted = self.wait(deadline, go_on, |state| {
            let queue = state.queue(wanted.kind);
            let at = queue.binary_search_by_key(&ticket, |waiting| waiting.ticket);
            at.ok().map(|at| {
                move |state: &mut State| {
                    state.queue(wanted.kind).remove(at);
                }
            })
        });
        if is_granted {
            self.held = wanted;
        }
        is_granted
    }

    /// As [`Charge::raise_to`] for a request, but waits for answers to go where they have the room, and no other
    /// body waits. What is held stays held. `false`, and nothing more held, at the deadline, or where `go_on` says so.
    pub(crate) fn wait_alone(&mut self, bytes: usize, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        if self.raise_to(Use::Request, bytes) {
            return true;
        }
        let budget = self.budget;
        let wanted = self.wanted(Use::Request, bytes);
        let mut state = budget.lock();
        if state.alone.is_some() || !budget.parts.may_fit(state.used_bytes, self.held, wanted) {
            return false;
        }
        let ticket = state.take_ticket();
        state.alone_held = self.held;
        state.alone = Some(Waiting {
            ticket,
            wanted,
            thread: thread::current(),
        });
        budget.grant(&mut state);
        drop(state);
        let is_granted = self.wait(deadline, go_on, |state| {
            let is_waiting = matches!(&state.alone, Some(waiting) if waiting.ticket == ticket);
            is_waiting.then_some(|state: &mut State| state.alone = None)
        });
        if is_granted {
            (self.usage, self.held) = (Use::Request, wanted);
        }
        is_granted
    }

    /// Waits until it is granted what it waits for. `leave` gives how it leaves, while it is not; after that it was
    /// not granted anything.
    fn wait<L: FnOnce(&mut State)>(
        &self,
        deadline: Instant,
        go_on: impl Fn() -> bool,
        leave: impl Fn(&mut State) -> Option<L>,
    ) -> bool {
        loop {
            let goes_on = go_on();
            let left = deadline.saturating_duration_since(Instant::now());
            let mut state = self.budget.lock();
            let Some(leave) = leave(&mut state) else {
                return true;
            };
            if left.is_zero() || !goes_on {
                leave(&mut state);
                // It may have stood before others that need less.
                self.budget.grant(&mut state);
                return false;
            }
            drop(state);
            thread::park_timeout(left.min(LOOK_EVERY));
        }
    }

    /// Gives back what is over `bytes`.
    pub(crate) fn lower_to(&mut self, bytes: usize) {
        if self.held.bytes > bytes {
            let mut state = self.budget.lock();
            let kind = self.budget.parts.kind(self.usage, bytes);
            let left = Held { kind, bytes };
            state.change(self.held, left);
            self.held = left;
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
        let budget = Budget::new(160);
        let (mut one, mut other) = (budget.charge(), budget.charge());
        assert!(one.raise_to(Use::Answer, 70));
        assert!(!other.raise_to(Use::Request, 71), "20 are for small ones");
        assert!(other.raise_to(Use::Request, 70));
        assert!(!one.raise_to(Use::Answer, 71));
        assert!(
            one.raise_to(Use::Answer, 10),
            "what is held already needs no more"
        );
        drop(other);
        assert!(one.raise_to(Use::Answer, 100));
        one.release();
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn answers_leave_a_quarter_to_requests_and_requests_one_to_answers() {
        let budget = Budget::new(160);
        for (first, second) in [(Use::Answer, Use::Request), (Use::Request, Use::Answer)] {
            let (mut one, mut two, mut other) = (budget.charge(), budget.charge(), budget.charge());
            assert!(one.raise_to(first, 60));
            assert!(!two.raise_to(first, 41));
            assert!(two.raise_to(first, 40));
            assert!(!other.raise_to(second, 41));
            assert!(other.raise_to(second, 40));
        }
    }

    #[test]
    fn what_is_small_comes_in_beside_all_that_is_large() {
        let budget = Budget::new(160);
        let (mut body, mut answer) = (budget.charge(), budget.charge());
        assert!(body.raise_to(Use::Request, 100) && answer.raise_to(Use::Answer, 40));
        for usage in [Use::Request, Use::Answer] {
            let (mut one, mut two) = (budget.charge(), budget.charge());
            assert!(one.raise_to(usage, 8));
            assert!(!two.raise_to(usage, 8), "the part of small ones is used");
            assert!(two.raise_to(usage, 2));
        }
        drop(answer);
        assert!(
            body.raise_to(Use::Request, 1000),
            "the only body takes all but 20"
        );
        assert_eq!(budget.used_bytes(), 140);
        let (mut one, mut two) = (budget.charge(), budget.charge());
        assert!(one.raise_to(Use::Request, 10) && two.raise_to(Use::Answer, 10));
    }

    #[test]
    fn one_that_is_larger_than_its_share_passes_alone() {
        let budget = Budget::new(160);
        let (mut some, mut large, mut body) = (budget.charge(), budget.charge(), budget.charge());
        assert!(some.raise_to(Use::Answer, 11));
        assert!(!large.raise_to(Use::Answer, 1000));
        assert!(!body.raise_to(Use::Request, 140));
        some.release();
        assert!(large.raise_to(Use::Answer, 1000));
        assert!(!some.raise_to(Use::Answer, 11));
        assert!(body.raise_to(Use::Request, 40), "a body of a quarter comes in");
        assert!(!body.raise_to(Use::Request, 41));
        large.release();
        assert!(body.raise_to(Use::Request, 140));
        assert!(!some.raise_to(Use::Request, 11));
    }

    #[test]
    fn what_was_a_requests_is_an_answers_once_that_is_sent() {
        let budget = Budget::new(160);
        let (mut one, mut two) = (budget.charge(), budget.charge());
        assert!(one.raise_to(Use::Request, 90) && !two.raise_to(Use::Request, 11));
        one.turn_to_answer();
        assert!(two.raise_to(Use::Request, 50));
        two.turn_to_answer();
        assert_eq!(two.usage(), Use::Request, "answers have no room for it");
        assert_eq!(budget.lock().used_bytes[Kind::LargeRequest as usize], 50);
        assert_eq!(budget.used_bytes(), 140);
        drop((one, two));
        assert_eq!(budget.used_bytes(), 0);
    }

    /// A body that is larger than a quarter waits for answers, which are not let in before it; not for other bodies.
    #[test]
    fn one_body_waits_for_answers_to_go() {
        let budget = Budget::new(160);
        let (mut answer, mut body) = (budget.charge(), budget.charge());
        assert!(answer.raise_to(Use::Answer, 90) && body.raise_to(Use::Request, 30));
        let far = || Instant::now() + PATIENCE;
        assert!(
            !budget.charge().wait_alone(120, far(), || true),
            "another body has the room"
        );
        assert!(!budget.is_wanted());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                assert!(body.wait_alone(100, far(), || true));
                body
            });
            let begun = Instant::now();
            while !budget.is_wanted() {
                assert!(begun.elapsed() < PATIENCE);
                thread::yield_now();
            }
            assert!(
                !budget.charge().wait_alone(50, far(), || true),
                "one waits at a time"
            );
            answer.lower_to(50);
            assert!(!budget.charge().raise_to(Use::Answer, 11), "the body comes first");
            assert!(budget.charge().raise_to(Use::Answer, 10));
            answer.lower_to(40);
            assert_eq!(waiting.join().unwrap().held.bytes, 100);
        });
        assert!(!budget.is_wanted());
        answer.release();
        assert_eq!(budget.used_bytes(), 0);
    }

    /// Waits until so many stand in the queue.
    fn await_queue(budget: &Budget, length: usize) {
        let begun = Instant::now();
        while budget.lock().large_queue.len() != length {
            assert!(begun.elapsed() < PATIENCE, "the queue has not {length} in it");
            thread::yield_now();
        }
    }

    #[test]
    fn those_who_wait_are_served_in_their_order() {
        let budget = Budget::new(160);
        let mut holder = budget.charge();
        assert!(holder.raise_to(Use::Request, 140));
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for (number, bytes) in [100, 30, 90].into_iter().enumerate() {
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
                !budget.charge().raise_to(Use::Answer, 30),
                "there is room, but others were first"
            );
            assert!(
                budget.charge().raise_to(Use::Answer, 10),
                "a small one is not held up"
            );
            assert!(!budget.charge().raise_to(Use::Request, 30));
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
        let budget = Budget::new(160);
        let mut holder = budget.charge();
        assert!(holder.raise_to(Use::Request, 80));
        let late = Instant::now();
        assert!(!budget.charge().wait_for(80, late, || true));
        assert!(!budget.charge().wait_for(80, late + PATIENCE, || false));
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                let mut charge = budget.charge();
                charge.wait_for(80, Instant::now() + PATIENCE, || {
                    budget.lock().large_queue.len() < 2
                })
            });
            await_queue(&budget, 1);
            let second = scope.spawn(|| budget.charge().wait_for(60, Instant::now() + PATIENCE, || true));
            assert!(!first.join().unwrap());
            assert!(second.join().unwrap());
        });
        holder.release();
        assert_eq!(budget.used_bytes(), 0);
    }
}
