//! HAProxy before three nodes, with the lines that docs/replication.md gives: clients reach the primary, whichever it is.

use crate::common::cluster::Member;
use crate::common::etcd::Etcd;
use crate::common::{SOON, eventually, poll, skip};
use rustix::process::Signal;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DOCUMENT: &str = include_str!("../../docs/replication.md");

/// How the document names the nodes.
const NAMED: [&str; 3] = ["10.0.0.7:7958", "10.0.0.8:7958", "10.0.0.9:7958"];

/// How long HAProxy lets a node take for an answer, unless the node is marked as down.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(300);

/// HAProxy, with a socket for each of the document's backends; killed on drop.
struct Haproxy {
    child: Child,
    home: TempDir,
}

impl Haproxy {
    /// None where it is not installed.
    fn start(nodes: &[Member]) -> Option<Haproxy> {
        let home = TempDir::new().unwrap();
        let socket = |name: &str| home.path().join(name).display().to_string();
        let wait = ANSWER_TIME_MAX.as_secs();
        let file = DOCUMENT.find("defaults\n").expect("the document has it");
        let mut config = DOCUMENT[file..].split("```").next().unwrap().to_owned();
        let mut put = |named: &str, other: String| {
            assert!(config.contains(named), "the document names {named}");
            config = config.replace(named, &other);
        };
        put("timeout client 75s", format!("timeout client {wait}s"));
        put("timeout server 75s", format!("timeout server {wait}s"));
        put("127.0.0.1:7956", format!("unix@{}", socket("pykv-writes")));
        put("127.0.0.1:7957", format!("unix@{}", socket("pykv-reads")));
        for (named, node) in NAMED.iter().zip(nodes) {
            put(named, node.server.address().to_string());
        }
        let path = home.path().join("config");
        fs::write(&path, config).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let haproxy = Haproxy { child, home };
        eventually("HAProxy listens", || {
            UnixStream::connect(haproxy.socket("pykv-reads")).is_ok()
        });
        Some(haproxy)
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection through HAProxy.
struct Connection(BufReader<UnixStream>);

impl Connection {
    fn open(socket: &Path) -> Connection {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Connection(BufReader::new(stream))
    }

    /// The status of the answer, and its body.
    fn ask(&mut self, method: &str, key: &str, body: &str) -> io::Result<(u16, String)> {
        let target = match method {
            "PUT" => format!("/kv/{key}?upsert=true"),
            _ => format!("/kv/{key}?raw"),
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: pykv\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let mut status = String::new();
        self.0.read_line(&mut status)?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }
}

#[test]
fn clients_of_a_load_balancer_reach_the_primary() {
    const TEST: &str = "clients_of_a_load_balancer_reach_the_primary";
    let Some(etcd) = Etcd::start(1) else {
        return skip(TEST, "etcd is not installed");
    };
    let nodes: Vec<Member> = (0..3)
        .map(|_| Member::elected(&etcd, &["--sync-replicas", "1"]))
        .collect();
    let Some(haproxy) = Haproxy::start(&nodes) else {
        return skip(TEST, "haproxy is not installed");
    };
    let writes = haproxy.socket("pykv-writes");
    let is_written = |key: &str| {
        let answer = Connection::open(&writes).ask("PUT", key, "value");
        matches!(answer, Ok((200 | 201, _)))
    };
    // HAProxy takes every node for one that is up, until it has asked.
    let are_written = |name: &str| (0..10).all(|number| is_written(&format!("{name}-{number}")));
    eventually("all writes reach the primary", || are_written("first"));

    // A client waits at a primary that hangs.
    let mut waiting = Connection::open(&writes);
    let answer = waiting.ask("PUT", "second", "value").unwrap();
    assert!(matches!(answer, (200 | 201, _)), "{answer:?}");
    let primary = nodes.iter().position(Member::is_primary).unwrap();
    eventually("another node may take over", || {
        let cluster = nodes[primary].server.get("/cluster").body_json();
        let mut members = cluster["members"].as_array().into_iter().flatten();
        members.any(|member| member["standby"] == true)
    });
    nodes[primary].server.suspend();
    let begun = Instant::now();
    let answer = waiting.ask("PUT", "third", "value");
    assert!(
        !matches!(answer, Ok((200 | 201, _))),
        "nobody was there to answer: {answer:?}"
    );
    assert!(begun.elapsed() < SOON, "it is let go: {answer:?}");
    eventually("a write reaches the new primary", || is_written("fourth"));
    nodes[primary].server.signal(Signal::CONT);
    // The one before is no primary any more, and gets no writes.
    let reads = haproxy.socket("pykv-reads");
    let is_read = poll(SOON, || {
        let answer = Connection::open(&reads).ask("GET", "fourth", "");
        matches!(answer, Ok((200, value)) if value == "value")
    });
    assert!(is_read, "a replica has it");
    eventually("all writes reach the new primary", || are_written("after"));
}
