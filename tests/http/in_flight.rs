//! What slow clients leave to others of `--max-in-flight`.

use crate::common::client::{BYTES, JSON, encode};
use crate::common::{Client, SOON, Server, poll};
use std::io::Read;

const MIB: usize = 1 << 20;

/// What all may take in these tests.
const IN_FLIGHT: usize = 16 * MIB;

fn start() -> Server {
    Server::start(&[
        "--max-memory",
        "128MiB",
        "--max-in-flight",
        "16MiB",
        "--max-value",
        "15MiB",
        "--fsync",
        "no",
        "--compact-ratio",
        "0",
    ])
}

fn put(client: &mut Client, key: &str, bytes: usize) {
    let answer = client.put(&format!("/kv/{key}?upsert=true"), &vec![b'v'; bytes]);
    assert!(answer.is_success(), "{answer:?}");
}

fn get(target: &str) -> Vec<u8> {
    encode("GET", target, &[], b"")
}

/// Clients that ask for something and do not take the answer.
fn slow(node: &Server, count: usize, request: &[u8]) -> Vec<Client> {
    let ask = |_| {
        let mut client = node.client();
        let _ = client.send(request); // Some are refused on the way.
        client
    };
    (0..count).map(ask).collect()
}

fn in_flight(node: &Server) -> f64 {
    let text = String::from_utf8(node.client().get("/metrics").expect(200).body).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("pykv_http_in_flight_bytes "));
    line.unwrap().parse().unwrap()
}

fn await_in_flight(node: &Server, bytes: usize) {
    let is_held = || in_flight(node) >= bytes as f64;
    assert!(poll(SOON, is_held), "{} bytes are in flight", in_flight(node));
}

/// What a node must always tell, and what is small.
fn small_answers_come(node: &Server) {
    for target in [
        "/metrics",
        "/status",
        "/stats",
        "/readyz",
        "/history",
        "/openapi.json",
        "/kv/?limit=1000",
        "/kv/small",
    ] {
        node.client().get(target).expect(200);
    }
    let operations = serde_json::json!({"operations": [{"op": "get", "key": "small"}, {"op": "set", "key": "b", "value": "w"}]});
    node.client().json("POST", "/batch", &operations).expect(200);
    put(&mut node.client(), "other", 10_000);
}

/// Slow readers of a value as large as the budget hold nothing that others need: not small answers, not the same value,
/// not other large ones, not a list of them all, and not a body of the largest size.
#[test]
fn slow_readers_of_large_values_keep_nobody_out() {
    let node = start();
    let mut client = node.client();
    put(&mut client, "large", 15 * MIB);
    put(&mut client, "middle", 9 * MIB);
    put(&mut client, "small", 100);
    for number in 0..1500 {
        put(&mut client, &format!("k{number:0>200}"), 10);
    }
    for request in [
        "/kv/middle?raw",
        "/kv/large?raw",
        "/kv/large",
        "/kv/?values=true&limit=1000",
    ] {
        let mut readers = slow(&node, 20, &get(request));
        if request == "/kv/middle?raw" {
            await_in_flight(&node, 9 * MIB);
        }
        small_answers_come(&node);
        assert_eq!(client.get("/kv/large?raw").expect(200).body.len(), 15 * MIB);
        assert_eq!(client.get("/kv/middle?raw").expect(200).body.len(), 9 * MIB);
        let value = client.get("/kv/middle").expect(200).body_json();
        assert_eq!(value["value"].as_str().unwrap().len(), 9 * MIB);
        assert_eq!(
            client
                .get("/kv/?values=true&prefix=middle")
                .expect(200)
                .body_json()["entries"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        // Bodies of a fifth, of half and of nearly all.
        for bytes in [3 * MIB, 8 * MIB, 15 * MIB] {
            put(&mut client, "body", bytes);
        }
        small_answers_come(&node);
        // The value did not change, so one that was slow gets all of it.
        if request.ends_with("raw") {
            let answer = readers[0].response(false).unwrap().expect(200);
            assert!(answer.body.iter().all(|byte| *byte == b'v') && answer.body.len() >= 9 * MIB);
        }
    }
}

/// Where others have all that is not kept for small answers, the files of the page come as ever, and an answer of some
/// hundred thousand bytes waits for its turn rather than being refused.
#[test]
fn what_is_neither_small_nor_large_waits_for_its_turn() {
    let bounds = ["--max-in-flight", "2MiB", "--max-value", "1000000"];
    let node = Server::start(&[&bounds[..], &["--fsync", "no"]].concat());
    let mut client = node.client();
    put(&mut client, "large", 1_000_000);
    put(&mut client, "rest", 250_000);
    // Of each byte of it, JSON makes six.
    client.put("/kv/escapes?upsert=true", &[1; 60_000]).expect(201);
    let _reader = slow(&node, 1, &get("/kv/large?raw").repeat(8));
    await_in_flight(&node, 1_000_000);
    let _reader_of_the_rest = slow(&node, 1, &get("/kv/rest?raw").repeat(32));
    await_in_flight(&node, 1_250_000);
    for _ in 0..3 {
        node.client().get("/openapi.json").expect(200);
        let value = node.client().get("/kv/escapes").expect(200).body_json();
        assert_eq!(value["value"].as_str().unwrap().len(), 60_000);
    }
}

/// A slow reader of a value that is replaced while others need the room gets no mixture of the two.
#[test]
fn a_value_that_is_replaced_is_not_mixed_with_the_next() {
    let node = start();
    let mut client = node.client();
    put(&mut client, "large", 15 * MIB);
    let readers = slow(&node, 2, &get("/kv/large?raw"));
    let mut first = [0; 1000];
    let mut socket = readers[0].socket().try_clone().unwrap();
    socket.read_exact(&mut first).unwrap();
    client
        .put("/kv/large?upsert=true", &vec![b'w'; 15 * MIB])
        .expect(200);
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    let is_whole = first.len() + rest.len() > 15 * MIB;
    assert!(!is_whole && !rest.contains(&b'w'), "{} bytes came", rest.len());
    // One that the budget has room for is kept for its reader.
    put(&mut client, "middle", 9 * MIB);
    // What the body took is given back a moment after its answer.
    assert!(poll(SOON, || in_flight(&node) < MIB as f64));
    let mut reader = slow(&node, 1, &get("/kv/middle?raw")).remove(0);
    await_in_flight(&node, 9 * MIB);
    client.put("/kv/middle?upsert=true", b"w").expect(200);
    let answer = reader.response(false).unwrap().expect(200);
    assert_eq!(answer.body, vec![b'v'; 9 * MIB]);
}

/// Two hundred uploads that do not move keep out what is as large as they are, at once; and nothing else.
#[test]
fn slow_uploads_keep_out_large_bodies_alone() {
    let node = start();
    let mut client = node.client();
    put(&mut client, "middle", 3 * MIB);
    put(&mut client, "small", 100);
    let half = encode("PUT", "/kv/upload?upsert=true", &BYTES, &vec![b'v'; 3 * MIB]);
    let uploads = slow(&node, 200, &half[..half.len() / 2]);
    await_in_flight(&node, IN_FLIGHT / 2);
    small_answers_come(&node);
    assert_eq!(client.get("/kv/middle?raw").expect(200).body.len(), 3 * MIB);
    let operations =
        serde_json::json!({"operations": [{"op": "set", "key": "k", "value": "v".repeat(9 * MIB)}]});
    let body = operations.to_string();
    let refused = node.client().request("POST", "/batch", &JSON, body.as_bytes());
    assert_eq!(refused.status, 503);
    drop(uploads);
}

/// Slow readers of changes hold what they were granted while nobody else needs it, and are cut off then.
#[test]
fn slow_watchers_make_room_for_a_body() {
    let node = start();
    let mut client = node.client();
    put(&mut client, "small", 100);
    for _ in 0..4 {
        put(&mut client, "large", 4 * MIB);
    }
    let _watchers = slow(&node, 20, &get("/watch?after=0&wait=0").repeat(5));
    await_in_flight(&node, 8 * MIB);
    small_answers_come(&node);
    put(&mut client, "body", 15 * MIB);
}
