//! A node as a copy of another: what it takes from there.
//!
//! The rules stand in [`crate::replication`]; here is what they do to a store and its log.
//!
//! # What must hold
//! - A record is applied only once it is in this node's own log, as durable as its policy says.
//! - A node is a replica before it takes anything from another, and its store is synced before it is a primary.
//! - A replica gives no offset and drops nothing by itself.

use super::chunk::ReplicatedChunk;
use super::cluster_status::Phase;
use super::take_error::{ReceiveError, TakeError};
use super::{Cluster, Node};
use crate::record::Record;
use crate::store::{self, LruMap};
use crate::wal::{
    Branch, LastRecord, LogId, Refusal, ReplicaAppend, Role, Snapshot, SnapshotError, Term, branch_before,
    fork,
};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes read at once of a snapshot.
const READ_BYTES: usize = 256 * 1024;

/// What a write asks of the nodes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckRequirement {
    /// So many are to have it before it is answered.
    pub replicas: usize,
    /// For how long they are waited for.
    pub timeout: Duration,
    /// Whether it counts as failed where too few have it then.
    pub is_required: bool,
}

/// The end of a replica's log, as it proves it to the node that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: u64,
    pub(crate) term: Term,
    pub(crate) nonce: u64,
    pub(crate) last: Option<LastRecord>,
}

/// What became of the part of a log that is no part of another's history.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The files that it was copied to.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether it named no key, and was dropped: then the log continues from there.
    pub(crate) is_cut: bool,
}

impl Node {
    /// Whether there is a complete state to read from. A replica that takes one over has none.
    pub fn is_synced(&self) -> bool {
        self.cluster.is_synced()
    }

    /// Where writes are to go, as `host:port`, while the primary is heard.
    pub fn primary(&self) -> Option<String> {
        self.cluster.primary()
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The id of the log.
    pub fn log_id(&self) -> LogId {
        self.log.id()
    }

    /// The branches of the log's history.
    #[cfg(test)]
    pub(crate) fn branches(&self) -> Vec<Branch> {
        self.log.branches()
    }

    /// The nonce of the branch that the log is in.
    pub(crate) fn nonce(&self) -> u64 {
        self.log.branch().map_or(0, |branch| branch.nonce)
    }

    /// How far the log is written.
    pub fn written(&self) -> u64 {
        self.log.position().written
    }

    /// The term of the log.
    pub fn term(&self) -> Term {
        self.log.term()
    }

    /// Whether nothing was ever stored here, nor taken from another node.
    pub(crate) fn is_empty_store(&self) -> bool {
        self.log.is_new()
    }

    // What readers see.

    /// What is asked of the followers of every write.
    pub fn sync_default(&self) -> AckRequirement {
        let options = &self.cluster.options;
        AckRequirement {
            replicas: options.sync_replicas,
            timeout: options.sync_timeout,
            is_required: options.sync_required,
        }
    }

    /// Everything before this offset is seen by readers.
    pub fn visible(&self) -> u64 {
        match self.role() {
            Role::Primary => self.log.appended(),
            Role::Replica => self.cluster.applied.get(),
        }
    }

    /// Waits until readers see everything before `offset`, but not beyond the deadline.
    pub fn wait_visible(&self, offset: u64, deadline: Instant, go_on: impl Fn() -> bool) -> bool {
        let is_there = || self.visible() >= offset && self.is_synced();
        self.cluster.applied.wait(deadline, is_there, go_on)
    }

    // What a replica takes.

    /// Where the log ends, and what proves which log it is. Waits for a chunk that is being taken.
    pub(crate) fn end(&self) -> End {
        self.end_of(&self.log.step())
    }

    fn end_of(&self, step: &ReplicaAppend<'_>) -> End {
        let offset = step.position();
        let branch = branch_before(&self.log.branches(), offset);
        End {
            offset,
            term: branch.map_or(Term::default(), |branch| branch.term),
            nonce: branch.map_or(0, |branch| branch.nonce),
            last: step.last(),
        }
    }

    /// Checks a chunk of another node's log, which is to follow this one's end at `offset`. Nothing is written yet.
    pub(crate) fn check_chunk(&self, offset: u64, bytes: Vec<u8>) -> Result<ReplicatedChunk, TakeError> {
        ReplicatedChunk::read(self, offset, bytes).map_err(TakeError::Invalid)
    }

    /// Writes a chunk to the log, then applies it. `on_logged` gets the log's new end as soon as the next chunk may
    /// be asked for: before this one is applied, where nothing but its records says where the log continues.
    pub(crate) fn take_chunk(
        &self,
        mut chunk: ReplicatedChunk,
        on_logged: impl FnOnce(End),
    ) -> Result<(), TakeError> {
        if !self.has_ended_promotion() {
            return Err(TakeError::Refused(Refusal::Unhealthy(self.log.health())));
        }
        let step = self.log.step();
        if self.role() != Role::Replica {
            return Err(TakeError::RoleChanged);
        }
        let (position, start) = (step.position(), chunk.start);
        if position != start {
            let why = format!("it begins at offset {start}, and the log ends at {position}");
            return Err(TakeError::Invalid(why));
        }
        let bytes = std::mem::take(&mut chunk.bytes);
        match step.append(bytes, chunk.branches.clone(), chunk.last, chunk.end) {
            Ok(()) => self.apply(&step, chunk, on_logged),
            Err(refusal) => {
                drop(step);
                return self.retry_append(chunk, refusal, on_logged);
            }
        }
        Ok(())
    }

    /// The log has failed with a chunk on its way to it. Once it is well again it holds the chunk, or is back
    /// where it was before: then the chunk is to be fetched again.
    fn retry_append(
        &self,
        chunk: ReplicatedChunk,
        refusal: Refusal,
        on_logged: impl FnOnce(End),
    ) -> Result<(), TakeError> {
        let since = self.cluster.change();
        loop {
            let change = self.cluster.wait_change(&since, RETRY_EVERY);
            let step = self.log.step();
            if self.log.health().takes_removals() {
                if step.position() != chunk.end {
                    return Err(TakeError::Refused(refusal));
                }
                self.apply(&step, chunk, on_logged);
                return Ok(());
            }
            // Whoever takes the node over waits until the log is well too.
            if change.to_stop {
                return Err(TakeError::Refused(refusal));
            }
        }
    }

    /// Applies a chunk that the log has.
    fn apply(&self, step: &ReplicaAppend<'_>, chunk: ReplicatedChunk, on_logged: impl FnOnce(End)) {
        let mut on_logged = Some(on_logged);
        if chunk.next_offset.is_none()
            && let Some(on_logged) = on_logged.take()
        {
            on_logged(self.end_of(step));
        }
        let (_, mut digest) = self.log.state();
        self.store.apply(chunk.changes, chunk.end, &mut digest);
        let mut end = chunk.end;
        if let Some(next_offset) = chunk.next_offset {
            // After an error the log continues there once it can.
            if let Err(refusal) = step.skip_forward(next_offset) {
                log::warn!("the log cannot continue at offset {next_offset} yet: {refusal}");
            }
            end = next_offset;
            self.store.lock().log.set_next(end);
        }
        step.applied(end, digest);
        self.clock.follow_system();
        self.cluster.applied.set(end);
        if let Some(on_logged) = on_logged {
            on_logged(self.end_of(step));
        }
    }

    /// Copies the part of the log that is no part of another's history into files of its own; or drops it, where
    /// it tells of no key.
    pub(crate) fn set_aside(&self, other: &[Branch], from: Option<u64>) -> Result<Aside, crate::wal::Error> {
        let own = self.log.branches();
        let end = self.log.position().written;
        let from = [fork(&own, other), from].into_iter().flatten().min();
        let Some(from) = from.filter(|&from| from < end) else {
            return Ok(Aside::default());
        };
        let paths = self.log.set_aside(from)?;
        if !paths.is_empty() {
            return Ok(Aside { paths, is_cut: false });
        }
        let cutter = self.log.begin_cut();
        let cut = || {
            let is_cut = cutter.cut_back(from)?;
            if is_cut {
                self.store.lock().log.set_next(from);
                self.cluster.applied.set(from);
            }
            Ok(is_cut)
        };
        // A node that has been promoted meanwhile keeps all that it has.
        let is_cut = self.as_replica(cut).unwrap_or(Ok(false))?;
        Ok(Aside { paths, is_cut })
    }

    /// Takes over the state of another node, as it comes from `link`. Until that is done nobody reads here;
    /// after an error the store is empty, and [`Node::reload`] brings back what it was.
    pub(crate) fn receive(&self, link: &mut dyn io::Read) -> Result<u64, ReceiveError> {
        let mut map = LruMap::new(self.limits, self.store.hasher());
        let mut snapshot = self.log.begin_snapshot().map_err(SnapshotError::Log)?;
        if self.as_replica(|| self.cluster.set_synced(false)).is_none() {
            snapshot.give_up();
            return Err(ReceiveError::RoleChanged);
        }
        self.cluster.set_phase(Phase::Snapshot);
        let empty = LruMap::new(self.limits, self.store.hasher());
        drop(self.store.replace(empty, self.log.position().written));
        let received = store::replay(
            &mut map,
            || None,
            |replay| {
                self.receive_records(link, &mut snapshot, |record, version| {
                    replay.push(record, version)
                })
            },
        );
        received.map_err(ReceiveError::Thread)??;
        let (_, digest) = snapshot.end()?;
        if map.digest() != digest {
            return Err(ReceiveError::Digest);
        }
        let end = snapshot.install()?;
        drop(self.store.replace(map, end));
        self.cluster.applied.set(end);
        self.cluster.set_synced(true);
        self.cluster.applied.wake();
        if self.is_empty_store() {
            // The next start cannot tell it from one that has nothing yet.
            self.as_replica(|| self.remember(Role::Replica));
        }
        Ok(end)
    }

    /// Reads a snapshot to its end, and gives its records to `each`.
    fn receive_records(
        &self,
        link: &mut dyn io::Read,
        snapshot: &mut Snapshot<'_>,
        mut each: impl FnMut(&Record<'_>, u64),
    ) -> Result<(), ReceiveError> {
        let mut buffer = vec![0; READ_BYTES];
        let mut received_bytes = 0;
        loop {
            self.cluster.set_snapshot_bytes(received_bytes);
            let bytes = match link.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReceiveError::Link(error)),
            };
            received_bytes += bytes as u64;
            snapshot.push(&buffer[..bytes], &mut each)?;
        }
    }

    /// Reads the node's own files anew, where a snapshot broke off: the state that it had before is complete,
    /// and better than none while no primary answers.
    pub(crate) fn reload(&self) -> Result<(), crate::wal::Error> {
        if self.is_synced() || self.is_empty_store() {
            return Ok(());
        }
        let mut map = LruMap::new(self.limits, self.store.hasher());
        let end = store::replay(
            &mut map,
            || None,
            |replay| self.log.reload(|record, version| replay.push(record, version)),
        )
        .map_err(crate::wal::Error::io("cannot start a thread for", &self.dir))??;
        self.as_replica(|| {
            drop(self.store.replace(map, end));
            self.cluster.applied.set(end);
            self.cluster.set_synced(true);
            self.cluster.applied.wake();
        });
        log::info!("serving the state of before the snapshot, up to offset {end}, until a primary is found");
        Ok(())
    }

    /// Leaves the end of the log to the primary, for a node that has stepped down. Does nothing where the node has
    /// been promoted meanwhile.
    pub(crate) fn leave_log(&self) -> Result<(), Refusal> {
        let left = self.as_replica(|| {
            self.log.follow()?;
            self.cluster.applied.set(self.log.appended());
            Ok(())
        });
        left.unwrap_or(Ok(()))
    }
}

/// How often it is looked whether a failed log is well again.
const RETRY_EVERY: Duration = Duration::from_millis(50);
