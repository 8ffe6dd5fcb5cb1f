//! Whether a cluster is one: one primary that all others stream from, and all the same everywhere.

use super::cluster::Cluster;
use super::common::SOON;
use super::ledger::Promise;
use super::pace;
use super::schedule::name;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a cluster may take for each of the two, once everything is healed.
pub const CONVERGES_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether the cluster is one.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The only primary, if there is one and all nodes say what they are.
pub fn primary(cluster: &Cluster<'_>) -> Option<usize> {
    let statuses: Option<Vec<Value>> = (0..cluster.count()).map(|node| cluster.status(node)).collect();
    let statuses = statuses?;
    let mut primaries = (0..cluster.count()).filter(|node| statuses[*node]["role"] == "primary");
    primaries.next().filter(|_| primaries.next().is_none())
}

/// The only primary of a cluster that has converged. A node that gets no processor may answer late.
pub fn primary_soon(cluster: &Cluster<'_>) -> usize {
    let mut found = None;
    happens(Instant::now(), || {
        found = primary(cluster);
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("the cluster has not converged:\n{}", describe(cluster)))
}

/// Waits until a new cluster is one. Nothing is promised of how long its processes take to start beside others.
pub fn starts(cluster: &Cluster<'_>) {
    let since = Instant::now();
    let is_one = || streams_from_one(cluster) && are_equal(cluster);
    let has_started = happens_within(SOON, since, is_one);
    assert!(
        has_started,
        "not within {SOON:?} of its start:\n{}",
        describe(cluster)
    );
}

/// Waits until there is one primary and all others stream from it. A hand helps where `promise` says that it may be
/// needed, and only after the cluster had all its time.
pub fn has_primary(cluster: &Cluster<'_>, since: Instant, promise: &Promise) {
    if happens(since, || streams_from_one(cluster)) {
        return;
    }
    let is_headless = (0..cluster.count()).all(|node| !is_primary(cluster, node));
    if promise.may_need_hand() && is_headless {
        let longest = (0..cluster.count()).max_by_key(|node| position(cluster, *node));
        let longest = longest.expect("a cluster has nodes");
        eprintln!(
            "           no node knows itself to be primary: {} is promoted",
            name(longest)
        );
        assert!(cluster.promote_by_hand(longest), "it is not promoted");
        if happens(Instant::now(), || streams_from_one(cluster)) {
            return;
        }
    }
    panic!(
        "no one primary that all others follow, {CONVERGES_MAX:?} after all was healed:\n{}",
        describe(cluster)
    );
}

/// Waits until all nodes hold the same, and still stream from one, once nobody writes.
pub fn is_equal(cluster: &Cluster<'_>, since: Instant) {
    let is_equal = happens(since, || are_equal(cluster) && streams_from_one(cluster));
    assert!(
        is_equal,
        "the nodes do not hold the same, {CONVERGES_MAX:?} after the last write:\n{}",
        describe(cluster)
    );
}

fn are_equal(cluster: &Cluster<'_>) -> bool {
    let first = state(cluster, 0);
    first.is_some() && (1..cluster.count()).all(|node| state(cluster, node) == first)
}

/// What a node holds, and how long its log is.
fn state(cluster: &Cluster<'_>, node: usize) -> Option<[Value; 3]> {
    let log = &cluster.status(node)?["log"];
    Some([&log["digest_offset"], &log["digest"], &log["offset"]].map(Value::clone))
}

/// Whether it becomes so in time.
fn happens(since: Instant, condition: impl FnMut() -> bool) -> bool {
    happens_within(CONVERGES_MAX, since, condition)
}

/// It is looked at now and then, as each look costs every node some connections.
fn happens_within(longest: Duration, since: Instant, mut condition: impl FnMut() -> bool) -> bool {
    loop {
        if condition() {
            return true;
        }
        if since.elapsed() > longest {
            return false;
        }
        pace(LOOK_EVERY);
    }
}

fn streams_from_one(cluster: &Cluster<'_>) -> bool {
    let Some(primary) = primary(cluster) else {
        return false;
    };
    let address = cluster.advertised(primary);
    (0..cluster.count()).filter(|node| *node != primary).all(|node| {
        let status = cluster.status(node).unwrap_or_default();
        let replication = &status["replication"];
        replication["state"] == "streaming" && replication["primary"] == address.as_str()
    })
}

fn is_primary(cluster: &Cluster<'_>, node: usize) -> bool {
    cluster
        .status(node)
        .is_some_and(|status| status["role"] == "primary")
}

/// The term and the length of a node's log.
fn position(cluster: &Cluster<'_>, node: usize) -> Option<(u64, u64)> {
    let log = &cluster.status(node)?["log"];
    Some((log["term"].as_u64()?, log["offset"].as_u64()?))
}

fn describe(cluster: &Cluster<'_>) -> String {
    let describe = |node| {
        let status = cluster.status(node).unwrap_or_default();
        let (log, replication) = (&status["log"], &status["replication"]);
        format!(
            "{} at {}: {} in term {} at offset {}, digest {} at {}; {replication}\n",
            name(node),
            cluster.advertised(node),
            status["role"],
            log["term"],
            log["offset"],
            log["digest"],
            log["digest_offset"]
        )
    };
    (0..cluster.count()).map(describe).collect()
}
