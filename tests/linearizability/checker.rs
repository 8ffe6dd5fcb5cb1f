//! Whether a history is linearizable: whether there is an order of its operations that explains every answer, and
//! in which no operation comes before another whose answer was there before the first was sent.
//!
//! The search is that of Wing and Gong with the memory of Lowe: all moments at which an operation was sent, or its
//! answer came, stand in a list. Whatever was sent before the first answer of the list could be the next operation
//! of the order. The search takes one whose answer fits the state, takes its two moments out of the list, and goes
//! on from its start. Where it meets an answer, that operation should have been taken before: it puts back what it
//! took last, and tries what comes after that. A set of taken operations that led nowhere from a state is remembered
//! with the state, and not tried again in another order.
//!
//! An operation of unknown outcome has no answer in the list, so it may be taken anywhere after it was sent, and may
//! be left. The history is linearizable once no answer is left.
//!
//! The search takes time exponential in the number of operations that overlap, and unknown ones overlap with all
//! that comes after them: so much the more should a test have few of those on one key.

use super::history::{Call, History};
use super::register::State;
use std::collections::HashSet;
use std::fmt;

/// The list's end, and its start.
const NONE: usize = usize::MAX;

/// A moment in the list: an operation was sent, or its answer came.
#[derive(Clone, Copy)]
struct Entry {
    call: usize,
    is_answer: bool,
    before: usize,
    after: usize,
}

/// All moments, in the order in which they came, as a list that an operation can be taken out of and put back into.
struct Moments {
    entries: Vec<Entry>,
    /// Where each operation's answer stands; [`NONE`] where it has none.
    answers: Vec<usize>,
    first: usize,
    answers_left: usize,
}

/// The history cannot be explained.
#[derive(Debug)]
pub struct Violation {
    /// The longest order that explains a part of it.
    explained: Vec<Call>,
    /// The operation whose answer then cannot be explained.
    unexplained: Call,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 30;
        let skipped = self.explained.len().saturating_sub(SHOWN);
        writeln!(f, "{skipped} operations are explained, then in this order:")?;
        for call in &self.explained[skipped..] {
            writeln!(f, "  {call}")?;
        }
        write!(f, "and then nothing explains\n  {}", self.unexplained)
    }
}

/// Looks for an order that explains a history that begins with nothing in the register.
pub fn check(history: &History) -> Result<(), Box<Violation>> {
    let calls = &history.calls;
    let mut moments = Moments::new(calls);
    let mut taken = Taken::new(calls.len());
    let mut state: State = None;
    // What was taken, in order: the entry, and the state before it.
    let mut order: Vec<(usize, State)> = Vec::new();
    let mut tried: HashSet<(Taken, State)> = HashSet::new();
    let mut longest: Option<Box<Violation>> = None;
    let mut at = moments.first;
    while moments.answers_left > 0 {
        let entry = moments.entries[at];
        let call = &calls[entry.call];
        if entry.is_answer {
            if longest
                .as_ref()
                .is_none_or(|longest| longest.explained.len() < order.len())
            {
                let explained = order.iter().map(|(at, _)| calls[moments.entries[*at].call]);
                longest = Some(Box::new(Violation {
                    explained: explained.collect(),
                    unexplained: *call,
                }));
            }
            let Some((last, before)) = order.pop() else {
                return Err(longest.expect("it has just been set, if not before"));
            };
            taken.remove(moments.entries[last].call);
            moments.put_back(last);
            state = before;
            at = moments.entries[last].after;
            continue;
        }
        if let Some(next) = call.operation.apply(state) {
            taken.insert(entry.call);
            if tried.insert((taken.clone(), next)) {
                order.push((at, state));
                state = next;
                moments.take(at);
                at = moments.first;
                continue;
            }
            taken.remove(entry.call);
        }
        at = entry.after;
    }
    Ok(())
}

impl Moments {
    fn new(calls: &[Call]) -> Moments {
        let mut all: Vec<_> = calls
            .iter()
            .enumerate()
            .flat_map(|(call, it)| {
                let answer = it.came.map(|came| (came, true, call));
                [Some((it.sent, false, call)), answer].into_iter().flatten()
            })
            .collect();
        // At one moment questions come before answers: the operations may overlap.
        all.sort_unstable();
        let mut answers = vec![NONE; calls.len()];
        let last = all.len().wrapping_sub(1);
        let entries = all.iter().enumerate().map(|(at, (_, is_answer, call))| {
            if *is_answer {
                answers[*call] = at;
            }
            Entry {
                call: *call,
                is_answer: *is_answer,
                before: if at == 0 { NONE } else { at - 1 },
                after: if at == last { NONE } else { at + 1 },
            }
        });
        Moments {
            entries: entries.collect(),
            first: if all.is_empty() { NONE } else { 0 },
            answers_left: answers.iter().filter(|answer| **answer != NONE).count(),
            answers,
        }
    }

    /// Takes an operation out, by the entry at which it was sent.
    fn take(&mut self, sent: usize) {
        self.unlink(sent);
        let answer = self.answers[self.entries[sent].call];
        if answer != NONE {
            self.unlink(answer);
            self.answers_left -= 1;
        }
    }

    /// Puts back the operation that was taken last.
    fn put_back(&mut self, sent: usize) {
        let answer = self.answers[self.entries[sent].call];
        if answer != NONE {
            self.link(answer);
            self.answers_left += 1;
        }
        self.link(sent);
    }

    fn unlink(&mut self, at: usize) {
        let Entry { before, after, .. } = self.entries[at];
        match before {
            NONE => self.first = after,
            _ => self.entries[before].after = after,
        }
        if after != NONE {
            self.entries[after].before = before;
        }
    }

    /// Undoes the last [`unlink`](Moments::unlink) that is not undone: the entry still knows its neighbours.
    fn link(&mut self, at: usize) {
        let Entry { before, after, .. } = self.entries[at];
        match before {
            NONE => self.first = at,
            _ => self.entries[before].after = at,
        }
        if after != NONE {
            self.entries[after].before = at;
        }
    }
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken(Box<[u64]>);

impl Taken {
    fn new(calls: usize) -> Taken {
        Taken(vec![0; calls.div_ceil(64)].into())
    }

    fn insert(&mut self, call: usize) {
        self.0[call / 64] |= 1 << (call % 64);
    }

    fn remove(&mut self, call: usize) {
        self.0[call / 64] &= !(1 << (call % 64));
    }
}
