//! A second node has what the first has: from nothing, and from where it was.

use crate::common::cluster::{Member, become_equal};
use crate::common::node::Setup;
use crate::common::proxy::{Mode, Proxy};
use crate::common::{Server, eventually, pykv};
use std::time::Duration;

#[test]
fn a_replica_gets_what_was_there_and_what_comes() {
    let primary = Member::primary(&[]);
    primary.set("before", "1");
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    assert_eq!(replica.value("before").as_deref(), Some("1"));
    primary.set("after", "2");
    primary.server.client().delete("/kv/before").expect(204);
    become_equal(&[&primary, &replica]);
    assert_eq!(replica.value("after").as_deref(), Some("2"));
    assert_eq!(replica.value("before"), None);

    let status = primary.status();
    assert_eq!(status["role"], "primary");
    let followers = status["replication"]["followers"].as_array().unwrap();
    assert_eq!(followers.len(), 1, "{status}");
    assert_eq!(followers[0]["address"], replica.link.address());
    let status = replica.status();
    assert_eq!(status["role"], "replica");
    assert_eq!(status["replication"]["primary"], primary.link.address());
    assert_eq!(status["log"]["id"], primary.status()["log"]["id"]);
    assert_eq!(status["log"]["term"], 1);
}

#[test]
fn either_side_goes_on_where_it_was() {
    let mut primary = Member::primary(&[]);
    let mut replica = Member::replica(&[&primary], &[]);
    primary.fill("a", 500, "value");
    become_equal(&[&primary, &replica]);

    replica.server.kill_9();
    primary.fill("b", 500, "value");
    replica.start_again();
    become_equal(&[&primary, &replica]);

    assert!(primary.server.sigterm().success());
    primary.start_again();
    primary.fill("c", 500, "value");
    become_equal(&[&primary, &replica]);

    primary.server.kill_9();
    primary.start_again();
    primary.fill("d", 10, "value");
    become_equal(&[&primary, &replica]);

    primary.link.set(Mode::Cut);
    primary.fill("e", 500, "value");
    assert_eq!(replica.value("e1"), None);
    primary.link.set(Mode::Pass);
    become_equal(&[&primary, &replica]);
    // It has taken the state once: at its first start.
    assert_eq!(replica.server.stderr().matches("took the state").count(), 1);
}

#[test]
fn a_replica_that_was_away_for_too_long_takes_the_state_anew() {
    let primary = Member::primary(&["--log-backlog", "0", "--segment-size", "64KiB"]);
    let mut replica = Member::replica(&[&primary], &[]);
    primary.fill("a", 1000, "value");
    become_equal(&[&primary, &replica]);
    replica.server.kill_9();
    primary.fill("a", 5000, "another value");
    pykv(&["compact"]).at(&primary.server).succeed();
    primary.fill("b", 10, "value");
    replica.start_again();
    become_equal(&[&primary, &replica]);
    assert!(
        replica.server.stderr().contains("no longer holds"),
        "{}",
        replica.server.stderr()
    );
    assert_eq!(replica.value("a4999").as_deref(), Some("another value"));
}

#[test]
fn a_replica_that_is_killed_while_it_takes_the_state_begins_anew() {
    let primary = Member::primary(&["--log-backlog", "0"]);
    primary.fill("k", 4000, &"v".repeat(500));
    pykv(&["compact"]).at(&primary.server).succeed();
    primary.link.slow(16 * 1024, Duration::from_millis(5));
    let mut replica = Member::replica(&[&primary], &[]);
    for _ in 0..3 {
        let before = primary.link.bytes();
        eventually("a part of the state has come", || {
            primary.link.bytes() > before + 300_000
        });
        replica.server.get("/kv/k1").expect_problem(503);
        replica.server.get("/readyz").expect_problem(503);
        replica.server.kill_9();
        replica.start_again();
    }
    primary.link.slow(64 * 1024, Duration::ZERO);
    become_equal(&[&primary, &replica]);
    replica.server.kill_9();
    pykv(&["check"]).dir(replica.server.dir()).succeed();
}

#[test]
fn a_primary_compacts_while_a_replica_catches_up() {
    let primary = Member::primary(&["--segment-size", "64KiB", "--log-backlog", "128KiB"]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    primary.link.slow(32 * 1024, Duration::from_millis(2));
    for round in 0..4 {
        primary.fill("k", 2000, &format!("value of round {round}"));
        pykv(&["compact"]).at(&primary.server).succeed();
    }
    primary.link.slow(64 * 1024, Duration::ZERO);
    become_equal(&[&primary, &replica]);
    pykv(&["compact"]).at(&replica.server).succeed();
    primary.fill("l", 100, "value");
    become_equal(&[&primary, &replica]);
}

#[test]
fn a_replica_is_followed_itself() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &[]);
    second.streams();
    let third = Member::replica(&[&second], &[]);
    third.streams();
    first.fill("k", 1000, "value");
    become_equal(&[&first, &second, &third]);
    first.link.break_connections();
    second.link.break_connections();
    first.fill("l", 1000, "value");
    become_equal(&[&first, &second, &third]);
    let answer = third.server.client().put("/kv/x?upsert=true", b"1").expect(307);
    let location = answer.header("Location").unwrap();
    assert!(location.contains(&first.link.address()), "{location}");
}

#[test]
fn another_store_is_not_given_up_unless_told_to() {
    let primary = Member::primary(&[]);
    primary.set("theirs", "1");
    let mut other = Server::start(&[]);
    other.client().put("/kv/mine?upsert=true", b"1").expect(201);
    other.kill_9();
    let link = Proxy::start();
    let mut replica = Member::of(
        Setup::replica(&primary.link.address(), &["--advertise", &link.address()]).data(other.dir()),
        link,
    );
    // It is stopped before it has asked anybody, too.
    eventually("it says why", || {
        let replication = &replica.status()["replication"];
        let error = replication["error"].as_str().unwrap_or_default();
        replication["state"] == "stopped" && error.contains("--replace")
    });
    assert_eq!(replica.value("mine").as_deref(), Some("1"));
    assert!(replica.server.sigterm().success());

    let link = Proxy::start();
    let advertise = link.address();
    let id = primary.status()["log"]["id"].as_str().unwrap().to_owned();
    let setup = Setup::replica(
        &primary.link.address(),
        &["--advertise", &advertise, "--replace", &id],
    );
    let replica = Member::of(setup.data(other.dir()), link);
    become_equal(&[&primary, &replica]);
    eventually("it can be read", || {
        replica.server.get("/kv/theirs").status == 200
    });
    assert_eq!(replica.value("mine"), None);
    // What it had can be served from where it is kept.
    let kept = std::fs::read_dir(other.dir()).unwrap().flatten();
    let kept = kept.map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
    let log = String::from_utf8(pykv(&["log"]).dir(&kept).succeed()).unwrap();
    assert!(log.contains("\"mine\""), "{log}");
}

#[test]
fn a_replica_decides_nothing_by_itself() {
    let primary = Member::primary(&["--max-capacity", "100"]);
    let replica = Member::replica(&[&primary], &["--max-capacity", "10"]);
    replica.streams();
    primary.fill("k", 300, "value");
    become_equal(&[&primary, &replica]);
    assert_eq!(
        replica.server.get("/stats").expect(200).body_json()["entries"],
        100
    );

    let body = serde_json::json!({"value": "v", "ttl": 0.05});
    primary
        .server
        .client()
        .json("PUT", "/kv/brief?upsert=true", &body)
        .expect(201);
    primary.link.set(Mode::Cut);
    eventually("it is hidden", || replica.value("brief").is_none());
    let log = String::from_utf8(pykv(&["log"]).dir(replica.server.dir()).succeed()).unwrap();
    assert!(!log.contains("EXPIRE"), "{log}");
    primary.link.set(Mode::Pass);
    become_equal(&[&primary, &replica]);
}

#[test]
fn writes_go_to_the_primary_and_readers_see_their_own() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    let answer = replica
        .server
        .client()
        .put("/kv/a%20b?upsert=true", b"1")
        .expect(307);
    let location = format!("http://{}/kv/a%20b?upsert=true", primary.link.address());
    assert_eq!(answer.header("Location"), Some(location.as_str()));
    // What stands in no URI is escaped, or the field would be none.
    let answer = replica.server.client().put("/kv/é^{}", b"1").expect(307);
    let location = format!("http://{}/kv/%C3%A9%5E%7B%7D", primary.link.address());
    assert_eq!(answer.header("Location"), Some(location.as_str()));
    pykv(&["set", "k", "by the replica"])
        .at(&replica.server)
        .succeed();
    assert_eq!(primary.value("k").as_deref(), Some("by the replica"));

    for round in 0..50 {
        let written = primary.set("k", &round.to_string());
        let offset = written.header("Pykv-Offset").unwrap();
        let seen = replica
            .server
            .client()
            .request("GET", "/kv/k?raw", &[("Pykv-Min-Offset", offset)], b"");
        let seen = seen.expect(200);
        assert_eq!(seen.body, round.to_string().as_bytes());
        let shown: u64 = seen.header("Pykv-Offset").unwrap().parse().unwrap();
        assert!(shown >= offset.parse().unwrap());
    }
    let ahead = (primary.server.offset() + 1).to_string();
    let mut client = replica.server.client();
    client
        .request("GET", "/kv/k", &[("Pykv-Min-Offset", &ahead)], b"")
        .expect_problem(503);
    client
        .request("GET", "/kv/k", &[("Pykv-Min-Offset", "soon")], b"")
        .expect_problem(400);
}

#[test]
fn a_read_of_a_replica_says_as_of_when_it_is_also_where_nothing_is_there() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    let written = primary.set("there", "1");
    become_equal(&[&primary, &replica]);
    let mut client = replica.server.client();
    for (method, target, status) in [
        ("GET", "/kv/there", 200),
        ("GET", "/kv/not-there", 404),
        ("HEAD", "/kv/there", 200),
        ("HEAD", "/kv/not-there", 404),
        ("GET", "/kv/", 200),
    ] {
        let answer = client.request(method, target, &[], b"").expect(status);
        assert_eq!(
            answer.header("Pykv-Offset"),
            written.header("Pykv-Offset"),
            "{method} {target}"
        );
        let answer = primary.server.client().request(method, target, &[], b"");
        assert_eq!(answer.header("Pykv-Offset"), None, "{method} {target}");
    }
}

#[test]
fn load_balancers_are_told_who_is_what() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    primary.server.get("/primary").expect(200);
    primary.server.get("/replica").expect_problem(503);
    replica.server.get("/primary").expect_problem(503);
    eventually("it is even", || {
        replica.server.get("/replica?max_lag=2").status == 200
    });
    replica.server.get("/replica?max_lag=-1").expect_problem(400);
    replica
        .server
        .get("/replica?max_lag_bytes=-1")
        .expect_problem(400);
    replica.server.get("/replica?max_lag_bytes=1000000").expect(200);
    primary.link.set(Mode::Cut);
    eventually("it is behind", || {
        replica.server.get("/replica?max_lag=0.05").status == 503
    });
}

#[test]
fn a_write_waits_for_replicas() {
    let primary = Member::primary(&["--sync-replicas", "1", "--sync-timeout", "200ms"]);
    let alone = primary.set("k", "1");
    assert_eq!(alone.header("Pykv-Replicas"), Some("0"));
    let headers = [("Pykv-Sync-Required", "true"), ("Pykv-Sync-Timeout", "0.05")];
    let mut client = primary.server.client();
    client.request("PUT", "/kv/k", &headers, b"2").expect_problem(503);

    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    let headers = [("Pykv-Sync-Required", "true"), ("Pykv-Sync-Timeout", "20")];
    let answer = client.request("PUT", "/kv/k", &headers, b"3").expect(200);
    assert_eq!(answer.header("Pykv-Replicas"), Some("1"));
    assert_eq!(replica.value("k").as_deref(), Some("3"));
    let answer = client
        .request("PUT", "/kv/k", &[("Pykv-Sync-Replicas", "0")], b"4")
        .expect(200);
    assert_eq!(answer.header("Pykv-Replicas"), None);
    for (name, value) in [
        ("Pykv-Sync-Replicas", "17"),
        ("Pykv-Sync-Replicas", "-1"),
        ("Pykv-Sync-Timeout", "61"),
        ("Pykv-Sync-Timeout", "NaN"),
        ("Pykv-Sync-Required", "perhaps"),
    ] {
        client
            .request("PUT", "/kv/k", &[(name, value)], b"5")
            .expect_problem(400);
    }
}

#[test]
fn the_stream_wants_the_token_of_an_admin() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = file("tokens", "write w\nadmin a\n");
    let (admin, writer) = (file("admin", "a\n"), file("writer", "w\n"));
    let primary = Member::primary(&["--token-file", &tokens]);
    primary.server.get("/replication/snapshot").expect_problem(401);
    let authorization = [("Authorization", "Bearer w")];
    let mut client = primary.server.client();
    client
        .request("GET", "/replication/snapshot", &authorization, b"")
        .expect_problem(403);

    let from = primary.link.address();
    let run = pykv(&["replica", "--from", &from, "--cluster-token-file", &admin]).dir(home.path());
    assert_eq!(run.run().code, Some(2), "a node that shows a token asks for one");
    let own = file("own", "read r\n");
    let with =
        |token: &str| Setup::replica(&from, &["--token-file", &own, "--cluster-token-file", token]).start();
    let read = |node: &Server, path: &str| {
        let mut client = node.client();
        client.request("GET", path, &[("Authorization", "Bearer r")], b"")
    };
    let refused = with(&writer);
    eventually("it is refused", || {
        let error = &read(&refused, "/status").expect(200).body_json()["replication"]["error"];
        error.as_str().is_some_and(|error| error.contains("token"))
    });
    let replica = with(&admin);
    client
        .request("PUT", "/kv/k?upsert=true", &[("Authorization", "Bearer a")], b"1")
        .expect(201);
    eventually("it has it", || read(&replica, "/kv/k").status == 200);
}

/// A name and an address of one node are one primary, and not two of them.
#[test]
fn a_primary_that_is_known_by_two_names_is_one() {
    let primary = Server::start(&[]);
    let port = primary.address().port();
    let replica = Setup::replica(&format!("localhost:{port}"), &[]).start();
    eventually("it streams", || {
        replica.get("/status").body_json()["replication"]["state"] == "streaming"
    });
    let replication = &replica.get("/status").body_json()["replication"];
    assert!(replication["error"].is_null(), "{replication}");
    assert!(!replica.stderr().contains("both primary"), "{}", replica.stderr());
}

/// A replica of another machine that is reached on its own machine alone can be read there; it cannot take over.
#[test]
fn a_replica_that_no_other_machine_reaches_says_so() {
    // An address of documentation (RFC 5737): nobody answers there.
    let replica = Setup::replica("192.0.2.1:7958", &[]).start();
    assert!(
        replica.stderr().contains("other machines cannot reach"),
        "{}",
        replica.stderr()
    );
    let dir = tempfile::tempdir().unwrap();
    let refused = pykv(&[
        "replica",
        "--from",
        "192.0.2.1:7958",
        "--failover-after",
        "1s",
        "--listen",
        "127.0.0.1:0",
    ])
    .dir(dir.path())
    .expect(2);
    assert!(refused.stderr.contains("--advertise"), "{refused:?}");
}

/// With `--sync-reads` nothing is shown of a write that the replicas do not have: not by a read, and not by the refusal
/// of a write that asks for what was there before.
#[test]
fn with_sync_reads_a_refusal_shows_no_more_than_a_read() {
    let sync = [
        "--sync-replicas",
        "1",
        "--sync-required",
        "--sync-timeout",
        "200ms",
        "--sync-reads",
    ];
    let primary = Member::primary(&sync);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    eventually("a write is acknowledged", || {
        let put = primary.server.client().put("/kv/a?upsert=true", b"1");
        put.is_success()
    });
    let before = primary.server.client().get("/kv/a").expect(200);
    let before = format!("\"{}\"", before.version());
    assert_eq!(primary.status()["replication"]["error"], serde_json::Value::Null);
    primary.link.set(Mode::Cut);
    primary.server.client().put("/kv/a", b"2").expect_problem(503);
    eventually("it says why no write is acknowledged", || {
        let error = primary.status()["replication"]["error"].clone();
        error
            .as_str()
            .is_some_and(|error| error.contains("needs 1 replicas (--sync-required), and 0 are heard"))
    });
    let json = [("Content-Type", "application/json")];
    let octets = [
        ("Content-Type", "application/octet-stream"),
        ("If-Match", &*before),
    ];
    let expects = [octets[0], octets[1], ("Expect", "100-continue")];
    let batch: &[u8] = br#"{"operations": [{"op": "get", "key": "a"}]}"#;
    let condition: &[u8] = br#"{"operations": [{"op": "delete", "key": "b", "if_version": 7}]}"#;
    type Request<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);
    let asked: [Request<'_>; 11] = [
        ("GET", "/kv/a", &[], b""),
        ("HEAD", "/kv/a", &[], b""),
        ("GET", "/kv/b", &[], b""),
        ("GET", "/kv/?values=true", &[], b""),
        ("PUT", "/kv/a", &octets, b"3"),
        ("PUT", "/kv/a", &expects, b"3"),
        ("PUT", "/kv/b", &octets[..1], b"3"),
        ("DELETE", "/kv/b", &[], b""),
        ("POST", "/kv/", &json, br#"{"key": "a", "value": "3"}"#),
        ("POST", "/batch", &json, batch),
        ("POST", "/batch", &json, condition),
    ];
    for (method, target, headers, body) in asked {
        let answer = primary.server.client().request(method, target, headers, body);
        assert_eq!(answer.status, 503, "{method} {target}: {answer:?}");
    }
    primary.link.set(Mode::Pass);
    let statuses = [200, 200, 404, 200, 412, 412, 404, 404, 409, 200, 412];
    for ((method, target, headers, body), status) in asked.into_iter().zip(statuses) {
        eventually("the replica has it", || {
            let answer = primary.server.client().request(method, target, headers, body);
            assert!(
                matches!(answer.status, 503) || answer.status == status,
                "{method} {target}: {answer:?}"
            );
            answer.status == status
        });
    }
}
