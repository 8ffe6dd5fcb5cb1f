//! Who is primary changes, by hand or by itself, and whoever was it before finds its way back.

use crate::common::cluster::{Member, become_equal};
use crate::common::proxy::Mode;
use crate::common::{eventually, poll, pykv};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

/// The node before comes back, and is a replica of the other one.
fn comes_back_as_replica(before: &Member, now: &Member) {
    eventually("it has stepped down", || !before.is_primary());
    become_equal(&[before, now]);
    assert!(now.is_primary());
    let answer = before
        .server
        .client()
        .put("/kv/to-whom?upsert=true", b"1")
        .expect(307);
    assert!(answer.header("Location").unwrap().contains(&now.link.address()));
}

#[test]
fn a_replica_is_made_primary_by_hand_and_the_one_before_steps_down() {
    let first = Member::primary(&[]);
    first.set("k", "1");
    let second = Member::replica(&[&first], &[]);
    become_equal(&[&first, &second]);
    let version = first.server.get("/kv/k").expect(200).version();

    assert_eq!(
        pykv(&["promote"]).at(&first.server).run().code,
        Some(4),
        "it is primary already"
    );
    second.promote();
    comes_back_as_replica(&first, &second);
    assert_eq!(second.status()["log"]["term"], 2);
    let later = second.set("k", "2");
    assert!(
        later.version() > version + (1 << 32),
        "no version of before can come back"
    );
    become_equal(&[&first, &second]);
    assert_eq!(first.set_aside(), "", "nobody had written");

    // And back again.
    first.promote();
    comes_back_as_replica(&second, &first);
    assert_eq!(first.status()["log"]["term"], 3);
}

#[test]
fn what_only_the_one_before_had_is_set_aside() {
    let mut first = Member::primary(&[]);
    let second = Member::replica(&[&first], &[]);
    first.set("both", "1");
    become_equal(&[&first, &second]);
    first.link.set(Mode::Cut);
    second.link.set(Mode::Cut);
    first.set("lost", "here");
    first.set("both", "2");
    let refused = pykv(&["promote"]).at(&second.server).run();
    assert_eq!(refused.code, Some(6), "the primary cannot be asked: {refused:?}");
    second.promote_by_force();
    second.set("new", "there");
    assert!(first.is_primary(), "nobody has told it");
    first.link.set(Mode::Pass);
    second.link.set(Mode::Pass);
    comes_back_as_replica(&first, &second);
    assert_eq!(first.value("lost"), None);
    assert_eq!(first.value("both").as_deref(), Some("1"));
    assert_eq!(first.value("new").as_deref(), Some("there"));
    let aside = first.set_aside();
    assert!(
        aside.contains("\"lost\"") && aside.contains("\"here\""),
        "{aside}"
    );
    assert!(!aside.contains("\"new\""), "{aside}");
    send_again(&first, &second);
    // It is a replica from now on, however it was started.
    first.server.kill_9();
    first.start_again();
    assert!(!first.is_primary());
    become_equal(&[&first, &second]);
}

/// What `first` has set aside is sent to `second`, but for the key that was changed there.
fn send_again(first: &Member, second: &Member) {
    let aside: Vec<String> = std::fs::read_dir(first.server.dir())
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|path| path.contains("diverged-"))
        .collect();
    let reapply = |flags: &[&str]| {
        let mut args = vec!["reapply"];
        args.extend(flags);
        args.extend(aside.iter().map(String::as_str));
        // The replica sends writes on to the primary.
        pykv(&args).at(&first.server).run()
    };
    assert_eq!(reapply(&[]).code, Some(2), "nobody can be asked");
    second.set("both", "3");
    become_equal(&[first, second]);
    let plan = reapply(&["--dry-run"]);
    assert_eq!(plan.code, Some(4));
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(
        plan.contains("would set \"lost\"") && plan.contains("left \"both\""),
        "{plan}"
    );
    let plan = String::from_utf8(reapply(&["--dry-run", "--json"]).stdout).unwrap();
    assert!(plan.contains(r#"{"key":"lost","result":"would_set"}"#), "{plan}");
    assert_eq!(second.value("lost"), None);
    assert_eq!(reapply(&["--yes"]).code, Some(4));
    assert_eq!(second.value("lost").as_deref(), Some("here"));
    assert_eq!(second.value("both").as_deref(), Some("3"));
    let version = second.server.get("/kv/lost").version();
    assert_eq!(reapply(&["--yes"]).code, Some(4));
    assert_eq!(
        second.server.get("/kv/lost").version(),
        version,
        "it is there already"
    );
    become_equal(&[first, second]);
}

#[test]
fn the_one_before_is_told_when_it_comes_back_as_it_was_started() {
    let mut first = Member::primary(&[]);
    let second = Member::replica(&[&first], &["--failover-after", "500ms"]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    second.is_even();
    first.server.kill_9();
    eventually("it takes over", || second.is_primary());
    second.set("k", "2");
    first.start_again();
    comes_back_as_replica(&first, &second);
    assert_eq!(first.value("k").as_deref(), Some("2"));
}

#[test]
fn a_primary_that_hangs_is_taken_over_from() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &["--failover-after", "500ms"]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    second.is_even();
    first.server.suspend();
    eventually("it takes over", || second.is_primary());
    second.set("k", "2");
    first.server.signal(Signal::CONT);
    comes_back_as_replica(&first, &second);
}

#[test]
fn a_replica_that_never_had_everything_does_not_take_over() {
    let first = Member::primary(&[]);
    first.set("k", "1");
    let mut second = Member::replica(&[&first], &["--failover-after", "300ms"]);
    become_equal(&[&first, &second]);
    second.server.kill_9();
    first.set("k", "2");
    first.link.set(Mode::Cut);
    second.start_again();
    // What would be wrong takes a while, so a while is given to it.
    assert!(!poll(Duration::from_secs(2), || second.is_primary()));
    first.link.set(Mode::Pass);
    become_equal(&[&first, &second]);
}

#[test]
fn other_replicas_find_the_new_primary() {
    let mut first = Member::primary(&[]);
    let second = Member::replica(&[&first], &["--failover-after", "500ms"]);
    let third = Member::replica(&[&first, &second], &[]);
    first.set("k", "1");
    become_equal(&[&first, &second, &third]);
    second.is_even();
    first.server.kill_9();
    eventually("it takes over", || second.is_primary());
    second.set("k", "2");
    become_equal(&[&second, &third]);
    eventually("it knows of the new one", || {
        third.status()["replication"]["primary"] == second.link.address()
    });
    first.start_again();
    comes_back_as_replica(&first, &second);
    become_equal(&[&first, &second, &third]);
    assert_eq!(
        second.status()["replication"]["followers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn of_two_that_are_promoted_one_stays() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &[]);
    let third = Member::replica(&[&first, &second], &[]);
    first.set("k", "1");
    become_equal(&[&first, &second, &third]);
    first.link.set(Mode::Cut);
    std::thread::scope(|scope| {
        for member in [&second, &third] {
            // One of them may have heard of the other already.
            scope.spawn(|| pykv(&["promote", "--force"]).at(&member.server).run());
        }
    });
    first.link.set(Mode::Pass);
    let count = || {
        [&first, &second, &third]
            .iter()
            .filter(|member| member.is_primary())
            .count()
    };
    eventually("one primary is left", || count() == 1);
    become_equal(&[&first, &second, &third]);
    assert_eq!(count(), 1);
    assert_eq!(first.value("k").as_deref(), Some("1"));
}

#[test]
fn nobody_stands_in_for_the_successor() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &["--failover-after", "60s"]);
    let third = Member::replica(&[&first], &[]);
    first.set("k", "1");
    become_equal(&[&first, &second, &third]);
    let headers = [
        ("Pykv-Sync-Replicas", "1"),
        ("Pykv-Sync-Required", "true"),
        ("Pykv-Sync-Timeout", "20"),
    ];
    let mut client = first.server.client();
    client.request("PUT", "/kv/k", &headers, b"2").expect(200);
    second.server.suspend();
    let brief = [headers[0], headers[1], ("Pykv-Sync-Timeout", "0.3")];
    client.request("PUT", "/kv/k", &brief, b"3").expect_problem(503);
    become_equal(&[&first, &third]);
    second.server.signal(Signal::CONT);
    client.request("PUT", "/kv/k", &headers, b"4").expect(200);
}

#[test]
fn a_promotion_says_what_its_own_bound_evicts() {
    const KEYS: usize = 100;
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &["--max-capacity", "10"]);
    let third = Member::replica(&[&first], &[]);
    first.fill("k", KEYS, "value");
    become_equal(&[&first, &second, &third]);
    // As long as it is a replica it holds what the primary holds.
    assert_eq!(second.value("k0").as_deref(), Some("value"));
    // And says so before anybody promotes it.
    let trouble = second.status()["replication"]["error"].clone();
    let expected =
        "there are 100 entries, and --max-capacity of this replica is 10: a promotion evicts what is over";
    assert_eq!(trouble, expected);
    assert_eq!(third.status()["replication"]["error"], Value::Null);
    let said = String::from_utf8(pykv(&["promote"]).at(&second.server).succeed()).unwrap();
    assert!(said.contains("it evicted 90 keys"), "{said}");
    assert!(said.contains("bounds are smaller"), "{said}");
    assert_eq!(second.value("k1"), None);
    assert_eq!(second.value("k99").as_deref(), Some("value"));
    become_equal(&[&first, &second, &third]);
    let said = pykv(&["promote", "--json"]).at(&third.server).succeed();
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(
        (&said["evicted"], &said["left_behind_bytes"]),
        (&0.into(), &0.into()),
        "{said}"
    );
    assert!(second.server.stderr().contains("it evicted 90 keys"));
}
