//! Where a node listens: several addresses, and unix sockets.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, pykv};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The answer to a GET over a unix socket, as it came.
fn get(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_node_answers_at_all_its_endpoints() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pykv.sock");
    let listen = format!("unix:{}", path.display());
    let mut node = Server::start(&["--listen", &listen, "--socket-mode", "600"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A key that came over one is there over the other.
    node.client().add("a", "from TCP").expect(201);
    let answer = get(&path, "/kv/a");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("from TCP"),
        "{answer}"
    );
    // Its place on the machine is all that protects it: it answers for its own names alone.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /kv/a HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");

    // A socket that is in use is not taken; that of a dead node is.
    let second = home.path().join("second");
    let refused = pykv(&["serve", "--listen", &listen, "--dir", second.to_str().unwrap()]).expect(8);
    let said = refused.stderr;
    assert!(said.contains("cannot listen on unix:"), "{said}");
    assert!(
        !second.exists(),
        "a place that is in use leaves no directory behind"
    );
    node.kill_9();
    assert!(path.exists());
    node.start_again();
    assert!(get(&path, "/kv/a").contains("from TCP"));
    // A stop removes it.
    assert_eq!(node.sigterm().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for (listen, code) in [("unix:", 2), ("nonsense", 2), ("unix:/nowhere/pykv.sock", 8)] {
        let refused = pykv(&["serve", "--listen", listen, "--dir", "/nonexistent/data"]).expect(code);
        let said = refused.stderr;
        assert_eq!(said.lines().filter(|line| !line.is_empty()).count(), 1, "{said}");
    }
    for mode in ["66", "0", "1660", "999", "rw-"] {
        pykv(&["serve", "--socket-mode", mode, "--dir", "/nonexistent/data"]).expect(2);
    }
    let home = tempfile::tempdir().unwrap();
    // Other nodes cannot reach a replica that has nothing but a unix socket.
    let listen = format!("unix:{}", home.path().join("s").display());
    let args = [
        "replica",
        "--from",
        "127.0.0.1:1",
        "--listen",
        &listen,
        "--dir",
        "/nonexistent/data",
    ];
    let refused = pykv(&args).expect(2);
    assert!(refused.stderr.contains("--advertise"), "{}", refused.stderr);
    let file = home.path().join("a file");
    fs::write(&file, "of somebody").unwrap();
    let listen = format!("unix:{}", file.display());
    pykv(&["serve", "--listen", &listen, "--dir", "/nonexistent/data"]).expect(8);
    assert_eq!(fs::read_to_string(&file).unwrap(), "of somebody");
}
