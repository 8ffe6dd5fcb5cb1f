//! What of the log must not be dropped, because somebody is reading on from there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// The offsets that are read from.
#[derive(Default)]
pub(super) struct Retention(Mutex<BTreeMap<u64, usize>>);

/// Keeps the log from an offset on; until it is dropped.
pub(super) struct RetainGuard<'a> {
    retention: &'a Retention,
    offset: u64,
}

impl Retention {
    pub(super) fn retain(&self, offset: u64) -> RetainGuard<'_> {
        *self.lock().entry(offset).or_default() += 1;
        RetainGuard {
            retention: self,
            offset,
        }
    }

    /// From here on the log is needed.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.lock().keys().next().copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0
            .lock()
            .expect("nothing under the lock of the retention panics")
    }
}

impl Drop for RetainGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.retention.lock();
        if let Some(count) = held.get_mut(&self.offset) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.offset);
            }
        }
    }
}
