//! TLS with real processes: requests, certificates that are refused, cut connections, a cluster.

use crate::common::node::Setup;
use crate::common::tls::{Ca, Pair, TlsClient, certificates, url};
use crate::common::{Client, Server, eventually, pykv, skip};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a run of `pykv` against a node says, which must succeed.
#[track_caller]
fn done(node: &Server, ca: &Ca, args: &[&str]) -> String {
    let url = url(node);
    let output = pykv(args)
        .env("PYKV_SERVER", &url)
        .env("PYKV_TLS_CA", &ca.file())
        .run();
    assert_eq!(output.code, Some(0), "{args:?}: {}", output.stderr);
    String::from_utf8(output.stdout).unwrap()
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--help").output();
    found.is_ok()
}

#[test]
fn commands_and_large_values_go_through_tls() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    assert!(
        node.stderr().contains("the private key in"),
        "a key that others may read is warned of: {}",
        node.stderr()
    );
    done(&node, &ca, &["set", "colour", "green"]);
    assert_eq!(done(&node, &ca, &["get", "colour"]).trim_end(), "green");
    let large: String = (0..200_000).map(|number| format!("{number},")).collect();
    let file = node.home().join("large");
    std::fs::write(&file, &large[..1_000_000]).unwrap();
    done(&node, &ca, &["set", "large", "--file", file.to_str().unwrap()]);
    assert_eq!(
        done(&node, &ca, &["get", "large"]).trim_end(),
        &large[..1_000_000]
    );
    let status = done(&node, &ca, &["status", "--json"]);
    assert!(status.contains("\"certificate_expires\":"), "{status}");
}

#[test]
fn a_slow_reader_of_a_pipeline_gets_all_of_it() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let value = vec![b'x'; 900_000];
    let mut client = TlsClient::connect(node.address(), &ca);
    let head = format!(
        "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {}\r\n\r\n",
        value.len()
    );
    client.send(&[head.as_bytes(), &value].concat());
    assert!(client.answer().0.starts_with("HTTP/1.1 201"));
    let get = b"GET /kv/k HTTP/1.1\r\nHost: localhost\r\nAccept: application/octet-stream\r\n\r\n";
    client.send(&get.repeat(30));
    for _ in 0..30 {
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(body == value, "{} bytes came", body.len());
    }
}

#[test]
fn certificates_that_are_not_accepted_are_named_in_one_line() {
    let (dir, ca, pair) = certificates();
    let other = Ca::new(dir.path(), "other");
    let expired = ca.give("expired", &["localhost"], -1);
    let elsewhere = ca.give("elsewhere", &["kv.example.org"], 300);
    for (pair, trusted, expected) in [
        (&expired, &ca, "has expired"),
        (&elsewhere, &ca, "is for kv.example.org, not for localhost"),
        (&pair, &other, "unknown CA"),
    ] {
        let node = Server::start(&pair.flags());
        let output = pykv(&["get", "k", "--tls-ca", &trusted.file(), "--server", &url(&node)]).run();
        assert_eq!(output.code, Some(3), "{}", output.stderr);
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert_eq!(output.stderr.trim_end().lines().count(), 1, "{}", output.stderr);
    }
}

#[test]
fn plain_http_is_told_that_tls_is_spoken() {
    let (_dir, _ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let answer = Client::connect(node.address()).get("/kv/k");
    let kind = answer.expect(400).body_json()["type"].clone();
    assert_eq!(kind, "urn:pykv:problem:not-tls");
    let output = pykv(&["get", "k"]).at(&node).run();
    assert!(output.stderr.contains("https://"), "{}", output.stderr);
}

#[test]
fn tls_to_a_node_without_it_is_said_to_be_so() {
    let (_dir, ca, _pair) = certificates();
    let node = Server::start(&[]);
    let output = pykv(&["get", "k", "--tls-ca", &ca.file(), "--server", &url(&node)]).run();
    assert_eq!(output.code, Some(3), "{}", output.stderr);
    assert!(output.stderr.contains("does not speak TLS"), "{}", output.stderr);
}

#[test]
fn a_certificate_and_a_key_that_are_no_pair_stop_the_start() {
    let (_dir, ca, pair) = certificates();
    let other = ca.give("other", &["localhost"], 300);
    let output = pykv(&["serve", "--listen", "127.0.0.1:0", "--dir", "never-made"])
        .arg("--tls-cert")
        .arg(&pair.certificate)
        .arg("--tls-key")
        .arg(&other.key)
        .run();
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    assert!(output.stderr.contains("do not go together"), "{}", output.stderr);
}

#[test]
fn nothing_below_tls_1_2_is_spoken_and_no_other_protocol_than_http_1_1() {
    let (_dir, ca, pair) = certificates();
    if !is_there("openssl") {
        return skip("tls", "openssl is not there");
    }
    let node = Server::start(&pair.flags());
    let address = node.address().to_string();
    let session = |args: &[&str]| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-CAfile", &ca.file()])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said + &String::from_utf8_lossy(&output.stderr)
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = session(&[version, "-alpn", "h2,http/1.1"]);
        assert!(said.contains(&format!("New, {name}, Cipher is")), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    }
    for refused in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-alpn", "h2"],
    ] {
        let said = session(refused);
        assert!(
            said.contains("no peer certificate available"),
            "{refused:?}: {said}"
        );
    }
}

#[test]
fn the_end_of_a_connection_is_announced() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = client.read_to_end().unwrap(); // An error without close_notify.
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    // One that is refused, and is still sending.
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(b"NONSENSE\r\n\r\n");
    let answer = client.read_to_end().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"));
}

#[test]
fn a_body_that_is_cut_changes_nothing() {
    let (_dir, ca, pair) = certificates();
    let node = Server::start(&pair.flags());
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(
        b"PUT /kv/cut?upsert=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: \
          chunked\r\n\r\n5\r\nhello\r\n",
    );
    client.0.sock.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = client.0.sock.read_to_end(&mut rest);
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(b"GET /kv/cut HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.answer().0.starts_with("HTTP/1.1 404"));
}

#[test]
fn a_handshake_has_a_time_limit() {
    let (_dir, _ca, pair) = certificates();
    let flags = [&pair.flags()[..], &["--header-timeout", "300ms"]].concat();
    let node = Server::start(&flags);
    // Nothing at all, and the beginning of a record.
    for sent in [&b""[..], b"\x16\x03\x01"] {
        let mut socket = TcpStream::connect(node.address()).unwrap();
        socket.set_read_timeout(Some(crate::common::SOON)).unwrap();
        socket.write_all(sent).unwrap();
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{ended:?}"
        );
    }
}

/// A hello may be as long as a message can say. Its client does not make the node keep it.
#[test]
fn a_handshake_has_a_limit_of_bytes() {
    let (_dir, _ca, pair) = certificates();
    let node = Server::start(&[&pair.flags()[..], &["--header-timeout", "1h"]].concat());
    let mut socket = TcpStream::connect(node.address()).unwrap();
    socket.set_read_timeout(Some(crate::common::SOON)).unwrap();
    // A message of 65,000 bytes, in records of 16 KiB; half of it.
    let header = [0x16, 3, 1, 0x40, 0];
    let hello = [&[1, 0, 0xfd, 0xe8, 3, 3][..], &[b'a'; 16_378]].concat();
    for piece in [&header[..], &hello, &header, &[b'a'; 16_384]] {
        // It may have ended by then.
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    let ended = socket.read_to_end(&mut Vec::new());
    assert!(
        !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        "{ended:?}"
    );
}

/// A hello of 20,000 bytes of which the last byte does not come.
fn half_a_hello(node: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(node.address()).unwrap();
    let mut hello = vec![1, 0, 0x4e, 0x21, 3, 3];
    hello.resize(20_000, b'a');
    for piece in hello.chunks(16_000) {
        let length = (piece.len() as u16).to_be_bytes();
        // It may have been cut by then.
        let _ = socket.write_all(&[&[0x16, 3, 1][..], &length, piece].concat());
    }
    socket.set_nonblocking(true).unwrap();
    socket
}

fn has_ended(mut socket: &TcpStream) -> bool {
    !matches!(socket.read(&mut [0; 100]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// What handshakes hold that do not end is a part of what is in flight.
#[test]
fn long_handshakes_that_do_not_end_have_a_budget() {
    let (_dir, ca, pair) = certificates();
    let bounds = [
        "--header-timeout",
        "1h",
        "--max-in-flight",
        "4MiB",
        "--max-value",
        "64KiB",
    ];
    let node = Server::start(&[&pair.flags()[..], &bounds].concat());
    // Each holds 32 KiB: there is room for some 60 of them.
    let sockets: Vec<TcpStream> = (0..300).map(|_| half_a_hello(&node)).collect();
    eventually("most are cut", || {
        sockets.iter().filter(|socket| has_ended(socket)).count() > 200
    });
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let text = String::from_utf8(body).unwrap();
    let held = text
        .lines()
        .find_map(|line| line.strip_prefix("pykv_http_in_flight_bytes "))
        .and_then(|bytes| bytes.parse::<f64>().ok());
    assert!(
        held.is_some_and(|bytes| (1024.0 * 1024.0..4.0 * 1024.0 * 1024.0).contains(&bytes)),
        "{held:?}"
    );
}

/// Connections on which nothing comes do not keep out others until their time is over.
#[test]
fn handshakes_that_do_not_move_give_way() {
    let (_dir, ca, pair) = certificates();
    let flags = [
        &pair.flags()[..],
        &["--header-timeout", "1h", "--max-connections", "8"],
    ]
    .concat();
    let node = Server::start(&flags);
    let _still: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(node.address()).unwrap())
        .collect();
    let (url, file) = (url(&node), ca.file());
    eventually("another is served", || {
        let get = ["get", "x", "--server", &url, "--tls-ca", &file];
        pykv(&get).run().code == Some(1)
    });
}

#[test]
fn a_cluster_speaks_tls_catches_up_and_fails_over() {
    let (_dir, ca, pair) = certificates();
    let trust = ["--tls-ca", &ca.file()].map(str::to_owned);
    let flags = [&pair.flags()[..], &[&trust[0], &trust[1]]].concat();
    let mut first = Setup::new(&flags).start();
    for number in 0..5 {
        done(&first, &ca, &["set", &format!("before-{number}"), "x"]);
    }
    let from = url(&first);
    let second = Setup::replica(&from, &[&flags[..], &["--failover-after", "500ms"]].concat()).start();
    eventually("the replica has what there was", || {
        pykv(&[
            "get",
            "before-4",
            "--tls-ca",
            &ca.file(),
            "--server",
            &url(&second),
        ])
        .run()
        .code
            == Some(0)
    });
    // By way of the replica, which sends it on by https.
    done(&second, &ca, &["set", "sent-on", "y"]);
    eventually("the replica hears of it", || {
        pykv(&[
            "get",
            "sent-on",
            "--tls-ca",
            &ca.file(),
            "--server",
            &url(&second),
        ])
        .run()
        .code
            == Some(0)
    });
    first.kill_9();
    eventually("the replica takes over", || {
        pykv(&[
            "set",
            "after",
            "z",
            "--tls-ca",
            &ca.file(),
            "--server",
            &url(&second),
        ])
        .run()
        .code
            == Some(0)
    });
    assert_eq!(done(&second, &ca, &["get", "sent-on"]).trim_end(), "y");
}

#[test]
fn a_node_without_tls_follows_none_that_speaks_it() {
    let (_dir, ca, _pair) = certificates();
    let output = pykv(&[
        "replica",
        "--from",
        "https://localhost:1",
        "--listen",
        "127.0.0.1:0",
    ])
    .arg("--tls-ca")
    .arg(ca.file())
    .run();
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    assert!(output.stderr.contains("--tls-cert"), "{}", output.stderr);
}

#[test]
fn a_client_certificate_stands_for_a_scope() {
    let (dir, ca, pair) = certificates();
    let clients = Ca::new(dir.path(), "clients");
    let app = clients.give_client("app", &["app1.example.org"], &[], "nobody");
    let reader = clients.give_client("reader", &[], &["spiffe://example.org/reader"], "nobody");
    let named = clients.give_client("named", &[], &[], "app1.example.org");
    let other = clients.give_client("other", &["app2.example.org"], &[], "nobody");
    let stranger = ca.give_client("stranger", &["app1.example.org"], &[], "nobody");
    let tokens = dir.path().join("tokens");
    let text = "admin sixteen-characters-or-more\nwrite cert:app1.example.org\nread cert:spiffe://example.org/reader\n";
    std::fs::write(&tokens, text).unwrap();
    let client_ca = clients.file();
    let mut flags = pair.flags().to_vec();
    flags.extend([
        "--tls-client-ca",
        &client_ca,
        "--token-file",
        tokens.to_str().unwrap(),
    ]);
    let code = |node: &Server, args: &[&str], shown: Option<&Pair>| {
        let mut run = pykv(args)
            .env("PYKV_SERVER", &url(node))
            .env("PYKV_TLS_CA", &ca.file());
        for flag in shown.iter().flat_map(|pair| pair.client_flags()) {
            run = run.arg(flag);
        }
        let output = run.run();
        (output.code, output.stderr)
    };
    let write = ["set", "k", "v"];
    let read = ["get", "k"];

    let node = Server::start(&flags);
    assert_eq!(code(&node, &write, Some(&app)).0, Some(0));
    assert_eq!(code(&node, &read, Some(&reader)).0, Some(0));
    assert_eq!(code(&node, &write, Some(&reader)).0, Some(5));
    let (status, said) = code(&node, &read, Some(&other));
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("certificate"), "{said}");
    // What a certificate calls its subject is no name.
    assert_eq!(code(&node, &read, Some(&named)).0, Some(5));
    let (status, said) = code(&node, &read, Some(&stranger));
    assert_eq!(status, Some(3), "{said}");
    let (status, said) = code(&node, &read, None);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("--tls-client-cert"), "{said}");
    // The name is not a token.
    let mut client = pykv(&read)
        .env("PYKV_SERVER", &url(&node))
        .env("PYKV_TLS_CA", &ca.file());
    client = client.env("PYKV_TOKEN", "cert:app1.example.org");
    for flag in named.client_flags() {
        client = client.arg(flag);
    }
    assert_eq!(client.run().code, Some(5));

    flags.extend(["--tls-client-auth", "optional"]);
    let node = Server::start(&flags);
    assert_eq!(code(&node, &write, Some(&app)).0, Some(0));
    assert_eq!(code(&node, &read, None).0, Some(5));
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.answer().0.starts_with("HTTP/1.1 200"));
}

/// Certificates are read anew again and again while clients connect: no request fails. A key of another certificate
/// changes nothing, and is said to.
#[test]
fn certificates_are_read_anew_while_clients_connect() {
    const RELOADS: u64 = 1000;
    let (_dir, ca, pair) = certificates();
    let node = Setup::new(&pair.flags()).start();
    let get = |path: &str| {
        let mut client = TlsClient::connect(node.address(), &ca);
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        client.answer()
    };
    let tls = || -> Value { serde_json::from_slice::<Value>(&get("/status").1).unwrap()["tls"].clone() };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    while !is_over.load(Relaxed) {
                        let (head, _) = get("/healthz");
                        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for number in 1..=RELOADS {
            ca.give("node", &["localhost", "127.0.0.1"], 300 + number as i64 % 50);
            node.signal(Signal::HUP);
            eventually("they are read", || tls()["reloads"] == number);
        }
        let other = ca.give("other", &["localhost"], 300);
        std::fs::copy(other.key, &pair.key).unwrap();
        node.signal(Signal::HUP);
        eventually("it says what is wrong", || tls()["failure"].is_string());
        assert_eq!(tls()["failed_reloads"], 1);
        is_over.store(true, Relaxed);
        let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answered > 0);
    });
}
