//! What takes long between two nodes: a large value, a primary of which only a byte comes now and then, names that
//! nobody resolves. None of it keeps a replica from following, nor from taking over.

use crate::common::cluster::{Member, become_equal};
use crate::common::node::Setup;
use crate::common::proxy::Proxy;
use crate::common::{eventually, poll, skip};
use std::path::Path;
use std::time::Duration;

#[test]
fn a_large_value_gets_across_though_that_takes_longer_than_a_failover() {
    const VALUE_BYTES: usize = 24 << 20;
    let first = Member::primary(&["--max-value", "32MiB"]);
    let second = Member::replica(&[&first], &["--failover-after", "500ms"]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    second.is_even();
    // Some 10 MiB a second at most: it takes more than two seconds.
    first.link.slow(64 * 1024, Duration::from_millis(6));
    let value = "v".repeat(VALUE_BYTES);
    first.set("large", &value);
    let mut took_over = false;
    eventually("it gets across, and nobody takes over", || {
        took_over |= second.is_primary();
        took_over || second.status()["log"]["offset"] == first.status()["log"]["offset"]
    });
    assert!(!took_over);
    become_equal(&[&first, &second]);
    assert_eq!(second.value("large").map(|value| value.len()), Some(VALUE_BYTES));
    // It was read from the log for one follower, and not again and again.
    let sent = first.link.bytes();
    assert!(sent < 2 * VALUE_BYTES as u64, "{sent} bytes were sent");
    let resident = first.server.resident_bytes();
    assert!(resident < 256 << 20, "{resident} bytes are resident");
    first.link.slow(64 * 1024, Duration::ZERO);
    first.set("k", "2");
    become_equal(&[&first, &second]);
}

/// Short waits serve a take-over. A successor that has not heard the primary would not take over, and reaches it as
/// any other replica does.
#[test]
fn a_successor_reaches_a_primary_that_answers_later_than_a_failover_waits() {
    let first = Member::primary(&[]);
    first.set("k", "1");
    first.link.slow(64 * 1024, Duration::from_millis(250));
    let second = Member::replica(&[&first], &["--failover-after", "1s"]);
    eventually("it has reached it", || {
        second.server.get("/kv/k?raw").status == 200
    });
    first.link.slow(64 * 1024, Duration::ZERO);
    become_equal(&[&first, &second]);
}

#[test]
fn a_primary_that_dribbles_is_taken_over_from() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &["--failover-after", "600ms"]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    second.is_even();
    // A byte at a time, each well before any silence is one.
    first.link.slow(1, Duration::from_millis(50));
    eventually("it takes over", || second.is_primary());
    assert_eq!(second.value("k").as_deref(), Some("1"));
}

#[test]
fn a_replica_that_was_behind_for_long_says_why_it_does_not_take_over() {
    let mut first = Member::primary(&["--max-value", "32MiB"]);
    let second = Member::replica(&[&first], &["--failover-after", "500ms"]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    second.is_even();
    // What is written while the value is on its way, the replica cannot have.
    first.link.slow(64 * 1024, Duration::from_millis(20));
    let before = first.link.bytes();
    first.set("large", &"v".repeat(24 << 20));
    first.set("late", "1");
    eventually("a part of it has come", || {
        first.link.bytes() > before + (8 << 20)
    });
    first.server.kill_9();
    eventually("it says why", || {
        let error = second.status()["replication"]["error"].clone();
        let error = error.as_str().unwrap_or_default().to_owned();
        error.contains("had been behind it") && error.contains("pykv promote --force")
    });
    assert!(!second.is_primary());
    first.link.slow(64 * 1024, Duration::ZERO);
    first.start_again();
    become_equal(&[&first, &second]);
    assert_eq!(second.value("late").as_deref(), Some("1"));
}

/// For how long a look-up of a name hangs. A resolver that is silent takes as long.
const LOOK_UP: &str = "sendmmsg:error=ETIMEDOUT:delay_enter=10000000";

/// By then a successor with `--failover-after 500ms` has taken over, also on a busy machine; and no look-up has ended.
const TAKES_OVER_MAX: Duration = Duration::from_secs(8);

#[test]
fn a_silent_resolver_does_not_delay_a_failover() {
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    let trace = trace.to_str().unwrap();
    let can_trace = std::process::Command::new("strace")
        .args(["-f", "-o", trace, "--trace=sendmmsg", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !can_trace {
        return skip("a silent resolver", "strace cannot trace here");
    }
    let mut first = Member::primary(&[]);
    // The questions of the system's resolver, and nothing else of a node, are sent with this call.
    let inject = format!("--inject={LOOK_UP}");
    let wrapper = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        trace,
        "--trace=sendmmsg",
        &inject,
    ];
    let link = Proxy::start();
    let advertise = link.address();
    let from = format!("{},gone.invalid:7958", first.link.address());
    let args = ["--failover-after", "500ms", "--advertise", &advertise];
    let second = Member::of(Setup::replica(&from, &args).wrapper(&wrapper), link);
    first.set("k", "1");
    assert!(
        poll(TAKES_OVER_MAX, || second.server.get("/kv/k?raw").body == b"1"),
        "it follows no sooner than the name is given up: {}",
        second.status()
    );
    second.is_even();
    first.server.kill_9();
    assert!(
        poll(TAKES_OVER_MAX, || second.is_primary()),
        "{}",
        second.status()
    );
    second.set("k", "2");
    let asked = std::fs::read_to_string(Path::new(trace)).unwrap_or_default();
    if !asked.contains("sendmmsg") {
        skip("a silent resolver", "the system resolves names in another way");
    }
}
