//! Who may do what: `--token-file`, its scopes, and the rule of loopback.

use crate::common::{Response, Server, eventually, node::Setup, pykv};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
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

/// A request of the table below.
struct Row {
    method: &'static str,
    /// The path as the description of the API has it.
    path: &'static str,
    /// What is asked for, where that is not the path itself.
    target: &'static str,
    body: Option<(&'static str, &'static str)>,
    /// Without a token, with a wrong one, with one that may read, write, administer.
    statuses: [u16; 5],
    /// With one that may write what begins with `k`, and one that may write what begins with `zz`.
    scoped: [u16; 2],
}

const OPEN: [u16; 5] = [200; 5];
const READS: [u16; 5] = [401, 401, 200, 200, 200];

/// What a writer gets that may do it, and an administrator too.
const fn writes(status: u16) -> [u16; 5] {
    [401, 401, 403, status, status]
}

/// What an administrator gets.
const fn rules(status: u16) -> [u16; 5] {
    [401, 401, 403, 403, status]
}

const fn row(method: &'static str, path: &'static str, statuses: [u16; 5]) -> Row {
    Row {
        // As one that may write, where no key is named.
        scoped: [statuses[3]; 2],
        method,
        path,
        target: path,
        body: None,
        statuses,
    }
}

impl Row {
    const fn at(mut self, target: &'static str) -> Row {
        self.target = target;
        self
    }

    /// It is about the key `k`, or all that begin so: who may use other keys alone does not get there.
    const fn of_k(mut self) -> Row {
        self.scoped[1] = 403;
        self
    }

    /// It is about keys that begin with `zz`.
    const fn only_of_zz(mut self) -> Row {
        self.scoped[0] = 403;
        self
    }

    /// It is about keys that neither of the two may use all of.
    const fn of_neither(mut self) -> Row {
        self.scoped = [403; 2];
        self
    }

    const fn json(mut self, body: &'static str) -> Row {
        self.body = Some(("application/json", body));
        self
    }
}

/// All routes of a primary that has the key `k`, each by every method that it takes but HEAD, which is as GET.
const TABLE: [Row; 43] = [
    row("GET", "/", OPEN),
    row("GET", "/page/{file}", OPEN).at("/page/app.js"),
    row("GET", "/docs", OPEN),
    row("GET", "/openapi.json", OPEN),
    row("GET", "/healthz", OPEN),
    row("GET", "/readyz", OPEN),
    row("GET", "/primary", OPEN),
    row("GET", "/replica", [503; 5]),
    row("GET", "/leader", OPEN),
    row("GET", "/liveness", OPEN),
    // This node was started without etcd.
    row("GET", "/cluster", [401, 401, 409, 409, 409]),
    row("GET", "/status", READS),
    row("GET", "/stats", READS),
    row("GET", "/history", READS),
    row("GET", "/metrics", READS),
    row("GET", "/slow", READS),
    row("GET", "/nodes", READS),
    row("GET", "/diverged", rules(200)),
    row("GET", "/watch", READS).at("/watch?wait=0"),
    row("GET", "/kv/", READS),
    row("GET", "/kv/", READS)
        .at("/kv/?values=true&prefix=z")
        .of_neither(),
    row("POST", "/kv/", writes(409))
        .json(r#"{"key":"k","value":"v"}"#)
        .of_k(),
    row("DELETE", "/kv/", writes(400)),
    row("DELETE", "/kv/", writes(200))
        .at("/kv/?prefix=zzz")
        .only_of_zz(),
    row("GET", "/kv/{key}", READS).at("/kv/k").of_k(),
    row("PUT", "/kv/{key}", writes(200))
        .at("/kv/k")
        .json(r#"{"value":"v"}"#)
        .of_k(),
    row("POST", "/kv/{key}", writes(409))
        .at("/kv/k")
        .json(r#"{"value":"v"}"#)
        .of_k(),
    row("PATCH", "/kv/{key}", writes(200))
        .at("/kv/k")
        .json(r#"{"ttl":null}"#)
        .of_k(),
    row("DELETE", "/kv/{key}", writes(204)).at("/kv/k").of_k(),
    row("POST", "/batch", writes(200))
        .json(r#"{"operations":[{"op":"get","key":"k"}]}"#)
        .of_k(),
    row("POST", "/compact", rules(202)),
    row("GET", "/backup", rules(200)),
    row("POST", "/promote", rules(409)),
    row("POST", "/forget", rules(404)).at("/forget?node=h:1"),
    row("POST", "/switchover", rules(409)),
    row("POST", "/failover", rules(409)).at("/failover?to=h:1&accept_loss=true"),
    row("POST", "/pause", rules(409)),
    row("POST", "/resume", rules(409)),
    row("POST", "/replication/election", rules(409)).json("{}"),
    row("POST", "/replication/hello", rules(422)).json("{}"),
    row("POST", "/replication/handover", rules(422)).json("{}"),
    row("GET", "/replication/log", rules(400)),
    row("GET", "/replication/snapshot", rules(200)),
];

const BEARERS: [Option<&str>; 5] = [
    None,
    Some("Bearer nonsense"),
    Some("Bearer reader-token"),
    Some("Bearer writer-token"),
    Some("Bearer admin-token"),
];

/// The tokens of the table; one of each kind that the file holds by its digest alone, as `sha256sum` says it; one that
/// has expired; and two that open some keys alone.
const MATRIX: &str = "\
read reader-token
write writer-token
admin admin-token
read sha256:95caf5d7db71a81036d48ecfd52bfbcc75236035da97691d21025b3ed1d36571
write sha256:4f72f788129d75e3539ae1af57d38a4892cf488a84731f4b2fd551a7d540c653
admin sha256:fb64d67d431521fccd394d58ebdab24fd8a1a1b3010f7322fbeae796ba25e8dc
admin expired-token expires=2020-01-01T00:00:00Z
write token-of-k prefix=k
write token-of-zz prefix=zz
";

/// Everything that a client may show, and the status that it gets.
fn all_bearers(row: &Row) -> impl Iterator<Item = (Option<&'static str>, u16)> {
    let [_, wrong, read, write, admin] = row.statuses;
    let [of_k, of_zz] = row.scoped;
    let more = [
        (Some("Bearer hashed-reader"), read),
        (Some("Bearer hashed-writer"), write),
        (Some("Bearer hashed-admin"), admin),
        (Some("Bearer expired-token"), wrong),
        (Some("Bearer token-of-k"), of_k),
        (Some("Bearer token-of-zz"), of_zz),
    ];
    BEARERS.into_iter().zip(row.statuses).chain(more)
}

/// Its parts that are methods, in capitals, of each path.
fn described(node: &Server) -> Vec<(String, Vec<String>)> {
    let api = node.get("/openapi.json").expect(200).body_json();
    let paths = api["paths"].as_object().unwrap();
    let methods = ["get", "head", "put", "post", "patch", "delete"];
    paths
        .iter()
        .map(|(path, item)| {
            let taken = methods.iter().filter(|method| !item[**method].is_null());
            (path.clone(), taken.map(|method| method.to_uppercase()).collect())
        })
        .collect()
}

#[test]
fn every_route_asks_for_the_token_that_it_should() {
    let (_dir, path) = token_file(MATRIX);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let ask = |method: &str, target: &str, body: Option<(&str, &str)>, bearer: Option<&str>| {
        let mut headers = Vec::new();
        headers.extend(bearer.map(|value| ("Authorization", value)));
        headers.extend(body.map(|(media, _)| ("Content-Type", media)));
        let body = body.map_or("", |(_, body)| body);
        node.client().request(method, target, &headers, body.as_bytes())
    };
    for row in &TABLE {
        // A poll or a snapshot is an act of a follower, which a HEAD is not.
        let has_head = row.method == "GET" && !row.path.starts_with("/replication/");
        let methods = [Some(row.method), has_head.then_some("HEAD")];
        for method in methods.into_iter().flatten() {
            for (bearer, status) in all_bearers(row) {
                let value = Some(("application/octet-stream", "v"));
                let put = ask("PUT", "/kv/k?upsert=true", value, BEARERS[4]);
                assert!(put.is_success(), "{put:?}");
                let answer = ask(method, row.target, row.body, bearer);
                let what = format!("{method} {} with {bearer:?}: {answer:?}", row.target);
                assert_eq!(answer.status, status, "{what}");
                // RFC 6750, 3: a token that is missing, or does not do, is asked for.
                assert_eq!(
                    answer.header("WWW-Authenticate").is_some(),
                    [401, 403].contains(&status),
                    "{what}"
                );
            }
        }
    }
    // No token opens what is not there, and what is refused before the token is asked for tells nothing.
    for target in [
        "/nope",
        "/kvs",
        "/favicon.ico",
        "/page/nope",
        "/replication/nope",
        "/status/",
    ] {
        for bearer in BEARERS {
            ask("GET", target, None, bearer).expect_problem(404);
        }
    }
}

/// A route that is not in the table is one whose token nobody has thought of.
#[test]
fn no_route_is_without_a_row_and_no_other_method_is_taken() {
    let (_dir, path) = token_file(TOKENS);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let described = described(&node);
    assert!(described.len() > 20, "{described:?}");
    for (path, taken) in &described {
        for method in taken.iter().filter(|method| *method != "HEAD") {
            let is_in_table = TABLE.iter().any(|row| row.path == path && row.method == method);
            assert!(is_in_table, "{method} {path} has no row in the table");
        }
        let row = TABLE.iter().find(|row| row.path == path).unwrap();
        let is_read = taken.iter().any(|method| method == "GET") && !path.starts_with("/replication/");
        for method in [
            "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY",
        ] {
            if taken.iter().any(|other| other == method) || is_read && method == "HEAD" {
                continue;
            }
            for bearer in BEARERS {
                let headers: Vec<_> = bearer.map(|value| ("Authorization", value)).into_iter().collect();
                let answer = node.client().request(method, row.target, &headers, b"");
                assert_eq!(answer.status, 405, "{method} {path} with {bearer:?}: {answer:?}");
                assert!(answer.header("Allow").is_some(), "{answer:?}");
            }
        }
    }
    for row in &TABLE {
        let is_described = described
            .iter()
            .any(|(path, taken)| path == row.path && taken.iter().any(|method| method == row.method));
        assert!(is_described, "{} {} is not described", row.method, row.path);
    }
}

/// A token with prefixes opens the keys that begin with one of them, by whatever way a key can be used.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_token_of_prefixes_opens_their_keys_alone() {
    let tokens = "admin the-admins-token\nwrite the-apps-token prefix=app1/ prefix=shared/\nread its-reader prefix=app1/\n";
    let (_dir, path) = token_file(tokens);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let admin = Some("Bearer the-admins-token");
    for key in ["app1/a", "app1/b", "app2/a", "shared/a"] {
        request(&node, "PUT", &format!("/kv/{key}?upsert=true"), admin).expect(201);
    }
    let bearer = "Bearer the-apps-token";
    let app = Some(bearer);
    let reader = Some("Bearer its-reader");
    // One key.
    for (key, is_open) in [
        ("app1/a", true),
        ("shared/a", true),
        ("app2/a", false),
        ("app1", false),
    ] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let target = format!("/kv/{key}{}", if method == "PUT" { "?upsert=true" } else { "" });
            let answer = request(&node, method, &target, app);
            assert_eq!(answer.is_success(), is_open, "{method} {key}: {answer:?}");
            assert!(is_open || answer.status == 403, "{method} {key}: {answer:?}");
        }
        let restored = request(&node, "PUT", &format!("/kv/{key}?upsert=true"), admin);
        assert!(restored.is_success());
    }
    request(&node, "DELETE", "/kv/app1", admin).expect(204);
    request(&node, "GET", "/kv/app1/a", reader).expect(200);
    request(&node, "GET", "/kv/shared/a", reader).expect_problem(403);
    request(&node, "PUT", "/kv/app1/a", reader).expect_problem(403);
    let json = |method: &str, target: &str, body: &str, authorization: &str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", authorization),
        ];
        node.client().request(method, target, &headers, body.as_bytes())
    };
    json("PATCH", "/kv/app2/a", r#"{"ttl": 5}"#, bearer).expect_problem(403);
    json("POST", "/kv/", r#"{"key": "app2/new", "value": "v"}"#, bearer).expect_problem(403);
    json("POST", "/kv/", r#"{"key": "app1/new", "value": "v"}"#, bearer).expect(201);
    // A batch is done whole or not at all; the answer names the operation.
    let batch =
        r#"{"operations": [{"op": "set", "key": "app1/c", "value": "v"}, {"op": "get", "key": "app2/a"}]}"#;
    let refused = json("POST", "/batch", batch, bearer);
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.body_json()["index"], 1);
    request(&node, "GET", "/kv/app1/c", admin).expect(404);
    // Listings show what the token opens; a prefix that is asked for lies within it.
    let keys = |target: &str, authorization: Option<&str>| {
        let listed = request(&node, "GET", target, authorization)
            .expect(200)
            .body_json();
        let mut keys: Vec<String> = serde_json::from_value(listed["keys"].clone()).unwrap();
        keys.sort();
        keys
    };
    assert_eq!(keys("/kv/", app), ["app1/a", "app1/b", "app1/new", "shared/a"]);
    assert_eq!(keys("/kv/", reader), ["app1/a", "app1/b", "app1/new"]);
    assert_eq!(keys("/kv/?prefix=app1/n", app), ["app1/new"]);
    for target in [
        "/kv/?prefix=app",
        "/kv/?prefix=app2/",
        "/watch?prefix=app2/&wait=0",
        "/watch?prefix=a&wait=0",
    ] {
        request(&node, "GET", target, app).expect_problem(403);
    }
    for target in [
        "/kv/?prefix=",
        "/kv/?prefix=app2/",
        "/kv/?prefix=app",
        "/kv/?prefix=&dry_run=true",
    ] {
        request(&node, "DELETE", target, app).expect_problem(403);
    }
    // A watch shows the changes of its keys, and goes past those of others.
    let changes = request(&node, "GET", "/watch?after=0&wait=0", reader);
    let changes = match changes.status {
        // The log begins further on.
        410 => {
            let from = changes.body_json()["first"].clone();
            request(&node, "GET", &format!("/watch?after={from}&wait=0"), reader)
        }
        _ => changes,
    };
    let seen = changes.expect(200).body_json();
    let seen = seen["changes"].as_array().unwrap();
    assert!(!seen.is_empty());
    assert!(
        seen.iter()
            .all(|change| change["key"].as_str().unwrap().starts_with("app1/")),
        "{seen:?}"
    );
    // The keys that are told as the largest and the most read are its own too.
    for _ in 0..200 {
        request(&node, "GET", "/kv/app2/a", admin).expect(200);
    }
    let stats = request(&node, "GET", "/stats", reader).expect(200).body_json();
    for list in ["hot_keys", "big_keys"] {
        let told = stats[list].as_array().unwrap();
        assert!(
            told.iter()
                .all(|one| one["key"].as_str().unwrap().starts_with("app1/")),
            "{told:?}"
        );
    }
    request(&node, "DELETE", "/kv/?prefix=app1/", app).expect(200);
    assert_eq!(keys("/kv/", admin), ["app2/a", "shared/a"]);
    // What is about the whole node is not for it.
    request(&node, "GET", "/backup", app).expect_problem(403);
    request(&node, "POST", "/compact", app).expect_problem(403);
    // The command line reads the token of such a line.
    let line = path.parent().unwrap().join("line");
    fs::write(&line, "write the-apps-token prefix=app1/\n").unwrap();
    let file = line.to_str().unwrap();
    pykv(&["set", "app1/x", "v", "--token-file", file])
        .at(&node)
        .expect(0);
    pykv(&["get", "app2/a", "--token-file", file]).at(&node).expect(5);
    let listed = String::from_utf8(pykv(&["list", "--token-file", file]).at(&node).succeed()).unwrap();
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort();
    assert_eq!(listed, ["app1/x", "shared/a"]);
}

#[test]
fn prefixes_are_refused_where_they_mean_nothing() {
    for (text, said) in [
        ("admin abcdefghijklmnopqrs prefix=a", "admin"),
        ("abcdefghijklmnopqrs prefix=a", "admin"),
        ("read abcdefghijklmnopqrs prefix=", "line 1"),
        ("read abcdefghijklmnopqrs prefixes=a", "line 1"),
    ] {
        let (dir, path) = token_file(text);
        let data = dir.path().join("data");
        let args = [
            "serve",
            "--token-file",
            path.to_str().unwrap(),
            "--dir",
            data.to_str().unwrap(),
        ];
        let refused = pykv(&args).expect(2);
        assert!(refused.stderr.contains(said), "{text}: {}", refused.stderr);
        assert!(!data.exists());
    }
}

/// Each command says what it could not do, on which key, and what the token does open.
#[test]
fn a_refusal_says_what_the_token_opens() {
    let tokens = "admin the-admins-token\nwrite the-apps-token prefix=app1/ prefix=shared/\n";
    let (_dir, path) = token_file(tokens);
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let admin = Some("Bearer the-admins-token");
    request(&node, "PUT", "/kv/other?upsert=true", admin).expect(201);
    for command in [
        &["get", "other"][..],
        &["set", "other", "v"],
        &["del", "other"],
        &["ttl", "other"],
        &["expire", "other", "5s"],
        &["persist", "other"],
        &["list", "other"],
        &["list", "--values", "other"],
        &["del", "--prefix", "other"],
        &["export", "-", "--prefix", "other"],
        &["watch", "other"],
    ] {
        let refused = pykv(command)
            .env("PYKV_TOKEN", "the-apps-token")
            .at(&node)
            .expect(5);
        let said = &refused.stderr;
        assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
        for part in [
            "cannot",
            "\"other\"",
            "only keys that begin with \"app1/\" or \"shared/\"",
            "the token is that of PYKV_TOKEN",
        ] {
            assert!(said.contains(part), "{command:?}: no {part} in {said}");
        }
    }
    // The digest tells of all keys.
    let log = |authorization| {
        request(&node, "GET", "/status", authorization)
            .expect(200)
            .body_json()["log"]
            .clone()
    };
    assert!(log(admin)["digest"].is_string());
    let app = log(Some("Bearer the-apps-token"));
    assert!(app.get("digest").is_none() && app["id"].is_string(), "{app}");
    pykv(&["status"])
        .env("PYKV_TOKEN", "the-apps-token")
        .at(&node)
        .succeed();
}

/// What a node says of its file of tokens.
fn of_tokens(node: &Server, bearer: &str) -> serde_json::Value {
    let answer = request(node, "GET", "/status", Some(bearer)).expect(200);
    answer.body_json()["tokens"].clone()
}

/// Puts another file in the place of one, as a deployment does.
fn put_in_place(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn tokens_are_read_anew_and_a_file_that_cannot_be_used_changes_nothing() {
    let (_dir, path) = token_file("admin the-admins-token\nwrite old-token\n");
    let mut node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let admin = "Bearer the-admins-token";
    let status = |node: &Server, bearer: &str| request(node, "GET", "/stats", Some(bearer)).status;
    assert_eq!(of_tokens(&node, admin)["reloads"], 0);
    assert_eq!(status(&node, "Bearer old-token"), 200);
    // At once, at a signal.
    put_in_place(&path, "admin the-admins-token\nwrite new-token\n");
    node.signal(Signal::HUP);
    eventually("the new token is known", || {
        status(&node, "Bearer new-token") == 200
    });
    assert_eq!(status(&node, "Bearer old-token"), 401);
    // One with a mistake changes nothing, and is told of by its line and never by its text.
    put_in_place(&path, "admin the-admins-token\nroot newest-token\n");
    node.signal(Signal::HUP);
    eventually("the mistake is told of", || {
        !of_tokens(&node, admin)["error"].is_null()
    });
    let told = of_tokens(&node, admin);
    assert_eq!(
        (&told["reloads"], &told["reload_failures"]),
        (&1.into(), &1.into())
    );
    let error = told["error"].as_str().unwrap();
    let shown = crate::common::pykv(&["status"])
        .at(&node)
        .env("PYKV_TOKEN", "the-admins-token")
        .succeed();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("ok, with trouble"), "{shown}");
    assert!(
        shown.contains(&format!("the tokens of before are in use: {error}")),
        "{shown}"
    );
    assert!(
        error.contains("line 2") && error.contains(path.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(status(&node, "Bearer new-token"), 200);
    assert_eq!(status(&node, "Bearer newest-token"), 401);
    // By itself, once it has changed; here by a link that leads elsewhere, as Kubernetes does it.
    let elsewhere = path.with_extension("elsewhere");
    fs::write(&elsewhere, "admin the-admins-token\nwrite newest-token\n").unwrap();
    let link = path.with_extension("link");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    fs::rename(&link, &path).unwrap();
    eventually("the change is seen", || {
        status(&node, "Bearer newest-token") == 200
    });
    assert_eq!(of_tokens(&node, admin)["error"], serde_json::Value::Null);
    // The file may be gone for a while.
    fs::remove_file(&path).unwrap();
    node.signal(Signal::HUP);
    eventually("that is told of", || !of_tokens(&node, admin)["error"].is_null());
    assert_eq!(status(&node, "Bearer newest-token"), 200);
    assert_eq!(node.sigterm().code(), Some(0));
    let log = node.stderr();
    assert!(log.contains("line 2") && !log.contains("newest-token"), "{log}");
}

#[test]
fn tokens_may_change_a_thousand_times_and_no_request_fails() {
    let (_dir, path) = token_file("write the-clients-token\n");
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let bearer = "Bearer the-clients-token";
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let mut client = node.client();
                let is_over = &is_over;
                scope.spawn(move || {
                    let headers = [
                        ("Authorization", bearer),
                        ("Content-Type", "application/octet-stream"),
                    ];
                    let mut answered = 0;
                    while !is_over.load(Relaxed) {
                        let target = format!("/kv/{number}?upsert=true");
                        let answer = client.request("PUT", &target, &headers, b"v");
                        assert!(answer.is_success(), "{answer:?}");
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        for number in 1..=1000 {
            put_in_place(
                &path,
                &format!("write the-clients-token name=n{number}\nread token-{number}\n"),
            );
            node.signal(Signal::HUP);
            eventually("it is read", || {
                let answer = request(&node, "GET", "/stats", Some(&format!("Bearer token-{number}")));
                answer.status == 200
            });
        }
        is_over.store(true, Relaxed);
        let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answered > 0);
    });
    let told = of_tokens(&node, bearer);
    assert_eq!(
        (&told["reloads"], &told["reload_failures"]),
        (&1000.into(), &0.into())
    );
}

/// Logs name a client as its token does, and never by the token.
#[test]
fn logs_name_the_client_and_not_its_token() {
    let (dir, path) = token_file("write the-billing-token name=billing prefix=b/\nread reader-token\n");
    let access = dir.path().join("access.log");
    let args = [
        "--token-file",
        path.to_str().unwrap(),
        "--access-log",
        access.to_str().unwrap(),
        "--slow-ms",
        "1",
        "--fsync",
        "always",
    ];
    let mut node = Setup::new(&args).start();
    let billing = Some("Bearer the-billing-token");
    request(&node, "PUT", "/kv/b/1?upsert=true", billing).expect(201);
    request(&node, "GET", "/kv/a", billing).expect(403);
    request(&node, "POST", "/compact", billing).expect(403);
    request(&node, "GET", "/kv/a", Some("Bearer reader-token")).expect(404);
    request(&node, "GET", "/kv/a", Some("Bearer nonsense")).expect(401);
    request(&node, "GET", "/healthz", billing).expect(200);
    assert_eq!(node.sigterm().code(), Some(0));
    let lines = fs::read_to_string(&access).unwrap();
    // Each connection writes its line when it gets to it.
    let mut clients: Vec<(&str, &str)> = lines
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2], words[8])
        })
        .collect();
    clients.sort_unstable();
    let expected = [
        ("-", "200"),
        ("-", "401"),
        ("-", "404"),
        ("billing", "201"),
        ("billing", "403"),
        ("billing", "403"),
    ];
    assert_eq!(clients, expected, "{lines}");
    for text in [lines, node.stderr()] {
        assert!(
            !text.contains("billing-token") && !text.contains("reader-token"),
            "{text}"
        );
    }
}

#[test]
fn a_token_that_is_drawn_opens_what_its_line_says() {
    let drawn = |args: &[&str]| -> (String, String) {
        let out = pykv(&[&["token", "--json"], args].concat()).succeed();
        let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let text = |name: &str| out[name].as_str().unwrap().to_owned();
        (text("line"), text("token"))
    };
    let (line, token) = drawn(&["write", "--prefix", "app1/", "--name", "app1", "--expires", "1h"]);
    assert!(line.starts_with("write sha256:") && line.contains(" name=app1 prefix=app1/ expires=20"));
    assert!(!line.contains(&token) && token.len() >= 40, "{token}");
    let (plain, admin) = drawn(&["admin", "--plain"]);
    assert_eq!(plain, format!("admin {admin}"));
    let (_dir, path) = token_file(&format!("{line}\n{plain}\n"));
    let node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    let set = |key: &str, token: &str| {
        pykv(&["set", key, "v"])
            .at(&node)
            .env("PYKV_TOKEN", token)
            .run()
            .code
    };
    assert_eq!(set("app1/a", &token), Some(0));
    assert_eq!(set("app2/a", &token), Some(5));
    assert_eq!(set("app2/a", &admin), Some(0));
    assert_ne!(token, drawn(&["write"]).1);
    let text = String::from_utf8(pykv(&["token", "read"]).succeed()).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    for wrong in [
        &["token"][..],
        &["token", "root"],
        &["token", "admin", "--prefix", "a"],
        &["token", "read", "--prefix", ""],
        &["token", "read", "--prefix", "a b"],
        &["token", "read", "--name", "two words"],
        &["token", "read", "--expires", "2001-01-01T00:00:00Z"],
        &["token", "read", "--expires", "soon"],
    ] {
        pykv(wrong).expect(2);
    }
}

/// Whoever opens a FIFO waits for somebody who writes to it: the node would wait for that, and not end.
#[test]
fn a_token_file_that_became_a_fifo_is_not_read_anew() {
    let (_dir, path) = token_file("the-admins-token\n");
    let mut node = Setup::new(&["--token-file", path.to_str().unwrap()]).start();
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    node.signal(Signal::HUP);
    request(&node, "GET", "/status", Some("Bearer the-admins-token")).expect(200);
    assert_eq!(node.sigterm().code(), Some(0));
}
