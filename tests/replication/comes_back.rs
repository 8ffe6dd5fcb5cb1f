//! A primary that was away asks those it knows whether it still is the primary, before it takes a write.

use crate::common::cluster::{Member, become_equal};
use crate::common::eventually;

/// The primary ends, another one takes its place, and the first comes back to clients that write to it at once.
fn comes_back(successor: &[&str]) {
    let mut a = Member::primary(&[]);
    let b = Member::replica(&[&a], successor);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    b.is_even();
    a.server.kill_9();
    match successor {
        [] => b.promote_by_force(),
        _ => eventually("it takes over", || b.is_primary()),
    }
    b.set("k", "2");
    a.start_again();
    let mut client = a.server.client();
    let mut acknowledged = 0;
    for number in 0..500 {
        let answer = client.put(&format!("/kv/late{number}?upsert=true"), b"1");
        acknowledged += u64::from(answer.is_success());
    }
    assert_eq!(acknowledged, 0, "writes were acknowledged that will be set aside");
    eventually("it steps down", || !a.is_primary());
    become_equal(&[&a, &b]);
    assert_eq!(a.set_aside(), "");
}

#[test]
fn one_that_was_taken_over_from_takes_no_write_before_it_has_asked() {
    comes_back(&["--failover-after", "500ms"]);
}

#[test]
fn one_whose_replica_was_promoted_takes_no_write_before_it_has_asked() {
    comes_back(&[]);
}
