//! Listing keys: every key that stays is given exactly once, and nothing is used by being listed.

use crate::common::client::percent;
use crate::common::{Client, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

#[test]
fn head_and_listing_leave_recency_alone_and_get_does_not() {
    let node = Server::start(&["--max-capacity", "2"]);
    let mut client = node.client();
    client.add("a", "1").expect(201);
    client.add("b", "1").expect(201);
    client.request("HEAD", "/kv/a", &[], b"").expect(200);
    client.get("/kv/").expect(200);
    client.add("c", "1").expect(201);
    client.request("HEAD", "/kv/a", &[], b"").expect(404);
    client.get("/kv/b").expect(200);
    client.add("d", "1").expect(201);
    client.request("HEAD", "/kv/b", &[], b"").expect(200);
    client.request("HEAD", "/kv/c", &[], b"").expect(404);
    let stats = client.get("/stats").body_json();
    assert_eq!(
        (&stats["hits"], &stats["misses"]),
        (&json!(1), &json!(0)),
        "HEAD counts as neither: {stats}"
    );
}

#[test]
fn a_listing_has_every_key_once_under_writes() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for number in 0..2000 {
        client
            .put(&format!("/kv/stable/{number}?upsert=true"), b"1")
            .expect(201);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (node, stop) = (&node, &stop);
            scope.spawn(move || {
                let mut client = node.client();
                for number in 0u64.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let passing = format!("/kv/passing/{writer}/{}", number % 300);
                    client.put(
                        &format!("{passing}?upsert=true"),
                        &vec![b'v'; (number % 900) as usize],
                    );
                    client.delete(&format!("/kv/passing/{writer}/{}", number * 7 % 300));
                    // Rewritten, with another size: still the same key.
                    client.put(
                        &format!("/kv/stable/{}", number * 13 % 2000),
                        &vec![b'v'; (number % 500) as usize],
                    );
                }
            });
        }
        // However the listing fails, the writers end.
        let listings = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for limit in [1000, 97, 10] {
                let keys = list(&mut client, "prefix=stable/", limit);
                assert_eq!(keys.len(), 2000, "keys in pages of {limit}");
                let repeated: Vec<_> = keys.iter().filter(|(_, count)| **count != 1).collect();
                assert!(repeated.is_empty(), "given more than once: {repeated:?}");
            }
        }));
        stop.store(true, Relaxed);
        listings.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// All keys of a listing, and how often each was given.
fn list(client: &mut Client, query: &str, limit: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = client
            .get(&format!("/kv/?{query}&limit={limit}{cursor}"))
            .expect(200)
            .body_json();
        let keys = page["keys"].as_array().unwrap();
        assert!(keys.len() <= limit, "{} of {limit}", keys.len());
        for key in keys {
            *counts.entry(key.as_str().unwrap().to_string()).or_default() += 1;
        }
        match &page["cursor"] {
            Value::Null => return counts,
            next => cursor = format!("&cursor={}", percent(next.as_str().unwrap())),
        }
    }
}

#[test]
fn a_listing_takes_a_prefix_a_limit_and_a_cursor() {
    let mut node = Server::start(&[]);
    let mut client = node.client();
    assert_eq!(
        client.get("/kv/").expect(200).body_json(),
        json!({"keys": [], "cursor": null})
    );
    for key in ["a", "a b", "a/1", "a/2", "b", "ä"] {
        client.add(key, "1").expect(201);
    }
    let keys = |client: &mut Client, query: &str| list(client, query, 2).into_keys().collect::<Vec<_>>();
    assert_eq!(keys(&mut client, "prefix="), ["a", "a b", "a/1", "a/2", "b", "ä"]);
    assert_eq!(keys(&mut client, "prefix=a/"), ["a/1", "a/2"]);
    assert_eq!(keys(&mut client, "prefix=a%20"), ["a b"]);
    assert_eq!(keys(&mut client, "prefix=%C3%A4"), ["ä"]);
    assert_eq!(keys(&mut client, "prefix=c"), [""; 0]);
    let page = client.get("/kv/?limit=2").body_json();
    let cursor = page["cursor"]
        .as_str()
        .expect("a cursor, as there is more")
        .to_string();
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=",
        "cursor=x",
        "nonsense=1",
        "limit=1&limit=2",
    ] {
        client.get(&format!("/kv/?{query}")).expect_problem(400);
    }
    // A cursor of one question would skip keys that another one asks for.
    for query in ["prefix=a", "match=*", "prefix=&match=b"] {
        let answer = client.get(&format!("/kv/?limit=2&cursor={cursor}&{query}"));
        answer.expect_problem(400);
    }
    client
        .get(&format!("/kv/?limit=3&cursor={cursor}&values=true"))
        .expect(200);
    // Cursors do not outlive the process; to be told so is better than to miss keys.
    node.restart();
    let answer = node.get(&format!("/kv/?limit=2&cursor={cursor}"));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    answer.expect_problem(answer.status);
}
