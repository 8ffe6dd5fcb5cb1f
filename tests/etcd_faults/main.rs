//! etcd decides who is primary, and everything that can happen to nodes, to etcd and to what is between them happens,
//! at random and from a seed, while clients work.
//!
//! Three nodes, started in the same way (`pykv serve --etcd … --sync-replicas 1`), and an etcd of one member or three.
//! Each is a host of its own where there can be network namespaces (`common::namespaces`), else behind proxies.
//!
//! | file | what it is |
//! | --- | --- |
//! | `faults` | what is done in a round, drawn from the seed |
//! | `links` | who hears whom |
//! | `cluster` | the nodes and etcd, and how each step is done to them |
//! | `clients` | eight clients that read, write, compare and set, delete, and batch |
//! | `acks` | whether two nodes acknowledged in overlapping time |
//! | `round` | a round: clients, the fault, the heal, the checks |
//! | `register`, `history`, `checker`, `planted` | those of `tests/linearizability` |
//!
//! A round does its fault, heals everything, and holds against the cluster:
//! 1. Within 30 seconds there is one primary that all others follow, and clients work. No hand helps.
//! 2. Once nobody writes, all digests are equal.
//! 3. Every write that was acknowledged, in this round or any before it, is there.
//! 4. No two nodes have acknowledged in overlapping time, in all rounds together.
//! 5. The history of each key is linearizable. In every second cluster reads wait for replicas, and all of them count.
//! 6. A stale read, a lost write and a lost term that are planted into what the clients saw are found.
//!
//! `PYKV_ETCD_ROUNDS` sets the number of rounds (default 3, of faults that are chosen; the rest is drawn),
//! `PYKV_ETCD_SEED` what happens in them, `PYKV_ETCD_FAULTS` among which faults is drawn (`KillPrimary,Clock`). A cluster
//! lives for five rounds.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod acks;
#[path = "../linearizability/checker.rs"]
mod checker;
mod clients;
mod cluster;
mod faults;
#[path = "../linearizability/history.rs"]
mod history;
mod links;
#[path = "../linearizability/planted.rs"]
mod planted;
#[path = "../linearizability/register.rs"]
mod register;
mod round;

use cluster::{Cluster, Options};
use common::{Random, setting};
use faults::{Fault, Situation};
use round::Seen;
use std::time::{Duration, Instant};

/// The shortest that there is.
const TTL_SECONDS: u64 = 5;

/// Rounds that a cluster lives for.
const ROUNDS_MAX: u64 = 5;

/// The rounds of a plain run: a crash, a primary that everybody has left, one that does not know that time has passed.
const CHOSEN: [Fault; 3] = [Fault::KillPrimary, Fault::PrimaryAlone, Fault::SuspendPrimary];

/// How long each of these lasts: longer than a lease.
const CHOSEN_LASTS: Duration = Duration::from_secs(9);

#[test]
fn acknowledged_writes_and_one_primary_survive_what_happens() {
    let rounds = setting("PYKV_ETCD_ROUNDS", 0);
    let seed = setting("PYKV_ETCD_SEED", 1);
    match rounds {
        0 => chosen(seed),
        rounds => drawn(rounds, seed),
    }
}

const TEST: &str = "acknowledged_writes_and_one_primary_survive_what_happens";

/// A few rounds whose faults are known.
fn chosen(seed: u64) {
    let options = Options {
        members: 1,
        ttl_seconds: TTL_SECONDS,
        sync_reads: true,
        failsafe: true,
    };
    let Some(mut cluster) = Cluster::start(TEST, options) else {
        return;
    };
    round::converges(&cluster, Instant::now());
    let mut random = Random::new(seed);
    for (number, fault) in (1..).zip(CHOSEN) {
        eprintln!("round {number}: {fault:?}");
        let draw = |random: &mut Random, situation: &Situation| {
            let mut steps = faults::steps(random, situation, fault);
            for step in steps.iter_mut().filter(|step| !step.at.is_zero()) {
                step.at = CHOSEN_LASTS;
            }
            steps
        };
        tell(&round::round(
            &mut cluster,
            number,
            &mut random,
            options.sync_reads,
            draw,
        ));
    }
}

/// Many rounds, over one cluster after another.
fn drawn(rounds: u64, seed: u64) {
    let among = Fault::named(&std::env::var("PYKV_ETCD_FAULTS").unwrap_or_default());
    let mut random = Random::new(seed);
    // Short runs with seeds in a row see clusters of every kind, too.
    let (mut done, mut clusters) = (0, seed);
    while done < rounds {
        let options = Options {
            members: if clusters % 2 == 0 { 3 } else { 1 },
            ttl_seconds: TTL_SECONDS,
            sync_reads: clusters / 2 % 2 == 0,
            failsafe: clusters % 3 != 0,
        };
        clusters += 1;
        eprintln!("PYKV_ETCD_SEED={seed}: a cluster of {options:?}");
        let Some(mut cluster) = Cluster::start(TEST, options) else {
            return;
        };
        round::converges(&cluster, Instant::now());
        // A seed of its own, so that what one cluster draws does not hang on the one before.
        let mut random = Random::new(random.next());
        for _ in 0..ROUNDS_MAX.min(rounds - done) {
            done += 1;
            eprintln!("round {done}");
            let draw = |random: &mut Random, situation: &Situation| faults::draw(random, situation, &among);
            tell(&round::round(
                &mut cluster,
                done,
                &mut random,
                options.sync_reads,
                draw,
            ));
        }
        let acks = cluster.board.acks.lock().unwrap();
        eprintln!(
            "{} writes acknowledged, by {} primaries",
            acks.len(),
            acks::reigns(&acks)
        );
    }
}

fn tell(seen: &Seen) {
    let seconds = |duration: Duration| duration.as_secs_f64();
    eprintln!(
        "  {} acknowledged, {} unknown; one again {:.2} s after the heal; longest without a write {:.2} s; planted and \
         found: {} stale reads, {} lost writes",
        seen.acknowledged,
        seen.unknown,
        seconds(seen.converged),
        seconds(seen.longest_gap),
        seen.stale_reads_found,
        seen.lost_writes_found
    );
}
