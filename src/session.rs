//! A client's way to the data: a node, and what the client may do with its entries.
//!
//! # What must hold
//! - Handlers of keys and values are given a session, and no node. So none of them can forget to ask whether the client
//!   may do what it asks for.
//! - A session checks which keys a client may use; whether it may read or write is known before, from the method.

use crate::auth::{Denied, Grant};
use crate::key::Key;
use crate::node::{
    BatchError, Batched, Cursor, CursorError, Deadline, Edit, Edited, Found, Got, Lister, Meta, Mode, Node,
    PartialDeletion, Precondition, PrefixDeletion, Question, Reads, Step, WriteError, Written,
};
use crate::pair::Pair;
use crate::wal::{Feed, FeedError, LogId, Role};
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Clone)]
pub(crate) struct Session<'a> {
    node: &'a Node,
    grant: Grant,
}

/// Why a step of a batch may not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeniedStep {
    /// Which one, counted from 0.
    pub(crate) index: usize,
    pub(crate) denied: Denied,
}

impl<'a> Session<'a> {
    pub(crate) fn new(node: &'a Node, grant: Grant) -> Session<'a> {
        Session { node, grant }
    }

    /// As [`Grant::time_left`].
    pub(crate) fn time_left(&self) -> Result<Option<Duration>, Denied> {
        self.grant.time_left()
    }

    /// What the client may do.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    fn may_use(&self, key: Key<'_>) -> Result<(), Denied> {
        match self.grant.prefixes() {
            Some(prefixes) if !self.grant.opens(key.as_str().as_bytes()) => {
                Err(Denied::Key(Arc::clone(prefixes)))
            }
            _ => Ok(()),
        }
    }

    fn may_use_all(&self, prefix: &str) -> Result<(), Denied> {
        match self.grant.prefixes() {
            Some(prefixes) if !self.grant.opens_all(prefix) => Err(Denied::Prefix(Arc::clone(prefixes))),
            _ => Ok(()),
        }
    }

    /// As [`Node::read`].
    pub(crate) fn read(&self, key: Key<'_>, value: &mut Vec<u8>) -> Result<Option<Got>, Denied> {
        self.may_use(key)?;
        Ok(self.node.read(key, value))
    }

    /// As [`Node::pair`].
    pub(crate) fn pair(&self, key: Key<'_>) -> Result<Option<(Pair, Found)>, Denied> {
        self.may_use(key)?;
        Ok(self.node.pair(key))
    }

    /// As [`Node::peek`].
    pub(crate) fn peek(&self, key: Key<'_>) -> Result<Option<Meta>, Denied> {
        self.may_use(key)?;
        Ok(self.node.peek(key))
    }

    /// As [`Node::put`].
    pub(crate) fn put(
        &self,
        key: Key<'_>,
        value: &[u8],
        deadline: Deadline,
        mode: Mode,
        precondition: Precondition<'_>,
    ) -> Result<Result<Written, WriteError>, Denied> {
        self.may_use(key)?;
        Ok(self.node.put(key, value, deadline, mode, precondition))
    }

    /// As [`Node::set_deadline`].
    pub(crate) fn set_deadline(
        &self,
        key: Key<'_>,
        deadline: Deadline,
        precondition: Precondition<'_>,
        room: &mut dyn FnMut(usize) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Result<Written, WriteError>, Denied> {
        self.may_use(key)?;
        Ok(self.node.set_deadline(key, deadline, precondition, room, go_on))
    }

    /// As [`Node::edit`].
    pub(crate) fn edit(
        &self,
        key: Key<'_>,
        edit: Edit<'_>,
        deadline: Option<Deadline>,
        precondition: Precondition<'_>,
        room: &mut dyn FnMut(usize) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Result<Edited, WriteError>, Denied> {
        self.may_use(key)?;
        Ok(self.node.edit(key, edit, deadline, precondition, room, go_on))
    }

    /// As [`Node::delete`].
    pub(crate) fn delete(
        &self,
        key: Key<'_>,
        precondition: Precondition<'_>,
    ) -> Result<Result<u64, WriteError>, Denied> {
        self.may_use(key)?;
        Ok(self.node.delete(key, precondition))
    }

    /// As [`Node::batch_within`]; nothing is done where one step may not be.
    pub(crate) fn batch(
        &self,
        steps: &[Step<'_>],
        reads: Reads<'_>,
    ) -> Result<Result<Batched, BatchError>, DeniedStep> {
        for (index, step) in steps.iter().enumerate() {
            self.may_use(step.key())
                .map_err(|denied| DeniedStep { index, denied })?;
        }
        Ok(self.node.batch_within(steps, reads))
    }

    /// As [`Node::lister_of`]. Without a prefix it shows all keys that the client may use.
    pub(crate) fn lister(
        &self,
        question: Question<'_>,
        cursor: Option<Cursor>,
        with_values: bool,
    ) -> Result<Result<Lister<'a>, CursorError>, Denied> {
        if !question.prefix.is_empty() {
            self.may_use_all(question.prefix)?;
        }
        let within = self.grant.prefixes().cloned();
        let question = Question { within, ..question };
        Ok(self.node.lister_of(question, cursor, with_values))
    }

    /// As [`Node::count_prefix`].
    pub(crate) fn count_prefix(&self, prefix: &str) -> Result<u64, Denied> {
        self.may_use_all(prefix)?;
        Ok(self.node.count_prefix(prefix))
    }

    /// As [`Node::delete_prefix`].
    pub(crate) fn delete_prefix(
        &self,
        prefix: &str,
    ) -> Result<Result<PrefixDeletion, PartialDeletion>, Denied> {
        self.may_use_all(prefix)?;
        Ok(self.node.delete_prefix(prefix))
    }

    /// As [`Node::feed`]. It gives the changes of all keys: a watcher is shown those that [`Session::shows`].
    pub(crate) fn feed(
        &self,
        prefix: &str,
        after: Option<u64>,
    ) -> Result<Result<Feed<'a>, FeedError>, Denied> {
        if !prefix.is_empty() {
            self.may_use_all(prefix)?;
        }
        Ok(self.node.feed(after))
    }

    /// Whether a client may see every key, and so what is said of all of them.
    pub(crate) fn shows_all(&self) -> bool {
        self.grant.prefixes().is_none()
    }

    /// Whether a client may see what becomes of a key.
    pub(crate) fn shows(&self, key: &[u8]) -> bool {
        self.grant.opens(key)
    }

    /// How long there is until a deadline, in ms, by the node's clock.
    pub(crate) fn ttl_ms(&self, deadline_ms: u64) -> u64 {
        self.node.ttl_ms(deadline_ms)
    }

    /// Which log the offsets are of.
    pub(crate) fn log_id(&self) -> LogId {
        self.node.log_id()
    }

    /// What the node is now.
    pub(crate) fn role(&self) -> Role {
        self.node.role()
    }
}
