//! Pages of other origins that may use a node: `--allow-origin`.

use crate::common::{Response, Server, node::Setup, pykv};
use std::fs;

const APP: &str = "https://app.example.org";
const TOKEN: &str = "Bearer the-applications-token";

/// A request as a browser sends it for a page of another site.
fn ask(
    node: &Server,
    method: &str,
    target: &str,
    origin: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut headers = vec![
        ("Origin", origin),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "cors"),
    ];
    headers.extend(more);
    node.client().request(method, target, &headers, body)
}

/// Whether an answer has a field with this among the words between its commas.
fn lists(answer: &Response, name: &str, word: &str) -> bool {
    let value = answer.header(name).unwrap_or_default();
    value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word))
}

#[test]
fn a_page_of_an_allowed_origin_reads_and_writes_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "write the-applications-token\nadmin the-admins-token\n").unwrap();
    let tokens = path.to_str().unwrap();
    let node = Setup::new(&[
        "--allow-origin",
        APP,
        "--allow-origin",
        "HTTP://localhost:3000",
        "--token-file",
        tokens,
    ])
    .start();
    // Fetch, 4.8: a preflight shows no token, and its answer has a status of success.
    let asks = [
        ("Access-Control-Request-Method", "PUT"),
        (
            "Access-Control-Request-Headers",
            "authorization,content-type,if-match",
        ),
    ];
    let answer = ask(&node, "OPTIONS", "/kv/a", APP, &asks, b"");
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(APP));
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert!(
            lists(&answer, "Access-Control-Allow-Methods", method),
            "{answer:?}"
        );
    }
    for field in [
        "Authorization",
        "Content-Type",
        "If-Match",
        "If-None-Match",
        "Pykv-Min-Offset",
        "Pykv-Sync-Replicas",
    ] {
        assert!(
            lists(&answer, "Access-Control-Allow-Headers", field),
            "{field}: {answer:?}"
        );
    }
    assert!(lists(&answer, "Vary", "Origin"));
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);

    let with_token = [
        ("Authorization", TOKEN),
        ("Content-Type", "application/octet-stream"),
    ];
    let put = ask(&node, "PUT", "/kv/a?upsert=true", APP, &with_token, b"v");
    assert!(put.is_success(), "{put:?}");
    assert_eq!(put.header("Access-Control-Allow-Origin"), Some(APP));
    for field in ["ETag", "Pykv-Offset", "Pykv-Durable", "Retry-After"] {
        assert!(
            lists(&put, "Access-Control-Expose-Headers", field),
            "{field}: {put:?}"
        );
    }
    let local = "http://localhost:3000";
    for target in ["/kv/a", "/kv/", "/watch?wait=0", "/status", "/kv/?values=true"] {
        let got = ask(&node, "GET", target, local, &with_token[..1], b"");
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.header("Access-Control-Allow-Origin"), Some(local), "{target}");
    }
    // What is refused can be read too: the page is to say why.
    let refused = ask(&node, "GET", "/kv/a", APP, &[], b"");
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(refused.header("Access-Control-Allow-Origin"), Some(APP));
    assert_eq!(ask(&node, "OPTIONS", "/nope", APP, &asks, b"").status, 404);
}

/// Whether a refusal names the flag that whoever writes the page needs.
fn says_how(refused: &Response) -> bool {
    let detail = refused.body_json()["detail"].as_str().unwrap().to_owned();
    detail.contains("--allow-origin")
}

#[test]
fn administration_and_other_origins_stay_refused() {
    let node = Setup::new(&["--allow-origin", APP]).start();
    for (method, target) in [
        ("GET", "/backup"),
        ("GET", "/replication/log"),
        ("GET", "/replication/snapshot"),
        ("POST", "/replication/hello"),
        ("POST", "/replication/handover"),
        ("POST", "/compact"),
        ("POST", "/promote"),
        ("POST", "/switchover"),
        ("POST", "/failover?to=h:1&accept_loss=true"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/replication/election"),
        ("POST", "/forget?node=h:1"),
        ("OPTIONS", "/compact"),
        ("OPTIONS", "/backup"),
    ] {
        let answer = ask(&node, method, target, APP, &[], b"");
        assert_eq!(answer.status, 403, "{method} {target}: {answer:?}");
        assert!(!says_how(&answer), "{method} {target}: {answer:?}");
    }
    for origin in [
        "https://evil.example",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://app.example.org.evil.example",
        "null",
        "",
    ] {
        for method in ["PUT", "OPTIONS", "DELETE"] {
            let answer = ask(
                &node,
                method,
                "/kv/a",
                origin,
                &[("Content-Type", "application/octet-stream")],
                b"",
            );
            assert_eq!(answer.status, 403, "{method} {origin}: {answer:?}");
            assert!(says_how(&answer), "{method} {origin}: {answer:?}");
            assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{origin}");
        }
        let got = ask(&node, "GET", "/kv/a", origin, &[], b"");
        assert_eq!(got.header("Access-Control-Allow-Origin"), None, "{origin}");
        // A cache must not give the answer to one origin to another.
        assert!(lists(&got, "Vary", "Origin"), "{got:?}");
    }
}

#[test]
fn without_the_flag_all_stays_as_it_was() {
    let node = Setup::new(&[]).start();
    // As a browser of before Sec-Fetch-Site asks.
    let preflight = [("Origin", APP), ("Access-Control-Request-Method", "PUT")];
    let refused = node.client().request("OPTIONS", "/kv/a", &preflight, b"");
    assert!(refused.status == 403 && says_how(&refused), "{refused:?}");
    for (method, status) in [("PUT", 403), ("OPTIONS", 403), ("GET", 404)] {
        let answer = ask(&node, method, "/kv/a", APP, &[], b"");
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(says_how(&answer), status == 403, "{answer:?}");
        for field in [
            "Access-Control-Allow-Origin",
            "Access-Control-Expose-Headers",
            "Vary",
        ] {
            assert_eq!(answer.header(field), None, "{answer:?}");
        }
    }
    let wrong = [
        "*",
        "null",
        "app.example.org",
        "https://",
        "https://a/b",
        "https://a?b",
        "ftp://a",
        "https://u@a",
    ];
    for origin in wrong {
        pykv(&["serve", "--allow-origin", origin, "--dir", "/nonexistent/data"]).expect(2);
    }
}
