//! How long the store's lock is held at most, while clients ask for large work in a store of a million small entries:
//! `cargo bench --bench holds --features measure-holds`.
//!
//! Nobody waits for another's large work: no hold is longer than 2 ms of the processor's time. Ends with an error where
//! one is. Interrupts and a host that takes the processor away count as the thread's time: the first step does nothing,
//! and shows how much that is. So each step is done in three rounds: what is the work's own comes in each of them, at
//! the same place. Holds of more than a millisecond are shown with their number and the call that took the lock.
//!
//! A batch is one change, and so one hold, whose length is that of the batch. The bound is for the 1,000 operations that
//! a node takes unless it is told otherwise by `--max-batch`; that of 10,000 is measured and has none.

use pykv::internals::node::{Ahead, ClusterOptions, Deadline, Mode, Node, Options, Precondition, Step};
use pykv::internals::store::{Limits, holds};
use pykv::internals::wal::{Options as LogOptions, Policy};
use pykv::internals::{Key, node};
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// As in the program: what an allocator does under the lock counts.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: usize = 1_000_000;
const VALUE: &[u8] = &[b'v'; 16];
const LARGE_BYTES: usize = 64 << 20;

/// The longest that the lock may be held.
const HOLD_MAX: Duration = Duration::from_millis(2);

/// How often everything is done.
const ROUNDS: usize = 3;

/// How long nothing is done, as long as the longest steps take.
const NOTHING_TIME: Duration = Duration::from_secs(5);

/// How long an entry is kept that has a deadline.
const TTL_MS: u64 = 20_000;

/// Holds of more than a millisecond that a step shows.
const LONG_SHOWN: usize = 12;
const PATIENCE: Duration = Duration::from_secs(120);

fn open(dir: &Path, entries_max: usize, bytes_max: u64) -> Node {
    Node::open(Options {
        cluster: ClusterOptions::default(),
        dir: dir.to_path_buf(),
        limits: Limits {
            entries_max: entries_max as u64,
            bytes_max,
        },
        value_bytes_max: LARGE_BYTES,
        log: LogOptions {
            policy: Policy::No,
            unwritten_bytes_max: 256 << 20,
            segment_bytes_max: 256 << 20,
            compact_bytes_min: None,
            compact_ratio: 0.0,
            backlog_bytes: Some(0),
            branch_spread_bytes: 0,
            new_store: false,
            progress: std::sync::Arc::default(),
            wait_max: Duration::from_secs(30),
        },
    })
    .expect("a new directory can be opened")
}

fn key(text: &str) -> Key<'_> {
    Key::new(text).expect("these keys are short")
}

fn put(node: &Node, name: &str, value: &[u8], deadline: Deadline) -> node::Written {
    node.put(key(name), value, deadline, Mode::Upsert, Precondition::None)
        .expect("the disk takes it")
}

fn fill(node: &Node, entries: usize, deadline: Deadline) {
    for number in 0..entries {
        put(node, &format!("key:{number:08}"), VALUE, deadline);
    }
}

fn batch(node: &Node, prefix: &str, sets: usize) -> node::Batched {
    let keys: Vec<String> = (0..sets).map(|number| format!("{prefix}:{number:08}")).collect();
    let steps: Vec<Step<'_>> = keys
        .iter()
        .map(|name| Step::Set {
            key: key(name),
            value: VALUE,
            deadline: Deadline::Never,
            precondition: Precondition::None,
        })
        .collect();
    node.batch(&steps).expect("the disk takes it")
}

fn list(node: &Node) -> usize {
    let mut lister = node.lister("", None, true).expect("a listing from its start");
    let mut entries = 0;
    loop {
        match lister.look(usize::MAX) {
            Ahead::Entry => entries += usize::from(lister.next().is_some()),
            Ahead::End => return entries,
            _ => {}
        }
    }
}

/// What is done, and the longest hold of the lock meanwhile.
type Measured = (&'static str, Duration);

/// Does something, and says how long the lock was held meanwhile.
fn measure<T>(what: &'static str, work: impl FnOnce() -> T) -> Measured {
    holds::take();
    let begun = Instant::now();
    work();
    let took = begun.elapsed();
    let held = holds::take();
    let mean = held.total.as_nanos() as f64 / held.count.max(1) as f64 / 1000.0;
    let longest = held.longest.as_secs_f64() * 1000.0;
    println!(
        "{what:<44} {:>9} holds, mean {mean:>8.2} us, longest {longest:>7.3} ms, in {:.2} s",
        held.count,
        took.as_secs_f64()
    );
    for long in held.long.iter().take(LONG_SHOWN) {
        println!(
            "    {:>9}: {:>7.3} ms, {}",
            long.number,
            long.held.as_secs_f64() * 1000.0,
            long.at
        );
    }
    (what, held.longest)
}

fn main() -> ExitCode {
    let rounds: Vec<Vec<Measured>> = (0..ROUNDS).map(|_| round()).collect();
    let mut is_short = true;
    for (step, (what, longest)) in rounds[0].iter().enumerate() {
        let others = rounds.iter().map(|round| round[step].1);
        let least = others.min().unwrap_or(*longest);
        if least > HOLD_MAX {
            eprintln!("{what}: the lock was held for {least:?} in every round");
            is_short = false;
        }
    }
    match is_short {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn round() -> Vec<Measured> {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let mut measured = Vec::new();
    let mut step = |one: Measured| measured.push(one);

    // The longest here is what the machine adds to any hold.
    step(measure("nothing, for a microsecond at a time", || {
        let begun = Instant::now();
        while begun.elapsed() < NOTHING_TIME {
            let timer = holds::Timer::start();
            for number in 0..1000 {
                black_box(number);
            }
            drop(timer);
        }
    }));

    // Full with a million, so that what is added then evicts.
    let node = open(&dir.path().join("large"), ENTRIES, 96 << 20);
    step(measure("a million entries are added", || {
        fill(&node, ENTRIES, Deadline::Never);
    }));
    step(measure("all are read", || {
        let mut value = Vec::with_capacity(100);
        for number in 0..ENTRIES {
            value.clear();
            node.get(key(&format!("key:{number:08}")), &mut value);
        }
    }));
    step(measure("all are listed, with values", || list(&node)));
    step(measure("a prefix is counted", || node.count_prefix("key:")));
    step(measure("the samples are told, ten times", || {
        for _ in 0..10 {
            node.usage();
            node.curve();
        }
    }));
    step(measure("a compaction", || {
        let job = node.compact();
        node.wait_compaction(job, Instant::now() + PATIENCE, || true)
    }));
    step(measure("a batch of 1,000 sets, which evict", || {
        batch(&node, "small", 1000)
    }));
    measure("a batch of 10,000 sets: one hold, however long", || {
        batch(&node, "large", 10_000)
    });
    let large = vec![b'v'; LARGE_BYTES];
    step(measure("a value of 64 MiB, which evicts most", || {
        put(&node, "large", &large, Deadline::Never)
    }));
    step(measure("a value of 64 MiB takes its place", || {
        put(&node, "large", &large, Deadline::Never)
    }));
    step(measure("it is deleted", || {
        node.delete(key("large"), Precondition::None)
            .expect("it is there")
    }));
    node.close().expect("the disk takes it");

    let node = open(&dir.path().join("prefix"), 2 * ENTRIES, 1 << 30);
    fill(&node, ENTRIES, Deadline::Never);
    step(measure("a million are deleted by their prefix", || {
        node.delete_prefix("key:")
            .map_err(|_| ())
            .expect("the disk takes it")
    }));
    step(measure("a million that expire are added", || {
        fill(&node, ENTRIES, Deadline::In(TTL_MS));
    }));
    step(measure("a million expire", || {
        let begun = Instant::now();
        while node.counters().entries > 0 && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
    }));
    node.close().expect("the disk takes it");
    measured
}
