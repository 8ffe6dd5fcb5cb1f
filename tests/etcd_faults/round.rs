//! One round: clients work, the fault is done, everything is healed, and what must hold is held against it.

use super::acks::{self, Ack};
use super::checker;
use super::clients::{ADDED, Board, Workload};
use super::cluster::{Cluster, NODES};
use super::faults::{self, Situation, Step};
use super::history::History;
use super::planted;
use crate::common::{Random, SOON, eventually, poll};
use serde_json::Value;
use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;

/// Those of them that ask any node.
const WANDERERS: usize = 3;

/// Keys that clients read and write in a round.
const KEYS: usize = 24;

/// Writes that are acknowledged before the fault and after it.
const WRITES: u64 = 100;

/// How long a cluster may take to be one again, once all is healed.
const CONVERGES_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether the cluster is one: each look costs all nodes some connections.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a round has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub acknowledged: u64,
    pub unknown: u64,
    /// From the heal on, until all nodes followed one primary.
    pub converged: Duration,
    /// The longest time without an acknowledged write.
    pub longest_gap: Duration,
    /// Whether a stale read and a lost write could be planted, and were found.
    pub stale_reads_found: usize,
    pub lost_writes_found: usize,
}

/// Does a round. The cluster is one before it and after it.
pub fn round(
    cluster: &mut Cluster,
    number: u64,
    random: &mut Random,
    sync_reads: bool,
    draw: impl FnOnce(&mut Random, &Situation) -> Vec<Step>,
) -> Seen {
    let situation = situation(cluster);
    let steps = draw(random, &situation);
    let order = faults::shuffled(random, NODES);
    let seed = random.next();
    // The clients' part of the cluster outlives the borrow of what is done to it.
    let board = std::mem::replace(&mut cluster.board, Board::new(Vec::new()));
    let workload = Workload::new(&board, format!("r{number}-"), KEYS);
    let begun = board.start.elapsed();
    let mut seen = Seen::default();
    let mut healed = Duration::ZERO;
    thread::scope(|scope| {
        // A client would go on for ever behind an assertion that fails.
        let end = End(&workload);
        for client in 0..CLIENTS {
            let random = Random::new(seed.wrapping_add(client as u64));
            let workload = &workload;
            scope.spawn(move || workload.run(client, client < WANDERERS, random));
        }
        works(&workload, cluster);
        perform(cluster, &board, &steps);
        cluster.heal(&order, &board);
        let since = Instant::now();
        converges(cluster, since);
        seen.converged = since.elapsed();
        healed = board.start.elapsed();
        works(&workload, cluster);
        drop(end);
    });
    is_equal(cluster);
    seen.acknowledged = workload.acknowledged();
    seen.unknown = workload.unknown();
    let histories = workload.into_histories();
    for (key, history) in histories.iter().enumerate() {
        check_history(key, history, healed, sync_reads, &mut seen);
    }
    check_acks(&board, begun, &mut seen);
    check_ledger(cluster, &board);
    cluster.board = board;
    seen
}

/// How things are; the cluster has converged.
fn situation(cluster: &Cluster) -> Situation {
    let (mut at, mut leader) = (None, None);
    let is_known = poll(SOON, || {
        at = primary(cluster);
        leader = cluster.etcd.leader();
        at.is_some() && leader.is_some()
    });
    assert!(
        is_known,
        "no primary, or no leader of etcd:\n{}",
        describe(cluster)
    );
    Situation {
        nodes: NODES,
        primary: at.unwrap_or_default(),
        members: cluster.etcd.len(),
        leader: leader.unwrap_or_default(),
    }
}

/// Waits until clients have work done.
fn works(workload: &Workload<'_>, cluster: &Cluster) {
    let before = workload.acknowledged();
    let works = poll(SOON, || workload.acknowledged() >= before + WRITES);
    assert!(works, "writes are not acknowledged:\n{}", describe(cluster));
}

/// Does each step when its moment comes.
fn perform(cluster: &mut Cluster, board: &Board, steps: &[Step]) {
    let begun = Instant::now();
    for step in steps {
        let left = (begun + step.at).saturating_duration_since(Instant::now());
        thread::sleep(left); // The pace of a fault: nothing is waited for.
        let done = cluster.apply(step.operation, board);
        eprintln!("  {step}{}", if done { "" } else { " (left out)" });
    }
}

/// The only primary, if there is one and all nodes say what they are.
fn primary(cluster: &Cluster) -> Option<usize> {
    let statuses: Option<Vec<Value>> = (0..NODES).map(|node| cluster.status(node)).collect();
    let statuses = statuses?;
    let mut primaries = (0..NODES).filter(|node| statuses[*node]["role"] == "primary");
    primaries.next().filter(|_| primaries.next().is_none())
}

/// Waits until there is one primary that all others follow, and that one of them could replace. No hand helps.
pub fn converges(cluster: &Cluster, since: Instant) {
    let is_one = poll(CONVERGES_MAX.saturating_sub(since.elapsed()), || {
        thread::sleep(LOOK_EVERY); // Between two looks, up to the deadline.
        primary(cluster).is_some_and(|primary| {
            let address = cluster.advertised(primary);
            let mut others = (0..NODES).filter(|node| *node != primary);
            let are_following = others.all(|node| {
                let status = cluster.status(node).unwrap_or_default();
                let replication = &status["replication"];
                replication["state"] == "streaming" && replication["primary"] == address.as_str()
            });
            are_following && cluster.has_standby(primary)
        })
    });
    assert!(
        is_one,
        "no one primary that all others follow and that one could replace, {CONVERGES_MAX:?} after all was healed:\n{}",
        describe(cluster)
    );
}

/// Waits until all nodes hold the same; nobody writes.
fn is_equal(cluster: &Cluster) {
    let state = |node: usize| {
        let log = cluster.status(node)?["log"].clone();
        Some([&log["digest_offset"], &log["digest"], &log["offset"]].map(Value::clone))
    };
    let is_equal = poll(CONVERGES_MAX, || {
        let first = state(0);
        first.is_some() && (1..NODES).all(|node| state(node) == first)
    });
    assert!(is_equal, "the nodes do not hold the same:\n{}", describe(cluster));
}

fn check_history(key: usize, history: &History, healed: Duration, sync_reads: bool, seen: &mut Seen) {
    let checked = match sync_reads {
        true => history.clone(),
        // A read may show a write that is not acknowledged, and that a failover then undoes.
        false => history.without_reads_of_unacknowledged_writes(&[healed]),
    };
    if let Err(violation) = checker::check(&checked) {
        panic!("the key {key} of this round is no register: {violation}");
    }
    // The check finds what it is for.
    if let Some(stale) = planted::stale_read(&checked) {
        assert!(checker::check(&stale).is_err(), "a stale read is not found");
        seen.stale_reads_found += 1;
    }
    if let Some(lost) = planted::lost_write(&checked) {
        assert!(checker::check(&lost).is_err(), "a lost write is not found");
        seen.lost_writes_found += 1;
    }
}

fn check_acks(board: &Board, begun: Duration, seen: &mut Seen) {
    let acks = board.acks.lock().unwrap();
    if let Err(overlap) = acks::check(&acks) {
        panic!("{overlap}");
    }
    if let Some(planted) = acks::with_lost_term(&acks) {
        assert!(acks::check(&planted).is_err(), "a lost term is not found");
    }
    let mut came: Vec<Duration> = acks.iter().map(|ack: &Ack| ack.came).collect();
    came.retain(|came| *came >= begun);
    came.sort_unstable();
    let gaps = came.windows(2).map(|two| two[1] - two[0]);
    seen.longest_gap = gaps.max().unwrap_or_default();
}

/// Everything that was acknowledged in all rounds is there.
fn check_ledger(cluster: &Cluster, board: &Board) {
    let mut primary_now = None;
    eventually("there is a primary", || {
        primary_now = primary(cluster);
        primary_now.is_some()
    });
    let mut client = cluster.server(primary_now.unwrap_or_default()).client();
    let mut there = HashSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/kv/?prefix={ADDED}&limit=1000{cursor}");
        let page = client.get(&path).expect(200).body_json();
        let on_page = page["keys"].as_array().unwrap().iter();
        there.extend(on_page.map(|key| key.as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let ledger = board.ledger.lock().unwrap();
    let missing: Vec<&String> = ledger.iter().filter(|key| !there.contains(*key)).collect();
    assert!(
        missing.is_empty(),
        "{} writes were acknowledged, and are lost: {:?} and so on",
        missing.len(),
        &missing[..missing.len().min(10)]
    );
}

fn describe(cluster: &Cluster) -> String {
    let describe = |node| {
        let status = cluster.status(node).unwrap_or_default();
        let log = &status["log"];
        format!(
            "{} at {}: {} in term {} at offset {}, digest {} at {}; {}\n",
            (b'A' + node as u8) as char,
            cluster.advertised(node),
            status["role"],
            log["term"],
            log["offset"],
            log["digest"],
            log["digest_offset"],
            status["replication"]
        )
    };
    let nodes: String = (0..NODES).map(describe).collect();
    let keys = cluster.etcd.try_ctl(0, &["get", "--prefix", "/pykv/"]);
    let keys = keys.map_or_else(
        || "cannot be read".to_owned(),
        |keys| String::from_utf8_lossy(&keys).into_owned(),
    );
    format!("{nodes}etcd: {keys}")
}

/// Ends the clients when it goes.
struct End<'a, 'b>(&'a Workload<'b>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
