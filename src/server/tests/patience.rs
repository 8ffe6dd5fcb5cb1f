//! What a client may take in time.

use crate::http::Limits;
use crate::server::tests::client::{Fixture, get, request};
use std::io::Write;
use std::time::{Duration, Instant};

fn impatient() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[test]
fn a_header_or_a_body_that_does_not_come_is_given_up() {
    let server = Fixture::with(impatient(), None);
    for part in [
        "G",
        "\r\n",
        "GET /healthz HTTP/1.1\r\nHost: h\r\n",
        "PUT /kv/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
        "PUT /kv/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let begun = Instant::now();
        let mut client = server.connect();
        client.send(part);
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.closes()), (408, true), "{part:?}");
        assert!(client.is_closed());
        let taken = begun.elapsed();
        assert!(
            taken >= Duration::from_millis(190),
            "{part:?} was given {taken:?}"
        );
    }
}

/// A byte now and then keeps nobody waiting for longer than the whole may take.
#[test]
fn a_trickle_does_not_win_time() {
    let server = Fixture::with(impatient(), None);
    let mut client = server.connect();
    let begun = Instant::now();
    client.send("PUT /kv/k HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n");
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let mut ended = [0];
    while std::io::Read::read(&mut client.stream, &mut ended).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the trickle continues");
        if client.stream.write_all(b"x").is_err() {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Fixture::with(impatient(), None);
    let mut client = server.connect();
    assert_eq!(client.ask(get("/healthz")).status, 200);
    assert!(client.is_closed());
}

/// Longer idle than buffers are kept: the connection continues without them, and gets new ones.
#[test]
fn an_idle_connection_wakes_up_whole() {
    let server = Fixture::start();
    let mut client = server.connect();
    let value = "v".repeat(90_000);
    assert_eq!(client.ask(request("PUT", "/kv/k?upsert", "", &value)).status, 201);
    // A read on another, silent connection is the clock here.
    let silent = server.connect();
    silent
        .stream
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .unwrap();
    assert!(std::io::Read::read(&mut &silent.stream, &mut [0]).is_err());
    assert_eq!(client.ask(get("/kv/k?raw")).body, value.as_bytes());
}
