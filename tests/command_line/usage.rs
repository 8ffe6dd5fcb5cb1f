//! What a node tells of how it is used: the hit ratio at other sizes, the hottest keys, the largest.

use crate::common::client::encode;
use crate::common::{Client, Random, Server};
use serde_json::{Value, json};

fn stats(node: &Server) -> Value {
    node.get("/stats").expect(200).body_json()
}

/// Sends requests as a pipeline; the statuses.
fn pipeline(client: &mut Client, requests: &[Vec<u8>]) -> Vec<u16> {
    let mut statuses = Vec::with_capacity(requests.len());
    for some in requests.chunks(100) {
        client.send(&some.concat()).unwrap();
        statuses.extend(some.iter().map(|_| client.response(false).unwrap().status));
    }
    statuses
}

fn get(key: u64) -> Vec<u8> {
    encode("GET", &format!("/kv/key{key}"), &[], b"")
}

fn put(key: u64, value: &[u8]) -> Vec<u8> {
    encode("PUT", &format!("/kv/key{key}?upsert=true"), &[], value)
}

#[test]
fn the_most_read_keys_are_told_with_their_reads() {
    let mut node = Server::start(&[]);
    let mut client = node.client();
    let puts: Vec<_> = (0..20).map(|key| put(key, b"value")).collect();
    pipeline(&mut client, &puts);
    assert_eq!(stats(&node)["hot_keys"], json!([]));
    let mut gets = Vec::new();
    for key in 0..20 {
        gets.extend((0..key * 3).map(|_| get(key)));
    }
    // What is not there is not a key to tell of.
    gets.extend((0..500).map(|_| get(999)));
    pipeline(&mut client, &gets);
    client.delete("/kv/key18").expect(204);
    let expected: Vec<_> = (9..20)
        .rev()
        .filter(|&key| key != 18)
        .map(|key| json!({"key": format!("key{key}"), "reads": key * 3}))
        .collect();
    assert_eq!(stats(&node)["hot_keys"], json!(expected));
    node.restart();
    assert_eq!(stats(&node)["hot_keys"], json!([]));
}

#[test]
fn the_largest_keys_are_told_whatever_becomes_of_them() {
    let mut node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    let puts: Vec<_> = (0..500)
        .map(|key| put(key, &vec![b'v'; 1000 + key as usize]))
        .collect();
    pipeline(&mut client, &puts);
    // Far more than are kept in mind go, one gets small, and one of the small gets large.
    let deletes: Vec<_> = (300..490)
        .map(|key| encode("DELETE", &format!("/kv/key{key}"), &[], b""))
        .collect();
    pipeline(&mut client, &deletes);
    pipeline(&mut client, &[put(495, b"v"), put(5, &[b'v'; 5000])]);
    let largest = |key: u64, value: u64| json!({"key": format!("key{key}"), "bytes": value + format!("key{key}").len() as u64});
    let mut expected = vec![largest(5, 5000)];
    expected.extend(
        (490..500)
            .rev()
            .filter(|&key| key != 495)
            .map(|key| largest(key, 1000 + key)),
    );
    assert_eq!(stats(&node)["big_keys"], json!(expected));
    let deletes: Vec<_> = (490..500)
        .map(|key| encode("DELETE", &format!("/kv/key{key}"), &[], b""))
        .collect();
    pipeline(&mut client, &deletes);
    expected.truncate(1);
    expected.extend((291..300).rev().map(|key| largest(key, 1000 + key)));
    assert_eq!(stats(&node)["big_keys"], json!(expected));
    node.restart();
    assert_eq!(stats(&node)["big_keys"], json!(expected));
}

#[test]
fn the_command_line_tells_of_it() {
    let node = Server::start(&["--max-capacity", "200"]);
    let told = || String::from_utf8(crate::common::pykv(&["status"]).at(&node).succeed()).unwrap();
    for name in ["more memory", "most read"] {
        assert!(!told().contains(name), "too little was read to say: {}", told());
    }
    let mut client = node.client();
    let puts: Vec<_> = (0..100).map(|key| put(key, b"value")).collect();
    pipeline(&mut client, &puts);
    // Every key is read as often, and one of them more.
    let gets: Vec<_> = (0..6000)
        .map(|turn| get(if turn % 3 == 0 { 7 } else { turn % 100 }))
        .collect();
    pipeline(&mut client, &gets);
    let told = told();
    // All keys fit today, so nothing is missed, nor would be by a larger one.
    assert!(
        told.contains("100.0 % hits at 200 entries, 100.0 % at 400"),
        "{told}"
    );
    assert!(told.contains("most read    key7, at least "), "{told}");
}

#[test]
fn what_more_memory_would_buy_is_what_it_then_buys() {
    // Keys by a law of chance that favours the low ones, in front of a store with room for a part of them.
    let keys = |requests: usize| {
        let mut random = Random::new(1);
        (0..requests).map(move |_| (30_000.0 * random.unit().powi(3)) as u64)
    };
    let play = |capacity: u64| {
        let node = Server::start(&["--fsync", "no", "--max-capacity", &capacity.to_string()]);
        assert_eq!(stats(&node)["miss_ratio_curve"], Value::Null);
        let mut client = node.client();
        let keys: Vec<u64> = keys(60_000).collect();
        // Some at a time: where two ask for the same key meanwhile, the second misses as well.
        for some in keys.chunks(20) {
            let gets: Vec<_> = some.iter().map(|&key| get(key)).collect();
            let statuses = pipeline(&mut client, &gets);
            let missing = some.iter().zip(statuses).filter(|(_, status)| *status == 404);
            let puts: Vec<_> = missing.map(|(&key, _)| put(key, b"value")).collect();
            pipeline(&mut client, &puts);
        }
        (
            stats(&node),
            String::from_utf8(node.get("/metrics").expect(200).body).unwrap(),
        )
    };
    let (small, metrics) = play(4_000);
    let curve = &small["miss_ratio_curve"];
    assert_eq!(curve["entries"], 4_000);
    let points = curve["points"].as_array().unwrap();
    let at = |entries: u64| {
        let point = points.iter().find(|point| point["entries"] == entries);
        point.unwrap_or_else(|| panic!("{curve}"))["hit_ratio"]
            .as_f64()
            .unwrap()
    };
    assert!(
        (at(4_000) - small["hit_ratio"].as_f64().unwrap()).abs() < 0.02,
        "{small}"
    );
    for capacity in [2_000, 16_000] {
        let (other, _) = play(capacity);
        let exact = other["hit_ratio"].as_f64().unwrap();
        assert!((at(capacity) - exact).abs() < 0.02, "{capacity}: {exact} {curve}");
    }
    assert!(
        metrics.contains("pykv_hit_ratio_estimate{capacity_ratio=\"1.000\"} "),
        "{metrics}"
    );
    assert!(
        metrics.contains("pykv_hit_ratio_estimate{capacity_ratio=\"10.000\"} "),
        "{metrics}"
    );
}
