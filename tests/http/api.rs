//! The HTTP API as it is described: each request of a key, and each answer.
//!
//! Expectations come from the description of the API and from RFC 9110 (HTTP).

use crate::common::client::{BYTES, percent};
use crate::common::{Response, Server, cli};
use serde_json::{Value, json};
use std::thread;

/// The headers that every answer to a write carries; the offset among them.
#[track_caller]
fn assert_acknowledged(answer: &Response, durable: &str) -> u64 {
    if crate::common::engine::is_another() {
        assert_eq!(answer.header("Pykv-Engine"), Some("redis"), "{answer:?}");
        return 0;
    }
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
    let answer = client.add("a/b c", "1").expect(201);
    let version = answer.version();
    assert_eq!(answer.body_json(), json!({"key": "a/b c", "version": version}));
    // The location names the key: what stands there is what was added.
    let location = answer
        .header("Location")
        .expect("a 201 names what was made")
        .to_string();
    // Relative to the path of the request (RFC 3986, 5.2), so that it is right below any path of a proxy's.
    let location = location.replacen("./", "/kv/", 1);
    assert_eq!(client.get(&location).expect(200).body_json()["value"], "1");
    let offset = assert_acknowledged(&answer, "written");
    assert!(
        offset == version || crate::common::engine::is_another(),
        "the version is the offset past the record"
    );

    let offset = node.offset();
    client.add("a/b c", "2").expect_problem(409);
    assert_eq!(node.offset(), offset, "nothing is logged");
    assert_eq!(client.get(&location).body_json()["value"], "1");
    if crate::common::engine::is_another() {
        return;
    }
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
    if crate::common::engine::differs("offsets") {
        return;
    }
    for (policy, durable) in [("always", "synced"), ("everysec", "written"), ("no", "written")] {
        let node = Server::start(&["--fsync", policy]);
        let mut client = node.client();
        let post = client.add("k", "v").expect(201);
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
    let added = client.add("k", "1").version();
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
    let version = client.add("k", "värde \"1\"\n").version();
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
    // RFC 9110, 8.3: what says no type may be taken for bytes.
    client.request("PUT", "/kv/k", &[], b"untyped").expect(200);
    assert_eq!(client.get("/kv/k?raw").body, b"untyped");
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
fn an_etag_that_is_known_saves_the_body() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let version = client.add("k", "1").version();
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
    let version = client.add("k", "12345").version();
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

/// RFC 9110, 14.2: a server may ignore Range. It then says nowhere that it takes ranges, so no client puts two parts
/// together.
#[test]
fn a_part_of_a_value_is_not_given() {
    let node = Server::start(&[]);
    let mut client = node.client();
    client.add("k", "12345").expect(201);
    let whole = client.request("GET", "/kv/k?raw", &[("Range", "bytes=2-")], b"");
    assert_eq!(whole.status, 200);
    assert_eq!(whole.body, b"12345");
    for name in ["Accept-Ranges", "Content-Range"] {
        assert_eq!(whole.header(name), None, "{name}");
    }
}

#[test]
fn delete_deletes() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let first = client.add("k", "1").version();
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
    assert!(client.add("k", "1").version() > first);
}

#[test]
fn preconditions_guard_every_write() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let old = client.add("k", "1").version();
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
    node.client().add("counter", "0").expect(201);
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
        let location = client
            .add(key, "by POST")
            .expect(201)
            .header("Location")
            .unwrap()
            .replacen("./", "/kv/", 1);
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
fn a_node_says_how_it_is() {
    if crate::common::engine::differs("status") {
        return;
    }
    let node = Server::start(&["--max-capacity", "7"]);
    let mut client = node.client();
    client.get("/healthz").expect(200);
    client.get("/readyz").expect(200);
    client.add("k", "v").expect(201);
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
    if crate::common::engine::differs("log") {
        return;
    }
    let node = Server::start(&[]);
    let mut client = node.client();
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let set = client.add("k", "1").version();
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
