//! `pykv log`: the records of a log as JSON lines, beside a node that runs.

use crate::common::{Server, cli, poll, pykv};
use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::thread;

#[test]
fn log_prints_records_as_json_lines() {
    let node = Server::start(&[]);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        pykv(&["set", key, value]).at(&node).succeed();
    }
    pykv(&["del", "b"]).at(&node).succeed();
    let told: Vec<(String, String)> = cli::log_records(node.dir())
        .iter()
        .filter(|record| record["key"].is_string())
        .map(|record| {
            assert!(
                record["offset"].is_u64() && record["timestamp"].is_u64(),
                "{record}"
            );
            let text = |field: &str| record[field].as_str().unwrap().to_string();
            (text("operation"), text("key"))
        })
        .collect();
    let expected = [("SET", "a"), ("SET", "b"), ("UPDATE", "a"), ("DELETE", "b")];
    assert_eq!(
        told,
        expected.map(|(operation, key)| (operation.to_string(), key.to_string()))
    );

    let of_a = String::from_utf8(pykv(&["log", "--key", "a"]).dir(node.dir()).succeed()).unwrap();
    assert_eq!(of_a.lines().count(), 2, "{of_a}");
    assert!(of_a.lines().all(|line| line.contains("\"key\":\"a\"")), "{of_a}");
    let none = pykv(&["log", "--key", "absent"]).dir(node.dir()).succeed();
    assert_eq!(none, b"");
}

#[test]
fn log_shows_values_that_are_no_text() {
    let node = Server::start(&[]);
    node.client()
        .put("/kv/k?upsert=true", &[0xff, 0xfe, 0xfd, 0xfc])
        .expect(201);
    let records = cli::log_records(node.dir());
    let record = records.iter().find(|record| record["key"] == "k").unwrap();
    assert_eq!(
        (&record["value"], &record["encoding"]),
        (&"//79/A==".into(), &"base64".into()),
        "{record}"
    );
}

#[test]
fn log_follow_prints_what_is_added() {
    let mut node = Server::start(&[]);
    pykv(&["set", "before", "1"]).at(&node).succeed();
    let mut follow = pykv(&["log", "--follow"]).dir(node.dir()).spawn();
    let stdout = BufReader::new(follow.0.stdout.take().unwrap());
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for text in stdout.lines().map_while(Result::ok) {
            let _ = line.send(text);
        }
    });
    let wait_for = |key: &str| {
        let mut seen = String::new();
        assert!(
            poll(crate::common::SOON, || {
                seen.extend(lines.try_iter());
                seen.contains(&format!("\"key\":\"{key}\""))
            }),
            "no {key} in {seen}"
        );
    };
    wait_for("before");
    pykv(&["set", "after", "1"]).at(&node).succeed();
    wait_for("after");
    // It reads what is written, and the node can go and come meanwhile.
    node.restart();
    pykv(&["set", "later", "1"]).at(&node).succeed();
    wait_for("later");
    assert!(follow.0.try_wait().unwrap().is_none(), "it goes on");
}

/// What README names: a start of the primary skips offsets, and says where the log continues.
#[test]
fn log_says_where_a_skip_leads() {
    let mut node = Server::start(&[]);
    node.client().add("a", "1").expect(201);
    node.kill_9();
    node.start_again();
    node.client().add("b", "2").expect(201);
    node.kill_9();
    let records = cli::log_records(node.dir());
    let at = records
        .iter()
        .rposition(|record| record["operation"] == "SKIP")
        .unwrap();
    assert!(records[at]["goes_on_at"].is_u64(), "{}", records[at]);
    assert_eq!(records[at]["goes_on_at"], records[at + 1]["offset"]);
}
