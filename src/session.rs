//! A client's way to the data: what holds it, and what the client may do with its entries.
//!
//! # What must hold
//! - Handlers of keys and values are given a session, and no node. So none of them can forget to ask whether the client
//!   may do what it asks for, and none knows which engine has the data.
//! - A session checks which keys a client may use; whether it may read or write is known before, from the method.

mod listing;
mod relay;

pub(crate) use listing::{Cursor, Lister};

use crate::auth::{Denied, Grant};
use crate::engine::{self, Engine, EngineError};
use crate::key::Key;
use crate::node::{
    self, AckRequirement, BatchError, Batched, CursorError, Deadline, Edit, Edited, Found, Got, Meta, Mode,
    Precondition, PrefixDeletion, Question, Reads, Step, WriteError, Written,
};
use crate::pair::Pair;
use crate::wal::{Feed, FeedError, LogId, Refusal, Role};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Clone)]
pub(crate) struct Session<'a> {
    engine: Engine<'a>,
    grant: Grant,
    /// What an engine's replicas must have of a write. A node's replicas are waited for once it was made.
    sync: Option<AckRequirement>,
    /// How many replicas of an engine have what was written.
    replicas: Cell<Option<usize>>,
}

/// Why nothing was done, whatever was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The client may not.
    Denied(Denied),
    /// The engine did not do it.
    Engine(EngineError),
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Refused {
        Refused::Denied(denied)
    }
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Refused {
        Refused::Engine(error)
    }
}

/// Why a batch was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefusedBatch {
    /// The client may not do one of its steps.
    Denied {
        /// Which one, counted from 0.
        index: usize,
        denied: Denied,
    },
    /// The engine did not do it.
    Engine(EngineError),
}

/// Why not all keys under a prefix were deleted.
#[derive(Clone, Debug)]
pub(crate) enum DeletionError {
    /// The node's log took no more.
    Node(Refusal),
    /// The engine did not do the rest.
    Engine(EngineError),
}

impl<'a> Session<'a> {
    pub(crate) fn new(engine: Engine<'a>, grant: Grant) -> Session<'a> {
        Session {
            engine,
            grant,
            sync: None,
            replicas: Cell::new(None),
        }
    }

    /// With what replicas must have of a write.
    pub(crate) fn with_sync(self, sync: Option<AckRequirement>) -> Session<'a> {
        Session { sync, ..self }
    }

    /// How many replicas of an engine have what was written, where some were asked for.
    pub(crate) fn replicas(&self) -> Option<usize> {
        self.replicas.get()
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

    /// What replicas of an engine must have.
    fn sync(&self) -> AckRequirement {
        let none = AckRequirement {
            replicas: 0,
            timeout: Duration::ZERO,
            is_required: false,
        };
        self.sync.unwrap_or(none)
    }

    /// Keeps how many replicas have a change.
    fn kept<T>(&self, (made, replicas): (T, Option<usize>)) -> T {
        self.replicas.set(replicas);
        made
    }

    /// As [`node::Node::read`].
    pub(crate) fn read(&self, key: Key<'_>, value: &mut Vec<u8>) -> Result<Option<Got>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.read(key, value)),
            Engine::Redis(gateway) => Ok(gateway.read(key, value)?),
        }
    }

    /// As [`node::Node::pair`].
    pub(crate) fn pair(&self, key: Key<'_>) -> Result<Option<(Pair, Found)>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.pair(key)),
            Engine::Redis(gateway) => Ok(gateway.pair(key)?),
        }
    }

    /// As [`node::Node::peek`].
    pub(crate) fn peek(&self, key: Key<'_>) -> Result<Option<Meta>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.peek(key)),
            Engine::Redis(gateway) => Ok(gateway.peek(key)?),
        }
    }

    /// As [`node::Node::put`].
    pub(crate) fn put(
        &self,
        key: Key<'_>,
        value: &[u8],
        deadline: Deadline,
        mode: Mode,
        precondition: Precondition<'_>,
    ) -> Result<Result<Written, WriteError>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.put(key, value, deadline, mode, precondition)),
            Engine::Redis(gateway) => {
                let put = gateway.put(key, value, deadline, mode, precondition, self.sync())?;
                Ok(put.map(|made| self.kept(made)))
            }
        }
    }

    /// As [`node::Node::set_deadline`].
    pub(crate) fn set_deadline(
        &self,
        key: Key<'_>,
        deadline: Deadline,
        precondition: Precondition<'_>,
        room: &mut dyn FnMut(usize) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Result<Written, WriteError>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.set_deadline(key, deadline, precondition, room, go_on)),
            Engine::Redis(gateway) => {
                let set = gateway.set_deadline(key, deadline, precondition, self.sync())?;
                Ok(set.map(|made| self.kept(made)))
            }
        }
    }

    /// As [`node::Node::edit`].
    pub(crate) fn edit(
        &self,
        key: Key<'_>,
        edit: Edit<'_>,
        deadline: Option<Deadline>,
        precondition: Precondition<'_>,
        room: &mut dyn FnMut(usize) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Result<Edited, WriteError>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.edit(key, edit, deadline, precondition, room, go_on)),
            Engine::Redis(gateway) => {
                let edited = gateway.edit(key, edit, deadline, precondition, self.sync())?;
                Ok(edited.map(|made| self.kept(made)))
            }
        }
    }

    /// As [`node::Node::delete`]; the offset is none where the engine has none.
    pub(crate) fn delete(
        &self,
        key: Key<'_>,
        precondition: Precondition<'_>,
    ) -> Result<Result<Option<u64>, WriteError>, Refused> {
        self.may_use(key)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.delete(key, precondition).map(Some)),
            Engine::Redis(gateway) => {
                let deleted = gateway.delete(key, precondition, self.sync())?;
                Ok(deleted.map(|made| {
                    self.kept(made);
                    None
                }))
            }
        }
    }

    /// The offset of the answer to a write of this version: the node waits for it; an engine has written already.
    pub(crate) fn offset(&self, version: u64) -> Option<u64> {
        self.engine.node().map(|_| version)
    }

    /// As [`node::Node::batch_within`]; nothing is done where one step may not be.
    pub(crate) fn batch(
        &self,
        steps: &[Step<'_>],
        reads: Reads<'_>,
    ) -> Result<Result<Batched, BatchError>, RefusedBatch> {
        for (index, step) in steps.iter().enumerate() {
            self.may_use(step.key())
                .map_err(|denied| RefusedBatch::Denied { index, denied })?;
        }
        match self.engine {
            Engine::Embedded(node) => Ok(node.batch_within(steps, reads)),
            Engine::Redis(gateway) => {
                let batched = gateway.batch(steps, reads, self.sync());
                let batched = batched.map_err(RefusedBatch::Engine)?;
                Ok(batched.map(|made| self.kept(made)))
            }
        }
    }

    /// Whether what holds the entries can list them in order.
    pub(crate) fn orders_keys(&self) -> bool {
        self.engine.node().is_some()
    }

    /// Reads a cursor; none where it is no cursor of what holds the entries.
    pub(crate) fn cursor(&self, text: &str) -> Option<Cursor> {
        match self.engine {
            Engine::Embedded(_) => node::Cursor::decode(text).map(Cursor::Node),
            Engine::Redis(_) => engine::Cursor::decode(text).map(Cursor::Engine),
        }
    }

    /// As [`node::Node::lister_of`]. Without a prefix it shows all keys that the client may use.
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
        let Question { prefix, pattern, .. } = question;
        Ok(match (self.engine, cursor) {
            (Engine::Embedded(node), None) => node
                .lister_of(Question { within, ..question }, None, with_values)
                .map(Lister::Node),
            (Engine::Embedded(node), Some(Cursor::Node(cursor))) => node
                .lister_of(Question { within, ..question }, Some(cursor), with_values)
                .map(Lister::Node),
            (Engine::Redis(gateway), None) => gateway
                .lister(prefix, pattern, within, None, with_values)
                .map(|lister| Lister::Engine(Box::new(lister)))
                .ok_or(CursorError::OtherQuestion),
            (Engine::Redis(gateway), Some(Cursor::Engine(cursor))) => gateway
                .lister(prefix, pattern, within, Some(cursor), with_values)
                .map(|lister| Lister::Engine(Box::new(lister)))
                .ok_or(CursorError::OtherQuestion),
            _ => Err(CursorError::Stale),
        })
    }

    /// As [`node::Node::count_prefix`].
    pub(crate) fn count_prefix(&self, prefix: &str) -> Result<u64, Refused> {
        self.may_use_all(prefix)?;
        match self.engine {
            Engine::Embedded(node) => Ok(node.count_prefix(prefix)),
            Engine::Redis(gateway) => Ok(gateway.count_prefix(prefix)?),
        }
    }

    /// As [`node::Node::delete_prefix`]. An error says how many keys were deleted before it.
    pub(crate) fn delete_prefix(
        &self,
        prefix: &str,
    ) -> Result<Result<PrefixDeletion, (u64, DeletionError)>, Denied> {
        self.may_use_all(prefix)?;
        Ok(match self.engine {
            Engine::Embedded(node) => node
                .delete_prefix(prefix)
                .map_err(|partly| (partly.done.keys, DeletionError::Node(partly.refusal))),
            Engine::Redis(gateway) => {
                let (done, error, replicas) = gateway.delete_prefix(prefix, self.sync());
                match error {
                    None => Ok(self.kept((done, replicas))),
                    Some(error) => Err((done.keys, DeletionError::Engine(error))),
                }
            }
        })
    }

    /// As [`node::Node::feed`]. It gives the changes of all keys: a watcher is shown those that [`Session::shows`].
    pub(crate) fn feed(
        &self,
        prefix: &str,
        after: Option<u64>,
    ) -> Result<Result<Feed<'a>, FeedError>, Refused> {
        if !prefix.is_empty() {
            self.may_use_all(prefix)?;
        }
        let node = self.engine.node().ok_or(EngineError::NoOrder)?;
        Ok(node.feed(after))
    }

    /// Whether a client may see every key, and so what is said of all of them.
    pub(crate) fn shows_all(&self) -> bool {
        self.grant.prefixes().is_none()
    }

    /// Whether a client may see what becomes of a key.
    pub(crate) fn shows(&self, key: &[u8]) -> bool {
        self.grant.opens(key)
    }

    /// How long there is until a deadline, in ms, by the clock of this process.
    pub(crate) fn ttl_ms(&self, deadline_ms: u64) -> u64 {
        match self.engine {
            Engine::Embedded(node) => node.ttl_ms(deadline_ms),
            Engine::Redis(gateway) => gateway.ttl_ms(deadline_ms),
        }
    }

    /// Which log the offsets are of; none where there are no offsets.
    pub(crate) fn log_id(&self) -> Option<LogId> {
        self.engine.node().map(node::Node::log_id)
    }

    /// What the node is now; a gateway is none.
    pub(crate) fn role(&self) -> Option<Role> {
        self.engine.node().map(node::Node::role)
    }
}
