//! Versions as preconditions: nothing that was counted is lost, and no version comes back.

use crate::common::client::BYTES;
use crate::common::{Client, Server};
use std::collections::HashSet;
use std::thread;

/// Adds one to a counter by compare-and-set, until it is done.
fn increment(client: &mut Client) {
    loop {
        let read = client.get("/kv/counter?raw").expect(200);
        let count: u64 = String::from_utf8(read.body.clone()).unwrap().parse().unwrap();
        let tag = read.header("ETag").unwrap().to_owned();
        let headers = [BYTES[0], ("If-Match", &tag)];
        let put = client.request("PUT", "/kv/counter", &headers, (count + 1).to_string().as_bytes());
        match put.status {
            200 => return,
            412 => {}
            _ => panic!("{put:?}"),
        }
    }
}

#[test]
fn clients_that_compare_and_set_lose_no_increment() {
    const CLIENTS: u64 = 64;
    const EACH: u64 = 20;
    let node = Server::start(&[]);
    node.client().put("/kv/counter?upsert=true", b"0").expect(201);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = node.client();
                (0..EACH).for_each(|_| increment(&mut client));
            });
        }
    });
    assert_eq!(
        node.get("/kv/counter?raw").body,
        (CLIENTS * EACH).to_string().into_bytes()
    );
}

#[test]
fn no_version_is_given_twice() {
    let mut node = Server::start(&[]);
    let mut seen = HashSet::new();
    for round in 0..12 {
        let mut client = node.client();
        for _ in 0..5 {
            let put = client.put("/kv/k?upsert=true", b"v").expect(201);
            assert!(seen.insert(put.version()), "{} came back", put.version());
            let patched = client.json("PATCH", "/kv/k", &serde_json::json!({"ttl": 1000}));
            assert!(seen.insert(patched.expect(200).version()));
            client.delete("/kv/k").expect(204);
        }
        if round % 2 == 0 {
            node.restart();
        } else {
            node.sigterm();
            node.start_again();
        }
    }
}

#[test]
fn a_read_may_ask_for_another_version_than_it_has() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let tag = client
        .add("k", "v")
        .expect(201)
        .header("ETag")
        .unwrap()
        .to_owned();
    let ask =
        |client: &mut Client, name, tag: &str| client.request("GET", "/kv/k", &[(name, tag)], b"").status;
    assert_eq!(ask(&mut client, "If-None-Match", &tag), 304);
    assert_eq!(ask(&mut client, "If-None-Match", "\"1\""), 200);
    assert_eq!(ask(&mut client, "If-Match", &tag), 200);
    assert_eq!(ask(&mut client, "If-Match", "\"1\""), 412);
    assert_eq!(ask(&mut client, "If-None-Match", "1"), 400);
}

#[test]
fn what_begins_alike_is_counted_and_deleted() {
    let node = Server::start(&[]);
    let mut client = node.client();
    for n in 0..1000 {
        client.put(&format!("/kv/user:{n}?upsert=true"), b"v").expect(201);
    }
    client.add("other", "v").expect(201);
    let counted = client
        .delete("/kv/?prefix=user:&dry_run=true")
        .expect(200)
        .body_json();
    assert_eq!(
        (&counted["deleted"], &counted["would_delete"]),
        (&0.into(), &1000.into())
    );
    assert_eq!(node.get("/stats").body_json()["entries"], 1001);
    let deleted = client.delete("/kv/?prefix=user:").expect(200);
    assert_eq!(deleted.body_json()["deleted"], 1000);
    assert_eq!(deleted.header("Pykv-Offset"), Some(&*node.offset().to_string()));
    assert_eq!(
        client.delete("/kv/?prefix=user:").expect(200).body_json()["deleted"],
        0
    );
    client.delete("/kv/").expect_problem(400);
    client.delete("/kv/?prefix=o&dry_run=maybe").expect_problem(400);
    client
        .request("DELETE", "/kv/?prefix=o", &[("If-Match", "*")], b"")
        .expect_problem(400);
    client.get("/kv/other").expect(200);
    assert_eq!(
        client.delete("/kv/?prefix=").expect(200).body_json()["deleted"],
        1
    );
}
