//! What a node is told of others, by a command line or by whoever speaks to it, is believed only where it can be so.

#![allow(clippy::unwrap_used)]

mod common;

use common::cluster::{Member, become_equal};
use common::{Response, Server, pykv};
use pykv::internals::api::{
    Handshake, LogQuery, PATH_REPLICATION_HELLO, PATH_REPLICATION_LOG, REPLICATION_PROTOCOL,
};
use serde_json::Value;

fn status(node: &Server) -> Value {
    node.get("/status").expect(200).body_json()
}

fn log_id(node: &Server) -> String {
    status(node)["log"]["id"].as_str().unwrap().to_owned()
}

/// A handshake of somebody who is a primary of the same log, in a term of this number, at this address.
fn say_hello(node: &Server, number: u32, address: &str) -> Response {
    let handshake = Handshake {
        protocol: REPLICATION_PROTOCOL,
        node: 7,
        id: log_id(node),
        term: (u64::from(number) << 32).to_string(),
        branch: format!("{:016x}", 7),
        role: "primary".to_owned(),
        address: address.to_owned(),
        primary: None,
        primary_heard_ms: None,
        offset: 28,
        check: 0,
    }
    .sealed();
    let body = serde_json::to_vec(&handshake).unwrap();
    let headers = [("Content-Type", "application/json")];
    node.client()
        .request("POST", PATH_REPLICATION_HELLO, &headers, &body)
}

#[track_caller]
fn is_primary_of_term(node: &Server, term: u64) {
    let status = status(node);
    assert_eq!(
        (&status["role"], &status["log"]["term"]),
        (&"primary".into(), &term.into()),
        "{status}"
    );
}

#[test]
fn one_hello_does_not_use_the_terms_up() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &[]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    for number in [(1 << 20) + 2, u32::MAX - 1, u32::MAX] {
        for node in [&first, &second] {
            let why = say_hello(&node.server, number, "127.0.0.1:1").expect_problem(422);
            assert!(why.contains("too far above"), "{why}");
        }
        let id = log_id(&first.server);
        let query = LogQuery {
            protocol: REPLICATION_PROTOCOL,
            id: &id,
            after: 28,
            term: u64::from(number) << 32,
            branch: 7,
            last: None,
            wait_ms: 0,
            follower: 7,
            address: "127.0.0.1:1",
            successor: true,
        };
        let target = format!("{PATH_REPLICATION_LOG}?{}", query.to_query());
        first.server.get(&target).expect_problem(400);
    }
    is_primary_of_term(&first.server, 1);
    assert_eq!(
        status(&first.server)["replication"]["successors"],
        serde_json::json!([])
    );
    // The next term is the second.
    second.promote();
    is_primary_of_term(&second.server, 2);
    become_equal(&[&first, &second]);
}

#[test]
fn an_address_that_leads_to_no_node_is_refused() {
    for advertise in ["0.0.0.0:7001", "[::]:7001"] {
        for command in [&["serve"][..], &["replica", "--from", "127.0.0.1:1"]] {
            let args = [command, &["--listen", "127.0.0.1:0", "--advertise", advertise]].concat();
            let home = tempfile::tempdir().unwrap();
            let output = pykv(&args).dir(home.path()).expect(2);
            let why = format!("--advertise {advertise} leads to no node");
            assert!(output.stderr.contains(&why), "{output:?}");
        }
    }
    let node = Server::start(&[]);
    for address in ["0.0.0.0:7001", "[::]:7001", "a:1\r\nX: y", "a b:1", "a", ""] {
        say_hello(&node, 2, address).expect_problem(422);
    }
    is_primary_of_term(&node, 1);
    assert!(!node.stderr().contains("X: y"));
}
