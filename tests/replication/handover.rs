//! A role is handed over: writers wait meanwhile, nothing is lost, and nobody waits for a node that has given up.

use crate::common::cluster::{Member, become_equal};
use crate::common::proxy::Mode;
use crate::common::{Client, Response, Server, eventually, poll, pykv};
use pykv::internals::api::{
    Handover, Handshake, PATH_REPLICATION_HANDOVER, PATH_REPLICATION_HELLO, REPLICATION_PROTOCOL,
};
use rustix::process::Signal;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A replica, as it says of itself to a primary.
#[derive(Clone, Copy)]
struct Asker<'a> {
    node: u64,
    address: &'a str,
}

/// One that no process is behind.
const SEVEN: Asker<'_> = Asker {
    node: 7,
    address: "127.0.0.1:1",
};

/// What a node says of itself to a replica of its log.
fn handshake(client: &mut Client, id: &str, asker: Asker<'_>) -> Value {
    let hello = Handshake {
        protocol: REPLICATION_PROTOCOL,
        node: asker.node,
        id: id.to_owned(),
        term: "0".to_owned(),
        branch: format!("{:016x}", 7),
        role: "replica".to_owned(),
        address: asker.address.to_owned(),
        primary: None,
        primary_heard_ms: None,
        offset: 0,
        given_up: 0,
        check: 0,
    };
    let hello = serde_json::to_vec(&hello.sealed()).unwrap();
    let met = client.request("POST", PATH_REPLICATION_HELLO, &JSON, &hello);
    met.expect(200).body_json()
}

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

fn log_id(server: &Server) -> String {
    let id = &server.get("/status").body_json()["log"]["id"];
    id.as_str().unwrap().to_owned()
}

/// What a replica asks of a primary before it takes over. The hold lasts no longer than the connection.
fn ask_to_hand_over(
    client: &mut Client,
    primary: &Server,
    asker: Asker<'_>,
    hold_ms: u64,
    step_down: bool,
) -> Response {
    let id = log_id(primary);
    let met = handshake(client, &id, SEVEN);
    let asked = Handover {
        id,
        term: met["term"].as_str().unwrap().to_owned(),
        node: asker.node,
        address: asker.address.to_owned(),
        attempt: 1,
        hold_ms,
        step_down,
        check: 0,
    };
    let body = serde_json::to_vec(&asked.sealed()).unwrap();
    client.request("POST", PATH_REPLICATION_HANDOVER, &JSON, &body)
}

/// A replica that was suspended between the question and its promotion comes too late, and takes no write away that the
/// primary has answered since.
#[test]
fn a_primary_steps_down_only_for_the_replica_that_it_holds_its_writers_for() {
    let primary = Server::start(&[]);
    let eight_node = Asker { node: 8, ..SEVEN };
    let (mut client, mut seven, mut eight) = (primary.client(), primary.client(), primary.client());
    client.put("/kv/k?upsert=true", b"1").expect(201);
    ask_to_hand_over(&mut seven, &primary, SEVEN, 300, false).expect(200);
    let refused = ask_to_hand_over(&mut eight, &primary, eight_node, 300, false).expect(503);
    assert!(
        refused.body_json()["detail"]
            .as_str()
            .unwrap()
            .contains("another node")
    );
    ask_to_hand_over(&mut eight, &primary, eight_node, 0, true).expect(503);
    // The hold ends by itself, and writers go on.
    client.put("/kv/k?upsert=true", b"2").expect(200);
    ask_to_hand_over(&mut seven, &primary, SEVEN, 0, true).expect(503);
    client.put("/kv/k?upsert=true", b"3").expect(200);
    // In time it does.
    ask_to_hand_over(&mut seven, &primary, SEVEN, 5000, false).expect(200);
    ask_to_hand_over(&mut seven, &primary, SEVEN, 0, true).expect(200);
    eventually("it has stepped down", || {
        primary.get("/status").body_json()["role"] == "replica"
    });
}

/// A replica that gives up, or whose process ends, holds nobody any longer.
#[test]
fn a_hold_ends_with_the_connection_that_asked_for_it() {
    let primary = Server::start(&[]);
    let mut seven = primary.client();
    ask_to_hand_over(&mut seven, &primary, SEVEN, 10_000, false).expect(200);
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
            ask_to_hand_over(&mut seven, &primary, SEVEN, 1000, false).expect(200);
            ask_to_hand_over(&mut seven, &primary, SEVEN, 0, false).expect(200);
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
    eventually("it says how much has come", || {
        let replication = &replica.status()["replication"];
        replication["snapshot_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes >= 256 * 1024)
    });
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

/// A primary that has stepped down for a replica which has not begun its term, and the replica.
fn stepped_down() -> (Member, Member) {
    stepped_down_from(|primary| {
        primary.set("k", "1");
    })
}

fn stepped_down_from(prepare: impl FnOnce(&Member)) -> (Member, Member) {
    let a = Member::primary(&[]);
    let b = Member::replica(&[&a], &[]);
    prepare(&a);
    become_equal(&[&a, &b]);
    let address = b.link.address();
    let met = handshake(&mut b.server.client(), &log_id(&b.server), SEVEN);
    let asker = Asker {
        node: met["node"].as_u64().unwrap(),
        address: &address,
    };
    let mut client = a.server.client();
    ask_to_hand_over(&mut client, &a.server, asker, 5000, false).expect(200);
    ask_to_hand_over(&mut client, &a.server, asker, 0, true).expect(200);
    assert!(!a.is_primary());
    (a, b)
}

#[track_caller]
fn takes_writes_and_is_followed(a: &Member, b: &Member) {
    eventually("it is primary again", || a.is_primary());
    eventually("it takes writes", || {
        let answer = a.server.client().put("/kv/k?upsert=true", b"2");
        answer.status == 200
    });
    become_equal(&[a, b]);
    assert_eq!(b.value("k").as_deref(), Some("2"));
    assert_eq!(a.set_aside() + &b.set_aside(), "");
}

/// The process that was to begin the next term is gone, so nobody can begin it any more.
#[test]
fn a_primary_takes_its_role_back_where_its_successor_was_killed() {
    let (a, mut b) = stepped_down();
    b.server.kill_9();
    eventually("it says whom it waits for", || {
        let error = a.status()["replication"]["error"].to_string();
        error.contains("stepped down for") && error.contains(&b.link.address())
    });
    let refused = pykv(&["promote"]).at(&a.server).run();
    assert_eq!(refused.code, Some(6));
    assert!(refused.stderr.contains("stepped down for"), "{}", refused.stderr);
    b.start_again();
    takes_writes_and_is_followed(&a, &b);
}

#[test]
fn a_primary_takes_its_role_back_where_both_nodes_were_killed() {
    let (mut a, mut b) = stepped_down();
    a.server.kill_9();
    b.server.kill_9();
    a.start_again();
    b.start_again();
    takes_writes_and_is_followed(&a, &b);
}

#[test]
fn a_primary_takes_its_role_back_where_its_successor_gives_up() {
    let (a, b) = stepped_down();
    let to = handshake(&mut b.server.client(), &log_id(&b.server), SEVEN);
    let address = b.link.address();
    let other = Asker {
        node: 8,
        address: &address,
    };
    let mut client = a.server.client();
    ask_to_hand_over(&mut client, &a.server, other, 0, false).expect(503);
    assert!(!a.is_primary());
    let asker = Asker {
        node: to["node"].as_u64().unwrap(),
        address: &address,
    };
    ask_to_hand_over(&mut client, &a.server, asker, 0, false).expect(200);
    takes_writes_and_is_followed(&a, &b);
}

/// The answer of the primary does not get to the replica, whose process lives on, and cannot say at once that it gave up.
#[test]
fn a_primary_that_was_killed_as_it_stepped_down_takes_its_role_back() {
    let mut a = Member::primary(&[]);
    let b = Member::replica(&[&a], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    let role = a.server.dir().join("ROLE");
    let stepped_down = || std::fs::read_to_string(&role).is_ok_and(|text| text.contains("handed_to"));
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let promotion = scope.spawn(|| pykv(&["promote"]).at(&b.server).run());
            while !stepped_down() && !promotion.is_finished() {
                std::hint::spin_loop();
            }
            a.server.signal(Signal::KILL);
            promotion.join().unwrap();
        });
        a.server.kill_9();
        a.start_again();
        eventually("one is primary", || a.is_primary() != b.is_primary());
        let (now, other) = if a.is_primary() { (&a, &b) } else { (&b, &a) };
        takes_writes_and_is_followed(now, other);
        if b.is_primary() {
            a.promote();
            become_equal(&[&a, &b]);
        }
        a.set("k", "1");
    }
}

/// What a node says of its successor is of no use once that has been primary.
#[test]
fn a_successor_that_took_over_and_died_later_is_not_waited_for() {
    let mut a = Member::primary(&[]);
    let mut b = Member::replica(&[&a], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    b.promote();
    become_equal(&[&a, &b]);
    a.server.kill_9();
    b.server.kill_9();
    a.start_again();
    eventually("it says that it finds no primary", || {
        let error = a.status()["replication"]["error"].to_string();
        error.contains("there is no primary to follow")
    });
    let error = a.status()["replication"]["error"].to_string();
    assert!(!error.contains("stepped down"), "{error}");
    b.start_again();
    become_equal(&[&a, &b]);
}

/// A store without a key is a store: the primary that had it is none the less whole.
#[test]
fn a_primary_of_an_empty_store_takes_its_role_back_too() {
    let (mut a, mut b) = stepped_down_from(|_| ());
    a.server.kill_9();
    b.server.kill_9();
    a.start_again();
    b.start_again();
    eventually("it is primary again", || a.is_primary());
    a.set("k", "1");
    become_equal(&[&a, &b]);
    // A replica that had all of an empty store can be promoted, whatever became of the primary.
    let a = Member::primary(&[]);
    let mut b = Member::replica(&[&a], &[]);
    become_equal(&[&a, &b]);
    a.server.signal(Signal::KILL);
    b.server.kill_9();
    b.start_again();
    b.promote_by_force();
    b.set("k", "1");
}

/// The successor may have been suspended: it may still begin its term, so the former primary waits for it.
#[test]
fn a_promotion_whose_answer_was_lost_can_be_given_again() {
    let (a, b) = stepped_down();
    assert!(
        !poll(Duration::from_secs(3), || a.is_primary()),
        "it takes the role back from a process that may be about to take it"
    );
    b.promote();
    eventually("it follows", || !a.is_primary() && b.is_primary());
    a.streams();
    b.set("k", "2");
    become_equal(&[&a, &b]);
    assert_eq!(a.set_aside() + &b.set_aside(), "");
}

/// The process ended after its term had begun, and before it had written down that it is primary.
#[test]
fn a_replica_that_was_killed_in_its_promotion_is_primary_if_its_term_has_begun() {
    let a = Member::primary(&[]);
    let mut b = Member::replica(&[&a], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b]);
    b.promote();
    b.server.kill_9();
    let path = b.server.dir().join("ROLE");
    let mut role: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    role["role"] = "replica".into();
    role["promotes_above"] = (1u64 << 32).into();
    std::fs::write(&path, role.to_string()).unwrap();
    b.start_again();
    eventually("it is primary", || b.is_primary());
    eventually("it takes writes", || {
        b.server.client().put("/kv/k?upsert=true", b"2").status == 200
    });
    a.streams();
    become_equal(&[&a, &b]);
    let role: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(role["role"], "primary");
    assert!(role.get("promotes_above").is_none(), "{role}");
}

/// A follower that takes over by itself is one of the next primary too, before it has spoken to that.
#[test]
fn a_role_is_handed_over_with_the_successors_that_are_known() {
    let a = Member::primary(&[]);
    let b = Member::replica(&[&a], &["--failover-after", "60s"]);
    let c = Member::replica(&[&a], &[]);
    a.set("k", "1");
    become_equal(&[&a, &b, &c]);
    b.server.suspend();
    c.promote();
    a.streams();
    let successor = &c.status()["replication"]["successors"][0];
    assert_eq!(successor["address"], b.link.address().as_str(), "{}", c.status());
    let brief = [
        ("Pykv-Sync-Replicas", "1"),
        ("Pykv-Sync-Required", "true"),
        ("Pykv-Sync-Timeout", "0.3"),
    ];
    let mut client = c.server.client();
    client.request("PUT", "/kv/k", &brief, b"2").expect_problem(503);
    b.server.signal(Signal::CONT);
    let long = [brief[0], brief[1], ("Pykv-Sync-Timeout", "20")];
    client.request("PUT", "/kv/k", &long, b"3").expect(200);
}

/// A replica that has just taken the state knows whose it is, before it has asked for more of the log.
#[test]
fn a_replica_that_has_just_taken_the_state_asks_its_primary_to_hand_over() {
    let a = Member::primary(&[]);
    a.fill("key:", 500, &"v".repeat(4096));
    a.link.slow(32 * 1024, Duration::from_millis(5));
    let b = Member::replica(&[&a], &[]);
    eventually("it takes the state", || a.link.bytes() > 256 * 1024);
    a.link.set(Mode::Closed);
    a.link.slow(64 * 1024, Duration::ZERO);
    eventually("it has the state", || {
        b.server.get("/stats").body_json()["entries"] == 500
    });
    let refused = pykv(&["promote"]).at(&b.server).expect(6);
    assert!(refused.stderr.contains(&a.link.address()), "{refused:?}");
    assert!(a.is_primary());
    a.link.set(Mode::Pass);
    b.promote();
    a.streams();
    become_equal(&[&a, &b]);
}
