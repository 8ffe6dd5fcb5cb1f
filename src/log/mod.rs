//! stub while the real one is being written; the public API is final.
mod error;
use crate::pair::Pair;
pub use crate::record::Operation;
use crate::record::Record;
pub use error::{Error, Health, Refusal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// When the log is synced, and what an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Before each acknowledgement.
    Always,
    /// Once a second.
    Everysec,
    /// When the kernel likes.
    No,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it is synced.
    pub policy: Policy,
    /// Bytes of records that may wait to be written before writers are held back.
    pub unwritten_bytes_max: u64,
    /// Size at which a new segment is started, in bytes.
    pub segment_bytes_max: u64,
    /// How long a writer waits for room, and then for its record to be written, before it is told so.
    pub wait_max: Duration,
}

/// How far the log is, in offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Up to here write(2) has taken it.
    pub written: u64,
    /// Up to here fdatasync has covered it.
    pub synced: u64,
}

/// stub
#[derive(Debug)]
pub struct Reserved;
/// stub
pub struct Appender {
    next: Arc<AtomicU64>,
}
impl Appender {
    pub(crate) fn append(&mut self, _o: Operation, _t: u64, pair: Pair, _r: Reserved) -> u64 {
        self.next
            .fetch_add(20 + pair.key().len() as u64 + pair.value().len() as u64, Relaxed);
        self.next.load(Relaxed)
    }
    pub(crate) fn append_eviction(&mut self, _t: u64, _pair: Pair) {
        self.next.fetch_add(30, Relaxed);
    }
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Relaxed)
    }
}
/// stub
pub struct Log {
    next: Arc<AtomicU64>,
    policy: Policy,
}
#[allow(missing_docs)]
impl Log {
    pub fn open(
        _dir: &Path,
        o: Options,
        _replay: impl FnMut(&Record<'_>, u64),
    ) -> Result<(Log, Appender), Error> {
        let next = Arc::new(AtomicU64::new(0));
        Ok((
            Log {
                next: next.clone(),
                policy: o.policy,
            },
            Appender { next },
        ))
    }
    pub(crate) fn reserve(&self, _p: &Pair) -> Result<Reserved, Refusal> {
        Ok(Reserved)
    }
    pub fn wait(&self, _offset: u64) -> Result<(), Refusal> {
        Ok(())
    }
    pub fn position(&self) -> Position {
        let n = self.next.load(Relaxed);
        Position {
            written: n,
            synced: n,
        }
    }
    pub fn health(&self) -> Health {
        Health::Ok
    }
    pub fn policy(&self) -> Policy {
        self.policy
    }
    pub fn term(&self) -> u64 {
        1
    }
    pub fn id(&self) -> &'static str {
        "0"
    }
    pub fn close(self) -> Result<(), Error> {
        Ok(())
    }
}
