//! A role is handed over: writers wait meanwhile, nothing is lost, and nobody waits for a node that has given up.

#![allow(clippy::unwrap_used)]

mod common;

use common::cluster::{Member, become_equal};
use common::proxy::Mode;
use common::{Client, Response, Server, eventually, poll, pykv};
use pykv::internals::api::{
    Handover, Handshake, PATH_REPLICATION_HANDOVER, PATH_REPLICATION_HELLO, REPLICATION_PROTOCOL,
};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// What a replica asks of a primary before it takes over. The hold lasts no longer than the connection.
fn ask_to_hand_over(
    client: &mut Client,
    primary: &Server,
    node: u64,
    hold_ms: u64,
    step_down: bool,
) -> Response {
    let id = primary.get("/status").body_json()["log"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let headers = [("Content-Type", "application/json")];
    let hello = Handshake {
        protocol: REPLICATION_PROTOCOL,
        node,
        id: id.clone(),
        term: "0".to_owned(),
        branch: format!("{:016x}", 7),
        role: "replica".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        primary: None,
        primary_heard_ms: None,
        offset: 0,
        check: 0,
    };
    let hello = serde_json::to_vec(&hello.sealed()).unwrap();
    let met = client
        .request("POST", PATH_REPLICATION_HELLO, &headers, &hello)
        .expect(200);
    let asked = Handover {
        id,
        term: met.body_json()["term"].as_str().unwrap().to_owned(),
        node,
        address: "127.0.0.1:1".to_owned(),
        hold_ms,
        step_down,
        check: 0,
    };
    let body = serde_json::to_vec(&asked.sealed()).unwrap();
    client.request("POST", PATH_REPLICATION_HANDOVER, &headers, &body)
}

/// A replica that was suspended between the question and its promotion comes too late, and takes no write away that the
/// primary has answered since.
#[test]
fn a_primary_steps_down_only_for_the_replica_that_it_holds_its_writers_for() {
    let primary = Server::start(&[]);
    let (mut client, mut seven, mut eight) = (primary.client(), primary.client(), primary.client());
    client.put("/kv/k?upsert=true", b"1").expect(201);
    ask_to_hand_over(&mut seven, &primary, 7, 300, false).expect(200);
    let refused = ask_to_hand_over(&mut eight, &primary, 8, 300, false).expect(503);
    assert!(
        refused.body_json()["detail"]
            .as_str()
            .unwrap()
            .contains("another node")
    );
    ask_to_hand_over(&mut eight, &primary, 8, 0, true).expect(503);
    // The hold ends by itself, and writers go on.
    client.put("/kv/k?upsert=true", b"2").expect(200);
    ask_to_hand_over(&mut seven, &primary, 7, 0, true).expect(503);
    client.put("/kv/k?upsert=true", b"3").expect(200);
    // In time it does.
    ask_to_hand_over(&mut seven, &primary, 7, 5000, false).expect(200);
    ask_to_hand_over(&mut seven, &primary, 7, 0, true).expect(200);
    eventually("it has stepped down", || {
        primary.get("/status").body_json()["role"] == "replica"
    });
}

/// A replica that gives up, or whose process ends, holds nobody any longer.
#[test]
fn a_hold_ends_with_the_connection_that_asked_for_it() {
    let primary = Server::start(&[]);
    let mut seven = primary.client();
    ask_to_hand_over(&mut seven, &primary, 7, 10_000, false).expect(200);
    primary.get("/primary").expect_problem(503);
    drop(seven);
    assert!(
        poll(Duration::from_secs(5), || primary.get("/primary").status == 200),
        "it holds its writers for a node that is gone"
    );
    primary.client().put("/kv/k?upsert=true", b"1").expect(201);
}

#[test]
fn no_write_is_refused_because_a_hold_begins_or_ends() {
    let primary = Server::start(&[]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &is_over;
        let writers: Vec<_> = ["one", "two", "three"]
            .map(|key| {
                let mut client = primary.client();
                scope.spawn(move || {
                    while !is_over.load(Relaxed) {
                        let answer = client.put(&format!("/kv/{key}?upsert=true"), b"1");
                        if !answer.is_success() {
                            return Some(answer);
                        }
                    }
                    None
                })
            })
            .into();
        let mut seven = primary.client();
        for _ in 0..200 {
            ask_to_hand_over(&mut seven, &primary, 7, 1000, false).expect(200);
            ask_to_hand_over(&mut seven, &primary, 7, 0, false).expect(200);
        }
        is_over.store(true, Relaxed);
        for writer in writers {
            let refused = writer.join().unwrap();
            assert!(refused.is_none(), "{refused:?}");
        }
    });
}

#[test]
fn a_replica_that_is_suspended_in_its_promotion_delays_writers_and_loses_nothing() {
    let sync = ["--sync-replicas", "1", "--sync-required"];
    let a = Member::primary(&sync);
    let b = Member::replica(&[&a], &sync);
    let c = Member::replica(&[&a, &b], &sync);
    a.set("k", "1");
    become_equal(&[&a, &b, &c]);
    std::thread::scope(|scope| {
        // The question waits in the socket of the primary, which holds its writers for nobody then.
        a.server.suspend();
        let promotion = scope.spawn(|| pykv(&["promote"]).at(&b.server).run());
        assert!(!poll(Duration::from_millis(300), || promotion.is_finished()));
        b.server.suspend();
        a.server.signal(Signal::CONT);
        let mut client = a.server.client();
        for number in 0..20 {
            let answer = client.put(&format!("/kv/late{number}?upsert=true"), b"1");
            assert!(answer.is_success(), "{answer:?}");
        }
        b.server.signal(Signal::CONT);
        promotion.join().unwrap();
    });
    let count = || [&a, &b, &c].iter().filter(|member| member.is_primary()).count();
    eventually("one is primary", || count() == 1);
    become_equal(&[&a, &b, &c]);
    for member in [&a, &b, &c] {
        assert_eq!(member.value("late19").as_deref(), Some("1"));
        assert_eq!(member.set_aside(), "");
    }
}

#[test]
fn of_two_promotions_at_once_one_is_refused_and_nothing_is_lost() {
    let a = Member::primary(&[]);
    let b = Member::replica(&[&a], &[]);
    let c = Member::replica(&[&a, &b], &[]);
    a.fill("k", 200, "value");
    become_equal(&[&a, &b, &c]);
    let codes = std::thread::scope(|scope| {
        let promotions =
            [&b, &c].map(|member| scope.spawn(|| pykv(&["promote"]).at(&member.server).run().code));
        promotions.map(|promotion| promotion.join().unwrap())
    });
    let promoted = codes.iter().filter(|code| **code == Some(0)).count();
    assert!(promoted <= 1, "{codes:?}");
    eventually("one is primary", || {
        [&a, &b, &c].iter().filter(|member| member.is_primary()).count() == 1
    });
    become_equal(&[&a, &b, &c]);
    for member in [&a, &b, &c] {
        assert_eq!(member.value("k199").as_deref(), Some("value"));
        assert_eq!(member.set_aside(), "");
    }
}

/// Writes to a node until that sends its writers on; the keys that it has acknowledged as had by a replica.
fn write_until_sent_on(node: &Member, prefix: &str) -> Vec<String> {
    let mut client = node.server.client();
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let key = format!("{prefix}{number}");
        let answer = client.put(&format!("/kv/{key}?upsert=true"), b"1");
        match answer.status {
            200 | 201 => acknowledged.push(key),
            // It has stepped down, and has not heard of the other one yet.
            503 => {}
            307 => break,
            _ => panic!("{answer:?}"),
        }
    }
    acknowledged
}

#[test]
fn a_role_that_is_handed_over_under_load_takes_every_write_along() {
    let sync = ["--sync-replicas", "1", "--sync-required"];
    let a = Member::primary(&sync);
    let b = Member::replica(&[&a], &sync);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    for (round, (from, to)) in [(&a, &b), (&b, &a), (&a, &b)].into_iter().enumerate() {
        let acknowledged: Vec<String> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| scope.spawn(move || write_until_sent_on(from, &format!("{round}-{writer}-"))))
                .collect();
            eventually("they write", || from.value(&format!("{round}-3-20")).is_some());
            to.promote();
            let written = writers.into_iter().flat_map(|writer| writer.join().unwrap());
            written.collect()
        });
        become_equal(&[&a, &b]);
        for key in acknowledged {
            assert_eq!(to.value(&key).as_deref(), Some("1"), "{key} is lost");
        }
        assert_eq!(a.set_aside() + &b.set_aside(), "");
    }
}

/// What a replica had before it began to take a state is good for as long as it has not all of that.
#[test]
fn a_replica_whose_primary_dies_in_a_snapshot_serves_what_it_had_and_is_promoted() {
    let mut primary = Member::primary(&["--log-backlog", "0", "--segment-size", "64KiB"]);
    let mut replica = Member::replica(&[&primary], &[]);
    primary.set("old", "1");
    become_equal(&[&primary, &replica]);
    replica.server.kill_9();
    primary.fill("k", 4000, &"v".repeat(500));
    pykv(&["compact"]).at(&primary.server).succeed();
    primary.link.slow(16 * 1024, Duration::from_millis(5));
    let before = primary.link.bytes();
    replica.start_again();
    eventually("a part of the state has come", || {
        primary.link.bytes() > before + 300_000
    });
    replica.server.get("/kv/old").expect_problem(503);
    primary.server.kill_9();
    primary.link.set(Mode::Cut);
    eventually("it serves what it had", || {
        replica.server.get("/kv/old?raw").status == 200
    });
    replica.promote_by_force();
    assert_eq!(replica.value("old").as_deref(), Some("1"));
    replica.set("new", "1");
}

#[test]
fn an_address_that_is_the_nodes_own_is_said_to_be() {
    let lone = Member::primary(&[]);
    let node = Member::replica(&[&lone], &[]);
    lone.set("k", "1");
    become_equal(&[&lone, &node]);
    // The link to the primary leads to the replica itself.
    lone.link.lead_to(node.server.address());
    lone.link.break_connections();
    eventually("it says what is wrong", || {
        let error = node.status()["replication"]["error"].to_string();
        error.contains("is this node itself")
    });
    // Another node says that this one's address is its own.
    let twin = Server::start(&["--advertise", &node.link.address()]);
    lone.link.lead_to(twin.address());
    eventually("it says what is wrong", || {
        let error = node.status()["replication"]["error"].to_string();
        error.contains("advertises this node's own address")
    });
}
