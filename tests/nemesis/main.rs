//! Everything that can happen to a cluster happens to it, at random and from a seed, while clients write.
//!
//! Three and four nodes as real processes, in a network whose links are in the test's hand (`common::network`):
//!
//! ```text
//! A  pykv serve   --sync-replicas 1
//! B  pykv replica --from A,C[,D] --failover-after 1s
//! C  pykv replica --from A,B[,D]
//! D  pykv replica --from A,B,C
//! ```
//!
//! | file | what it is |
//! | --- | --- |
//! | `schedule` | what is done to the cluster in a round, drawn from the seed |
//! | `cluster` | the nodes, and how each operation is done to them |
//! | `writers` | clients that write with `Pykv-Sync-Required`, all the time |
//! | `ledger` | what was acknowledged, and which operations void that |
//! | `sampler` | asks each node every 50 ms what it is |
//! | `timeline` | holds what nodes say of themselves against what was so |
//! | `board` | what all threads see |
//! | `round` | a round: writers, schedule, heal, checks |
//! | `convergence` | waits for a cluster to be one again |
//!
//! A round does its schedule, heals everything, and holds against the cluster:
//! 1. Within [`convergence::CONVERGES_MAX`] there is one primary, all others stream from it, and, once the writers have
//!    stopped, all digests are equal. No hand helps, but for the one case that [`ledger::Promise`] names.
//! 2. Nothing is missing that was acknowledged as had by replicas, in this round or any before it, unless an
//!    operation has voided that: [`ledger::Promise`] says which does.
//! 3. No replica has said for longer than [`timeline::DECEIVED_MAX`] that it is even with a primary, when it had none.
//!
//! `PYKV_NEMESIS_ROUNDS` sets the number of rounds (default 4), half of them over three nodes and half over four;
//! `PYKV_NEMESIS_SEED` what happens in them. A cluster lives for ten rounds at most. The seed decides what is done
//! and when, not how the threads of the nodes run meanwhile: a failure that hangs on that may need several runs to
//! come back. A test that fails prints the seed, what was done, and what the nodes have said.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod board;
mod cluster;
mod convergence;
mod ledger;
mod links;
mod round;
mod sampler;
mod schedule;
mod timeline;
mod writers;

use board::Board;
use cluster::Cluster;
use common::{Random, opener, setting, skip};
use ledger::Ledger;
use round::Run;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

/// Rounds that a cluster lives for.
const ROUNDS_MAX: u64 = 10;

/// Lets time pass between two things that a schedule, a sampler or a writer does: the one place where this test
/// sleeps. Nothing is waited for in this way.
fn pace(pause: Duration) {
    thread::sleep(pause); // The pace of a schedule: nothing is waited for.
}

#[test]
fn a_cluster_survives_what_happens_to_it() {
    if !opener::is_known_here() {
        return skip("nemesis", "the kernel does not tell who opened a connection");
    }
    let rounds = setting("PYKV_NEMESIS_ROUNDS", 4);
    // Four rounds of this one have crashes, cuts of every kind, slow links and promotions.
    let seed = setting("PYKV_NEMESIS_SEED", 8);
    let mut random = Random::new(seed);
    for (nodes, rounds) in [(3, rounds.div_ceil(2)), (4, rounds / 2)] {
        let mut left = rounds;
        while left > 0 {
            let rounds = left.min(ROUNDS_MAX);
            left -= rounds;
            eprintln!("PYKV_NEMESIS_SEED={seed}: a cluster of {nodes} nodes, for {rounds} rounds");
            // A seed of its own, so that what one cluster draws does not hang on the one before.
            live(nodes, rounds, &mut Random::new(random.next()));
        }
    }
}

/// A cluster from its first start to its end.
fn live(nodes: usize, rounds: u64, random: &mut Random) {
    let board = Board::new(nodes);
    let mut run = Run {
        cluster: Cluster::start(nodes, &board),
        board: &board,
        ledger: Ledger::default(),
        number: AtomicU64::new(0),
    };
    convergence::starts(&run.cluster);
    for round in 1..=rounds {
        eprintln!("round {round}");
        run.round(random);
    }
}
