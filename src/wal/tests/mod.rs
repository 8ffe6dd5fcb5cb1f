//! Tests of the log as a whole, through a node.
//!
//! | file | what it tests |
//! | --- | --- |
//! | `bytes` | what is on disk, byte for byte; cut, flipped and repaired everywhere |
//! | `copies` | a log that is another node's |
//! | `faults` | every operation on a file made to fail, and made the last one before the machine stops |
//! | `feeds` | what is read of the log while it is written |
//! | `repairs` | directories with files that are foreign, missing, too long or made up |
//! | here | segments, waiting, readers |

mod batches;
mod bytes;
mod compaction;
mod copies;
mod faults;
mod feeds;
mod repairs;

use super::*;
use crate::key::Key;
use crate::node::{self, Ahead, Deadline, Mode, Node, Precondition, WriteError};
use crate::record::Record;
use crate::store::Limits;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory in memory where there is one: thousands of logs are opened and synced here, and none is meant to survive
/// the machine.
fn temporary() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn options(dir: &Path, policy: Policy) -> node::Options {
    node::Options {
        dir: dir.to_path_buf(),
        limits: Limits {
            entries_max: 4,
            bytes_max: u64::MAX,
        },
        value_bytes_max: 1 << 20,
        log: super::alone::options(policy),
        cluster: node::ClusterOptions::default(),
    }
}

fn key(key: &str) -> Key<'_> {
    Key::new(key).unwrap()
}

/// Upserts and waits, as a client that wants an answer.
fn set(node: &Node, k: &str, value: &str) -> Result<u64, WriteError> {
    let written = node.put(
        key(k),
        value.as_bytes(),
        Deadline::Never,
        Mode::Upsert,
        Precondition::None,
    )?;
    node.wait(written.version)?;
    Ok(written.version)
}

fn del(node: &Node, k: &str) -> Result<u64, WriteError> {
    let offset = node.delete(key(k), Precondition::None)?;
    node.wait(offset)?;
    Ok(offset)
}

fn get(node: &Node, k: &str) -> Option<String> {
    let mut value = Vec::new();
    node.get(key(k), &mut value)
        .map(|_| String::from_utf8(value).unwrap())
}

/// Everything a node holds.
fn contents(node: &Node) -> BTreeMap<String, String> {
    let mut lister = node.lister("", None, true).unwrap();
    let mut contents = BTreeMap::new();
    loop {
        match lister.look(usize::MAX) {
            Ahead::End => return contents,
            Ahead::Nothing => {}
            Ahead::Entry | Ahead::Large(_) => {
                let listed = lister.next().unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                contents.insert(text(listed.key), text(listed.value));
            }
        }
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"))
        .collect();
    paths.sort();
    paths
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn segments_follow_one_another() {
    let dir = temporary();
    let mut small = options(dir.path(), Policy::Everysec);
    small.log.segment_bytes_max = 200;
    let node = Node::open(small.clone()).unwrap();
    for n in 0..40 {
        set(&node, &format!("key{}", n % 4), &n.to_string()).unwrap();
    }
    let before = contents(&node);
    node.close().unwrap();
    let paths = segments(dir.path());
    assert!(paths.len() > 3, "{paths:?}");
    let node = Node::open(small.clone()).unwrap();
    assert_eq!(contents(&node), before);
    node.close().unwrap();

    // One in the middle that ends early is damage, and a repair restores the offsets of what follows.
    let middle = &paths[1];
    let bytes = std::fs::read(middle).unwrap();
    std::fs::write(middle, &bytes[..bytes.len() - 3]).unwrap();
    match Node::open(small.clone()).map(|_| ()) {
        Err(Error::Damaged { path, .. }) => assert_eq!(path, *middle),
        other => panic!("{other:?}"),
    }
    assert_eq!(repair(dir.path()).unwrap().damage.len(), 1);
    let node = Node::open(small.clone()).unwrap();
    assert_eq!(
        contents(&node),
        before,
        "the keys were all written again after the damage"
    );
    node.close().unwrap();

    // One that is missing altogether is not passed over either.
    std::fs::remove_file(middle).unwrap();
    assert!(Node::open(small).is_err_and(|error| error.is_damage()));
}

#[test]
fn evictions_are_replayed_and_not_decided_anew() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    for k in ["a", "b", "c", "d"] {
        set(&node, k, k).unwrap();
    }
    assert!(
        get(&node, "a").is_some(),
        "makes a the most recently used, which no record tells"
    );
    set(&node, "e", "e").unwrap();
    let before = contents(&node);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["a", "c", "d", "e"]);
    node.close().unwrap();
    assert_eq!(
        contents(&Node::open(options(dir.path(), Policy::No)).unwrap()),
        before
    );
}

#[test]
fn waiting_writers_share_a_write() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::Always)).unwrap();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let node = &node;
            scope.spawn(move || {
                for n in 0..50 {
                    set(node, &format!("key{}", client % 4), &n.to_string()).unwrap();
                }
            });
        }
    });
    let status = node.status();
    assert_eq!(
        (status.position.written, status.position.synced),
        (status.offset, status.offset)
    );
    let before = contents(&node);
    node.close().unwrap();
    assert_eq!(
        contents(&Node::open(options(dir.path(), Policy::Always)).unwrap()),
        before
    );
}

#[test]
fn a_budget_that_is_used_up_lets_its_users_write() {
    let dir = temporary();
    let mut tight = options(dir.path(), Policy::Everysec);
    tight.log.unwritten_bytes_max = 100;
    let node = Node::open(tight).unwrap();
    // More than the budget without one wait in between, as a pipelined connection does.
    let mut last = 0;
    for n in 0..100 {
        last = node
            .put(
                key("k"),
                n.to_string().as_bytes(),
                Deadline::Never,
                Mode::Upsert,
                Precondition::None,
            )
            .unwrap()
            .version;
    }
    node.wait(last).unwrap();
    assert_eq!(get(&node, "k").as_deref(), Some("99"));
}

#[test]
fn a_reader_beside_a_node_sees_what_it_writes() {
    let dir = temporary();
    let mut small = options(dir.path(), Policy::No);
    small.log.segment_bytes_max = 100;
    let node = Node::open(small).unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut next = || {
        reader.next().unwrap().map(|read| {
            (
                read.record.operation,
                String::from_utf8(read.record.key.into()).unwrap(),
                read.version,
            )
        })
    };
    assert_eq!(next().unwrap().0, Operation::Term);
    assert_eq!(next(), None);
    for n in 0..20 {
        let k = format!("key{}", n % 3);
        let version = set(&node, &k, "value").unwrap();
        let operation = if n < 3 { Operation::Set } else { Operation::Update };
        assert_eq!(next(), Some((operation, k, version)));
        assert_eq!(next(), None);
    }
}
