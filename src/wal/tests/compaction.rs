//! Compaction: what is left of the log tells the same, whatever happens or fails meanwhile.

use super::*;
use crate::wal::compaction_state::{Cause, Compacted};
use crate::wal::disk::{Disk, faults::Plan};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

const PATIENCE: Duration = Duration::from_secs(30);

/// Options that evict nothing.
fn roomy(dir: &Path, policy: Policy) -> node::Options {
    let mut options = options(dir, policy);
    options.limits.entries_max = 100_000;
    options.limits.bytes_max = 1 << 30;
    options
}

fn compact(node: &Node) -> Result<Compacted, String> {
    let job = node.compact();
    let finished = node.wait_compaction(job, Instant::now() + PATIENCE, || true);
    finished.expect("a compaction ends").result
}

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "LOCK")
        .collect()
}

fn name(kind: &str, offset: u64) -> String {
    format!("{kind}-{offset:020}.pykv")
}

#[test]
fn a_base_takes_the_place_of_the_log_before_it() {
    let dir = temporary();
    let node = Node::open(roomy(dir.path(), Policy::Everysec)).unwrap();
    for n in 0..500 {
        set(&node, &(n % 50).to_string(), &n.to_string()).unwrap();
    }
    let large = "large".repeat(10_000);
    set(&node, "large", &large).unwrap();
    del(&node, "7").unwrap();
    let (before, offset, digest) = (contents(&node), node.status().offset, node.status().digest);
    let done = compact(&node).unwrap();
    assert_eq!((done.offset, done.entries), (offset, 50));
    assert_eq!(
        names(dir.path()),
        [name("base", offset), name("log", offset)].into()
    );
    // A base has a header, 28 bytes and key and value an entry, and an END of 20 and 16 bytes.
    let live: usize = before.iter().map(|(k, v)| 28 + k.len() + v.len()).sum();
    let headers = 2 * crate::wal::header::HEADER_BYTES;
    assert_eq!(done.bytes_after as usize, headers + live + 36);
    assert!(done.bytes_before > done.bytes_after);
    assert_eq!(contents(&node), before);

    set(&node, "after", "1").unwrap();
    let digest_after = node.status().digest;
    node.close().unwrap();
    let report = check(dir.path()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.digest, digest_after);
    let node = Node::open(roomy(dir.path(), Policy::Everysec)).unwrap();
    del(&node, "after").unwrap();
    assert_eq!(
        (contents(&node), node.status().digest),
        (before, digest),
        "versions too"
    );
}

#[test]
fn nothing_new_is_no_reason_for_another_base() {
    let dir = temporary();
    let node = Node::open(roomy(dir.path(), Policy::No)).unwrap();
    set(&node, "a", "1").unwrap();
    let first = compact(&node).unwrap();
    let files = names(dir.path());
    let again = compact(&node).unwrap();
    assert_eq!(
        (again.offset, again.bytes_before),
        (first.offset, again.bytes_after)
    );
    assert_eq!(names(dir.path()), files);
}

#[test]
fn the_order_of_use_outlives_it() {
    let dir = temporary();
    let node = Node::open(roomy(dir.path(), Policy::No)).unwrap();
    for k in ["a", "b", "c", "d"] {
        set(&node, k, "1").unwrap();
    }
    // By reads, of which the log knows nothing.
    get(&node, "b");
    get(&node, "a");
    compact(&node).unwrap();
    node.close().unwrap();
    let mut small = roomy(dir.path(), Policy::No);
    small.limits.entries_max = 2;
    let node = Node::open(small).unwrap();
    assert_eq!(contents(&node).into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_backlog_stays_for_those_who_read_from_behind() {
    let dir = temporary();
    let mut small = roomy(dir.path(), Policy::No);
    small.log.segment_bytes_max = 1000;
    small.log.backlog_bytes = Some(4096 + 1000 + 1);
    let node = Node::open(small.clone()).unwrap();
    let start = node.status().offset;
    for n in 0..500 {
        set(&node, &n.to_string(), "value").unwrap();
    }
    let done = compact(&node).unwrap();
    let behind: Vec<_> = names(dir.path())
        .into_iter()
        .filter(|file| file.starts_with("log-") && *file < name("log", done.offset))
        .collect();
    assert_eq!(behind.len(), 2, "{behind:?}");
    // What is left has no hole, and what is gone is said to be.
    let Err(FeedError::Gone { oldest }) = node.feed(Some(start)) else {
        panic!("the start is gone")
    };
    assert_eq!(name("log", oldest), behind[0]);
    let mut feed = node.feed(Some(oldest)).unwrap();
    let mut versions = 0;
    while let Some(read) = feed.next().unwrap() {
        assert_eq!(read.record.operation, Operation::Set);
        versions += 1;
    }
    assert!(versions >= 50, "two segments of some 27 records: {versions}");
    drop(feed);
    let before = contents(&node);
    node.close().unwrap();
    // A start keeps it, and does not read it.
    let node = Node::open(small).unwrap();
    assert_eq!(contents(&node), before);
    assert!(names(dir.path()).contains(&behind[0]));
}

/// What clients do while a compaction runs: sets, reads and deletions that are acknowledged, or not.
fn load(node: &Node, round: usize, acknowledged: &mut BTreeMap<String, Vec<Option<String>>>) {
    for n in 0..12 {
        let k = ((n * 7 + round) % 10).to_string();
        get(node, &((n * 3) % 10).to_string());
        let (result, value) = if n % 5 == 4 {
            (del(node, &k), None)
        } else {
            let value = format!("{round}-{n}");
            (set(node, &k, &value), Some(value))
        };
        match result {
            Ok(_) => acknowledged.insert(k, vec![value]).map_or((), drop),
            Err(WriteError::Missing) => {}
            Err(WriteError::Refused(Refusal::Unknown(_) | Refusal::TimedOut { .. })) => {
                // It may be there or not.
                acknowledged.entry(k).or_insert_with(|| vec![None]).push(value);
            }
            Err(WriteError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn expect_acknowledged(
    found: &BTreeMap<String, String>,
    acknowledged: &BTreeMap<String, Vec<Option<String>>>,
    when: &str,
) {
    for (k, allowed) in acknowledged {
        assert!(
            allowed.contains(&found.get(k).cloned()),
            "{when}: {k} is {:?}, not of {allowed:?}",
            found.get(k)
        );
    }
    assert!(
        found.keys().all(|k| acknowledged.contains_key(k)),
        "{when}: {found:?}"
    );
}

/// One run: writes, a compaction with writes beside it, writes. Returns how many operations on files it made.
fn run(
    disk: &Disk,
    dir: &Path,
    policy: Policy,
    acknowledged: &mut BTreeMap<String, Vec<Option<String>>>,
) -> usize {
    let node = match Node::open_on(disk.clone(), roomy(dir, policy)) {
        Ok(node) => node,
        Err(_) => return disk.faults.made(),
    };
    load(&node, 0, acknowledged);
    let job = node.compact();
    let mut round = 1;
    let mut made = 0;
    while node.wait_compaction(job, Instant::now(), || true).is_none() {
        // Once between any two operations of the compaction: more would only be more of the same.
        if disk.faults.made() == made {
            std::thread::yield_now();
            continue;
        }
        load(&node, round, acknowledged);
        round += 1;
        made = disk.faults.made();
    }
    load(&node, round, acknowledged);
    drop(node);
    disk.faults.made()
}

/// Every file operation of such a run made the last one before the machine stops, in turn.
#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    for policy in [Policy::Always, Policy::No] {
        let operations = {
            let dir = temporary();
            run(&Disk::default(), dir.path(), policy, &mut BTreeMap::new())
        };
        // Beyond the end too, as no two runs are the same.
        for at in 0..operations + 20 {
            let dir = temporary();
            let disk = Disk::default();
            disk.faults.plan(Plan::Crash { at });
            let mut acknowledged = BTreeMap::new();
            run(&disk, dir.path(), policy, &mut acknowledged);
            if names(dir.path()).iter().all(|file| file.ends_with(".tmp")) {
                assert!(acknowledged.is_empty());
                continue;
            }
            let node = Node::open(roomy(dir.path(), policy))
                .unwrap_or_else(|error| panic!("operation {at}: {error}"));
            expect_acknowledged(&contents(&node), &acknowledged, &format!("operation {at}"));
            assert!(!names(dir.path()).iter().any(|file| file.ends_with(".tmp")));
            compact(&node).unwrap();
            expect_acknowledged(&contents(&node), &acknowledged, "compacted");
            node.close().unwrap();
            let report = check(dir.path()).unwrap();
            assert!(report.is_whole(), "operation {at}: {report:?}");
        }
    }
}

/// Every file operation made to fail once, in turn: the node continues, and so does the next compaction.
#[test]
fn a_failure_of_any_operation_is_no_loss() {
    const ENOSPC: i32 = 28;
    const EIO: i32 = 5;
    let operations = {
        let dir = temporary();
        run(&Disk::default(), dir.path(), Policy::No, &mut BTreeMap::new())
    };
    for at in 0..operations {
        for errno in [ENOSPC, EIO] {
            let dir = temporary();
            let disk = Disk::default();
            disk.faults.plan(Plan::Once { at, errno });
            let mut acknowledged = BTreeMap::new();
            run(&disk, dir.path(), Policy::No, &mut acknowledged);
            let node = Node::open(roomy(dir.path(), Policy::No))
                .unwrap_or_else(|error| panic!("operation {at}, errno {errno}: {error}"));
            expect_acknowledged(
                &contents(&node),
                &acknowledged,
                &format!("operation {at}, errno {errno}"),
            );
            compact(&node).unwrap();
        }
    }
}

#[test]
fn many_compactions_beside_readers_and_writers_keep_everything() {
    let dir = temporary();
    let mut few = roomy(dir.path(), Policy::No);
    few.limits.entries_max = 500;
    let node = Node::open(few.clone()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (node, is_over) = (&node, &is_over);
            scope.spawn(move || {
                for n in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let k = format!("{thread}:{}", n * 31 % 300);
                    match n % 7 {
                        0 => drop(get(node, &k)),
                        1 => drop(del(node, &k)),
                        2 => drop(node.put(
                            key(&k),
                            b"short",
                            Deadline::In(5),
                            Mode::Upsert,
                            Precondition::None,
                        )),
                        _ => drop(set(node, &k, &n.to_string()).unwrap()),
                    }
                }
            });
        }
        for _ in 0..30 {
            compact(&node).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    // The digest is that of what is written: what the sweep has taken from the store may be on its way to the log.
    let deadline = Instant::now() + PATIENCE;
    let digest = loop {
        let status = node.status();
        if status.entries_with_deadline == 0 && status.digest_offset == status.offset {
            break status.digest;
        }
        assert!(Instant::now() < deadline, "the sweep ends");
        std::thread::yield_now();
    };
    let before = contents(&node);
    node.close().unwrap();
    let report = check(dir.path()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    let node = Node::open(few).unwrap();
    assert_eq!(contents(&node), before);
    assert_eq!(node.status().digest, digest);
}

#[test]
fn a_log_that_has_outgrown_what_is_live_is_compacted_by_itself() {
    let dir = temporary();
    let mut growing = roomy(dir.path(), Policy::No);
    growing.log.compact_bytes_min = Some(100_000);
    growing.log.compact_ratio = 2.0;
    let node = Node::open(growing).unwrap();
    let value = "v".repeat(1000);
    for n in 0..300 {
        set(&node, &(n % 10).to_string(), &value).unwrap();
    }
    let finished = node
        .wait_compaction(1, Instant::now() + PATIENCE, || true)
        .unwrap();
    assert_eq!(finished.cause, Cause::Growth);
    let done = finished.result.unwrap();
    assert!(
        done.bytes_before > 300_000 && done.bytes_after < 50_000,
        "{done:?}"
    );
}

#[test]
fn a_node_that_is_closed_gives_its_compaction_up() {
    let dir = temporary();
    let node = Node::open(roomy(dir.path(), Policy::No)).unwrap();
    for n in 0..20_000 {
        node.put(
            key(&n.to_string()),
            b"value",
            Deadline::Never,
            Mode::Upsert,
            Precondition::None,
        )
        .unwrap();
    }
    let before = contents(&node);
    node.compact();
    node.close().unwrap();
    assert!(!names(dir.path()).iter().any(|file| file.ends_with(".tmp")));
    assert_eq!(
        contents(&Node::open(roomy(dir.path(), Policy::No)).unwrap()),
        before
    );
}
