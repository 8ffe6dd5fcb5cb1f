//! Whom a replica follows, and what it knows of the primary by that.

use super::{Cluster, Role, State, Term};
use crate::boot_clock::BootInstant;
use crate::node::cluster_status::Phase;
use std::time::Duration;

impl Cluster {
    /// Where writes are to go, while the primary is heard.
    pub(crate) fn primary(&self) -> Option<String> {
        match self.role() {
            Role::Primary => Some(self.options.address.clone()),
            Role::Replica => self.state().upstream.primary().map(str::to_owned),
        }
    }

    /// Where the primary is said to be, heard or not.
    pub(crate) fn primary_address(&self) -> Option<String> {
        self.state().upstream.address().map(str::to_owned)
    }

    /// The node that is to be asked before all others.
    pub(crate) fn leader(&self) -> Option<String> {
        self.state().leader.as_ref().map(|(address, _)| address.clone())
    }

    /// How far the log of the primary was written when it last said so.
    pub(crate) fn known_written(&self) -> u64 {
        self.state().upstream.written()
    }

    /// There is a primary of a term. A replica goes over to it where the term is higher than that of the one
    /// it follows.
    pub(crate) fn note_primary(&self, address: &str, term: Term) {
        if address == self.options.address {
            return;
        }
        let mut state = self.state();
        let is_newer = state.leader.as_ref().is_none_or(|(_, known)| *known < term);
        if state.role == Role::Replica && is_newer && self.set_leader(&mut state, address, term) {
            state.epoch += 1;
            state.cut();
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Goes over to the primary that etcd names, which is the process of this name.
    pub(in crate::node) fn follow_leader(&self, address: &str, process: &str, term: Term) {
        let mut state = self.state();
        self.set_leader(&mut state, address, term);
        state.leader_process = Some(process.to_owned());
        state.epoch += 1;
        state.cut();
        drop(state);
        self.changed.notify_all();
    }

    /// The primary that etcd names: its address, and which run of it.
    pub(crate) fn named_leader(&self) -> Option<(String, String)> {
        let state = self.state();
        let (address, _) = state.leader.as_ref()?;
        Some((address.clone(), state.leader_process.clone()?))
    }

    /// Whether it is another one than before.
    pub(super) fn set_leader(&self, state: &mut State, address: &str, term: Term) -> bool {
        self.add_peer_to(state, address);
        state.leader = Some((address.to_owned(), term));
        let is_other = state.upstream.address() != Some(address);
        if is_other {
            state.upstream.expect(address);
        }
        is_other
    }

    /// The node that is followed, as `host:port`.
    pub(crate) fn source(&self) -> Option<String> {
        self.state().source.clone()
    }

    /// The node begins to follow another one.
    pub(crate) fn set_source(&self, address: &str, is_primary: bool, term: Term) {
        let mut state = self.state();
        state.source = Some(address.to_owned());
        state.is_source_primary = is_primary;
        if is_primary {
            self.add_peer_to(&mut state, address);
            state.leader = Some((address.to_owned(), term));
        }
    }

    /// The primary has spoken: `age` ago, from this address where that is known.
    pub(crate) fn heard(&self, primary: Option<&str>, age: Duration) {
        self.state().upstream.heard(primary, age);
    }

    /// Notes how far the clock here is ahead of the primary's, in seconds, where they differ by too much; negative where it
    /// is behind. The log says where that begins and ends. `measure` hears whether they differed before.
    pub(crate) fn note_clock_skew(&self, measure: impl FnOnce(bool) -> Option<i64>) {
        let mut state = self.state();
        let skew = measure(state.clock_skew_seconds.is_some());
        let before = std::mem::replace(&mut state.clock_skew_seconds, skew);
        drop(state);
        match (before, skew) {
            (None, Some(seconds)) => log::warn!("{}", clock_skew(seconds)),
            (Some(_), None) => log::info!("the clock of this node agrees with the primary's again"),
            _ => {}
        }
    }

    /// `age` ago the primary's log was written up to `written`, and this node has it up to `taken`.
    pub(crate) fn took(&self, written: u64, taken: u64, age: Duration) {
        self.state().upstream.took(written, taken, age);
    }

    /// When the primary was last heard, and when this node last had all that the primary had.
    pub(crate) fn heard_and_caught_up(&self) -> (Option<BootInstant>, Option<BootInstant>) {
        let state = self.state();
        (state.upstream.heard_at(), state.upstream.caught_up_at())
    }

    /// How long ago this node heard the primary, and how far that was: what it passes on to its followers. None
    /// where it does not follow a primary that it hears.
    pub(in crate::node) fn fed(&self) -> Option<(Duration, u64)> {
        let state = self.state();
        let is_fed = state.is_source_primary && state.phase == Phase::Streaming && state.upstream.is_heard();
        let heard = state.upstream.heard_for().filter(|_| is_fed)?;
        Some((heard, state.upstream.written()))
    }
}

/// What it means that the clock here is so many seconds ahead of the primary's.
pub(super) fn clock_skew(seconds: i64) -> String {
    let (direction, keys) = match seconds >= 0 {
        true => ("ahead of", "expire here too soon"),
        false => ("behind", "are seen here for too long"),
    };
    format!(
        "the clock of this node is {} s {direction} the primary's: keys with a deadline {keys}; set the clocks",
        seconds.unsigned_abs()
    )
}
