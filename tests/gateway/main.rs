//! A gateway to a Redis cluster: slots that move, masters that die, and entries that move from a node to it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod relay;
mod tls;

use common::engine::{self, RedisCluster};
use common::node::Setup;
use common::{Client, Server, eventually, poll, pykv, setting};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A gateway to a cluster.
fn gateway(cluster: &RedisCluster, args: &[&str]) -> Server {
    let url = cluster.url();
    Server::start(&[&["--engine", &url][..], args].concat())
}

fn is_skipped(test: &str) -> bool {
    let is_missing = !engine::is_installed();
    if is_missing {
        common::skip(test, "redis-server is not installed");
    }
    is_missing
}

fn text(answer: common::Response) -> String {
    String::from_utf8(answer.expect(200).body).unwrap()
}

/// All keys, by pages.
fn all_keys(client: &mut Client, limit: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let target = match &cursor {
            Some(cursor) => format!("/kv/?limit={limit}&cursor={cursor}"),
            None => format!("/kv/?limit={limit}"),
        };
        let page = client.get(&target).expect(200).body_json();
        let page_keys = page["keys"].as_array().unwrap();
        assert!(page_keys.len() <= limit);
        keys.extend(page_keys.iter().map(|key| key.as_str().unwrap().to_owned()));
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return keys;
        }
    }
}

#[test]
fn a_cluster_is_served_as_a_node_is() {
    if is_skipped("a_cluster_is_served_as_a_node_is") {
        return;
    }
    let cluster = RedisCluster::start();
    let node = gateway(&cluster, &[]);
    let mut client = node.client();
    let expected: BTreeSet<String> = (0..500).map(|at| format!("key {at}")).collect();
    for key in &expected {
        client.add(key, "1").expect(201);
    }
    let listed: BTreeSet<String> = all_keys(&mut client, 7).into_iter().collect();
    assert_eq!(listed, expected);
    // Keys of one tag are one step; others are told how to be.
    let set = |key: &str| json!({"op":"set","key":key,"value":"v"});
    let tagged = json!({"operations": [set("{u}:a"), set("{u}:b"), {"op":"get","key":"{u}:a"}]});
    client.json("POST", "/batch", &tagged).expect(200);
    let apart = json!({"operations": [set("foo"), set("bar")]});
    let problem = client.json("POST", "/batch", &apart).expect(400).body_json();
    assert_eq!(problem["type"], "urn:pykv:problem:cross-slot");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`foo`") && detail.contains("`bar`") && detail.contains("{tag}"),
        "{detail}"
    );
    client.get("/kv/foo").expect(404);
    // A write that replicas have.
    let headers = [
        ("Pykv-Sync-Replicas", "1"),
        ("Pykv-Sync-Required", "true"),
        ("Pykv-Sync-Timeout", "30"),
    ];
    let answer = client
        .request("PUT", "/kv/synced?upsert=true", &headers, b"v")
        .expect(201);
    assert_eq!(answer.header("Pykv-Replicas"), Some("1"));
    // What a node alone has is said to be elsewhere.
    for (method, target) in [
        ("POST", "/compact"),
        ("GET", "/backup"),
        ("GET", "/watch"),
        ("POST", "/promote"),
    ] {
        let problem = client.request(method, target, &[], b"").expect(501).body_json();
        assert_eq!(problem["type"], "urn:pykv:problem:not-of-engine", "{target}");
    }
    client.get("/readyz").expect(200);
    let status = client.get("/status").expect(200).body_json();
    assert_eq!(
        status["engine"]["servers"].as_array().map(Vec::len),
        Some(6),
        "{status}"
    );
    let told = pykv(&["status"]).at(&node).succeed();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("gateway") && told.contains("5461 slots"), "{told}");
    let metrics = text(client.get("/metrics"));
    assert!(metrics.contains("pykv_engine_ready 1"), "{metrics}");
    // A deletion by prefix waits for the replicas of each master a few times, and not for each key.
    let waits = || {
        let calls = |server: &engine::Redis| -> u64 {
            let stats = server.call(&["INFO", "commandstats"]);
            let wait = stats
                .lines()
                .find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
            wait.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
        };
        cluster.servers[..3].iter().map(calls).sum::<u64>()
    };
    let before = waits();
    let deleted = client
        .request("DELETE", "/kv/?prefix=key", &headers, b"")
        .expect(200);
    assert_eq!(deleted.body_json()["deleted"], 500);
    assert_eq!(deleted.header("Pykv-Replicas"), Some("1"));
    let waited = waits() - before;
    assert!((3..=30).contains(&waited), "{waited} waits for 500 keys");
}

#[test]
fn values_of_another_program_are_left_alone() {
    if is_skipped("values_of_another_program_are_left_alone") {
        return;
    }
    let single = engine::Redis::start();
    let node = Server::start(&["--engine", &single.url()]);
    // A gateway looks at its engine every second. The engine counts none of that as an error.
    eventually("the gateway has looked a few times", || {
        let stats = single.call(&["INFO", "commandstats"]);
        let info = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_info:calls="));
        info.is_some_and(|rest| rest.split(',').next().unwrap().parse::<u64>().unwrap() > 6)
    });
    let errors = single.call(&["INFO", "errorstats"]);
    assert!(!errors.contains("errorstat_"), "{errors}");
    single.call(&["SET", "theirs", "text"]);
    single.call(&["SET", "long", "a text that is longer than a header"]);
    single.call(&["SET", "empty", ""]);
    single.call(&["LPUSH", "list", "text"]);
    let mut client = node.client();
    for key in ["theirs", "long", "empty", "list"] {
        client.get(&format!("/kv/{key}")).expect_problem(409);
        client
            .put(&format!("/kv/{key}?upsert=true"), b"ours")
            .expect_problem(409);
    }
    assert_eq!(single.call(&["GET", "theirs"]), "text");
}

/// What a log is wanted of, and what an engine is not, are named as what they are.
#[test]
fn a_gateway_is_no_node_with_a_log_and_a_node_is_no_engine() {
    if is_skipped("a_gateway_is_no_node_with_a_log_and_a_node_is_no_engine") {
        return;
    }
    let single = engine::Redis::start();
    let gateway = Server::start(&["--engine", &single.url()]);
    let said = pykv(&["reapply", "file"]).at(&gateway).expect(2).stderr;
    assert!(said.contains("a gateway has no log"), "{said}");
    let from = gateway.address().to_string();
    let replica = Setup::replica(&from, &[]).start();
    eventually("the replica says whom it was to follow", || {
        replica
            .stderr()
            .contains("it is a gateway, which has no log to follow")
    });
    let node = Server::start(&[]);
    let other = Server::start(&["--engine", &format!("redis://{}", node.address())]);
    eventually("the gateway says what answers there", || {
        other.stderr().contains("does not speak as Redis does")
    });
}

#[test]
fn a_set_without_conditions_is_above_every_version_and_ends_a_deadline() {
    if is_skipped("a_set_without_conditions_is_above_every_version") {
        return;
    }
    let single = engine::Redis::start();
    let node = Server::start(&["--engine", &single.url()]);
    let mut client = node.client();
    // Versions are times in µs. Gateways with a clock that is ahead have given this one, and the last of all.
    let keep =
        r"return redis.call('SET', KEYS[1], '\255pk1' .. struct.pack('>I8I8', ARGV[1], 0) .. 'before')";
    let ahead: u64 = 1 << 52;
    single.call(&["EVAL", keep, "1", "ahead", &ahead.to_string()]);
    single.call(&["EVAL", keep, "1", "last", &((1u64 << 53) - 1).to_string()]);
    let written = client.put("/kv/ahead?upsert=true", b"after").expect(200);
    assert_eq!(written.body_json()["version"], ahead + 1);
    assert_eq!(client.get("/kv/ahead?raw").expect(200).body, b"after");
    client.put("/kv/last?upsert=true", b"after").expect_problem(503);
    assert_eq!(client.get("/kv/last?raw").expect(200).body, b"before");

    client.put("/kv/k?upsert=true&ttl=1000", b"").expect(201);
    assert_ne!(single.call(&["PTTL", "k"]), "-1");
    client.put("/kv/k?upsert=true", b"").expect(200);
    assert_eq!(single.call(&["PTTL", "k"]), "-1");
    let kept = client.get("/kv/k").expect(200).body_json();
    assert_eq!(
        (&kept["value"], kept.get("expires_at_ms")),
        (&json!(""), None),
        "{kept}"
    );
}

/// A counter that clients change by compare and set.
struct Count {
    /// Changes that were answered.
    answered: AtomicU64,
    /// Changes whose outcome is not known.
    unknown: AtomicU64,
}

/// Adds one by compare and set, again and again. Every value that is read was written by somebody.
fn count(node: &Server, key: &str, count: &Count, stop: &AtomicBool) {
    let headers = |version: &str| {
        [
            ("If-Match".to_owned(), version.to_owned()),
            ("Pykv-Sync-Replicas".to_owned(), "1".to_owned()),
            ("Pykv-Sync-Required".to_owned(), "true".to_owned()),
            ("Pykv-Sync-Timeout".to_owned(), "3".to_owned()),
        ]
    };
    let mut client = node.client();
    while !stop.load(Ordering::Relaxed) {
        let read = client.get(&format!("/kv/{key}?raw"));
        if read.status != 200 {
            assert_eq!(read.status, 503, "{read:?}");
            continue;
        }
        let value: u64 = String::from_utf8(read.body.clone()).unwrap().parse().unwrap();
        let headers = headers(read.header("ETag").unwrap());
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let next = (value + 1).to_string();
        let answer = client.request("PUT", &format!("/kv/{key}"), &headers, next.as_bytes());
        match answer.status {
            200 => count.answered.fetch_add(1, Ordering::Relaxed),
            412 => 0,
            503 => {
                let kind = answer.body_json()["type"].as_str().unwrap().to_owned();
                let is_refused = kind.ends_with(":engine-unavailable");
                count.unknown.fetch_add(u64::from(!is_refused), Ordering::Relaxed)
            }
            _ => panic!("{answer:?}"),
        };
    }
}

/// No increment that was answered is lost, and none is made twice, over a reshard and a failover.
#[test]
fn compare_and_set_counts_right_over_a_reshard_and_failovers() {
    if is_skipped("compare_and_set_counts_right_over_a_reshard_and_failovers") {
        return;
    }
    let clients = setting("PYKV_GATEWAY_CLIENTS", 16) as usize;
    let slots = setting("PYKV_GATEWAY_SLOTS", 400) as usize;
    for round in 0..setting("PYKV_GATEWAY_ROUNDS", 1) {
        let mut cluster = RedisCluster::start();
        let node = gateway(&cluster, &[]);
        let keys: Vec<String> = (0..8)
            .map(|at| format!("counter {at}").replace(' ', "-"))
            .collect();
        for key in &keys {
            node.client().add(key, "0").expect(201);
        }
        let counts: Vec<Count> = keys
            .iter()
            .map(|_| Count {
                answered: AtomicU64::new(0),
                unknown: AtomicU64::new(0),
            })
            .collect();
        let answered = || {
            counts
                .iter()
                .map(|count| count.answered.load(Ordering::Relaxed))
                .sum::<u64>()
        };
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for at in 0..clients {
                let (key, its_count, node, stop) =
                    (&keys[at % keys.len()], &counts[at % keys.len()], &node, &stop);
                scope.spawn(move || count(node, key, its_count, stop));
            }
            let more = |what: &str| {
                let before = answered();
                let end = || answered() > before + 100;
                if !poll(common::SOON, end) {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{what}: no more is counted");
                }
            };
            more("at the beginning");
            cluster.reshard(0, 1, slots);
            more("after the reshard");
            cluster.fail_over(round as usize % 3);
            more("after the failover");
            stop.store(true, Ordering::Relaxed);
        });
        for (key, count) in keys.iter().zip(&counts) {
            let value: u64 = text(node.get(&format!("/kv/{key}?raw"))).parse().unwrap();
            let answered = count.answered.load(Ordering::Relaxed);
            let most = answered + count.unknown.load(Ordering::Relaxed);
            assert!(
                (answered..=most).contains(&value),
                "round {round}: {key} is {value}, {answered} were answered and {most} may have been made"
            );
        }
    }
}

/// A listing that is paged through while slots move has every key.
#[test]
fn a_cursor_outlives_a_reshard_and_a_gateway() {
    if is_skipped("a_cursor_outlives_a_reshard_and_a_gateway") {
        return;
    }
    let cluster = RedisCluster::start();
    let node = gateway(&cluster, &[]);
    let other = gateway(&cluster, &[]);
    let expected: BTreeSet<String> = (0..3000).map(|at| format!("k{at}")).collect();
    let mut client = node.client();
    for key in &expected {
        client.put(&format!("/kv/{key}?upsert=true"), b"v").expect(201);
    }
    let is_resharded = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            cluster.reshard(0, 2, 600);
            is_resharded.store(true, Ordering::Relaxed);
        });
        let mut clients = [node.client(), other.client()];
        let mut rounds = 0;
        while rounds < 2 || !is_resharded.load(Ordering::Relaxed) {
            let mut listed = BTreeSet::new();
            let mut cursor = String::new();
            for page in 0.. {
                let target = format!("/kv/?limit=50{cursor}");
                let answer = clients[page % 2].get(&target).expect(200).body_json();
                let keys = answer["keys"].as_array().unwrap();
                listed.extend(keys.iter().map(|key| key.as_str().unwrap().to_owned()));
                match answer["cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let missing: Vec<_> = expected.difference(&listed).collect();
            assert!(
                missing.is_empty(),
                "{} keys are not listed: {missing:?}",
                missing.len()
            );
            rounds += 1;
        }
    });
}

/// A master that is gone makes the gateway unready, and nothing hangs.
#[test]
fn slots_without_a_master_are_said_in_time() {
    if is_skipped("slots_without_a_master_are_said_in_time") {
        return;
    }
    let mut cluster = RedisCluster::start();
    let node = gateway(&cluster, &["--engine-timeout", "500ms"]);
    let mut client = node.client();
    client.get("/readyz").expect(200);
    // Its replica first, so that nobody takes over.
    cluster.servers[3].kill_9();
    // A server that hangs rather than ends.
    cluster.servers[0].signal("-STOP");
    eventually("the gateway is not ready", || client.get("/readyz").status == 503);
    let mut statuses = BTreeSet::new();
    for at in 0..12 {
        let begun = Instant::now();
        let answer = client.put(&format!("/kv/k{at}?upsert=true"), b"v");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        statuses.insert(answer.status);
        if answer.status == 503 {
            assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        }
    }
    assert!(
        statuses.contains(&503) && statuses.is_subset(&BTreeSet::from([200, 201, 503])),
        "{statuses:?}"
    );
    cluster.servers[0].signal("-CONT");
    eventually("the gateway is ready again", || {
        client.get("/readyz").status == 200
    });
    // The log says both.
    let said = |what: &str| eventually("the log says so", || node.stderr().contains(what));
    said("requests get 503 meanwhile");
    said("the engine takes all requests again");
    cluster.servers[0].kill_9();
    eventually("the gateway is not ready", || client.get("/readyz").status == 503);
}

/// Keys and values of a node, written while they are mirrored, are the same on both sides.
#[test]
fn a_node_is_mirrored_to_a_cluster_and_to_another_node() {
    let has_redis = !is_skipped("a_node_is_mirrored_to_a_cluster_and_to_another_node");
    let from = Server::start(&["--fsync", "no"]);
    let mut client = from.client();
    let keys = setting("PYKV_MIRROR_KEYS", 2000);
    for at in 0..keys {
        let ttl = if at % 3 == 0 { "&ttl=1000" } else { "" };
        client
            .put(&format!("/kv/k{at}?upsert=true{ttl}"), &[at as u8; 20])
            .expect(201);
    }
    client
        .put("/kv/large?upsert=true", &vec![b'x'; 300_000])
        .expect(201);
    let cluster = has_redis.then(RedisCluster::start);
    let to = match &cluster {
        Some(cluster) => gateway(cluster, &[]),
        None => Server::start(&["--fsync", "no"]),
    };
    let second = Server::start(&["--fsync", "no"]);
    for to in [&to, &second] {
        let state = from.home().join(format!("state-{}", to.pid()));
        let state = state.to_str().unwrap();
        let sides = ["--from", &from.url(), "--to", &to.url()].map(str::to_owned);
        let mirror = |args: &[&str]| {
            let sides: Vec<&str> = sides.iter().map(String::as_str).collect();
            pykv(&[&["mirror"], &sides[..], args].concat())
        };
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = from.client();
                let mut at = 0;
                while !is_done.load(Ordering::Relaxed) {
                    at += 1;
                    client.put(
                        &format!("/kv/k{}?upsert=true", at % 500),
                        at.to_string().as_bytes(),
                    );
                    client.delete(&format!("/kv/k{}", (at * 7) % 900));
                }
            });
            // Interrupted by its end, and continued.
            mirror(&["--state", state, "--once"]).succeed();
            is_done.store(true, Ordering::Relaxed);
        });
        let kept: Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
        assert_eq!(kept["is_copied"], true, "{kept}");
        mirror(&["--state", state, "--once"]).succeed();
        let verified = mirror(&["--verify"]).expect(0);
        assert!(
            String::from_utf8_lossy(&verified.stdout).starts_with("equal: "),
            "{verified:?}"
        );
        to.client().put("/kv/k1?upsert=true", b"another").is_success();
        to.client().put("/kv/more?upsert=true", b"another").is_success();
        let verified = mirror(&["--verify"]).expect(4);
        let told = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(told.contains("only in --to: \"more\""), "{told}");
    }
    // An export of one engine is imported by the other.
    let lines = pykv(&["export"]).at(&second).succeed();
    let third = match &cluster {
        Some(cluster) => gateway(cluster, &[]),
        None => Server::start(&[]),
    };
    pykv(&["import"]).at(&third).stdin(&lines).expect(0);
}
