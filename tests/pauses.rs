//! A node that is suspended: its own clock stood still, and the others went on.

#![allow(clippy::unwrap_used)]

mod common;

use common::cluster::{Member, become_equal};
use common::{eventually, poll};
use rustix::process::Signal;
use std::time::Duration;

/// A successor with `--failover-after 500ms` that takes over at all has done so by then.
const TAKES_OVER_MAX: Duration = Duration::from_millis(2500);

/// Longer than any pause that counts as none.
const PAUSE: Duration = Duration::from_secs(3);

#[test]
fn a_successor_that_was_suspended_hears_the_primary_before_it_takes_over() {
    let mut a = Member::primary(&[]);
    let b = Member::replica(&[&a], &["--failover-after", "500ms"]);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    b.is_even();
    b.server.signal(Signal::STOP);
    a.fill("lost", 300, "value");
    // Pauses up to a second are none.
    assert!(!poll(PAUSE, || !a.is_primary()), "nobody takes over");
    a.server.kill_9();
    b.server.signal(Signal::CONT);
    // What would be wrong takes a while, so a while is given to it.
    assert!(
        !poll(TAKES_OVER_MAX, || b.is_primary()),
        "it takes over without 300 writes that were acknowledged"
    );
    a.start_again();
    become_equal(&[&a, &b]);
    assert_eq!(b.value("lost299").as_deref(), Some("value"));
    // It takes over from then on, as before.
    b.is_even();
    a.server.kill_9();
    eventually("it takes over", || b.is_primary());
}

#[test]
fn a_primary_that_was_suspended_takes_no_write_for_replicated_that_nobody_has() {
    let a = Member::primary(&[
        "--sync-replicas",
        "1",
        "--sync-required",
        "--sync-timeout",
        "500ms",
    ]);
    let b = Member::replica(&[&a], &["--failover-after", "500ms"]);
    let c = Member::replica(&[&a, &b], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b, &c]);
    b.is_even();
    a.server.signal(Signal::STOP);
    eventually("it is taken over from", || b.is_primary());
    a.server.signal(Signal::CONT);
    let mut client = a.server.client();
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let key = format!("late{number}");
        let answer = client.put(&format!("/kv/{key}?upsert=true"), b"1");
        if answer.is_success() {
            acknowledged.push(key);
        }
    }
    eventually("it steps down", || !a.is_primary());
    become_equal(&[&a, &b, &c]);
    for key in acknowledged {
        assert_eq!(
            b.value(&key).as_deref(),
            Some("1"),
            "{key} was acknowledged, and is lost"
        );
    }
}
