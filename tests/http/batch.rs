//! `POST /batch` on a real node: all or nothing, in order, and what is refused at the door.

use crate::common::cli::log_records;
use crate::common::{Response, Server};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[track_caller]
fn batch(node: &Server, operations: Value) -> Response {
    node.client()
        .json("POST", "/batch", &json!({ "operations": operations }))
}

fn keys(node: &Server) -> Vec<String> {
    let mut keys: Vec<String> =
        serde_json::from_value(node.get("/kv/").expect(200).body_json()["keys"].clone()).unwrap();
    keys.sort();
    keys
}

#[test]
fn operations_are_done_in_order_and_each_has_a_result() {
    let node = Server::start(&[]);
    node.client().add("there", "old").expect(201);
    let answer = batch(
        &node,
        json!([
            {"op":"get","key":"new"},
            {"op":"set","key":"new","value":"1"},
            {"op":"get","key":"new"},
            {"op":"set","key":"there","value":"/wA=","encoding":"base64","ttl":90},
            {"op":"get","key":"there"},
            {"op":"delete","key":"absent"},
        ]),
    )
    .expect(200);
    let offset = answer.header("Pykv-Offset").unwrap().parse::<u64>().unwrap();
    assert_eq!(answer.header("Pykv-Durable"), Some("written"));
    let answer = answer.body_json();
    assert_eq!(answer["offset"], offset);
    assert_eq!(offset, node.offset());
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result["status"].as_u64().unwrap(),
                result["key"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        statuses,
        [
            (404, "new"),
            (201, "new"),
            (200, "new"),
            (200, "there"),
            (200, "there"),
            (404, "absent")
        ]
    );
    assert_eq!(results[2]["value"], "1");
    assert_eq!(results[2]["version"], results[1]["version"]);
    assert_eq!(
        (&results[4]["value"], &results[4]["encoding"]),
        (&"/wA=".into(), &"base64".into())
    );
    assert_eq!(results[4]["expires_at_ms"], results[3]["expires_at_ms"]);
    assert!(results[3]["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(node.get("/kv/new?raw").expect(200).body, b"1");
    assert_eq!(node.get("/kv/there?raw").expect(200).body, b"\xff\0");
}

#[test]
fn a_batch_that_only_reads_changes_nothing() {
    let node = Server::start(&[]);
    let before = node.offset();
    let answer = batch(&node, json!([{"op":"get","key":"a"},{"op":"delete","key":"a"}])).expect(200);
    assert_eq!(answer.header("Pykv-Offset"), None);
    assert_eq!(answer.body_json().get("offset"), None);
    assert_eq!(node.offset(), before);
}

#[test]
fn one_condition_that_fails_leaves_all_as_it_was() {
    let node = Server::start(&[]);
    let version = node.client().add("b", "old").expect(201).version();
    let before = node.offset();
    for (last, shown) in [
        (
            json!({"op":"set","key":"b","value":"2","if_absent":true}),
            Some(version),
        ),
        (
            json!({"op":"set","key":"b","value":"2","if_version":version + 1}),
            Some(version),
        ),
        (json!({"op":"delete","key":"b","if_version":1}), Some(version)),
        (json!({"op":"delete","key":"c","if_version":1}), None),
    ] {
        let answer = batch(
            &node,
            json!([{"op":"set","key":"a","value":"1"},{"op":"get","key":"a"}, last]),
        );
        answer.expect_problem(412);
        let problem = answer.body_json();
        assert_eq!(problem["index"], 2, "{problem}");
        assert_eq!(problem["version"].as_u64(), shown, "{problem}");
    }
    assert_eq!(node.offset(), before);
    assert_eq!(keys(&node), ["b"]);
    // All conditions are held against what was there before: `a` is new, whatever is done to it.
    batch(
        &node,
        json!([
            {"op":"set","key":"a","value":"1","if_absent":true},
            {"op":"set","key":"b","value":"2","if_version":version},
        ]),
    )
    .expect(200);
    assert_eq!(keys(&node), ["a", "b"]);
}

#[test]
fn what_is_no_batch_is_refused_with_its_field() {
    let node = Server::start(&["--max-batch", "3", "--max-value", "10"]);
    let get = json!({"op":"get","key":"k"});
    for (operations, status, field) in [
        (json!([]), 422, "operations"),
        (json!([get, get, get, get]), 422, "operations"),
        (
            json!([{"op":"set","key":"k","value":""},{"op":"delete","key":"k"}]),
            422,
            "operations[1].key",
        ),
        (
            json!([get, {"op":"set","key":"","value":""}]),
            400,
            "operations[1].key",
        ),
        (
            json!([{"op":"set","key":"k","value":"","ttl":-1}]),
            422,
            "operations[0].ttl",
        ),
    ] {
        let answer = batch(&node, operations);
        answer.expect_problem(status);
        assert_eq!(answer.body_json()["field"], field);
    }
    let large = batch(&node, json!([get, {"op":"set","key":"k","value":"12345678901"}]));
    large.expect_problem(413);
    assert_eq!(
        (&large.body_json()["index"], &large.body_json()["limit"]),
        (&1.into(), &10.into())
    );
    // It has conditions of its own.
    let body = br#"{"operations":[{"op":"get","key":"k"}]}"#;
    let headers = [("Content-Type", "application/json"), ("If-Match", "*")];
    node.client()
        .request("POST", "/batch", &headers, body)
        .expect_problem(400);
    node.get("/batch").expect_problem(405);
    assert!(keys(&node).is_empty());
    batch(&node, json!([get, get, get])).expect(200);
}

#[test]
fn an_answer_has_a_bound_whatever_is_asked_for() {
    let node = Server::start(&["--max-batch", "10000"]);
    node.client()
        .put("/kv/large?upsert=true", &vec![b'v'; 1 << 20])
        .expect(201);
    let get = json!({"op":"get","key":"large"});
    let answer = batch(&node, Value::from(vec![get; 10_000])).expect(200);
    assert!(answer.body.len() < 20 << 20, "{} bytes", answer.body.len());
    let answer = answer.body_json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 10_000);
    assert_eq!(results[0]["value"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(
        (&results[9999]["status"], results[9999].get("value")),
        (&413.into(), None)
    );
}

#[test]
fn a_crash_keeps_all_of_a_batch_or_none() {
    let mut node = Server::start(&["--fsync", "no"]);
    let stop = AtomicBool::new(false);
    for round in 0..5 {
        thread::scope(|scope| {
            let mut client = node.client();
            let stop = &stop;
            stop.store(false, Ordering::Relaxed);
            let writer = scope.spawn(move || {
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    let value = format!("{round}-{done}");
                    let set = |key: usize| json!({"op":"set","key":format!("k{key}"),"value":value});
                    let operations: Vec<_> = (0..50).map(set).collect();
                    let body = json!({ "operations": operations }).to_string();
                    let headers = crate::common::client::JSON;
                    match client.try_request("POST", "/batch", &headers, body.as_bytes()) {
                        Ok(answer) if answer.is_success() => done += 1,
                        _ => break,
                    }
                }
                done
            });
            let first = node.offset();
            crate::common::eventually("batches are done", || node.offset() > first + 100_000);
            node.kill_9();
            stop.store(true, Ordering::Relaxed);
            assert!(writer.join().unwrap() > 0);
        });
        node.start_again();
        let page = node.get("/kv/?values=true&limit=1000").expect(200).body_json();
        let entries = page["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 50);
        for entry in entries {
            assert_eq!(entry["value"], entries[0]["value"], "one batch wrote them all");
        }
    }
    node.sigterm();
    assert!(log_records(node.dir()).len() > 250);
}
