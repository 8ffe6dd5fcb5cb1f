//! Who may do what: `--token-file`, its scopes, and the rule of loopback.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Response, Server, node::Setup, pykv};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const TOKENS: &str = "read reader-token\nwrite writer-token\nadmin admin-token\n";

fn token_file(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, text).unwrap();
    // A token file that others may read would rightly be refused.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&path, mode).unwrap();
    (dir, path)
}

fn request(node: &Server, method: &str, target: &str, authorization: Option<&str>) -> Response {
    let mut headers = vec![("Content-Type", "application/octet-stream")];
    headers.extend(authorization.map(|value| ("Authorization", value)));
    let body: &[u8] = if method == "PUT" { b"v" } else { b"" };
    node.client().request(method, target, &headers, body)
}

#[test]
fn without_a_token_only_health_is_told() {
    let (_dir, path) = token_file(TOKENS);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    for (method, target) in [
        ("GET", "/kv/k"),
        ("HEAD", "/kv/k"),
        ("PUT", "/kv/k?upsert=true"),
        ("DELETE", "/kv/k"),
        ("GET", "/kv/"),
        ("GET", "/stats"),
        ("GET", "/status"),
    ] {
        for wrong in [
            None,
            Some("Bearer nonsense"),
            Some("Bearer reader-toke"),
            Some("Bearer reader-token2"),
            Some("Bearer "),
            Some("Basic cmVhZGVyLXRva2Vu"),
            Some("reader-token"),
        ] {
            let answer = request(&node, method, target, wrong);
            assert_eq!(answer.status, 401, "{method} {target} {wrong:?}: {answer:?}");
            if method != "HEAD" {
                answer.expect_problem(401);
            }
            // RFC 9110, 15.5.2: a 401 says how to come in.
            assert!(
                answer
                    .header("WWW-Authenticate")
                    .is_some_and(|value| value.starts_with("Bearer"))
            );
        }
    }
    request(&node, "GET", "/healthz", None).expect(200);
    request(&node, "GET", "/readyz", None).expect(200);
    // A token never comes from a query.
    assert_ne!(
        request(&node, "GET", "/stats?token=reader-token", None).status,
        200
    );
}

#[test]
fn a_token_does_what_its_scope_allows() {
    let (_dir, path) = token_file(TOKENS);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    for token in ["Bearer writer-token", "Bearer admin-token", "bearer writer-token"] {
        // RFC 9110, 11.1: the scheme's name has no case.
        let answer = request(&node, "PUT", "/kv/k?upsert=true", Some(token));
        assert!(answer.is_success(), "{token}: {answer:?}");
        request(&node, "GET", "/kv/k", Some(token)).expect(200);
    }
    let reader = Some("Bearer reader-token");
    request(&node, "GET", "/kv/k", reader).expect(200);
    request(&node, "GET", "/kv/", reader).expect(200);
    request(&node, "GET", "/stats", reader).expect(200);
    request(&node, "PUT", "/kv/k", reader).expect_problem(403);
    request(&node, "DELETE", "/kv/k", reader).expect_problem(403);
    request(&node, "DELETE", "/kv/k", Some("Bearer writer-token")).expect(204);
}

#[test]
fn the_command_line_takes_its_token_from_a_file_or_the_environment() {
    let (dir, path) = token_file(TOKENS);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    pykv(&["set", "k", "v"]).at(&node).expect(5);
    pykv(&["set", "k", "v"])
        .at(&node)
        .env("PYKV_TOKEN", "reader-token")
        .expect(5);
    pykv(&["set", "k", "v"])
        .at(&node)
        .env("PYKV_TOKEN", "writer-token")
        .succeed();
    let one = dir.path().join("token");
    fs::write(&one, "reader-token\n").unwrap();
    let value = pykv(&["get", "k"])
        .at(&node)
        .env("PYKV_TOKEN_FILE", one.to_str().unwrap())
        .succeed();
    assert_eq!(value, b"v");
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let dir = TempDir::new().unwrap();
    let serve = pykv(&["serve", "--listen", "0.0.0.0:0"])
        .dir(&dir.path().join("data"))
        .run();
    assert!(!matches!(serve.code, None | Some(0)), "{serve:?}");
    assert!(
        serve.stderr.contains("--token-file") && serve.stderr.contains("--insecure"),
        "{serve:?}"
    );
    assert_eq!(serve.stdout, b"");
}

#[test]
fn a_token_file_that_says_nothing_protects_nothing() {
    for text in ["", "\n\n", "read\n", "everything token\n"] {
        let (dir, path) = token_file(text);
        let data = dir.path().join("data");
        let serve = pykv(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--token-file",
            path.to_str().unwrap(),
        ])
        .dir(&data)
        .run();
        assert!(!matches!(serve.code, None | Some(0)), "{text:?}: {serve:?}");
        assert_eq!(serve.stdout, b"", "{text:?}");
    }
    let (dir, path) = token_file("");
    fs::remove_file(&path).unwrap();
    let serve = pykv(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--token-file",
        path.to_str().unwrap(),
    ])
    .dir(&dir.path().join("data"))
    .run();
    assert!(serve.stderr.contains(path.to_str().unwrap()), "{serve:?}");
    assert!(!matches!(serve.code, None | Some(0)), "{serve:?}");
}
