//! A machine's clock may say anything, as it does on a board without a battery: a node answers whatever it says, and a
//! signal ends it.
//!
//! `faketime` gives the node another clock.

#![allow(clippy::unwrap_used)]

mod common;

use common::node::Setup;
use common::{Server, skip};
use std::process::{Command, Stdio};

/// A node whose clock starts at this time; none where `faketime` is missing.
fn node_at(time: &str, args: &[&str]) -> Option<Server> {
    // Asked for its library, since it stays beside what it runs: a signal would end it and not the node.
    let said = Command::new("faketime")
        .args(["-f", "+0", "printenv", "LD_PRELOAD"])
        .stderr(Stdio::null())
        .output();
    let library = String::from_utf8(said.ok()?.stdout).unwrap();
    let library = format!("LD_PRELOAD={}", library.trim());
    let time = format!("FAKETIME={time}");
    let wrapper = ["env", &library, &time, "DONT_FAKE_MONOTONIC=1"];
    Some(Setup::new(args).wrapper(&wrapper).start())
}

#[test]
fn a_node_answers_and_stops_whatever_its_clock_says() {
    for (time, date) in [
        ("@1900-01-01 00:00:00", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("@1969-12-31 12:00:00", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("+10000y", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let access = home.path().join("access");
        let args = ["--max-connections", "1", "--access-log", access.to_str().unwrap()];
        let Some(mut node) = node_at(time, &args) else {
            return skip(
                "a_node_answers_and_stops_whatever_its_clock_says",
                "faketime is not installed",
            );
        };
        let mut client = node.client();
        let added = client.add("k", "v").expect(201);
        assert_eq!(added.header("Date"), Some(date), "{time}");
        client
            .request("PUT", "/kv/brief?upsert&ttl=100", &[], b"v")
            .expect(201);
        assert_eq!(
            client.get("/kv/brief").expect(200).body_json()["value"],
            "v",
            "{time}"
        );
        client.get("/metrics").expect(200);
        client.get("/history").expect(200);
        // The second client is told by the accept loop itself that there is no room.
        let refused = common::Client::connect(node.address()).response(false).unwrap();
        assert_eq!(
            (refused.status, refused.header("Date")),
            (503, Some(date)),
            "{time}"
        );
        drop(client);
        let status = node.sigterm();
        assert_eq!(status.code(), Some(0), "{time}: {}", node.stderr());
        assert!(!node.stderr().contains("panicked"), "{time}: {}", node.stderr());
        assert!(std::fs::read_to_string(&access).unwrap().lines().count() >= 4);
    }
}
