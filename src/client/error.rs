//! Why a request was not done, told apart by what callers do about it.

use super::Address;
use crate::api::Problem;
use std::fmt;
use std::time::Duration;
use ureq::http::StatusCode;

/// The problem that a node names, or what the status alone says where the answer is not a node's.
pub(super) fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let named = serde_json::from_slice::<Problem>(body).ok();
    let mut problem = named.unwrap_or_else(|| {
        let reason = status.canonical_reason().unwrap_or("no reason given");
        Problem {
            kind: "about:blank".to_owned(),
            title: reason.to_owned(),
            status: status.as_u16(),
            detail: String::new(),
            field: None,
            limit: None,
            version: None,
            index: None,
            oldest: None,
            deleted: None,
            outcome: None,
        }
    });
    problem.status = status.as_u16(); // What HTTP says counts, whatever the body does.
    problem
}

/// Why a request was not done.
#[derive(Debug)]
pub enum Error {
    /// There is no connection to the node, or it broke.
    Unreachable {
        /// The node.
        server: Address,
        /// What the system said.
        why: String,
    },
    /// The node did not answer in time. Whether it did what was asked is not known.
    TimedOut {
        /// The node.
        server: Address,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The node said no.
    Refused(Box<Problem>),
    /// What answered does not speak as a node does.
    Nonsense {
        /// The node.
        server: Address,
        /// What is wrong with the answer.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { server, why } => write!(
                f,
                "cannot reach a node at {server}: {why}; start one with `pykv serve`, or name another with --server"
            ),
            Error::TimedOut { server, waited } => write!(
                f,
                "the node at {server} did not answer within {}; --timeout sets how long to wait",
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
                let advice = match problem.status {
                    401 => "; the token is taken from --token-file, PYKV_TOKEN or PYKV_TOKEN_FILE",
                    _ => "",
                };
                write!(f, "{said} (HTTP {}){advice}", problem.status)
            }
            Error::Nonsense { server, why } => {
                write!(
                    f,
                    "what answers at {server} is no pykv node, or a broken one: {why}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}
