//! Times to live: never served too late, counted on over restarts, swept, and told in the log.

use crate::common::client::{BYTES, JSON};
use crate::common::{Client, Response, Server, cli, eventually, pykv};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// When an answer says that its key expires; the three places that say it agree.
#[track_caller]
fn expires_at_ms(answer: &Response) -> u64 {
    let body = answer.body_json();
    let ms = body["expires_at_ms"].as_u64().unwrap_or_else(|| panic!("{body}"));
    let text = body["expires_at"].as_str().unwrap();
    let time = humantime::parse_rfc3339(text).unwrap();
    assert_eq!(
        time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
        ms,
        "{body}"
    );
    assert_eq!(answer.header("Pykv-Expires-At"), Some(text));
    ms
}

fn patch(client: &mut Client, target: &str, body: &serde_json::Value) -> Response {
    client.json("PATCH", target, body)
}

/// The bound is one of values that come in, and a deadline brings none.
#[test]
fn a_value_longer_than_the_bound_of_now_gets_a_deadline() {
    if crate::common::engine::differs("large values") {
        return;
    }
    let mut before = Server::start(&["--max-value", "1MiB"]);
    let value = vec![b'v'; 300_000];
    before.client().put("/kv/k?upsert=true", &value).expect(201);
    assert!(before.sigterm().success());
    let node = crate::common::node::Setup::new(&["--max-value", "1KiB"])
        .data(before.dir())
        .start();
    let new = [b'v'; 2000];
    node.client().put("/kv/k?upsert=true", &new).expect_problem(413);
    let batch = json!({"operations": [{"op": "set", "key": "k", "value": "v".repeat(2000)}]});
    node.client().json("POST", "/batch", &batch).expect_problem(413);
    let mut client = node.client();
    patch(&mut client, "/kv/k", &json!({"ttl": 90})).expect(200);
    let answer = client.get("/kv/k?raw").expect(200);
    assert!(answer.header("Pykv-Expires-At").is_some());
    assert_eq!(answer.body, value);
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), value);
}

#[test]
fn a_time_to_live_comes_as_json_or_in_the_query_and_is_shown() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let before = now_ms();
    let added = client
        .json("POST", "/kv/", &json!({"key": "a", "value": "1", "ttl": 90.5}))
        .expect(201);
    let at = expires_at_ms(&added);
    assert!(
        (before + 90_500..=now_ms() + 90_500).contains(&at),
        "{at} after {before}"
    );
    assert_eq!(expires_at_ms(&client.get("/kv/a").expect(200)), at);
    let raw = client.get("/kv/a?raw").expect(200);
    assert_eq!(
        (&raw.body[..], raw.header("Pykv-Expires-At").is_some()),
        (&b"1"[..], true)
    );
    assert!(
        client
            .request("HEAD", "/kv/a", &[], b"")
            .header("Pykv-Expires-At")
            .is_some()
    );

    let put = client
        .request("PUT", "/kv/b?upsert=true&ttl=60", &BYTES, b"x")
        .expect(201);
    assert!(expires_at_ms(&put) >= before + 60_000);
    let listed = client.get("/kv/?values=true").expect(200).body_json();
    let entries = listed["entries"].as_array().unwrap();
    assert!(
        entries.iter().all(|entry| entry["expires_at_ms"].is_u64()),
        "{listed}"
    );
    assert_eq!((entries.len(), &listed["keys"]), (2, &serde_json::Value::Null));

    // A value that comes without one has none.
    let put = client.json("PUT", "/kv/a", &json!({"value": "2"})).expect(200);
    assert_eq!(put.body_json()["expires_at_ms"], serde_json::Value::Null);
    assert_eq!(client.get("/kv/a").header("Pykv-Expires-At"), None);
}

#[test]
fn a_deadline_is_given_and_taken_without_the_value() {
    let node = Server::start(&[]);
    let mut client = node.client();
    client.put("/kv/k?upsert=true", b"\xff\0value").expect(201);
    let first = client.get("/kv/k?raw").version();
    let given = patch(&mut client, "/kv/k", &json!({"ttl": 100})).expect(200);
    assert!(given.version() > first, "it is a change like any other");
    let at = expires_at_ms(&given);
    let read = client.get("/kv/k?raw").expect(200);
    assert_eq!(
        (&read.body[..], read.version()),
        (&b"\xff\0value"[..], given.version())
    );

    let until = at + 5000;
    let moved = patch(&mut client, "/kv/k", &json!({"expires_at_ms": until})).expect(200);
    assert_eq!(expires_at_ms(&moved), until);
    let taken = patch(&mut client, "/kv/k", &json!({"ttl": null})).expect(200);
    assert_eq!(taken.body_json()["expires_at"], serde_json::Value::Null);
    assert_eq!(client.get("/kv/k?raw").header("Pykv-Expires-At"), None);

    let stale = [("Content-Type", "application/json"), ("If-Match", "\"1\"")];
    client
        .request("PATCH", "/kv/k", &stale, br#"{"ttl":1}"#)
        .expect_problem(412);
    patch(&mut client, "/kv/absent", &json!({"ttl": 1})).expect_problem(404);
    // A deadline that has passed is a mistake, of a field left at 0 or of a clock: nothing is changed.
    for wrong in [
        json!({"expires_at_ms": 1}),
        json!({"expires_at_ms": 0}),
        json!({"ttl": 1e-9}),
        json!({"ttl": 0.0009}),
    ] {
        patch(&mut client, "/kv/k", &wrong).expect_problem(422);
        let mut put = wrong.clone();
        put["value"] = json!("other");
        client.json("PUT", "/kv/k", &put).expect_problem(422);
        put["key"] = json!("new");
        client.json("POST", "/kv/", &put).expect_problem(422);
        put["op"] = json!("set");
        let refused = client.json(
            "POST",
            "/batch",
            &json!({"operations": [{"op": "delete", "key": "k"}, put]}),
        );
        refused.expect_problem(422);
    }
    client
        .request("PUT", "/kv/k?ttl=0.0001", &[], b"other")
        .expect_problem(400);
    client.get("/kv/k").expect(200);
    client.get("/kv/new").expect(404);
    for ttl in ["1ns", "0.5ms", "999us"] {
        pykv(&["set", "--ttl", ttl, "k", "v"]).at(&node).expect(2);
    }
    pykv(&["set", "--ttl", "1ms", "k", "v"]).at(&node).expect(0);
}

#[test]
fn an_import_leaves_out_what_has_expired() {
    let node = Server::start(&[]);
    let mut lines = String::new();
    for at in 0..500u64 {
        let until = if at % 3 == 0 {
            4_102_444_800_000
        } else {
            1 + at * 7919 % 1000
        };
        lines += &format!("{{\"key\":\"k{at}\",\"value\":\"v\",\"expires_at_ms\":{until}}}\n");
    }
    let import = pykv(&["import"]).at(&node).stdin(lines.as_bytes()).expect(0);
    assert!(
        import
            .stderr
            .contains("imported 167 keys, 333 that had expired left out"),
        "{import:?}"
    );
    // A gateway looks at its engine every second.
    crate::common::eventually("the entries are counted", || {
        node.get("/stats").body_json()["entries"] == 167
    });
}

#[test]
fn bad_times_are_refused_and_change_nothing() {
    let node = Server::start(&[]);
    let mut client = node.client();
    client.add("k", "v").expect(201);
    let offset = node.offset();
    for ttl in ["0", "-1", "1e12", "\"5\"", "null", "[]", "1e400"] {
        let body = format!(r#"{{"value":"w","ttl":{ttl}}}"#);
        let answer = client.request("PUT", "/kv/k", &JSON, body.as_bytes());
        assert!([400, 422].contains(&answer.status), "{ttl}: {answer:?}");
        if answer.status == 422 {
            assert_eq!(answer.body_json()["field"], "ttl", "{ttl}");
        }
    }
    for query in [
        "ttl=",
        "ttl=0",
        "ttl=-1",
        "ttl=soon",
        "ttl=1e12",
        "ttl=5&ttl=6",
        "ttl=inf",
    ] {
        let answer = client.request("PUT", &format!("/kv/k?{query}"), &BYTES, b"w");
        answer.expect_problem(400);
        assert_eq!(answer.body_json()["field"], "ttl", "{query}");
    }
    for body in [
        r#"{}"#,
        r#"{"ttl":5,"value":"w"}"#,
        r#"{"ttl":5,"expires_at_ms":5}"#,
        r#"{"expires_at_ms":-5}"#,
    ] {
        client
            .request("PATCH", "/kv/k", &JSON, body.as_bytes())
            .expect_problem(422);
    }
    client.request("PATCH", "/kv/k", &BYTES, b"5").expect_problem(415);
    client
        .request("PUT", "/kv/k?ttl=5", &JSON, br#"{"value":"w"}"#)
        .expect_problem(400);
    assert_eq!(
        (node.offset(), client.get("/kv/k?raw").body),
        (offset, b"v".to_vec())
    );
}

#[test]
fn an_expired_key_is_never_served() {
    let node = Server::start(&[]);
    let mut client = node.client();
    for round in 0..20 {
        let put = client.request("PUT", "/kv/k?upsert=true&ttl=0.03", &BYTES, b"v");
        let at = expires_at_ms(&put.expect(201));
        loop {
            let asked_ms = now_ms();
            let answer = client.get("/kv/k?raw");
            assert!(
                answer.status == 404 || asked_ms < at,
                "round {round}: served at {asked_ms}, expired at {at}"
            );
            if answer.status == 404 {
                assert!(now_ms() >= at, "round {round}: gone before its time");
                break;
            }
        }
        // It is not there for a write either.
        client
            .json("PUT", "/kv/k", &json!({"value": "w"}))
            .expect_problem(404);
        client.delete("/kv/k").expect_problem(404);
    }
}

#[test]
fn what_has_expired_is_swept_and_told() {
    if crate::common::engine::differs("watch") {
        return;
    }
    let node = Server::start(&[]);
    let mut client = node.client();
    for n in 0..2000 {
        client
            .request("PUT", &format!("/kv/k{n}?upsert=true&ttl=0.2"), &BYTES, b"v")
            .expect(201);
    }
    client.add("stays", "v").expect(201);
    eventually("the sweep", || node.get("/stats").body_json()["entries"] == 1);
    let stats = node.get("/stats").body_json();
    assert_eq!(
        (&stats["expiries"], &stats["entries_with_deadline"]),
        (&json!(2000), &json!(0))
    );
    let expired = || {
        let records = cli::log_records(node.dir());
        records
            .iter()
            .filter(|record| record["operation"] == "EXPIRE")
            .count()
    };
    eventually("the records of it", || expired() == 2000);
}

#[test]
fn a_restart_renews_nothing() {
    if crate::common::engine::differs("durability") {
        return;
    }
    let mut node = Server::start(&[]);
    let mut client = node.client();
    let long = client.request("PUT", "/kv/long?upsert=true&ttl=1000", &BYTES, b"v");
    let short = client.request("PUT", "/kv/short?upsert=true&ttl=1", &BYTES, b"v");
    let (long_at, short_at) = (expires_at_ms(&long), expires_at_ms(&short));
    node.restart();
    assert_eq!(expires_at_ms(&node.get("/kv/long")), long_at);
    node.sigterm();
    eventually("its time comes", || now_ms() >= short_at);
    node.start_again();
    node.get("/kv/short").expect(404);
    eventually("the sweep", || node.get("/stats").body_json()["entries"] == 1);
    assert_eq!(expires_at_ms(&node.get("/kv/long")), long_at);
}

#[test]
fn a_node_without_deadlines_does_not_wake_for_them() {
    if crate::common::engine::differs("threads") {
        return;
    }
    let node = Server::start(&[]);
    node.client().add("k", "v").expect(201);
    let switches = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
        let sweep = tasks
            .map(|task| task.unwrap().path())
            .find(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim() == "sweep");
        let status = std::fs::read_to_string(sweep.unwrap().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Writes without a deadline, and time, are no reason. It may still be starting at first; one that wakes once a
    // second never rests for as long.
    eventually("a rest of the thread that sweeps", || {
        let before = switches();
        let end = std::time::Instant::now() + Duration::from_millis(1500);
        while std::time::Instant::now() < end {
            node.client().put("/kv/k", b"w").expect(200);
        }
        switches() == before
    });
}
