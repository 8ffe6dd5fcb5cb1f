//! Directories with files that are foreign, missing, too long or made up: a repair must lead to a start, or
//! say why not, and must never cost what is whole.

use super::*;
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
    assert!(matches!(check(dir.path()), Err(Error::Inconsistent { .. })));
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
