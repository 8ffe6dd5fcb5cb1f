//! The page on the wire: its files, what their headers allow, and what pages of other sites may not do.

use crate::common::client::{BYTES, JSON, encode};
use crate::common::{Response, Server, eventually, node::Setup, pykv};
use serde_json::json;

/// What the page and its files name as theirs: `page/…` in the HTML, `./…` in a module.
fn files(node: &Server) -> Vec<(String, Response)> {
    let page = node.get("/").expect(200);
    let text = String::from_utf8(page.body.clone()).unwrap();
    let mut paths: Vec<String> = text
        .split("=\"page/")
        .skip(1)
        .map(|rest| format!("/page/{}", rest.split('"').next().unwrap()))
        .collect();
    paths.sort();
    paths.dedup();
    let mut found = vec![("/".to_owned(), page)];
    found.extend(paths.into_iter().map(|path| {
        let file = node.get(&path).expect(200);
        (path, file)
    }));
    found
}

#[test]
fn the_page_is_served_without_a_token_and_lets_nothing_of_others_in() {
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), "admin secret\n").unwrap();
    let node = Setup::new(&["--token-file", tokens.path().to_str().unwrap()]).start();
    node.get("/status").expect_problem(401);
    let files = files(&node);
    assert!(files.len() > 5, "{files:?}");
    let mut bytes = 0;
    for (path, file) in &files {
        bytes += file.body.len();
        let policy = file.header("Content-Security-Policy").unwrap();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(
                policy.split("; ").any(|other| other == directive),
                "{path}: {policy}"
            );
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{path}: {policy}"
        );
        assert_eq!(file.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
        assert_eq!(file.header("Referrer-Policy"), Some("no-referrer"), "{path}");
        assert_eq!(file.header("Cache-Control"), Some("no-cache"), "{path}");
        let media = match path.rsplit_once('.').map_or("", |(_, end)| end) {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(file.header("Content-Type"), Some(media), "{path}");
    }
    // Without what one pays for headers, and before anything is compressed.
    assert!(bytes < 220_000, "the page weighs {bytes} bytes");
}

#[test]
fn the_page_is_compressed_for_those_who_take_that() {
    let node = Server::start(&[]);
    let mut bytes = 0;
    for (path, file) in files(&node) {
        assert_eq!(file.header("Content-Encoding"), None, "{path}");
        let gzip = [("Accept-Encoding", "gzip, deflate, br")];
        let small = node.client().request("GET", &path, &gzip, b"").expect(200);
        assert_eq!(small.header("Content-Encoding"), Some("gzip"), "{path}");
        assert_eq!(small.header("Vary"), Some("Accept-Encoding"), "{path}");
        assert_ne!(small.header("ETag"), file.header("ETag"), "{path}");
        assert!(
            small.body.starts_with(b"\x1f\x8b") && small.body.len() < file.body.len(),
            "{path}"
        );
        bytes += small.body.len();
    }
    assert!(bytes < 70_000, "the page weighs {bytes} bytes in gzip");
}

#[test]
fn a_page_that_is_known_is_not_sent_again() {
    let node = Server::start(&[]);
    for (path, file) in files(&node) {
        let tag = file.header("ETag").unwrap();
        // No client is to take it for the version of a key.
        assert!(tag.starts_with("\"page-"), "{path}: {tag}");
        let again = node
            .client()
            .request("GET", &path, &[("If-None-Match", tag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("ETag"), Some(tag), "{path}");
        let other = node
            .client()
            .request("GET", &path, &[("If-None-Match", "\"1\"")], b"");
        assert_eq!((other.status, other.body.len()), (200, file.body.len()), "{path}");
        let head = node.client().request("HEAD", &path, &[], b"").expect(200);
        let length = file.body.len().to_string();
        assert_eq!(head.header("Content-Length"), Some(&*length), "{path}");
    }
    node.get("/?x=1").expect_problem(400);
    node.get("/page/").expect_problem(404);
    node.get("/page/../page/app.js").expect_problem(404);
    let answer = node.client().request("POST", "/", &JSON, b"{}");
    answer.expect_problem(405);
    assert_eq!(answer.header("Allow"), Some("GET, HEAD"));
}

/// Method, target, headers and body.
type Write<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);

/// Everything that changes something, as a page of another site could have a browser send it.
#[test]
fn pages_of_other_sites_write_nothing() {
    let node = Server::start(&[]);
    node.client().add("k", "old").expect(201);
    let offset = node.offset();
    let own = node.url();
    let batch = json!({"operations": [{"op": "delete", "key": "k"}]}).to_string();
    let writes: [Write<'_>; 8] = [
        ("POST", "/kv/", &JSON, br#"{"key":"new","value":"v"}"#),
        ("PUT", "/kv/k", &BYTES, b"v"),
        // A body as a form or a script may send it without asking.
        ("PUT", "/kv/k", &[("Content-Type", "text/plain")], b"v"),
        ("PATCH", "/kv/k", &JSON, br#"{"ttl":1}"#),
        ("DELETE", "/kv/k", &[], b""),
        ("DELETE", "/kv/?prefix=", &[], b""),
        ("POST", "/batch", &JSON, batch.as_bytes()),
        ("POST", "/compact", &[], b""),
    ];
    let foreign: [&[(&str, &str)]; 6] = [
        &[("Origin", "http://evil.example")],
        &[("Origin", "http://127.0.0.1:1")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        // Another port of the same machine is another program, and may be anybody's.
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
    ];
    for (method, target, headers, body) in writes {
        for marks in foreign {
            let headers = [headers, marks].concat();
            let answer = node.client().request(method, target, &headers, body);
            answer.expect_problem(403);
            let kind = answer.body_json()["type"].clone();
            assert_eq!(kind, "urn:pykv:problem:cross-site", "{method} {target} {marks:?}");
        }
    }
    // What a browser asks before it sends anything else than the simple forms gets no leave.
    let asked = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    let answer = node.client().request("OPTIONS", "/kv/k", &asked, b"");
    assert!(!answer.is_success(), "{answer:?}");
    for (name, _) in &answer.headers {
        assert!(
            !name.to_ascii_lowercase().starts_with("access-control"),
            "{answer:?}"
        );
    }
    assert_eq!(node.offset(), offset, "nothing is logged");
    assert_eq!(node.get("/kv/k?raw").body, b"old");
    assert!(
        node.get("/status").body_json()["compaction"]
            .get("running")
            .is_none()
    );
}

/// The page itself, and programs, which send no such headers.
#[test]
fn the_page_and_programs_write() {
    let node = Server::start(&[]);
    let host = node.address().to_string();
    let own = node.url();
    let marks: [&[(&str, &str)]; 5] = [
        &[],
        &[("Origin", &own)],
        &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        // A proxy that speaks TLS and gives itself another name: the browser knows better.
        &[
            ("Origin", "https://kv.example"),
            ("Sec-Fetch-Site", "same-origin"),
        ],
    ];
    for marks in marks {
        let headers = [&BYTES[..], marks].concat();
        let request = encode("PUT", "/kv/k?upsert=true", &headers, b"v");
        let request = String::from_utf8(request)
            .unwrap()
            .replace("Host: pykv", &format!("Host: {host}"));
        let mut client = node.client();
        client.send(request.as_bytes()).unwrap();
        let answer = client.response(false).unwrap();
        assert!(answer.is_success(), "{marks:?}: {answer:?}");
    }
}

fn get_as(node: &Server, host: &str) -> Response {
    let mut client = node.client();
    let request = format!("GET /kv/?limit=1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.send(request.as_bytes()).unwrap();
    client.response(false).unwrap()
}

#[test]
fn a_name_that_was_made_to_lead_here_leads_nowhere() {
    let node = Server::start(&[]);
    let port = node.address().port();
    for name in ["127.0.0.1", "localhost", "[::1]", "pykv"] {
        get_as(&node, &format!("{name}:{port}")).expect(200);
    }
    for name in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
        get_as(&node, &format!("{name}:{port}")).expect_problem(421);
    }
    let node = Server::start(&["--host-name", "kv.example.org", "--host-name", "other.example"]);
    get_as(&node, "kv.example.org").expect(200);
    get_as(&node, "OTHER.example:80").expect(200);
    get_as(&node, "evil.example").expect_problem(421);
    // Where a token is asked for, a page that came by another name has none.
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), "admin secret\n").unwrap();
    let node = Setup::new(&["--token-file", tokens.path().to_str().unwrap()]).start();
    get_as(&node, "evil.example").expect_problem(401);
}

#[test]
fn a_host_name_is_a_name() {
    for wrong in ["http://kv.example", "kv.example:80", "", "a b", "*"] {
        let output = pykv(&["serve", "--listen", "127.0.0.1:0", "--host-name", wrong]).run();
        assert_eq!(output.code, Some(2), "{wrong:?}: {output:?}");
        assert!(output.stderr.contains("host-name"), "{output:?}");
    }
}

#[test]
fn the_last_hour_is_kept() {
    let node = Server::start(&[]);
    let samples = |after: &str| -> serde_json::Value {
        let answer = node.get(&format!("/history{after}")).expect(200).body_json();
        assert_eq!(answer["interval_ms"], 5000);
        answer["samples"].clone()
    };
    assert_eq!(samples("")["at_ms"], json!([]), "rates are of two moments");
    // What comes before the first of two moments is in no rate.
    let mut one = json!(null);
    eventually("there is a sample of a write and a read", || {
        node.client().put("/kv/k?upsert=true", b"v");
        node.get("/kv/k").expect(200);
        let latest = samples("");
        let moments = latest["at_ms"].as_array().unwrap().len();
        let counts = |field: &str| latest[field][moments - 1].as_f64().unwrap() > 0.0;
        let is_there = moments > 0 && counts("gets") && counts("puts");
        if is_there {
            let fields = latest.as_object().unwrap().iter();
            one = fields
                .map(|(name, values)| (name.clone(), json!([values[moments - 1]])))
                .collect();
        }
        is_there
    });
    assert_eq!(one["hit_ratio"][0], 1.0);
    assert_eq!(one["entries"][0], 1);
    assert!(one["log_bytes"][0].as_u64().unwrap() > 0, "{one}");
    assert_eq!(one["lag_bytes"][0], serde_json::Value::Null);
    let after = format!("?after={}", one["at_ms"][0]);
    eventually("there is another", || {
        samples(&after)["at_ms"].as_array().unwrap().len() == 1
    });
    node.get("/history?after=now").expect_problem(400);
    node.client()
        .request("POST", "/history", &[], b"")
        .expect_problem(405);
}
