//! Why a request was not done, told apart by what callers do about it.

use crate::address::{Server, UNIX_SCHEME};
use crate::api::Problem;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;
use ureq::http::StatusCode;

/// What the problems of a node are named with; see `http::problem`.
const PROBLEM_PREFIX: &str = "urn:pykv:problem:";

/// The problem that a node names; `None` where the answer is not a node's.
pub(super) fn problem(status: StatusCode, body: &[u8]) -> Option<Problem> {
    let mut problem = serde_json::from_slice::<Problem>(body).ok()?;
    problem.status = status.as_u16(); // What HTTP says counts, whatever the body does.
    problem.kind.starts_with(PROBLEM_PREFIX).then_some(problem)
}

/// A node as errors name it: the one that failed, which is not always the one that the command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// As `http://host:port` or `unix:path`.
    pub(super) url: String,
    /// The node that sent the request on to it, where one did.
    pub(super) sent_by: Option<String>,
    /// The flag that names it.
    pub(super) flag: &'static str,
}

impl Place {
    /// The node that a flag of the command line names.
    pub(crate) fn named(server: &Server, flag: &'static str) -> Place {
        Place {
            url: server.to_string(),
            sent_by: None,
            flag,
        }
    }

    /// Whether it is reached over a unix socket.
    pub(super) fn is_socket(&self) -> bool {
        self.url.starts_with(UNIX_SCHEME)
    }

    /// What a URL of it begins with: a socket has no host, and HTTP wants one.
    pub(super) fn origin(&self) -> &str {
        match self.is_socket() {
            true => "http://localhost",
            false => &self.url,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sent_by {
            None => f.write_str(&self.url),
            Some(by) => write!(f, "{}, to which {by} sends writes,", self.url),
        }
    }
}

/// What a node says no with.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Problem,
    /// What is wrong may be the token: which one was shown.
    shown: Option<String>,
}

impl Refusal {
    /// `shown`: what there is to say of the token.
    pub(super) fn new(problem: Problem, shown: impl FnOnce() -> String) -> Refusal {
        let is_of_token = matches!(problem.status, 401 | 403);
        Refusal {
            shown: is_of_token.then(shown),
            problem,
        }
    }
}

impl Deref for Refusal {
    type Target = Problem;

    fn deref(&self) -> &Problem {
        &self.problem
    }
}

/// Why a request was not done.
///
/// `may_be_done` says of a write that it was sent, and that whether the node did it is not known.
#[derive(Debug)]
pub(crate) enum Error {
    /// There is no connection to the node. Nothing was sent.
    Unreachable {
        /// The node.
        at: Place,
        /// What the system said.
        why: String,
    },
    /// A handshake of TLS has failed: one side does not accept the other.
    Untrusted {
        /// The node.
        at: Place,
        /// What TLS said.
        why: String,
    },
    /// The connection broke before the whole answer was here.
    Broken {
        /// The node.
        at: Place,
        /// What the system said.
        why: String,
        /// See [`Error`].
        may_be_done: bool,
    },
    /// The node did not answer in time.
    TimedOut {
        /// The node.
        at: Place,
        /// How long it was waited for.
        waited: Duration,
        /// See [`Error`].
        may_be_done: bool,
    },
    /// The node said no.
    Refused(Box<Refusal>),
    /// Something else than a node said no, as a proxy in front of one does.
    Foreign {
        /// Where.
        at: Place,
        /// What it said.
        status: u16,
        /// See [`Error`].
        may_be_done: bool,
    },
    /// What answered does not speak as a node does.
    Nonsense {
        /// Where.
        at: Place,
        /// What is wrong with the answer.
        why: String,
        /// See [`Error`].
        may_be_done: bool,
    },
}

impl Error {
    /// Whether the same request may be answered a moment later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Error::Unreachable { .. }
            | Error::Untrusted { .. }
            | Error::Broken { .. }
            | Error::TimedOut { .. } => true,
            Error::Refused(problem) => is_passing(problem.status),
            Error::Foreign { status, .. } => is_passing(*status),
            Error::Nonsense { .. } => false,
        }
    }

    /// Whether something is there, and may do the same request a moment later: whoever asks for the first time has more
    /// likely misspelt what cannot be reached.
    pub(crate) fn says_not_now(&self) -> bool {
        let is_there = matches!(
            self,
            Error::Broken { .. } | Error::Refused(_) | Error::Foreign { .. }
        );
        is_there && self.may_pass()
    }

    /// Whether a write was sent, and it is not known whether the node did it.
    pub(crate) fn may_be_done(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Untrusted { .. } => false,
            Error::Refused(problem) => problem.outcome.is_some(),
            Error::Broken { may_be_done, .. }
            | Error::TimedOut { may_be_done, .. }
            | Error::Foreign { may_be_done, .. }
            | Error::Nonsense { may_be_done, .. } => *may_be_done,
        }
    }
}

/// A status that says "not now": of a node, or of a proxy that does not reach it.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { at, why } => match &at.sent_by {
                None => write!(
                    f,
                    "cannot reach a node at {}: {why}; start one with `pykv serve`, or name another with {}",
                    at.url, at.flag
                ),
                Some(by) => write!(
                    f,
                    "{by} sends writes to the primary at {}, which cannot be reached: {why}; with --etcd or \
                     --failover-after a node takes over by itself; else `pykv promote --force --server {by}` makes this \
                     replica the primary",
                    at.url
                ),
            },
            Error::Untrusted { at, why } => write!(f, "no TLS connection to {at}: {why}"),
            Error::Broken { at, why, .. } => {
                write!(
                    f,
                    "the connection to {at} broke before the answer was here: {why}"
                )
            }
            Error::TimedOut { at, waited, .. } => write!(
                f,
                "the node at {at} did not answer within {}; --timeout sets how long to wait",
                humantime::format_duration(*waited)
            ),
            Error::Refused(problem) => {
                let said = if problem.detail.is_empty() {
                    &problem.title
                } else {
                    &problem.detail
                };
                // One line, and nothing that a terminal acts on, whoever sent it.
                let said = said.replace(char::is_control, " ");
                write!(f, "{said} (HTTP {})", problem.status)?;
                match &problem.shown {
                    Some(shown) => write!(f, "; {shown}"),
                    None => Ok(()),
                }
            }
            Error::Foreign { at, status, .. } => {
                let reason = StatusCode::from_u16(*status).ok();
                let reason = reason.and_then(|status| status.canonical_reason());
                let reason = reason.map_or(String::new(), |reason| format!("{reason} "));
                write!(
                    f,
                    "{reason}(HTTP {status}), said by something at {at} that is no pykv node"
                )
            }
            Error::Nonsense { at, why, .. } => {
                write!(f, "what answers at {at} is no pykv node, or a broken one: {why}")
            }
        }?;
        match self {
            // It says so itself.
            Error::Refused(_) => Ok(()),
            error if error.may_be_done() => {
                f.write_str("; the change may have been made: look before you send it again")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> Error {
        let problem = serde_json::json!({"type": "", "title": "", "status": status, "detail": ""});
        let problem = serde_json::from_value(problem).unwrap();
        Error::Refused(Box::new(Refusal::new(problem, String::new)))
    }

    #[test]
    fn what_is_tried_again() {
        for status in [408, 429, 502, 503, 504] {
            assert!(refused(status).may_pass(), "{status}");
            assert!(refused(status).says_not_now(), "{status}");
        }
        for status in [400, 401, 403, 404, 410, 500, 507] {
            assert!(!refused(status).may_pass(), "{status}");
            assert!(!refused(status).says_not_now(), "{status}");
        }
        let away = Error::Unreachable {
            at: Place::named(&"a:1".parse().unwrap(), "--server"),
            why: String::new(),
        };
        assert!(away.may_pass() && !away.says_not_now());
    }

    #[test]
    fn a_write_that_may_be_done_is_said_to_be_so() {
        let at = Place::named(&"a:1".parse().unwrap(), "--server");
        let broken = |may_be_done| Error::Broken {
            at: at.clone(),
            why: "the other side closed it".to_owned(),
            may_be_done,
        };
        assert!(broken(true).to_string().contains("may have been made"));
        assert!(!broken(false).to_string().contains("may have been made"));
    }

    #[test]
    fn an_error_names_the_node_that_failed() {
        let at = Place {
            url: "http://primary:1".to_owned(),
            sent_by: Some("http://replica:2".to_owned()),
            flag: "--server",
        };
        let why = "Connection refused".to_owned();
        assert_eq!(
            Error::Unreachable { at, why }.to_string(),
            "http://replica:2 sends writes to the primary at http://primary:1, which cannot be reached: Connection \
             refused; with --etcd or --failover-after a node takes over by itself; else `pykv promote --force --server \
             http://replica:2` makes this replica the primary"
        );
    }
}
