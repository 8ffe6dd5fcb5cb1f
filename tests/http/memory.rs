//! What a node has resident: its entries, what `--max-in-flight` allows, and a little; whatever clients ask for and
//! however slowly they read.
//!
//! `benches/bounds.py` does the same at full size.

use crate::common::client::{BYTES, encode};
use crate::common::{Client, SOON, Server, poll};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// What answers may take in these tests.
const IN_FLIGHT: u64 = 8 * MIB;

/// What a node may have resident beside its entries, what is in flight, and this much a connection.
const BESIDE: u64 = 30 * MIB;
const CONNECTION: u64 = 10 * 1024;

/// How long a node may take to give back what it does not need.
const GIVEN_BACK: Duration = Duration::from_secs(10);

fn start(args: &[&str]) -> Server {
    let bounds = [
        "--max-memory",
        "64MiB",
        "--max-in-flight",
        "8MiB",
        "--max-value",
        "2MiB",
    ];
    Server::start(&[&bounds[..], &["--fsync", "no", "--compact-ratio", "0"], args].concat())
}

/// Stores values of control bytes, of which JSON makes six each; what they take.
fn fill(node: &Server, count: usize, value_bytes: usize) -> u64 {
    let mut client = node.client();
    let value = vec![1; value_bytes];
    for number in 0..count {
        client
            .put(&format!("/kv/v{number}?upsert=true"), &value)
            .expect(201);
    }
    (count * (value_bytes + 100)) as u64
}

/// Asks for the same on many connections, none of which reads, and holds the highest resident memory against the bound.
#[track_caller]
fn ask_and_do_not_read(node: &Server, readers: usize, request: &[u8], entries: u64) {
    let mut clients: Vec<Client> = (0..readers).map(|_| node.client()).collect();
    for client in &mut clients {
        client
            .socket()
            .set_write_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let _ = client.send(request); // What the node does not take is not asked.
    }
    let bound = entries + IN_FLIGHT + readers as u64 * CONNECTION + BESIDE;
    // Until there is nothing new: each has as much as it will get, or waits.
    let (mut highest, mut quiet) = (0, 0);
    poll(SOON, || {
        let resident = node.resident_bytes();
        assert!(
            resident < bound,
            "{} MiB resident of {} allowed",
            resident / MIB,
            bound / MIB
        );
        quiet = if resident > highest { 0 } else { quiet + 1 };
        highest = highest.max(resident);
        quiet > 400
    });
    drop(clients);
    let left = entries + BESIDE;
    assert!(
        poll(GIVEN_BACK, || node.resident_bytes() < left),
        "{} MiB resident of {} after all had gone",
        node.resident_bytes() / MIB,
        left / MIB
    );
}

fn get(target: &str) -> Vec<u8> {
    encode("GET", target, &[], b"")
}

#[test]
fn values_that_nobody_reads_are_bounded() {
    let node = start(&[]);
    let entries = fill(&node, 4, 2 << 20);
    // Each is 12 MiB of JSON, which is more than all together may take.
    ask_and_do_not_read(&node, 40, &get("/kv/v0"), entries);
    ask_and_do_not_read(&node, 40, &get("/kv/v0?raw").repeat(3), entries);
}

#[test]
fn lists_that_nobody_reads_are_bounded() {
    let node = start(&[]);
    let entries = fill(&node, 12, 1 << 20) + fill_more(&node, 3000, 1000);
    ask_and_do_not_read(&node, 60, &get("/kv/?values=true&limit=1000").repeat(3), entries);
    ask_and_do_not_read(&node, 60, &get("/kv/?limit=1000").repeat(300), entries);
}

fn fill_more(node: &Server, count: usize, value_bytes: usize) -> u64 {
    let mut client = node.client();
    let value = vec![1; value_bytes];
    let requests: Vec<u8> = (0..count)
        .flat_map(|number| encode("PUT", &format!("/kv/w{number}?upsert=true"), &BYTES, &value))
        .collect();
    thread::scope(|scope| {
        let mut writer = Client::connect(node.address());
        std::mem::swap(&mut writer, &mut client);
        let socket = writer.socket().try_clone().unwrap();
        scope.spawn(move || {
            use std::io::Write;
            (&socket).write_all(&requests).unwrap();
        });
        for _ in 0..count {
            writer.response(false).unwrap().expect(201);
        }
    });
    (count * (value_bytes + 100)) as u64
}

#[test]
fn watches_and_backups_that_nobody_reads_are_bounded() {
    let node = start(&[]);
    let entries = fill(&node, 16, 1 << 20);
    ask_and_do_not_read(&node, 60, &get("/watch?after=0").repeat(3), entries);
    let events = [("Accept", "text/event-stream")];
    ask_and_do_not_read(&node, 60, &encode("GET", "/watch?after=0", &events, b""), entries);
    ask_and_do_not_read(&node, 20, &get("/backup"), entries);
}

#[test]
fn batches_that_nobody_reads_are_bounded() {
    let node = start(&[]);
    let entries = fill(&node, 100, 60_000);
    let gets: Vec<String> = (0..60)
        .map(|n| format!("{{\"op\":\"get\",\"key\":\"v{n}\"}}"))
        .collect();
    let body = format!("{{\"operations\":[{}]}}", gets.join(","));
    let request = encode("POST", "/batch", &crate::common::client::JSON, body.as_bytes());
    ask_and_do_not_read(&node, 60, &request.repeat(3), entries);
}

/// One that is larger than all that answers may take is answered, and not refused for good.
#[test]
fn one_answer_larger_than_the_budget_is_given() {
    let node = start(&[]);
    // Its JSON is 12 MiB, of 8 that all answers together may take.
    let value = vec![1; 2 << 20];
    let mut client = node.client();
    client.put("/kv/v?upsert=true", &value).expect(201);
    let answer = client.get("/kv/v").expect(200);
    assert_eq!(answer.body_json()["value"].as_str().unwrap().len(), value.len());
    let listed = client.get("/kv/?values=true").expect(200).body_json();
    assert_eq!(listed["entries"][0]["value"].as_str().unwrap().len(), value.len());
    let changes = client.get("/watch?after=0").expect(200).body_json();
    assert_eq!(
        changes["changes"][0]["value"].as_str().unwrap().len(),
        value.len()
    );
    let operations = serde_json::json!({"operations": [{"op": "get", "key": "v"}]});
    let batch = client.json("POST", "/batch", &operations).expect(200).body_json();
    assert_eq!(batch["results"][0]["value"].as_str().unwrap().len(), value.len());
    assert_eq!(client.get("/kv/v?raw").expect(200).body, value);
}

/// Those who wait for others' answers to go get theirs, in their turn.
#[test]
fn those_who_wait_get_their_answers() {
    let node = start(&[]);
    let entries = fill(&node, 4, 2 << 20);
    let request = get("/kv/v1?raw");
    let served = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let mut client = node.client();
                client.send(&request).unwrap();
                assert_eq!(client.response(false).unwrap().expect(200).body.len(), 2 << 20);
                served.fetch_add(1, Relaxed);
            });
        }
    });
    assert_eq!(served.load(Relaxed), 40);
    assert!(node.resident_bytes() < entries + IN_FLIGHT + BESIDE + 40 * CONNECTION);
}

/// An answer for a client that has gone is stopped: nothing of it is held, and others get what it took.
#[test]
fn who_has_gone_holds_nothing() {
    let node = start(&[]);
    fill(&node, 4, 2 << 20);
    for _ in 0..30 {
        let mut client = node.client();
        client.send(&get("/kv/v1").repeat(3)).unwrap();
        let mut some = [0; 1000];
        client
            .socket()
            .try_clone()
            .unwrap()
            .read_exact(&mut some)
            .unwrap();
    }
    let mut client = node.client();
    client.get("/kv/v2?raw").expect(200);
    client.get("/kv/?values=true").expect(200);
}

/// Values of another size take the place of those before: what those took is given back, and all of it once all keys
/// are gone, though nobody asks anything of the node any more.
#[test]
fn resident_memory_follows_the_entries() {
    let node = start(&[]);
    let mut number = 0;
    for value_bytes in [72, 3000, 200_000, 1_000_000, 2000] {
        let count = (64 << 20) / (value_bytes + 200);
        let mut client = node.client();
        while number % count != count - 1 {
            let some = (count - 1 - number % count).min(if value_bytes < 10_000 { 200 } else { 1 });
            let value = vec![b'v'; value_bytes];
            let requests: Vec<u8> = (number..number + some)
                .flat_map(|n| encode("PUT", &format!("/kv/k{n}?upsert=true"), &BYTES, &value))
                .collect();
            client.send(&requests).unwrap();
            for _ in 0..some {
                client.response(false).unwrap().expect(201);
            }
            number += some;
        }
        number += 1;
        // What was freed is given back a moment later.
        assert!(
            poll(GIVEN_BACK, || node.resident_bytes() < 64 * MIB * 3 / 2),
            "{} MiB resident with values of {value_bytes} bytes",
            node.resident_bytes() / MIB
        );
    }
    node.client().delete("/kv/?prefix=").expect(200);
    assert!(
        poll(GIVEN_BACK, || node.resident_bytes() < BESIDE),
        "{} MiB resident without an entry",
        node.resident_bytes() / MIB
    );
}

/// A large value takes the place of many thousand small ones, which are evicted some at a time. Others are served
/// meanwhile, the bound holds, and the log has each eviction.
#[test]
fn a_large_value_makes_room_in_many_steps() {
    let mut node = Server::start(&["--max-memory", "24MiB", "--max-value", "16MiB", "--fsync", "no"]);
    let mut client = node.client();
    let stored = 200_000;
    for start in (0..stored).step_by(500) {
        let requests: Vec<u8> = (start..start + 500)
            .flat_map(|n| encode("PUT", &format!("/kv/small{n}?upsert=true"), &BYTES, b"value"))
            .collect();
        client.send(&requests).unwrap();
        for _ in 0..500 {
            client.response(false).unwrap().expect(201);
        }
    }
    let before = client.get("/stats").body_json();
    let is_over = AtomicBool::new(false);
    let address: SocketAddr = node.address();
    thread::scope(|scope| {
        // Another that writes takes nothing of what is kept for the large one.
        scope.spawn(|| {
            let mut client = Client::connect(address);
            let mut number = 0;
            while !is_over.load(Relaxed) {
                client
                    .put(&format!("/kv/other{number}?upsert=true"), b"value")
                    .expect(201);
                let stats = client.get("/stats").body_json();
                assert!(stats["bytes"].as_u64().unwrap() <= 24 << 20, "{stats}");
                number += 1;
            }
        });
        for number in 0..3 {
            let value = vec![b'v'; 12 << 20];
            client
                .put(&format!("/kv/large{number}?upsert=true"), &value)
                .expect(201);
            assert_eq!(
                client.get(&format!("/kv/large{number}?raw")).expect(200).body,
                value
            );
        }
        is_over.store(true, Relaxed);
    });
    let after = client.get("/stats").body_json();
    let evictions = |stats: &serde_json::Value| stats["evictions"].as_u64().unwrap();
    assert!(
        evictions(&after) - evictions(&before) > 50_000,
        "{before} {after}"
    );
    client.get("/kv/small0").expect(404);
    drop(client);
    let digest = |node: &Server| node.get("/status").body_json()["log"]["digest"].clone();
    let before = digest(&node);
    node.kill_9();
    node.start_again();
    assert_eq!(digest(&node), before, "replay comes to the same");
    assert!(TcpStream::connect(node.address()).is_ok());
}

/// The highest resident memory of a node while something is done.
fn highest_resident(node: &Server, work: impl FnOnce()) -> u64 {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut highest = 0;
            while !is_over.load(Relaxed) {
                highest = highest.max(node.resident_bytes());
                thread::yield_now();
            }
            highest
        });
        work();
        is_over.store(true, Relaxed);
        watcher.join().unwrap()
    })
}

/// Bytes of records that may wait to be written in these tests.
const UNWRITTEN: u64 = 4 * MIB;

/// Many clients append to one large value, or give it another deadline: a value is made anew by a few of them at a time.
#[test]
fn edits_of_one_large_value_are_bounded() {
    const CLIENTS: usize = 32;
    const EDITS: u64 = 64;
    let node = start(&["--max-unwritten", "4MiB"]);
    node.client()
        .put("/kv/log?upsert=true", &vec![b'v'; 2_000_000])
        .expect(201);
    let done = AtomicU64::new(0);
    let deadline = Instant::now() + SOON;
    let highest = highest_resident(&node, || {
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let (node, done) = (&node, &done);
                scope.spawn(move || {
                    let mut client = node.client();
                    let body = match number % 2 {
                        0 => serde_json::json!({"append": "x"}),
                        _ => serde_json::json!({"ttl": 1000}),
                    };
                    // Those beyond the bound are refused at once, so who is refused asks again.
                    while done.load(Relaxed) < EDITS {
                        let answer = client.json("PATCH", "/kv/log", &body);
                        assert!([200, 503].contains(&answer.status), "{answer:?}");
                        done.fetch_add(u64::from(answer.is_success()), Relaxed);
                        assert!(Instant::now() < deadline, "{done:?} of {EDITS} edits are made");
                    }
                });
            }
        });
    });
    let bound = 2 * MIB + IN_FLIGHT + UNWRITTEN + CLIENTS as u64 * CONNECTION + BESIDE;
    assert!(
        highest < bound,
        "{} MiB resident of {} allowed",
        highest / MIB,
        bound / MIB
    );
}
