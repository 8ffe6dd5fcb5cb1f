//! Watching: `GET /watch` and `pykv watch` against the real binary.

use crate::common::cli::Background;
use crate::common::{Client, SOON, Server, eventually, node::Setup, pykv};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const EVENTS: [(&str, &str); 1] = [("Accept", "text/event-stream")];

fn put(client: &mut Client, key: &str, value: &[u8]) -> u64 {
    let answer = client.put(&format!("/kv/{key}?upsert=true"), value);
    assert!(answer.is_success(), "{answer:?}");
    answer.version()
}

fn watch(client: &mut Client, query: &str) -> (Vec<Value>, u64) {
    let answer = client.get(&format!("/watch?{query}")).expect(200).body_json();
    let changes = answer["changes"].as_array().unwrap().clone();
    (changes, answer["next"].as_u64().unwrap())
}

#[test]
fn polls_lose_nothing_and_repeat_nothing_under_writers() {
    const WRITES: usize = 600;
    let node = Server::start(&["--segment-size", "16KiB"]);
    let begin = watch(&mut node.client(), "wait=0").1;
    let (versions, polled) = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let mut client = node.client();
                scope.spawn(move || {
                    let key = |n: usize| format!("{}{}", ["a:", "b:"][n % 2], writer * 7 + n % 5);
                    let mut put_one = |n| (n % 2 == 0, put(&mut client, &key(n), n.to_string().as_bytes()));
                    (0..WRITES).map(&mut put_one).collect::<Vec<_>>()
                })
            })
            .collect();
        let pollers: Vec<_> = [("", 7), ("a:", 1000), ("a:", 50)]
            .map(|(prefix, limit)| {
                let mut client = node.client();
                let wanted = if prefix.is_empty() {
                    3 * WRITES
                } else {
                    3 * WRITES / 2
                };
                scope.spawn(move || {
                    let (mut versions, mut after) = (Vec::new(), begin);
                    while versions.len() < wanted {
                        let (changes, next) = watch(
                            &mut client,
                            &format!("after={after}&prefix={prefix}&limit={limit}"),
                        );
                        assert!(!changes.is_empty() && changes.len() <= limit);
                        versions.extend(changes.iter().map(|change| change["version"].as_u64().unwrap()));
                        after = next;
                    }
                    versions
                })
            })
            .into_iter()
            .collect();
        let written: Vec<_> = writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect();
        let polled: Vec<_> = pollers.into_iter().map(|poller| poller.join().unwrap()).collect();
        (written, polled)
    });
    let all: BTreeSet<u64> = versions.iter().map(|(_, version)| *version).collect();
    let of_a: BTreeSet<u64> = versions
        .iter()
        .filter(|(is_a, _)| *is_a)
        .map(|(_, version)| *version)
        .collect();
    for (polled, expected) in polled.iter().zip([&all, &of_a, &of_a]) {
        // In order, and so each once.
        assert!(polled.is_sorted_by(|before, after| before < after));
        assert!(polled.iter().eq(expected));
    }
}

#[test]
fn a_change_says_what_became_of_its_key() {
    let mut node = Server::start(&["--max-capacity", "2"]);
    let mut client = node.client();
    let begin = watch(&mut client, "wait=0").1;
    put(&mut client, "a", b"1");
    put(&mut client, "a", b"\xff");
    put(&mut client, "b", b"2");
    put(&mut client, "c", b"3");
    client.delete("/kv/b").expect(204);
    let (changes, next) = watch(&mut client, &format!("after={begin}"));
    let told: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change["operation"].as_str().unwrap(),
                change["key"].as_str().unwrap(),
            )
        })
        .collect();
    let evicted = told.iter().position(|told| *told == ("EVICT", "a")).unwrap();
    let others: Vec<_> = told.iter().filter(|told| told.0 != "EVICT").copied().collect();
    let expected = [
        ("SET", "a"),
        ("UPDATE", "a"),
        ("SET", "b"),
        ("SET", "c"),
        ("DELETE", "b"),
    ];
    assert_eq!((told.len(), others.as_slice()), (6, &expected[..]));
    assert!(changes[evicted].get("value").is_none());
    assert_eq!(
        (&changes[1]["value"], &changes[1]["encoding"]),
        (&"/w==".into(), &"base64".into())
    );
    assert_eq!(changes.last().unwrap()["version"], next);
    // The same without values, and from a log that a crash and a stop in order have interrupted.
    node.restart();
    node.sigterm();
    node.start_again();
    let mut client = node.client();
    put(&mut client, "d", b"4");
    let (again, _) = watch(&mut client, &format!("after={begin}&values=false"));
    assert_eq!(again.len(), 7, "a SET more: {again:?}");
    for (one, other) in changes.iter().zip(&again) {
        assert_eq!(one["version"], other["version"]);
        assert!(other.get("value").is_none());
    }
}

#[test]
fn deadlines_are_told() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let begin = watch(&mut client, "wait=0").1;
    client.put("/kv/k?upsert=true&ttl=0.3", b"v").expect(201);
    client.put("/kv/a?upsert=true", b"1").expect(201);
    client.put("/kv/b?upsert=true&ttl=1000", b"2").expect(201);
    let (mut told, mut after) = (Vec::new(), begin);
    while told.len() < 4 {
        let (changes, next) = watch(&mut client, &format!("after={after}&limit=1"));
        told.extend(changes);
        after = next;
    }
    let names: Vec<_> = told
        .iter()
        .map(|change| {
            (
                change["operation"].as_str().unwrap(),
                change["key"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(names, [("SET", "k"), ("SET", "a"), ("SET", "b"), ("EXPIRE", "k")]);
    let number = |change: &Value, name: &str| change[name].as_u64().unwrap();
    let lives = number(&told[0], "expires_at_ms") - number(&told[0], "timestamp");
    assert!((300..2000).contains(&lives), "{lives} ms");
    assert!(number(&told[3], "timestamp") >= number(&told[0], "expires_at_ms"));
    assert!(told[1].get("expires_at").is_none() && told[2]["expires_at"].is_string());
}

#[test]
fn what_is_gone_is_told_from_what_never_was() {
    let node = Server::start(&["--segment-size", "4KiB"]);
    let mut client = node.client();
    let versions: Vec<_> = (0..20)
        .map(|n| put(&mut client, &format!("k{n}"), &[b'x'; 1000]))
        .collect();
    let segments = crate::common::files::log_files(node.dir());
    // The first one has nothing but the beginning of the log.
    std::fs::remove_file(&segments[0]).unwrap();
    std::fs::remove_file(&segments[1]).unwrap();
    let oldest: u64 = segments[2].file_stem().unwrap().to_str().unwrap()[4..]
        .parse()
        .unwrap();
    for after in [0, versions[0]] {
        for headers in [&[][..], &EVENTS] {
            let answer = client.request("GET", &format!("/watch?after={after}"), headers, b"");
            let detail = answer.expect_problem(410);
            assert!(detail.contains(&oldest.to_string()), "{detail}");
            assert_eq!(answer.body_json()["oldest"], oldest);
        }
    }
    assert!(!watch(&mut client, &format!("after={oldest}")).0.is_empty());
    let last = versions[versions.len() - 1];
    for (after, why) in [(last + 1, "the log ends at"), (versions[10] + 1, "no record")] {
        let answer = client.get(&format!("/watch?after={after}"));
        assert!(answer.expect_problem(410).contains(why));
        assert_eq!(answer.body_json()["field"], "after");
    }
    let command = pykv(&["watch", "--after", "0"]).at(&node).expect(6);
    assert!(command.stderr.contains(&oldest.to_string()), "{}", command.stderr);
}

#[test]
fn a_watcher_that_does_not_read_holds_up_nobody() {
    let node = Server::start(&["--answer-timeout", "1s"]);
    let mut watcher = node.client();
    watcher
        .send(&crate::common::client::encode("GET", "/watch", &EVENTS, b""))
        .unwrap();
    let mut writer = node.client();
    let is_watched = |node: &Server| node.get("/stats").body_json()["connections"]["open"] == 3;
    assert!(is_watched(&node));
    // Far more than the sockets of both sides hold.
    let value = vec![b'x'; 500_000];
    let slowest = (0..60)
        .map(|_| {
            let begun = Instant::now();
            put(&mut writer, "k", &value);
            begun.elapsed()
        })
        .max();
    assert!(slowest < Some(Duration::from_secs(5)), "{slowest:?}");
    eventually("the watcher is cut off", || {
        // The request that asks is the second.
        node.get("/stats").body_json()["connections"]["open"] == 2
    });
    drop(watcher);
}

/// Processor time of the node, in ticks of 10 ms; see proc(5).
fn ticks(node: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_thousand_idle_watchers_cost_no_processor_and_end_at_once() {
    const WATCHERS: usize = 1000;
    let mut node = Server::start(&[]);
    let mut watchers: Vec<_> = (0..WATCHERS).map(|_| node.client()).collect();
    for (n, watcher) in watchers.iter_mut().enumerate() {
        let target = if n % 2 == 0 {
            "/watch?wait=300"
        } else {
            "/watch?wait=300&prefix=k"
        };
        watcher
            .send(&crate::common::client::encode("GET", target, &[], b""))
            .unwrap();
    }
    // What they do to come to rest is not counted.
    let mut before = ticks(&node);
    eventually("all are at rest", || {
        thread::sleep(Duration::from_millis(200)); // What is counted is the work in that time.
        before == std::mem::replace(&mut before, ticks(&node))
    });
    thread::sleep(Duration::from_secs(2)); // What is counted is the work in that time.
    let spent = ticks(&node) - before;
    assert!(spent <= 5, "{spent} ticks in 2 s");
    let version = put(&mut node.client(), "k", b"v");
    for watcher in &mut watchers {
        let answer = watcher.response(false).unwrap().expect(200).body_json();
        assert_eq!(
            (answer["changes"].as_array().unwrap().len(), &answer["next"]),
            (1, &version.into())
        );
        watcher
            .send(&crate::common::client::encode("GET", "/watch?wait=300", &[], b""))
            .unwrap();
    }
    let begun = Instant::now();
    node.signal(Signal::TERM);
    assert!(node.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Watchers that look for something else take a bounded share of the processor from writers.
#[test]
fn watchers_of_other_keys_look_now_and_then() {
    let node = Server::start(&[]);
    let mut watchers: Vec<_> = (0..500).map(|_| node.client()).collect();
    for watcher in &mut watchers {
        let target = "/watch?wait=300&prefix=other";
        watcher
            .send(&crate::common::client::encode("GET", target, &[], b""))
            .unwrap();
    }
    let mut writer = node.client();
    let begun = Instant::now();
    let mut writes = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        put(&mut writer, "k", b"v");
        writes += 1;
    }
    assert!(writes > 200, "{writes} writes in a second beside 500 watchers");
    put(&mut writer, "other", b"v");
    for watcher in &mut watchers {
        let answer = watcher.response(false).unwrap().expect(200).body_json();
        assert_eq!(answer["changes"][0]["key"], "other");
    }
}

/// A poll that waits for a quiet key is not lost where the log before it goes.
#[test]
fn a_watcher_of_a_quiet_key_waits_over_compactions() {
    let node = Server::start(&["--log-backlog", "0"]);
    let mut writer = node.client();
    let offset = put(&mut writer, "busy", b"0");
    let mut watcher = node.client();
    let target = format!("/watch?wait=300&prefix=quiet&after={offset}");
    watcher
        .send(&crate::common::client::encode("GET", &target, &[], b""))
        .unwrap();
    for _ in 0..3 {
        for _ in 0..50 {
            put(&mut writer, "busy", &[b'v'; 4096]);
        }
        pykv(&["compact"]).at(&node).succeed();
    }
    put(&mut writer, "quiet", b"1");
    let answer = watcher.response(false).unwrap().expect(200).body_json();
    assert_eq!(answer["changes"][0]["key"], "quiet");
    assert_eq!(answer["changes"].as_array().unwrap().len(), 1);
}

#[test]
fn tokens_open_what_they_may_read() {
    let (dir, path) = token_file("read reader\nadmin root\n");
    let node = Server::start(&["--token-file", path.to_str().unwrap()]);
    node.get("/watch?wait=0").expect(401);
    let bearer = [("Authorization", "Bearer reader")];
    node.client()
        .request("GET", "/watch?wait=0", &bearer, b"")
        .expect(200);
    assert_eq!(pykv(&["watch"]).at(&node).run().code, Some(5));
    drop(dir);
}

fn token_file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    (dir, path)
}

/// An address that stays while the node behind it comes and goes.
struct Front {
    address: SocketAddr,
    node: Arc<Mutex<SocketAddr>>,
}

impl Front {
    fn of(node: &Server) -> Front {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(node.address()));
        let node = Arc::clone(&behind);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let node = *node.lock().unwrap();
                if let Ok(server) = TcpStream::connect(node) {
                    pipe(client.try_clone().unwrap(), server.try_clone().unwrap());
                    pipe(server, client);
                }
            }
        });
        Front {
            address,
            node: behind,
        }
    }

    fn is_now_of(&self, node: &Server) {
        *self.node.lock().unwrap() = node.address();
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

#[test]
fn the_command_goes_on_over_restarts_and_misses_nothing() {
    let mut node = Server::start(&[]);
    let front = Front::of(&node);
    let first = put(&mut node.client(), "k0", b"0");
    let mut command = pykv(&[
        "watch",
        "k",
        "--after",
        "0",
        "--server",
        &front.address.to_string(),
    ])
    .spawn();
    let Background(child) = &mut command;
    let printed = lines(child.stdout.take().unwrap());
    let said = lines(child.stderr.take().unwrap());
    let next = || -> Value { serde_json::from_str(&printed.recv_timeout(SOON).unwrap()).unwrap() };
    let change = next();
    assert_eq!(
        (&change["key"], &change["value"], &change["version"]),
        (&"k0".into(), &"0".into(), &first.into())
    );
    for round in 1..=3 {
        put(&mut node.client(), "other", b"");
        if round == 2 {
            node.sigterm();
        } else {
            node.kill_9();
        }
        let trouble = said.recv_timeout(SOON).unwrap();
        assert!(
            trouble.starts_with("pykv: ") && trouble.contains("trying again"),
            "{trouble}"
        );
        node.start_again();
        let versions = [0, 1].map(|_| put(&mut node.client(), "k", round.to_string().as_bytes()));
        front.is_now_of(&node);
        for version in versions {
            let change = next();
            assert_eq!(
                (&change["value"], &change["version"]),
                (&round.to_string().into(), &version.into())
            );
        }
        assert_eq!(said.recv_timeout(SOON).unwrap(), "pykv: the node answers again");
    }
}

#[test]
fn the_command_ends_where_it_is_told_to() {
    let node = Server::start(&[]);
    let mut client = node.client();
    let versions: Vec<_> = (0..5).map(|n| put(&mut client, &format!("k{n}"), b"v")).collect();
    let after = versions[0].to_string();
    let args = ["watch", "k", "--after", &after, "--limit", "3", "--no-values"];
    let printed = String::from_utf8(pykv(&args).at(&node).succeed()).unwrap();
    let changes: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let printed: Vec<_> = changes
        .iter()
        .map(|change| change["version"].as_u64().unwrap())
        .collect();
    assert_eq!(printed, versions[1..4]);
    assert!(changes.iter().all(|change| change.get("value").is_none()));
    // Each line says where to go on behind it.
    let next = changes[1]["next"].as_str().unwrap();
    let printed = pykv(&["watch", "--after", next, "--limit", "1"])
        .at(&node)
        .succeed();
    let change: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(change["version"].as_u64(), Some(versions[3]));
    // Nobody reads on: no failure of the command.
    let mut command = pykv(&["watch", "--after", "0"]).at(&node).spawn();
    let stdout = command.0.stdout.take().unwrap();
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    eventually("it ends", || {
        put(&mut client, "k", b"v");
        command.0.try_wait().unwrap().is_some()
    });
    assert!(command.0.wait().unwrap().success());
    let nowhere = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    pykv(&["watch", "--server", &nowhere]).expect(3);
    pykv(&["watch", "--after", "1"]).at(&node).expect(6);
    for wrong in ["x", "", "-1", "7-1", "0123-1"] {
        pykv(&["watch", "--after", wrong]).at(&node).expect(2);
    }
}

/// Its offsets are of another history, whatever it holds.
#[test]
fn the_command_does_not_go_on_in_another_store() {
    let mut node = Server::start(&[]);
    let front = Front::of(&node);
    put(&mut node.client(), "k", b"v");
    let server = front.address.to_string();
    let mut command = pykv(&["watch", "--after", "0", "--server", &server]).spawn();
    let printed = lines(command.0.stdout.take().unwrap());
    let said = lines(command.0.stderr.take().unwrap());
    printed.recv_timeout(SOON).unwrap();
    node.sigterm();
    std::fs::remove_dir_all(node.dir()).unwrap();
    node.start_again();
    put(&mut node.client(), "k", b"v");
    front.is_now_of(&node);
    assert_eq!(command.0.wait().unwrap().code(), Some(6));
    let said: Vec<String> = said.iter().collect();
    assert!(said.last().unwrap().contains("this node's log is"), "{said:?}");
    assert!(printed.iter().next().is_none());
}

#[test]
fn a_place_of_one_store_is_none_of_another_from_the_same_backup() {
    let home = tempfile::tempdir().unwrap();
    let backup = home.path().join("backup");
    let node = Server::start(&[]);
    put(&mut node.client(), "k", b"v");
    pykv(&["backup"]).arg(&backup).at(&node).succeed();
    let restored = ["a", "b"].map(|name| {
        let dir = home.path().join(name);
        let restored = pykv(&["restore", "--json"]).arg(&backup).dir(&dir).succeed();
        let restored: Value = serde_json::from_slice(&restored).unwrap();
        let node = Setup::new(&[]).data(&dir).start();
        (node, restored["offset"].as_u64().unwrap())
    });
    let [(one, offset), (other, _)] = &restored;
    let watched = |after: &str, node: &Server| pykv(&["watch", "--limit", "1", "--after", after]).at(node);
    let start = one.get("/watch?wait=0").body_json();
    let place = format!("{}-{offset}", start["log"].as_str().unwrap());
    put(&mut one.client(), "k", b"v");
    put(&mut other.client(), "k", b"v");
    // The bare offset is one of both.
    watched(&offset.to_string(), other).succeed();
    let line: Value = serde_json::from_slice(&watched(&place, one).succeed()).unwrap();
    let next = line["next"].as_str().unwrap();
    for place in [&place, next] {
        let refused = watched(place, other).expect(6);
        assert!(refused.stderr.contains("HTTP 410"), "{refused:?}");
    }
}

#[test]
fn events_reach_a_client_that_reads_them_line_by_line() {
    let node = Server::start(&[]);
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // HTTP/1.0 spares this client the chunks.
    stream
        .write_all(b"GET /watch?prefix=k HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    assert!(
        lines
            .by_ref()
            .any(|line| line == "Content-Type: text/event-stream")
    );
    assert!(lines.by_ref().any(|line| line.starts_with("id: ")));
    let version = put(&mut node.client(), "k", b"v");
    let event: Vec<_> = lines
        .skip_while(|line| !line.ends_with(&format!("-{version}")))
        .take(3)
        .collect();
    assert_eq!(event[1], "event: set");
    let data: Value = serde_json::from_str(event[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data["value"], "v");
}
