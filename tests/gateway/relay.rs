//! Requests that come while others are under way: another thread sends their answers, and clients see no difference.
//!
//! A test stops the engine, sends a request on each of many connections, and lets the engine go on: one of them leads,
//! and the others go out behind it.

use crate::common::client::{Response, encode};
use crate::common::engine::Redis;
use crate::common::{Client, Server, eventually, poll};
use crate::is_skipped;
use rustix::process::Signal;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

const RAW: &[(&str, &str)] = &[("Accept", "application/octet-stream")];
const OCTETS: &[(&str, &str)] = &[("Content-Type", "application/octet-stream")];
const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

/// How often each request is made side by side.
const COPIES: usize = 4;

struct Request {
    method: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
}

impl Request {
    fn new(method: &'static str, target: &'static str) -> Request {
        Request {
            method,
            target,
            headers: &[],
            body: Vec::new(),
        }
    }

    fn with(self, headers: &'static [(&'static str, &'static str)]) -> Request {
        Request { headers, ..self }
    }

    fn put(target: &'static str, headers: &'static [(&'static str, &'static str)], body: &[u8]) -> Request {
        Request {
            method: "PUT",
            target,
            headers,
            body: body.to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        encode(self.method, self.target, self.headers, &self.body)
    }
}

/// An engine, a gateway to it, and entries of every kind.
fn start(args: &[&str]) -> (Redis, Server) {
    let redis = Redis::start();
    let node = Server::start(&[&["--engine", &redis.url()][..], args].concat());
    let mut client = node.client();
    client.put("/kv/plain?upsert=true", b"value").expect(201);
    client.put("/kv/a%2Fb?upsert=true", b"escaped").expect(201);
    client.put("/kv/empty?upsert=true", b"").expect(201);
    client
        .put("/kv/binary?upsert=true", &[0, 0xff, b'"', b'\n'])
        .expect(201);
    client
        .put("/kv/expires?upsert=true&ttl=5000", b"soon")
        .expect(201);
    client
        .put("/kv/middle?upsert=true", &[b'm'; 9 * 1024])
        .expect(201);
    client
        .put("/kv/long?upsert=true", &vec![b'l'; 300 * 1024])
        .expect(201);
    redis.call(&["SET", "theirs", "text of another program"]);
    redis.call(&["LPUSH", "list", "text"]);
    (redis, node)
}

/// Sends requests side by side, a connection each, to an engine that stands still until all were sent.
fn side_by_side(redis: &Redis, node: &Server, requests: &[&Request]) -> Vec<Response> {
    let mut clients: Vec<Client> = requests.iter().map(|_| node.client()).collect();
    redis.signal("-STOP");
    for (client, request) in clients.iter_mut().zip(requests) {
        client.send(&request.bytes()).unwrap();
    }
    redis.signal("-CONT");
    let answers = clients.iter_mut().zip(requests);
    answers
        .map(|(client, request)| client.response(request.method == "HEAD").unwrap())
        .collect()
}

/// What two answers to a request have in common, whenever they were made.
fn without_times(answer: &Response) -> (u16, Vec<(String, String)>, String) {
    let is_of_a_moment = |name: &str| {
        ["date", "etag", "pykv-ttl", "content-length"].contains(&name.to_ascii_lowercase().as_str())
    };
    let mut headers: Vec<_> = answer.headers.clone();
    for (name, value) in &mut headers {
        if is_of_a_moment(name) {
            "...".clone_into(value);
        }
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let body = match serde_json::from_str::<serde_json::Value>(&body) {
        Ok(mut json) if json.is_object() => {
            for moment in ["version", "ttl"] {
                if let Some(value) = json.get_mut(moment) {
                    *value = "...".into();
                }
            }
            json.to_string()
        }
        _ => body,
    };
    (answer.status, headers, body)
}

/// Which problem a 503 is.
#[track_caller]
fn kind(answer: Response) -> String {
    let problem = answer.expect(503).body_json();
    let kind = problem["type"].as_str().unwrap();
    kind.rsplit(':').next().unwrap().to_owned()
}

/// Whatever is asked, and however it is answered, it is as if it were asked alone.
#[test]
fn a_relayed_answer_is_that_of_a_request_that_comes_alone() {
    if is_skipped("a_relayed_answer_is_that_of_a_request_that_comes_alone") {
        return;
    }
    let (redis, node) = start(&[]);
    let mut requests: Vec<Request> = [
        "plain", "a%2Fb", "empty", "binary", "expires", "middle", "long", "theirs", "list", "absent",
    ]
    .into_iter()
    .flat_map(|key| {
        let target: &'static str = format!("/kv/{key}").leak();
        [
            Request::new("GET", target),
            Request::new("GET", target).with(RAW),
            Request::new("HEAD", target),
        ]
    })
    .collect();
    requests.extend([
        Request::new("GET", "/kv/plain?raw"),
        Request::new("GET", "/kv/plain?nonsense"),
        Request::new("GET", "/kv/"),
        Request::new("GET", "/kv/plain").with(&[("If-None-Match", "*")]),
        Request::new("GET", "/kv/plain").with(&[("If-Match", "\"1\"")]),
        Request::new("GET", "/kv/plain").with(&[("Accept", "image/png")]),
        Request::new("GET", "/kv/plain").with(&[("Origin", "http://elsewhere.example")]),
        Request::new("DELETE", "/kv/absent"),
    ]);
    // The same state before and after.
    requests.extend([
        Request::put("/kv/plain?upsert=true", OCTETS, b"value"),
        Request::put("/kv/empty?upsert=true", JSON, br#"{"value":""}"#),
        Request::put(
            "/kv/binary?upsert=true",
            JSON,
            br#"{"value":"AP8iCg==","encoding":"base64"}"#,
        ),
        Request::put("/kv/plain", OCTETS, b"value"),
        Request::put("/kv/absent", OCTETS, b"value"),
        Request::put("/kv/theirs?upsert=true", OCTETS, b"value"),
        Request::put("/kv/list?upsert=true", OCTETS, b"value"),
        Request::put("/kv/plain?upsert=true", JSON, b"{"),
        Request::put("/kv/plain?upsert=perhaps", OCTETS, b"value"),
        Request::put(
            "/kv/plain?upsert=true",
            &[("Content-Type", "image/png")],
            b"value",
        ),
        Request::put("/kv/middle?upsert=true", OCTETS, &[b'm'; 9 * 1024]),
        Request::put("/kv/plain?upsert=true", OCTETS, &vec![0; (1 << 20) + 1]),
    ]);
    let mut alone = node.client();
    for request in &requests {
        let expected = {
            alone.send(&request.bytes()).unwrap();
            alone.response(request.method == "HEAD").unwrap()
        };
        if expected.header("Connection") == Some("close") {
            alone = node.client();
        }
        for answer in side_by_side(&redis, &node, &[request; COPIES]) {
            assert_eq!(
                without_times(&answer),
                without_times(&expected),
                "{} {} {:?}",
                request.method,
                request.target,
                request.headers
            );
        }
    }
    // Side by side with each other, too.
    let all: Vec<&Request> = requests.iter().filter(|one| one.method == "GET").collect();
    for (request, answer) in all.iter().zip(side_by_side(&redis, &node, &all)) {
        alone.send(&request.bytes()).unwrap();
        let expected = alone.response(false).unwrap();
        assert_eq!(
            without_times(&answer),
            without_times(&expected),
            "{}",
            request.target
        );
    }
}

/// Each client is given its own answers, in the order of its requests.
#[test]
fn many_clients_read_what_they_have_written() {
    if is_skipped("many_clients_read_what_they_have_written") {
        return;
    }
    let (redis, node) = start(&[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|number| {
                let (node, stop) = (&node, &stop);
                scope.spawn(move || {
                    let mut client = node.client();
                    let mut round = 0;
                    while !stop.load(Ordering::Relaxed) || round < 50 {
                        let value = format!("{number} {round}");
                        let put = format!("/kv/own-{number}?upsert=true");
                        let get = format!("/kv/own-{number}?raw");
                        // By one piece, as a pipeline, or one after the other.
                        if round % 3 == 0 {
                            let mut both = encode("PUT", &put, OCTETS, value.as_bytes());
                            both.extend(encode("GET", &get, &[], b""));
                            client.send(&both).unwrap();
                            assert!(client.response(false).unwrap().is_success());
                            assert_eq!(client.response(false).unwrap().body, value.as_bytes());
                        } else {
                            assert!(client.put(&put, value.as_bytes()).is_success());
                            assert_eq!(client.get(&get).expect(200).body, value.as_bytes());
                        }
                        round += 1;
                    }
                })
            })
            .collect();
        // The engine forgets the script, and cuts its clients: both are mended without a word.
        for _ in 0..5 {
            redis.call(&["SCRIPT", "FLUSH"]);
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

/// A cut leaves a change unknown, and a read is made again.
#[test]
fn a_cut_is_said_of_changes_alone() {
    if is_skipped("a_cut_is_said_of_changes_alone") {
        return;
    }
    let (redis, node) = start(&[]);
    let (stop, cuts) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..12 {
            let (node, stop, cuts) = (&node, &stop, &cuts);
            scope.spawn(move || {
                let mut client = node.client();
                let put = format!("/kv/cut-{number}?upsert=true");
                while !stop.load(Ordering::Relaxed) {
                    client.get("/kv/plain?raw").expect(200);
                    let answer = client.put(&put, b"value");
                    if !answer.is_success() {
                        assert_eq!(kind(answer), "outcome-unknown");
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let has_cut = poll(crate::common::SOON, || {
            redis.call(&["CLIENT", "KILL", "TYPE", "normal"]);
            cuts.load(Ordering::Relaxed) > 5
        });
        stop.store(true, Ordering::Relaxed);
        assert!(has_cut, "no change was cut");
    });
}

#[test]
fn an_engine_that_stands_still_is_said_in_time_to_everybody() {
    if is_skipped("an_engine_that_stands_still_is_said_in_time_to_everybody") {
        return;
    }
    let (redis, node) = start(&["--engine-timeout", "300ms"]);
    let get = encode("GET", "/kv/plain", &[], b"");
    let put = encode("PUT", "/kv/plain?upsert=true", OCTETS, b"value");
    let mut clients: Vec<Client> = (0..16).map(|_| node.client()).collect();
    redis.signal("-STOP");
    let begun = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        let request = if number % 2 == 0 { &get } else { &put };
        client.send(request).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let kind = kind(client.response(false).unwrap());
        let is_right = kind == "engine-unavailable" || number % 2 == 1 && kind == "outcome-unknown";
        assert!(is_right, "{number}: {kind}");
    }
    assert!(begun.elapsed() < crate::common::SOON, "{:?}", begun.elapsed());
    redis.signal("-CONT");
    eventually("the engine serves again", || node.get("/kv/plain").status == 200);
    for client in &mut clients {
        client.get("/kv/plain?raw").expect(200);
    }
}

/// A client that has sent its last request is answered before the connection ends; and so is one whose gateway stops.
#[test]
fn the_end_of_a_connection_waits_for_what_is_relayed() {
    if is_skipped("the_end_of_a_connection_waits_for_what_is_relayed") {
        return;
    }
    let (redis, mut node) = start(&[]);
    let get = encode("GET", "/kv/plain?raw", &[], b"");
    let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
    redis.signal("-STOP");
    for client in &mut clients {
        client.send(&get).unwrap();
        client.socket().shutdown(Shutdown::Write).unwrap();
    }
    redis.signal("-CONT");
    for client in &mut clients {
        assert_eq!(client.response(false).unwrap().expect(200).body, b"value");
        assert!(client.is_closed());
    }
    let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
    // It is served, so that the stop finds it.
    for client in &mut clients {
        client.get("/kv/plain").expect(200);
    }
    redis.signal("-STOP");
    for client in &mut clients {
        client.send(&get).unwrap();
    }
    node.signal(Signal::TERM);
    redis.signal("-CONT");
    for client in &mut clients {
        assert_eq!(client.response(false).unwrap().expect(200).body, b"value");
    }
    assert_eq!(node.wait().code(), Some(0));
}
