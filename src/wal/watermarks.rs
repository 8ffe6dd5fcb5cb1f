//! How far the log is: written, and synced.
//!
//! # Invariants
//! - `synced` never passes `written`.
//! - Both only grow, except where a replica takes over another state ([`Watermarks::set_position`]).

use super::options::Policy;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the log is, in offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Up to here write(2) has taken it: it survives the process.
    pub written: u64,
    /// Up to here fdatasync has covered it: it survives the machine.
    pub synced: u64,
}

/// The position of a log, which threads read without a lock.
pub(super) struct Watermarks {
    policy: Policy,
    written: AtomicU64,
    synced: AtomicU64,
}

impl Watermarks {
    pub(super) fn new(policy: Policy, position: u64) -> Watermarks {
        Watermarks {
            policy,
            written: AtomicU64::new(position),
            synced: AtomicU64::new(position),
        }
    }

    pub(super) fn position(&self) -> Position {
        // In this order, or a sync in between shows more synced than written.
        let synced = self.synced.load(Ordering::Acquire);
        Position {
            written: self.written.load(Ordering::Acquire),
            synced,
        }
    }

    /// Whether everything up to `offset` is durable, as the policy means it.
    pub(super) fn is_durable(&self, offset: u64) -> bool {
        let reached = match self.policy.acknowledges_synced() {
            true => &self.synced,
            false => &self.written,
        };
        reached.load(Ordering::Acquire) >= offset
    }

    /// Notes a write, and the sync that followed it where the policy asks for one.
    pub(super) fn advance(&self, written: u64, is_synced: bool) {
        self.written.fetch_max(written, Ordering::AcqRel);
        if is_synced {
            self.advance_synced(written);
        }
    }

    pub(super) fn advance_synced(&self, synced: u64) {
        self.synced.fetch_max(synced, Ordering::AcqRel);
    }

    /// Puts the log at an offset, written and synced, wherever it was.
    pub(super) fn set_position(&self, position: u64) {
        // Not more synced than written, whichever way it moves.
        self.synced.fetch_min(position, Ordering::AcqRel);
        self.written.store(position, Ordering::Release);
        self.synced.store(position, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_durable_depends_on_the_policy() {
        for (policy, is_durable) in [
            (Policy::Always, false),
            (Policy::Everysec, true),
            (Policy::No, true),
        ] {
            let watermarks = Watermarks::new(policy, 100);
            watermarks.advance(200, false);
            assert_eq!(watermarks.is_durable(200), is_durable, "{policy:?}");
            assert!(watermarks.is_durable(100));
            watermarks.advance_synced(200);
            assert!(watermarks.is_durable(200));
            assert!(!watermarks.is_durable(201));
        }
    }

    #[test]
    fn late_news_moves_nothing_back() {
        let watermarks = Watermarks::new(Policy::Always, 0);
        watermarks.advance(20, true);
        watermarks.advance(10, true);
        watermarks.advance_synced(5);
        let at = |written, synced| Position { written, synced };
        assert_eq!(watermarks.position(), at(20, 20));
        watermarks.set_position(7);
        assert_eq!(watermarks.position(), at(7, 7));
        watermarks.set_position(70);
        assert_eq!(watermarks.position(), at(70, 70));
    }
}
