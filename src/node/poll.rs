//! What the followers of a node get of its log, and why some get nothing.
//!
//! # What must hold
//! - A follower gets records only after what it has proved to have of this log: the id, the branch before its
//!   offset, and the checksum of its last record where this log still holds that.
//! - A replica gives its log to others only while it follows a primary that it hears.

use super::Node;
use super::followers::{FollowerName, Reached};
use crate::record::Record;
use crate::wal::{Branch, Feed, FeedError, LastRecord, LogId, Role, Term, branch_before};
use std::time::{Duration, Instant};

/// What a follower asks.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    /// Who asks.
    pub name: FollowerName,
    /// Of which log.
    pub id: LogId,
    /// It has everything before this offset.
    pub after: u64,
    /// The term of its last record.
    pub term: Term,
    /// The nonce of the branch of its last record.
    pub nonce: u64,
    /// Its last record; none where it has a base alone.
    pub last: Option<LastRecord>,
}

/// What goes with the bytes that a follower gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Polled {
    /// The term of this node.
    pub term: Term,
    /// The offset of the first byte.
    pub offset: u64,
    /// How far the primary's log is written.
    pub written: u64,
    /// How long ago this node heard the primary: zero where it is the primary.
    pub primary_heard: Duration,
}

/// Why a follower gets nothing.
#[derive(Debug)]
pub(crate) enum PollError {
    /// It follows another log.
    OtherLog {
        /// The id of this one.
        id: LogId,
    },
    /// It is in a higher term than this node, which steps down.
    HigherTerm,
    /// It says to be in a term that no cluster reaches.
    BadTerm,
    /// It has records that are no part of this log's history.
    Diverged {
        /// The branches of this log.
        branches: Vec<Branch>,
        /// Where the histories part, if their branches do not tell.
        from: Option<u64>,
    },
    /// What it asks for was dropped.
    Gone {
        /// The first offset that there is.
        oldest: u64,
    },
    /// This node is a replica, and not as far itself.
    Behind,
    /// This node is a replica that hears no primary.
    NoPrimary,
    /// This node takes over another state itself.
    Syncing,
    /// There are as many followers as there may be.
    TooMany,
    /// The log cannot be read.
    Log(FeedError),
}

impl Node {
    /// Begins to answer a follower: a feed that stands where it continues, to be left with [`Node::leave`].
    pub(crate) fn poll(&self, poll: &Poll) -> Result<Feed<'_>, PollError> {
        let id = self.log.id();
        if poll.id != id {
            return Err(PollError::OtherLog { id });
        }
        if !self.is_synced() {
            return Err(PollError::Syncing);
        }
        let role = self.role();
        if role == Role::Replica && self.cluster.fed().is_none() {
            return Err(PollError::NoPrimary);
        }
        let branches = self.log.branches();
        let term = branches.last().map_or(Term::default(), |last| last.term);
        if poll.term > term {
            return Err(match role {
                _ if !term.may_meet(poll.term) => PollError::BadTerm,
                Role::Primary => {
                    self.step_down(None);
                    PollError::HigherTerm
                }
                Role::Replica => PollError::Behind,
            });
        }
        let diverged = |from| PollError::Diverged {
            branches: branches.clone(),
            from,
        };
        let before = branch_before(&branches, poll.after).map(|branch| (branch.term, branch.nonce));
        if before.unwrap_or_default() != (poll.term, poll.nonce) {
            return Err(diverged(None));
        }
        let feed = match self.followers.take_position(poll.name.id) {
            Some(position) if position.offset() == poll.after => Ok(self.log.resume(position)),
            _ => self.log.feed_behind(poll.after, poll.last),
        };
        let feed = feed.map_err(|error| match error {
            FeedError::Gone { oldest } => PollError::Gone { oldest },
            FeedError::Hole { start, .. } => diverged(Some(start)),
            // Another replica can be ahead; but of a primary the log has lost its end.
            FeedError::Ahead { .. } if role == Role::Replica => PollError::Behind,
            FeedError::Ahead { written } => diverged(Some(written)),
            // In one history every record begins where it did when it was copied, and is the same.
            FeedError::NotABoundary { .. } => diverged(None),
            FeedError::OtherRecord { start } => diverged(Some(start)),
            error @ FeedError::Log(_) => PollError::Log(error),
        })?;
        let written = self.log.position().written;
        if role == Role::Primary {
            let is_new = self.cluster.add_peer(&poll.name.address);
            let is_new_successor = poll.name.is_successor && self.followers.add_successor(&poll.name.address);
            if is_new || is_new_successor {
                // Before it counts for the first time. A start after this one must ask the follower before it
                // takes writes, and must not count acknowledgements without a successor's.
                self.remember_as_primary();
            }
        }
        if !self.followers.note(&poll.name, poll.after, written) {
            return Err(PollError::TooMany);
        }
        Ok(feed)
    }

    /// Leaves a feed for the follower's next question. `chunk` is what this one is answered with.
    pub(crate) fn leave(&self, poll: &Poll, feed: &Feed<'_>, chunk: &[u8]) {
        let has_several = Record::peek(chunk).is_ok_and(|(bytes, _)| bytes < chunk.len());
        self.followers
            .save_position(poll.name.id, feed.position(), has_several);
    }

    /// How long a follower's question is to wait before it is answered with few records.
    pub(crate) fn rest(&self, poll: &Poll) -> Duration {
        match self.sync_default().replicas {
            0 => self.followers.rest(poll.name.id),
            _ => Duration::ZERO,
        }
    }

    /// What goes with what a follower gets. None where this node does not hear the primary any more.
    pub(crate) fn polled(&self, offset: u64) -> Option<Polled> {
        let (primary_heard, written) = match self.role() {
            Role::Primary => (Duration::ZERO, self.log.position().written),
            Role::Replica => self.cluster.fed()?,
        };
        Some(Polled {
            term: self.log.term(),
            offset,
            written,
            primary_heard,
        })
    }

    /// Waits until so many followers have everything before `offset`, but not beyond the deadline. Returns who
    /// has.
    pub(crate) fn wait_followers(
        &self,
        offset: u64,
        count: usize,
        deadline: Instant,
        go_on: impl Fn() -> bool,
    ) -> Reached {
        self.followers.wait(offset, count, deadline, || {
            go_on() && self.role() == Role::Primary
        })
    }
}
