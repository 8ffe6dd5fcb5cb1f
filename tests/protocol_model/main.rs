//! The rules of replication on terms, branches and offsets, run through every order of events of a small cluster.
//!
//! A breadth-first search over all states that can be reached: three nodes that all know each other, a few writes,
//! promotions and crashes, processes that are suspended while time passes, directories that are copied and put back,
//! links that pass or lose what is said, questions and answers that are on their way for as long as anything else
//! takes. It is our own, and not stateright, since what it searches fits some pages, and the rules that matter most are
//! the program's: [`pykv::internals::node::acknowledged`], and the comparison of histories
//! ([`pykv::internals::wal::branch_before`], [`pykv::internals::wal::fork`]).
//!
//! | file | what it is |
//! | --- | --- |
//! | `state` | what a cluster is at one moment |
//! | `events` | what can happen next |
//! | `following` | how a replica follows |
//! | `time` | silences, and processes that are suspended |
//! | `checks` | what must hold |
//!
//! # What is assumed
//! - A log survives a crash (`--fsync always`, or a process that was killed and no host). What a node is and whether
//!   it has met a successor do too: they are written down before they count.
//! - A connection keeps its order, and a node whose role changes breaks its own. So there is one question of a
//!   follower on its way, or one answer, and none of before a change. A handshake is one step, or is lost.
//! - A record takes one offset, and a branch begins where no branch before can have reached: in the program by chance,
//!   over 32 GiB and more.
//! - A run that counts no time lets a silence last for any time.
//!
//! # What is held against every state
//! 1. In one branch one node gives offsets, so no two acknowledge a write in it, and no offset is given twice.
//! 2. What was acknowledged with a replica is in the log of the primary of the highest term.
//! 3. Two logs with the same branch before an offset are the same up to there, and nobody is given records that do
//!    not continue its own log.
//! 4. What was acknowledged by anybody is in some node's log, or was set aside, unless its directory was replaced.
//! 5. No node hears a primary at a time when there is none.
//! 6. A node that takes over by itself lacks nothing that is older than a silence that may precede that.
//!
//! The search proves worth something by what it finds where a rule is taken away: each of those is a test too.
//!
//! Not in the model: compaction and snapshots that break off, foreign stores, a handover, and the questions that a
//! primary asks after a pause of its own.

#![allow(clippy::unwrap_used)]

mod checks;
mod events;
mod following;
mod state;
mod time;

use state::{SUCCESSOR, State};
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// What a follower proves of what it has before its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proving {
    /// The branch, and the last record.
    Branch,
    /// The term, and that a record ends there.
    Position,
}

/// What happens, how often, and which rules hold.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    writes: u8,
    crashes: u8,
    promotions: u8,
    suspensions: u8,
    copies: u8,
    /// Time that passes; 0 where none is counted.
    ticks: u8,
    /// By hand, of any replica.
    is_promoted_by_hand: bool,
    /// Replicas may follow one that follows the primary.
    follows_replicas: bool,
    /// A successor must be among those who acknowledge.
    has_successor_rule: bool,
    /// Terms of one number differ in a mark, and branches in a nonce.
    has_marks: bool,
    /// What diverged is kept.
    keeps_aside: bool,
    /// Every start as primary begins a branch.
    begins_branches: bool,
    /// A branch begins where no other one can have reached.
    spreads_branches: bool,
    proving: Proving,
    /// Whoever is followed counts as the primary.
    takes_any_for_primary: bool,
    /// A node knows that it stood still.
    notices_pauses: bool,
    /// What waited in the socket meanwhile does not end a pause.
    doubts_what_waited: bool,
    /// An answer is as old as when it was given, and not as when it is read.
    ages_news: bool,
}

impl Run {
    /// Whether it matters when a node heard the primary: of the one that takes over, and of all that may be followed.
    fn counts_time_of(&self, node: usize) -> bool {
        self.ticks > 0 && (node == SUCCESSOR || self.follows_replicas)
    }
}

const RULES: Run = Run {
    writes: 2,
    crashes: 1,
    promotions: 1,
    suspensions: 0,
    copies: 0,
    ticks: 0,
    is_promoted_by_hand: false,
    follows_replicas: false,
    has_successor_rule: true,
    has_marks: true,
    keeps_aside: true,
    begins_branches: true,
    spreads_branches: true,
    proving: Proving::Branch,
    takes_any_for_primary: false,
    notices_pauses: true,
    doubts_what_waited: true,
    ages_news: true,
};

/// Replicas that name each other, and may follow one another.
const RING: Run = Run {
    writes: 0,
    promotions: 0,
    ticks: 3,
    follows_replicas: true,
    ..RULES
};

/// A process is suspended once. Links that lose what is said do to others what a crash of the primary would.
const PAUSES: Run = Run {
    writes: 1,
    crashes: 0,
    suspensions: 1,
    ticks: 4,
    ..RULES
};

/// A directory is copied, and put in the place of its own or of another.
const COPIES: Run = Run {
    crashes: 0,
    promotions: 0,
    copies: 1,
    ..RULES
};

/// Most states of one search, so that a mistake in the model does not eat the machine.
const STATES_MAX: usize = 4_000_000;

/// Searches all that can happen; the first thing that does not hold, and how many states there were.
///
/// Of what was seen it keeps hashes of 64 bits: that two of a million states have one is less likely than a broken
/// machine.
fn search(run: &Run) -> (Option<String>, usize) {
    let hasher = RandomState::new();
    let mut seen = HashSet::new();
    let mut to_do = VecDeque::from([State::first()]);
    while let Some(state) = to_do.pop_front() {
        if let Some(why) = state.broken(run) {
            return (Some(format!("{why}: {state:#?}")), seen.len());
        }
        for next in state.next(run) {
            if seen.insert(hasher.hash_one(&next)) {
                to_do.push_back(next);
            }
        }
        assert!(seen.len() < STATES_MAX, "the model has too many states");
    }
    (None, seen.len())
}

fn holds(run: &Run) {
    let (broken, states) = search(run);
    eprintln!("{states} states");
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
    eprintln!("{states} states");
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

#[test]
fn no_replica_hears_a_primary_that_is_gone() {
    holds(&RING);
}

#[test]
fn where_whoever_is_followed_counts_as_primary_replicas_hear_each_other() {
    let run = Run {
        takes_any_for_primary: true,
        ..RING
    };
    is_broken(&run, "a primary is heard");
}

#[test]
fn a_node_that_was_suspended_takes_over_with_what_it_should_have() {
    holds(&PAUSES);
}

#[test]
fn a_pause_that_is_not_noticed_loses_what_was_written_meanwhile() {
    let run = Run {
        notices_pauses: false,
        ..PAUSES
    };
    is_broken(&run, "took over without");
}

#[test]
fn an_answer_that_waited_during_a_pause_is_no_news() {
    let run = Run {
        doubts_what_waited: false,
        ..PAUSES
    };
    is_broken(&run, "took over without");
}

#[test]
fn an_answer_that_waited_does_not_say_what_the_primary_has_now() {
    let run = Run {
        ages_news: false,
        ..PAUSES
    };
    is_broken(&run, "took over without");
}

#[test]
fn histories_of_copied_directories_stay_apart() {
    holds(&COPIES);
}

#[test]
fn what_a_follower_proves_keeps_histories_apart_wherever_they_begin() {
    let run = Run {
        spreads_branches: false,
        ..COPIES
    };
    holds(&run);
}

#[test]
fn where_a_position_proves_a_history_two_are_joined() {
    let run = Run {
        spreads_branches: false,
        proving: Proving::Position,
        ..COPIES
    };
    is_broken(&run, "joined");
}

#[test]
fn where_a_start_begins_no_branch_an_offset_is_given_twice() {
    let run = Run {
        begins_branches: false,
        ..COPIES
    };
    is_broken(&run, "given twice");
}

#[test]
fn without_branches_and_by_position_alone_copies_are_joined() {
    let run = Run {
        begins_branches: false,
        spreads_branches: false,
        proving: Proving::Position,
        ..COPIES
    };
    is_broken(&run, "two logs of one branch differ");
}
