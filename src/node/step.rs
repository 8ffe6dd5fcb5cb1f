//! One operation of a batch, and what it came to.

use super::edit::{Edit, Edited};
use super::write::{Deadline, Found, Precondition, Written};
use crate::key::Key;
use crate::pair::Pair;

/// One operation of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Reads a key, as `Node::get` does.
    Get {
        /// The key.
        key: Key<'a>,
    },
    /// Adds or replaces a value.
    Set {
        /// The key.
        key: Key<'a>,
        /// The value.
        value: &'a [u8],
        /// Until when it is kept.
        deadline: Deadline,
        /// What must hold before the batch.
        precondition: Precondition<'a>,
    },
    /// Makes a value from the one that is there.
    Edit {
        /// The key.
        key: Key<'a>,
        /// How the value is made.
        edit: Edit<'a>,
        /// Until when it is kept; without one the key keeps its deadline.
        deadline: Option<Deadline>,
        /// What must hold before the batch.
        precondition: Precondition<'a>,
    },
    /// Deletes a key, if it is there.
    Delete {
        /// The key.
        key: Key<'a>,
        /// What must hold before the batch.
        precondition: Precondition<'a>,
    },
}

impl<'a> Step<'a> {
    /// The key that it is about.
    pub(crate) fn key(&self) -> Key<'a> {
        match self {
            Step::Get { key } | Step::Set { key, .. } | Step::Edit { key, .. } | Step::Delete { key, .. } => {
                *key
            }
        }
    }
}

/// What an operation of a batch came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The value read, if the key is there.
    Got(Option<(Pair, Found)>),
    /// The key is there, and there was no room for its value.
    Passed(Found),
    /// A value was set.
    Set(Written),
    /// A value was made.
    Edited(Edited),
    /// Whether the key was there to be deleted.
    Deleted(bool),
}
