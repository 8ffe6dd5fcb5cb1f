//! Requests that are HTTP but not right: each gets the status that says what is wrong with it, as a problem
//! (RFC 9457), and leaves nothing in the store or the log.
//!
//! 400 is for what cannot be read (JSON, percent-encoding, a query), 422 for JSON that is not what is asked.

use crate::common::client::{BYTES, JSON};
use crate::common::{Server, cli};

/// A node with one key, and what tells whether a request has changed anything.
struct Untouched {
    node: Server,
    offset: u64,
    records: usize,
    wrong: Vec<String>,
}

/// Method, target, headers, body.
type Request<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);

impl Untouched {
    fn new() -> Untouched {
        let node = Server::start(&[]);
        node.client().add("k", "old").expect(201);
        Untouched {
            offset: node.offset(),
            records: cli::log_records(node.dir()).len(),
            wrong: Vec::new(),
            node,
        }
    }

    /// Sends a request that must be refused with one of these statuses; what is not so is told at the end.
    fn refuses(&mut self, request: Request<'_>, statuses: &[u16]) {
        let (method, target, headers, body) = request;
        let answer = self.node.client().request(method, target, headers, body);
        if statuses.contains(&answer.status) {
            answer.expect_problem(answer.status);
            // RFC 9110, 15.5.6: a 405 has one, and nothing else needs it.
            assert_eq!(
                answer.header("Allow").is_some(),
                answer.status == 405,
                "{answer:?}"
            );
        } else {
            let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
            let shown_target = &target[..target.len().min(100)];
            self.wrong.push(format!(
                "{method} {shown_target} {headers:?} {shown}: not {statuses:?} but {answer:?}"
            ));
        }
    }

    #[track_caller]
    fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert_eq!(self.node.offset(), self.offset, "nothing is logged");
        assert_eq!(cli::log_records(self.node.dir()).len(), self.records);
        assert_eq!(self.node.get("/kv/k?raw").body, b"old");
        assert_eq!(self.node.get("/stats").body_json()["entries"], 1);
    }
}

#[test]
fn bodies_that_are_not_what_is_asked() {
    let mut node = Untouched::new();
    let cases: &[(&str, u16)] = &[
        ("", 400),
        ("{", 400),
        ("nonsense", 400),
        (r#"{"key":"n","value":"v"}x"#, 400),
        (r#"{"key":"n","value":"v"}{"key":"n","value":"v"}"#, 400),
        (r#"{"key":"n","value":"\ud800"}"#, 400),
        (r#"{"key":"n","value":"v","value":"w"}"#, 422),
        (r#"{"key":"n","key":"m","value":"w"}"#, 422),
        (r#"{"key":"n","value":"v","surprise":1}"#, 422),
        (r#"{"key":"n"}"#, 422),
        (r#"{"value":"v"}"#, 422),
        (r#"{"key":5,"value":"v"}"#, 422),
        (r#"{"key":"n","value":5}"#, 422),
        (r#"{"key":"n","value":null}"#, 422),
        (r#"["n","v"]"#, 422),
        (r#""text""#, 422),
        ("null", 422),
        (r#"{"key":"n","value":"*","encoding":"base64"}"#, 422),
        (r#"{"key":"n","value":"v","encoding":"rot13"}"#, 422),
    ];
    for (body, status) in cases {
        node.refuses(("POST", "/kv/", &JSON, body.as_bytes()), &[*status]);
    }
    let not_utf8 = b"{\"key\":\"n\",\"value\":\"\xff\"}";
    node.refuses(("POST", "/kv/", &JSON, not_utf8), &[400]);
    let cases: &[(&str, u16)] = &[
        (r#"{"value":"v","key":"k"}"#, 422),
        (r#"{"value":"v","surprise":1}"#, 422),
        (r#"{"value":"v"} {}"#, 400),
        ("{}", 422),
    ];
    for (body, status) in cases {
        node.refuses(("PUT", "/kv/k", &JSON, body.as_bytes()), &[*status]);
    }
    node.end();
}

/// Whether a string that is no key is malformed or not what is asked, the description leaves open.
#[test]
fn keys_that_are_none() {
    let mut node = Untouched::new();
    for bytes in [0, 1025, 5000] {
        let key = "k".repeat(bytes);
        let body = format!(r#"{{"key":"{key}","value":"v"}}"#);
        node.refuses(("POST", "/kv/", &JSON, body.as_bytes()), &[400, 422]);
        if bytes > 0 {
            let target = format!("/kv/{key}?upsert=true");
            node.refuses(("PUT", &target, &BYTES, b"v"), &[400, 414, 422]);
            node.refuses(("GET", &format!("/kv/{key}"), &[], b""), &[400, 414, 422]);
        }
    }
    // Characters of three bytes: it is bytes that are counted.
    let body = format!(r#"{{"key":"{}","value":"v"}}"#, "€".repeat(342));
    node.refuses(("POST", "/kv/", &JSON, body.as_bytes()), &[400, 422]);
    for target in [
        "/kv/%ff",
        "/kv/%",
        "/kv/%4",
        "/kv/%zz",
        "/kv/%C3",
        "/kv/a%ed%a0%80",
    ] {
        node.refuses(("PUT", &format!("{target}?upsert=true"), &BYTES, b"v"), &[400]);
        node.refuses(("GET", target, &[], b""), &[400]);
        node.refuses(("DELETE", target, &[], b""), &[400]);
    }
    node.end();
}

#[test]
fn requests_that_are_not_what_is_asked() {
    let mut node = Untouched::new();
    let cases: &[(Request<'_>, u16)] = &[
        (("PUT", "/kv/?upsert=true", &BYTES, b"v"), 405),
        (("PUT", "/kv/k?upsert=maybe", &BYTES, b"v"), 400),
        (("PUT", "/kv/k?surprise=1", &BYTES, b"v"), 400),
        (("PUT", "/kv/k?upsert=true&upsert=true", &BYTES, b"v"), 400),
        (("PUT", "/kv/k", &[("Content-Type", "text/html")], b"v"), 415),
        (
            ("PUT", "/kv/k", &[BYTES[0], ("Content-Encoding", "gzip")], b"v"),
            415,
        ),
        (("PUT", "/kv/k", &[BYTES[0], ("If-Match", "unquoted")], b"v"), 400),
        // A resumed upload, as `curl -C` sends one.
        (
            (
                "PUT",
                "/kv/k?upsert=true",
                &[BYTES[0], ("Content-Range", "bytes 7-9/10")],
                b"789",
            ),
            400,
        ),
        (
            (
                "POST",
                "/kv/",
                &[("Content-Type", "text/plain")],
                br#"{"key":"n","value":"v"}"#,
            ),
            415,
        ),
        (("POST", "/kv/k", &JSON, br#"{"key":"n","value":"v"}"#), 422),
        (("PATCH", "/kv/k", &JSON, br#"{"value":"v"}"#), 422),
        (("PATCH", "/kv/", &JSON, br#"{"ttl":1}"#), 405),
        (("DELETE", "/stats", &[], b""), 405),
        (("POST", "/nowhere", &JSON, br#"{"key":"n","value":"v"}"#), 404),
        (("GET", "/nowhere", &[], b""), 404),
        (("GET", "/kv/k?surprise", &[], b""), 400),
    ];
    for (request, status) in cases {
        node.refuses(*request, &[*status]);
    }
    node.end();
}

#[test]
fn a_405_allows_what_works() {
    let node = Server::start(&[]);
    for (target, methods) in [
        ("/kv/k", &["GET", "HEAD", "PUT", "PATCH", "DELETE"][..]),
        ("/kv/", &["GET", "POST", "DELETE"]),
        ("/stats", &["GET"]),
    ] {
        let answer = node.client().request("OPTIONS", target, &[], b"");
        answer.expect_problem(405);
        let allow = answer.header("Allow").unwrap();
        for method in methods {
            assert!(
                allow.split(',').any(|allowed| allowed.trim() == *method),
                "{target}: {allow}"
            );
        }
    }
}
