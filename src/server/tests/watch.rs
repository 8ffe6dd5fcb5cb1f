//! `GET /watch` on the wire: answers that wait, streams, and what stands around them.

use crate::api::{Change, Changes, Problem};
use crate::http::Limits;
use crate::server::tests::client::{Client, Fixture, PATIENCE, get, request};
use std::time::{Duration, Instant};

const EVENTS: &str = "Accept: text/event-stream\r\n";

fn put(client: &mut Client, key: &str, value: &str) -> u64 {
    let answer = client.ask(request("PUT", &format!("/kv/{key}?upsert"), "", value));
    answer.json::<crate::api::Written>().version
}

fn changes(client: &mut Client, query: &str) -> Changes {
    let answer = client.ask(get(&format!("/watch?{query}")));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_poll_gives_the_changes_after_an_offset() {
    let server = Fixture::start();
    let mut client = server.connect();
    let begin = changes(&mut client, "wait=0");
    assert_eq!(begin.changes, []);
    let version = put(&mut client, "a/1", "one");
    put(&mut client, "b", "two");
    assert_eq!(client.ask(request("DELETE", "/kv/a/1", "", "")).status, 204);
    let answer = client.ask(get(&format!("/watch?after={}&limit=1", begin.next)));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let first: Changes = answer.json();
    assert_eq!(first.next, version);
    let Change {
        operation,
        key,
        value,
        version: changed,
        timestamp,
        ..
    } = first.changes.into_iter().next().unwrap();
    assert_eq!(
        (&*operation, &*key, value.as_deref()),
        ("SET", "a/1", Some("one"))
    );
    assert_eq!(changed, version);
    // Some time between 2025 and 2100.
    assert!((1_735_689_600_000..4_102_444_800_000).contains(&timestamp));
    let rest = changes(
        &mut client,
        &format!("after={}&prefix=a%2F&values=false", version),
    );
    let rest_of: Vec<_> = rest
        .changes
        .iter()
        .map(|change| (&*change.operation, &change.value))
        .collect();
    assert_eq!(rest_of, [("DELETE", &None)]);
    // What does not match is passed over once, not every time.
    let none = changes(&mut client, &format!("after={}&prefix=c&wait=0", begin.next));
    assert_eq!((none.changes, none.next), (vec![], rest.next));
    assert_eq!(
        changes(&mut client, &format!("after={}&wait=0.01", rest.next)).next,
        rest.next
    );
}

#[test]
fn a_poll_waits_for_a_change_and_no_longer_than_it_is_told() {
    let server = Fixture::start();
    let (mut watcher, mut writer) = (server.connect(), server.connect());
    watcher.send(get("/watch?prefix=k"));
    // What follows in the pipeline waits its turn.
    watcher.send(get("/healthz"));
    watcher
        .stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(std::io::Read::read(&mut watcher.stream, &mut [0]).is_err());
    watcher.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    put(&mut writer, "other", "v");
    let version = put(&mut writer, "k", "v");
    let answer: Changes = watcher.answer(false).json();
    assert_eq!((answer.changes.len(), answer.next), (1, version));
    assert_eq!(watcher.answer(false).json::<crate::api::Probe>().status, "ok");
    let begun = Instant::now();
    assert_eq!(changes(&mut watcher, "wait=0.3").changes, []);
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&begun.elapsed()));
}

#[test]
fn what_is_not_understood_is_refused_with_its_name() {
    let server = Fixture::start();
    let mut client = server.connect();
    put(&mut client, "k", "v");
    for (query, field) in [
        ("after=x", "after"),
        ("after=-1", "after"),
        ("after=", "after"),
        ("after=abc-7", "after"),
        ("wait=-1", "wait"),
        ("wait=301", "wait"),
        ("wait=nan", "wait"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("values=maybe", "values"),
        ("prefx=a", "prefx"),
    ] {
        let answer = client.ask(get(&format!("/watch?{query}")));
        let problem: Problem = answer.json();
        assert_eq!(
            (answer.status, problem.field.as_deref()),
            (400, Some(field)),
            "{query}"
        );
    }
    for (fields, query, field) in [
        ("Last-Event-ID: x\r\n", "", "Last-Event-ID"),
        ("", "?wait=1", "wait"),
        ("", "?limit=1", "limit"),
    ] {
        let answer = client.ask(request(
            "GET",
            &format!("/watch{query}"),
            &format!("{EVENTS}{fields}"),
            "",
        ));
        let problem: Problem = answer.json();
        assert_eq!(
            (answer.status, problem.field.as_deref()),
            (400, Some(field)),
            "{fields}{query}"
        );
    }
    // Offsets that this history never gave, or of another log.
    for query in [
        "after=1",
        "after=9007199254740992",
        "after=000102030405060708090a0b0c0d0e0f-36",
    ] {
        let answer = client.ask(get(&format!("/watch?{query}")));
        let problem: Problem = answer.json();
        assert_eq!(
            (answer.status, problem.field.as_deref()),
            (410, Some("after")),
            "{query}"
        );
    }
    let other = client.ask(request("GET", "/watch", "Accept: text/html\r\n", ""));
    assert_eq!(other.status, 406);
    assert_eq!(
        client.ask(request("POST", "/watch", "", "")).header("Allow"),
        Some("GET, HEAD")
    );
}

#[test]
fn a_head_gives_the_head_alone() {
    let server = Fixture::start();
    let mut client = server.connect();
    let poll = client.ask(request("HEAD", "/watch", "", ""));
    assert_eq!(
        (poll.status, poll.header("Content-Type")),
        (200, Some("application/json"))
    );
    let stream = client.ask(request("HEAD", "/watch", EVENTS, ""));
    assert_eq!(stream.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(stream.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(client.ask(get("/healthz")).status, 200);
}

/// The events up to one of this version, line by line, as a browser is to read them.
fn events_up_to(client: &mut Client, version: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let end = format!("-{version}");
    while lines
        .last()
        .is_none_or(|line: &String| !(line.starts_with("id: ") && line.ends_with(&end)))
    {
        lines.push(client.chunked_line());
    }
    // event, data and a blank line.
    lines.extend((0..3).map(|_| client.chunked_line()));
    lines
}

#[test]
fn events_come_as_they_happen_and_go_on_after_the_last() {
    let server = Fixture::start();
    let (mut watcher, mut writer) = (server.connect(), server.connect());
    let Changes { next: begin, log, .. } = changes(&mut writer, "wait=0");
    let stream = watcher.ask_head(request("GET", "/watch?prefix=k", EVENTS, ""));
    assert_eq!(
        (stream.status, stream.header("Content-Type")),
        (200, Some("text/event-stream"))
    );
    put(&mut writer, "other", "v");
    let one = put(&mut writer, "k1", "a\nb");
    let lines = events_up_to(&mut watcher, one);
    assert_eq!(
        lines[..3],
        [
            "retry: 1000".to_owned(),
            format!("id: {log}-{begin}"),
            String::new()
        ]
    );
    let id = format!("id: {log}-{one}");
    assert_eq!(lines[3..5], [id, "event: set".to_owned()]);
    let change: Change<'_> = serde_json::from_str(lines[5].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&*change.key, change.value.as_deref(), change.version),
        ("k1", Some("a\nb"), one)
    );
    let two = put(&mut writer, "k1", "c");
    let lines = events_up_to(&mut watcher, two);
    assert_eq!(lines[1], "event: update");
    // Aborted off after the first, a browser asks again with its id, which counts more than the query.
    let mut again = server.connect();
    let fields = format!("{EVENTS}Last-Event-ID: {log}-{one}\r\n");
    again.ask_head(request("GET", "/watch?after=0", &fields, ""));
    let lines = events_up_to(&mut again, two);
    assert_eq!(lines.iter().filter(|line| line.starts_with("event:")).count(), 1);
    // HTTP/1.0 knows no chunks: the close is the end.
    let mut old = server.connect();
    old.send(format!(
        "GET /watch?after={begin} HTTP/1.0\r\n{EVENTS}Connection: keep-alive\r\n\r\n"
    ));
    let head = old.answer(true);
    assert!(head.closes() && head.header("Transfer-Encoding").is_none());
}

#[test]
fn stopping_ends_polls_and_streams_at_once_and_whole() {
    let mut server = Fixture::with_grace(Limits::default(), None, PATIENCE);
    let mut polls: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for poll in &mut polls {
        poll.send(get("/watch?wait=300"));
    }
    let mut stream = server.connect();
    stream.ask_head(request("GET", "/watch", EVENTS, ""));
    assert_eq!(stream.chunked_line(), "retry: 1000");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
    for poll in &mut polls {
        let answer = poll.answer(false);
        assert!(answer.status == 200 && answer.closes());
        assert_eq!(answer.json::<Changes>().changes, []);
    }
    stream.chunked_line();
    stream.chunked_line();
    assert!(stream.is_chunked_end());
}

#[test]
fn tokens_that_may_read_may_watch() {
    let server = Fixture::with(Limits::default(), Some("read r\nwrite w"));
    let mut client = server.connect();
    assert_eq!(client.ask(get("/watch?wait=0")).status, 401);
    for token in ["r", "w"] {
        let fields = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(
            client.ask(request("GET", "/watch?wait=0", &fields, "")).status,
            200
        );
    }
}
