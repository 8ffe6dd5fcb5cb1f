//! What each route answers, status by status.

use crate::api;
use crate::http::Limits;
use crate::server::tests::client::{Answer, Client, Fixture, VALUE_BYTES_MAX, get, request};

const JSON: &str = "Content-Type: application/json\r\n";
const OCTETS: &str = "Content-Type: application/octet-stream\r\n";

fn post(client: &mut Client, body: &str) -> Answer {
    client.ask(request("POST", "/kv/", JSON, body))
}

fn put(client: &mut Client, target: &str, body: &str) -> Answer {
    client.ask(request("PUT", target, "", body))
}

fn problem(answer: &Answer) -> api::Problem {
    assert_eq!(
        answer.header("Content-Type"),
        Some(api::MEDIA_PROBLEM),
        "{answer:?}"
    );
    let problem: api::Problem = answer.json();
    assert_eq!(problem.status, answer.status);
    assert!(!problem.title.is_empty() && !problem.detail.is_empty());
    problem
}

#[test]
fn a_key_lives_from_post_to_delete() {
    let server = Fixture::start();
    let mut client = server.connect();

    let added = post(&mut client, r#"{"key":"a b/ö","value":"v1"}"#);
    assert_eq!(added.status, 201);
    assert_eq!(added.header("Location"), Some("./a%20b/%C3%B6"));
    assert_eq!(added.header("Pykv-Durable"), Some("written"));
    assert_eq!(added.header("Server"), Some("pykv"));
    assert!(httpdate::parse_http_date(added.header("Date").unwrap()).is_ok());
    let written: api::Written = added.json();
    assert_eq!(written.key, "a b/ö");
    assert_eq!(added.header("ETag"), Some(&*format!("\"{}\"", written.version)));
    assert_eq!(added.header("Pykv-Offset"), Some(&*written.version.to_string()));

    let entry: api::Entry = client.ask(get("/kv/a%20b%2F%C3%B6")).json();
    assert_eq!(
        (&*entry.key, &*entry.value, entry.encoding),
        ("a b/ö", "v1", None)
    );
    assert_eq!(entry.version, written.version);

    let again = post(&mut client, r#"{"key":"a b/ö","value":"v2"}"#);
    assert_eq!(
        (again.status, problem(&again).version),
        (409, Some(written.version))
    );

    let updated = client.ask(request("PUT", "/kv/a%20b/%C3%B6", JSON, r#"{"value":"v2"}"#));
    assert_eq!(updated.status, 200);
    assert!(updated.json::<api::Written>().version > written.version);

    let deleted = client.ask(request("DELETE", "/kv/a%20b/%C3%B6", "", ""));
    assert_eq!((deleted.status, deleted.header("Content-Length")), (204, None));
    assert!(deleted.header("Pykv-Offset").is_some());
    for gone in [
        get("/kv/a%20b/%C3%B6"),
        request("DELETE", "/kv/a%20b/%C3%B6", "", ""),
    ] {
        let answer = client.ask(gone);
        assert_eq!(
            (answer.status, &*problem(&answer).kind),
            (404, "urn:pykv:problem:no-such-key")
        );
    }
    assert_eq!(
        client.ask(request("HEAD", "/kv/a%20b/%C3%B6", "", "")).status,
        404
    );
}

#[test]
fn put_updates_and_adds_only_when_told() {
    let server = Fixture::start();
    let mut client = server.connect();
    assert_eq!(put(&mut client, "/kv/k", "v").status, 404);
    assert_eq!(put(&mut client, "/kv/k?upsert=false", "v").status, 404);
    assert_eq!(put(&mut client, "/kv/k?upsert=true", "v").status, 201);
    assert_eq!(put(&mut client, "/kv/k?upsert", "v").status, 200);
    assert_eq!(put(&mut client, "/kv/k", "").status, 200);
    assert_eq!(client.ask(get("/kv/k?raw")).body, b"");
    for wrong in ["upsert=1", "upsrt=true", "upsert&upsert", "ttl=0", "upsert=%"] {
        let answer = put(&mut client, &format!("/kv/k?{wrong}"), "v");
        assert_eq!(
            (answer.status, &*problem(&answer).kind),
            (400, "urn:pykv:problem:bad-query"),
            "{wrong}"
        );
    }
}

#[test]
fn bytes_come_back_as_they_went_in() {
    let server = Fixture::start();
    let mut client = server.connect();
    let bytes = [&b"\xff\x00\r\n\r\n"[..], &[7; 1000]].concat();
    let mut put =
        request("PUT", "/kv/k?upsert=true", OCTETS, "").replace("Content-Length: 0", "Content-Length: 1006");
    put = put.trim_end().to_owned() + "\r\n\r\n";
    assert_eq!(client.ask([put.as_bytes(), &bytes].concat()).status, 201);

    for raw in [
        get("/kv/k?raw"),
        get("/kv/k?raw=true"),
        request("GET", "/kv/k", "Accept: application/octet-stream\r\n", ""),
    ] {
        let answer = client.ask(raw);
        assert_eq!(answer.header("Content-Type"), Some(api::MEDIA_OCTETS));
        assert_eq!(answer.body, bytes);
    }
    let answer = client.ask(request("GET", "/kv/k", "Accept: text/html, */*;q=0.1\r\n", ""));
    let entry: api::Entry = answer.json();
    assert_eq!(entry.encoding, Some(api::Encoding::Base64));
    assert_eq!(
        &*api::decode_value(entry.value.into(), entry.encoding).unwrap(),
        bytes
    );
    assert_eq!(
        client
            .ask(request("GET", "/kv/k", "Accept: text/html\r\n", ""))
            .status,
        406
    );

    let added = post(&mut client, r#"{"key":"b","value":"/wA=","encoding":"base64"}"#);
    assert_eq!(added.status, 201);
    assert_eq!(client.ask(get("/kv/b?raw")).body, b"\xff\0");
}

#[test]
fn a_head_tells_size_and_version_and_leaves_recency_alone() {
    let server = Fixture::start();
    let mut client = server.connect();
    put(&mut client, "/kv/k?upsert=true", "four");
    let hits = server.node.counters().hits;
    let json = client.ask(request("HEAD", "/kv/k", "", ""));
    assert_eq!((json.status, json.header("Pykv-Value-Bytes")), (200, Some("4")));
    assert!(json.header("ETag").is_some());
    let raw = client.ask(request("HEAD", "/kv/k?raw", "", ""));
    assert_eq!((raw.status, raw.header("Content-Length")), (200, Some("4")));
    assert_eq!(server.node.counters().hits, hits);
    assert_eq!(client.ask(get("/kv/k")).status, 200, "no body came between");
}

#[test]
fn conditions_hold_or_nothing_changes() {
    let server = Fixture::start();
    let mut client = server.connect();
    let tag = put(&mut client, "/kv/k?upsert=true", "v")
        .header("ETag")
        .unwrap()
        .to_owned();
    let mut ask = |method, target, fields: &str| {
        let offset = server.node.status().offset;
        let answer = client.ask(request(method, target, &format!("{fields}\r\n"), ""));
        let changed = server.node.status().offset != offset;
        assert_eq!(changed, answer.status < 300 && method != "GET", "{answer:?}");
        answer.status
    };
    let same = format!("If-None-Match: {tag}");
    assert_eq!(ask("GET", "/kv/k", &same), 304);
    assert_eq!(ask("HEAD", "/kv/k", &same), 304);
    assert_eq!(ask("GET", "/kv/k", "If-None-Match: \"1\""), 200);
    assert_eq!(ask("GET", "/kv/k", "If-Match: \"1\""), 412);
    assert_eq!(ask("GET", "/kv/k", "If-None-Match: 1"), 400);

    assert_eq!(ask("PUT", "/kv/k", "If-Match: \"1\""), 412);
    assert_eq!(ask("PUT", "/kv/k", "If-Match: \"abc\""), 412);
    assert_eq!(ask("PUT", "/kv/k", "If-Match: abc"), 400);
    assert_eq!(ask("PUT", "/kv/k", "If-None-Match: *"), 412);
    assert_eq!(ask("PUT", "/kv/k?upsert", "If-None-Match: *"), 412);
    assert_eq!(ask("PUT", "/kv/k", &same), 412);
    assert_eq!(ask("PUT", "/kv/k", "If-None-Match: 1"), 400);
    assert_eq!(ask("PUT", "/kv/other?upsert", "If-Match: *"), 412);
    assert_eq!(ask("PUT", "/kv/other", "If-Match: *"), 412);
    assert_eq!(ask("PUT", "/kv/new?upsert", "If-None-Match: *"), 201);
    let list = format!("If-Match: \"1\"\r\nIf-Match: W/\"2\", {tag}");
    assert_eq!(ask("GET", "/kv/k", &list), 200);
    assert_eq!(ask("PUT", "/kv/k", &list), 200);
    assert_eq!(ask("DELETE", "/kv/k", &list), 412);
    let tag = format!("\"{}\"", server.node.status().offset);
    assert_eq!(ask("PUT", "/kv/k", &format!("If-None-Match: \"1\", {tag}")), 412);
    assert_eq!(ask("PUT", "/kv/k", "If-Match: *\r\nIf-None-Match: \"1\""), 200);
    let tag = format!("\"{}\"", server.node.status().offset);
    assert_eq!(ask("PUT", "/kv/k", &format!("If-Match: {tag}")), 200);
    assert_eq!(ask("PUT", "/kv/k", &format!("If-Match: {tag}")), 412);
    assert_eq!(ask("DELETE", "/kv/k", &format!("If-Match: {tag}")), 412);
    assert_eq!(ask("DELETE", "/kv/k", "If-Match: *"), 204);
    assert_eq!(ask("DELETE", "/kv/k", "If-Match: *"), 412);
}

#[test]
fn a_listing_pages_through_every_key_once() {
    let server = Fixture::start();
    let mut client = server.connect();
    for number in 0..250 {
        put(&mut client, &format!("/kv/a{number}?upsert"), "v");
        put(&mut client, &format!("/kv/b{number}?upsert"), "v");
    }
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: api::Keys = client
            .ask(get(&format!("/kv/?prefix=a&limit=100{cursor}")))
            .json();
        assert!(page.keys.len() <= 100);
        keys.extend(page.keys);
        match page.cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    keys.sort();
    let mut expected: Vec<String> = (0..250).map(|number| format!("a{number}")).collect();
    expected.sort();
    assert_eq!(keys, expected);
    assert_eq!(client.ask(get("/kv/")).json::<api::Keys>().keys.len(), 100);

    for (query, status) in [
        ("limit=1001", 400),
        ("limit=0", 400),
        ("limit=ten", 400),
        ("cursor=x", 400),
        ("values=yes", 400),
        ("prefix=a&prefix=b", 400),
        ("prefix=%ff", 400),
        ("prefix", 400),
        ("cursor=000000000000000000000000", 410),
    ] {
        let answer = client.ask(get(&format!("/kv/?{query}")));
        assert_eq!(answer.status, status, "{query}");
        problem(&answer);
    }
    assert_eq!(problem(&client.ask(get("/kv/?limit=1001"))).limit, Some(1000));

    // A cursor is a place in the listing of its own prefix: in another one, keys before it would be missing.
    let page: api::Keys = client.ask(get("/kv/?prefix=a&limit=10")).json();
    let cursor = page.cursor.unwrap();
    for (prefix, status) in [("a", 200), ("b", 400), ("", 400), ("a1", 400)] {
        let answer = client.ask(get(&format!("/kv/?prefix={prefix}&cursor={cursor}")));
        assert_eq!(answer.status, status, "{prefix}");
    }
    let answer = client.ask(request("DELETE", "/kv/?prefix", "", ""));
    assert_eq!(answer.status, 400, "a prefix without a value is none");
    assert_eq!(server.node.counters().entries, 500);
}

#[test]
fn what_is_not_asked_for_changes_nothing() {
    let server = Fixture::start();
    let mut client = server.connect();
    let offset = server.node.status().offset;
    for (body, status, field) in [
        (r#"{"key":"k","value":"v","#, 400, None),
        (r#"{"key":"k","value":"v"} x"#, 400, None),
        (r#"{"key":"k","value":"v","ttl":-5}"#, 422, Some("ttl")),
        (r#"{"key":"k","key":"l","value":"v"}"#, 422, Some("key")),
        (r#"{"key":"k"}"#, 422, Some("value")),
        (r#"{"key":"k","value":1}"#, 422, Some("value")),
        (
            r#"{"key":"k","value":"v","encoding":"hex"}"#,
            422,
            Some("encoding"),
        ),
        (r#"{"key":"","value":"v"}"#, 400, Some("key")),
    ] {
        let answer = post(&mut client, body);
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(problem(&answer).field.as_deref(), field, "{body}");
    }
    let long = "k".repeat(1025);
    let answer = post(&mut client, &format!(r#"{{"key":"{long}","value":"v"}}"#));
    assert_eq!((answer.status, problem(&answer).limit), (400, Some(1024)));
    for answer in [
        client.ask(get(&format!("/kv/{long}"))),
        put(&mut client, &format!("/kv/{long}?upsert"), "v"),
    ] {
        assert_eq!((answer.status, problem(&answer).limit), (400, Some(1024)));
    }
    let longest = "k".repeat(1024);
    for (target, status) in [
        ("/kv/%zz", 400),
        ("/kv/%c3", 400),
        ("/kv/a?", 404),
        ("/kv/a?x", 400),
        ("/kv/a?raw=no", 400),
        (&*format!("/kv/{longest}"), 404),
        ("/nothing", 404),
        ("/kvs", 404),
    ] {
        assert_eq!(client.ask(get(target)).status, status, "{target}");
    }
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
    ] {
        let fields = format!("Content-Type: {media}\r\n");
        assert_eq!(
            client.ask(request("PUT", "/kv/k?upsert", &fields, "v")).status,
            415,
            "{media}"
        );
        assert_eq!(
            client.ask(request("POST", "/kv/", &fields, "v")).status,
            415,
            "{media}"
        );
    }
    assert_eq!(
        client.ask(request("POST", "/kv/", "", "{}")).status,
        415,
        "a form of a browser has no type"
    );
    assert_eq!(server.node.status().offset, offset);
}

#[test]
fn a_value_has_a_limit_in_either_form() {
    let server = Fixture::start();
    let limit = Some(VALUE_BYTES_MAX as u64);
    let largest = "v".repeat(VALUE_BYTES_MAX);
    let mut client = server.connect();
    assert_eq!(put(&mut client, "/kv/k?upsert", &largest).status, 201);
    assert_eq!(client.ask(get("/kv/k?raw")).body, largest.as_bytes());
    assert_eq!(client.ask(get("/kv/k")).json::<api::Entry>().value, largest);

    let answer = put(&mut client, "/kv/k?upsert", &format!("{largest}v"));
    assert_eq!((answer.status, problem(&answer).limit), (413, limit));

    let escaped = "\\u0001".repeat(VALUE_BYTES_MAX);
    let mut client = server.connect();
    let answer = client.ask(request(
        "PUT",
        "/kv/k?upsert",
        JSON,
        &format!("{{\"value\":\"{escaped}\"}}"),
    ));
    assert_eq!(answer.status, 200);
    let answer = client.ask(request(
        "PUT",
        "/kv/k?upsert",
        JSON,
        &format!("{{\"value\":\"{largest}v\"}}"),
    ));
    assert_eq!((answer.status, problem(&answer).limit), (413, limit));
    assert_eq!(client.ask(get("/kv/k?raw")).body, vec![1; VALUE_BYTES_MAX]);
}

#[test]
fn the_node_says_how_it_is() {
    let server = Fixture::start();
    let mut client = server.connect();
    put(&mut client, "/kv/k?upsert", "v");
    client.ask(get("/kv/k"));
    client.ask(get("/kv/none"));
    let status: api::Status = client.ask(get("/status")).json();
    assert_eq!(
        (&*status.role, &*status.log.fsync, status.ready),
        ("primary", "no", true)
    );
    assert_eq!(status.log.offset, server.node.status().offset);
    assert_eq!(status.limits.value_bytes_max, VALUE_BYTES_MAX as u64);
    let stats: api::Stats = client.ask(get("/stats")).json();
    assert_eq!(
        (stats.entries, stats.hits, stats.misses, stats.adds),
        (1, 1, 1, 1)
    );
    assert_eq!(stats.hit_ratio, Some(0.5));
    assert_eq!((stats.connections.open, stats.connections.accepted), (1, 1));
    assert_eq!((stats.answers.done, stats.answers.refused), (3, 1));
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(client.ask(get(probe)).status, 200);
        assert_eq!(client.ask(request("HEAD", probe, "", "")).body, b"");
    }
}

#[test]
fn a_path_takes_its_methods() {
    let server = Fixture::start();
    let mut client = server.connect();
    for (method, target, allow) in [
        ("PUT", "/kv/", "GET, HEAD, POST, DELETE"),
        ("OPTIONS", "/kv/k", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("OPTIONS", "/status", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ] {
        let answer = client.ask(request(method, target, "", ""));
        assert_eq!(
            (answer.status, answer.header("Allow")),
            (405, Some(allow)),
            "{method} {target}"
        );
        problem(&answer);
    }
    assert_eq!(client.ask(request("BREW", "/kv/k", "", "")).status, 501);
    assert_eq!(client.ask(request("get", "/kv/k", "", "")).status, 501);
}

#[test]
fn tokens_open_what_their_scope_says() {
    let server = Fixture::with(Limits::default(), Some("read r\nwrite w\n"));
    let mut client = server.connect();
    let mut ask = |method, target, token: &str| {
        let fields = if token.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        client.ask(request(method, target, &fields, ""))
    };
    for target in ["/kv/k", "/kv/", "/status", "/stats"] {
        let answer = ask("GET", target, "");
        assert_eq!(answer.status, 401, "{target}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer realm=\"pykv\""));
        problem(&answer);
        assert_eq!(ask("GET", target, "x").status, 401, "{target}");
        assert!(ask("GET", target, "r").status != 401, "{target}");
    }
    for target in ["/healthz", "/readyz"] {
        assert_eq!(ask("GET", target, "").status, 200);
    }
    assert_eq!(ask("PUT", "/kv/k?upsert", "r").status, 403);
    assert_eq!(ask("DELETE", "/kv/k", "r").status, 403);
    assert_eq!(ask("PUT", "/kv/k?upsert", "w").status, 201);
    assert_eq!(ask("GET", "/kv/k", "w").status, 200);
}
