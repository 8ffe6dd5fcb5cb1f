//! Increments and appends: values that a node makes from those that it holds, as one step.
//!
//! `PYKV_EDIT_ROUNDS` sets the number of crashes (default 3; 10 for a long look).

use crate::common::{Client, Response, Server, poll, setting};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

fn patch(client: &mut Client, key: &str, body: Value) -> Response {
    client.json("PATCH", &format!("/kv/{key}"), &body)
}

fn kind(answer: &Response) -> String {
    let problem = answer.body_json();
    let kind = problem["type"].as_str().unwrap();
    kind.rsplit(':').next().unwrap().to_owned()
}

fn value(client: &mut Client, key: &str) -> String {
    let answer = client.get(&format!("/kv/{key}?raw")).expect(200);
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn a_number_is_changed_in_one_step() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    assert_eq!(
        kind(&patch(client, "n", json!({"increment": 1})).expect(404)),
        "no-such-key"
    );
    let made = patch(client, "n", json!({"increment": 5, "initial": 7})).expect(201);
    assert_eq!(made.body_json()["value"], "7", "the key gets the initial number");
    let made = patch(client, "n", json!({"increment": 5, "initial": 7})).expect(200);
    assert_eq!(made.body_json()["value"], "12");
    assert_eq!(made.body_json()["version"].as_u64(), Some(made.version()));
    let made = patch(client, "n", json!({"increment": -13}))
        .expect(200)
        .body_json();
    assert_eq!(made["value"], "-1");
    assert_eq!(value(client, "n"), "-1");

    // Numbers past 2^53 keep their digits.
    client.put("/kv/n", b"9223372036854775806");
    let made = patch(client, "n", json!({"increment": 1}))
        .expect(200)
        .body_json();
    assert_eq!(made["value"], "9223372036854775807");
    assert_eq!(
        kind(&patch(client, "n", json!({"increment": 1})).expect(409)),
        "overflow"
    );
    client.put("/kv/n", b"seven");
    assert_eq!(
        kind(&patch(client, "n", json!({"increment": 1})).expect(422)),
        "not-a-number"
    );
    assert_eq!(value(client, "n"), "seven", "a refusal changes nothing");
}

#[test]
fn a_deadline_is_kept_unless_there_is_another() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    client.put("/kv/n?upsert=true&ttl=1000", b"1").expect(201);
    let before = client.get("/kv/n").body_json()["expires_at_ms"].clone();
    let made = patch(client, "n", json!({"increment": 1}))
        .expect(200)
        .body_json();
    assert_eq!(made["expires_at_ms"], before);
    let made = patch(client, "n", json!({"append": "0"})).expect(200).body_json();
    assert_eq!(made["expires_at_ms"], before);
    let made = patch(client, "n", json!({"increment": 1, "ttl": 5000}))
        .expect(200)
        .body_json();
    assert!(made["expires_at_ms"].as_u64() > before.as_u64(), "{made}");
    let made = patch(client, "n", json!({"increment": 1, "ttl": null}))
        .expect(200)
        .body_json();
    assert_eq!(
        (&made["value"], &made["expires_at_ms"]),
        (&json!("22"), &Value::Null)
    );
}

#[test]
fn bytes_are_put_behind_a_value() {
    let node = Server::start(&["--max-value", "1KiB"]);
    let client = &mut node.client();
    patch(client, "log", json!({"append": "a"})).expect(404);
    client.put("/kv/log?upsert=true", b"one").expect(201);
    let made = patch(client, "log", json!({"append": ", two"}))
        .expect(200)
        .body_json();
    assert_eq!((&made["value_bytes"], &made["value"]), (&json!(8), &Value::Null));
    patch(client, "log", json!({"append": "/w==", "encoding": "base64"})).expect(200);
    assert_eq!(client.get("/kv/log?raw").body, b"one, two\xff");
    let refused = patch(client, "log", json!({"append": "x".repeat(1016)})).expect(413);
    assert_eq!(refused.body_json()["limit"], 1024);
}

#[test]
fn preconditions_hold_for_edits() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    let version = client.put("/kv/n?upsert=true", b"1").expect(201).version();
    let body = br#"{"increment":1}"#;
    for (tag, status) in [(version + 1, 412), (version, 200), (version, 412)] {
        let tag = format!("\"{tag}\"");
        let headers = [JSON[0], ("If-Match", &tag)];
        client.request("PATCH", "/kv/n", &headers, body).expect(status);
    }
    let body = br#"{"increment":1,"initial":1}"#;
    let headers = [JSON[0], ("If-Match", "*")];
    client.request("PATCH", "/kv/none", &headers, body).expect(412);
    assert_eq!(value(client, "n"), "2");
}

#[test]
fn bodies_that_are_refused() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    client.put("/kv/n?upsert=true", b"1").expect(201);
    for (body, field) in [
        (r#"{}"#, "ttl"),
        (r#"{"increment":1.5}"#, "increment"),
        (r#"{"increment":"1"}"#, "increment"),
        (r#"{"increment":null}"#, "increment"),
        (r#"{"increment":9223372036854775808}"#, "increment"),
        (r#"{"increment":-9223372036854775809}"#, "increment"),
        (r#"{"increment":1,"append":"x"}"#, "append"),
        (r#"{"initial":1}"#, "initial"),
        (r#"{"initial":1,"ttl":5}"#, "initial"),
        (r#"{"append":"?","encoding":"base64"}"#, "append"),
        (r#"{"append":"1","encoding":"json"}"#, "encoding"),
        (r#"{"increment":1,"encoding":"base64"}"#, "encoding"),
        (r#"{"value":"1"}"#, "value"),
    ] {
        let refused = client
            .request("PATCH", "/kv/n", &JSON, body.as_bytes())
            .expect(422);
        assert_eq!(refused.body_json()["field"], field, "{body}");
    }
    assert_eq!(value(client, "n"), "1");
}

#[test]
fn a_batch_has_them_all_or_none() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    client.put("/kv/a?upsert=true", b"1").expect(201);
    client.put("/kv/text?upsert=true", b"x").expect(201);
    let operations = json!({"operations": [
        {"op": "increment", "key": "a", "by": 2},
        {"op": "increment", "key": "b", "by": 1, "initial": 10, "ttl": 100},
        {"op": "append", "key": "text", "value": "y"},
        {"op": "set", "key": "c", "value": {"json": [1, 2.50]}, "encoding": "json"},
        {"op": "set", "key": "d", "value": "plain"},
        {"op": "get", "key": "a"},
    ]});
    let batched = client.json("POST", "/batch", &operations).expect(200).body_json();
    let results = &batched["results"];
    for (at, name, expected) in [
        (0, "value", json!("3")),
        (0, "status", json!(200)),
        (1, "value", json!("10")),
        (1, "status", json!(201)),
        (2, "value_bytes", json!(2)),
        (5, "value", json!("3")),
    ] {
        assert_eq!(results[at][name], expected, "{at} {name}: {batched}");
    }
    assert!(results[1]["expires_at_ms"].is_u64(), "{batched}");
    assert_eq!(value(client, "d"), "plain");
    assert_eq!(
        serde_json::from_str::<Value>(&value(client, "c")).unwrap(),
        json!({"json": [1, 2.50]})
    );

    // One step at fault, and nothing is done.
    for (at_fault, status) in [
        (json!({"op": "increment", "key": "text", "by": 1}), 422),
        (json!({"op": "increment", "key": "none", "by": 1}), 404),
        (json!({"op": "increment", "key": "a", "by": i64::MAX}), 409),
        (
            json!({"op": "increment", "key": "a", "by": 1, "if_version": 1}),
            412,
        ),
    ] {
        let operations = json!({"operations": [{"op": "increment", "key": "b", "by": 1}, at_fault]});
        let refused = client
            .json("POST", "/batch", &operations)
            .expect(status)
            .body_json();
        assert_eq!(refused["index"], 1, "{refused}");
        assert_eq!(value(client, "b"), "10");
    }
    for (operation, field) in [
        (json!({"op": "increment", "key": "a"}), "by"),
        (
            json!({"op": "increment", "key": "a", "by": 1, "value": "1"}),
            "value",
        ),
        (
            json!({"op": "append", "key": "a", "value": 1, "encoding": "json"}),
            "encoding",
        ),
        (json!({"op": "set", "key": "a", "value": "1", "by": 1}), "by"),
        (json!({"op": "get", "key": "a", "initial": 1}), "initial"),
    ] {
        let operations = json!({"operations": [operation]});
        let refused = client.json("POST", "/batch", &operations).expect(422).body_json();
        assert_eq!(refused["field"], format!("operations[0].{field}"), "{refused}");
    }
}

#[test]
fn a_value_may_be_json() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    for text in [
        r#"{"a": [1, 2.50, 12345678901234567890]}"#,
        "7",
        "null",
        r#""text""#,
        "[ ]",
        "1e99999",
        r#""\ud800""#,
    ] {
        for body in [
            format!(r#"{{"value":{text},"encoding":"json"}}"#),
            format!(r#"{{"encoding":"json","value":{text}}}"#),
        ] {
            let put = client.request("PUT", "/kv/j?upsert=true", &JSON, body.as_bytes());
            assert!(put.is_success(), "{put:?}");
            assert_eq!(value(client, "j"), text, "it is kept as it is written");
        }
    }
    let refused = client
        .request("PUT", "/kv/j", &JSON, br#"{"value":{"a":1}}"#)
        .expect(422);
    let problem = refused.body_json();
    assert_eq!(
        problem["detail"],
        "`value` must be a string, not an object; to store JSON, put `\"encoding\":\"json\"` beside it"
    );
    assert_eq!(problem["field"], "value");
    client
        .request("PUT", "/kv/j", &JSON, br#"{"value":"\ud800"}"#)
        .expect(400);
    for (body, status) in [
        (&br#"{"value":{"a":1},"encoding":"base64"}"#[..], 422),
        (br#"{"value":{"a":1},"encoding":"xml"}"#, 422),
        (br#"{"value":{"a":1,},"encoding":"json"}"#, 400),
        (br#"{"value":{"a":1},"encoding":"json","x":1}"#, 422),
    ] {
        client.request("PUT", "/kv/j", &JSON, body).expect(status);
    }
}

#[test]
fn a_key_is_added_under_its_own_path_and_all_keys_need_no_slash() {
    let node = Server::start(&[]);
    let client = &mut node.client();
    client
        .json("POST", "/kv/a/b", &json!({"value": "1", "ttl": 100}))
        .expect(201);
    let exists = client.json("POST", "/kv/a/b", &json!({"value": "2"})).expect(409);
    assert_eq!(kind(&exists), "key-exists");
    client
        .json("POST", "/kv/c", &json!({"key": "c", "value": "2"}))
        .expect(422);
    assert_eq!(value(client, "a/b"), "1");
    let listed = client.get("/kv?prefix=a").expect(200).body_json();
    assert_eq!(listed["keys"], json!(["a/b"]));
    let added = client
        .json("POST", "/kv", &json!({"key": "c", "value": "2"}))
        .expect(201);
    assert_eq!(
        added.header("Location"),
        Some("./kv/c"),
        "it is relative to the path of the request"
    );
}

/// One client: increments until the node is gone. Returns what it was answered.
fn increment(address: SocketAddr, answered: &AtomicUsize) -> Vec<i64> {
    let mut values = Vec::new();
    let Ok(mut client) = Client::try_connect(address) else {
        return values;
    };
    let request =
        crate::common::client::encode("PATCH", "/kv/count", &JSON, br#"{"increment":1,"initial":1}"#);
    loop {
        let answer = client.send(&request).and_then(|()| client.response(false));
        let Ok(answer) = answer else { return values };
        assert!(answer.is_success(), "{answer:?}");
        let value = answer.body_json()["value"].as_str().unwrap().parse().unwrap();
        assert!(
            values.last().is_none_or(|last| *last < value),
            "{value} after {:?}",
            values.last()
        );
        values.push(value);
        answered.fetch_add(1, Relaxed);
    }
}

/// No increment that was answered is lost, and none is done twice: no two answers have one number, and a restart has
/// all that was answered, and at most one more of each client.
#[test]
fn increments_of_many_clients_over_crashes() {
    const CLIENTS: usize = 64;
    let mut node = Server::start(&[]);
    let mut all = BTreeSet::new();
    let mut unanswered = 0;
    for _ in 0..setting("PYKV_EDIT_ROUNDS", 3) {
        let answered = AtomicUsize::new(0);
        let address = node.address();
        let values: Vec<i64> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| increment(address, &answered)))
                .collect();
            let enough = poll(crate::common::SOON, || answered.load(Relaxed) >= 1500);
            node.kill_9();
            assert!(enough, "only {} increments", answered.load(Relaxed));
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        for value in values {
            assert!(all.insert(value), "{value} was answered twice");
        }
        unanswered += CLIENTS;
        node.start_again();
        let count: usize = value(&mut node.client(), "count").parse().unwrap();
        let last = *all.last().unwrap();
        assert!(count as i64 >= last, "{count} is there, and {last} was answered");
        assert!(
            (all.len()..=all.len() + unanswered).contains(&count),
            "{count} is there, {} were answered, and up to {unanswered} more were sent",
            all.len()
        );
    }
}

/// Many clients append to one key: each append that was answered is there once. An append that finds no room is refused
/// with 503, and its client tries again.
#[test]
fn appends_of_many_clients_to_one_key_are_there_once_each() {
    const CLIENTS: usize = 24;
    const APPENDS: usize = 20;
    let node = Server::start(&["--max-in-flight", "4MiB", "--max-value", "1MiB"]);
    node.client().add("log", "").expect(201);
    let address = node.address();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let piece = format!("<{number:02}>{}", "x".repeat(252));
                for _ in 0..APPENDS {
                    assert!(poll(Duration::from_secs(60), || {
                        let answer = patch(&mut client, "log", json!({"append": piece}));
                        assert!([200, 503].contains(&answer.status), "{answer:?}");
                        answer.status == 200
                    }));
                }
            });
        }
    });
    let value = value(&mut node.client(), "log");
    assert_eq!(value.len(), CLIENTS * APPENDS * 256);
    for number in 0..CLIENTS {
        assert_eq!(value.matches(&format!("<{number:02}>")).count(), APPENDS);
    }
}
