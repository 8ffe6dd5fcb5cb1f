//! A node as a copy of another: what it takes from there, what it gives to others, and how it turns.
//!
//! The rules stand in [`crate::replication`]; here is what they do to a store and its log.
//!
//! # What must hold
//! - A record is applied only once it is in this node's own log, as firmly as its policy says.
//! - A node is a replica before it takes anything from another, and its log is whole before it is a primary.
//! - A replica gives no offset and drops nothing by itself.

use super::cluster::{ClusterStatus, Phase};
use super::followers::FollowerStatus;
use super::piece::Piece;
use super::{Cluster, Node, Refusal};
use crate::log::{LogId, Role, SnapshotError, Step, Term, TermStart, fork, term_before};
use crate::store::{LruMap, Replay};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes read at once of a snapshot.
const READ_BYTES: usize = 256 * 1024;

/// What a write asks of those who follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    /// So many are to have it before it is answered.
    pub replicas: usize,
    /// For how long they are waited for.
    pub timeout: Duration,
    /// Whether it counts as failed where too few have it then.
    pub is_required: bool,
}

/// What became of the part of a log that is no part of another's history.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The files that it was copied to.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether it told of no key, and was dropped: then the log goes on from there.
    pub(crate) is_cut: bool,
}

/// Why a node did not become primary.
#[derive(Debug)]
pub enum PromoteError {
    /// It is.
    IsPrimary,
    /// Its store is not whole: it is taking over the state of another.
    NotWhole,
    /// Its log cannot begin a term.
    Refused(Refusal),
}

impl fmt::Display for PromoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromoteError::IsPrimary => f.write_str("the node is the primary already"),
            PromoteError::NotWhole => {
                f.write_str("the node is taking over the state of another, and holds only a part of it")
            }
            PromoteError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for PromoteError {}

/// Why a piece of another node's log was not taken.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// It is none, or none that belongs here.
    Invalid(String),
    /// The log could not take it now.
    Refused(Refusal),
    /// The node is no replica any more.
    Turned,
}

/// Why a snapshot was not taken.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// It ended too early, or could not be read.
    Link(io::Error),
    Snapshot(SnapshotError),
    /// What was made of it is not what it says it is.
    Digest,
    /// The node is no replica any more.
    Turned,
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveError::Link(error) => write!(f, "the snapshot broke off: {error}"),
            ReceiveError::Snapshot(error) => error.fmt(f),
            ReceiveError::Digest => f.write_str("the snapshot does not have the digest that it says"),
            ReceiveError::Turned => f.write_str("the node is no replica any more"),
        }
    }
}

impl From<SnapshotError> for ReceiveError {
    fn from(error: SnapshotError) -> ReceiveError {
        ReceiveError::Snapshot(error)
    }
}

impl Node {
    /// What the node is.
    pub fn role(&self) -> Role {
        self.cluster.role()
    }

    /// Whether there is a whole state to read from. A replica that takes one over has none.
    pub fn is_whole(&self) -> bool {
        self.cluster.is_whole()
    }

    /// Where writes are to go, as `host:port`, as far as it is known.
    pub fn primary(&self) -> Option<String> {
        self.cluster.primary()
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How it is with the node's place in its cluster.
    pub fn cluster_status(&self) -> ClusterStatus {
        self.cluster.status(self.visible())
    }

    /// Those that follow this node.
    pub fn followers(&self) -> Vec<FollowerStatus> {
        self.followers.status(self.log.position().written)
    }

    /// How many of them were heard of lately.
    pub fn followers_connected(&self) -> usize {
        self.followers.connected()
    }

    /// The id of the log.
    pub fn log_id(&self) -> LogId {
        self.log.id()
    }

    /// The terms of the log.
    #[cfg(test)]
    pub(crate) fn terms(&self) -> Vec<TermStart> {
        self.log.terms()
    }

    /// How far the log is written.
    pub fn written(&self) -> u64 {
        self.log.position().written
    }

    /// The term of the log.
    pub fn term(&self) -> Term {
        self.log.term()
    }

    /// Whether nothing was ever stored here.
    pub(crate) fn is_pristine(&self) -> bool {
        self.log.terms().len() <= 1 && self.counters().entries == 0 && self.log.position().written < 64
    }

    // What readers see.

    /// What is asked of the followers of every write.
    pub fn sync_default(&self) -> Sync {
        let options = &self.cluster.options;
        Sync {
            replicas: options.sync_replicas,
            timeout: options.sync_timeout,
            is_required: options.sync_required,
        }
    }

    /// Everything before this offset is seen by readers.
    pub fn visible(&self) -> u64 {
        match self.role() {
            Role::Primary => self.log.appended(),
            Role::Replica => self.cluster.applied(),
        }
    }

    /// Waits until readers see everything before `offset`, but not beyond the deadline.
    pub fn wait_visible(&self, offset: u64, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        self.cluster
            .wait_applied(deadline, || self.visible() >= offset && self.is_whole(), go_on)
    }

    // What a replica takes.

    /// Where the log goes on, and the term of the last record before that.
    pub(crate) fn end(&self) -> (u64, Term) {
        let position = self.log.step().position();
        (position, term_before(&self.log.terms(), position))
    }

    /// Takes a piece of the log of another node, which begins at `offset`: checks it, writes it, applies it.
    /// Returns where the next one begins.
    pub(crate) fn take(&self, offset: u64, bytes: Vec<u8>) -> Result<u64, TakeError> {
        let piece = Piece::read(self, offset, &bytes).map_err(TakeError::Invalid)?;
        let step = self.log.step();
        if self.role() != Role::Replica {
            return Err(TakeError::Turned);
        }
        let position = step.position();
        if position != offset {
            let why = format!("it begins at offset {offset}, and the log ends at {position}");
            return Err(TakeError::Invalid(why));
        }
        let end = piece.end;
        let terms = piece.terms.clone();
        if let Err(refusal) = step.append(bytes, terms, end) {
            drop(step);
            return self.take_again(piece, refusal);
        }
        self.apply(&step, piece)
    }

    /// The log has failed with a piece on its way to it. Once it is well again it holds the piece, or is back
    /// where it was before: then the piece is to be fetched again.
    fn take_again(&self, piece: Piece, refusal: Refusal) -> Result<u64, TakeError> {
        let since = self.cluster.change();
        loop {
            let change = self.cluster.wait_change(&since, RETRY_EVERY);
            let step = self.log.step();
            if self.log.health() == crate::log::Health::Ok {
                return if step.position() == piece.end {
                    self.apply(&step, piece)
                } else {
                    Err(TakeError::Refused(refusal))
                };
            }
            // Whoever takes the node over waits until the log is well too.
            if change.to_stop {
                return Err(TakeError::Refused(refusal));
            }
        }
    }

    fn apply(&self, step: &Step<'_>, piece: Piece) -> Result<u64, TakeError> {
        let (_, mut digest) = self.log.state();
        self.store.apply(piece.changes, piece.end, &mut digest);
        let mut end = piece.end;
        if let Some(goes_on_at) = piece.goes_on_at {
            // After an error the log goes on there once it can.
            let passed = step.pass_to(goes_on_at);
            if let Err(refusal) = passed {
                ::log::warn!("the log cannot go on at offset {goes_on_at} yet: {refusal}");
            }
            end = goes_on_at;
            self.store.lock().log.set_next(end);
        }
        step.applied(end, digest);
        self.cluster.set_applied(end);
        Ok(end)
    }

    /// Copies the part of the log that is no part of another's history into files of its own; or drops it, where
    /// it tells of no key.
    pub(crate) fn set_aside(
        &self,
        other: &[TermStart],
        from: Option<u64>,
    ) -> Result<Aside, crate::log::Error> {
        let own = self.log.terms();
        let end = self.log.position().written;
        let from = [fork(&own, other), from].into_iter().flatten().min();
        let Some(from) = from.filter(|&from| from < end) else {
            return Ok(Aside::default());
        };
        let paths = self.log.set_aside(from)?;
        let is_cut = paths.is_empty() && self.log.cut_back(from)?;
        if is_cut {
            self.store.lock().log.set_next(from);
            self.cluster.set_applied(from);
        }
        Ok(Aside { paths, is_cut })
    }

    /// Takes over the state of another node, as it comes from `link`. Until that is done nobody reads here;
    /// after an error the store is empty, and this is to be done again.
    pub(crate) fn receive(&self, link: &mut dyn io::Read) -> Result<u64, ReceiveError> {
        let mut map = LruMap::new(self.limits, self.store.hasher());
        let mut snapshot = self.log.begin_snapshot().map_err(SnapshotError::Log)?;
        {
            let _turning = self.turning();
            if self.role() != Role::Replica {
                return Err(ReceiveError::Turned);
            }
            self.cluster.set_whole(false);
        }
        self.cluster.set_phase(Phase::Snapshot);
        let empty = LruMap::new(self.limits, self.store.hasher());
        drop(self.store.replace(empty, self.log.position().written));
        let mut replay = Replay::new(&mut map);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let bytes = match link.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReceiveError::Link(error)),
            };
            snapshot.push(&buffer[..bytes], |record, version| replay.push(record, version))?;
        }
        replay.finish();
        let (_, digest) = snapshot.end()?;
        if map.digest() != digest {
            return Err(ReceiveError::Digest);
        }
        let end = snapshot.install()?;
        drop(self.store.replace(map, end));
        self.cluster.set_applied(end);
        self.cluster.set_whole(true);
        self.cluster.wake_applied();
        Ok(end)
    }

    // How a node turns.

    /// A term was met that is higher than this node's, and a primary of it, if that is known. A primary steps
    /// down: from here on it takes no writes.
    pub(crate) fn step_down(&self, primary: Option<(&str, Term)>) {
        let _turning = self.turning();
        if self.role() == Role::Primary {
            self.store.lock().log.set_closed(true);
            ::log::warn!("another node is primary in a higher term: this one steps down, and follows");
            self.cluster.turn(Role::Replica, primary);
            self.followers.reset();
            self.cluster.set_applied(self.log.appended());
            self.remember(Role::Replica);
        } else if let Some((address, term)) = primary {
            self.cluster.note_primary(address, term);
        }
    }

    /// Leaves the end of the log to the primary, for a node that has stepped down.
    pub(crate) fn leave_log(&self) -> Result<(), Refusal> {
        self.log.follow()?;
        self.cluster.set_applied(self.log.appended());
        Ok(())
    }

    /// Makes this node the primary of a new term. Returns the term, and the offset at which it gives the first.
    pub fn promote(&self) -> Result<(Term, u64), PromoteError> {
        let _turning = self.turning();
        if self.role() == Role::Primary {
            return Err(PromoteError::IsPrimary);
        }
        if !self.is_whole() {
            return Err(PromoteError::NotWhole);
        }
        let step = self.log.step();
        if step.position() != self.store.lock().log.next() {
            let why = "what came last is not applied yet".to_owned();
            let health = crate::log::Health::WriteFailed { why };
            return Err(PromoteError::Refused(Refusal::Unhealthy(health)));
        }
        let (term, offset) = step
            .begin_term(self.cluster.met(), self.cluster.known_written())
            .map_err(PromoteError::Refused)?;
        drop(step);
        self.followers.reset();
        self.remember(Role::Primary);
        {
            let mut locked = self.store.lock();
            locked.log.set_next(offset);
            locked.log.set_closed(false);
        }
        self.cluster.turn(Role::Primary, None);
        self.cluster.set_applied(offset);
        ::log::info!("this node is the primary of term {term}, from offset {offset} on");
        self.evict_excess();
        self.alarm.call();
        Ok((term, offset))
    }

    fn turning(&self) -> std::sync::MutexGuard<'_, ()> {
        self.cluster
            .turning
            .lock()
            .expect("nothing under the lock of those who turn panics")
    }

    /// Writes down what the node is. Where that fails a start would find what it was before, which is said;
    /// the others put that right, as they would a node that was away.
    pub(super) fn remember(&self, role: Role) {
        let marker = self.cluster.marker(role, self.followers.has_successor());
        if let Err(error) = self.log.set_marker(&marker) {
            ::log::error!("what the node is in its cluster could not be written down: {error}");
        }
    }
}

/// How often it is looked whether a failed log is well again.
const RETRY_EVERY: Duration = Duration::from_millis(50);
