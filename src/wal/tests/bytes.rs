//! What is on disk, byte for byte; and what becomes of it when it is cut, flipped or repaired.

use super::*;
use crate::wal::header::HEADER_BYTES;

/// A log of three changes: a key set, updated, and another one set; and the offset after each. It was closed
/// in order.
fn example() -> (TempDir, PathBuf, Vec<u64>) {
    let dir = temporary();
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
    // TERM: 20 bytes and a value of 16. Then a head, a key of 1 and the value each.
    assert_eq!(ends, [36 + 24, 36 + 24 + 24, 36 + 24 + 24 + 26]);
    assert_eq!(&bytes[..8], b"pykv log");
    let records = &bytes[HEADER_BYTES..];
    // At the end CLOSE, which has a value of 8.
    assert_eq!(records.len(), 110 + 28);
    assert_eq!(records[110 + 4..110 + 12], [20, 0, 0, 0, 10, 0, 0, 0]);
    // The first term: its number in the upper half, and no mark. Then a nonce, which is random.
    assert_ne!(records[28..36], [0; 8]);
    // length, operation, flags, key bytes; then, after the timestamp, key and value.
    let expected: [(usize, [u8; 8], &[u8]); 4] = [
        (0, [28, 0, 0, 0, 6, 0, 0, 0], &[0, 0, 0, 0, 1, 0, 0, 0]),
        (36, [16, 0, 0, 0, 1, 0, 1, 0], b"aone"),
        (60, [16, 0, 0, 0, 2, 0, 1, 0], b"atwo"),
        (84, [18, 0, 0, 0, 1, 0, 1, 0], b"bthree"),
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

/// Leaves nothing in a directory but this file.
fn leave_only(path: &Path, bytes: &[u8]) {
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_log_cut_anywhere_opens_with_the_records_before_the_cut() {
    let (dir, path, ends) = example();
    let bytes = std::fs::read(&path).unwrap();
    for cut in (0..bytes.len()).rev() {
        leave_only(&path, &bytes[..cut]);
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
        // It continues where the complete records end.
        let version = set(&node, "c", "four").unwrap();
        node.close().unwrap();
        let node = Node::open(options(dir.path(), Policy::No)).unwrap();
        assert_eq!(get(&node, "c").as_deref(), Some("four"), "cut at {cut}");
        // Versions after the cut may have been seen before the crash: none of them comes back.
        assert!(version > bytes.len() as u64, "cut at {cut}");
    }
}

#[test]
fn a_flipped_byte_is_never_served_and_in_the_middle_stops_the_start() {
    let (dir, path, ends) = example();
    let bytes = std::fs::read(&path).unwrap();
    let last_record = HEADER_BYTES + ends[2] as usize;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        leave_only(&path, &flipped);
        match Node::open(options(dir.path(), Policy::No)) {
            Ok(node) => {
                assert!(at >= last_record, "byte {at} is not in the last record");
                assert_eq!(
                    (get(&node, "a").as_deref(), get(&node, "b").as_deref()),
                    (Some("two"), Some("three")),
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
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        leave_only(&path, &flipped);

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
        let lost = lost.filter(|_| at >= HEADER_BYTES + 36);
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
    let dir = temporary();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    let mut inner = Vec::new();
    Record::new(Operation::Set, 1, b"inner", b"x").encode(0, &mut inner);
    let outer = [&[0; 100][..], &inner, &[0; 100]].concat();
    let end = node
        .put(
            key("outer"),
            &outer,
            Deadline::Never,
            Mode::Add,
            Precondition::None,
        )
        .unwrap()
        .version;
    node.wait(end).unwrap();
    // Killed, and not closed: a log that was closed in order has no torn tail.
    drop(node);
    let path = segments(dir.path()).remove(0);
    // Torn in the midst of the value, after the record that stands in it.
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(HEADER_BYTES as u64 + end - 50))
        .unwrap();
    let node = Node::open(options(dir.path(), Policy::No)).unwrap();
    assert_eq!(contents(&node), BTreeMap::new());
}
