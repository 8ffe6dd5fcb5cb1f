//! What a node tells of how it does: `/metrics` as Prometheus reads it, slow requests, the access log.

use crate::common::client::{Client, encode};
use crate::common::cluster::Member;
use crate::common::{Server, eventually, skip};
use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The samples of `/metrics`, by name and labels.
fn samples(node: &Server) -> HashMap<String, f64> {
    samples_after(&mut node.client())
}

/// As [`samples`], asked over a connection whose requests are all counted by then: a request is counted once its
/// answer is out, which another connection may see a moment later.
fn samples_after(client: &mut Client) -> HashMap<String, f64> {
    let answer = client.get("/metrics").expect(200);
    assert_eq!(answer.header("Content-Type"), Some("text/plain; version=0.0.4"));
    String::from_utf8(answer.body)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn requests(route: &str, method: &str, status: u16) -> String {
    let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
    format!("pykv_http_request_duration_seconds_count{{{labels}}}")
}

#[test]
fn what_was_done_is_counted_by_route_and_status() {
    let node = Server::start(&["--max-capacity", "10"]);
    let mut client = node.client();
    for at in 0..12 {
        client
            .put(&format!("/kv/key{at}?upsert=true"), b"value")
            .expect(201);
    }
    client.get("/kv/key11").expect(200);
    client.get("/kv/key11").expect(200);
    client.get("/kv/key0").expect(404);
    client.get("/kv/?prefix=key").expect(200);
    client.get("/nothing/here").expect(404);
    client.delete("/kv/key11").expect(204);
    let samples = samples_after(&mut client);
    for (name, expected) in [
        (&*requests("/kv/{key}", "PUT", 201), 12.0),
        (&requests("/kv/{key}", "GET", 200), 2.0),
        (&requests("/kv/{key}", "GET", 404), 1.0),
        (&requests("/kv/{key}", "DELETE", 204), 1.0),
        (&requests("/kv/", "GET", 200), 1.0),
        (&requests("unmatched", "GET", 404), 1.0),
        ("pykv_reads_total{result=\"hit\"}", 2.0),
        ("pykv_reads_total{result=\"miss\"}", 1.0),
        ("pykv_changes_total{operation=\"add\"}", 12.0),
        ("pykv_changes_total{operation=\"evict\"}", 2.0),
        ("pykv_changes_total{operation=\"delete\"}", 1.0),
        ("pykv_entries", 9.0),
        ("pykv_entries_max", 10.0),
        ("pykv_role{role=\"primary\"}", 1.0),
        ("pykv_role{role=\"replica\"}", 0.0),
        ("pykv_log_healthy", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&expected), "{name} in {samples:#?}");
    }
    let offset = samples["pykv_log_offset_bytes{state=\"appended\"}"];
    assert_eq!(offset, node.offset() as f64);
    assert!(samples.keys().all(|name| !name.contains("key11")));
}

#[test]
fn histograms_add_up() {
    let node = Server::start(&[]);
    let mut client = node.client();
    for _ in 0..100 {
        client.get("/kv/nothing").expect(404);
    }
    let samples = samples_after(&mut client);
    let labels = "route=\"/kv/{key}\",method=\"GET\",status=\"404\"";
    let mut buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|(name, count)| {
            let rest = name.strip_prefix("pykv_http_request_duration_seconds_bucket{")?;
            let le = rest
                .strip_prefix(labels)?
                .strip_prefix(",le=\"")?
                .strip_suffix("\"}")?;
            Some((le.parse().unwrap(), *count))
        })
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    assert!(
        buckets.len() > 10 && buckets.is_sorted_by(|one, other| one.1 <= other.1),
        "{buckets:?}"
    );
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, 100.0)));
    let sum = samples[&format!("pykv_http_request_duration_seconds_sum{{{labels}}}")];
    assert!(sum > 0.0 && sum < 100.0 * 60.0, "{sum}");
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let primary = Member::primary(&["--max-capacity", "100", "--access-log", "/dev/null"]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    primary.fill("k", 200, "value");
    for node in [&primary.server, &replica.server] {
        let text = node.get("/metrics").expect(200).body;
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            return skip(
                "promtool_finds_nothing_to_complain_of",
                "promtool is not installed",
            );
        };
        child.stdin.take().unwrap().write_all(&text).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    let told = samples(&primary.server);
    let lag = told
        .keys()
        .find(|name| name.starts_with("pykv_follower_lag_bytes{follower="));
    assert!(lag.is_some(), "{told:#?}");
    assert!(samples(&replica.server).contains_key("pykv_replica_lag_bytes"));
}

#[test]
fn metrics_ask_for_a_token_to_read() {
    let home = TempDir::new().unwrap();
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, "read eyes\n").unwrap();
    let node = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    node.get("/metrics").expect_problem(401);
    let head = [("Authorization", "Bearer eyes")];
    node.client().request("GET", "/metrics", &head, b"").expect(200);
}

#[test]
fn slow_requests_say_what_they_waited_for() {
    let node = Server::start(&["--slow-ms", "100"]);
    let head = [("Pykv-Sync-Replicas", "1"), ("Pykv-Sync-Timeout", "0.3")];
    node.client()
        .request("PUT", "/kv/slow%20one?upsert=true", &head, b"v")
        .expect(201);
    // What waits by its nature is not slow.
    node.get("/watch?wait=0.3").expect(200);
    eventually("the request is told of", || node.stderr().contains("slow: "));
    let said = node.stderr();
    let line = said.lines().find(|line| line.contains("slow: ")).unwrap();
    assert!(
        line.contains("slow: PUT /kv/slow%20one?upsert=true HTTP/1.1 was answered with 201"),
        "{line}"
    );
    let replicas = line.split(" for the log and ").nth(1).unwrap();
    let ms: f64 = replicas.split(' ').next().unwrap().parse().unwrap();
    assert!(ms >= 300.0, "{line}");
    assert!(!said.contains("/watch"), "{said}");
}

#[test]
fn the_access_log_has_a_line_a_request_and_is_appended_to() {
    let home = TempDir::new().unwrap();
    let log = home.path().join("access.log");
    let mut node = Server::start(&["--access-log", log.to_str().unwrap()]);
    let mut client = node.client();
    let pipeline = [
        encode("PUT", "/kv/a?upsert=true", &[], b"v"),
        encode("GET", "/kv/a", &[], b""),
        encode("GET", "/kv/%22", &[], b""),
        encode("GET", "/watch?after=0&wait=0", &[], b""),
        encode("BREW", "/kv/a", &[], b""),
    ];
    client.send(&pipeline.concat()).unwrap();
    for status in [201, 200, 404, 200, 501] {
        client.response(false).unwrap().expect(status);
    }
    client.send(b"GET /kv/\x01 HTTP/1.1\r\n\r\n").unwrap();
    client.response(false).unwrap().expect(400);
    assert!(node.sigterm().success());
    node.start_again();
    node.client().delete("/kv/a").expect(204);
    assert!(node.sigterm().success());

    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        ("PUT /kv/a?upsert=true HTTP/1.1", "201"),
        ("GET /kv/a HTTP/1.1", "200"),
        ("GET /kv/%22 HTTP/1.1", "404"),
        ("GET /watch?after=0&wait=0 HTTP/1.1", "200"),
        ("BREW /kv/a HTTP/1.1", "501"),
        ("-", "400"),
        ("DELETE /kv/a HTTP/1.1", "204"),
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, (request, status)) in lines.iter().zip(expected) {
        let (head, rest) = line.split_once(" \"").unwrap();
        assert!(
            head.starts_with("127.0.0.1 - - [") && head.ends_with(" +0000]"),
            "{line}"
        );
        let (told, rest) = rest.split_once("\" ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        assert_eq!((told, fields[0], fields.len()), (request, status, 3), "{line}");
        assert!(fields[1].parse::<u64>().unwrap() > 0, "{line}");
        assert!(fields[2].parse::<f64>().unwrap() >= 0.0, "{line}");
    }
}

#[test]
fn an_access_log_that_cannot_be_written_holds_up_nobody() {
    let node = Server::start(&["--access-log", "/dev/full"]);
    for _ in 0..50 {
        node.get("/kv/a").expect(404);
    }
    eventually("the failure is told of", || node.stderr().contains("access log"));
    assert_eq!(
        node.stderr()
            .matches("cannot write the access log /dev/full")
            .count(),
        1
    );

    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let no_such = home.path().join("not/there.log");
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--dir",
        data.to_str().unwrap(),
        "--access-log",
    ];
    let run = crate::common::cli::command()
        .args(args)
        .arg(&no_such)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(8), "{said}");
    assert!(said.contains(no_such.to_str().unwrap()), "{said}");
    assert!(!data.exists());
}
