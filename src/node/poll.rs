//! What those who follow a node get of its log, and why some get nothing.

use super::Node;
use super::followers::FollowerName;
use crate::log::{Feed, FeedError, LogId, Role, Term, TermStart, term_before};
use std::time::Instant;

/// What a follower asks.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Who asks.
    pub name: FollowerName,
    /// Of which log.
    pub id: LogId,
    /// It has everything before this offset.
    pub after: u64,
    /// The term of its last record.
    pub term: Term,
}

/// What a follower gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// The term of this node.
    pub term: Term,
    /// The offset of the first byte.
    pub offset: u64,
    /// How far the log of this node is written.
    pub written: u64,
}

/// Why a follower gets nothing.
#[derive(Debug)]
pub enum PollError {
    /// It follows another log.
    OtherLog {
        /// The id of this one.
        id: LogId,
    },
    /// It has met a higher term than this node's, which steps down.
    HigherTerm,
    /// It has records that are no part of this log's history.
    Diverged {
        /// The terms of this log.
        terms: Vec<TermStart>,
        /// Where the histories part, if their terms do not tell.
        from: Option<u64>,
    },
    /// What it asks for was dropped.
    Gone {
        /// The first offset that there is.
        oldest: u64,
    },
    /// This node is a replica, and not as far itself.
    Behind,
    /// This node takes over another state itself.
    NotWhole,
    /// There are as many followers as there may be.
    TooMany,
    /// The log cannot be read.
    Log(FeedError),
}

impl Node {
    /// Begins to answer a follower: a feed that stands where it goes on, to be left with [`Node::leave`].
    pub(crate) fn poll(&self, poll: &Poll) -> Result<Feed<'_>, PollError> {
        let id = self.log.id();
        if poll.id != id {
            return Err(PollError::OtherLog { id });
        }
        if !self.is_whole() {
            return Err(PollError::NotWhole);
        }
        let terms = self.log.terms();
        let term = terms.last().map_or(Term::default(), |last| last.term);
        if poll.term > term {
            return Err(match self.role() {
                Role::Primary => PollError::HigherTerm,
                Role::Replica => PollError::Behind,
            });
        }
        let diverged = |from| PollError::Diverged {
            terms: terms.clone(),
            from,
        };
        if term_before(&terms, poll.after) != poll.term {
            return Err(diverged(None));
        }
        let feed = match self.followers.take_place(poll.name.id) {
            Some(place) if place.offset() == poll.after => Ok(self.log.resume(place)),
            _ => self.log.feed(Some(poll.after)),
        };
        let feed = feed.map_err(|error| match error {
            FeedError::Gone { oldest } => PollError::Gone { oldest },
            FeedError::Hole { start, .. } => diverged(Some(start)),
            // Another replica can be ahead; but of a primary the log has lost its end.
            FeedError::Ahead { .. } if self.role() == Role::Replica => PollError::Behind,
            FeedError::Ahead { written } => diverged(Some(written)),
            // In one history every record begins where it did when it was copied.
            FeedError::NotABoundary { .. } => diverged(None),
            error @ FeedError::Log(_) => PollError::Log(error),
        })?;
        if poll.name.is_successor && !self.followers.has_successor() && self.role() == Role::Primary {
            // Before it counts for the first time: after a restart the others must not count without it.
            self.followers.set_has_successor();
            self.remember(Role::Primary);
        }
        let written = self.log.position().written;
        if !self.followers.note(&poll.name, poll.after, written) {
            return Err(PollError::TooMany);
        }
        Ok(feed)
    }

    /// Leaves a feed for the follower's next question.
    pub(crate) fn leave(&self, poll: &Poll, feed: &Feed<'_>) {
        self.followers.leave_place(poll.name.id, feed.place());
    }

    /// What goes with what a follower gets.
    pub(crate) fn polled(&self, offset: u64) -> Polled {
        Polled {
            term: self.log.term(),
            offset,
            written: self.log.position().written,
        }
    }

    /// Waits until so many followers have everything before `offset`, but not beyond the deadline. Returns how
    /// many have.
    pub fn wait_followers(
        &self,
        offset: u64,
        count: usize,
        deadline: Instant,
        go_on: impl Fn() -> bool,
    ) -> usize {
        self.followers.wait(offset, count, deadline, || {
            go_on() && self.role() == Role::Primary
        })
    }
}
