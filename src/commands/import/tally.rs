//! What has come of an import so far, and how much goes into a batch.

use crate::client;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

/// Most operations in a batch, where the node takes as many: its store is locked for all of them.
pub(super) const BATCH_OPERATIONS_MAX: u64 = 1000;

/// At about this size a batch is sent, in bytes, where the node takes as much.
pub(super) const BATCH_BYTES_MAX: u64 = 2 << 20;

/// Lines at fault that are named one by one.
pub(super) const FAULTS_NAMED_MAX: usize = 20;

/// What has come of the lines so far.
#[derive(Default)]
pub(super) struct Tally {
    /// Lines that the node has taken, or that a later line of their key has taken the place of.
    pub(super) keys: AtomicU64,
    /// Keys that were there, and were to be left alone.
    pub(super) left_alone: AtomicU64,
    /// Lines whose deadline has passed.
    pub(super) expired: AtomicU64,
    /// How often a batch was sent again because the node could not be reached, or could not do it.
    pub(super) retries: AtomicU64,
    faults: Mutex<Faults>,
    is_broken: AtomicBool,
    broken: Mutex<Option<client::Error>>,
}

/// Lines that were left out, and why; the first of them.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) count: u64,
    pub(super) named: BTreeMap<u64, String>,
    /// The first that was left out since the client may not write its key.
    pub(super) forbidden: Option<client::Error>,
}

impl Tally {
    pub(super) fn fault(&self, number: u64, why: String) {
        let mut faults = lock(&self.faults);
        faults.count += 1;
        faults.named.insert(number, why);
        if faults.named.len() > FAULTS_NAMED_MAX {
            faults.named.pop_last();
        }
    }

    /// As [`Tally::fault`], of a line that the node refused.
    pub(super) fn refused(&self, number: u64, error: client::Error) {
        self.fault(number, error.to_string());
        if matches!(&error, client::Error::Refused(problem) if problem.status == 403) {
            lock(&self.faults).forbidden.get_or_insert(error);
        }
    }

    /// Nothing more can be done; the first reason is kept.
    pub(super) fn break_off(&self, error: client::Error) {
        lock(&self.broken).get_or_insert(error);
        self.is_broken.store(true, Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Relaxed)
    }

    /// Once no thread adds to it.
    pub(super) fn end(&self) -> (Faults, Option<client::Error>) {
        (
            std::mem::take(&mut *lock(&self.faults)),
            lock(&self.broken).take(),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing under these locks panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_faults_are_named_and_all_are_counted() {
        let tally = Tally::default();
        for number in (1..=100).rev() {
            tally.fault(number, format!("reason {number}"));
        }
        let (faults, broken) = tally.end();
        assert_eq!(faults.count, 100);
        assert!(faults.named.keys().copied().eq(1..=FAULTS_NAMED_MAX as u64));
        assert!(broken.is_none());
    }
}
