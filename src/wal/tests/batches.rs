//! Batches on disk: all or nothing, wherever the log ends; and versions that do not come back.

use super::*;
use crate::node::{BatchError, Outcome, Step};
use crate::wal::header::HEADER_BYTES;

fn put<'a>(k: &'a str, value: &'a str) -> Step<'a> {
    Step::Set {
        key: key(k),
        value: value.as_bytes(),
        deadline: Deadline::Never,
        precondition: Precondition::None,
    }
}

fn delete(k: &str) -> Step<'_> {
    Step::Delete {
        key: key(k),
        precondition: Precondition::None,
    }
}

fn batch(node: &Node, steps: &[Step<'_>]) -> Result<Vec<Outcome>, BatchError> {
    let batched = node.batch(steps)?;
    if let Some(offset) = batched.offset {
        node.wait(offset).unwrap();
    }
    Ok(batched.outcomes)
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

#[test]
fn a_log_that_ends_in_a_batch_has_all_of_it_or_none() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    set(&node, "a", "old").unwrap();
    set(&node, "b", "old").unwrap();
    let start = HEADER_BYTES + node.status().offset as usize;
    batch(
        &node,
        &[put("a", "new"), delete("b"), put("c", "new"), put("d", "new")],
    )
    .unwrap();
    let end = HEADER_BYTES + node.status().offset as usize;
    set(&node, "e", "later").unwrap();
    node.close().unwrap();
    let path = segments(dir.path()).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    // The flag of a batch: bit 2, on all its records but the last.
    let flags: Vec<u8> = record_starts(&bytes[start..end])
        .map(|at| bytes[start + at + 9])
        .collect();
    assert_eq!(flags, [4, 4, 4, 0]);

    let before = pairs(&[("a", "old"), ("b", "old")]);
    let after = pairs(&[("a", "new"), ("c", "new"), ("d", "new")]);
    for cut in start..=end {
        let copy = temporary();
        std::fs::write(copy.path().join(path.file_name().unwrap()), &bytes[..cut]).unwrap();
        let node = Node::open(options(copy.path(), Policy::No)).unwrap();
        assert_eq!(
            &contents(&node),
            if cut == end { &after } else { &before },
            "cut at {cut}"
        );
    }
    // In the middle it is damage like any other.
    for at in start..end {
        let copy = temporary();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(copy.path().join(path.file_name().unwrap()), &flipped).unwrap();
        let opened = Node::open(options(copy.path(), Policy::No));
        assert!(matches!(opened, Err(Error::Damaged { .. })), "flipped at {at}");
    }
}

/// Where the records of a stretch of the log begin.
fn record_starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = bytes.get(at + 4..at + 8)?;
        let start = at;
        at += 8 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        Some(start)
    })
}

#[test]
fn a_batch_that_fails_changes_nothing() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    let version = set(&node, "a", "1").unwrap();
    let offset = node.status().offset;
    let must_be = |version| Step::Delete {
        key: key("a"),
        precondition: Precondition::Version(version),
    };
    let refused = batch(&node, &[put("b", "2"), must_be(version + 1)]);
    assert!(matches!(
        refused,
        Err(BatchError::Step { index: 1, error: WriteError::Precondition { version: Some(found) } }) if found == version
    ));
    assert_eq!(
        (node.status().offset, contents(&node)),
        (offset, pairs(&[("a", "1")]))
    );
    batch(&node, &[put("b", "2"), must_be(version)]).unwrap();
    assert_eq!(contents(&node), pairs(&[("b", "2")]));
}

#[test]
fn what_a_batch_evicts_is_a_part_of_it() {
    let dir = temporary();
    let mut small = options(dir.path(), Policy::No);
    small.limits.entries_max = 2;
    let node = Node::open(small).unwrap();
    set(&node, "a", "1").unwrap();
    set(&node, "b", "1").unwrap();
    batch(&node, &[put("c", "1"), put("d", "1")]).unwrap();
    assert_eq!(contents(&node), pairs(&[("c", "1"), ("d", "1")]));
    node.close().unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut told = Vec::new();
    while let Some(read) = reader.next().unwrap() {
        told.push((read.record.operation.name(), read.record.more));
    }
    let expected = [
        ("TERM", false),
        ("SET", false),
        ("SET", false),
        ("EVICT", true),
        ("SET", true),
        ("EVICT", true),
        ("SET", false),
        ("CLOSE", false),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_version_that_was_seen_and_lost_is_not_given_again() {
    let dir = temporary();
    let mut highest = 0;
    for round in 0..4 {
        let node = Node::open(options(dir.path(), Policy::No)).unwrap();
        assert_eq!(contents(&node).len(), round, "what was acknowledged is there");
        set(&node, &round.to_string(), "kept").unwrap();
        // Applied and to be read, but not waited for. The log's thread may write it or not before the end.
        let seen = node
            .put(
                key("seen"),
                b"v",
                Deadline::Never,
                Mode::Upsert,
                Precondition::None,
            )
            .unwrap()
            .version;
        assert!(seen > highest, "{seen} was given before");
        highest = seen;
        drop(node);
        // As if it had not been written: the last record goes.
        let path = segments(dir.path()).pop().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let lost: Vec<usize> = record_starts(&bytes[HEADER_BYTES..]).collect();
        let is_written = bytes.ends_with(b"seenv");
        let cut = if is_written {
            HEADER_BYTES + lost[lost.len() - 1]
        } else {
            bytes.len()
        };
        std::fs::write(&path, &bytes[..cut]).unwrap();
    }
}

#[test]
fn the_digest_is_that_of_the_entries_and_outlives_the_process() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    assert_eq!(node.status().digest, crate::digest::Digest::default());
    for n in 0..100 {
        set(&node, &(n % 30).to_string(), &n.to_string()).unwrap();
    }
    del(&node, "7").unwrap();
    batch(&node, &[put("a", "1"), delete("8"), delete("gone")]).unwrap();
    let status = node.status();
    assert_eq!(status.digest_offset, status.offset);
    node.close().unwrap();
    let report = check(dir.path()).unwrap();
    assert_eq!((report.digest, report.mismatches), (status.digest, Vec::new()));

    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    assert_eq!(node.status().digest, status.digest);
    // One more change, and back: the version is another one, so the digest is too.
    let value = get(&node, "a").unwrap();
    set(&node, "a", &value).unwrap();
    assert_ne!(node.status().digest, status.digest);
    for k in contents(&node).into_keys() {
        del(&node, &k).unwrap();
    }
    assert_eq!(node.status().digest, crate::digest::Digest::default());
}

#[test]
fn a_close_with_another_digest_is_told_by_a_check() {
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    set(&node, "a", "1").unwrap();
    node.close().unwrap();
    let path = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 28;
    bytes.truncate(at);
    let offset = (at - HEADER_BYTES) as u64;
    Record::new(Operation::Close, 0, &[], &1u64.to_le_bytes()).encode(offset, &mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    let report = check(dir.path()).unwrap();
    assert!(report.damage.is_empty() && !report.is_whole(), "{report:?}");
    assert_eq!(report.mismatches[0].expected, crate::digest::Digest(1));
}
