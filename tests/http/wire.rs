//! HTTP/1.1 on the wire, by RFC 9112: framing, pipelining, keep-alive, and what is no HTTP at all.

use crate::common::Server;
use crate::common::client::{BYTES, JSON, encode};

#[test]
fn chunked_bodies_are_taken() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let head = "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let body = "5\r\nhello\r\n7;extension=1\r\n, world\r\n0\r\nTrailer: is dropped\r\n\r\n";
    client.send(format!("{head}{body}").as_bytes()).unwrap();
    client.response(false).unwrap().expect(201);
    assert_eq!(client.get("/kv/k?raw").body, b"hello, world");
    // In pieces of one byte: where packets end means nothing.
    for byte in format!("{head}{body}").bytes() {
        client.send(&[byte]).unwrap();
    }
    client.response(false).unwrap().expect(200);
}

/// Requests that are wrong before a route is known. After most of them the node cannot know where the next
/// request begins, and closes.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_no_http_is_refused_with_a_problem() {
    let node = Server::start(&[]);
    node.client().add("k", "old").expect(201);
    let offset = node.offset();
    let put = "PUT /kv/k HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n";
    let cases: &[(String, &[u16])] = &[
        ("nonsense\r\n\r\n".into(), &[400]),
        ("GET /kv/k\r\n\r\n".into(), &[400]),
        ("GET /kv/k HTTP/3.7\r\nHost: a\r\n\r\n".into(), &[400, 505]),
        ("GET /kv/k HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n".into(), &[400]),
        (
            "GET /kv/k HTTP/1.1\r\nHost: a\r\nSpace : 1\r\n\r\n".into(),
            &[400],
        ),
        // RFC 9112, 3.2: one Host.
        ("GET /kv/k HTTP/1.1\r\n\r\n".into(), &[400]),
        ("GET /kv/k HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), &[400]),
        // RFC 9112, 6.3: lengths that contradict each other smuggle requests.
        (
            format!("{put}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nv\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            format!("{put}Content-Length: 1\r\nContent-Length: 2\r\n\r\nvv"),
            &[400],
        ),
        (format!("{put}Content-Length: 1, 2\r\n\r\nvv"), &[400]),
        (format!("{put}Content-Length: +1\r\n\r\nv"), &[400]),
        (format!("{put}Content-Length: -1\r\n\r\nv"), &[400]),
        (format!("{put}Content-Length: 0x1\r\n\r\nv"), &[400]),
        (
            format!("{put}Content-Length: 99999999999999999999999\r\n\r\nv"),
            &[400, 413],
        ),
        (format!("{put}Transfer-Encoding: gzip\r\n\r\nv"), &[400, 501]),
        (
            format!("{put}Transfer-Encoding: chunked, gzip\r\n\r\nv"),
            &[400, 501],
        ),
        (
            format!("{put}Transfer-Encoding: chunked\r\n\r\nx\r\nv\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            format!("{put}Transfer-Encoding: chunked\r\n\r\n1\r\nvv\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            format!("{put}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nv\r\n0\r\n\r\n"),
            &[400, 413],
        ),
        // RFC 9112, 6.3: no length means no body; a value must be said to be empty.
        (format!("{put}\r\n"), &[411]),
        (
            format!("{put}Expect: a miracle\r\nContent-Length: 1\r\n\r\nv"),
            &[417],
        ),
        (
            format!("GET /kv/{} HTTP/1.1\r\nHost: a\r\n\r\n", "k".repeat(100_000)),
            &[414],
        ),
        (
            format!(
                "GET /kv/k HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "x".repeat(1_000_000)
            ),
            &[431],
        ),
        (
            format!(
                "GET /kv/k HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: 1\r\n".repeat(10_000)
            ),
            &[431],
        ),
    ];
    for (request, statuses) in cases {
        let shown = &request[..request.len().min(200)];
        let mut client = node.client();
        let _ = client.send(request.as_bytes()); // It may be refused before its end.
        let answer = client
            .response(false)
            .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert!(statuses.contains(&answer.status), "{shown:?}: {answer:?}");
        answer.expect_problem(answer.status);
    }
    assert_eq!(node.offset(), offset, "nothing is logged");
    assert_eq!(node.get("/kv/k?raw").body, b"old");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let mut bytes = Vec::new();
    for number in 0..200 {
        bytes.extend(encode(
            "PUT",
            &format!("/kv/{number}?upsert=true"),
            &BYTES,
            number.to_string().as_bytes(),
        ));
        bytes.extend(encode("GET", &format!("/kv/{number}?raw"), &[], b""));
        bytes.extend(encode("HEAD", &format!("/kv/{number}"), &[], b""));
        bytes.extend(encode("GET", "/nowhere", &[], b""));
    }
    client.send(&bytes).unwrap();
    for number in 0..200 {
        client.response(false).unwrap().expect(201);
        assert_eq!(
            client.response(false).unwrap().expect(200).body,
            number.to_string().as_bytes()
        );
        client.response(true).unwrap().expect(200);
        client.response(false).unwrap().expect_problem(404);
    }
}

#[test]
fn connections_are_kept_and_closed_as_http_says() {
    let node = Server::start(&[]);
    // HTTP/1.1 keeps, until the client says otherwise; the server says that it closes.
    let mut client = node.client();
    client.get("/healthz").expect(200);
    let answer = client
        .request("GET", "/healthz", &[("Connection", "close")], b"")
        .expect(200);
    assert!(
        answer
            .header("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close")),
        "{answer:?}"
    );
    assert!(client.is_closed());
    // HTTP/1.0 closes, until the client asks to be kept.
    let mut client = node.client();
    client.send(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    client.response(false).unwrap().expect(200);
    assert!(client.is_closed());
    let mut client = node.client();
    for _ in 0..2 {
        client
            .send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let answer = client.response(false).unwrap().expect(200);
        assert_eq!(
            answer.header("Transfer-Encoding"),
            None,
            "HTTP/1.0 knows no chunks"
        );
    }
    // A client that has sent its last request still gets the answers.
    let mut client = node.client();
    client.send(&encode("GET", "/healthz", &[], b"")).unwrap();
    client.end();
    client.response(false).unwrap().expect(200);
    assert!(client.is_closed());
    // An error whose request was read to its end is no reason to close.
    let mut client = node.client();
    client.get("/kv/absent").expect_problem(404);
    client.request("POST", "/kv/", &JSON, b"{").expect_problem(400);
    client.get("/healthz").expect(200);
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let head = |length: u64| {
        format!(
            "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    client.send(head(5).as_bytes()).unwrap();
    client.any_response(false).unwrap().expect(100);
    client.send(b"hello").unwrap();
    client.response(false).unwrap().expect(201);
    // A body that will not be taken is not asked for.
    client.send(head(10 << 30).as_bytes()).unwrap();
    client.any_response(false).unwrap().expect_problem(413);
}
