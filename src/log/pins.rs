//! What of the log must not be dropped, because somebody is reading on from there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// The offsets that are read from.
#[derive(Default)]
pub(super) struct Pins(Mutex<BTreeMap<u64, usize>>);

/// Keeps the log from an offset on; until it is dropped.
pub(super) struct Pin<'a> {
    pins: &'a Pins,
    offset: u64,
}

impl Pins {
    pub(super) fn pin(&self, offset: u64) -> Pin<'_> {
        *self.lock().entry(offset).or_default() += 1;
        Pin { pins: self, offset }
    }

    /// From here on the log is needed.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.lock().keys().next().copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().expect("nothing under the lock of pins panics")
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.get_mut(&self.offset) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.offset);
            }
        }
    }
}
