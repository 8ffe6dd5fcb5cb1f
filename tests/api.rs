//! The HTTP API as it is described: each request, each answer, each refusal.
//!
//! Expectations come from the description of the API and from RFC 9110 (HTTP), RFC 9112 (HTTP/1.1), RFC 9457
//! (problems) and RFC 6750 (bearer tokens). That a refused write left nothing behind is asked of the log.

#![allow(clippy::unwrap_used)]

mod common;

use common::client::{encode, percent};
use common::{Client, Response, Server, cli};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

const BYTES: [(&str, &str); 1] = [("Content-Type", "application/octet-stream")];
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

fn add(client: &mut Client, key: &str, value: &str) -> Response {
    client.json("POST", "/kv/", &json!({"key": key, "value": value}))
}

/// The headers that every answer to a write carries.
#[track_caller]
fn assert_acknowledged(answer: &Response, durable: &str) -> u64 {
    assert_eq!(answer.header("Pykv-Durable"), Some(durable), "{answer:?}");
    answer
        .header("Pykv-Offset")
        .and_then(|offset| offset.parse().ok())
        .expect("Pykv-Offset")
}

#[test]
fn post_adds_a_new_key_and_only_a_new_one() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let answer = add(&mut client, "a/b c", "1").expect(201);
    let version = answer.version();
    assert_eq!(answer.body_json(), json!({"key": "a/b c", "version": version}));
    // The location names the key: what stands there is what was added.
    let location = answer
        .header("Location")
        .expect("a 201 names what was made")
        .to_string();
    assert!(location.starts_with("/kv/"), "{location}");
    assert_eq!(client.get(&location).expect(200).body_json()["value"], "1");
    assert_eq!(
        assert_acknowledged(&answer, "written"),
        version,
        "the version is the offset past the record"
    );

    let offset = node.offset();
    add(&mut client, "a/b c", "2").expect_problem(409);
    assert_eq!(node.offset(), offset, "nothing is logged");
    assert_eq!(client.get(&location).body_json()["value"], "1");
    assert_eq!(
        cli::log_records(node.dir())
            .iter()
            .filter(|record| record["key"] == "a/b c")
            .count(),
        1
    );
}

#[test]
fn an_answer_says_how_durable_the_write_is() {
    for (policy, durable) in [("always", "synced"), ("everysec", "written"), ("no", "written")] {
        let node = Server::start(&["--fsync", policy]);
        let mut client = node.client();
        let post = add(&mut client, "k", "v").expect(201);
        let put = client.put("/kv/k", b"w").expect(200);
        let delete = client.delete("/kv/k").expect(204);
        let offsets = [post, put, delete].map(|answer| assert_acknowledged(&answer, durable));
        assert!(offsets.is_sorted() && offsets[0] < offsets[2], "{offsets:?}");
    }
}

#[test]
fn put_updates_a_key_that_is_there() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let offset = node.offset();
    client
        .json("PUT", "/kv/k", &json!({"value": "1"}))
        .expect_problem(404);
    assert_eq!(node.offset(), offset, "nothing is logged");
    let added = add(&mut client, "k", "1").version();
    let answer = client.json("PUT", "/kv/k", &json!({"value": "2"})).expect(200);
    assert!(answer.version() > added);
    assert_eq!(
        answer.body_json(),
        json!({"key": "k", "version": answer.version()})
    );
    assert_eq!(client.get("/kv/k").body_json()["value"], "2");
}

#[test]
fn put_with_upsert_adds_or_updates() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let added = client
        .json("PUT", "/kv/k?upsert=true", &json!({"value": "1"}))
        .expect(201)
        .version();
    let updated = client.put("/kv/k?upsert=true", b"2").expect(200).version();
    assert!(updated > added);
    assert_eq!(client.get("/kv/k").body_json()["value"], "2");
    client.put("/kv/other?upsert=false", b"2").expect_problem(404);
}

#[test]
fn get_reads_as_json() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let version = add(&mut client, "k", "värde \"1\"\n").version();
    let answer = client.get("/kv/k").expect(200);
    assert!(
        answer
            .header("Content-Type")
            .unwrap()
            .starts_with("application/json"),
        "{answer:?}"
    );
    assert_eq!(answer.version(), version);
    assert_eq!(
        answer.body_json(),
        json!({"key": "k", "value": "värde \"1\"\n", "version": version})
    );
    client.get("/kv/absent").expect_problem(404);
}

#[test]
fn values_are_bytes() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let all: Vec<u8> = (0..=255).collect();
    client.put("/kv/k?upsert=true", &all).expect(201);
    for (target, headers) in [
        ("/kv/k", &[("Accept", "application/octet-stream")][..]),
        ("/kv/k?raw", &[]),
        ("/kv/k?raw=true", &[]),
    ] {
        let answer = client.request("GET", target, headers, b"").expect(200);
        assert_eq!(answer.body, all, "{target} {headers:?}");
        assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
        answer.version();
    }
    // JSON is text: what is not UTF-8 comes in base64 (RFC 4648, 4, with padding), and may be sent so.
    client.put("/kv/k", &[0xff, 0xfe, 0xfd, 0xfc]).expect(200);
    let answer = client.get("/kv/k").expect(200).body_json();
    assert_eq!(
        (&answer["value"], &answer["encoding"]),
        (&json!("//79/A=="), &json!("base64"))
    );
    let sent = json!({"key": "sent", "value": "AP8=", "encoding": "base64"});
    client.json("POST", "/kv/", &sent).expect(201);
    assert_eq!(client.get("/kv/sent?raw").body, [0, 255]);
    client.put("/kv/empty?upsert=true", b"").expect(201);
    assert_eq!(client.get("/kv/empty?raw").expect(200).body, b"");
    assert_eq!(client.get("/kv/empty").body_json()["value"], "");
}

#[test]
fn large_values_come_back_as_they_were_sent() {
    let node = Server::start(&[]);
    let mut client = node.client();
    for bytes in [32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 1 << 20] {
        let value: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        assert!(client.put("/kv/k?upsert=true", &value).is_success());
        assert!(client.get("/kv/k?raw").expect(200).body == value, "{bytes} bytes");
    }
    let offset = node.offset();
    client.put("/kv/k", &vec![0; (1 << 20) + 1]).expect_problem(413);
    assert_eq!(node.offset(), offset);
}

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

#[test]
fn an_etag_that_is_known_saves_the_body() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let version = add(&mut client, "k", "1").version();
    let tag = format!("\"{version}\"");
    let lists = [
        tag.clone(),
        "*".into(),
        format!("\"1x\", {tag}"),
        format!("W/{tag}"),
    ];
    for known in &lists {
        let answer = client
            .request("GET", "/kv/k", &[("If-None-Match", known)], b"")
            .expect(304);
        assert_eq!(answer.version(), version, "RFC 9110, 15.4.5: a 304 has the ETag");
    }
    client.put("/kv/k", b"2").expect(200);
    client
        .request("GET", "/kv/k", &[("If-None-Match", &tag)], b"")
        .expect(200);
    client
        .request("GET", "/kv/absent", &[("If-None-Match", "*")], b"")
        .expect_problem(404);
}

#[test]
fn head_says_whether_and_how_large() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let version = add(&mut client, "k", "12345").version();
    let head = client.request("HEAD", "/kv/k?raw", &[], b"").expect(200);
    assert_eq!(head.header("Content-Length"), Some("5"));
    assert_eq!(head.version(), version);
    // RFC 9110, 8.6: where HEAD says a length, it is that of the answer to GET.
    let length = client.get("/kv/k").body.len().to_string();
    let head = client.request("HEAD", "/kv/k", &[], b"").expect(200);
    assert!(
        head.header("Content-Length").is_none_or(|said| said == length),
        "{head:?}, not {length}"
    );
    client.request("HEAD", "/kv/absent", &[], b"").expect(404);
    client.get("/kv/k").expect(200); // The connection is in step.
}

#[test]
fn head_and_listing_leave_recency_alone_and_get_does_not() {
    let node = Server::start(&["--max-capacity", "2"]);
    let mut client = node.client();
    add(&mut client, "a", "1").expect(201);
    add(&mut client, "b", "1").expect(201);
    client.request("HEAD", "/kv/a", &[], b"").expect(200);
    client.get("/kv/").expect(200);
    add(&mut client, "c", "1").expect(201);
    client.request("HEAD", "/kv/a", &[], b"").expect(404);
    client.get("/kv/b").expect(200);
    add(&mut client, "d", "1").expect(201);
    client.request("HEAD", "/kv/b", &[], b"").expect(200);
    client.request("HEAD", "/kv/c", &[], b"").expect(404);
    let stats = client.get("/stats").body_json();
    assert_eq!(
        (&stats["hits"], &stats["misses"]),
        (&json!(1), &json!(0)),
        "HEAD counts as neither: {stats}"
    );
}

#[test]
fn delete_deletes() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let first = add(&mut client, "k", "1").version();
    let answer = client.delete("/kv/k").expect(204);
    assert_eq!(
        answer.header("Content-Length"),
        None,
        "RFC 9110, 8.6: a 204 has none"
    );
    client.get("/kv/k").expect_problem(404);
    let offset = node.offset();
    client.delete("/kv/k").expect_problem(404);
    assert_eq!(node.offset(), offset, "nothing is logged");
    // A version is never used twice, also after delete and re-create.
    assert!(add(&mut client, "k", "1").version() > first);
}

#[test]
fn preconditions_guard_every_write() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let old = add(&mut client, "k", "1").version();
    let version = client.put("/kv/k", b"2").version();
    let (old, now) = (format!("\"{old}\""), format!("\"{version}\""));
    let offset = node.offset();
    let mut write = |method: &str, target: &str, condition: (&str, &str)| {
        let body: &[u8] = if method == "PUT" { b"3" } else { b"" };
        client.request(method, target, &[BYTES[0], condition], body)
    };
    write("PUT", "/kv/k", ("If-Match", &old)).expect_problem(412);
    write("DELETE", "/kv/k", ("If-Match", &old)).expect_problem(412);
    write("PUT", "/kv/k?upsert=true", ("If-None-Match", "*")).expect_problem(412);
    write("PUT", "/kv/absent?upsert=true", ("If-Match", "*")).expect_problem(412);
    write("PUT", "/kv/absent?upsert=true", ("If-Match", &now)).expect_problem(412);
    assert_eq!(node.offset(), offset, "nothing is logged");
    write("PUT", "/kv/absent?upsert=true", ("If-None-Match", "*")).expect(201);
    write("PUT", "/kv/k", ("If-Match", "*")).expect(200);
    write("DELETE", "/kv/k", ("If-Match", &now)).expect_problem(412);
    let now = format!("\"{}\"", node.get("/kv/k").version());
    write("PUT", "/kv/k", ("If-Match", &now)).expect(200);
    let now = format!("\"{}\"", node.get("/kv/k").version());
    write("DELETE", "/kv/k", ("If-Match", &now)).expect(204);
}

#[test]
fn a_compare_and_swap_counts_right_among_many() {
    let node = Server::start(&["--fsync", "no"]);
    add(&mut node.client(), "counter", "0").expect(201);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = node.client();
                let mut done = 0;
                while done < 25 {
                    let read = client.get("/kv/counter?raw").expect(200);
                    let count: u64 = String::from_utf8(read.body.clone()).unwrap().parse().unwrap();
                    let tag = format!("\"{}\"", read.version());
                    let next = (count + 1).to_string();
                    let answer = client.request(
                        "PUT",
                        "/kv/counter",
                        &[BYTES[0], ("If-Match", &tag)],
                        next.as_bytes(),
                    );
                    match answer.status {
                        200 => done += 1,
                        412 => {}
                        _ => panic!("{answer:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(node.get("/kv/counter?raw").body, b"200");
}

#[test]
fn keys_are_any_text_of_1_to_1024_bytes() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let longest = "k".repeat(1024);
    let longest_of_two_bytes = "ä".repeat(512);
    for key in [
        "/",
        "a//b/",
        "..",
        ".",
        "a b",
        "ключ",
        "100%",
        "?#&=+",
        "\u{0}\n\u{7f}",
        &longest,
        &longest_of_two_bytes,
    ] {
        let path = format!("/kv/{}", percent(key));
        client
            .put(&format!("{path}?upsert=true"), key.as_bytes())
            .expect(201);
        let answer = client.get(&path).expect(200).body_json();
        assert_eq!((&answer["key"], &answer["value"]), (&json!(key), &json!(key)));
        client.delete(&path).expect(204);
        let location = add(&mut client, key, "by POST")
            .expect(201)
            .header("Location")
            .unwrap()
            .to_string();
        assert_eq!(client.get(&location).expect(200).body_json()["key"], key);
    }
    // What a path may hold as it is (RFC 3986, 3.3) means itself; "+" is no space in a path.
    client.put("/kv/a/b:c@d!$&'()*+,;=?upsert=true", b"1").expect(201);
    assert_eq!(
        client.get("/kv/a/b:c@d!$&'()*+,;=").body_json()["key"],
        "a/b:c@d!$&'()*+,;="
    );
}

#[test]
fn a_listing_has_every_key_once_under_writes() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for number in 0..2000 {
        client
            .put(&format!("/kv/stable/{number}?upsert=true"), b"1")
            .expect(201);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (node, stop) = (&node, &stop);
            scope.spawn(move || {
                let mut client = node.client();
                for number in 0u64.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let passing = format!("/kv/passing/{writer}/{}", number % 300);
                    client.put(
                        &format!("{passing}?upsert=true"),
                        &vec![b'v'; (number % 900) as usize],
                    );
                    client.delete(&format!("/kv/passing/{writer}/{}", number * 7 % 300));
                    // Rewritten, with another size: still the same key.
                    client.put(
                        &format!("/kv/stable/{}", number * 13 % 2000),
                        &vec![b'v'; (number % 500) as usize],
                    );
                }
            });
        }
        // However the listing fails, the writers end.
        let listings = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for limit in [1000, 97, 10] {
                let keys = list(&mut client, "prefix=stable/", limit);
                assert_eq!(keys.len(), 2000, "keys in pages of {limit}");
                let repeated: Vec<_> = keys.iter().filter(|(_, count)| **count != 1).collect();
                assert!(repeated.is_empty(), "given more than once: {repeated:?}");
            }
        }));
        stop.store(true, Relaxed);
        listings.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// All keys of a listing, and how often each was given.
fn list(client: &mut Client, query: &str, limit: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = client
            .get(&format!("/kv/?{query}&limit={limit}{cursor}"))
            .expect(200)
            .body_json();
        let keys = page["keys"].as_array().unwrap();
        assert!(keys.len() <= limit, "{} of {limit}", keys.len());
        for key in keys {
            *counts.entry(key.as_str().unwrap().to_string()).or_default() += 1;
        }
        match &page["cursor"] {
            Value::Null => return counts,
            next => cursor = format!("&cursor={}", percent(next.as_str().unwrap())),
        }
    }
}

#[test]
fn a_listing_takes_a_prefix_a_limit_and_a_cursor() {
    let mut node = Server::start(&[]);
    let mut client = node.client();
    assert_eq!(
        client.get("/kv/").expect(200).body_json(),
        json!({"keys": [], "cursor": null})
    );
    for key in ["a", "a b", "a/1", "a/2", "b", "ä"] {
        add(&mut client, key, "1").expect(201);
    }
    let keys = |client: &mut Client, query: &str| list(client, query, 2).into_keys().collect::<Vec<_>>();
    assert_eq!(keys(&mut client, "prefix="), ["a", "a b", "a/1", "a/2", "b", "ä"]);
    assert_eq!(keys(&mut client, "prefix=a/"), ["a/1", "a/2"]);
    assert_eq!(keys(&mut client, "prefix=a%20"), ["a b"]);
    assert_eq!(keys(&mut client, "prefix=%C3%A4"), ["ä"]);
    assert_eq!(keys(&mut client, "prefix=c"), [""; 0]);
    let page = client.get("/kv/?limit=2").body_json();
    let cursor = page["cursor"]
        .as_str()
        .expect("a cursor, as there is more")
        .to_string();
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=",
        "cursor=x",
        "nonsense=1",
        "limit=1&limit=2",
    ] {
        client.get(&format!("/kv/?{query}")).expect_problem(400);
    }
    // Cursors do not outlive the process; to be told so is better than to miss keys.
    node.restart();
    let answer = node.get(&format!("/kv/?limit=2&cursor={cursor}"));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    answer.expect_problem(answer.status);
}

/// The requests that must be refused, and nothing else happen.
#[test]
fn what_is_not_asked_right_is_refused_and_leaves_nothing() {
    let node = Server::start(&[]);
    let mut client = node.client();
    add(&mut client, "k", "old").expect(201);
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

/// Requests that are wrong before a route is known. After most of them the node cannot know where the next
/// request begins, and closes.
#[test]
fn what_is_no_http_is_refused_with_a_problem() {
    let node = Server::start(&[]);
    add(&mut node.client(), "k", "old").expect(201);
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

#[test]
fn a_node_says_how_it_is() {
    let node = Server::start(&["--max-capacity", "7"]);
    let mut client = node.client();
    client.get("/healthz").expect(200);
    client.get("/readyz").expect(200);
    add(&mut client, "k", "v").expect(201);
    client.put("/kv/k", b"w").expect(200);
    client.get("/kv/k").expect(200);
    client.get("/kv/absent").expect(404);
    client.delete("/kv/k").expect(204);
    let stats = client.get("/stats").expect(200).body_json();
    for (counter, count) in [
        ("hits", 1),
        ("misses", 1),
        ("evictions", 0),
        ("entries", 0),
        ("bytes", 0),
    ] {
        assert_eq!(stats[counter], count, "{counter} in {stats}");
    }
    let status = client.get("/status").expect(200).body_json();
    assert_eq!(status["log"]["offset"].as_u64(), Some(node.offset()), "{status}");
    assert_eq!(status["dir"].as_str(), node.dir().to_str(), "{status}");
    for target in ["/healthz", "/readyz", "/stats", "/status"] {
        client.request("HEAD", target, &[], b"").expect(200);
    }
}

/// What the log says of a key is what was done to it.
#[test]
fn the_log_tells_what_was_done() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let set = add(&mut client, "k", "1").version();
    let update = client.put("/kv/k?upsert=true", b"2").version();
    let delete: u64 = client
        .delete("/kv/k")
        .header("Pykv-Offset")
        .unwrap()
        .parse()
        .unwrap();
    let records: Vec<_> = cli::log_records(node.dir())
        .into_iter()
        .filter(|record| record["key"] == "k")
        .collect();
    let expected = [
        ("SET", json!("1")),
        ("UPDATE", json!("2")),
        ("DELETE", Value::Null),
    ];
    assert_eq!(records.len(), expected.len(), "{records:?}");
    for (record, (operation, value)) in records.iter().zip(&expected) {
        assert_eq!(record["operation"], *operation);
        if *operation != "DELETE" {
            assert_eq!(record["value"], *value);
        }
        assert!(
            record["timestamp"].as_u64().is_some_and(|time| time >= before),
            "ms of the epoch: {record}"
        );
    }
    // A record starts where the one before it ends, so each version is the next record's offset.
    let offsets: Vec<u64> = records
        .iter()
        .map(|record| record["offset"].as_u64().unwrap())
        .collect();
    assert!(
        offsets[0] < set && offsets[1..] == [set, update] && update < delete,
        "{offsets:?}"
    );
}
