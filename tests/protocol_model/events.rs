//! What can happen next.

use super::Run;
use super::state::{Copied, Fault, NODES, Node, SUCCESSOR, Said, State};
use super::time;
use pykv::internals::node::acknowledged;
use pykv::internals::wal::Term;

impl State {
    /// All states that one event leads to.
    pub fn next(&self, run: &Run) -> Vec<State> {
        let mut next = Vec::new();
        for at in 0..NODES {
            let node = &self.nodes[at];
            if !node.is_up {
                next.push(self.with(|state| state.start(at, run)));
                continue;
            }
            if self.counts.crashes < run.crashes {
                next.push(self.with(|state| state.crash(at)));
            }
            if node.is_suspended {
                next.push(self.with(|state| state.continue_process(at, run)));
                continue;
            }
            if self.counts.suspensions < run.suspensions {
                next.push(self.with(|state| state.suspend(at)));
            }
            if self.copied.is_none() && self.counts.copies < run.copies {
                next.push(self.with(|state| state.copy(at)));
            }
            match node.is_primary {
                true => self.as_primary(at, run, &mut next),
                false => self.as_replica(at, run, &mut next),
            }
            for other in (0..at).filter(|&other| self.nodes[other].is_running()) {
                if self.nodes[other].term() != node.term() {
                    next.push(self.with(|state| state.hello(at, other)));
                }
            }
        }
        if self.copied.is_some() {
            next.extend((0..NODES).map(|at| self.with(|state| state.put(at))));
        }
        if self.now < run.ticks {
            next.push(self.with(|state| state.tick(run)));
        }
        next
    }

    pub fn with(&self, change: impl FnOnce(&mut State)) -> State {
        let mut state = self.clone();
        change(&mut state);
        state
    }

    /// A process starts on what its directory says.
    fn start(&mut self, at: usize, run: &Run) {
        let node = &mut self.nodes[at];
        node.is_up = true;
        if run.counts_time_of(at) {
            node.clock.beat = self.now;
        }
        if node.is_primary {
            self.primary_at = self.now;
            let term = self.nodes[at].term();
            if run.begins_branches {
                self.begin_branch(at, term, run);
            }
        }
    }

    fn crash(&mut self, at: usize) {
        self.counts.crashes += 1;
        self.end(at);
    }

    /// A process ends. Its connections are broken, and what was on its way is lost.
    fn end(&mut self, at: usize) {
        self.nodes[at].end_process();
        for other in &mut self.nodes {
            let spoke = matches!(other.said, Said::Asked { to: with, .. } | Said::Answered { from: with, .. } if with == at);
            if spoke || other.source.is_some_and(|(source, _)| source == at) {
                other.lose_source();
            }
        }
    }

    /// Somebody copies a directory.
    fn copy(&mut self, at: usize) {
        self.counts.copies += 1;
        let node = &self.nodes[at];
        self.copied = Some(Copied {
            log: node.log.clone(),
            is_primary: node.is_primary,
            has_successor: node.has_successor,
        });
    }

    /// Somebody puts the copy in the place of a node's directory: its own of before, or that of another node.
    fn put(&mut self, at: usize) {
        self.counts.puts += 1;
        self.end(at);
        let Copied {
            log,
            is_primary,
            has_successor,
        } = self.copied.take().expect("there is a copy");
        let node = &mut self.nodes[at];
        node.log = log;
        node.is_primary = is_primary;
        node.has_successor = has_successor;
        node.aside.clear();
        // What was in that directory alone is gone by the operator's hand.
        let hoped = std::mem::take(&mut self.hoped);
        self.hoped = hoped
            .into_iter()
            .filter(|write| self.is_somewhere(*write))
            .collect();
    }

    fn as_primary(&self, at: usize, run: &Run, next: &mut Vec<State>) {
        let node = &self.nodes[at];
        if self.counts.writes < run.writes {
            next.push(self.with(|state| {
                let (end, branch, write) = (node.end() + 1, node.branch(), state.counts.writes);
                state.append(at, end, branch, Some(write));
                state.hoped.push(write);
                state.made_at.push(state.now);
                state.counts.writes += 1;
            }));
        }
        let has_successor = node.has_successor && run.has_successor_rule;
        for record in &node.log {
            let Some(write) = record.write.filter(|_| record.branch.term == node.term()) else {
                continue;
            };
            let followers = node.acknowledged.iter().enumerate().filter(|(_, end)| **end > 0);
            let followers = followers.map(|(who, &end)| (end, who == SUCCESSOR));
            let is_new = !self.synced.iter().any(|&(synced, ..)| synced == write);
            if is_new && acknowledged(followers, has_successor, record.end) >= 1 {
                next.push(self.with(|state| state.synced.push((write, node.branch(), at))));
            }
        }
    }

    fn as_replica(&self, at: usize, run: &Run, next: &mut Vec<State>) {
        let node = &self.nodes[at];
        // Where nobody counts time, a silence may have lasted for any time.
        let is_taking_over = run.ticks == 0 && at == SUCCESSOR && node.was_even;
        if self.counts.promotions < run.promotions && (is_taking_over || run.is_promoted_by_hand) {
            next.push(self.with(|state| state.promote(at, run)));
        }
        match node.said.clone() {
            Said::Nothing => {
                for to in (0..NODES).filter(|&to| to != at && self.may_follow(at, to, run)) {
                    next.push(self.with(|state| state.ask(at, to, run)));
                }
            }
            Said::Asked { to, proof } => {
                next.push(self.with(|state| state.nodes[at].lose_source()));
                if self.nodes[to].is_running() {
                    next.push(self.with(|state| state.poll(at, to, &proof, run)));
                }
            }
            Said::Answered { from, term, answer } => {
                next.push(self.with(|state| state.nodes[at].lose_source()));
                next.push(self.with(|state| state.take(at, from, term, answer, run)));
            }
        }
    }

    pub fn promote(&mut self, at: usize, run: &Run) {
        self.counts.promotions += 1;
        let node = &mut self.nodes[at];
        let number = node.met.max(node.term()).number() + 1;
        let mark = if run.has_marks { at as u32 } else { 0 };
        become_role(node, true);
        self.primary_at = self.now;
        self.begin_branch(at, Term::new(number, mark), run);
    }

    pub fn step_down(&mut self, at: usize, met: Term) {
        let node = &mut self.nodes[at];
        node.met = node.met.max(met);
        become_role(node, false);
        // Those who follow it hear of it at their next question.
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

    /// A node takes over by itself. What it has not got must be younger than a silence that may precede that.
    pub fn take_over(&mut self, at: usize, run: &Run) {
        let log = &self.nodes[at].log;
        let is_missing = |write: &&u8| !log.iter().any(|record| record.write == Some(**write));
        let missing = self.hoped.iter().find(|write| {
            is_missing(write) && self.now - self.made_at[usize::from(**write)] > time::MISSED_MAX
        });
        if let Some(write) = missing {
            let age = self.now - self.made_at[usize::from(*write)];
            self.fault = Some(Fault::TookOverWithout(*write, age));
        }
        self.promote(at, run);
    }
}

fn become_role(node: &mut Node, is_primary: bool) {
    node.is_primary = is_primary;
    node.has_successor = false;
    node.acknowledged = [0; NODES];
    node.was_even = false;
    node.clock.heard = None;
    node.clock.caught_up = None;
    node.clock.paused = false;
    node.lose_source();
}
