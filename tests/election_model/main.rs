//! The rules of the election, run through misfortunes by the thousand.
//!
//! The machine is the program's own ([`pykv::internals::election::Machine`]); around it are an etcd, logs and links of
//! this model. A walk draws one event after the other from a seed, so what it finds it finds each time: processes that
//! are killed, started and suspended, links that are cut, etcd that is away, restarted, emptied or put back from a copy,
//! requests that are lost, done late or never answered, clocks of different speed, handovers and pauses of takeovers,
//! copies of directories that are put back, two processes at one address.
//! There are too many states for a search of all, as `protocol_model` does; what proves the walks is what they find
//! where a rule is taken away: each of those is a test too.
//!
//! | file | what it is |
//! | --- | --- |
//! | `etcd` | leases, keys and transactions |
//! | `node` | a machine, a log, and what drives the one by the other |
//! | `world` | all of them, and what can happen |
//! | `checks` | what must hold |
//!
//! # What is held against every moment
//! 1. No two nodes may take writes at one moment.
//! 2. No node answers a write once a node of a higher term has answered one.
//! 3. No two nodes become primary in one term.
//! 4. With a standby, a primary has every write that was answered.
//!
//! And a walk in which nobody answers anything proves nothing: that is counted.

#![allow(clippy::unwrap_used)]

mod checks;
mod etcd;
mod node;
mod world;

use world::World;

/// A rule that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// The deadline counts from the answer of etcd, and not from before the question.
    DeadlineFromAnswer,
    /// A write is answered without a look at the deadline.
    NoCheckBeforeAnswer,
    /// The term is not compared in the transaction that takes the key.
    TermOutOfTransaction,
    /// A standby is named before writes wait for it.
    NamedBeforeWaiting,
    /// A standby is not waited for any more before it is named no longer.
    RemovedBeforeUnnamed,
    /// A majority of the members is enough to go on without etcd.
    FailsafeByMajority,
    /// A node that confirms a primary takes over all the same.
    PromiseNotKept,
    /// A node takes over that the primary does not ask.
    StrangerTakesOver,
    /// A node takes over that is no standby.
    TakeoverOutsideSync,
    /// The new primary takes writes while `sync` names those of before.
    OpenBeforeSync,
    /// An older copy of a node's directory counts as its own.
    CopyTakesOver,
    /// A write is answered once any process has it that is at the address of a standby.
    AddressIsEnough,
    /// A process takes part though etcd names another one at its address.
    TwinTakesPart,
}

/// What a walk is made of.
#[derive(Clone, Copy, Debug)]
struct Run {
    nodes: usize,
    standbys: usize,
    has_failsafe: bool,
    /// Whether etcd may lose what it holds.
    loses_etcd: bool,
    /// Whether directories are copied, and put back later.
    has_copies: bool,
    /// Whether there is a second process at the address of the first node.
    has_twin: bool,
    walks: u64,
    steps: u32,
    mutant: Mutant,
}

const RUN: Run = Run {
    nodes: 3,
    standbys: 1,
    has_failsafe: true,
    loses_etcd: false,
    has_copies: false,
    has_twin: false,
    walks: 250,
    steps: 6000,
    mutant: Mutant::None,
};

/// Walks until something does not hold; otherwise how many writes were answered, under how many primaries.
fn walk(run: &Run) -> Result<(u64, u64), String> {
    let (mut answered, mut primaries) = (0, 0);
    for seed in 1..=run.walks {
        let mut world = World::new(run, seed);
        for step in 0..run.steps {
            world.step();
            if let Some(why) = world.broken() {
                return Err(format!("walk {seed}, step {step}: {why}\n{}", world.story()));
            }
        }
        answered += world.answered_count();
        primaries += world.primaries_count();
    }
    Ok((answered, primaries))
}

#[track_caller]
fn holds(run: &Run) {
    match walk(run) {
        Ok((answered, primaries)) => {
            eprintln!("{answered} writes answered under {primaries} primaries");
            assert!(
                answered > 10 * run.walks && primaries > 2 * run.walks,
                "that is no search"
            );
        }
        Err(why) => panic!("{why}"),
    }
}

#[track_caller]
fn is_broken(run: &Run, what: &str) {
    let why = walk_until_broken(run);
    assert!(why.contains(what), "{why}");
}

#[track_caller]
fn walk_until_broken(run: &Run) -> String {
    let run = Run {
        walks: 20_000,
        ..*run
    };
    walk(&run).expect_err("a rule less must break something")
}

#[test]
fn with_a_standby_nothing_that_was_answered_is_lost() {
    holds(&RUN);
}

#[test]
fn without_a_standby_there_is_one_primary_at_a_time() {
    holds(&Run { standbys: 0, ..RUN });
}

#[test]
fn without_failsafe_too() {
    let run = Run {
        has_failsafe: false,
        walks: 100,
        ..RUN
    };
    holds(&run);
    holds(&Run { standbys: 0, ..run });
}

#[test]
fn with_two_standbys_of_five_nodes_too() {
    holds(&Run {
        nodes: 5,
        standbys: 2,
        walks: 60,
        ..RUN
    });
}

#[test]
fn where_etcd_loses_what_it_holds_nobody_goes_back() {
    holds(&Run {
        loses_etcd: true,
        ..RUN
    });
}

#[test]
fn an_older_copy_of_a_directory_takes_nothing_over() {
    holds(&Run {
        has_copies: true,
        ..RUN
    });
    holds(&Run {
        has_copies: true,
        standbys: 0,
        walks: 100,
        ..RUN
    });
}

#[test]
fn of_two_processes_at_one_address_one_counts() {
    let run = Run {
        has_twin: true,
        has_copies: true,
        ..RUN
    };
    holds(&run);
    holds(&Run { standbys: 0, ..run });
    holds(&Run {
        has_failsafe: false,
        walks: 100,
        ..run
    });
}

#[test]
fn a_deadline_that_counts_from_the_answer_is_found() {
    let run = Run {
        standbys: 0,
        mutant: Mutant::DeadlineFromAnswer,
        ..RUN
    };
    let why = walk_until_broken(&run);
    let is_found = why.contains("may take writes at one moment") || why.contains("answers a write after");
    assert!(is_found, "{why}");
}

#[test]
fn an_answer_without_a_look_at_the_deadline_is_found() {
    let run = Run {
        standbys: 0,
        mutant: Mutant::NoCheckBeforeAnswer,
        ..RUN
    };
    is_broken(&run, "answers a write after");
}

#[test]
fn a_term_outside_the_transaction_is_found() {
    let run = Run {
        mutant: Mutant::TermOutOfTransaction,
        ..RUN
    };
    is_broken(&run, "begins a term that was there");
}

#[test]
fn a_standby_that_is_named_before_writes_wait_for_it_is_found() {
    let run = Run {
        mutant: Mutant::NamedBeforeWaiting,
        ..RUN
    };
    is_broken(&run, "lacks a write");
}

#[test]
fn a_standby_that_is_not_waited_for_while_it_is_named_is_found() {
    let run = Run {
        mutant: Mutant::RemovedBeforeUnnamed,
        ..RUN
    };
    is_broken(&run, "lacks a write");
}

#[test]
fn a_failsafe_by_a_majority_is_found() {
    let run = Run {
        standbys: 0,
        mutant: Mutant::FailsafeByMajority,
        ..RUN
    };
    is_broken(&run, "may take writes at one moment");
}

#[test]
fn a_promise_that_is_not_kept_is_found() {
    let run = Run {
        standbys: 0,
        mutant: Mutant::PromiseNotKept,
        ..RUN
    };
    is_broken(&run, "may take writes at one moment");
}

#[test]
fn a_stranger_that_takes_over_is_found() {
    let run = Run {
        standbys: 0,
        mutant: Mutant::StrangerTakesOver,
        ..RUN
    };
    is_broken(&run, "may take writes at one moment");
}

#[test]
fn a_takeover_outside_sync_is_found() {
    let run = Run {
        mutant: Mutant::TakeoverOutsideSync,
        ..RUN
    };
    is_broken(&run, "lacks a write");
}

#[test]
fn writes_before_sync_is_the_new_primarys_are_found() {
    let run = Run {
        mutant: Mutant::OpenBeforeSync,
        ..RUN
    };
    is_broken(&run, "lacks a write");
}

#[test]
fn a_copy_that_takes_over_is_found() {
    let run = Run {
        has_copies: true,
        mutant: Mutant::CopyTakesOver,
        ..RUN
    };
    is_broken(&run, "lacks a write");
}

#[test]
fn a_write_that_another_process_has_at_the_address_of_a_standby_is_found() {
    let run = Run {
        nodes: 2,
        has_copies: true,
        mutant: Mutant::AddressIsEnough,
        ..RUN
    };
    is_broken(&run, "lacks a write");
}

#[test]
fn a_second_process_at_an_address_that_takes_part_is_found() {
    let run = Run {
        has_twin: true,
        standbys: 0,
        mutant: Mutant::TwinTakesPart,
        ..RUN
    };
    is_broken(&run, "may take writes at one moment");
}
