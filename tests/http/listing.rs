//! Listing keys: every key that stays is given exactly once, and nothing is used by being listed.

use crate::common::client::percent;
use crate::common::{Client, Server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn head_and_listing_leave_recency_alone_and_get_does_not() {
    if crate::common::engine::differs("eviction") {
        return;
    }
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
    if crate::common::engine::differs("cursors") {
        return;
    }
    // Cursors do not outlive the process; to be told so is better than to miss keys.
    node.restart();
    let answer = node.get(&format!("/kv/?limit=2&cursor={cursor}"));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    answer.expect_problem(answer.status);
}

/// Enough keys that listings by prefix have them brought into order: then a cursor names a key and no slot.
#[test]
fn a_large_store_finds_a_prefix_in_the_order_of_keys() {
    if crate::common::engine::differs("order") {
        return;
    }
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for part in 0..40 {
        let sets =
            (0..1000).map(|number| json!({"op": "set", "key": format!("n:{part}:{number}"), "value": "v"}));
        let body = json!({"operations": sets.collect::<Vec<_>>()});
        client.json("POST", "/batch", &body).expect(200);
    }
    let under = |prefix: &str| -> BTreeMap<String, usize> {
        let keys = (0..40).flat_map(|part| (0..1000).map(move |number| format!("n:{part}:{number}")));
        keys.filter(|key| key.starts_with(prefix))
            .map(|key| (key, 1))
            .collect()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let cursor = loop {
        assert_eq!(list(&mut client, "prefix=n:7:1", 50), under("n:7:1"));
        let page = client.get("/kv/?prefix=n:7:1&limit=2").expect(200).body_json();
        let cursor = page["cursor"].as_str().unwrap().to_owned();
        if &cursor[16..24] == "ffffffff" {
            assert_eq!(page["keys"], json!(["n:7:1", "n:7:10"]));
            break cursor;
        }
        assert!(Instant::now() < deadline, "the keys are brought into no order");
    };
    // The key that the cursor names may go; keys come before it and after it.
    client.delete("/kv/n:7:100").expect(204);
    client.add("n:7:10/before", "v").expect(201);
    client.add("n:7:1999", "v").expect(201);
    let query = format!("/kv/?prefix=n:7:1&limit=1000&cursor={cursor}");
    let rest: Vec<String> =
        serde_json::from_value(client.get(&query).expect(200).body_json()["keys"].take()).unwrap();
    assert_eq!(rest.len(), under("n:7:1").len() - 3 + 1);
    assert_eq!(
        (rest[0].as_str(), rest.last().unwrap().as_str()),
        ("n:7:101", "n:7:1999")
    );
    assert_eq!(list(&mut client, "match=n:8:*77&prefix=n:8", 3).len(), 10);
    assert_eq!(list(&mut client, "prefix=n:&values=false", 999).len(), 40_001);
    // What is deleted by prefix is gone, and nothing else.
    let deleted = client.delete("/kv/?prefix=n:7:1").expect(200).body_json();
    assert_eq!(deleted["deleted"], under("n:7:1").len() + 1);
    assert_eq!(list(&mut client, "prefix=n:7:", 100), {
        let mut left = under("n:7:");
        left.retain(|key, _| !key.starts_with("n:7:1"));
        left
    });
    assert_eq!(
        client
            .delete("/kv/?prefix=n:7:&dry_run=true")
            .expect(200)
            .body_json()["would_delete"],
        889
    );
}

/// Keys as a listing in the order of names shows them, page by page.
fn levels(client: &mut Client, question: &str) -> (Vec<(String, u64)>, Vec<String>) {
    let (mut folders, mut keys) = (Vec::new(), Vec::new());
    let mut after = String::new();
    loop {
        let page = client
            .get(&format!("/kv/?{question}{after}"))
            .expect(200)
            .body_json();
        for folder in page["folders"].as_array().unwrap() {
            let prefix = folder["prefix"].as_str().unwrap().to_owned();
            folders.push((prefix, folder["keys"].as_u64().unwrap()));
        }
        for item in page["items"].as_array().unwrap() {
            assert!(
                item["version"].as_u64().unwrap() > 0 && item["value_bytes"] == 2,
                "{item}"
            );
            keys.push(item["key"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", percent(next)),
            None => return (folders, keys),
        }
    }
}

#[test]
fn keys_come_in_the_order_of_names_and_by_levels() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for number in 0..250 {
        let key = format!(
            "/kv/{}:{number:03}?upsert=true&ttl=1000",
            ["a", "b", "c"][number % 3]
        );
        client.put(&key, b"vv").expect(201);
    }
    client.put("/kv/top?upsert=true", b"vv").expect(201);
    let page = client
        .get("/kv/?details=true&match=*:00?")
        .expect(200)
        .body_json();
    assert_eq!(page["items"].as_array().unwrap().len(), 10, "{page}");
    assert_eq!(page["items"][0]["value_bytes"], 2, "{page}");
    if crate::common::engine::differs("order") {
        let refused = client.get("/kv/?delimiter=:").expect(501).body_json();
        assert_eq!(refused["type"], "urn:pykv:problem:not-of-engine");
        return;
    }
    let (folders, keys) = levels(&mut client, "delimiter=:&limit=2");
    let counted = [("a:", 84), ("b:", 83), ("c:", 83)].map(|(name, keys)| (name.to_owned(), keys));
    assert_eq!(folders, counted);
    assert_eq!(keys, ["top"]);
    let (folders, keys) = levels(&mut client, "delimiter=:&prefix=b:&limit=10");
    assert_eq!((folders.len(), keys.len(), &*keys[0]), (0, 83, "b:001"));
    let (_, keys) = levels(&mut client, "order=name&limit=100");
    assert!(keys.is_sorted() && keys.len() == 251, "{keys:?}");
    let page = client
        .get("/kv/?order=name&limit=1&prefix=a")
        .expect(200)
        .body_json();
    assert_eq!(
        (&page["keys_total"], &page["next"]),
        (&json!(84), &json!("a:000"))
    );
    assert!(page["items"][0]["expires_at_ms"].is_u64(), "{page}");
    for wrong in [
        "order=size",
        "order=name&match=a",
        "delimiter=:&values=true",
        "details=true&values=true",
        "after=a&cursor=0",
    ] {
        client.get(&format!("/kv/?{wrong}")).expect_problem(400);
    }
}

/// A store that is so large that it keeps its keys in order for listings: the pages are those of before.
#[test]
fn levels_of_a_large_store_are_the_same_while_its_order_is_made_and_after() {
    if crate::common::engine::differs("order") {
        return;
    }
    let node = Server::start(&["--fsync", "no", "--max-batch", "10000"]);
    let mut client = node.client();
    let mut expected: BTreeSet<String> = BTreeSet::new();
    // Folders of one key, of a few, and of more than one hold of the store's lock looks at; keys between them.
    let mut add = |key: String| expected.insert(key);
    for number in 0..20_000 {
        add(format!("m:large:{number:05}"));
        if number < 2000 {
            add(format!("m:few{:03}:{number:04}", number / 4));
            add(format!("one{number:04}:"));
        }
        if number < 12_000 {
            add(format!("n{number:05}"));
        }
    }
    let all: Vec<&String> = expected.iter().collect();
    for keys in all.chunks(10_000) {
        let set = |key: &&String| json!({"op": "set", "key": key, "value": "vv"});
        let operations: Vec<_> = keys.iter().map(set).collect();
        client
            .json("POST", "/batch", &json!({ "operations": operations }))
            .expect(200);
    }
    let level = |prefix: &str| {
        let mut folders: BTreeMap<String, u64> = BTreeMap::new();
        let mut keys = Vec::new();
        for key in expected.iter().filter(|key| key.starts_with(prefix)) {
            match key[prefix.len()..].find(':') {
                Some(at) => *folders.entry(key[..=prefix.len() + at].to_owned()).or_default() += 1,
                None => keys.push(key.clone()),
            }
        }
        (folders.into_iter().collect::<Vec<_>>(), keys)
    };
    // The order is made by a thread of the node once somebody lists, in some tens of milliseconds.
    let end = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while rounds < 2 || Instant::now() < end {
        for prefix in ["", "m:", "m:large:", "m:few010:", "none"] {
            let query = format!("delimiter=:&limit=1000&prefix={prefix}");
            assert_eq!(levels(&mut client, &query), level(prefix), "{prefix}");
        }
        let (_, keys) = levels(&mut client, "order=name&limit=1000&prefix=m:");
        let named: Vec<&String> = expected.iter().filter(|key| key.starts_with("m:")).collect();
        assert!(keys.iter().eq(named), "{} keys", keys.len());
        rounds += 1;
    }
    let page = client.get("/kv/?delimiter=:&limit=1").expect(200).body_json();
    assert_eq!(page["keys_total"], json!(expected.len()), "{page}");
}
