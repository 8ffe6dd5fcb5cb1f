//! A successor that is gone for good, and without which no write counts as replicated: the operator drops it.

use crate::common::cluster::{Member, become_equal};
use crate::common::{Response, eventually, pykv};
use serde_json::{Value, json};

fn successors(node: &Member) -> Value {
    node.status()["replication"]["successors"].clone()
}

/// A write that one replica must have.
fn write(node: &Member, timeout: &str) -> Response {
    let headers = [
        ("Pykv-Sync-Replicas", "1"),
        ("Pykv-Sync-Required", "true"),
        ("Pykv-Sync-Timeout", timeout),
    ];
    node.server
        .client()
        .request("PUT", "/kv/k?upsert=true", &headers, b"value")
}

#[test]
fn a_successor_that_is_gone_blocks_writes_until_it_is_forgotten() {
    let mut first = Member::primary(&[]);
    let mut second = Member::replica(&[&first], &["--failover-after", "60s"]);
    let third = Member::replica(&[&first], &[]);
    let address = second.link.address();
    first.set("k", "1");
    become_equal(&[&first, &second, &third]);
    assert!(write(&first, "20").is_success());
    assert_eq!(
        successors(&first),
        json!([{"address": address, "connected": true}])
    );

    second.server.kill_9();
    write(&first, "0.3").expect_problem(503);
    eventually("it is seen to be gone", || {
        successors(&first) == json!([{"address": address, "connected": false}])
    });
    let status = pykv(&["status"]).at(&first.server).succeed();
    let status = String::from_utf8(status).unwrap();
    assert!(status.contains(&format!("pykv forget {address}")), "{status}");
    // A restart does not forget it.
    first.server.kill_9();
    first.start_again();
    become_equal(&[&first, &third]);
    write(&first, "0.3").expect_problem(503);
    assert_eq!(
        successors(&first),
        json!([{"address": address, "connected": false}])
    );

    let other = pykv(&["forget", "127.0.0.1:1"]).at(&first.server).expect(1);
    assert!(
        other.stderr.contains("knows of no node at 127.0.0.1:1"),
        "{other:?}"
    );
    let said = pykv(&["forget", &address]).at(&first.server).succeed();
    assert_eq!(String::from_utf8(said).unwrap(), format!("forgot {address}\n"));
    assert_eq!(successors(&first), json!([]));
    let answer = write(&first, "20");
    assert_eq!(answer.header("Pykv-Replicas"), Some("1"), "{answer:?}");
    first.server.kill_9();
    first.start_again();
    become_equal(&[&first, &third]);
    assert_eq!(successors(&first), json!([]));
    assert!(write(&first, "20").is_success());

    // It is a successor again once it is back.
    second.start_again();
    become_equal(&[&first, &second, &third]);
    eventually("it counts again", || {
        successors(&first) == json!([{"address": address, "connected": true}])
    });
}
