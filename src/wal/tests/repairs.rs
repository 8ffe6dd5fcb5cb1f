//! Directories with files that are foreign, missing, too long or made up: a repair must lead to a start, or
//! say why not, and must never cost what is complete.

use super::*;
use crate::record::SKIP_BYTES;
use crate::wal::check::repair_on;
use crate::wal::disk::{Disk, faults::Plan};
use crate::wal::header::HEADER_BYTES;
use tempfile::TempDir;

/// A log of several segments in which each key is written once, and what it holds.
fn several_segments() -> (TempDir, node::Options, BTreeMap<String, String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), Policy::No);
    options.limits.entries_max = 1000;
    options.log.segment_bytes_max = 200;
    let node = Node::open(options.clone()).unwrap();
    for n in 0..40 {
        set(&node, &format!("key{n}"), &format!("value {n}")).unwrap();
    }
    let held = contents(&node);
    node.close().unwrap();
    (dir, options, held)
}

fn opened(options: &node::Options) -> BTreeMap<String, String> {
    let node = Node::open(options.clone()).unwrap_or_else(|error| panic!("{error}"));
    let held = contents(&node);
    node.close().unwrap();
    held
}

#[test]
fn a_made_up_base_never_costs_the_log() {
    for bytes in [vec![], vec![0x5a; 8000]] {
        for offset in ["00000000000000099999", "00000000000000000001"] {
            let (dir, options, held) = several_segments();
            let base = dir.path().join(format!("base-{offset}.pykv"));
            std::fs::write(&base, &bytes).unwrap();
            assert!(Node::open(options.clone()).is_err_and(|error| error.is_damage()));
            assert!(!check(dir.path()).unwrap().is_whole());
            let repaired = repair(dir.path()).unwrap();
            let saved = repaired.damage[0].saved_to.as_ref().unwrap();
            assert_eq!(std::fs::read(saved).unwrap(), bytes);
            assert!(!base.exists());
            assert_eq!(opened(&options), held);
        }
    }
}

#[test]
fn a_made_up_base_at_a_boundary_never_costs_the_log() {
    let (dir, options, held) = several_segments();
    let name = segments(dir.path())[2]
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .replace("log-", "base-");
    std::fs::write(dir.path().join(name), b"").unwrap();
    repair(dir.path()).unwrap();
    assert_eq!(opened(&options), held);
}

#[test]
fn a_made_up_segment_is_set_aside_and_others_do_not_grow_to_meet_it() {
    for offset in ["00000001099511627776", "18446744073709551615"] {
        let (dir, options, held) = several_segments();
        std::fs::write(dir.path().join(format!("log-{offset}.pykv")), b"").unwrap();
        let before: u64 = segments(dir.path())
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum();
        repair(dir.path()).unwrap();
        let after: u64 = segments(dir.path())
            .iter()
            .map(|path| path.metadata().unwrap().len())
            .sum();
        assert_eq!(after, before);
        assert_eq!(opened(&options), held);
    }
}

#[test]
fn bytes_behind_a_segment_are_cut_off() {
    for surplus in [1, 19, 20, 21, 100] {
        let (dir, options, held) = several_segments();
        let path = &segments(dir.path())[1];
        let mut bytes = std::fs::read(path).unwrap();
        bytes.extend(vec![0xff; surplus]);
        std::fs::write(path, &bytes).unwrap();
        assert!(
            Node::open(options.clone()).is_err_and(|error| error.is_damage()),
            "{surplus} bytes"
        );
        repair(dir.path()).unwrap();
        assert_eq!(opened(&options), held, "{surplus} bytes");
    }
}

#[test]
fn bytes_put_into_a_segment_cost_what_is_behind_them_in_it() {
    for inserted in [1, 8, 100] {
        let (dir, options, held) = several_segments();
        let path = &segments(dir.path())[1];
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() - 100;
        bytes.splice(middle..middle, vec![0xff; inserted]);
        std::fs::write(path, &bytes).unwrap();
        repair(dir.path()).unwrap();
        assert_eq!(check(dir.path()).unwrap().damage, [], "{inserted} bytes");
        let left = opened(&options);
        assert!(left.iter().all(|(key, value)| held.get(key) == Some(value)));
        assert!(
            left.len() + 6 >= held.len() && left.len() < held.len(),
            "{} of {}",
            left.len(),
            held.len()
        );
    }
}

#[test]
fn a_log_without_its_beginning_is_refused_by_all() {
    let (dir, options, _) = several_segments();
    std::fs::remove_file(&segments(dir.path())[0]).unwrap();
    assert!(matches!(check(dir.path()), Err(Error::NotMended { .. })));
    assert!(matches!(repair(dir.path()), Err(Error::NotMended { .. })));
    assert!(matches!(Node::open(options), Err(Error::Inconsistent { .. })));
}

#[test]
fn a_directory_without_a_store_is_said_to_be_none_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(check(dir.path()), Err(Error::NoStore { .. })));
    assert!(matches!(repair(dir.path()), Err(Error::NoStore { .. })));
    assert!(matches!(Reader::open(dir.path()), Err(Error::NoStore { .. })));
    assert!(matches!(
        Reader::open(&dir.path().join("none")),
        Err(Error::NoStore { .. })
    ));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_log_that_was_removed_under_a_node_is_written_anew() {
    let (dir, options, held) = several_segments();
    let node = Node::open(options.clone()).unwrap();
    for path in segments(dir.path()) {
        std::fs::remove_file(path).unwrap();
    }
    until("a base was made", || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with("base-"))
    });
    until("writes are taken", || set(&node, "later", "value").is_ok());
    node.close().unwrap();
    let mut expected = held;
    expected.insert("later".to_string(), "value".to_string());
    assert_eq!(opened(&options), expected);
}

/// A start leaves a SKIP of some GiB at the end of a segment. Where that is damaged, a repair must not make a file of as
/// many bytes, which every start would read.
#[test]
fn a_damaged_skip_is_mended_by_a_skip() {
    let (dir, options, held) = several_segments();
    let again = opened(&options);
    assert_eq!(again, held);
    let all = segments(dir.path());
    // The last but one ends with the SKIP of the second start.
    let path = &all[all.len() - 2];
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(path, &bytes).unwrap();
    assert!(Node::open(options.clone()).is_err_and(|error| error.is_damage()));
    let repaired = repair(dir.path()).unwrap();
    assert_eq!(repaired.damage.len(), 1, "{repaired:?}");
    let mended = std::fs::metadata(path).unwrap().len();
    assert!(mended < bytes.len() as u64 + 100, "{mended} bytes");
    assert!(check(dir.path()).unwrap().is_whole());
    assert_eq!(opened(&options), held);
}

/// Behind a SKIP, and where files are missing that it led to, a repair keeps the log going on where the next file begins.
#[test]
fn what_follows_a_skip_is_mended_by_a_skip() {
    for is_missing in [false, true] {
        let (dir, options, _) = several_segments();
        opened(&options); // A second start, so that a segment ends with a SKIP.
        opened(&options);
        let all = segments(dir.path());
        let skips = |path: &&PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            Record::peek_key(&bytes[bytes.len() - SKIP_BYTES..]).is_some_and(<[u8]>::is_empty)
        };
        let at = all.iter().position(|path| skips(&path)).unwrap();
        if is_missing {
            std::fs::remove_file(&all[at + 1]).unwrap();
        } else {
            let mut bytes = std::fs::read(&all[at]).unwrap();
            bytes.extend_from_slice(&[0x5a; 25]);
            std::fs::write(&all[at], bytes).unwrap();
        }
        assert!(Node::open(options.clone()).is_err_and(|error| error.is_damage()));
        let repaired = repair(dir.path()).unwrap();
        assert_eq!(repaired.damage.len(), 1, "{repaired:?}");
        assert!(check(dir.path()).unwrap().is_whole());
        opened(&options);
    }
}

/// The files of a directory, and what is in them.
fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_repair_mends_all_or_touches_nothing() {
    let (dir, options, _) = several_segments();
    opened(&options); // A second start, so that a segment ends with a SKIP.
    let count = segments(dir.path()).len();
    for damaged in 0..count {
        for missing in 0..count {
            let copy = tempfile::tempdir().unwrap();
            for (path, bytes) in bytes_of(dir.path()) {
                std::fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
            }
            let paths = segments(copy.path());
            let mut bytes = std::fs::read(&paths[damaged]).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&paths[damaged], &bytes).unwrap();
            std::fs::remove_file(&paths[missing]).unwrap();
            let when = format!("damage in segment {damaged}, without segment {missing}");
            let before = bytes_of(copy.path());
            match repair(copy.path()) {
                Ok(_) => {
                    let report = check(copy.path()).unwrap_or_else(|error| panic!("{when}: {error}"));
                    assert!(report.is_whole(), "{when}: {report:?}");
                    let mut options = options.clone();
                    options.dir = copy.path().to_path_buf();
                    opened(&options);
                }
                Err(error) => {
                    assert!(matches!(error, Error::NotMended { .. }), "{when}: {error}");
                    assert!(
                        error.is_damage() && !error.to_string().contains("--repair"),
                        "{error}"
                    );
                    assert_eq!(bytes_of(copy.path()), before, "{when}: {error}");
                }
            }
        }
    }
}

/// All of a directory, LOCK too.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

type Damaging = (&'static str, fn(&Path));

/// Kinds of damage: one for each way to mend it.
fn damages() -> [Damaging; 6] {
    fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
    [
        ("a record in the middle", |dir| {
            change(&segments(dir)[1], |bytes| bytes[HEADER_BYTES + 30] ^= 1);
        }),
        ("a header", |dir| {
            change(&segments(dir)[1], |bytes| bytes[20] ^= 1)
        }),
        ("a segment that ends too early", |dir| {
            change(&segments(dir)[1], |bytes| bytes.truncate(bytes.len() - 3));
        }),
        ("bytes behind a segment", |dir| {
            change(&segments(dir)[1], |bytes| bytes.extend([0xff; 30]));
        }),
        ("a last segment that is empty", |dir| {
            std::fs::write(segments(dir).pop().unwrap(), b"").unwrap();
        }),
        ("a last segment that is missing", |dir| {
            std::fs::remove_file(segments(dir).pop().unwrap()).unwrap();
        }),
    ]
}

#[test]
fn a_repair_that_fails_leaves_all_as_it_was() {
    for (what, damage) in damages() {
        let (whole, options, _) = several_segments();
        damage(whole.path());
        let damaged = || {
            let dir = tempfile::tempdir().unwrap();
            for (path, bytes) in files(whole.path()) {
                std::fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
            }
            let path = dir.path().to_path_buf();
            (
                dir,
                node::Options {
                    dir: path,
                    ..options.clone()
                },
            )
        };
        let (dir, options) = damaged();
        let disk = Disk::default();
        disk.faults.plan(Plan::None);
        repair_on(&disk, dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (made, expected) = (disk.faults.made(), opened(&options));
        assert!(made > 0, "{what}");
        for at in 0..made {
            let (dir, options) = damaged();
            let before = files(dir.path());
            disk.faults.plan(Plan::Once { at, errno: 28 });
            assert!(repair_on(&disk, dir.path()).is_err(), "{what}, operation {at}");
            disk.faults.plan(Plan::None);
            let after = files(dir.path());
            let is_undone = after == before;
            // Only what the last operations are about may be left to do: the file is mended, LOCK not.
            let is_mended = !is_undone && what == "a last segment that is empty";
            assert!(is_undone || is_mended, "{what}, operation {at}");
            assert!(
                !after
                    .keys()
                    .any(|path| path.extension().is_some_and(|end| end == "tmp")),
                "{what}, operation {at}"
            );
            repair_on(&disk, dir.path()).unwrap_or_else(|error| panic!("{what}, operation {at}: {error}"));
            assert!(check(dir.path()).unwrap().is_whole(), "{what}, operation {at}");
            assert_eq!(opened(&options), expected, "{what}, operation {at}");
        }
    }
}

/// The end of a log that was closed in order is not torn by a crash: whatever is missing there is lost.
#[test]
fn a_log_that_was_closed_and_lost_its_end_is_damaged() {
    let (dir, options, held) = several_segments();
    let last = segments(dir.path()).pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let close_bytes = 28;
    for left in (0..HEADER_BYTES).step_by(500).chain(HEADER_BYTES..bytes.len()) {
        std::fs::write(&last, &bytes[..left]).unwrap();
        let before = files(dir.path());
        let is_lost = left < bytes.len() - close_bytes;
        assert_eq!(check(dir.path()).unwrap().is_whole(), !is_lost, "{left} bytes");
        if is_lost {
            let opened = Node::open(options.clone());
            assert!(opened.is_err_and(|error| error.is_damage()), "{left} bytes");
            assert_eq!(files(dir.path()), before, "{left} bytes");
        }
    }
    for left in [0, 100, HEADER_BYTES, bytes.len() - close_bytes - 1] {
        let (dir, options, _) = several_segments();
        let last = segments(dir.path()).pop().unwrap();
        let bytes = std::fs::read(&last).unwrap();
        std::fs::write(&last, &bytes[..left]).unwrap();
        let repaired = repair(dir.path()).unwrap();
        assert!(!repaired.is_whole(), "{left} bytes: {repaired:?}");
        assert!(check(dir.path()).unwrap().is_whole(), "{left} bytes");
        let left_over = opened(&options);
        assert!(left_over.len() < held.len() && left_over.iter().all(|(k, v)| held.get(k) == Some(v)));
    }
}
