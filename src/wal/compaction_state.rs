//! What a compaction does, is asked and has done: what its thread, and those who ask and wait, share.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often it is looked whether the log has outgrown what is live.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a compaction was begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked for it.
    Request,
    /// The log had outgrown what is live.
    Growth,
}

impl Cause {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Request => "request",
            Cause::Growth => "growth",
        }
    }
}

/// How far a compaction is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Its number, counted from 1 since the process started.
    pub job: u64,
    /// What it was begun for.
    pub cause: Cause,
    /// When.
    pub started: Instant,
    /// Entries that are in the base.
    pub entries: u64,
    /// Entries that there were when it began.
    pub entries_total: u64,
    /// Bytes of the base that are written.
    pub bytes: u64,
}

/// What came of a compaction.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its number.
    pub job: u64,
    /// What it was begun for.
    pub cause: Cause,
    /// How long it took.
    pub took: Duration,
    /// What it did, or why it failed.
    pub result: Result<Compacted, String>,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The offset of the base.
    pub offset: u64,
    /// Entries in the base.
    pub entries: u64,
    /// Bytes of all files of the log before it.
    pub bytes_before: u64,
    /// And after it.
    pub bytes_after: u64,
    /// Bytes of these that are kept for those who read the log from behind.
    pub kept_bytes: u64,
}

/// How it is with compaction.
#[derive(Clone, Debug)]
pub struct CompactionStatus {
    /// The one that is going on.
    pub running: Option<Progress>,
    /// The last one that ended.
    pub last: Option<Finished>,
}

/// What the thread and those who ask share.
pub(super) struct CompactionState {
    inner: Mutex<Inner>,
    /// Something was asked for, or has ended.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    is_requested: bool,
    to_stop: bool,
    finished_jobs: u64,
    running: Option<Progress>,
    last: Option<Finished>,
}

impl CompactionState {
    pub(super) fn new() -> CompactionState {
        CompactionState {
            inner: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the compaction's lock panics")
    }

    /// Asks for a compaction; returns its number, or that of the one that is going on.
    pub(super) fn request(&self) -> u64 {
        let mut inner = self.lock();
        if inner.running.is_none() {
            inner.is_requested = true;
            self.changed.notify_all();
        }
        inner.finished_jobs + 1
    }

    /// Waits until a compaction has ended; none at the deadline, or where it is not to continue, which is asked
    /// again at [`CompactionState::wake`]. What it gives may be of a later one.
    pub(super) fn wait(&self, job: u64, deadline: Instant, go_on: impl Fn() -> bool) -> Option<Finished> {
        let mut inner = self.lock();
        loop {
            if inner.finished_jobs >= job {
                return inner.last.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.to_stop || !go_on() {
                return None;
            }
            inner = self
                .changed
                .wait_timeout(inner, left)
                .expect("nothing under the compaction's lock panics")
                .0;
        }
    }

    pub(super) fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    pub(super) fn status(&self) -> CompactionStatus {
        let inner = self.lock();
        CompactionStatus {
            running: inner.running,
            last: inner.last.clone(),
        }
    }

    /// Waits for work, or until it is time to look for some; none where the thread is to end.
    pub(super) fn wait_for_work(&self) -> Option<bool> {
        let is_idle = |inner: &mut Inner| !inner.is_requested && !inner.to_stop;
        let waited = self.changed.wait_timeout_while(self.lock(), LOOK_EVERY, is_idle);
        let (inner, _) = waited.expect("nothing under the compaction's lock panics");
        (!inner.to_stop).then_some(inner.is_requested)
    }

    pub(super) fn begin(&self, cause: Cause, entries_total: u64) {
        let mut inner = self.lock();
        inner.is_requested = false;
        inner.running = Some(Progress {
            job: inner.finished_jobs + 1,
            cause,
            started: Instant::now(),
            entries: 0,
            entries_total,
            bytes: 0,
        });
    }

    /// Notes how far it is; says whether it is to stop.
    pub(super) fn advance(&self, entries: u64, bytes: u64) -> bool {
        let mut inner = self.lock();
        if let Some(running) = &mut inner.running {
            (running.entries, running.bytes) = (entries, bytes);
        }
        inner.to_stop
    }

    pub(super) fn end(&self, result: Result<Compacted, String>) {
        let mut inner = self.lock();
        let Some(running) = inner.running.take() else {
            return;
        };
        inner.finished_jobs = running.job;
        inner.last = Some(Finished {
            job: running.job,
            cause: running.cause,
            took: running.started.elapsed(),
            result,
        });
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.lock().to_stop = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_meanwhile_joins() {
        let state = CompactionState::new();
        assert_eq!(
            (state.request(), state.request()),
            (1, 1),
            "both wait for the first"
        );
        state.begin(Cause::Request, 0);
        assert_eq!(state.request(), 1, "one that asks meanwhile joins");
        state.end(Err("the disk is full".to_owned()));
        let finished = state
            .wait(1, Instant::now(), || true)
            .map(|finished| finished.job);
        assert_eq!(finished, Some(1), "an end is an end, whatever it came to");
        assert_eq!(state.wait_for_work(), Some(false), "and nothing is left to do");
        assert_eq!(state.request(), 2, "a request afterwards gets another one");
    }
}
