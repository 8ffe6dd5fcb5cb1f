//! What a node is told of others, by a command line or by whoever speaks to it, is believed only where it can be so.

use crate::common::cluster::{Member, become_equal};
use crate::common::fake::Fake;
use crate::common::node::Setup;
use crate::common::{Client, Response, Server, eventually, pykv};
use pykv::internals::api::{
    Handshake, LogQuery, PATH_REPLICATION_HELLO, PATH_REPLICATION_LOG, REPLICATION_PROTOCOL,
};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

fn status(node: &Server) -> Value {
    node.get("/status").expect(200).body_json()
}

fn log_id(node: &Server) -> String {
    status(node)["log"]["id"].as_str().unwrap().to_owned()
}

/// A handshake of somebody who is a primary of the same log, in a term of this number, at this address.
fn say_hello(node: &Server, number: u32, address: &str) -> Response {
    let id = log_id(node);
    say_hello_with(node, &id, number, address, None)
}

fn say_hello_with(node: &Server, id: &str, number: u32, address: &str, token: Option<&str>) -> Response {
    let handshake = Handshake {
        protocol: REPLICATION_PROTOCOL,
        node: 7,
        id: id.to_owned(),
        term: (u64::from(number) << 32).to_string(),
        branch: format!("{:016x}", 7),
        role: "primary".to_owned(),
        address: address.to_owned(),
        primary: None,
        primary_heard_ms: None,
        offset: 28,
        given_up: 0,
        check: 0,
    }
    .sealed();
    let body = serde_json::to_vec(&handshake).unwrap();
    let mut headers = vec![("Content-Type", "application/json")];
    let authorization = token.map(|token| format!("Bearer {token}"));
    headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    node.client()
        .request("POST", PATH_REPLICATION_HELLO, &headers, &body)
}

#[track_caller]
fn is_primary_of_term(node: &Server, term: u64) {
    let status = status(node);
    assert_eq!(
        (&status["role"], &status["log"]["term"]),
        (&"primary".into(), &term.into()),
        "{status}"
    );
}

#[test]
fn one_hello_does_not_use_the_terms_up() {
    let first = Member::primary(&[]);
    let second = Member::replica(&[&first], &[]);
    first.set("k", "1");
    become_equal(&[&first, &second]);
    for number in [(1 << 20) + 2, u32::MAX - 1, u32::MAX] {
        for node in [&first, &second] {
            let why = say_hello(&node.server, number, "127.0.0.1:1").expect_problem(422);
            assert!(why.contains("too far above"), "{why}");
        }
        let id = log_id(&first.server);
        let query = LogQuery {
            protocol: REPLICATION_PROTOCOL,
            id: &id,
            after: 28,
            term: u64::from(number) << 32,
            branch: 7,
            last: None,
            wait_ms: 0,
            follower: 7,
            address: "127.0.0.1:1",
            successor: true,
        };
        let target = format!("{PATH_REPLICATION_LOG}?{}", query.to_query());
        first.server.get(&target).expect_problem(400);
    }
    is_primary_of_term(&first.server, 1);
    assert_eq!(
        status(&first.server)["replication"]["successors"],
        serde_json::json!([])
    );
    // The next term is the second.
    second.promote();
    is_primary_of_term(&second.server, 2);
    become_equal(&[&first, &second]);
}

/// A node shows its token to none but the nodes that its operator has named, and those that they name: not to whoever
/// says hello without a token for admin.
#[test]
fn no_token_is_shown_to_an_address_that_a_stranger_names() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = file("tokens", "read reader-0123456789\nadmin admin-01234567890\n");
    let token = file("token", "admin-01234567890\n");
    let mut primary = Member::primary(&["--token-file", &tokens]);
    let (stranger, heard) = listener();
    let (witness, searches) = listener();
    let from = format!("{},{}", primary.link.address(), witness.address());
    let args = ["--token-file", &tokens, "--cluster-token-file", &token];
    let replica = Setup::replica(&from, &args).start();
    let status = || {
        let headers = [("Authorization", "Bearer reader-0123456789")];
        let answer = replica.client().request("GET", "/status", &headers, b"");
        answer.expect(200).body_json()
    };
    eventually("it follows", || status()["replication"]["state"] == "streaming");
    let id = status()["log"]["id"].as_str().unwrap().to_owned();
    let address = stranger.address().to_string();
    for (token, status) in [
        (None, 401),
        (Some("wrong-0123456789"), 401),
        (Some("reader-0123456789"), 403),
    ] {
        for number in [1, 2, 9] {
            say_hello_with(&replica, &id, number, &address, token).expect_problem(status);
        }
    }
    // It looks for a primary everywhere that it knows of.
    primary.server.kill_9();
    let before = searches.load(Relaxed);
    eventually("it has searched a few times", || {
        searches.load(Relaxed) >= before + 3
    });
    assert_eq!(heard.load(Relaxed), 0, "it has called the stranger");
}

/// Something that hears what it is asked, and how often it was.
fn listener() -> (Fake, Arc<AtomicU64>) {
    let heard = Arc::new(AtomicU64::new(0));
    let counter = heard.clone();
    let fake = Fake::start(move |_, _| {
        counter.fetch_add(1, Relaxed);
        Ok(())
    });
    (fake, heard)
}

/// A primary that answers every poll at once, with nothing, is not polled as fast as it answers.
#[test]
fn a_primary_that_answers_at_once_with_nothing_is_polled_with_pauses() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    primary.set("k", "1");
    become_equal(&[&primary, &replica]);
    let polls = Arc::new(AtomicU64::new(0));
    // What the node answered to a poll that brought nothing.
    let empty = Mutex::new(None);
    let answer = {
        let (polls, address) = (polls.clone(), primary.server.address());
        move |method: &str, target: &str, body: &[u8]| -> io::Result<Vec<u8>> {
            let is_poll = target.starts_with(PATH_REPLICATION_LOG);
            if let Some(answer) = empty.lock().unwrap().clone().filter(|_| is_poll) {
                polls.fetch_add(1, Relaxed);
                return Ok(answer);
            }
            let answer = ask(address, method, target, body)?;
            let bytes = on_the_wire(&answer);
            if is_poll && answer.status == 200 && answer.body.is_empty() {
                *empty.lock().unwrap() = Some(bytes.clone());
            }
            Ok(bytes)
        }
    };
    let hasty = answering(answer);
    primary.link.lead_to(hasty.address());
    primary.link.break_connections();
    eventually("it is polled", || polls.load(Relaxed) > 0);
    let (begun, before) = (Instant::now(), polls.load(Relaxed));
    eventually("it polls on", || polls.load(Relaxed) >= before + 50);
    let most = begun.elapsed().as_millis() as u64 / 20 + 2;
    let polled = polls.load(Relaxed) - before;
    assert!(
        polled <= most,
        "{polled} polls in the time of {most}: {}",
        replica.status()
    );
}

/// Offsets do not wrap around at a promotion: how far the log of a primary is written is believed only where a log can
/// reach that.
#[test]
fn a_primary_whose_log_is_longer_than_any_is_not_followed() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    primary.set("k", "1");
    become_equal(&[&primary, &replica]);
    let address = primary.server.address();
    let liar = answering(move |method: &str, target: &str, body: &[u8]| {
        let mut answer = ask(address, method, target, body)?;
        for (name, value) in &mut answer.headers {
            if name.eq_ignore_ascii_case("Pykv-Log") {
                let mut numbers: Vec<&str> = value.split(' ').collect();
                let far = u64::MAX.to_string();
                numbers[2] = &far;
                numbers.pop();
                let numbers = numbers.join(" ");
                *value = format!("{numbers} {}", crc32fast::hash(numbers.as_bytes()));
            }
        }
        Ok(on_the_wire(&answer))
    });
    primary.link.lead_to(liar.address());
    primary.link.break_connections();
    eventually("it says why it does not follow", || {
        replica
            .status()
            .to_string()
            .contains("its log is longer than any")
    });
    let end = status(&replica.server)["log"]["offset"].as_u64().unwrap();
    primary.link.lead_to(address);
    primary.link.break_connections();
    become_equal(&[&primary, &replica]);
    replica.promote();
    replica.set("k", "2");
    let begins = status(&replica.server)["log"]["offset"].as_u64().unwrap();
    assert!((end..1 << 40).contains(&begins), "{begins} after {end}");
}

/// Something that answers each request as a function says.
fn answering(answer: impl Fn(&str, &str, &[u8]) -> io::Result<Vec<u8>> + Send + Sync + 'static) -> Fake {
    Fake::start(move |asked, stream| {
        stream.write_all(&answer(&asked.method, &asked.target, &asked.body)?)?;
        let mut more = BufReader::new(stream.try_clone()?);
        while let Some((method, target, body)) = next_request(&mut more)? {
            stream.write_all(&answer(&method, &target, &body)?)?;
        }
        Ok(())
    })
}

/// What a node answers to a request of another one.
fn ask(address: SocketAddr, method: &str, target: &str, body: &[u8]) -> io::Result<Response> {
    let headers = [("Content-Type", "application/json")];
    Client::try_connect(address)?.try_request(method, target, &headers, body)
}

fn on_the_wire(answer: &Response) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {} OK\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&answer.body);
    bytes
}

/// The next request on a connection: its method, its target and its body.
fn next_request(reader: &mut impl BufRead) -> io::Result<Option<(String, String, Vec<u8>)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    Ok(Some((word(), word(), body)))
}

#[test]
fn an_address_that_leads_to_no_node_is_refused() {
    for advertise in ["0.0.0.0:7001", "[::]:7001"] {
        for command in [&["serve"][..], &["replica", "--from", "127.0.0.1:1"]] {
            let args = [command, &["--listen", "127.0.0.1:0", "--advertise", advertise]].concat();
            let home = tempfile::tempdir().unwrap();
            let output = pykv(&args).dir(home.path()).expect(2);
            let why = format!("--advertise {advertise} leads to no node");
            assert!(output.stderr.contains(&why), "{output:?}");
        }
    }
    let node = Server::start(&[]);
    for address in ["0.0.0.0:7001", "[::]:7001", "a:1\r\nX: y", "a b:1", "a", ""] {
        say_hello(&node, 2, address).expect_problem(422);
    }
    is_primary_of_term(&node, 1);
    assert!(!node.stderr().contains("X: y"));
}
