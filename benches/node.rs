//! What the parts cost inside the process, without a network: `cargo bench --bench node`.
//!
//! Figures to compare one's own changes by, on one machine and in one sitting; `benches/run` compares the
//! whole with other stores.

use divan::{Bencher, counter::BytesCount};
use pykv::internals::node::{ClusterOptions, Deadline, Mode, Node, Options, Precondition};
use pykv::internals::record::{Operation, Record};
use pykv::internals::store::Limits;
use pykv::internals::wal::{Options as LogOptions, Policy};
use pykv::internals::{Key, node};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;

fn main() {
    divan::main();
}

const KEYS: usize = 100_000;

/// From one key to the next: prime to their number, and far enough that no cache line is met twice.
const STRIDE: usize = 61_803;

/// A node of a hundred thousand keys, and these.
fn filled(policy: Policy) -> (TempDir, Node, Vec<String>) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let node = Node::open(Options {
        cluster: ClusterOptions::default(),
        dir: dir.path().to_path_buf(),
        limits: Limits {
            entries_max: KEYS as u64,
            bytes_max: 1 << 30,
        },
        value_bytes_max: 1 << 20,
        log: LogOptions {
            policy,
            unwritten_bytes_max: 64 << 20,
            segment_bytes_max: 256 << 20,
            compact_bytes_min: Some(0),
            compact_ratio: 0.0,
            backlog_bytes: Some(0),
            branch_spread_bytes: 0,
            new_store: false,
            progress: std::sync::Arc::default(),
            wait_max: Duration::from_secs(30),
        },
    })
    .expect("a new directory can be opened");
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number:012}")).collect();
    for key in &keys {
        put(&node, key);
    }
    (dir, node, keys)
}

fn put(node: &Node, key: &str) -> node::Written {
    let key = Key::new(key).expect("these keys are short");
    node.put(
        key,
        &[b'v'; 100],
        Deadline::Never,
        Mode::Upsert,
        Precondition::None,
    )
    .expect("the disk takes it")
}

/// One key after another in an order that no cache knows.
fn scattered(keys: &[String]) -> impl Iterator<Item = &String> {
    (0..).step_by(STRIDE).map(|at: usize| &keys[at % KEYS])
}

#[divan::bench(threads = [1, 2])]
fn get(bencher: Bencher) {
    let (_dir, node, keys) = filled(Policy::No);
    let next = AtomicUsize::new(0);
    bencher.bench(|| {
        let key = &keys[next.fetch_add(STRIDE, Relaxed) % KEYS];
        let mut value = Vec::with_capacity(100);
        node.get(Key::new(key).expect("these keys are short"), &mut value)
    });
}

#[divan::bench]
fn put_without_wait(bencher: Bencher) {
    let (_dir, node, keys) = filled(Policy::No);
    let mut next = scattered(&keys);
    bencher.bench_local(|| put(&node, next.next().expect("there is no end to them")));
}

#[divan::bench]
fn put_until_written(bencher: Bencher) {
    let (_dir, node, keys) = filled(Policy::No);
    let mut next = scattered(&keys);
    bencher.bench_local(|| node.wait(put(&node, next.next().expect("there is no end to them")).version));
}

#[divan::bench]
fn put_until_synced(bencher: Bencher) {
    let (_dir, node, keys) = filled(Policy::Always);
    let mut next = scattered(&keys);
    bencher.bench_local(|| node.wait(put(&node, next.next().expect("there is no end to them")).version));
}

#[divan::bench(args = [100, 10_000])]
fn encode(bencher: Bencher, value_bytes: usize) {
    let value = vec![b'v'; value_bytes];
    let record = Record::new(Operation::Set, 0, b"key:000000000001", &value);
    let mut out = Vec::with_capacity(record.encoded_bytes());
    bencher
        .counter(BytesCount::new(record.encoded_bytes()))
        .bench_local(|| {
            out.clear();
            record.encode(0, &mut out);
        });
}

#[divan::bench(args = [100, 10_000])]
fn decode(bencher: Bencher, value_bytes: usize) {
    let value = vec![b'v'; value_bytes];
    let mut bytes = Vec::new();
    Record::new(Operation::Set, 0, b"key:000000000001", &value).encode(0, &mut bytes);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| Record::decode(0, divan::black_box(&bytes)).is_ok());
}
