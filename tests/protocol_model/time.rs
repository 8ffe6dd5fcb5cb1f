//! Time, where a run counts it: silences, and processes that are suspended while it passes.
//!
//! A tick is as long as `--failover-after`. A node that runs does at each tick what is due, and no question of its own
//! outlives one; what is on its way to a node that is suspended waits in its socket.

use super::Run;
use super::state::{NODES, SUCCESSOR, Said, State};

/// A silence of more ticks than this has the successor take over.
const FAILOVER_AFTER: u8 = 1;

/// A replica that heard the primary at most so many ticks ago passes that on.
pub const HEARD_FOR: u8 = 1;

/// So many ticks old may be what a node has not got that takes over: the silence, and before it a handshake that
/// brought no records.
pub const MISSED_MAX: u8 = 3;

impl State {
    pub fn tick(&mut self, run: &Run) {
        if self.has_primary() {
            self.primary_at = self.now;
        }
        self.now += 1;
        if self.has_primary() {
            self.primary_at = self.now;
        }
        for at in 0..NODES {
            if !self.nodes[at].is_running() {
                continue;
            }
            if run.counts_time_of(at) {
                self.nodes[at].clock.beat = self.now;
            }
            if !matches!(self.nodes[at].said, Said::Nothing) {
                self.nodes[at].lose_source();
            }
            self.take_over_if_due(at, run);
        }
    }

    fn has_primary(&self) -> bool {
        self.nodes.iter().any(|node| node.is_primary && node.is_running())
    }

    pub fn suspend(&mut self, at: usize) {
        self.counts.suspensions += 1;
        self.nodes[at].is_suspended = true;
    }

    /// It goes on, and what is due at once happens; an answer that waited may be read first.
    pub fn continue_process(&mut self, at: usize, run: &Run) {
        let now = self.now;
        let node = &mut self.nodes[at];
        node.is_suspended = false;
        let is_late = std::mem::replace(&mut node.clock.beat, now) < now;
        if is_late && run.counts_time_of(at) && run.notices_pauses && !node.is_primary {
            node.clock.paused = true;
            node.clock.has_asked = false;
        }
        if node.is_primary {
            self.primary_at = now;
        }
        if matches!(self.nodes[at].said, Said::Nothing) {
            self.take_over_if_due(at, run);
        }
    }

    /// The primary of a node's log has spoken, or spoke then.
    pub fn hear(&mut self, at: usize, heard: u8, run: &Run) {
        if !run.counts_time_of(at) {
            return;
        }
        let clock = &mut self.nodes[at].clock;
        if clock.paused && !clock.has_asked && run.doubts_what_waited {
            return;
        }
        clock.heard = clock.heard.max(Some(heard));
        clock.paused = false;
    }

    fn take_over_if_due(&mut self, at: usize, run: &Run) {
        let node = &self.nodes[at];
        let (Some(heard), Some(caught_up)) = (node.clock.heard, node.clock.caught_up) else {
            return;
        };
        let is_due = self.now - heard > FAILOVER_AFTER
            && heard.saturating_sub(caught_up) <= FAILOVER_AFTER
            && !node.clock.paused;
        let may = at == SUCCESSOR && !node.is_primary && self.counts.promotions < run.promotions;
        if is_due && may {
            self.take_over(at, run);
        }
    }
}
