//! What nodes at rest ask of etcd.

use crate::common::cluster::Member;
use crate::common::etcd::Etcd;
use crate::common::{Client, eventually, skip};
use std::time::{Duration, Instant};

/// Requests that a node at rest may make of etcd in a second.
const REQUESTS_A_SECOND_MAX: f64 = 2.0;

/// How long it is counted.
const COUNTED: Duration = Duration::from_secs(6);

/// How many requests etcd has been asked so far, by its own count.
fn requests(etcd: &Etcd) -> f64 {
    let metrics = Client::connect(etcd.address(0)).get("/metrics").expect(200);
    let metrics = String::from_utf8(metrics.body).unwrap();
    let started = metrics
        .lines()
        .filter(|line| line.starts_with("grpc_server_started_total"));
    let counts = started.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    counts.sum()
}

#[test]
fn nodes_at_rest_leave_etcd_at_rest() {
    let Some(etcd) = Etcd::start(1) else {
        return skip("nodes_at_rest_leave_etcd_at_rest", "etcd is not installed");
    };
    let nodes: Vec<Member> = (0..3).map(|_| Member::elected(&etcd, &[])).collect();
    eventually("one is primary, and the others follow", || {
        let statuses: Vec<_> = nodes.iter().map(Member::status).collect();
        let is = |field: &str, word: &str| {
            let found = statuses.iter().filter(|status| match field {
                "role" => status["role"] == word,
                _ => status["replication"]["state"] == word,
            });
            found.count()
        };
        is("role", "primary") == 1 && is("state", "streaming") == 2
    });
    let (before, begun) = (requests(&etcd), Instant::now());
    // What is counted is what happens while nothing does.
    std::thread::sleep(COUNTED); // The time that is counted: nothing is waited for.
    let counted = requests(&etcd) - before;
    let a_second = counted / begun.elapsed().as_secs_f64() / nodes.len() as f64;
    eprintln!("a node at rest makes {a_second:.2} requests of etcd a second");
    assert!(counted > 0.0, "a lease is renewed");
    assert!(
        a_second <= REQUESTS_A_SECOND_MAX,
        "more than {REQUESTS_A_SECOND_MAX}"
    );
}
