//! A node of the first version of the replication meets one of now: neither acts on what the other says, and each is
//! told in one line. What the old one sends stands here as it went over the wire.

use crate::common::cluster::Member;
use crate::common::fake::{Asked, Fake, answer};
use crate::common::{Server, eventually};
use std::io::Write;
use std::net::TcpStream;

const ONE_VERSION: &str = "run one version of pykv on all nodes";

/// An old node's handshake, of this log and in a higher term: with it, a node of its own version would step down.
fn old_hello(id: &str, address: &str) -> String {
    let term = 7_u64 << 32;
    let check = crc32fast::hash(format!("{id} {term} primary {address} - 28").as_bytes());
    format!(
        r#"{{"id":"{id}","term":"{term}","role":"primary","address":"{address}","primary":null,"offset":28,"check":{check}}}"#
    )
}

/// What an old follower asks, in the same log.
fn old_poll(id: &str) -> String {
    let query = format!(
        "id={id}&after=28&term=4294967296&wait=1000&follower=77&address=127.0.0.1%3A1&successor=true"
    );
    let check = crc32fast::hash(query.as_bytes());
    format!("/replication/log?{query}&check={check}")
}

fn log_id(node: &Server) -> String {
    let status = node.get("/status").expect(200).body_json();
    status["log"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_old_node_that_asks_is_refused_and_named_in_the_log() {
    let node = Server::start(&["--sync-timeout", "1s"]);
    let id = log_id(&node);
    let headers = [("Content-Type", "application/json")];
    for _ in 0..3 {
        let body = old_hello(&id, "127.0.0.1:1");
        let mut client = node.client();
        let answer = client.request("POST", "/replication/hello", &headers, body.as_bytes());
        let problem = answer.expect_problem(422);
        assert!(problem.contains(ONE_VERSION), "{problem}");
    }
    let problem = node.get(&old_poll(&id)).expect_problem(400);
    assert!(problem.contains(ONE_VERSION), "{problem}");
    // It acted on nothing: neither on the term, nor on a successor that every write would wait for.
    let status = node.get("/status").expect(200).body_json();
    assert_eq!(status["role"], "primary");
    assert_eq!(status["log"]["term"], 1);
    assert_eq!(status["replication"]["successors"], serde_json::json!([]));
    let said = node.stderr();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(ONE_VERSION)).collect();
    assert_eq!(lines.len(), 1, "it is said once: {said}");
    assert!(lines[0].contains("127.0.0.1:1 is refused"), "{}", lines[0]);
}

#[test]
fn an_address_that_is_none_does_not_get_into_the_log() {
    let node = Server::start(&[]);
    let body = old_hello(&log_id(&node), "a:1\\r\\n2026 [INFO ] forged");
    let headers = [("Content-Type", "application/json")];
    let mut client = node.client();
    client
        .request("POST", "/replication/hello", &headers, body.as_bytes())
        .expect_problem(422);
    assert!(!node.stderr().contains("forged"), "{}", node.stderr());
}

#[test]
fn a_replica_of_an_old_primary_says_why_it_does_not_follow() {
    // The old one reads the handshake, and finds another checksum than its own.
    let old = Fake::start(|_: &Asked, stream: &mut TcpStream| {
        let problem = r#"{"type":"/problems/wrong-shape","title":"The body is not what is asked for","status":422,"detail":"its checksum does not match"}"#;
        let headers = "Content-Type: application/problem+json\r\n";
        stream.write_all(&answer("422 Unprocessable Entity", headers, problem))
    });
    says_why(&old);
}

#[test]
fn a_replica_that_gets_an_old_handshake_says_why_it_does_not_follow() {
    let old = Fake::start(|_: &Asked, stream: &mut TcpStream| {
        let body = old_hello("acfac907812682f9520348b020785af6", "127.0.0.1:1");
        stream.write_all(&crate::common::fake::json(&body))
    });
    says_why(&old);
}

/// Checks what a replica of it says.
#[track_caller]
fn says_why(old: &Fake) {
    let address = old.address().to_string();
    let replica = crate::common::replicas::Place::new();
    let replica: Member = replica.replica(&[&address], &["--failover-after", "300ms"]);
    let error = || replica.status()["replication"]["error"].clone();
    eventually("it says why", || {
        error().as_str().is_some_and(|error| error.contains(ONE_VERSION))
    });
    assert!(error().as_str().unwrap().contains(&address), "{}", error());
    assert!(!replica.is_primary());
    let said = || replica.server.stderr();
    eventually("the log says it", || said().contains(ONE_VERSION));
    let said = said();
    let lines = said.lines().filter(|line| line.contains(ONE_VERSION)).count();
    assert_eq!(lines, 1, "it is said once: {said}");
}
