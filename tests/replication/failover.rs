//! A primary fails under load, again and again, and is taken over from: nothing that was promised is lost, and
//! nothing of it needs a hand.
//!
//! Three nodes: a primary, its successor, and a replica that follows whichever is primary. Clients write to
//! whichever takes writes, half of them with `Pykv-Sync-Replicas: 1`. At a random moment the primary is killed,
//! stopped or cut off, and comes back later as it was started. In the end there is one primary, all nodes hold
//! the same, each write that waited for a replica is there, and each other one that was acknowledged is there
//! or in a file of what was set aside.
//!
//! Every write has a key of its own, so that none hides another. `PYKV_FAILOVER_ROUNDS` sets the rounds (default
//! 3), `PYKV_FAILOVER_SEED` the seed of what happens in them.

use crate::common::cluster::{Member, become_equal};
use crate::common::proxy::Mode;
use crate::common::{Client, Random, eventually, setting};
use rustix::process::Signal;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const WRITERS: u64 = 6;

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// With a replica.
    kept: Vec<String>,
    /// By the primary alone.
    hoped: Vec<String>,
}

/// Writes to whichever node takes it until told to stop. It knocks at each node by itself, as clients behind a
/// load balancer do; a node that hangs costs it a while.
fn write(id: u64, round: u64, nodes: &[SocketAddr], count: &AtomicU64, is_over: &AtomicBool) -> Acknowledged {
    let waits = id.is_multiple_of(2);
    let headers: &[(&str, &str)] = match waits {
        true => &[
            ("Pykv-Sync-Replicas", "1"),
            ("Pykv-Sync-Required", "true"),
            ("Pykv-Sync-Timeout", "0.5"),
        ],
        false => &[],
    };
    let mut acknowledged = Acknowledged::default();
    let mut number = 0;
    let mut at = 0;
    while !is_over.load(Relaxed) {
        at = (at + 1) % nodes.len();
        let Ok(mut client) = Client::try_connect(nodes[at]) else {
            thread::yield_now();
            continue;
        };
        let _ = client.socket().set_read_timeout(Some(Duration::from_secs(1)));
        while !is_over.load(Relaxed) {
            number += 1;
            let key = format!("r{round}-w{id}-{number}");
            let path = format!("/kv/{key}?upsert=true");
            let Ok(answer) = client.try_request("PUT", &path, headers, key.as_bytes()) else {
                break;
            };
            if answer.status != 201 {
                break;
            }
            count.fetch_add(1, Relaxed);
            match waits {
                true => acknowledged.kept.push(key),
                false => acknowledged.hoped.push(key),
            }
        }
    }
    acknowledged
}

/// How a primary fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// As a process does that crashes.
    Killed,
    /// As a host does that swaps.
    Stopped,
    /// As one does whose switch is gone: nobody reaches it, and it reaches nobody.
    CutOff,
}

/// The keys of a node.
fn keys(member: &Member, prefix: &str) -> HashSet<String> {
    let mut client = member.server.client();
    let mut keys = HashSet::new();
    let mut cursor = String::new();
    loop {
        let page = client
            .get(&format!("/kv/?prefix={prefix}&limit=1000{cursor}"))
            .expect(200)
            .body_json();
        for key in page["keys"].as_array().unwrap() {
            keys.insert(key.as_str().unwrap().to_owned());
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return keys,
        }
    }
}

#[test]
fn a_primary_fails_again_and_again() {
    let rounds = setting("PYKV_FAILOVER_ROUNDS", 3);
    let seed = setting("PYKV_FAILOVER_SEED", 1);
    let mut random = Random::new(seed);
    for round in 0..rounds {
        let failure = match round % 3 {
            0 => Failure::Killed,
            1 => Failure::Stopped,
            _ => Failure::CutOff,
        };
        // Somewhere in the first few hundred writes, and once the successor may take over.
        let moment = 20 + random.below(600);
        eprintln!("round {round} of seed {seed}: {failure:?} after {moment} writes");
        // A machine that stands still for seconds keeps the successor from taking over, as it should: then once more.
        let is_told = (0..5).any(|_| fail(round, failure, moment));
        assert!(is_told, "the successor stood still each time");
    }
}

/// One round; `false` where the successor stood still and so did not take over.
fn fail(round: u64, failure: Failure, moment: u64) -> bool {
    let mut first = Member::primary(&[]);
    let successor = Member::replica(&[&first], &["--failover-after", "600ms"]);
    let third = Member::replica(&[&first, &successor], &[]);
    successor.is_even();
    third.is_even();

    let (count, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let nodes: Vec<SocketAddr> = [&first, &successor, &third]
        .iter()
        .map(|member| member.server.address())
        .collect();
    let acknowledged: Option<Vec<Acknowledged>> = thread::scope(|scope| {
        let (nodes, count, is_over) = (&nodes, &count, &is_over);
        let writers: Vec<_> = (0..WRITERS)
            .map(|id| scope.spawn(move || write(id, round, nodes, count, is_over)))
            .collect();
        // A writer would go on for ever behind an assertion that fails.
        let over = Over(is_over);
        eventually("enough was written", || count.load(Relaxed) >= moment);
        match failure {
            Failure::Killed => first.server.kill_9(),
            Failure::Stopped => first.server.suspend(),
            Failure::CutOff => {
                first.link.set(Mode::Cut);
                successor.link.set(Mode::Cut);
                third.link.set(Mode::Cut);
                // What the replicas say to each other must pass, and nothing of it to the first one: it says
                // nothing to them of itself before it has heard of them.
                third.link.set(Mode::Pass);
            }
        }
        let stood_still = || successor.server.stderr().contains("this node stood still");
        eventually("the successor takes over", || {
            successor.is_primary() || stood_still()
        });
        if !successor.is_primary() {
            return None;
        }
        successor.link.set(Mode::Pass);
        let taken_over = count.load(Relaxed);
        eventually("writes go on", || count.load(Relaxed) > taken_over + 50);
        match failure {
            Failure::Killed => first.start_again(),
            Failure::Stopped => first.server.signal(Signal::CONT),
            Failure::CutOff => first.link.set(Mode::Pass),
        }
        eventually("the first one steps down", || !first.is_primary());
        let stepped_down = count.load(Relaxed);
        eventually("writes go on", || count.load(Relaxed) > stepped_down + 50);
        drop(over);
        Some(writers.into_iter().map(|writer| writer.join().unwrap()).collect())
    });
    let Some(acknowledged) = acknowledged else {
        return false;
    };

    become_equal(&[&first, &successor, &third]);
    assert!(successor.is_primary() && !first.is_primary() && !third.is_primary());
    account_for(&acknowledged, &first, &keys(&successor, &format!("r{round}-")));
    true
}

/// Every write that was acknowledged is there, or was set aside by the former primary where no replica had it.
fn account_for(acknowledged: &[Acknowledged], former: &Member, there: &HashSet<String>) {
    let aside: HashSet<String> = former
        .set_aside()
        .lines()
        .filter_map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(record["key"].as_str()?.to_owned())
        })
        .collect();
    let (mut kept, mut hoped, mut found) = (0, 0, 0);
    for one in acknowledged {
        for key in &one.kept {
            assert!(
                there.contains(key),
                "{key} was acknowledged by a replica and is lost"
            );
            kept += 1;
        }
        for key in &one.hoped {
            let is_there = there.contains(key);
            assert!(
                is_there || aside.contains(key),
                "{key} was acknowledged, and is nowhere"
            );
            hoped += 1;
            found += u64::from(!is_there);
        }
    }
    assert!(kept > 0 && hoped > 0);
    eprintln!("  {kept} writes with a replica, {hoped} without, {found} of them set aside");
}

/// Ends the writers when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
