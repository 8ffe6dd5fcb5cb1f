//! Through failovers every key is one register: whatever its clients were told fits one order of all that was done
//! to it.
//!
//! Two nodes, a primary and its successor, both with `--sync-replicas 1 --sync-required`. Eight clients read, write,
//! compare and set, and delete twelve keys at whichever node is primary; like a load balancer that asks `/primary`,
//! the test tells them which that is. The primary is killed with SIGKILL, every second time with writes that the
//! successor has not got; the other one takes over, the one before comes back as its successor, and so on. Then each
//! key's history is checked.
//!
//! | file | what it is |
//! | --- | --- |
//! | `register` | what one key is: the operations, and what each answer says of the state |
//! | `history` | what the clients of one key did, and when |
//! | `checker` | looks for an order that explains a history |
//! | `clients` | the clients |
//! | `planted` | histories that are wrong, which the checker must find |
//!
//! `PYKV_LINEARIZABILITY_FAILOVERS` sets the number of failovers (default 3), `PYKV_LINEARIZABILITY_SEED` what the
//! clients do.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod clients;
mod history;
mod planted;
mod register;

use clients::Workload;
use common::cluster::{Member, become_equal};
use common::node::Setup;
use common::proxy::{Mode, Proxy};
use common::{Random, eventually, poll, setting};
use history::History;
use std::path::Path;
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 8;

const KEYS: usize = 12;

/// Operations that are answered between two failovers.
const OPERATIONS: u64 = 1500;

/// Whether reads wait until replicas have what they show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// A read may show a write that is not acknowledged, and that a failover then undoes: such reads are left out of
    /// the histories.
    AtOnce,
    /// With `--sync-reads`. All that was read counts.
    Sync,
}

impl Reads {
    /// What both nodes are started with.
    fn args(self) -> Vec<&'static str> {
        let mut args = vec!["--sync-replicas", "1", "--sync-required", "--sync-timeout", "1s"];
        args.extend((self == Reads::Sync).then_some("--sync-reads"));
        args
    }
}

/// A node that takes over from another.
fn successor(of: &Member, link: Proxy, dir: &Path, reads: Reads) -> Member {
    let advertise = link.address();
    let args = [
        &reads.args()[..],
        &["--failover-after", "1s", "--advertise", &advertise],
    ]
    .concat();
    Member::of(Setup::replica(&of.link.address(), &args).data(dir), link)
}

/// Waits until a node follows the primary and would take over from it.
fn is_ready(successor: &Member, primary: &Member) {
    let address = successor.link.address();
    successor.is_even();
    eventually("the primary knows its successor", || {
        let followers = primary.status()["replication"]["followers"].clone();
        let is_it = |follower: &serde_json::Value| {
            follower["address"] == address.as_str() && follower["successor"] == true
        };
        followers.as_array().unwrap().iter().any(is_it)
    });
}

/// Holds back what the successor asks, until all clients wait for it or have read what others wait for.
fn have_writes_in_flight(primary: &Member, workload: &Workload) {
    let before = workload.answered();
    primary.link.set(Mode::Hang);
    // Clients that all wait are what is wanted too. The successor must not take over meanwhile.
    poll(Duration::from_millis(100), || workload.answered() >= before + 50);
}

#[test]
fn keys_are_registers_through_failovers() {
    fail_over(Reads::AtOnce);
}

#[test]
fn with_sync_reads_nothing_that_was_read_is_undone() {
    fail_over(Reads::Sync);
}

fn fail_over(reads: Reads) {
    let failovers = setting("PYKV_LINEARIZABILITY_FAILOVERS", 3);
    let seed = setting("PYKV_LINEARIZABILITY_SEED", 1);
    let home = tempfile::tempdir().unwrap();
    let dirs = [home.path().join("a"), home.path().join("b")];
    let link = Proxy::start();
    let advertise = link.address();
    let args = [&reads.args()[..], &["--advertise", &advertise]].concat();
    let mut primary = Member::of(Setup::new(&args).data(&dirs[0]), link);
    let mut other = successor(&primary, Proxy::start(), &dirs[1], reads);
    is_ready(&other, &primary);

    let workload = Workload::new(KEYS);
    workload.begin_at(primary.server.address());
    let (primary, other) = thread::scope(|scope| {
        // A client would go on for ever behind an assertion that fails.
        let end = End(&workload);
        for client in 0..CLIENTS {
            let random = Random::new(seed * 1000 + client as u64);
            let workload = &workload;
            scope.spawn(move || workload.run(client, random));
        }
        let wait_for_work = || {
            let before = workload.answered();
            eventually("clients are answered", || {
                workload.answered() >= before + OPERATIONS
            });
        };
        for failover in 0..failovers {
            wait_for_work();
            if failover % 2 == 1 {
                have_writes_in_flight(&primary, &workload);
            }
            primary.server.kill_9();
            workload.has_ended();
            eventually("the successor takes over", || other.is_primary());
            workload.begin_at(other.server.address());
            // The one before comes back, as the successor of its successor.
            let dir = &dirs[failover as usize % 2];
            let Member { server, link } = primary;
            drop(server);
            link.set(Mode::Pass);
            let back = successor(&other, link, dir, reads);
            eventually("the one before is a replica", || !back.is_primary());
            is_ready(&back, &other);
            (primary, other) = (other, back);
        }
        wait_for_work();
        drop(end);
        (primary, other)
    });
    become_equal(&[&primary, &other]);
    let (histories, failovers) = workload.into_histories();
    for (key, history) in histories.iter().enumerate() {
        check(key, history, &failovers, reads);
    }
}

/// Checks what was done to a key, and that the check would have found faults in it.
fn check(key: usize, history: &History, failovers: &[Duration], reads: Reads) {
    let unknown = history.calls.iter().filter(|call| call.operation.is_unknown());
    let (calls, unknown) = (history.calls.len(), unknown.count());
    let history = match reads {
        Reads::AtOnce => history.without_reads_of_unacknowledged_writes(failovers),
        Reads::Sync => history.clone(),
    };
    let left_out = calls - history.calls.len();
    eprintln!("key{key}: {calls} operations, {unknown} of unknown outcome, {left_out} left out");
    if let Err(violation) = checker::check(&history) {
        panic!("key{key} is no register: {violation}");
    }
    let stale = planted::stale_read(&history).expect("there is a read after two writes");
    assert!(checker::check(&stale).is_err(), "a stale read is not found");
    let lost = planted::lost_write(&history).expect("a value was read twice");
    assert!(checker::check(&lost).is_err(), "a lost write is not found");
}

/// Ends the clients when it goes.
struct End<'a>(&'a Workload);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
