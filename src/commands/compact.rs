//! `pykv compact`: of a node, or of a directory that no process has open.

use super::progress::Progress;
use super::{Error, connect, print_json, print_text};
use crate::api::CompactionResult;
use crate::cli::{Compact, Connection};
use crate::node::{ClusterOptions, Node, Options};
use crate::record::VALUE_BYTES_MAX;
use crate::store::Limits;
use crate::wal::{BRANCH_SPREAD_BYTES, Options as LogOptions, Policy, Reader};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a node is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Longest wait for a compaction in this process. It ends by itself, one way or the other.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(args: &Compact) -> Result<(), Error> {
    let result = match &args.dir {
        Some(dir) => of_directory(dir)?,
        None => of_node(&args.connection)?,
    };
    if let Some(error) = result.error {
        return Err(Error::NotCompacted(error));
    }
    if args.json {
        return print_json(
            serde_json::to_vec(&result).expect("its keys are strings, and its numbers finite"),
        );
    }
    let (before, after) = (
        result.bytes_before.unwrap_or_default(),
        result.bytes_after.unwrap_or_default(),
    );
    let kept = result.kept_bytes.unwrap_or_default();
    let mut text = format!(
        "compacted in {:.1} s to a base of {} entries at offset {}; its files had {before} bytes, and have {after} \
         now\n",
        result.seconds,
        result.entries.unwrap_or_default(),
        result.offset.unwrap_or_default(),
    );
    if kept > 0 {
        let _ = writeln!(
            text,
            "{kept} bytes of these are the log before the base, for watchers and replicas that were away (--log-backlog)"
        );
    }
    if after.saturating_sub(kept) > before {
        text += "a store this small grows: it has two files now, each with a header of 4 KiB\n";
    }
    print_text(&text)
}

fn of_node(connection: &Connection) -> Result<CompactionResult, Error> {
    let client = connect(connection)?;
    let job = client
        .compact()
        .map_err(Error::client("cannot compact the log"))?
        .job;
    let mut progress: Option<Progress> = None;
    loop {
        let status = client
            .status()
            .map_err(Error::client("cannot ask how far the compaction is"))?
            .compaction;
        if let Some(last) = status.last.filter(|last| last.job >= job) {
            progress.map(Progress::end);
            return Ok(last);
        }
        if let Some(running) = status.running {
            progress
                .get_or_insert_with(|| Progress::new(Some(running.entries_total)))
                .show(running.entries, running.entries);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn of_directory(dir: &Path) -> Result<CompactionResult, Error> {
    Reader::open(dir)?; // A directory without a store is not to become one.
    let node = Node::open(Options {
        dir: dir.to_path_buf(),
        // The node that has it otherwise decides what to evict.
        limits: Limits {
            entries_max: Limits::ENTRIES_MAX,
            bytes_max: u64::MAX,
        },
        value_bytes_max: VALUE_BYTES_MAX,
        log: LogOptions {
            policy: Policy::No,
            unwritten_bytes_max: 64 << 20,
            segment_bytes_max: 64 << 20,
            compact_bytes_min: Some(0),
            compact_ratio: 0.0,
            backlog_bytes: Some(0),
            branch_spread_bytes: BRANCH_SPREAD_BYTES,
            new_store: false,
            progress: std::sync::Arc::default(),
            wait_max: Duration::from_secs(60),
        },
        cluster: ClusterOptions::default(),
    })?;
    let job = node.compact();
    let deadline = Instant::now() + WAIT_MAX;
    let mut progress: Option<Progress> = None;
    let finished = loop {
        if let Some(finished) = node.wait_compaction(job, deadline.min(Instant::now() + ASK_EVERY), || true) {
            break finished;
        }
        if let Some(running) = node.status().compaction.running {
            progress
                .get_or_insert_with(|| Progress::new(Some(running.entries_total)))
                .show(running.entries, running.entries);
        }
    };
    progress.map(Progress::end);
    node.close()?;
    Ok(finished.into())
}
