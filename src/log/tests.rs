//! Tests of the log as a whole, through a node: what is on disk, byte for byte; the file cut and flipped
//! everywhere; every operation on a file made to fail, and made the last one before the machine stops.

use super::disk::{Disk, faults::Plan};
use super::header::HEADER_BYTES;
use super::*;
use crate::key::Key;
use crate::node::{self, Mode, Node, Precondition, WriteError};
use crate::store::Limits;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn options(dir: &Path, policy: Policy) -> node::Options {
    node::Options {
        dir: dir.to_path_buf(),
        limits: Limits {
            entries_max: 4,
            bytes_max: u64::MAX,
        },
        value_bytes_max: 1 << 20,
        log: Options {
            policy,
            unwritten_bytes_max: 1 << 20,
            segment_bytes_max: 1 << 20,
            wait_max: Duration::from_secs(20),
        },
    }
}

fn key(key: &str) -> Key<'_> {
    Key::new(key).unwrap()
}

/// Upserts and waits, as a client that wants an answer.
fn set(node: &Node, k: &str, value: &str) -> Result<u64, WriteError> {
    let written = node.put(key(k), value.as_bytes(), Mode::Upsert, Precondition::None)?;
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
    let keys = node.list("", None, usize::MAX).unwrap().keys;
    keys.into_iter()
        .map(|k| (k.clone(), get(node, &k).unwrap()))
        .collect()
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

/// A log of three records: a key set, updated, and another one set; and the offset after each.
fn example() -> (TempDir, PathBuf, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    let ends = vec![
        set(&node, "a", "one").unwrap(),
        set(&node, "a", "two").unwrap(),
        set(&node, "b", "three").unwrap(),
    ];
    node.close().unwrap();
    let path = segments(dir.path()).remove(0);
    (dir, path, ends)
}

#[test]
fn a_log_is_these_bytes() {
    let (_dir, path, ends) = example();
    let bytes = std::fs::read(path).unwrap();
    // TERM: 20 bytes and a value of 8. Then a head, a key of 1 and the value each.
    assert_eq!(ends, [28 + 24, 28 + 24 + 24, 28 + 24 + 24 + 26]);
    assert_eq!(&bytes[..8], b"pykv log");
    let records = &bytes[HEADER_BYTES..];
    assert_eq!(records.len(), 102);
    // length, operation, flags, key bytes; then, behind the timestamp, key and value.
    let expected: [(usize, [u8; 8], &[u8]); 4] = [
        (0, [20, 0, 0, 0, 6, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0]),
        (28, [16, 0, 0, 0, 1, 0, 1, 0], b"aone"),
        (52, [16, 0, 0, 0, 2, 0, 1, 0], b"atwo"),
        (76, [18, 0, 0, 0, 1, 0, 1, 0], b"bthree"),
    ];
    for (at, head, body) in expected {
        assert_eq!(records[at + 4..at + 12], head, "head of the record at {at}");
        assert_eq!(
            &records[at + 20..at + 20 + body.len()],
            body,
            "body of the record at {at}"
        );
    }
}

#[test]
fn a_log_cut_anywhere_opens_with_the_records_before_the_cut() {
    let (dir, path, ends) = example();
    let bytes = std::fs::read(&path).unwrap();
    for cut in (0..bytes.len()).rev() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let opened = Node::open(options(dir.path(), Policy::No));
        if cut < HEADER_BYTES {
            assert!(
                matches!(opened, Err(Error::Damaged { offset: 0, .. })),
                "cut at {cut}"
            );
            continue;
        }
        let whole = ends
            .iter()
            .filter(|end| **end as usize <= cut - HEADER_BYTES)
            .count();
        let node = opened.unwrap();
        let expected = [
            (None, None),
            (Some("one"), None),
            (Some("two"), None),
            (Some("two"), Some("three")),
        ];
        let found = (get(&node, "a"), get(&node, "b"));
        assert_eq!(
            (found.0.as_deref(), found.1.as_deref()),
            expected[whole],
            "cut at {cut}"
        );
        // It goes on where the whole records end.
        let version = set(&node, "c", "four").unwrap();
        node.close().unwrap();
        let node = Node::open(options(dir.path(), Policy::No)).unwrap();
        assert_eq!(get(&node, "c").as_deref(), Some("four"), "cut at {cut}");
        assert!(version > whole.checked_sub(1).map_or(0, |last| ends[last]));
    }
}

#[test]
fn a_flipped_byte_is_never_served_and_in_the_middle_stops_the_start() {
    let (dir, path, ends) = example();
    let bytes = std::fs::read(&path).unwrap();
    let last_record = HEADER_BYTES + ends[1] as usize;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        std::fs::write(&path, &flipped).unwrap();
        match Node::open(options(dir.path(), Policy::No)) {
            Ok(node) => {
                assert!(at >= last_record, "byte {at} is not in the last record");
                assert_eq!(
                    (get(&node, "a").as_deref(), get(&node, "b")),
                    (Some("two"), None),
                    "byte {at}"
                );
            }
            Err(Error::Damaged {
                path: damaged,
                file_position,
                ..
            }) => {
                assert!(at < last_record, "byte {at} is in the last record: a torn tail");
                assert_eq!(damaged, path);
                assert!(
                    file_position as usize <= at,
                    "byte {at} was reported at {file_position}"
                );
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn a_repair_keeps_what_is_whole_and_saves_what_is_not() {
    let (dir, path, ends) = example();
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for copy in std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            std::fs::remove_file(copy).unwrap();
        }
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        std::fs::write(&path, &flipped).unwrap();

        let found = check(dir.path()).unwrap();
        let [damage] = &found.damage[..] else {
            panic!("byte {at}: {found:?}")
        };
        let damaged = damage.file_position..damage.file_position + damage.bytes;
        assert!(damaged.contains(&(at as u64)), "byte {at}: {damage:?}");
        assert_eq!(std::fs::read(&path).unwrap(), flipped, "a check changes nothing");

        let repaired = repair(dir.path()).unwrap();
        let saved = std::fs::read(repaired.damage[0].saved_to.as_ref().unwrap()).unwrap();
        assert_eq!(
            saved,
            flipped[damaged.start as usize..damaged.end as usize],
            "byte {at}"
        );
        assert_eq!(check(dir.path()).unwrap().damage, [], "byte {at}");

        let node = Node::open(options(dir.path(), Policy::No)).unwrap();
        // Which of the records after the TERM holds the byte, if one does.
        let lost = ends
            .iter()
            .position(|end| (at as u64) < HEADER_BYTES as u64 + end);
        let lost = lost.filter(|_| at >= HEADER_BYTES + 28);
        let a = if lost == Some(1) { "one" } else { "two" };
        let b = if lost == Some(2) { None } else { Some("three") };
        assert_eq!(
            (get(&node, "a").as_deref(), get(&node, "b").as_deref()),
            (Some(a), b),
            "byte {at}"
        );
        node.close().unwrap();
    }
}

#[test]
fn a_record_inside_a_value_is_not_taken_for_one_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    let mut inner = Vec::new();
    Record::new(Operation::Set, 1, b"inner", b"x").encode(0, &mut inner);
    let outer = [&[0; 100][..], &inner, &[0; 100]].concat();
    let end = node
        .put(key("outer"), &outer, Mode::Add, Precondition::None)
        .unwrap()
        .version;
    node.close().unwrap();
    let path = segments(dir.path()).remove(0);
    // Torn in the midst of the value, behind the record that stands in it.
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(HEADER_BYTES as u64 + end - 50))
        .unwrap();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    assert_eq!(contents(&node), BTreeMap::new());
}

#[test]
fn segments_follow_one_another() {
    let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
fn a_full_disk_refuses_writes_serves_reads_and_heals() {
    for policy in [Policy::Always, Policy::Everysec, Policy::No] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let node = Node::open_on(disk.clone(), options(dir.path(), policy)).unwrap();
        set(&node, "a", "before").unwrap();
        disk.faults.plan(Plan::All {
            operation: "write",
            errno: ENOSPC,
        });
        let in_flight = set(&node, "a", "in flight");
        assert!(matches!(
            in_flight,
            Err(WriteError::Refused(Refusal::Unknown(Health::DiskFull { .. })))
        ));
        let offset = node.status().offset;
        let refused = set(&node, "b", "refused");
        assert!(matches!(
            refused,
            Err(WriteError::Refused(Refusal::Unhealthy(Health::DiskFull { .. })))
        ));
        assert!(matches!(
            del(&node, "a"),
            Err(WriteError::Refused(Refusal::Unhealthy(_)))
        ));
        assert_eq!(
            node.status().offset,
            offset,
            "nothing refused at the door is handed to the log"
        );
        assert_eq!(get(&node, "a").as_deref(), Some("in flight"));
        // What is on disk meanwhile is whole.
        let copy = tempfile::tempdir().unwrap();
        let path = segments(dir.path()).remove(0);
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        assert_eq!(
            get(&Node::open(options(copy.path(), policy)).unwrap(), "a").as_deref(),
            Some("before")
        );

        disk.faults.plan(Plan::None);
        until("the log is well", || node.health() == Health::Ok);
        set(&node, "c", "after").unwrap();
        let before = contents(&node);
        node.close().unwrap();
        assert_eq!(
            contents(&Node::open(options(dir.path(), policy)).unwrap()),
            before
        );
    }
}

#[test]
fn after_a_failed_sync_a_new_base_is_made_before_writes_are_taken() {
    for policy in [Policy::Always, Policy::Everysec] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let node = Node::open_on(disk.clone(), options(dir.path(), policy)).unwrap();
        for k in ["a", "b", "c"] {
            set(&node, k, "before").unwrap();
        }
        get(&node, "a");
        disk.faults.plan(Plan::All {
            operation: "sync data",
            errno: EIO,
        });
        let in_flight = set(&node, "d", "in flight");
        assert_eq!(
            in_flight.is_ok(),
            policy == Policy::Everysec,
            "everysec answers before the sync"
        );
        // A new base needs no sync of old data: it is made even while those fail.
        until("a base was made", || {
            std::fs::read_dir(dir.path())
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with("base-"))
        });
        disk.faults.plan(Plan::None);
        until("the log is well", || node.health() == Health::Ok);
        set(&node, "e", "after").unwrap();
        let before = contents(&node);
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            ["a", "c", "d", "e"],
            "b was the least recently used"
        );
        let position = node.status().position;
        assert!(position.synced <= position.written);
        node.close().unwrap();
        assert_eq!(check(dir.path()).unwrap().damage, []);
        let node = Node::open(options(dir.path(), policy)).unwrap();
        assert_eq!(contents(&node), before);
        assert!(
            set(&node, "f", "later").unwrap() > position.written,
            "versions grow on"
        );
    }
}

/// Writes with everything that the log does in it: segments, evictions, deletions. Notes what was
/// acknowledged, and what was sent and may be there.
fn workload(
    node: &Node,
    acknowledged: &mut BTreeMap<String, Option<String>>,
    unknown: &mut Vec<(String, Option<String>)>,
) {
    for n in 0..12 {
        let k = format!("key{}", n % 3);
        let value = (n % 5 != 4).then(|| format!("value {n}"));
        let done = match &value {
            Some(value) => set(node, &k, value),
            None => del(node, &k),
        };
        match done {
            Ok(_) => {
                unknown.retain(|(other, _)| *other != k);
                acknowledged.insert(k, value);
            }
            Err(WriteError::Refused(Refusal::Unknown(_))) => unknown.push((k, value)),
            Err(WriteError::Refused(Refusal::Unhealthy(_)) | WriteError::Missing) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn check_kept(
    node: &Node,
    acknowledged: &BTreeMap<String, Option<String>>,
    unknown: &[(String, Option<String>)],
    case: &str,
) {
    for (k, value) in acknowledged {
        let found = get(node, k);
        let possible = found == *value || unknown.iter().any(|(other, sent)| other == k && *sent == found);
        assert!(
            possible,
            "{case}: {k} is {found:?}; acknowledged was {value:?}, unknown are {unknown:?}"
        );
    }
    for (k, _) in contents(node) {
        let sent = acknowledged.contains_key(&k) || unknown.iter().any(|(other, _)| *other == k);
        assert!(sent, "{case}: {k} was never sent");
    }
}

#[test]
fn each_operation_on_a_file_may_fail_or_be_the_last_with_always() {
    each_operation_may_fail_or_be_the_last(Policy::Always);
}

#[test]
fn each_operation_on_a_file_may_fail_or_be_the_last_with_everysec() {
    each_operation_may_fail_or_be_the_last(Policy::Everysec);
}

fn each_operation_may_fail_or_be_the_last(policy: Policy) {
    let run = |plan: Plan| -> usize {
        let case = format!("{policy:?}, {}", describe(plan));
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path(), policy);
        options.log.segment_bytes_max = 120;
        let disk = Disk::default();
        disk.faults.plan(plan);
        let (mut acknowledged, mut unknown) = (BTreeMap::new(), Vec::new());
        if let Ok(node) = Node::open_on(disk.clone(), options.clone()) {
            workload(&node, &mut acknowledged, &mut unknown);
            if !matches!(plan, Plan::Crash { .. }) {
                // A single failure heals by itself, and what was in flight is then there as well.
                until("a write is taken", || set(&node, "key0", "healed").is_ok());
                acknowledged.insert("key0".to_string(), Some("healed".to_string()));
                unknown.retain(|(k, _)| k != "key0");
                check_kept(&node, &acknowledged, &unknown, &case);
            }
            // Dropped, not closed: as a process that is killed.
        }
        let made = disk.faults.made();
        let node = Node::open(options).unwrap_or_else(|error| panic!("{case}: {error}"));
        check_kept(&node, &acknowledged, &unknown, &case);
        made
    };
    let made = run(Plan::None);
    assert!(made > 20, "the workload makes {made} operations");
    for at in 0..made {
        run(Plan::Crash { at });
        run(Plan::Once { at, errno: ENOSPC });
        run(Plan::Once { at, errno: EIO });
    }
}

fn describe(plan: Plan) -> String {
    match plan {
        Plan::None => "no fault".to_string(),
        Plan::Once { at, errno } => format!("operation {at} fails with errno {errno}"),
        Plan::Crash { at } => format!("stopped at operation {at}"),
        Plan::All { operation, errno } => format!("every {operation} fails with errno {errno}"),
    }
}

#[test]
fn waiting_writers_share_a_write() {
    let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
    let dir = tempfile::tempdir().unwrap();
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
