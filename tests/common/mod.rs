//! What the tests share: a node that runs as a process of its own, a raw HTTP client, the command line.
//!
//! | file | what it is |
//! | --- | --- |
//! | `node` | the real binary, started on a free port in a directory of its own, killed on drop |
//! | `client` | HTTP/1.1 over a bare socket, so that a test decides every byte that is sent |
//! | `cluster` | a node that others reach by a proxy, so by one address over all its lives |
//! | `proxy` | a link between two nodes that can be cut, slowed, halved, hung and made to lie |
//! | `network` | links between all pairs of nodes, each way by itself |
//! | `namespaces` | hosts that are network namespaces, each of which hears what a test lets it hear |
//! | `opener` | which process opened a connection |
//! | `cli` | one run of a subcommand: arguments, standard input, exit code, output |
//! | `engine` | a real Redis, as a single server or a cluster of six |
//! | `etcd` | a real etcd of one member or three |
//! | `fake` | something that is no node, where one should be |
//! | `faketime` | another clock for a node |
//! | `files` | the segments of a log; a copy of a directory |
//! | `replicas` | what a replica says of its primary |
//! | `small_disk` | a disk that is soon full |
//! | `tls` | certificates, and HTTP under TLS |
//! | `random` | numbers that look random and are the same in every run |
//!
//! Nothing here sleeps for a fixed time and hopes: whatever takes time is polled until a deadline that is
//! far beyond what a slow machine needs, and which only a failing test ever reaches.

// Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

pub mod browser;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod engine;
pub mod etcd;
pub mod fake;
pub mod faketime;
pub mod files;
pub mod namespaces;
pub mod network;
pub mod node;
pub mod opener;
pub mod proxy;
pub mod random;
pub mod replicas;
pub mod small_disk;
pub mod tls;

pub use cli::pykv;
pub use client::{Client, Response};
pub use node::Server;
pub use random::Random;

use std::time::{Duration, Instant};

/// How long anything may take that should happen soon. Only a failing test waits this long.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks until it is so or the deadline has passed; says whether it is so.
pub fn poll(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2)); // Between two looks, up to the deadline.
    }
}

/// Asks until it is so, and fails the test where it has not become so in [`SOON`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(poll(SOON, condition), "not within {SOON:?}: {what}");
}

/// A number that the environment sets, or the one that a plain `cargo test` uses.
pub fn setting(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => default,
    }
}

/// Says on the real standard error that a test did not run, and why: never silently.
pub fn skip(test: &str, why: &str) {
    // Past the capture of the test harness, which would hide it in a run that succeeds.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}");
}
