//! The rules of replication on terms and offsets, run through every order of events of a small cluster.
//!
//! A breadth-first search over all states that can be reached: three nodes, a few writes, promotions and crashes,
//! links that pass or lose what is said, questions and answers that are on their way for as long as anything else
//! takes. It is our own, and not stateright, since what it searches fits a page, and the two rules that matter are
//! the program's: [`acknowledged`] and the comparison of histories ([`term_before`], [`fork`]).
//!
//! # What is assumed
//! - A log survives a crash (`--fsync always`, or a process that was killed and no host). What a node is and whether
//!   it has met a successor do too: they are written down before they count.
//! - A connection keeps its order, and a node whose role changes breaks its own. So there is one question of a
//!   follower on its way, or one answer, and none of before a change. A hello is one step, or is lost.
//! - A record takes one offset, and a term begins where no term before can have reached: in the program 4 GiB and
//!   more further on.
//!
//! # What is held against every state
//! 1. In one term one node gives offsets, so no two acknowledge a write in it, and no offset is given twice.
//! 2. What was acknowledged with a replica is in the log of the primary of the highest term.
//! 3. Two logs with the same term before an offset are the same up to there.
//! 4. What was acknowledged by anybody is in some node's log, or was set aside.
//!
//! The search proves worth something by what it finds where a rule is taken away: each of those is a test too.

#![allow(clippy::unwrap_used)]

use pykv::log::{Branch, Term, fork, term_before};
use pykv::node::acknowledged;
use std::collections::{BTreeMap, HashSet, VecDeque};

const NODES: usize = 3;
/// The node that takes over by itself.
const SUCCESSOR: usize = 1;
/// Offsets of a term: more than a run can write.
const TERM_OFFSETS: u64 = 100;

/// What happens, how often, and which rules hold.
#[derive(Clone, Copy)]
struct Run {
    writes: u8,
    crashes: u8,
    promotions: u8,
    /// By hand, of any replica.
    is_promoted_by_hand: bool,
    /// A successor must be among those who acknowledge.
    has_successor_rule: bool,
    /// Terms of one number differ in a mark.
    has_marks: bool,
    /// What diverged is kept.
    keeps_aside: bool,
}

const RULES: Run = Run {
    writes: 2,
    crashes: 1,
    promotions: 1,
    is_promoted_by_hand: false,
    has_successor_rule: true,
    has_marks: true,
    keeps_aside: true,
};

/// A record: where it ends, the term it was made in, and which write it is; none for the beginning of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Record {
    end: u64,
    term: Term,
    write: Option<u8>,
}

/// What a follower and the one it follows say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Said {
    Nothing,
    Asked { to: usize, after: u64, term: Term },
    Answered { from: usize, term: Term, answer: Answer },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Records(Vec<Record>),
    /// The histories part: where, if anywhere behind the follower's end, and the whole log as a snapshot.
    Diverged {
        terms: Vec<(Term, u64)>,
        snapshot: Vec<Record>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    is_up: bool,
    is_primary: bool,
    log: Vec<Record>,
    /// Written down: a successor was met, in the term of now.
    has_successor: bool,
    /// Up to where each follower has asked, since this node is what it is.
    acknowledged: BTreeMap<usize, u64>,
    said: Said,
    /// It has had all of what it follows.
    was_even: bool,
    /// The highest term that it has heard of.
    met: Term,
    aside: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: Vec<Node>,
    writes: u8,
    crashes: u8,
    promotions: u8,
    /// Writes that were acknowledged with a replica: which, in which term, by whom.
    synced: Vec<(u8, Term, usize)>,
    /// Writes that were acknowledged by a primary alone.
    hoped: Vec<u8>,
    /// All offsets that were given, and what for.
    given: BTreeMap<u64, (Term, Option<u8>)>,
    /// An offset was given twice.
    is_given_twice: bool,
}

fn terms_of(log: &[Record]) -> Vec<Branch> {
    let mut terms = vec![Branch {
        term: Term::FIRST,
        nonce: 1,
        start: 0,
    }];
    let begun = log.iter().filter(|record| record.write.is_none());
    terms.extend(begun.map(|record| Branch {
        term: record.term,
        nonce: record.term.bits(),
        start: record.end - 1,
    }));
    terms
}

impl Node {
    fn end(&self) -> u64 {
        self.log.last().map_or(1, |record| record.end)
    }

    fn term(&self) -> Term {
        terms_of(&self.log).last().unwrap().term
    }
}

impl State {
    fn first() -> State {
        let node = |at: usize| Node {
            is_up: true,
            is_primary: at == 0,
            log: Vec::new(),
            has_successor: false,
            acknowledged: BTreeMap::new(),
            said: Said::Nothing,
            was_even: false,
            met: Term::FIRST,
            aside: Vec::new(),
        };
        State {
            nodes: (0..NODES).map(node).collect(),
            writes: 0,
            crashes: 0,
            promotions: 0,
            synced: Vec::new(),
            hoped: Vec::new(),
            given: BTreeMap::new(),
            is_given_twice: false,
        }
    }

    fn append(&mut self, at: usize, end: u64, term: Term, write: Option<u8>) {
        self.nodes[at].log.push(Record { end, term, write });
        self.is_given_twice |= self.given.insert(end, (term, write)).is_some();
    }

    /// All states that one event leads to.
    fn next(&self, run: &Run) -> Vec<State> {
        let mut next = Vec::new();
        for at in 0..NODES {
            if !self.nodes[at].is_up {
                next.push(self.with(|state| state.nodes[at].is_up = true));
                continue;
            }
            if self.crashes < run.crashes {
                next.push(self.with(|state| state.crash(at)));
            }
            if self.nodes[at].is_primary {
                self.as_primary(at, run, &mut next);
            } else {
                self.as_replica(at, run, &mut next);
            }
            for other in (0..NODES).filter(|&other| other != at && self.nodes[other].is_up) {
                next.push(self.with(|state| state.hello(at, other)));
            }
        }
        next
    }

    fn with(&self, change: impl FnOnce(&mut State)) -> State {
        let mut state = self.clone();
        change(&mut state);
        state
    }

    fn crash(&mut self, at: usize) {
        self.crashes += 1;
        let node = &mut self.nodes[at];
        node.is_up = false;
        node.acknowledged.clear();
        node.said = Said::Nothing;
        node.was_even = false;
        node.met = Term::FIRST;
        for other in &mut self.nodes {
            // Its connections are broken, and what was on its way is lost.
            match other.said {
                Said::Asked { to, .. } | Said::Answered { from: to, .. } if to == at => {
                    other.said = Said::Nothing
                }
                _ => {}
            }
        }
    }

    fn as_primary(&self, at: usize, run: &Run, next: &mut Vec<State>) {
        let node = &self.nodes[at];
        if self.writes < run.writes {
            next.push(self.with(|state| {
                let (end, term) = (node.end() + 1, node.term());
                state.append(at, end, term, Some(state.writes));
                state.hoped.push(state.writes);
                state.writes += 1;
            }));
        }
        let has_successor = node.has_successor && run.has_successor_rule;
        for record in &node.log {
            let Some(write) = record.write.filter(|_| record.term == node.term()) else {
                continue;
            };
            let followers = node
                .acknowledged
                .iter()
                .map(|(&who, &end)| (end, who == SUCCESSOR));
            let is_new = !self.synced.iter().any(|&(synced, ..)| synced == write);
            if is_new && acknowledged(followers, has_successor, record.end) >= 1 {
                next.push(self.with(|state| state.synced.push((write, record.term, at))));
            }
        }
    }

    fn as_replica(&self, at: usize, run: &Run, next: &mut Vec<State>) {
        let node = &self.nodes[at];
        let is_taking_over = at == SUCCESSOR && node.was_even;
        if self.promotions < run.promotions && (is_taking_over || run.is_promoted_by_hand) {
            next.push(self.with(|state| state.promote(at, run)));
        }
        match node.said.clone() {
            Said::Nothing => {
                for to in (0..NODES).filter(|&to| to != at && self.nodes[to].is_up) {
                    // It follows nobody of a lower term.
                    if self.nodes[to].is_primary && self.nodes[to].term() >= node.term() {
                        let (after, term) = (node.end(), term_before(&terms_of(&node.log), node.end()));
                        next.push(self.with(|state| state.nodes[at].said = Said::Asked { to, after, term }));
                    }
                }
            }
            Said::Asked { to, after, term } => {
                next.push(self.with(|state| state.nodes[at].said = Said::Nothing));
                next.push(self.with(|state| state.poll(at, to, after, term)));
            }
            Said::Answered { from, term, answer } => {
                next.push(self.with(|state| state.nodes[at].said = Said::Nothing));
                next.push(self.with(|state| state.take(at, from, term, answer, run)));
            }
        }
    }

    fn promote(&mut self, at: usize, run: &Run) {
        self.promotions += 1;
        let node = &mut self.nodes[at];
        let number = node.met.max(node.term()).number() + 1;
        let mark = if run.has_marks { at as u32 } else { 0 };
        let term = Term::new(number, mark);
        node.is_primary = true;
        node.has_successor = false;
        node.acknowledged.clear();
        node.said = Said::Nothing;
        let end = TERM_OFFSETS * u64::from(number) * if run.has_marks { NODES as u64 } else { 1 }
            + TERM_OFFSETS * u64::from(mark);
        self.append(at, end, term, None);
    }

    /// The one that is asked says what comes after, or that the histories part.
    fn poll(&mut self, at: usize, to: usize, after: u64, term: Term) {
        self.nodes[at].said = Said::Nothing;
        if !self.nodes[to].is_primary {
            return;
        }
        let own = self.nodes[to].term();
        if term > own {
            return self.step_down(to, term);
        }
        let node = &mut self.nodes[to];
        let terms = terms_of(&node.log);
        // Behind the log's end, or in a hole that was left before a term.
        let is_no_end = after != 1 && !node.log.iter().any(|record| record.end == after);
        let answer = if term_before(&terms, after) != term || is_no_end {
            Answer::Diverged {
                terms: terms.iter().map(|term| (term.term, term.start)).collect(),
                snapshot: node.log.clone(),
            }
        } else {
            node.has_successor |= at == SUCCESSOR;
            node.acknowledged.insert(at, after);
            let records = node.log.iter().filter(|record| record.end > after);
            Answer::Records(records.copied().collect())
        };
        self.nodes[at].said = Said::Answered {
            from: to,
            term: own,
            answer,
        };
    }

    /// A follower takes what it was answered.
    fn take(&mut self, at: usize, _from: usize, term: Term, answer: Answer, run: &Run) {
        let node = &mut self.nodes[at];
        node.said = Said::Nothing;
        if term < node.term() {
            return;
        }
        match answer {
            Answer::Records(records) => {
                node.log.extend(records);
                node.was_even = true;
            }
            Answer::Diverged { terms, snapshot } => {
                let terms: Vec<Branch> = terms
                    .into_iter()
                    .map(|(term, start)| Branch {
                        term,
                        nonce: if term == Term::FIRST { 1 } else { term.bits() },
                        start,
                    })
                    .collect();
                let from = fork(&terms_of(&node.log), &terms).unwrap_or(u64::MAX);
                let mine = node
                    .log
                    .iter()
                    .filter(|record| record.end > from || !snapshot.contains(record));
                let lost: Vec<u8> = mine.filter_map(|record| record.write).collect();
                if run.keeps_aside {
                    node.aside.extend(lost);
                    node.aside.sort_unstable();
                    node.aside.dedup();
                }
                node.log = snapshot;
            }
        }
    }

    fn step_down(&mut self, at: usize, met: Term) {
        let node = &mut self.nodes[at];
        node.met = node.met.max(met);
        node.is_primary = false;
        node.has_successor = false;
        node.acknowledged.clear();
        node.was_even = false;
        node.said = Said::Nothing;
    }

    /// Both sides hear of each other's term.
    fn hello(&mut self, one: usize, other: usize) {
        for (at, of) in [(one, other), (other, one)] {
            let met = self.nodes[of].term();
            if met > self.nodes[at].term() {
                self.nodes[at].met = self.nodes[at].met.max(met);
                if self.nodes[at].is_primary {
                    self.step_down(at, met);
                }
            }
        }
    }

    /// What does not hold of all that must.
    fn broken(&self) -> Option<String> {
        if self.is_given_twice {
            return Some("an offset was given twice".to_owned());
        }
        for (at, (_, term, node)) in self.synced.iter().enumerate() {
            if self.synced[..at]
                .iter()
                .any(|(_, other, by)| other == term && by != node)
            {
                return Some(format!("two nodes acknowledged in term {term}"));
            }
        }
        let winner = self
            .nodes
            .iter()
            .filter(|node| node.is_primary)
            .max_by_key(|node| node.term());
        if let Some(winner) = winner {
            for (write, term, by) in &self.synced {
                if !winner.log.iter().any(|record| record.write == Some(*write)) {
                    return Some(format!(
                        "write {write}, acknowledged by node {by} in term {term}, is lost"
                    ));
                }
            }
        }
        for (at, one) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..at] {
                let (terms, others) = (terms_of(&one.log), terms_of(&other.log));
                for end in one
                    .log
                    .iter()
                    .map(|record| record.end)
                    .filter(|&end| end <= other.end())
                {
                    let before = |log: &[Record]| -> Vec<Record> {
                        log.iter().filter(|record| record.end <= end).copied().collect()
                    };
                    if term_before(&terms, end) == term_before(&others, end)
                        && other.log.iter().any(|record| record.end == end)
                        && before(&one.log) != before(&other.log)
                    {
                        return Some(format!("two logs of one term differ before offset {end}"));
                    }
                }
            }
        }
        for write in &self.hoped {
            let is_somewhere = self.nodes.iter().any(|node| {
                node.aside.contains(write) || node.log.iter().any(|record| record.write == Some(*write))
            });
            if !is_somewhere {
                return Some(format!("write {write} is nowhere"));
            }
        }
        None
    }
}

/// Most states of one search, so that a mistake in the model does not eat the machine.
const STATES_MAX: usize = 4_000_000;

/// Searches all that can happen; the first thing that does not hold, and how many states there were.
fn search(run: &Run) -> (Option<String>, usize) {
    let mut seen = HashSet::new();
    let mut to_do = VecDeque::from([State::first()]);
    seen.insert(State::first());
    while let Some(state) = to_do.pop_front() {
        if let Some(why) = state.broken() {
            return (Some(format!("{why}: {state:#?}")), seen.len());
        }
        for next in state.next(run) {
            if seen.insert(next.clone()) {
                to_do.push_back(next);
            }
        }
        assert!(seen.len() < STATES_MAX, "the model has too many states");
    }
    (None, seen.len())
}

fn holds(run: &Run) {
    let (broken, states) = search(run);
    println!("{states} states");
    assert!(states > 10_000, "that is no search: {states} states");
    assert_eq!(broken, None);
}

/// Expects that the search finds a way to break what `what` says.
fn is_broken(run: &Run, what: &str) {
    let (broken, _) = search(run);
    let broken = broken.expect("a rule less must break something");
    assert!(broken.contains(what), "{broken}");
}

#[test]
fn with_one_successor_nothing_that_a_replica_acknowledged_is_lost() {
    holds(&RULES);
}

#[test]
fn with_two_promotions_by_hand_histories_stay_apart_and_nothing_vanishes() {
    let run = Run {
        is_promoted_by_hand: true,
        promotions: 2,
        writes: 1,
        crashes: 0,
        // What is promoted by hand may be behind: see what is said of that in the protocol.
        ..RULES
    };
    let (broken, states) = search(&run);
    println!("{states} states");
    let broken = broken.expect("a replica that is behind was promoted");
    assert!(broken.contains("is lost"), "{broken}");
}

#[test]
fn without_the_rule_of_the_successor_a_write_is_lost() {
    let run = Run {
        has_successor_rule: false,
        ..RULES
    };
    is_broken(&run, "is lost");
}

#[test]
fn without_marks_two_terms_are_one() {
    let run = Run {
        has_marks: false,
        is_promoted_by_hand: true,
        promotions: 2,
        writes: 0,
        crashes: 0,
        ..RULES
    };
    is_broken(&run, "given twice");
}

#[test]
fn without_what_is_set_aside_a_write_is_nowhere() {
    let run = Run {
        keeps_aside: false,
        ..RULES
    };
    is_broken(&run, "is nowhere");
}
