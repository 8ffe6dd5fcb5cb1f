//! The bound on memory of what was handed to the log and is not yet written: records, and the pairs that they took out
//! of the store.
//!
//! A stalled disk thus holds writers back before they take the store's lock, and the memory that waits for
//! it is bounded. Who finds the budget used up has to see to it that something is written: it may itself
//! have handed over, and not yet waited for, what fills it.
//!
//! On a disk that is nearly full the bound is lower: what waits when the disk is full goes to the room that was kept for
//! deletions ([`super::disk_space`]).

use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Budget {
    used_bytes: AtomicU64,
    /// As the options say.
    bytes_max: u64,
    /// What counts now: no more than that.
    now_bytes_max: AtomicU64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Budget {
        Budget {
            used_bytes: AtomicU64::new(0),
            bytes_max,
            now_bytes_max: AtomicU64::new(bytes_max),
        }
    }

    /// Lowers the bound, or brings it back: to so many bytes, and to no more than the options say.
    pub(super) fn lower(&self, bytes_max: u64) {
        self.now_bytes_max
            .store(bytes_max.min(self.bytes_max), Ordering::Relaxed);
    }

    /// Takes room if there is some. A record larger than the whole budget gets all of it.
    pub(super) fn try_take(&self, bytes: u64) -> bool {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before + bytes <= self.now_bytes_max.load(Ordering::Relaxed);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// Takes room whether there is some or not: for records that no client waits for, as evictions, of which a write makes
    /// few, and for what a record holds beside its bytes, which is known only when the change is made.
    pub(super) fn take(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded() {
        let budget = Budget::new(100);
        assert!(budget.try_take(60));
        assert!(!budget.try_take(41));
        assert!(budget.try_take(40));
        budget.give_back(100);
        assert!(
            budget.try_take(1000),
            "a record larger than the budget passes alone"
        );
        assert!(!budget.try_take(1));
        budget.give_back(1000);
        budget.lower(10);
        assert!(budget.try_take(9) && !budget.try_take(2));
        budget.lower(u64::MAX);
        assert!(budget.try_take(91) && !budget.try_take(1));
    }
}
