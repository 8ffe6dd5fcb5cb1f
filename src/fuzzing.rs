//! What reads bytes from outside, for fuzzing: a function each, which must not panic whatever it is given.
//!
//! No part of pykv's interface: it is built only for `make fuzz` and for tests, which give the same functions made-up
//! and mutated bytes.

use crate::record::{Operation, Record, seal};
use std::path::Path;

pub use crate::commands::fuzz_import_line as import_line;

/// A record: its position, and its bytes, as they are and with a right checksum.
pub fn record(bytes: &[u8]) {
    let Some((position, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let position = u64::from_le_bytes(*position);
    let mut sealed = rest.to_vec();
    seal(position, &mut sealed);
    for bytes in [rest, &sealed] {
        if let Ok((record, record_bytes)) = Record::decode(position, bytes) {
            let mut again = Vec::new();
            record.encode(position, &mut again);
            assert!(record.operation == Operation::Gap || again == bytes[..record_bytes]);
        }
    }
}

/// The header of a file.
pub fn header(bytes: &[u8]) {
    crate::wal::fuzzing::header(bytes);
}

/// A base and a segment, in an empty directory.
pub fn base(dir: &Path, bytes: &[u8]) {
    crate::wal::fuzzing::base(dir, bytes);
}

/// A backup, in an empty directory.
pub fn backup(dir: &Path, bytes: &[u8]) {
    crate::wal::fuzzing::backup(dir, bytes);
}

/// The head of a request.
pub fn request_head(bytes: &[u8]) {
    crate::handlers::fuzzing::request_head(bytes);
}

/// A body in chunks.
pub fn chunked_body(bytes: &[u8]) {
    crate::handlers::fuzzing::chunked_body(bytes);
}

/// The body of a batch.
pub fn batch_json(bytes: &[u8]) {
    crate::handlers::fuzzing::batch_json(bytes);
}

/// What another node says of itself.
pub fn hello(bytes: &[u8]) {
    crate::handlers::fuzzing::hello(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::PathBuf;

    /// A target by itself, with a directory of its own where it needs one.
    fn run(target: &str, bytes: &[u8]) {
        let in_dir = |target: fn(&Path, &[u8])| {
            let dir = tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::tempdir());
            target(dir.unwrap().path(), bytes);
        };
        match target {
            "record" => record(bytes),
            "header" => header(bytes),
            "base" => in_dir(base),
            "backup" => in_dir(backup),
            "request_head" => request_head(bytes),
            "chunked_body" => chunked_body(bytes),
            "batch_json" => batch_json(bytes),
            "import_line" => import_line(bytes),
            "hello" => hello(bytes),
            _ => panic!("there is no target {target}"),
        }
    }

    const TARGETS: [&str; 9] = [
        "record",
        "header",
        "base",
        "backup",
        "request_head",
        "chunked_body",
        "batch_json",
        "import_line",
        "hello",
    ];

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/seeds")
            .join(target);
        let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn every_target_has_seeds_and_takes_them() {
        for target in TARGETS {
            let seeds = seeds(target);
            assert!(!seeds.is_empty(), "{target}");
            seeds.iter().for_each(|seed| run(target, seed));
        }
    }

    /// A change of a seed: where, and by what.
    #[derive(Clone, Debug)]
    enum Change {
        Set(usize, u8),
        Cut(usize),
        Insert(usize, Vec<u8>),
        Repeat(usize, usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            1 => any::<usize>().prop_map(Change::Cut),
            2 => (any::<usize>(), proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
            1 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        ]
    }

    fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for change in changes {
            let length = bytes.len();
            let place = |at: usize| at % (length + 1);
            match change {
                Change::Set(at, byte) if length > 0 => bytes[at % length] = *byte,
                Change::Set(..) => {}
                Change::Cut(at) => bytes.truncate(place(*at)),
                Change::Insert(at, more) => drop(bytes.splice(place(*at)..place(*at), more.iter().copied())),
                Change::Repeat(one, other) => {
                    let (from, to) = (place(*one).min(place(*other)), place(*one).max(place(*other)));
                    let part = bytes[from..to.min(from + 1000)].to_vec();
                    bytes.splice(to..to, part);
                }
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            TARGETS.iter().for_each(|target| run(target, &bytes));
        }

        #[test]
        fn no_change_of_a_seed_panics(
            which in any::<proptest::sample::Index>(),
            changes in proptest::collection::vec(change(), 1..6),
        ) {
            for target in TARGETS {
                let seeds = seeds(target);
                run(target, &changed(seeds[which.index(seeds.len())].clone(), &changes));
            }
        }
    }
}
