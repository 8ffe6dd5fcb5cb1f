//! What keeps a replica from following, and how often that is said.

use super::link_error::LinkError;
use crate::node::{ReceiveError, TakeError};
use crate::wal::{Error, LogId};
use std::fmt;
use std::time::{Duration, Instant};

/// Why following came to an end, to be begun anew.
#[derive(Debug)]
pub(super) enum FollowError {
    /// The node is to do something else now.
    RoleChanged,
    /// There is nobody to follow.
    NoPrimary(String),
    /// The connection to the node that is followed.
    Link(String, LinkError),
    /// It refuses.
    Refused(String, u16),
    /// What it sends does not fit.
    Invalid(String, String),
    /// It has another store.
    OtherStore {
        address: String,
        id: LogId,
        own: LogId,
        /// Whether etcd decides who is primary: then no flag and no command makes this node take that store.
        is_elected: bool,
    },
    /// A snapshot was not taken.
    Snapshot(String, ReceiveError),
    /// What diverged could not be set aside.
    Aside(Error),
    /// The log of this node fails.
    Log(String),
}

impl FollowError {
    /// Why what has come from `address` was not taken.
    pub(super) fn not_taken(error: TakeError, address: &str) -> FollowError {
        match error {
            TakeError::RoleChanged => FollowError::RoleChanged,
            TakeError::Invalid(why) => FollowError::Invalid(address.to_owned(), why),
            TakeError::Refused(refusal) => FollowError::Log(refusal.to_string()),
            TakeError::Thread(error) => {
                FollowError::Log(format!("cannot start a thread for a chunk: {error}"))
            }
        }
    }

    /// Whether it will hardly come right by itself.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, FollowError::OtherStore { .. })
    }
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FollowError::RoleChanged => f.write_str("the node is to do something else"),
            FollowError::NoPrimary(why) => write!(f, "there is no primary to follow: {why}"),
            FollowError::Link(address, error) => write!(f, "{address}: {error}"),
            FollowError::Refused(address, status) => write!(f, "{address} refuses with status {status}"),
            FollowError::Invalid(address, why) => write!(f, "what came from {address} does not fit: {why}"),
            FollowError::OtherStore {
                address,
                id,
                own,
                is_elected,
            } => {
                write!(f, "{address} has the store {id}, and this node the store {own}. ")?;
                match is_elected {
                    true => f.write_str(
                        "A node takes the store of its cluster only into an empty directory: to join, stop this node, \
                         move its directory away, and start it again",
                    ),
                    false => write!(
                        f,
                        "To set this node's store aside and take that one, start it with --replace {id}; to keep this \
                         node's store, make it the primary with `pykv promote --force`"
                    ),
                }
            }
            FollowError::Snapshot(address, error) => write!(f, "{address}: {error}"),
            FollowError::Aside(error) => write!(f, "what diverged could not be set aside: {error}"),
            FollowError::Log(why) => f.write_str(why),
        }
    }
}

/// Reasons that were logged since following last went well. A dead host is reached in turns by no route, a reset
/// and silence; each of these is logged once.
pub(super) struct LogOnce {
    logged: Vec<String>,
    since: Instant,
}

/// For how long there may be no primary where etcd decides, and nothing is wrong.
const PASSING_MAX: Duration = Duration::from_secs(3);

impl Default for LogOnce {
    fn default() -> LogOnce {
        LogOnce {
            logged: Vec::new(),
            since: Instant::now(),
        }
    }
}

impl LogOnce {
    /// Reasons that are remembered; further ones are not logged.
    const REASONS_MAX: usize = 16;

    pub(super) fn is_first(&mut self, why: &str) -> bool {
        let is_known = self.logged.iter().any(|logged| logged == why);
        let is_first = self.logged.len() < LogOnce::REASONS_MAX && !is_known;
        if is_first {
            self.logged.push(why.to_owned());
        }
        is_first
    }

    /// Whether it is to be logged already: that etcd has just named a primary, or names none any more, is a matter of a
    /// moment.
    pub(super) fn is_due(&self, error: &FollowError, is_elected: bool) -> bool {
        let is_passing = is_elected && matches!(error, FollowError::NoPrimary(_));
        !is_passing || self.since.elapsed() >= PASSING_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_logged_once_and_not_without_end() {
        let mut logged = LogOnce::default();
        assert!(logged.is_first("no route"));
        assert!(logged.is_first("reset"));
        assert!(!logged.is_first("no route"));
        for at in 0..100 {
            logged.is_first(&at.to_string());
        }
        assert_eq!(logged.logged.len(), LogOnce::REASONS_MAX);
        assert!(!logged.is_first("one more"));
    }
}
