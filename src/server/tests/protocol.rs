//! What HTTP asks of a server, and what it must refuse.

use crate::http::Limits;
use crate::server::tests::client::{Fixture, PATIENCE, VALUE_BYTES_MAX, get, request};
use std::io::Write;
use std::net::Shutdown;
use std::time::Instant;

/// Sends bytes that are refused: the status of the answer, after which the connection is closed.
fn refused(server: &Fixture, bytes: &[u8]) -> u16 {
    let mut client = server.connect();
    client.send(bytes);
    let answer = client.answer(false);
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
    assert!(
        client.is_closed(),
        "{:?}",
        String::from_utf8_lossy(&bytes[..bytes.len().min(200)])
    );
    answer.status
}

#[test]
fn a_connection_is_kept_or_closed_as_its_client_says() {
    let server = Fixture::start();
    for (head, kept, said) in [
        ("GET /healthz HTTP/1.1\r\nHost: h\r\n", true, None),
        (
            "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n",
            false,
            Some("close"),
        ),
        (
            "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\nConnection: keep-alive\r\n",
            false,
            Some("close"),
        ),
        ("GET /healthz HTTP/1.0\r\n", false, Some("close")),
        (
            "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n",
            true,
            Some("keep-alive"),
        ),
    ] {
        let mut client = server.connect();
        let answer = client.ask(format!("{head}\r\n"));
        assert_eq!(
            (answer.status, answer.header("Connection")),
            (200, said),
            "{head}"
        );
        match kept {
            true => assert_eq!(client.ask(get("/healthz")).status, 200, "{head}"),
            false => assert!(client.is_closed(), "{head}"),
        }
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let server = Fixture::start();
    let put =
        |fields: &str, body: &str| format!("PUT /kv/k?upsert HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
    let smuggled = "GET /kv/x HTTP/1.1\r\nHost: h\r\n\r\n";
    for (bytes, status) in [
        (
            put("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            400,
        ),
        (put("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400),
        (put("Content-Length: 3, 3\r\n", "abc"), 400),
        (put("Content-Length: +3\r\n", "abc"), 400),
        (put("Content-Length: -3\r\n", "abc"), 400),
        (put("Content-Length: 0x3\r\n", "abc"), 400),
        (put("Content-Length:\r\n", "abc"), 400),
        (put("Content-Length: 99999999999999999999\r\n", "abc"), 400),
        (put("Content-Length : 3\r\n", "abc"), 400),
        (
            put(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (put("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        (put("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501),
        (put("Transfer-Encoding: chunked\r\n", "4\nabcd\r\n0\r\n\r\n"), 400),
        (
            put("Transfer-Encoding: chunked\r\n", &format!("-1\r\n{smuggled}")),
            400,
        ),
        (
            put("Transfer-Encoding: chunked\r\n", &format!("0\r\nX{smuggled}\rY")),
            400,
        ),
        (put("X: a\r\n b\r\nContent-Length: 0\r\n", ""), 400),
        (put("X: a\rContent-Length: 9\r\nContent-Length: 0\r\n", ""), 400),
        (put("X: a\0b\r\nContent-Length: 0\r\n", ""), 400),
        (put("Host: other\r\nContent-Length: 0\r\n", ""), 400),
        (
            "PUT /kv/k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("GET /kv/k HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /kv/k HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
        ("GET /kv/k HTTP/1.1\r\nHost: [::1\r\n\r\n".into(), 400),
        ("GET /kv/k HTTP/1.1\r\nHost: a:99999\r\n\r\n".into(), 400),
        (
            "GET /kv/k HTTP/1.1\r\nHost: localhost:80#evil\r\n\r\n".into(),
            400,
        ),
        ("GET http://a<b>/kv/k HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("GET http://u@a/kv/k HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("GET /kv/k HTTP/1.1\nHost: h\n\n".into(), 400),
        ("GET /kv/k HTTP/1.1\r\nHost: h\r\n\n".into(), 400),
        ("GET /kv/k HTTP/1.1\nHost: h\r\n\r\n".into(), 400),
        ("\nGET /kv/k HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        (put("X: a\nContent-Length: 3\r\n", "abc"), 400),
        ("GET kv/k HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("GET /kv/k#x HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("GET  /kv/k HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("GET /kv/k\r\n\r\n".into(), 400),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n".into(), 400),
        ("GET /kv/k HTTP/2.0\r\nHost: h\r\n\r\n".into(), 505),
        ("GET /kv/k HTTP/1.2\r\nHost: h\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".into(), 400),
    ] {
        assert_eq!(refused(&server, bytes.as_bytes()), status, "{bytes:?}");
    }
    assert_eq!(server.node.counters().entries, 0);
    assert_eq!(server.node.counters().misses, 0, "nothing that was smuggled ran");
}

#[test]
fn a_target_may_be_absolute() {
    let server = Fixture::start();
    let mut client = server.connect();
    for target in ["http://h/healthz", "HTTP://h:1/healthz?", "https://h/healthz"] {
        assert_eq!(client.ask(get(target)).status, 200, "{target}");
    }
    for (target, status) in [
        ("http://h", 200),
        ("http://h?x", 400),
        ("http:///healthz", 400),
        ("*", 400),
    ] {
        assert_eq!(server.connect().ask(get(target)).status, status, "{target}");
    }
}

#[test]
fn a_body_may_come_in_chunks() {
    let server = Fixture::start();
    let mut client = server.connect();
    let head = "PUT /kv/k?upsert HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n";
    let wire = format!("{head}3\r\nabc\r\n4;x=\"y\"\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n");
    assert_eq!(client.ask(&wire).status, 201);
    assert_eq!(client.ask(get("/kv/k?raw")).body, b"abcdefg");

    // Byte by byte, and with the next request right behind.
    for byte in wire.replace("abc", "xyz").bytes() {
        client.send([byte]);
    }
    client.send(get("/kv/k?raw"));
    assert_eq!(client.answer(false).status, 200);
    assert_eq!(client.answer(false).body, b"xyzdefg");

    let mut long = head.to_owned();
    for _ in 0..VALUE_BYTES_MAX / 10 {
        long.push_str("a\r\n0123456789\r\n");
    }
    assert_eq!(client.ask(format!("{long}0\r\n\r\n")).status, 200);
    assert_eq!(client.ask(get("/kv/k?raw")).body.len(), VALUE_BYTES_MAX);
    assert_eq!(
        refused(&server, format!("{long}1\r\nx\r\n0\r\n\r\n").as_bytes()),
        413
    );
    assert_eq!(refused(&server, format!("{head}ffffffffff\r\n").as_bytes()), 413);
}

#[test]
fn a_body_is_asked_for_only_where_it_will_be_read() {
    let server = Fixture::start();
    let mut client = server.connect();
    let head = |target: &str, fields: &str| {
        format!("PUT {target} HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\n{fields}\r\n")
    };
    assert_eq!(
        client.ask(head("/kv/k?upsert", "Content-Length: 3\r\n")).status,
        100
    );
    assert_eq!(client.ask("abc").status, 201);
    assert_eq!(
        client
            .ask(head("/kv/k?upsert", "Transfer-Encoding: chunked\r\n"))
            .status,
        100
    );
    assert_eq!(client.ask("1\r\nx\r\n0\r\n\r\n").status, 200);
    client.send(head("/kv/k?upsert", "Content-Length: 3\r\n") + "abc");
    assert_eq!(
        client.answer(false).status,
        200,
        "a body that is here is not asked for"
    );

    for (bytes, status) in [
        (head("/nothing", "Content-Length: 3\r\n"), 404),
        (head("/kv/k", "Content-Length: 10000000000\r\n"), 413),
        (
            head("/kv/k", "Content-Length: 3\r\nContent-Type: text/plain\r\n"),
            415,
        ),
        (
            "PUT /kv/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: a-wonder\r\n\r\n".into(),
            417,
        ),
    ] {
        assert_eq!(refused(&server, bytes.as_bytes()), status, "{bytes}");
    }
}

#[test]
fn a_length_is_needed_where_a_body_is_and_a_body_only_there() {
    let server = Fixture::start();
    let mut client = server.connect();
    for method in ["PUT /kv/k", "POST /kv/"] {
        let answer = client.ask(format!("{method} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(answer.status, 411, "{method}");
    }
    for method in ["GET", "DELETE", "HEAD"] {
        let answer = client.ask(request(method, "/kv/k", "Content-Length: 2\r\n", "ab"));
        assert_eq!(answer.status, 400, "{method}");
        let answer = client.ask(request(method, "/kv/k", "Content-Length: 0\r\n", ""));
        assert_eq!(answer.status, 404, "{method}: the body before was read over");
    }
}

#[test]
fn a_chunked_body_of_nothing_is_no_body() {
    let server = Fixture::start();
    let mut client = server.connect();
    let chunked = |method: &str, chunks: &str| {
        format!("{method} /kv/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
    };
    assert_eq!(client.ask(request("PUT", "/kv/k?upsert", "", "v")).status, 201);
    // As some proxies make one of every request; what stands behind it is answered.
    client.send(chunked("GET", "0\r\n\r\n") + &chunked("DELETE", "0\r\n\r\n") + &get("/healthz"));
    let statuses = [(); 3].map(|()| client.answer(false).status);
    assert_eq!(statuses, [200, 204, 200]);
    let mut in_pieces = server.connect();
    in_pieces.send(chunked("DELETE", "0\r\n"));
    in_pieces.send("\r\n");
    assert_eq!(in_pieces.answer(false).status, 404);
    for body in ["2\r\n{}\r\n0\r\n\r\n", "ffffffffffffffffff\r\n"] {
        assert_eq!(
            refused(&server, chunked("DELETE", body).as_bytes()),
            400,
            "{body}"
        );
    }
}

#[test]
fn a_body_is_not_asked_for_where_the_write_fails_whatever_it_is() {
    let server = Fixture::start();
    let mut client = server.connect();
    assert_eq!(client.ask(request("PUT", "/kv/k?upsert", "", "v")).status, 201);
    let ahead = |method: &str, target: &str, fields: &str| {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\
             Content-Type: application/json\r\n{fields}\r\n"
        )
    };
    for (method, target, fields, status) in [
        ("PUT", "/kv/none", "", 404),
        ("PUT", "/kv/none?upsert", "If-Match: *\r\n", 412),
        ("PUT", "/kv/k", "If-Match: \"1\"\r\n", 412),
        ("PATCH", "/kv/k", "If-Match: \"1\"\r\n", 412),
        ("PUT", "/kv/k?upsert", "If-None-Match: *\r\n", 412),
        ("PUT", "/kv/k", "If-Match: 1\r\n", 400),
        ("PUT", "/kv/k?upsrt", "", 400),
        ("POST", "/kv/k", "", 409),
        ("POST", "/kv/none", "If-Match: *\r\n", 412),
        ("POST", "/kv/none?upsert", "", 400),
    ] {
        let bytes = ahead(method, target, fields);
        assert_eq!(refused(&server, bytes.as_bytes()), status, "{bytes}");
    }
    for (method, target, fields) in [
        ("PUT", "/kv/k", "If-Match: *\r\n"),
        ("PUT", "/kv/new?upsert", "If-None-Match: *\r\n"),
        // An increment may have an initial value.
        ("PATCH", "/kv/none", ""),
        ("POST", "/kv/none", ""),
        ("POST", "/kv/none", "If-None-Match: *\r\n"),
    ] {
        let answer = server.connect().ask(ahead(method, target, fields));
        assert_eq!(answer.status, 100, "{target}");
    }
}

#[test]
fn every_answer_says_what_browsers_may_make_of_it() {
    let server = Fixture::start();
    let mut client = server.connect();
    assert_eq!(
        client.ask(request("PUT", "/kv/k?upsert", "", "<script>")).status,
        201
    );
    for (target, caching) in [
        ("/kv/", "no-store"),
        ("/kv/k", "no-store"),
        ("/kv/k?raw", "no-store"),
        ("/kv/none", "no-store"),
        ("/nothing", "no-store"),
        ("/watch?after=0", "no-store"),
        ("/status", "no-store"),
        ("/stats", "no-store"),
        ("/history", "no-store"),
        ("/metrics", "no-store"),
        ("/healthz", "no-store"),
        ("/replication/log", "no-store"),
        ("/", "no-cache"),
        ("/openapi.json", "no-cache"),
    ] {
        let answer = client.ask(get(target));
        assert_eq!(
            answer.header("X-Content-Type-Options"),
            Some("nosniff"),
            "{target}"
        );
        assert_eq!(
            answer.header("Cross-Origin-Resource-Policy"),
            Some("same-origin"),
            "{target}"
        );
        assert_eq!(answer.header("Cache-Control"), Some(caching), "{target}");
    }
    let deleted = client.ask(request("DELETE", "/kv/k", "", ""));
    assert_eq!(deleted.header("Cache-Control"), Some("no-store"));
}

#[test]
fn pages_of_other_sites_get_neither_backups_nor_the_log() {
    let server = Fixture::start();
    for target in ["/backup", "/replication/snapshot", "/replication/log?id=0"] {
        for fields in [
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Origin: http://evil\r\n",
        ] {
            let answer = server.connect().ask(request("GET", target, fields, ""));
            assert_eq!(answer.status, 403, "{target} {fields}");
        }
    }
    let mut client = server.connect();
    client.send(request("HEAD", "/backup", "Sec-Fetch-Site: same-origin\r\n", ""));
    assert_eq!(client.answer(true).status, 200);
    // What only reads a key moves nothing but recency, and the browser keeps the answer from the page.
    let read = request("GET", "/kv/k", "Sec-Fetch-Site: cross-site\r\n", "");
    assert_eq!(server.connect().ask(read).status, 404);
}

#[test]
fn json_of_any_depth_is_refused() {
    let server = Fixture::with(
        Limits {
            body_bytes_max: None,
            ..Limits::default()
        },
        None,
    );
    for (method, target, before) in [
        ("POST", "/kv/", "{\"key\":\"k\",\"value\":"),
        ("POST", "/batch", "{\"operations\":"),
        ("POST", "/batch", "{\"operations\":[{\"op\":"),
        ("PUT", "/kv/k", ""),
        ("POST", "/replication/hello", "{\"id\":"),
    ] {
        for (open, status) in [("[", [400, 422]), ("{\"a\":", [400, 422])] {
            let body = format!("{before}{}", open.repeat(300_000 / open.len()));
            let fields = "Content-Type: application/json\r\n";
            let answer = server.connect().ask(request(method, target, fields, &body));
            assert!(status.contains(&answer.status), "{method} {target}: {answer:?}");
        }
    }
    assert_eq!(server.connect().ask(get("/healthz")).status, 200);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_kept() {
    let server = Fixture::start();
    let line = |bytes: usize| format!("GET /kv/{}", "k".repeat(bytes));
    assert_eq!(
        refused(&server, (line(9000) + " HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
        414
    );
    assert_eq!(refused(&server, line(9000).as_bytes()), 414);
    let fields = |count: usize, bytes: usize| format!("X: {}\r\n", "x".repeat(bytes)).repeat(count);
    assert_eq!(
        refused(
            &server,
            request("GET", "/kv/k", &fields(1, 17_000), "").as_bytes()
        ),
        431
    );
    assert_eq!(
        refused(&server, request("GET", "/kv/k", &fields(20, 900), "").as_bytes()),
        431
    );
    assert_eq!(
        refused(&server, request("GET", "/kv/k", &fields(64, 1), "").as_bytes()),
        431
    );
    let mut client = server.connect();
    assert_eq!(
        client.ask(request("GET", "/healthz", &fields(63, 1), "")).status,
        200
    );
    assert_eq!(
        client
            .ask(request("GET", "/healthz", &fields(1, 15_000), ""))
            .status,
        200
    );

    // Sent on and on: the server stops reading, and the client learns why.
    let mut client = server.connect();
    client.send("GET /healthz HTTP/1.1\r\nHost: h\r\nX: ");
    for _ in 0..40 {
        if client.stream.write_all(&[b'x'; 100_000]).is_err() {
            break;
        }
    }
    assert_eq!(client.answer(false).status, 431);

    let announced = "PUT /kv/k HTTP/1.1\r\nHost: h\r\nContent-Length: 10737418240\r\n\r\n";
    assert_eq!(refused(&server, announced.as_bytes()), 413);
    let mut client = server.connect();
    client.send(announced);
    client.send(vec![0; 4_000_000]);
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.closes()), (413, true));
}

#[test]
fn bodies_in_flight_have_a_budget() {
    let limits = Limits {
        in_flight_bytes_max: 200_000,
        ..Limits::default()
    };
    let server = Fixture::with(limits, None);
    let put = request("PUT", "/kv/k?upsert", "", &"v".repeat(90_000));
    let await_budget = |is_used: bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = server.connect().ask(get("/metrics"));
            let line = metrics
                .text()
                .lines()
                .find_map(|line| line.strip_prefix("pykv_http_in_flight_bytes "));
            let used: f64 = line.expect("the gauge is there").parse().unwrap();
            if (used >= 90_000.0) == is_used {
                return;
            }
            assert!(Instant::now() < deadline, "{used} bytes are in flight");
        }
    };
    let mut held = server.connect();
    held.send(&put[..put.len() - 1]);
    await_budget(true);
    let answer = server.connect().ask(&put);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    held.send(&put[put.len() - 1..]);
    assert_eq!(held.answer(false).status, 201);
    await_budget(false);
    assert_eq!(server.connect().ask(&put).status, 200);
}

#[test]
fn a_client_that_stops_sending_is_still_answered() {
    let server = Fixture::start();
    let mut client = server.connect();
    client.send(get("/healthz"));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer(false).status, 200);
    assert!(client.is_closed());
}
