//! Feeds: what is read of the log while it is written.

use super::*;
use crate::record::Record;
use crate::wal::disk::{Disk, faults::Plan};
use std::sync::atomic::AtomicBool;

const EIO: i32 = 5;

/// The keys, operations and versions of everything that a feed has now.
fn read(feed: &mut Feed<'_>) -> Vec<(Operation, String, u64)> {
    let mut read = Vec::new();
    while let Some(next) = feed.next().unwrap() {
        let key = String::from_utf8(next.record.key.to_vec()).unwrap();
        read.push((next.record.operation, key, next.version));
    }
    read
}

fn oldest(error: Result<Feed<'_>, FeedError>) -> u64 {
    match error.map(|feed| feed.offset()) {
        Err(FeedError::Gone { oldest }) => oldest,
        other => panic!("{other:?}"),
    }
}

fn small_segments(dir: &Path) -> node::Options {
    let mut options = options(dir, Policy::No);
    options.log.segment_bytes_max = 300;
    options
}

#[test]
fn a_feed_gives_what_was_recorded_and_then_what_comes() {
    let dir = temporary();
    let node = Node::open(small_segments(dir.path())).unwrap();
    let mut feed = node.feed(None).unwrap();
    assert_eq!(read(&mut feed), []);
    let mut expected = Vec::new();
    for n in 0..50 {
        let k = ["a", "b", "c"][n % 3];
        let operation = if n < 3 { Operation::Set } else { Operation::Update };
        expected.push((operation, k.to_owned(), set(&node, k, "value").unwrap()));
    }
    expected.push((Operation::Delete, "b".to_owned(), del(&node, "b").unwrap()));
    assert!(segments(dir.path()).len() > 3);
    assert_eq!(read(&mut feed), expected);
    assert_eq!(feed.offset(), node.status().offset);
    for at in 0..expected.len() {
        let mut feed = node.feed(Some(expected[at].2)).unwrap();
        assert_eq!(read(&mut feed), expected[at + 1..]);
    }
    let e = set(&node, "e", "").unwrap();
    let f = set(&node, "f", "").unwrap();
    let g = set(&node, "g", "").unwrap();
    let read = read(&mut feed);
    let evicted = read.iter().find(|(operation, ..)| *operation == Operation::Evict);
    assert_eq!(evicted.unwrap().1, "c", "the least recently used");
    let sets = read.iter().filter(|(operation, ..)| *operation == Operation::Set);
    assert_eq!(sets.map(|(.., version)| *version).collect::<Vec<_>>(), [e, f, g]);
}

#[test]
fn an_offset_that_is_none_of_a_record_is_told_from_one_that_is_gone_or_to_come() {
    let dir = temporary();
    let node = Node::open(small_segments(dir.path())).unwrap();
    let versions: Vec<_> = (0..60).map(|_| set(&node, "k", "value").unwrap()).collect();
    let end = *versions.last().unwrap();
    // The log begins with a TERM, of 36 bytes.
    let boundaries: Vec<_> = [36].iter().chain(&versions).collect();
    assert!(matches!(
        node.feed(Some(end + 1)),
        Err(FeedError::Ahead { written }) if written == end
    ));
    for offset in 1..end {
        let refused = matches!(
            node.feed(Some(offset)),
            Err(FeedError::NotABoundary { offset: at }) if at == offset
        );
        assert_eq!(refused, !boundaries.contains(&&offset), "{offset}");
    }
    // A feed that is under way reads on in a segment that is removed.
    let mut feed = node.feed(Some(0)).unwrap();
    let first = segments(dir.path()).remove(0);
    std::fs::remove_file(&first).unwrap();
    assert_eq!(read(&mut feed).len(), versions.len());
    let first_offset = |path: &PathBuf| listing::LogFile::from_path(path).unwrap().first_offset;
    let held = first_offset(&segments(dir.path())[0]);
    assert_eq!(oldest(node.feed(Some(0))), held);
    assert_eq!(oldest(node.feed(Some(versions[0]))), held);
    assert!(node.feed(Some(held)).is_ok());
    // One that comes to a segment that is not there has nothing to continue with.
    let mut feed = node.feed(Some(held)).unwrap();
    std::fs::remove_file(&segments(dir.path())[1]).unwrap();
    let failed = std::iter::repeat_with(|| feed.next().map(|read| read.is_some())).find(|read| read.is_err());
    let next = first_offset(&segments(dir.path())[1]);
    assert!(matches!(failed, Some(Err(FeedError::Gone { oldest })) if oldest == next));
}

/// The log of a store that was healed continues after a base: what came between is not in it.
#[test]
fn a_feed_says_that_a_log_that_was_healed_has_a_hole() {
    let dir = temporary();
    let disk = Disk::default();
    let node = Node::open_on(disk.clone(), options(dir.path(), Policy::Always)).unwrap();
    set(&node, "a", "1").unwrap();
    let mut feed = node.feed(Some(0)).unwrap();
    assert_eq!(read(&mut feed).len(), 1);
    disk.faults.plan(Plan::All {
        operation: "write",
        errno: EIO,
    });
    set(&node, "b", "2").unwrap_err();
    disk.faults.plan(Plan::All {
        operation: "sync data",
        errno: EIO,
    });
    until("the sync has failed", || {
        matches!(node.health(), Health::SyncFailed { .. })
    });
    disk.faults.plan(Plan::None);
    until("the log is well", || node.health() == Health::Ok);
    let after = set(&node, "c", "3").unwrap();
    match feed.next() {
        // Written before the sync failed: then there is no hole.
        Ok(Some(next)) => assert_eq!(next.record.key, b"b"),
        other => assert!(matches!(other, Err(FeedError::Gone { oldest }) if oldest < after)),
    }
    let begins = oldest(node.feed(Some(0)));
    assert_eq!(
        read(&mut node.feed(Some(begins)).unwrap()).last().unwrap().2,
        after
    );
}

#[test]
fn a_damaged_record_is_never_passed_over() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    let versions: Vec<_> = (0..3).map(|_| set(&node, "k", "value").unwrap()).collect();
    let path = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = header::HEADER_BYTES + versions[1] as usize;
    bytes[at + 4..at + 8].fill(0x7f); // A length that would be 2 GiB.
    std::fs::write(&path, bytes).unwrap();
    let mut feed = node.feed(Some(0)).unwrap();
    assert!(feed.next().unwrap().is_some() && feed.next().unwrap().is_some());
    for _ in 0..2 {
        let failed = feed.next().map(|read| read.is_some());
        assert!(
            matches!(&failed, Err(FeedError::Log(error)) if error.is_damage()),
            "{failed:?}"
        );
    }
    assert!(matches!(
        node.feed(Some(versions[1])),
        Err(FeedError::NotABoundary { .. })
    ));
}

#[test]
fn a_gap_is_passed_over() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    let versions: Vec<_> = (0..3).map(|_| set(&node, "k", "value").unwrap()).collect();
    let path = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = header::HEADER_BYTES + versions[0] as usize;
    let gap = Record::encode_gap(versions[0], (versions[1] - versions[0]) as usize, 0);
    bytes[at..at + gap.len()].copy_from_slice(&gap);
    std::fs::write(&path, bytes).unwrap();
    let read = read(&mut node.feed(Some(0)).unwrap());
    let read: Vec<_> = read.into_iter().map(|(.., version)| version).collect();
    assert_eq!(read, [versions[0], versions[2]]);
}

#[test]
fn feeds_under_writers_miss_nothing_and_wake_when_there_is_more() {
    const WRITES: usize = 2000;
    let dir = temporary();
    let mut options = small_segments(dir.path());
    options.log.segment_bytes_max = 20_000;
    let node = Node::open(options).unwrap();
    let stops = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeds: Vec<_> = (0..4)
            .map(|_| {
                let mut feed = node.feed(Some(0)).unwrap();
                scope.spawn(move || {
                    let deadline = Instant::now() + Duration::from_secs(20);
                    let mut all = Vec::new();
                    while all.len() < 2 * WRITES && feed.wait(deadline, || true) {
                        all.extend(read(&mut feed));
                    }
                    all
                })
            })
            .collect();
        let mut idle = node.feed(None).unwrap();
        for writer in ["a", "b"] {
            let node = &node;
            scope.spawn(move || (0..WRITES).all(|_| set(node, writer, "value").is_ok()));
        }
        let all: Vec<_> = feeds.into_iter().map(|feed| feed.join().unwrap()).collect();
        assert_eq!(all[0].len(), 2 * WRITES);
        assert!(all[0].is_sorted_by(|before, after| before.2 < after.2));
        assert!(all.iter().all(|one| *one == all[0]));
        read(&mut idle);
        let stops = &stops;
        let waits = scope.spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(20);
            idle.wait(deadline, || !stops.load(std::sync::atomic::Ordering::SeqCst))
        });
        stops.store(true, std::sync::atomic::Ordering::SeqCst);
        node.wake_watchers();
        assert!(!waits.join().unwrap());
    });
}
