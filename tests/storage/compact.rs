//! Compaction on the real binary: under load, over crashes, by itself, and of a directory.

use crate::common::client::BYTES;
use crate::common::{Client, Random, Server, cli, eventually, poll, pykv, setting};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

fn log_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let of_the_log = files.filter(|file| {
        file.path()
            .extension()
            .is_some_and(|extension| extension == "pykv")
    });
    of_the_log.map(|file| file.metadata().unwrap().len()).sum()
}

/// The files of a log, but for the lock.
fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "LOCK").collect()
}

fn compact(node: &Server) -> Value {
    node.client()
        .request("POST", "/compact?wait=true", &[], b"")
        .expect(200)
        .body_json()
}

/// Offset and digest, at a moment when nothing is written.
fn state(node: &Server) -> (u64, String) {
    let log = &node.get("/status").expect(200).body_json()["log"];
    assert_eq!(log["offset"], log["digest_offset"]);
    (
        log["offset"].as_u64().unwrap(),
        log["digest"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn the_log_becomes_as_small_as_what_is_live() {
    let node = Server::start(&["--log-backlog", "0", "--compact-ratio", "0"]);
    let mut client = node.client();
    let value = vec![b'v'; 1000];
    for n in 0..3000 {
        client
            .put(&format!("/kv/{}?upsert=true", n % 300), &value)
            .expect(if n < 300 { 201 } else { 200 });
    }
    let before = state(&node);
    let story = |node: &Server| {
        let mut last = HashMap::new();
        for record in cli::log_records(node.dir()) {
            if let Some(key) = record["key"].as_str() {
                last.insert(
                    key.to_owned(),
                    (record["value"].clone(), record["version"].clone()),
                );
            }
        }
        last
    };
    let told = story(&node);
    let done = compact(&node);
    assert!(done["bytes_before"].as_u64().unwrap() > 3_000_000, "{done}");
    assert_eq!(
        done["bytes_after"].as_u64().unwrap(),
        log_bytes(node.dir()),
        "{done}"
    );
    assert!(log_bytes(node.dir()) < 300 * 1000 * 13 / 10);
    assert_eq!((state(&node), story(&node)), (before.clone(), told));
    let status = node.get("/status").body_json();
    assert_eq!(status["compaction"]["last"], done, "{status}");
    assert_eq!(status["compaction"]["running"], Value::Null);
}

/// What nobody follows is kept up to a tenth of what is live, unless more is asked for; and a file is kept or not.
#[test]
fn what_nobody_follows_is_not_kept() {
    const LIVE_BYTES: u64 = 300 * 1000;
    for (args, is_kept) in [(&[][..], false), (&["--log-backlog", "1MiB"], true)] {
        let node = Server::start(&[&["--compact-ratio", "0"], args].concat());
        let mut client = node.client();
        for n in 0..3000 {
            let answer = client.put(&format!("/kv/{}?upsert=true", n % 300), &[b'v'; 1000]);
            assert!(answer.is_success(), "{answer:?}");
        }
        let done = compact(&node);
        let bytes = log_bytes(node.dir());
        assert_eq!(bytes > LIVE_BYTES * 13 / 10, is_kept, "{bytes} bytes: {done}");
    }
}

#[test]
fn a_command_asks_for_it_and_says_what_it_did() {
    let node = Server::start(&["--log-backlog", "0"]);
    for n in 0..100 {
        node.client()
            .put(&format!("/kv/{}?upsert=true", n % 10), &[b'v'; 500]);
    }
    let said = String::from_utf8(pykv(&["compact"]).at(&node).succeed()).unwrap();
    assert!(said.contains("10 entries") && said.lines().count() == 1, "{said}");
    let json: Value = serde_json::from_slice(&pykv(&["compact", "--json"]).at(&node).succeed()).unwrap();
    assert_eq!(
        (&json["entries"], &json["cause"]),
        (&10.into(), &"request".into())
    );
    let status = String::from_utf8(pykv(&["status"]).at(&node).succeed()).unwrap();
    assert!(status.contains("compact"), "{status}");
    // 202 with the number of the job, which the status then knows.
    let accepted = node
        .client()
        .request("POST", "/compact", &[], b"")
        .expect(202)
        .body_json();
    let job = accepted["job"].as_u64().unwrap();
    eventually("its end", || {
        node.get("/status").body_json()["compaction"]["last"]["job"].as_u64() >= Some(job)
    });
    node.client()
        .request("POST", "/compact?wait=soon", &[], b"")
        .expect_problem(400);
    node.client().get("/compact").expect_problem(405);
}

#[test]
fn a_directory_that_no_process_has_is_compacted_too() {
    let mut node = Server::start(&["--max-capacity", "50"]);
    for n in 0..500 {
        node.client()
            .put(&format!("/kv/{}?upsert=true", n % 70), b"value");
    }
    let held = pykv(&["compact", "--dir"]).arg(node.dir()).run();
    assert_eq!(held.code, Some(8), "{held:?}");
    assert!(held.stderr.contains("open in another process"), "{held:?}");
    let (_, digest) = state(&node);
    node.sigterm();
    let before = log_bytes(node.dir());
    pykv(&["compact", "--dir"]).arg(node.dir()).succeed();
    assert!(log_bytes(node.dir()) < before);
    let checked = String::from_utf8(pykv(&["check"]).dir(node.dir()).succeed()).unwrap();
    assert!(checked.contains(&digest), "{checked}, not {digest}");
    node.start_again();
    assert_eq!(state(&node).1, digest);
    let absent = node.home().join("absent");
    pykv(&["compact", "--dir"]).arg(&absent).expect(8);
    assert!(!absent.exists(), "a directory is not made by looking for one");
}

#[test]
fn a_log_that_grows_is_compacted_by_itself() {
    let node = Server::start(&[
        "--compact-min",
        "200KiB",
        "--compact-ratio",
        "2",
        "--log-backlog",
        "0",
    ]);
    let mut client = node.client();
    eventually("a compaction", || {
        for n in 0..50 {
            client.put(&format!("/kv/{n}?upsert=true"), &[b'v'; 1000]);
        }
        let last = &node.get("/status").body_json()["compaction"]["last"];
        last["cause"] == "growth" && last["error"].is_null()
    });
}

/// Clients that write what the others do not, until told to end; what each had acknowledged.
fn load(
    node: &Server,
    client: usize,
    is_over: &AtomicBool,
    acknowledged: &Mutex<HashMap<String, Option<Vec<u8>>>>,
) {
    let Ok(mut connection) = Client::try_connect(node.address()) else {
        return;
    };
    let mut random = Random::new(client as u64 + 1);
    for n in 0.. {
        if is_over.load(Relaxed) {
            return;
        }
        let key = format!("{client}:{}", random.below(200));
        let target = format!("/kv/{key}?upsert=true");
        let value = format!("{n}").into_bytes();
        // Until its answer is there, either may be.
        acknowledged.lock().unwrap().remove(&key);
        let (answer, left) = match n % 8 {
            0 => (
                connection.try_request("DELETE", &format!("/kv/{key}"), &[], b""),
                None,
            ),
            1 => (
                connection.try_request("PUT", &(target + "&ttl=0.05"), &BYTES, &value),
                None,
            ),
            _ => (
                connection.try_request("PUT", &target, &BYTES, &value),
                Some(value),
            ),
        };
        match answer {
            Ok(answer) if answer.is_success() || answer.status == 404 => {
                if n % 8 != 1 {
                    acknowledged.lock().unwrap().insert(key, left);
                }
            }
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => return, // The node was killed.
        }
    }
}

/// Compactions under load, with times to live, each with a kill -9 in its middle or after it.
#[test]
fn compactions_that_are_killed_lose_nothing() {
    killed_compactions(false);
}

/// The same beside evictions, which may take any key, but never give an older value back.
#[test]
fn compactions_that_are_killed_beside_evictions_lose_nothing() {
    killed_compactions(true);
}

fn killed_compactions(with_evictions: bool) {
    let rounds = setting("PYKV_COMPACT_ROUNDS", 6);
    let capacity = if with_evictions { "150" } else { "100000" };
    let log = [
        "--segment-size",
        "64KiB",
        "--log-backlog",
        "100KiB",
        "--compact-ratio",
        "0",
    ];
    let mut node = Server::start(&[&log[..], &["--max-capacity", capacity]].concat());
    let mut random = Random::new(7);
    let acknowledged = Mutex::new(HashMap::new());
    for round in 0..rounds {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in 0..3 {
                let (node, is_over, acknowledged) = (&node, &is_over, &acknowledged);
                scope.spawn(move || load(node, client, is_over, acknowledged));
            }
            let wait_micros = random.below(60_000);
            let asked = node.client().request("POST", "/compact", &[], b"").status;
            assert_eq!(asked, 202);
            // A moment that no test can choose: somewhere in the compaction, or behind it.
            poll(Duration::from_micros(wait_micros), || false);
            if round % 3 == 2 {
                node.client()
                    .request("POST", "/compact?wait=true", &[], b"")
                    .expect(200);
            }
            node.signal(rustix::process::Signal::KILL);
            is_over.store(true, Relaxed);
        });
        node.wait();
        let checked = pykv(&["check"]).dir(node.dir()).run();
        assert_eq!(checked.code, Some(0), "round {round}: {checked:?}");
        node.start_again();
        for (key, value) in acknowledged.lock().unwrap().iter() {
            let found = node.get(&format!("/kv/{key}?raw"));
            if with_evictions && found.status == 404 {
                continue;
            }
            match value {
                Some(value) => assert_eq!((found.status, &found.body), (200, value), "round {round}: {key}"),
                None => assert_eq!(found.status, 404, "round {round}: {key}"),
            }
        }
        assert!(!files(node.dir()).iter().any(|name| name.ends_with(".tmp")));
        // What a plain replay comes to is what the node holds, once what has expired is swept.
        eventually("the sweep", || {
            node.get("/stats").body_json()["entries_with_deadline"] == 0
        });
        let (_, held) = state(&node);
        node.sigterm();
        let replayed = pykv(&["check"]).dir(node.dir()).succeed();
        assert!(
            String::from_utf8(replayed).unwrap().contains(&held),
            "round {round}"
        );
        node.start_again();
    }
}

#[test]
fn a_full_disk_stops_a_compaction_and_nothing_else() {
    let node = Server::start(&["--compact-ratio", "0"]);
    let mut client = node.client();
    for n in 0..200 {
        client
            .put(&format!("/kv/{n}?upsert=true"), &[b'v'; 1000])
            .expect(201);
    }
    // A directory in the place of the file that would be made.
    let offset = node.offset();
    let blocked = node.dir().join(format!("base-{offset:020}.tmp"));
    std::fs::create_dir(&blocked).unwrap();
    let refused = node.client().request("POST", "/compact?wait=true", &[], b"");
    refused.expect_problem(503);
    assert!(
        pykv(&["status", "--json"])
            .at(&node)
            .succeed()
            .windows(7)
            .any(|part| part == b"\"error\"")
    );
    client.put("/kv/after?upsert=true", b"v").expect(201);
    std::fs::remove_dir(&blocked).unwrap();
    let done = compact(&node);
    assert_eq!(done["entries"], 201, "{done}");
}
