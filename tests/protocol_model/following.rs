//! How a replica follows: whom, what it asks, what it is answered, what it takes.

use super::state::{Answer, Fault, Proof, Record, SUCCESSOR, Said, State, history_of};
use super::{Proving, Run, time};
use pykv::internals::wal::{Branch, Term, branch_before, fork, term_before};

impl State {
    /// Whether a node may follow another, by what that one says of itself.
    pub fn may_follow(&self, at: usize, to: usize, run: &Run) -> bool {
        let (node, other) = (&self.nodes[at], &self.nodes[to]);
        // It follows nobody of a lower term.
        if !other.is_running() || other.term() < node.term() {
            return false;
        }
        // A node that has a source says so, whatever that source is.
        other.is_primary || run.takes_any_for_primary || run.follows_replicas && other.source.is_some()
    }

    /// Whether a replica follows a primary that it hears.
    fn is_fed(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let is_heard = node
            .clock
            .heard
            .is_some_and(|heard| self.now - heard <= time::HEARD_FOR);
        node.source.is_some_and(|(_, is_primary)| is_primary) && is_heard
    }

    pub fn ask(&mut self, at: usize, to: usize, run: &Run) {
        let is_primary = self.nodes[to].is_primary;
        let node = &mut self.nodes[at];
        // To have asked matters after a pause.
        node.clock.has_asked = node.clock.paused;
        // The handshake before it: a primary of this log has spoken.
        if is_primary && node.source.is_none() {
            self.hear(at, self.now, run);
        }
        let proof = self.nodes[at].proof();
        self.nodes[at].said = Said::Asked { to, proof };
    }

    /// Whether a log has what a follower has before the offset that it asks from.
    fn is_proved(log: &[Record], proof: &Proof, run: &Run) -> bool {
        let history = history_of(log);
        let record = log.iter().find(|record| record.end == proof.after);
        let is_end = proof.after == 1 || record.is_some();
        match run.proving {
            Proving::Position => is_end && term_before(&history, proof.after) == proof.branch.term,
            Proving::Branch => {
                let before = branch_before(&history, proof.after);
                let before = before.map(|branch| (branch.term, branch.nonce));
                is_end
                    && before == Some((proof.branch.term, proof.branch.nonce))
                    && record.copied() == proof.last
            }
        }
    }

    /// The one that is asked says what comes after, or that the histories part.
    pub fn poll(&mut self, at: usize, to: usize, proof: &Proof, run: &Run) {
        let other = &self.nodes[to];
        let is_answered = other.is_primary || run.takes_any_for_primary || self.is_fed(to);
        let own = other.term();
        if !is_answered || !other.is_primary && proof.branch.term > own {
            return self.nodes[at].lose_source();
        }
        if proof.branch.term > own {
            self.nodes[at].lose_source();
            return self.step_down(to, proof.branch.term);
        }
        let answer = if State::is_proved(&self.nodes[to].log, proof, run) {
            let follower = self.nodes[at].log.clone();
            let heard = match self.nodes[to].is_primary || run.takes_any_for_primary {
                true => self.now,
                false => self.nodes[to].clock.heard.unwrap_or_default(),
            };
            let node = &mut self.nodes[to];
            let before: Vec<Record> = node
                .log
                .iter()
                .filter(|record| record.end <= proof.after)
                .copied()
                .collect();
            if before != follower {
                self.fault = Some(Fault::Joined);
            }
            if node.is_primary {
                node.has_successor |= at == SUCCESSOR;
                node.acknowledged[at] = proof.after;
            }
            let records = node.log.iter().filter(|record| record.end > proof.after);
            Answer::Records(records.copied().collect(), heard)
        } else {
            let log = &self.nodes[to].log;
            Answer::Diverged(history_of(log), log.clone())
        };
        let (from, term) = (to, own);
        self.nodes[at].said = Said::Answered { from, term, answer };
    }

    /// A follower takes what it was answered.
    pub fn take(&mut self, at: usize, from: usize, term: Term, answer: Answer, run: &Run) {
        let is_primary = self.nodes[from].is_primary || run.takes_any_for_primary;
        let node = &mut self.nodes[at];
        node.said = Said::Nothing;
        if term < node.term() {
            return node.lose_source();
        }
        match answer {
            Answer::Records(records, heard) => {
                node.log.extend(records);
                node.was_even = true;
                node.source = Some((from, is_primary)).filter(|_| run.counts_time_of(at));
                let heard = if run.ages_news { heard } else { self.now };
                self.hear(at, heard, run);
                if !run.counts_time_of(at) {
                    return;
                }
                let clock = &mut self.nodes[at].clock;
                clock.caught_up = clock.caught_up.max(Some(heard));
            }
            Answer::Diverged(history, snapshot) => self.set_aside(at, &history, snapshot, run),
        }
    }

    fn set_aside(&mut self, at: usize, history: &[Branch], snapshot: Vec<Record>, run: &Run) {
        let node = &mut self.nodes[at];
        let from = fork(&history_of(&node.log), history).unwrap_or(u64::MAX);
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
