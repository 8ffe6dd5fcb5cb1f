//! What a node is in its cluster, and what it knows of the others.
//!
//! Plain state, under a lock of its own that is held to copy some words. The threads of [`crate::replication`]
//! drive it, and wait here for a change of role.
//!
//! # What must hold
//! - One thread changes the role at a time: the one that holds `role_change`.
//! - Writers are held only by a primary, and never past the end of the hold.
//! - A replica is *fed* while the node that it follows is a primary and was heard lately. Only a fed replica
//!   gives its log to others, so replicas can never follow each other in a circle.

mod following;
mod holding;
mod status;

pub(super) use status::waits_for;

use super::cluster_status::{Options, Phase};
use super::hold::Hold;
use super::upstream::Upstream;
use super::watermark::Watermark;
use crate::boot_clock::BootInstant;
use crate::lock_order::{Rank, Ranked};
use crate::resolver::Resolver;
use crate::wal::{HandedTo, Marker, Role, Term};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Addresses of other nodes that are kept, beside those that the node was started with.
const PEERS_HEARD_MAX: usize = 16;

/// What the threads of [`crate::replication`] wait to see changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) role: Role,
    /// Grows with every change of role, and of whom to follow.
    pub(crate) epoch: u64,
    pub(crate) to_stop: bool,
}

struct State {
    role: Role,
    phase: Phase,
    epoch: u64,
    to_stop: bool,
    /// The node that last said to be the primary, and its term: the first to be asked.
    leader: Option<(String, Term)>,
    /// Which run of it, where etcd names it: no other one is followed.
    leader_process: Option<String>,
    /// The node that is followed.
    source: Option<String>,
    /// Whether it is a primary.
    is_source_primary: bool,
    upstream: Upstream,
    /// How far the clock here is ahead of the primary's, where they differ by too much.
    clock_skew_seconds: Option<i64>,
    peers: Vec<String>,
    error: Option<String>,
    /// How many bytes of the snapshot have come that is being taken.
    snapshot_bytes: u64,
    /// Another primary of this log and term, and when it was heard.
    conflict: Option<(String, BootInstant)>,
    /// The highest term that another node was in.
    highest_seen: Term,
    /// Whom this node stepped down for, while it has heard of no higher term.
    handed_to: Option<HandedTo>,
    /// Why a primary holds its writers, and until when.
    held: Option<(Hold, Instant)>,
    /// Counts the times that the prober was asked to go to work at once.
    calls: u64,
    /// The connection to the node that is followed. To break it frees the thread that waits on it.
    upstream_socket: Option<TcpStream>,
}

impl State {
    /// Breaks the connection to the node that is followed, so that nobody waits for more on it.
    fn cut(&mut self) {
        if let Some(socket) = self.upstream_socket.take() {
            // It may be broken already, which is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// See the module.
pub(crate) struct Cluster {
    pub(super) options: Options,
    /// Random: this run of this node.
    pub(crate) id: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Copies of `state`, for those who ask at every request.
    is_replica: AtomicBool,
    is_synced: AtomicBool,
    is_held: AtomicBool,
    /// A node of another version has spoken to this one.
    has_met_other_version: AtomicBool,
    /// `ROLE` says that a promotion is under way.
    is_promoting: AtomicBool,
    /// Held by the one promotion that has the primary hand over: how many there were.
    promotions: Mutex<u64>,
    /// The last one that was given up.
    given_up: AtomicU64,
    /// Held while the role changes: one change at a time.
    pub(super) role_change: Mutex<()>,
    /// Everything before this is in the store of a replica.
    pub(super) applied: Watermark,
    resolver: Resolver,
}

impl Cluster {
    pub(super) fn new(
        options: Options,
        marker: Option<&Marker>,
        role: Role,
        applied: u64,
        id: u64,
    ) -> Cluster {
        let mut peers = options.peers.clone();
        for peer in marker.iter().flat_map(|marker| &marker.peers) {
            if !peers.contains(peer) {
                peers.push(peer.clone());
            }
        }
        peers.retain(|peer| *peer != options.address);
        Cluster {
            id,
            state: Mutex::new(State {
                role,
                phase: phase_of(role),
                epoch: 0,
                to_stop: false,
                leader: None,
                leader_process: None,
                source: None,
                is_source_primary: false,
                upstream: Upstream::default(),
                clock_skew_seconds: None,
                peers,
                error: None,
                snapshot_bytes: 0,
                conflict: None,
                highest_seen: Term::default(),
                handed_to: marker.and_then(|marker| marker.handed_to.clone()),
                held: None,
                calls: 0,
                upstream_socket: None,
            }),
            options,
            changed: Condvar::new(),
            is_replica: AtomicBool::new(role == Role::Replica),
            is_synced: AtomicBool::new(true),
            is_held: AtomicBool::new(false),
            has_met_other_version: AtomicBool::new(false),
            is_promoting: AtomicBool::new(false),
            promotions: Mutex::new(0),
            given_up: AtomicU64::new(0),
            role_change: Mutex::new(()),
            applied: Watermark::new(applied),
            resolver: Resolver::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing under the cluster's lock panics")
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    pub(crate) fn role(&self) -> Role {
        match self.is_replica.load(Ordering::Acquire) {
            true => Role::Replica,
            false => Role::Primary,
        }
    }

    /// Whether the store holds all of some state.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced.load(Ordering::Acquire)
    }

    pub(super) fn set_synced(&self, is_synced: bool) {
        self.is_synced.store(is_synced, Ordering::Release);
    }

    /// How others reach this node.
    pub(crate) fn address(&self) -> &str {
        &self.options.address
    }

    /// Addresses of other nodes.
    pub(crate) fn peers(&self) -> Vec<String> {
        self.state().peers.clone()
    }

    /// Takes in the address of another node; `true` where it is new, and there is room.
    pub(crate) fn add_peer(&self, address: &str) -> bool {
        self.add_peer_to(&mut self.state(), address)
    }

    fn add_peer_to(&self, state: &mut State, address: &str) -> bool {
        let is_new = address != self.options.address
            && !state.peers.iter().any(|peer| peer == address)
            && state.peers.len() < self.options.peers.len() + PEERS_HEARD_MAX;
        if is_new {
            state.peers.push(address.to_owned());
        }
        is_new
    }

    /// Drops the address of another node; `true` where it was known.
    pub(super) fn remove_peer(&self, address: &str) -> bool {
        let mut state = self.state();
        let before = state.peers.len();
        state.peers.retain(|peer| peer != address);
        state.peers.len() < before
    }

    // For the threads of `replication`.

    /// How things are; to be held against what they are later.
    pub(crate) fn change(&self) -> Change {
        change_of(&self.state())
    }

    /// Waits until things are not as they were, or for a while.
    pub(crate) fn wait_change(&self, since: &Change, timeout: Duration) -> Change {
        let is_same = |state: &mut State| change_of(state) == *since;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_same);
        change_of(&waited.expect("nothing under the cluster's lock panics").0)
    }

    /// As [`Cluster::wait_change`]; ends at a call for the prober too. Returns the number of calls.
    pub(crate) fn wait_call(&self, since: &Change, calls: u64, timeout: Duration) -> u64 {
        let is_same = |state: &mut State| state.calls == calls && change_of(state) == *since;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_same);
        waited.expect("nothing under the cluster's lock panics").0.calls
    }

    /// Makes the prober ask the other nodes at once.
    pub(super) fn call_prober(&self) {
        self.state().calls += 1;
        self.changed.notify_all();
    }

    /// Ends what waits, and makes the threads end.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.to_stop = true;
        state.cut();
        drop(state);
        self.changed.notify_all();
        self.applied.wake();
    }

    /// Another node is in this term.
    pub(crate) fn note_term(&self, term: Term) {
        let mut state = self.state();
        state.highest_seen = state.highest_seen.max(term);
    }

    /// Notes the connection to the node that is followed; `false` where it is not wanted any more.
    pub(crate) fn set_upstream_socket(&self, socket: TcpStream, since: &Change) -> bool {
        let mut state = self.state();
        let is_wanted = change_of(&state) == *since && !state.to_stop;
        if is_wanted {
            state.upstream_socket = Some(socket);
        }
        is_wanted
    }

    /// The highest term that another node was in.
    pub(super) fn highest_seen_term(&self) -> Term {
        self.state().highest_seen
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut state = self.state();
        if state.role == Role::Replica {
            state.phase = phase;
        }
    }

    /// Notes how many bytes of a snapshot have come.
    pub(super) fn set_snapshot_bytes(&self, bytes: u64) {
        self.state().snapshot_bytes = bytes;
    }

    /// Notes what is wrong.
    pub(crate) fn set_error(&self, error: Option<String>) {
        self.state().error = error;
    }

    /// A node of another version has spoken to this one. `true` where it is the first.
    pub(crate) fn meet_other_version(&self) -> bool {
        !self.has_met_other_version.swap(true, Ordering::Relaxed)
    }

    /// Another primary of this log and term was heard. `true` where that is news.
    pub(crate) fn set_conflict(&self, what: String) -> bool {
        let mut state = self.state();
        let is_known = state.conflict.as_ref().is_some_and(|(known, _)| *known == what);
        state.conflict = Some((what, BootInstant::now()));
        !is_known
    }

    /// Whom this node stepped down for, while it has heard of no higher term.
    pub(crate) fn handed_to(&self) -> Option<HandedTo> {
        self.state().handed_to.clone()
    }

    /// The last promotion that was given up, counted from 1; 0 where there is none.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Acquire)
    }

    /// Waits until no other promotion asks the primary to hand over; how many there were.
    pub(crate) fn promotions(&self) -> Ranked<MutexGuard<'_, u64>> {
        Ranked::take(Rank::Promotion, || {
            self.promotions
                .lock()
                .expect("nothing under the lock of promotions panics")
        })
    }

    /// A promotion has failed: from here on no term begins by it, and all other nodes may know.
    pub(crate) fn give_up(&self, attempt: u64) {
        self.given_up.store(attempt, Ordering::Release);
    }

    /// Whether `ROLE` says that a promotion is under way.
    pub(super) fn is_promoting(&self) -> bool {
        self.is_promoting.load(Ordering::Acquire)
    }

    pub(super) fn set_promoting(&self, is_promoting: bool) {
        self.is_promoting.store(is_promoting, Ordering::Release);
    }

    pub(super) fn set_handed_to(&self, to: Option<HandedTo>) {
        self.state().handed_to = to;
    }

    /// Becomes a replica, which asks `leader` before all others.
    pub(super) fn become_replica(&self, leader: Option<(&str, Term)>) {
        self.set_role(Role::Replica, leader, None);
    }

    /// Becomes the primary, which holds its writers where `held` says so.
    pub(super) fn become_primary(&self, held: Option<(Hold, Instant)>) {
        self.set_role(Role::Primary, None, held);
    }

    fn set_role(&self, role: Role, leader: Option<(&str, Term)>, held: Option<(Hold, Instant)>) {
        let mut state = self.state();
        state.role = role;
        state.phase = phase_of(role);
        state.epoch += 1;
        state.error = None;
        state.leader = None;
        state.leader_process = None;
        state.source = None;
        state.is_source_primary = false;
        state.upstream = Upstream::default();
        state.held = held;
        if let Some((address, term)) = leader {
            self.set_leader(&mut state, address, term);
        }
        state.cut();
        self.is_replica.store(role == Role::Replica, Ordering::Release);
        self.is_held.store(held.is_some(), Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }
}

fn phase_of(role: Role) -> Phase {
    match role {
        Role::Primary => Phase::Primary,
        Role::Replica => Phase::Connecting,
    }
}

fn change_of(state: &State) -> Change {
    Change {
        role: state.role,
        epoch: state.epoch,
        to_stop: state.to_stop,
    }
}
