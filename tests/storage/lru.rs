//! A node as a cache in front of something slow: GET, and on 404 POST. It must miss exactly where an exact
//! LRU misses, and its own counters must say the same.
//!
//! By default the trace is generated: requests by Zipf's law, mixed with scans (which is what tells LRU
//! from its approximations), and a naive model says how often it misses. A trace of one's own, one key a
//! line, is played with
//!
//! ```text
//! PYKV_TRACE=trace.txt PYKV_TRACE_MISSES=500:95398,5000:91527 cargo test --test storage trace_file
//! ```
//!
//! where `PYKV_TRACE_MISSES` says for each number of entries how many misses some other program has found.

use crate::common::{Client, Random, Server, client::percent, node::Setup};
use serde_json::json;
use std::collections::VecDeque;
use std::fs;

/// An LRU that is too simple to be wrong: the most recently used key stands first.
struct Naive {
    keys: VecDeque<u32>,
    capacity: usize,
}

impl Naive {
    /// Whether the key is there. It is afterwards.
    fn request(&mut self, key: u32) -> bool {
        let found = self.keys.iter().position(|&other| other == key);
        match found {
            Some(at) => drop(self.keys.remove(at)),
            None => self.keys.truncate(self.capacity - 1),
        }
        self.keys.push_front(key);
        found.is_some()
    }
}

/// Keys by Zipf's law (the n-th most frequent is asked for 1/n as often as the first), and now and then a
/// scan over keys in a row.
fn trace(length: usize) -> Vec<u32> {
    const KEYS: u32 = 4000;
    let mut random = Random::new(7958);
    let mut sums = Vec::new();
    let mut sum = 0.0;
    for rank in 1..=KEYS {
        sum += 1.0 / f64::from(rank);
        sums.push(sum);
    }
    let mut trace = Vec::with_capacity(length);
    while trace.len() < length {
        if random.below(2000) == 0 {
            let first = random.below(u64::from(2 * KEYS)) as u32;
            trace.extend(first..first + random.below(600) as u32);
        } else {
            let at = random.unit() * sum;
            trace.push(sums.partition_point(|&sum| sum < at) as u32);
        }
    }
    trace.truncate(length);
    trace
}

/// Plays requests as a cache is used, over one connection; how many missed.
fn play<'a>(client: &mut Client, keys: impl Iterator<Item = &'a str>) -> u64 {
    let mut misses = 0;
    for key in keys {
        let answer = client.get(&format!("/kv/{}", percent(key)));
        match answer.status {
            200 => assert_eq!(answer.body_json()["value"], key, "another key's value"),
            404 => {
                misses += 1;
                client
                    .json("POST", "/kv/", &json!({"key": key, "value": key}))
                    .expect(201);
            }
            _ => panic!("GET {key}: {answer:?}"),
        }
    }
    misses
}

fn assert_stats(client: &mut Client, requests: u64, misses: u64, entries: u64) {
    let stats = client.get("/stats").expect(200).body_json();
    assert_eq!(stats["misses"], misses, "{stats}");
    assert_eq!(stats["hits"], requests - misses, "{stats}");
    assert_eq!(stats["entries"], entries, "{stats}");
    // Every miss added an entry, and what is no longer there was evicted.
    assert_eq!(stats["evictions"], misses - entries, "{stats}");
}

#[test]
fn misses_are_those_of_an_exact_lru() {
    let trace = trace(12_000);
    let names: Vec<String> = trace.iter().map(|key| format!("block/{key}")).collect();
    for capacity in [1, 2, 50, 1000] {
        let mut naive = Naive {
            keys: VecDeque::new(),
            capacity,
        };
        let expected = trace.iter().filter(|&&key| !naive.request(key)).count() as u64;

        let node = Server::start(&["--fsync", "no", "--max-capacity", &capacity.to_string()]);
        let mut client = node.client();
        let misses = play(&mut client, names.iter().map(String::as_str));

        assert_eq!(misses, expected, "of {capacity} entries");
        assert_stats(&mut client, trace.len() as u64, expected, naive.keys.len() as u64);
        for key in &naive.keys {
            client
                .request(
                    "HEAD",
                    &format!("/kv/{}", percent(&format!("block/{key}"))),
                    &[],
                    b"",
                )
                .expect(200);
        }
    }
}

#[test]
fn evictions_are_in_the_log_so_that_a_restart_finds_the_same_keys() {
    let mut node = Server::start(&["--max-capacity", "3"]);
    let mut client = node.client();
    for key in ["a", "b", "c"] {
        client
            .json("POST", "/kv/", &json!({"key": key, "value": key}))
            .expect(201);
    }
    client.get("/kv/a").expect(200);
    client
        .json("POST", "/kv/", &json!({"key": "d", "value": "d"}))
        .expect(201); // In place of b.
    node.restart();
    let present: Vec<u16> = ["a", "b", "c", "d"]
        .map(|key| {
            node.client()
                .request("HEAD", &format!("/kv/{key}"), &[], b"")
                .status
        })
        .to_vec();
    assert_eq!(present, [200, 404, 200, 200]);
    let evicted: Vec<String> = crate::common::cli::log_records(node.dir())
        .iter()
        .filter(|record| record["operation"] == "EVICT")
        .map(|record| record["key"].to_string())
        .collect();
    assert_eq!(evicted, ["\"b\""]);
}

#[test]
fn a_store_reopened_under_a_smaller_bound_keeps_the_most_recently_written() {
    let node = Server::start(&["--max-capacity", "10"]);
    let mut client = node.client();
    for key in 0..10 {
        client.put(&format!("/kv/{key}?upsert=true"), b"v").expect(201);
    }
    let dir = node.dir().to_path_buf();
    let home = moved_out(node);
    let node = crate::common::node::Setup::new(&["--max-capacity", "4"])
        .data(&dir)
        .start();
    assert_eq!(node.get("/stats").body_json()["entries"], 4);
    let mut keys: Vec<String> = serde_json::from_value(node.get("/kv/").body_json()["keys"].clone()).unwrap();
    keys.sort();
    assert_eq!(keys, ["6", "7", "8", "9"]);
    assert!(node.stderr().contains("it evicted 6 keys"), "{}", node.stderr());
    drop(home);
}

/// Ends a node but keeps its directory for another one.
fn moved_out(mut node: Server) -> Server {
    assert!(node.sigterm().success());
    node
}

#[test]
fn memory_is_bounded_by_evicting() {
    let node = Server::start(&["--fsync", "no", "--max-memory", "1MiB", "--max-value", "512KiB"]);
    let mut client = node.client();
    let value = vec![b'v'; 1000];
    for key in 0..5000 {
        client.put(&format!("/kv/{key}?upsert=true"), &value).expect(201);
    }
    let stats = client.get("/stats").expect(200).body_json();
    let (bytes, entries) = (
        stats["bytes"].as_u64().unwrap(),
        stats["entries"].as_u64().unwrap(),
    );
    assert!(bytes <= 1 << 20, "{stats}");
    // 1,000 bytes of value, a short key and an overhead of at most 20 % (with jemalloc's size classes).
    assert!((800..=1048).contains(&entries), "{stats}");
    client.get("/kv/4999").expect(200);
    client.get("/kv/0").expect(404);
    // An entry that would never fit is refused, and evicts nothing.
    let huge = vec![b'v'; 1 << 20];
    client.put("/kv/huge?upsert=true", &huge).expect_problem(413);
    assert_eq!(node.get("/stats").body_json()["entries"], entries);
}

#[test]
fn trace_file() {
    let Ok(path) = std::env::var("PYKV_TRACE") else {
        return; // Nothing was asked for.
    };
    let text = fs::read_to_string(&path).unwrap();
    let expected = std::env::var("PYKV_TRACE_MISSES").expect("PYKV_TRACE_MISSES says what is expected");
    let expected: Vec<(u64, u64)> = expected
        .split(',')
        .map(|pair| pair.split_once(':').expect("entries:misses"))
        .map(|(capacity, misses)| (capacity.parse().unwrap(), misses.parse().unwrap()))
        .collect();
    for &(capacity, misses) in &expected {
        let node = Server::start(&["--fsync", "no", "--max-capacity", &capacity.to_string()]);
        let mut client = node.client();
        assert_eq!(play(&mut client, text.lines()), misses, "of {capacity} entries");
        let requests = text.lines().count() as u64;
        assert_stats(&mut client, requests, misses, misses.min(capacity));
        // What it says of the other sizes, in front of which it never stood.
        let stats = client.get("/stats").expect(200).body_json();
        let points = stats["miss_ratio_curve"]["points"].as_array().unwrap();
        for &(entries, misses) in &expected {
            let exact = 1.0 - misses as f64 / requests as f64;
            if let Some(point) = points.iter().find(|point| point["entries"] == entries) {
                let estimate = point["hit_ratio"].as_f64().unwrap();
                println!("{capacity} entries say of {entries}: {estimate:.4}, which is {exact:.4}");
                let may_be_off = if capacity < 4000 { 0.1 } else { 0.02 };
                assert!((estimate - exact).abs() < may_be_off, "{estimate} {exact}");
            }
        }
    }
}

/// A start with smaller bounds than the store was filled under says what it evicts, and what is left stays so.
#[test]
fn a_start_with_smaller_bounds_says_what_it_evicts() {
    let mut node = Server::start(&[]);
    let mut client = node.client();
    for number in 0..500 {
        client
            .put(&format!("/kv/{number}?upsert=true"), b"value")
            .expect(201);
    }
    drop(client);
    node.sigterm();
    let mut smaller = Setup::new(&["--max-capacity", "100"]).data(node.dir()).start();
    assert!(
        smaller.stderr().contains("it evicted 400 keys"),
        "{}",
        smaller.stderr()
    );
    smaller.kill_9();
    smaller.start_again();
    let stats = smaller.get("/stats").expect(200).body_json();
    assert_eq!(stats["entries"], 100);
    for (number, status) in [(0, 404), (399, 404), (400, 200), (499, 200)] {
        smaller.get(&format!("/kv/{number}")).expect(status);
    }
}
