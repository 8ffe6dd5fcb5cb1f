//! What keeps a replica from following, and how often that is said.

use super::link::LinkError;
use crate::log::Error;
use crate::node::ReceiveError;
use std::fmt;

/// Why following came to an end, to be begun anew.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The node is to do something else now.
    Turned,
    /// There is nobody to follow.
    Nobody(String),
    /// The one that is followed.
    Link(String, LinkError),
    /// It refuses.
    Refused(String, u16),
    /// What it sends does not fit.
    Invalid(String, String),
    /// It has another store.
    OtherStore(String),
    /// A snapshot was not taken.
    Snapshot(String, ReceiveError),
    /// What diverged could not be set aside.
    Aside(Error),
    /// The log of this node fails.
    Log(String),
}

impl Trouble {
    /// Whether it will hardly come right by itself.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Trouble::OtherStore(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Turned => f.write_str("the node is to do something else"),
            Trouble::Nobody(why) => write!(f, "there is no primary to follow: {why}"),
            Trouble::Link(address, error) => write!(f, "{address}: {error}"),
            Trouble::Refused(address, status) => write!(f, "{address} refuses with status {status}"),
            Trouble::Invalid(address, why) => write!(f, "what came from {address} does not fit: {why}"),
            Trouble::OtherStore(address) => write!(
                f,
                "{address} has another store than this node; start it with --replace to give up its own, or in \
                 another directory"
            ),
            Trouble::Snapshot(address, error) => write!(f, "{address}: {error}"),
            Trouble::Aside(error) => write!(f, "what diverged could not be set aside: {error}"),
            Trouble::Log(why) => f.write_str(why),
        }
    }
}

/// What was said to be wrong since following last went well. A dead host is reached in turns by no route, a reset
/// and silence; each of these is said once.
#[derive(Default)]
pub(super) struct Said(Vec<String>);

impl Said {
    /// Reasons that are remembered; more of them are not said.
    const REASONS_MAX: usize = 16;

    pub(super) fn is_news(&mut self, why: &str) -> bool {
        let is_news = self.0.len() < Said::REASONS_MAX && !self.0.iter().any(|said| said == why);
        if is_news {
            self.0.push(why.to_owned());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_and_not_without_end() {
        let mut said = Said::default();
        assert!(said.is_news("no route"));
        assert!(said.is_news("reset"));
        assert!(!said.is_news("no route"));
        for at in 0..100 {
            said.is_news(&at.to_string());
        }
        assert_eq!(said.0.len(), Said::REASONS_MAX);
        assert!(!said.is_news("one more"));
    }
}
