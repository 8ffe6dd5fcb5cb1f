//! What a node is in its cluster, and what it knows of the others.
//!
//! Plain state, under a lock of its own that is held to copy some words. What drives it stands in
//! [`crate::replication`], whose threads wait here for a change of role.

use crate::log::{Marker, Role, Term};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Addresses of other nodes that are kept, beside those that the node was started with.
const PEERS_HEARD_MAX: usize = 16;

/// How a node takes part in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What it was started as; a directory that says otherwise is right.
    pub is_replica: bool,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Nodes to follow, or that are to hear of this one, as `host:port`.
    pub peers: Vec<String>,
    /// After how long without a word of the primary it takes over by itself.
    pub failover_after: Option<Duration>,
    /// How many followers must have a write before it is answered.
    pub sync_replicas: usize,
    /// For how long they are waited for.
    pub sync_timeout: Duration,
    /// Whether a write that too few have then is answered with 503.
    pub sync_required: bool,
}

/// What a node is doing about its copy of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is the primary.
    Primary,
    /// It looks for a node to follow.
    Connecting,
    /// It takes over the state of the one that it follows; until that is whole it serves no reads.
    Snapshot,
    /// It takes the log of the one that it follows.
    Streaming,
    /// It cannot go on by itself.
    Stopped,
}

impl Phase {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Primary => "primary",
            Phase::Connecting => "connecting",
            Phase::Snapshot => "snapshot",
            Phase::Streaming => "streaming",
            Phase::Stopped => "stopped",
        }
    }
}

/// How it is with a node's place in the cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// Primary or replica.
    pub role: Role,
    /// What it is doing.
    pub phase: Phase,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// How the primary is reached, as far as it is known: itself, where it is one.
    pub primary: Option<String>,
    /// What keeps a replica from going on.
    pub error: Option<String>,
    /// How far a replica is behind, in bytes of the log.
    pub lag_bytes: Option<u64>,
    /// For how long it has not been even with the one that it follows, as far as it knows.
    pub lag: Option<Duration>,
    /// After how long without a word of the primary it takes over by itself.
    pub failover_after: Option<Duration>,
}

/// What has to be told to the threads of [`crate::replication`].
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
    /// The one that was last heard of as a primary, and its term: to be followed before all others.
    upstream: Option<(String, Term)>,
    /// Where writes are to go.
    primary: Option<String>,
    peers: Vec<String>,
    error: Option<String>,
    /// The highest term that another node was heard of to be in.
    met: Term,
    /// How far the log of the one that is followed was written when it last said so.
    known_written: u64,
    /// When this node last had all that the other one had.
    even_at: Option<Instant>,
    /// The connection that the log comes by, to be broken where it must not be waited for.
    line: Option<TcpStream>,
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
    is_whole: AtomicBool,
    /// Held while the role changes: one change at a time.
    pub(super) turning: Mutex<()>,
    /// Everything before this is in the store of a replica.
    applied: AtomicU64,
    applied_waiters: AtomicU64,
    applied_lock: Mutex<()>,
    applied_grown: Condvar,
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
                phase: match role {
                    Role::Primary => Phase::Primary,
                    Role::Replica => Phase::Connecting,
                },
                epoch: 0,
                to_stop: false,
                upstream: None,
                primary: None,
                peers,
                error: None,
                met: Term::default(),
                known_written: 0,
                even_at: None,
                line: None,
            }),
            options,
            changed: Condvar::new(),
            is_replica: AtomicBool::new(role == Role::Replica),
            is_whole: AtomicBool::new(true),
            turning: Mutex::new(()),
            applied: AtomicU64::new(applied),
            applied_waiters: AtomicU64::new(0),
            applied_lock: Mutex::new(()),
            applied_grown: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing under the cluster's lock panics")
    }

    pub(crate) fn role(&self) -> Role {
        match self.is_replica.load(Ordering::Acquire) {
            true => Role::Replica,
            false => Role::Primary,
        }
    }

    /// Whether the store holds the whole of some state.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    pub(super) fn set_whole(&self, is_whole: bool) {
        self.is_whole.store(is_whole, Ordering::Release);
    }

    /// How others reach this node.
    pub(crate) fn address(&self) -> &str {
        &self.options.address
    }

    /// Where writes are to go, as far as it is known.
    pub(crate) fn primary(&self) -> Option<String> {
        match self.role() {
            Role::Primary => Some(self.options.address.clone()),
            Role::Replica => self.state().primary.clone(),
        }
    }

    /// Addresses of other nodes.
    pub(crate) fn peers(&self) -> Vec<String> {
        self.state().peers.clone()
    }

    /// What is to be remembered of it all.
    pub(super) fn marker(&self, role: Role, has_successor: bool) -> Marker {
        Marker {
            role,
            peers: self.peers(),
            has_successor,
        }
    }

    pub(super) fn status(&self, applied: u64) -> ClusterStatus {
        let state = self.state();
        let is_replica = state.role == Role::Replica;
        let lag_bytes = is_replica.then(|| state.known_written.saturating_sub(applied));
        let is_even = state.phase == Phase::Streaming && lag_bytes == Some(0);
        ClusterStatus {
            role: state.role,
            phase: state.phase,
            address: self.options.address.clone(),
            primary: match state.role {
                Role::Primary => Some(self.options.address.clone()),
                Role::Replica => state.primary.clone(),
            },
            error: state.error.clone(),
            lag_bytes: lag_bytes.filter(|_| state.even_at.is_some() || state.known_written > 0),
            lag: match state.even_at {
                Some(_) if is_even => Some(Duration::ZERO),
                Some(even_at) if is_replica => Some(even_at.elapsed()),
                _ => None,
            },
            failover_after: self.options.failover_after,
        }
    }

    // For the threads of `replication`.

    /// How things are; to be held against what they are later.
    pub(crate) fn change(&self) -> Change {
        let state = self.state();
        Change {
            role: state.role,
            epoch: state.epoch,
            to_stop: state.to_stop,
        }
    }

    /// Waits until things are not as they were, or for a while.
    pub(crate) fn wait_change(&self, since: &Change, timeout: Duration) -> Change {
        let is_same =
            |state: &mut State| !state.to_stop && (state.role, state.epoch) == (since.role, since.epoch);
        let waited = self.changed.wait_timeout_while(self.state(), timeout, is_same);
        drop(waited.expect("nothing under the cluster's lock panics"));
        self.change()
    }

    /// Ends what waits, and makes the threads end.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.to_stop = true;
        cut(&mut state);
        drop(state);
        self.changed.notify_all();
        self.wake_applied();
    }

    /// Notes the connection that the log comes by; `false` where it is not wanted any more.
    pub(crate) fn set_line(&self, line: TcpStream, since: &Change) -> bool {
        let mut state = self.state();
        let is_wanted = !state.to_stop && (state.role, state.epoch) == (since.role, since.epoch);
        if is_wanted {
            state.line = Some(line);
        }
        is_wanted
    }

    /// The one to be followed before all others, and the term that it is primary in.
    pub(crate) fn upstream(&self) -> Option<(String, Term)> {
        self.state().upstream.clone()
    }

    /// Where the log of the one that is followed was when it last said so.
    pub(crate) fn known_written(&self) -> u64 {
        self.state().known_written
    }

    /// Another node was heard of to be in this term.
    pub(crate) fn note_term(&self, term: Term) {
        let mut state = self.state();
        state.met = state.met.max(term);
    }

    /// The highest term that another node was heard of to be in.
    pub(super) fn met(&self) -> Term {
        self.state().met
    }

    /// A primary was heard of. A replica goes over to it where it is of a higher term than the one it follows.
    pub(crate) fn note_primary(&self, address: &str, term: Term) {
        if address == self.options.address {
            return;
        }
        let mut state = self.state();
        let is_newer = state.upstream.as_ref().is_none_or(|(_, known)| *known < term);
        if state.role == Role::Replica && is_newer && self.take_upstream(&mut state, address, term) {
            state.epoch += 1;
            cut(&mut state);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Whether it is another one than before.
    fn take_upstream(&self, state: &mut State, address: &str, term: Term) -> bool {
        if !state.peers.iter().any(|peer| peer == address)
            && state.peers.len() < self.options.peers.len() + PEERS_HEARD_MAX
        {
            state.peers.push(address.to_owned());
        }
        state.upstream = Some((address.to_owned(), term));
        state.primary.replace(address.to_owned()).as_deref() != Some(address)
    }

    /// Notes whom the replica follows, and who that says is primary.
    pub(crate) fn set_primary(&self, primary: Option<String>) {
        self.state().primary = primary;
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut state = self.state();
        if state.role == Role::Replica {
            state.phase = phase;
        }
    }

    /// Notes what is wrong.
    pub(crate) fn set_error(&self, error: Option<String>) {
        self.state().error = error;
    }

    /// Notes how far the log is written of the one that is followed, and whether all of it was taken.
    pub(crate) fn set_known_written(&self, written: u64, is_even: bool) {
        let mut state = self.state();
        state.known_written = written;
        if is_even {
            state.even_at = Some(Instant::now());
        }
    }

    /// When this node last had all of what the other one had; none where it never has since it began to follow.
    pub(crate) fn even_at(&self) -> Option<Instant> {
        self.state().even_at
    }

    /// Becomes something else; a replica follows `upstream` before all others.
    pub(super) fn turn(&self, role: Role, upstream: Option<(&str, Term)>) {
        let mut state = self.state();
        state.role = role;
        state.phase = match role {
            Role::Primary => Phase::Primary,
            Role::Replica => Phase::Connecting,
        };
        state.epoch += 1;
        state.error = None;
        state.even_at = None;
        state.known_written = 0;
        state.upstream = None;
        state.primary = None;
        if let Some((address, term)) = upstream {
            self.take_upstream(&mut state, address, term);
        }
        cut(&mut state);
        self.is_replica.store(role == Role::Replica, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    // For readers that want to see a write.

    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(super) fn set_applied(&self, offset: u64) {
        self.applied.store(offset, Ordering::SeqCst);
        if self.applied_waiters.load(Ordering::SeqCst) > 0 {
            self.wake_applied();
        }
    }

    pub(super) fn wake_applied(&self) {
        drop(self.applied_lock.lock().expect("nothing under this lock panics"));
        self.applied_grown.notify_all();
    }

    /// Waits until `is_there`, asked whenever more was applied, but not beyond the deadline.
    pub(super) fn wait_applied(
        &self,
        deadline: Instant,
        is_there: impl Fn() -> bool,
        go_on: impl Fn() -> bool,
    ) -> bool {
        if is_there() {
            return true;
        }
        let mut guard = self.applied_lock.lock().expect("nothing under this lock panics");
        self.applied_waiters.fetch_add(1, Ordering::SeqCst);
        let reached = loop {
            if is_there() {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !go_on() {
                break false;
            }
            let waited = self.applied_grown.wait_timeout(guard, left);
            guard = waited.expect("nothing under this lock panics").0;
        };
        self.applied_waiters.fetch_sub(1, Ordering::SeqCst);
        reached
    }
}

/// Breaks the connection that the log comes by: whoever reads from it is not to wait for more.
fn cut(state: &mut State) {
    if let Some(line) = state.line.take() {
        // It may be broken already, which is as good.
        let _ = line.shutdown(Shutdown::Both);
    }
}
