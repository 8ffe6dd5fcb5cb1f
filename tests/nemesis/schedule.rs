//! What is done to a cluster in a round, and when: drawn from the seed before the round begins.
//!
//! A round has one to three faults that overlap. Each fault comes with what ends it, so a schedule is a list of
//! steps, each at its moment. A step that has become impossible through another fault's is left out when its
//! moment comes (a node that is down cannot be killed).

use super::ledger::SUCCESSOR;
use crate::common::Random;
use std::fmt;
use std::time::Duration;

/// A fault begins within this time, in ms.
const BEGIN_MS_MAX: u64 = 2500;

/// Something that is done to nodes, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// As a process ends that crashes.
    Kill(usize),
    /// In order.
    Terminate(usize),
    /// As it was started first.
    Start(usize),
    Suspend(usize),
    Continue(usize),
    /// Connections between the two break, and come about no more.
    Cut(usize, usize),
    /// The second hears nothing of the first any more.
    Silence(usize, usize),
    /// Each piece takes so many ms.
    Slow(usize, usize, u64),
    /// The two reach each other again.
    Heal(usize, usize),
    /// By `pykv promote --force`.
    Promote(usize),
    /// By `pykv promote`: the primary hands over. So many ms after that began, a node is killed.
    HandOver {
        to: usize,
        victim: usize,
        after_ms: u64,
    },
    /// The node's directory is copied, while it is down.
    Copy(usize),
    /// The copy that was taken last is put in place of the directory, while the node is down.
    PutBack(usize),
}

/// An operation and its moment, since the round began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub operation: Operation,
}

/// How things are before a round.
#[derive(Clone, Debug)]
pub struct Situation {
    pub primary: usize,
    /// Of which nodes there is a copy.
    pub has_copy: Vec<bool>,
}

/// A name for a node as it stands in the documentation of the run.
pub fn name(node: usize) -> char {
    (b'A' + node as u8) as char
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Operation as O;
        match *self {
            O::Kill(node) => write!(f, "kill -9 {}", name(node)),
            O::Terminate(node) => write!(f, "stop {} in order", name(node)),
            O::Start(node) => write!(f, "start {}", name(node)),
            O::Suspend(node) => write!(f, "suspend {}", name(node)),
            O::Continue(node) => write!(f, "continue {}", name(node)),
            O::Cut(one, other) => write!(f, "cut {} from {}", name(one), name(other)),
            O::Silence(from, to) => write!(f, "make {} deaf to {}", name(to), name(from)),
            O::Slow(one, other, ms) => write!(f, "slow {} to {} by {ms} ms", name(one), name(other)),
            O::Heal(one, other) => write!(f, "heal {} to {}", name(one), name(other)),
            O::Promote(node) => write!(f, "promote {}", name(node)),
            O::HandOver { to, victim, after_ms } => {
                let (to, victim) = (name(to), name(victim));
                write!(f, "hand over to {to}, kill -9 {victim} after {after_ms} ms")
            }
            O::Copy(node) => write!(f, "copy the directory of {}", name(node)),
            O::PutBack(node) => write!(f, "put the copy of {} back", name(node)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5.2} s  {}", self.at.as_secs_f64(), self.operation)
    }
}

/// The steps of a round, in order.
pub fn draw(random: &mut Random, situation: &Situation) -> Vec<Step> {
    let mut plan = Plan {
        random,
        situation,
        steps: Vec::new(),
    };
    let faults = 1 + plan.random.below(3);
    for _ in 0..faults {
        plan.fault();
    }
    let mut steps = plan.steps;
    // Stable: what belongs together and has one moment keeps its order.
    steps.sort_by_key(|step| step.at);
    steps
}

/// The numbers below `count` in an order that looks random.
pub fn shuffled(random: &mut Random, count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        numbers.swap(at, random.below(at as u64 + 1) as usize);
    }
    numbers
}

struct Plan<'a> {
    random: &'a mut Random,
    situation: &'a Situation,
    steps: Vec<Step>,
}

impl Plan<'_> {
    fn nodes(&self) -> usize {
        self.situation.has_copy.len()
    }

    fn add(&mut self, at_ms: u64, operation: Operation) {
        let at = Duration::from_millis(at_ms);
        self.steps.push(Step { at, operation });
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.random.below(to - from)
    }

    /// Some node: the primary as often as not, for it is the one that matters.
    fn some(&mut self) -> usize {
        match self.random.below(4) {
            0 | 1 => self.situation.primary,
            2 => SUCCESSOR,
            _ => self.random.below(self.nodes() as u64) as usize,
        }
    }

    fn other_than(&mut self, node: usize) -> usize {
        let step = 1 + self.random.below(self.nodes() as u64 - 1) as usize;
        (node + step) % self.nodes()
    }

    fn fault(&mut self) {
        let at = self.random.below(BEGIN_MS_MAX);
        let node = self.some();
        match self.random.below(18) {
            0..=2 => self.crash(at, node),
            3 | 4 => {
                self.add(at, Operation::Suspend(node));
                let suspended_ms = self.between(500, 6000);
                self.add(at + suspended_ms, Operation::Continue(node));
            }
            5..=7 => self.partition(at, node),
            8 => {
                let slowness_ms = self.between(5, 60);
                let until = at + self.between(500, 4000);
                for other in (0..self.nodes()).filter(|other| *other != node) {
                    self.add(at, Operation::Slow(node, other, slowness_ms));
                    self.add(until, Operation::Heal(node, other));
                }
            }
            9 => self.power_cycle(at),
            10 | 11 => {
                let node = self.other_than(self.situation.primary);
                self.add(at, Operation::Promote(node));
            }
            12..=14 => self.hand_over(at),
            _ => self.put_back(at),
        }
    }

    /// Hands the role over to another node, and kills one of the two or none while that goes on.
    fn hand_over(&mut self, at: u64) {
        let to = self.other_than(self.situation.primary);
        let victim = match self.random.below(3) {
            0 => self.situation.primary,
            _ => to,
        };
        let after_ms = self.random.below(60);
        self.add(at, Operation::HandOver { to, victim, after_ms });
        let down_ms = self.between(100, 3000);
        self.add(at + down_ms, Operation::Start(victim));
    }

    /// Ends a process, and starts it again after a while. What it leaves may be copied meanwhile.
    fn crash(&mut self, at: u64, node: usize) {
        self.end(at, node);
        if self.random.below(2) == 0 {
            self.add(at, Operation::Copy(node));
        }
        let down_ms = self.between(50, 3000);
        self.add(at + down_ms, Operation::Start(node));
    }

    /// Ends a process, in either way.
    fn end(&mut self, at: u64, node: usize) {
        let operation = match self.random.below(3) {
            0 => Operation::Terminate(node),
            _ => Operation::Kill(node),
        };
        self.add(at, operation);
    }

    /// Cuts a node from one other or from all, loudly or silently, both ways or one.
    fn partition(&mut self, at: u64, node: usize) {
        let until = at + self.between(500, 5000);
        let one = self.other_than(node);
        let is_from_all = self.random.below(2) == 0;
        let kind = self.random.below(4);
        for other in (0..self.nodes()).filter(|other| *other != node && (is_from_all || *other == one)) {
            match kind {
                0 => self.add(at, Operation::Cut(node, other)),
                1 => self.add(at, Operation::Silence(node, other)),
                2 => self.add(at, Operation::Silence(other, node)),
                _ => {
                    self.add(at, Operation::Silence(node, other));
                    self.add(at, Operation::Silence(other, node));
                }
            }
            self.add(until, Operation::Heal(node, other));
        }
    }

    /// All end, in some order, and all are started, in some other one.
    fn power_cycle(&mut self, at: u64) {
        let mut at = at;
        for node in shuffled(self.random, self.nodes()) {
            self.end(at, node);
            at += self.random.below(300);
        }
        for node in shuffled(self.random, self.nodes()) {
            at += self.random.below(700);
            self.add(at, Operation::Start(node));
        }
    }

    /// Puts the directory of a node back as it was; where there is no copy yet, a node crashes.
    fn put_back(&mut self, at: u64) {
        let with_copy: Vec<usize> = (0..self.nodes())
            .filter(|node| self.situation.has_copy[*node])
            .collect();
        if with_copy.is_empty() {
            let node = self.some();
            return self.crash(at, node);
        }
        let node = with_copy[self.random.below(with_copy.len() as u64) as usize];
        self.end(at, node);
        self.add(at, Operation::PutBack(node));
        let down_ms = self.random.below(1500);
        self.add(at + down_ms, Operation::Start(node));
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule() {
        let situation = Situation {
            primary: 0,
            has_copy: vec![true, false, true],
        };
        let draw = |seed| draw(&mut Random::new(seed), &situation);
        assert_eq!(draw(7), draw(7));
        assert!((0..20).any(|seed| draw(seed) != draw(7)));
        let is_ordered = |steps: &[Step]| steps.is_sorted_by_key(|step| step.at);
        assert!((0..100).all(|seed| is_ordered(&draw(seed))));
    }

    #[test]
    fn every_operation_comes_up() {
        let situation = Situation {
            primary: 2,
            has_copy: vec![true, false, true, false],
        };
        let all: String = (0..300)
            .flat_map(|seed| draw(&mut Random::new(seed), &situation))
            .map(|step| step.operation.to_string())
            .collect();
        for part in [
            "kill",
            "order",
            "start",
            "suspend",
            "continue",
            "cut",
            "deaf",
            "slow",
            "heal",
            "promote A",
            "promote B",
            "hand over to A, kill -9 A",
            "hand over to B, kill -9 C",
            "copy the",
            "back",
        ] {
            assert!(all.contains(part), "{part}");
        }
    }

    #[test]
    fn shuffled_are_all_of_them() {
        let mut numbers = shuffled(&mut Random::new(3), 10);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..10));
    }
}
