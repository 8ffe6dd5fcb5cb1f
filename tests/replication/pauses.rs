//! A node that is suspended, and news that lay somewhere meanwhile: what it takes for now was long ago.

use crate::common::cluster::{Member, become_equal};
use crate::common::fake::{Asked, Fake};
use crate::common::proxy::Mode;
use crate::common::replicas::{LOOKED_AT, says_even};
use crate::common::{Client, eventually, poll};
use rustix::process::Signal;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
    b.server.suspend();
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
    a.server.suspend();
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

/// Passes handshakes on to a node, and answers nothing else. Says in `has_passed` that it did.
fn shakes_hands_only(node: SocketAddr, has_passed: Arc<AtomicBool>) -> Fake {
    Fake::start(move |asked: &Asked, stream: &mut TcpStream| {
        if asked.method != "POST" {
            return Ok(());
        }
        let headers = [("Content-Type", "application/json")];
        let answer = Client::try_connect(node)?.try_request("POST", &asked.target, &headers, &asked.body)?;
        let body = String::from_utf8_lossy(&answer.body);
        stream.write_all(&crate::common::fake::json(&body))?;
        has_passed.store(true, Relaxed);
        Ok(())
    })
}

#[test]
fn an_answer_that_waited_during_a_pause_does_not_say_what_the_primary_has_now() {
    let mut a = Member::primary(&[]);
    let b = Member::replica(&[&a], &["--failover-after", "500ms"]);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    b.is_even();
    // The answer to its question comes, and waits.
    let before = a.link.bytes();
    b.server.suspend();
    eventually("the primary answers", || a.link.bytes() > before);
    a.fill("lost", 300, "value");
    assert!(!poll(PAUSE, || !a.is_primary()), "nobody takes over");
    // It finds the primary again, and gets nothing of its log before that ends.
    let has_passed = Arc::new(AtomicBool::new(false));
    let fake = shakes_hands_only(a.server.address(), has_passed.clone());
    a.link.lead_to(fake.address());
    a.link.half_close();
    b.server.signal(Signal::CONT);
    eventually("it hears the primary", || has_passed.load(Relaxed));
    a.server.kill_9();
    assert!(
        !poll(TAKES_OVER_MAX, || b.is_primary()),
        "it takes over without 300 writes that were acknowledged"
    );
    a.start_again();
    become_equal(&[&a, &b]);
    assert_eq!(b.value("lost299").as_deref(), Some("value"));
}

#[test]
fn an_answer_that_was_long_on_its_way_is_old_news() {
    let a = Member::primary(&[]);
    let b = Member::replica(&[&a], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    b.is_even();
    // The link keeps what the primary says of now, which is long ago when it passes.
    a.link.set(Mode::Hang);
    // It waits 3.5 s for an answer; what came after 2.7 s may be 2.2 s old, since the primary may wait for half a
    // second with it.
    eventually("it is behind", || {
        b.status()["replication"]["lag_ms"].as_u64() > Some(2700)
    });
    a.server.suspend();
    a.link.set(Mode::Pass);
    assert!(!poll(LOOKED_AT, || says_even(&b)), "{}", b.status());
    a.server.signal(Signal::CONT);
    eventually("it follows again", || says_even(&b));
}
