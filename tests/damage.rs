//! A log that is cut or changed on disk: never a panic, never a wrong value.
//!
//! What is expected follows from the rules of recovery alone. A record is whole or it is not there, so a log
//! cut at any byte must open with exactly the records that end before the cut. A changed byte in the last
//! record may be a torn write and is cut off; anywhere else it is damage, and the directory must not open.
//!
//! Where records end is known from outside: a version is the offset just past its record, and the file
//! ends where the last record does.
//!
//! The stores are opened in this process, as there are thousands of them; what the binary says to its user
//! is asked in `storage/repair.rs`. No test of this file may start a process: between fork and exec a child holds
//! the locks of all stores that are open at that moment.

#![allow(clippy::unwrap_used)]

mod common;

use common::files::{log_file, log_files};
use pykv::internals::Key;
use pykv::internals::node::{Ahead, Deadline, Mode, Node, Options, Precondition};
use pykv::internals::store::Limits;
use pykv::internals::wal::{Error, Options as LogOptions, Policy};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

type Contents = BTreeMap<String, Vec<u8>>;

fn options(dir: &Path, segment_bytes_max: u64) -> Options {
    Options {
        cluster: pykv::internals::node::ClusterOptions::default(),
        dir: dir.to_path_buf(),
        limits: Limits {
            entries_max: Limits::ENTRIES_MAX,
            bytes_max: 1 << 30,
        },
        value_bytes_max: 1 << 20,
        log: LogOptions {
            policy: Policy::No,
            unwritten_bytes_max: 1 << 20,
            segment_bytes_max,
            compact_bytes_min: Some(0),
            compact_ratio: 0.0,
            backlog_bytes: Some(0),
            branch_spread_bytes: 0,
            new_store: false,
            progress: std::sync::Arc::default(),
            wait_max: common::SOON,
        },
    }
}

/// A directory in memory where there is one: thousands of stores are opened here, and none is meant to
/// survive the machine.
fn temporary() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn open(dir: &Path) -> Result<Node, Error> {
    Node::open(options(dir, 1 << 30))
}

fn key(text: &str) -> Key<'_> {
    Key::new(text).unwrap()
}

fn put(node: &Node, name: &str, value: &[u8]) -> u64 {
    let written = node
        .put(
            key(name),
            value,
            Deadline::Never,
            Mode::Upsert,
            Precondition::None,
        )
        .unwrap();
    node.wait(written.version).unwrap();
    written.version
}

fn contents(node: &Node) -> Contents {
    let mut lister = node.lister("", None, true).unwrap();
    let mut contents = Contents::new();
    loop {
        match lister.look(usize::MAX) {
            Ahead::End => return contents,
            Ahead::Nothing => {}
            Ahead::Entry | Ahead::Large(_) => {
                let listed = lister.next().unwrap();
                let name = String::from_utf8(listed.key.to_vec()).unwrap();
                contents.insert(name, listed.value.to_vec());
            }
        }
    }
}

/// The store of a process that was killed, and what it held after each of its records.
struct History {
    dir: TempDir,
    /// Where each record ends in the file, and what the store holds then; the first is the empty store.
    states: Vec<(usize, Contents)>,
    log: Vec<u8>,
    log_name: PathBuf,
}

impl History {
    /// Sets, updates and a delete; values of none, few and many bytes; one that holds a copy of the log
    /// itself, whose records must not be taken for records of this one.
    fn new() -> History {
        let dir = temporary();
        let node = open(dir.path()).unwrap();
        let mut state = Contents::new();
        let mut offsets = vec![(node.status().offset, state.clone())];
        let mut write = |name: &str, value: Option<&[u8]>| {
            let offset = match value {
                Some(value) => {
                    state.insert(name.to_string(), value.to_vec());
                    put(&node, name, value)
                }
                None => {
                    state.remove(name);
                    let offset = node.delete(key(name), Precondition::None).unwrap();
                    node.wait(offset).unwrap();
                    offset
                }
            };
            offsets.push((offset, state.clone()));
        };
        write("a", Some(b"1"));
        write("b", Some(b""));
        write("a", Some(b"second"));
        let so_far = fs::read(log_file(dir.path())).unwrap();
        write("copy", Some(&so_far));
        write("b", None);
        write("c", Some(&[0; 60]));
        write("b", Some(b"again"));
        // As a process that is killed: a log that was closed in order has no torn tail.
        drop(node);

        let log_name = log_file(dir.path());
        let log = fs::read(&log_name).unwrap();
        let (end, _) = *offsets.last().unwrap();
        let states = offsets
            .into_iter()
            .map(|(offset, state)| (log.len() - (end - offset) as usize, state))
            .collect();
        History {
            log_name: log_name.file_name().unwrap().into(),
            dir,
            states,
            log,
        }
    }

    /// A copy of the directory whose log is this.
    fn with_log(&self, log: &[u8]) -> TempDir {
        let copy = temporary();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        fs::write(copy.path().join(&self.log_name), log).unwrap();
        copy
    }

    fn with_flipped(&self, at: usize, mask: u8) -> TempDir {
        let mut log = self.log.clone();
        log[at] ^= mask;
        self.with_log(&log)
    }

    /// The first byte of the last record.
    fn last_record(&self) -> usize {
        self.states[self.states.len() - 2].0
    }

    /// Where the first record of a key begins: all before it is the header and what a new log starts with.
    fn first_record(&self) -> usize {
        self.states[0].0
    }
}

#[test]
fn a_log_cut_at_any_byte_opens_with_the_records_before_the_cut() {
    let history = History::new();
    for cut in history.first_record()..=history.log.len() {
        let dir = history.with_log(&history.log[..cut]);
        let (_, expected) = history.states.iter().rfind(|(end, _)| *end <= cut).unwrap();
        let node = open(dir.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(contents(&node), *expected, "cut at {cut}");

        // It goes on from there, and the next start finds both.
        put(&node, "after", b"the cut");
        node.close().unwrap();
        let mut expected = expected.clone();
        expected.insert("after".to_string(), b"the cut".to_vec());
        let node =
            open(dir.path()).unwrap_or_else(|error| panic!("second start after cut at {cut}: {error}"));
        assert_eq!(contents(&node), expected, "second start after cut at {cut}");
        node.close().unwrap();
    }
}

/// A header is on disk before its file counts, so no crash leaves half of one: an error, or, where a cut
/// file is taken for one that was being made, an empty store; never a panic.
#[test]
fn a_cut_header_is_no_panic_and_no_wrong_value() {
    let history = History::new();
    for cut in 0..history.first_record() {
        let dir = history.with_log(&history.log[..cut]);
        if let Ok(node) = open(dir.path()) {
            assert_eq!(contents(&node), Contents::new(), "cut at {cut}");
        }
    }
}

#[test]
fn a_changed_byte_before_the_last_record_is_refused_where_it_is() {
    let history = History::new();
    for at in history.first_record()..history.last_record() {
        let (_, (record_end, _)) = history
            .states
            .iter()
            .enumerate()
            .find(|(_, (end, _))| *end > at)
            .unwrap();
        let record_start = history.states.iter().rfind(|(end, _)| *end <= at).unwrap().0;
        for mask in [1 << (at % 8), 0xff] {
            let dir = history.with_flipped(at, mask);
            let error = match open(dir.path()) {
                Ok(node) => panic!("byte {at} ^ {mask:#x} went unnoticed: {:?}", contents(&node)),
                Err(error) => error,
            };
            let Error::Damaged {
                path, file_position, ..
            } = &error
            else {
                panic!("byte {at} ^ {mask:#x}: {error}");
            };
            assert_eq!(path, &dir.path().join(&history.log_name));
            assert!(
                (record_start..*record_end).contains(&(*file_position as usize)),
                "byte {at} ^ {mask:#x} is in {record_start}..{record_end}, not at {file_position}"
            );
            let text = error.to_string();
            assert!(text.contains(history.log_name.to_str().unwrap()), "{text}");
            // Refused, nothing is touched: what was there can still be repaired or copied.
            let mut log = history.log.clone();
            log[at] ^= mask;
            assert_eq!(fs::read(path).unwrap(), log, "byte {at} ^ {mask:#x}");
        }
    }
}

#[test]
fn a_changed_byte_in_the_last_record_costs_that_record_alone() {
    let history = History::new();
    let (_, expected) = &history.states[history.states.len() - 2];
    for at in history.last_record()..history.log.len() {
        for mask in [1 << (at % 8), 0xff] {
            let dir = history.with_flipped(at, mask);
            match open(dir.path()) {
                Ok(node) => assert_eq!(contents(&node), *expected, "byte {at} ^ {mask:#x}"),
                Err(error) => panic!("byte {at} ^ {mask:#x} can be a torn write: {error}"),
            }
        }
    }
}

#[test]
fn a_changed_byte_in_the_header_is_refused() {
    let history = History::new();
    for at in 0..history.first_record() {
        for mask in [1 << (at % 8), 0xff] {
            let dir = history.with_flipped(at, mask);
            match open(dir.path()) {
                Ok(node) => panic!("byte {at} ^ {mask:#x} went unnoticed: {:?}", contents(&node)),
                Err(Error::Io { path, .. } | Error::Damaged { path, .. } | Error::Version { path, .. }) => {
                    assert_eq!(path, dir.path().join(&history.log_name), "byte {at} ^ {mask:#x}");
                }
                Err(error) => assert!(error.is_damage(), "byte {at} ^ {mask:#x}: {error}"),
            }
        }
    }
}

#[test]
fn what_a_power_cut_leaves_behind_a_torn_record_opens() {
    let history = History::new();
    let half = history.last_record() + (history.log.len() - history.last_record()) / 2;
    let (_, expected) = &history.states[history.states.len() - 2];
    // A file that was made longer before its bytes came reads as zeros.
    let mut zeros = history.log[..half].to_vec();
    zeros.resize(half + 10_000, 0);
    let dir = history.with_log(&zeros);
    let node = open(dir.path()).unwrap();
    assert_eq!(contents(&node), *expected);
    drop(node);

    let mut zeros = history.log.clone();
    zeros.resize(history.log.len() + 4096, 0);
    let dir = history.with_log(&zeros);
    assert_eq!(
        contents(&open(dir.path()).unwrap()),
        history.states.last().unwrap().1
    );
}

/// A store of several segments, and what it holds.
fn segments() -> (TempDir, Contents) {
    let dir = temporary();
    let node = Node::open(options(dir.path(), 2000)).unwrap();
    for number in 0..100 {
        put(
            &node,
            &format!("key-{}", number % 40),
            format!("{number:0100}").as_bytes(),
        );
    }
    let expected = contents(&node);
    node.close().unwrap();
    assert!(log_files(dir.path()).len() > 3);
    (dir, expected)
}

#[test]
fn a_log_of_several_segments_opens() {
    let (dir, expected) = segments();
    assert_eq!(contents(&open(dir.path()).unwrap()), expected);
}

#[test]
fn only_the_last_segment_may_be_torn() {
    let (dir, _) = segments();
    let second = &log_files(dir.path())[1];
    let bytes = fs::read(second).unwrap();
    for cut in [bytes.len() - 1, bytes.len() - 30, bytes.len() / 2] {
        fs::write(second, &bytes[..cut]).unwrap();
        let error = open(dir.path())
            .err()
            .unwrap_or_else(|| panic!("cut at {cut} went unnoticed"));
        assert!(error.is_damage(), "{error}");
    }
}

#[test]
fn a_segment_that_is_missing_is_noticed() {
    let (dir, _) = segments();
    let logs = log_files(dir.path());
    for missing in [0, 1, logs.len() - 2] {
        let aside = dir.path().join("aside");
        fs::rename(&logs[missing], &aside).unwrap();
        let error = open(dir.path())
            .err()
            .unwrap_or_else(|| panic!("{} went unnoticed", logs[missing].display()));
        assert!(error.is_damage(), "{error}");
        fs::rename(&aside, &logs[missing]).unwrap();
    }
    open(dir.path()).unwrap();
}

#[test]
fn a_directory_is_open_once() {
    let dir = temporary();
    let node = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    node.close().unwrap();
    open(dir.path()).unwrap();
}

/// Long enough that the whole file takes several reads, however large the reader's buffer.
#[test]
fn large_values_are_read_back_across_buffers() {
    let dir = temporary();
    let node = open(dir.path()).unwrap();
    let value = |number: usize| vec![number as u8; number * 70_001];
    for number in 0..12 {
        put(&node, &format!("{number}"), &value(number));
    }
    node.close().unwrap();
    let node = open(dir.path()).unwrap();
    for (name, found) in contents(&node) {
        assert_eq!(found, value(name.parse().unwrap()), "key {name}");
    }
    assert_eq!(node.counters().entries, 12);
}
