//! Requests that are HTTP but not right: each gets the status that says what is wrong with it, as a problem
//! (RFC 9457), and leaves nothing in the store or the log.
//!
//! 400 is for what cannot be read (JSON, percent-encoding, a query), 422 for JSON that is not what is asked.

#![allow(clippy::unwrap_used)]

mod common;

use common::client::{BYTES, JSON};
use common::{Server, cli};

/// The requests that must be refused, and nothing else happen.
#[test]
fn what_is_not_asked_right_is_refused_and_leaves_nothing() {
    let node = Server::start(&[]);
    let mut client = node.client();
    client.add("k", "old").expect(201);
    let offset = node.offset();
    let records = cli::log_records(node.dir()).len();

    let too_long = "k".repeat(1025);
    let json_cases: &[(&str, u16)] = &[
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
        (r#"{"key":"","value":"v"}"#, 422),
        (r#"{"key":5,"value":"v"}"#, 422),
        (r#"{"key":"n","value":5}"#, 422),
        (r#"{"key":"n","value":null}"#, 422),
        (r#"["n","v"]"#, 422),
        (r#""text""#, 422),
        ("null", 422),
        (r#"{"key":"n","value":"*","encoding":"base64"}"#, 422),
        (r#"{"key":"n","value":"v","encoding":"rot13"}"#, 422),
    ];
    for (body, status) in json_cases {
        let answer = node.client().request("POST", "/kv/", &JSON, body.as_bytes());
        println!("{body}");
        answer.expect_problem(*status);
    }
    let body = format!(r#"{{"key":"{too_long}","value":"v"}}"#);
    node.client()
        .request("POST", "/kv/", &JSON, body.as_bytes())
        .expect_problem(422);
    node.client()
        .request("POST", "/kv/", &JSON, b"{\"key\":\"n\",\"value\":\"\xff\"}")
        .expect_problem(400);

    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);
    let cases: &[Case<'_>] = &[
        ("PUT", "/kv/?upsert=true", &BYTES, "v", 405),
        ("PUT", "/kv/%ff?upsert=true", &BYTES, "v", 400),
        ("PUT", "/kv/%?upsert=true", &BYTES, "v", 400),
        ("PUT", "/kv/%4?upsert=true", &BYTES, "v", 400),
        ("PUT", "/kv/%zz?upsert=true", &BYTES, "v", 400),
        ("PUT", "/kv/k?upsert=maybe", &BYTES, "v", 400),
        ("PUT", "/kv/k?surprise=1", &BYTES, "v", 400),
        ("PUT", "/kv/k?upsert=true&upsert=true", &BYTES, "v", 400),
        ("PUT", "/kv/k", &[], "v", 415),
        ("PUT", "/kv/k", &[("Content-Type", "text/html")], "v", 415),
        ("PUT", "/kv/k", &JSON, r#"{"value":"v","key":"k"}"#, 422),
        ("PUT", "/kv/k", &JSON, r#"{"value":"v","surprise":1}"#, 422),
        ("PUT", "/kv/k", &JSON, r#"{"value":"v"} {}"#, 400),
        ("PUT", "/kv/k", &JSON, "{}", 422),
        ("PUT", "/kv/k", &[BYTES[0], ("If-Match", "unquoted")], "v", 400),
        (
            "PUT",
            "/kv/k",
            &[BYTES[0], ("Content-Encoding", "gzip")],
            "v",
            415,
        ),
        (
            "POST",
            "/kv/",
            &[("Content-Type", "text/plain")],
            r#"{"key":"n","value":"v"}"#,
            415,
        ),
        ("POST", "/kv/k", &JSON, r#"{"key":"n","value":"v"}"#, 405),
        ("PATCH", "/kv/k", &JSON, r#"{"value":"v"}"#, 405),
        ("DELETE", "/stats", &[], "", 405),
        ("POST", "/nowhere", &JSON, r#"{"key":"n","value":"v"}"#, 404),
        ("GET", "/nowhere", &[], "", 404),
        ("GET", "/kv/%ff", &[], "", 400),
        ("GET", "/kv/k?surprise", &[], "", 400),
        ("DELETE", "/kv/%C3", &[], "", 400),
    ];
    for (method, target, headers, body, status) in cases {
        println!("{method} {target} {headers:?} {body}");
        let answer = node.client().request(method, target, headers, body.as_bytes());
        answer.expect_problem(*status);
        assert_eq!(
            answer.header("Allow").is_some(),
            *status == 405,
            "RFC 9110, 15.5.6: {answer:?}"
        );
    }
    let answer = node.client().put(&format!("/kv/{too_long}?upsert=true"), b"v");
    assert!([400, 414, 422].contains(&answer.status), "{answer:?}");
    answer.expect_problem(answer.status);

    assert_eq!(node.offset(), offset, "nothing is logged");
    assert_eq!(cli::log_records(node.dir()).len(), records);
    assert_eq!(node.get("/kv/k?raw").body, b"old");
    assert_eq!(node.get("/stats").body_json()["entries"], 1);
}

#[test]
fn a_405_allows_what_works() {
    let node = Server::start(&[]);
    for (target, methods) in [
        ("/kv/k", &["GET", "HEAD", "PUT", "DELETE"][..]),
        ("/kv/", &["GET", "POST"]),
        ("/stats", &["GET"]),
    ] {
        let answer = node.client().request("PATCH", target, &[], b"");
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
