//! Two histories that begin alike and then part: a directory put back from a copy, a copied directory that is started
//! beside the original, one backup that is restored twice. Offsets and versions of one mean nothing in the other, and
//! no replica joins the two.

use crate::common::cluster::{Member, become_equal};
use crate::common::files::copy_dir;
use crate::common::node::Setup;
use crate::common::replicas::{LOOKED_AT, Place};
use crate::common::{Server, eventually, poll, pykv};
use std::path::Path;
use tempfile::TempDir;

#[test]
fn a_replica_does_not_go_on_behind_a_directory_that_was_put_back() {
    // As many records as were lost, all of the same lengths; more; and fewer.
    for count in [1000, 1500, 500] {
        eprintln!("{count} writes in place of 1000");
        let mut a = Member::primary(&[]);
        let mut b = Member::replica(&[&a], &[]);
        a.fill("before", 100, "value");
        become_equal(&[&a, &b]);
        let copy = TempDir::new().unwrap();
        assert!(a.server.sigterm().success());
        copy_dir(a.server.dir(), copy.path());
        a.start_again();
        a.fill("k", 1000, "OLD");
        become_equal(&[&a, &b]);
        b.server.kill_9();
        assert!(a.server.sigterm().success());
        copy_dir(copy.path(), a.server.dir());
        a.start_again();
        a.fill("k", count, "NEW");
        b.start_again();
        become_equal(&[&a, &b]);
        for key in ["k0", "k499", "k999"] {
            assert_eq!(b.value(key), a.value(key), "{key}");
        }
        assert_eq!(b.value("k0").as_deref(), Some("NEW"));
        let aside = b.set_aside();
        assert!(aside.contains("OLD") && !aside.contains("NEW"), "{aside}");
        a.set("one", "more");
        become_equal(&[&a, &b]);
    }
}

/// Whether a replica says that it has the log of another node, and holds something else.
fn is_mixed(replica: &Member, with: &Member) -> bool {
    let (ours, theirs) = (replica.status(), with.status());
    let place = |status: &serde_json::Value| (status["log"]["offset"].clone(), status["log"]["id"].clone());
    let is_at_rest = |status: &serde_json::Value| status["log"]["digest_offset"] == status["log"]["offset"];
    ours["replication"]["state"] == "streaming"
        && place(&ours) == place(&theirs)
        && is_at_rest(&ours)
        && is_at_rest(&theirs)
        && ours["log"]["digest"] != theirs["log"]["digest"]
}

#[test]
fn two_primaries_of_one_copied_directory_are_told_apart_and_never_mixed() {
    let (a, b, c) = (Place::new(), Place::new(), Place::new());
    let (at_a, at_c) = (a.address(), c.address());
    let mut a = a.primary(&[]);
    a.fill("before", 100, "value");
    assert!(a.server.sigterm().success());
    let copy = TempDir::new().unwrap();
    copy_dir(a.server.dir(), copy.path());
    a.start_again();
    let setup = Setup::new(&["--advertise", &at_c]).data(copy.path());
    let c = Member::of(setup, c.link);
    a.fill("k", 200, "AAAA");
    c.fill("k", 200, "CCCC");
    let b = b.replica(&[&at_a, &at_c], &[]);
    eventually("it follows one of them", || {
        b.status()["replication"]["state"] == "streaming"
    });
    // Nobody knows which of the two is right: an operator must hear that there are two.
    eventually("it says that there are two, and which", || {
        let said = b.server.stderr();
        let is_loud = |line: &&str| line.contains("[WARN ]") || line.contains("[ERROR]");
        let mut loud = said.lines().filter(is_loud);
        loud.any(|line| line.contains(&at_a) && line.contains(&at_c))
    });
    let is_behind_a = b.value("k5").as_deref() == Some("AAAA");
    let (mut followed, other) = if is_behind_a { (a, c) } else { (c, a) };
    let (mine, theirs) = if is_behind_a {
        ("AAAA", "CCCC")
    } else {
        ("CCCC", "AAAA")
    };
    eventually("it has it all", || b.value("k199").as_deref() == Some(mine));
    followed.server.kill_9();
    other.set("next", "1");
    assert!(!poll(LOOKED_AT, || is_mixed(&b, &other)), "{}", b.status());
    match b.value("k5").as_deref() {
        // It stayed with the one that is gone, and does not follow the other.
        Some(value) if value == mine => {
            assert_ne!(b.status()["replication"]["state"], "streaming", "{}", b.status());
            assert_eq!(b.value("next"), None);
        }
        // It went over to the other, as a whole, and kept what it had.
        value => {
            assert_eq!(value, Some(theirs));
            become_equal(&[&b, &other]);
            // It had taken the state of the one that is gone, so it keeps that, and not a stretch of the log.
            let kept = std::fs::read_dir(b.server.dir()).unwrap().flatten();
            let kept = kept.map(|entry| entry.path()).find(|path| path.is_dir());
            let log = pykv(&["log"]).dir(&kept.expect("a directory is kept")).succeed();
            assert!(String::from_utf8(log).unwrap().contains(mine));
        }
    }
}

/// What a client has of one store: a key's version, and where the store's log was then.
struct Memory {
    tag: String,
    offset: String,
}

/// Writes a key, as a client that remembers it.
#[track_caller]
fn remember(node: &Server, value: &str) -> Memory {
    let answer = node.client().put("/kv/acct?upsert=true", value.as_bytes());
    assert!(answer.is_success(), "{answer:?}");
    Memory {
        tag: answer.header("ETag").unwrap().to_owned(),
        offset: answer.header("Pykv-Offset").unwrap().to_owned(),
    }
}

/// What was remembered of another history is refused by this node: the key has been written here too.
#[track_caller]
fn refuses(node: &Server, memory: &Memory) {
    let here = remember(node, "777");
    assert_ne!(here.tag, memory.tag, "two histories have one version");
    let tag = &memory.tag;
    let mut client = node.client();
    let answer = client.request("GET", "/kv/acct?raw", &[("If-None-Match", tag)], b"");
    assert_eq!(answer.expect(200).body, b"777");
    let answer = client.request("PUT", "/kv/acct", &[("If-Match", tag)], b"overwritten");
    answer.expect_problem(412);
    let answer = client.get(&format!("/watch?after={}&wait=0", memory.offset));
    answer.expect_problem(410);
    assert_eq!(node.get("/kv/acct?raw").expect(200).body, b"777");
}

/// A store of some keys, and a backup of it.
fn backed_up(home: &Path) -> (Server, String) {
    let node = Server::start(&[]);
    for number in 0..50 {
        let path = format!("/kv/k{number}?upsert=true");
        node.client().put(&path, b"value").expect(201);
    }
    let file = home.join("backup.pykv").to_str().unwrap().to_owned();
    pykv(&["backup", &file]).at(&node).succeed();
    (node, file)
}

fn restored(backup: &str, dir: &Path) -> Server {
    pykv(&["restore", backup]).dir(dir).succeed();
    Setup::new(&[]).data(dir).start()
}

#[test]
fn a_backup_that_is_restored_twice_gives_two_histories() {
    let home = TempDir::new().unwrap();
    let (_node, backup) = backed_up(home.path());
    let first = restored(&backup, &home.path().join("first"));
    let memory = remember(&first, "555");
    let second = restored(&backup, &home.path().join("second"));
    refuses(&second, &memory);
}

#[test]
fn a_backup_that_is_restored_is_not_the_history_of_the_node_that_goes_on() {
    let home = TempDir::new().unwrap();
    let (mut node, backup) = backed_up(home.path());
    let before = remember(&node, "444");
    node.kill_9();
    node.start_again();
    let memory = remember(&node, "555");
    let second = restored(&backup, &home.path().join("second"));
    refuses(&second, &before);
    refuses(&second, &memory);
}

#[test]
fn a_directory_that_is_copied_and_started_twice_gives_two_histories() {
    for is_in_order in [true, false] {
        let mut node = Server::start(&[]);
        remember(&node, "444");
        match is_in_order {
            true => assert!(node.sigterm().success()),
            false => node.kill_9(),
        }
        let copy = TempDir::new().unwrap();
        copy_dir(node.dir(), copy.path());
        node.start_again();
        let memory = remember(&node, "555");
        let second = Setup::new(&[]).data(copy.path()).start();
        refuses(&second, &memory);
    }
}
