//! Why another node is not answered as it asked.

use crate::http::problem::{self, Problem};
use crate::node::{PollError, PromoteError};
use crate::wal::{FeedError, Role};

pub(crate) fn problem_of(error: PollError, role: Role) -> Problem {
    let not_now = |why: &'static str| Problem::new(problem::NOT_READY, why).retry_after(1);
    match error {
        PollError::OtherLog { id } => Problem::new(
            problem::OTHER_LOG,
            format!("the log of this node has the id {id}"),
        ),
        PollError::HigherTerm => not_now("the follower is in a higher term: this node steps down"),
        PollError::BadTerm => {
            let why = "the term is too far above this node's to be one that a cluster has reached";
            Problem::new(problem::BAD_QUERY, why).field("term")
        }
        PollError::Gone { oldest } => {
            let why = format!("the log no longer holds what came after this; it begins at offset {oldest}");
            Problem::new(problem::OFFSET_GONE, why).oldest(oldest)
        }
        PollError::Behind => not_now("this node is a replica, and not that far itself"),
        PollError::NoPrimary => not_now("this node is a replica without a primary"),
        PollError::Syncing => not_now("this node is taking over the state of another"),
        PollError::TooMany => not_now("the node has as many followers as it can have"),
        PollError::Diverged { .. } => not_now("the histories part"),
        PollError::Log(error) => problem_of_feed(error, role),
    }
}

pub(crate) fn problem_of_feed(error: FeedError, role: Role) -> Problem {
    match error {
        FeedError::Gone { oldest } => Problem::new(problem::OFFSET_GONE, error.to_string()).oldest(oldest),
        error => {
            log::error!("a follower of this {} cannot be answered: {error}", role.name());
            Problem::new(problem::LOG_UNREADABLE, error.to_string())
        }
    }
}

pub(crate) fn problem_of_promote(error: &PromoteError) -> Problem {
    match error {
        PromoteError::IsPrimary => Problem::new(problem::IS_PRIMARY, error.to_string()),
        PromoteError::Elected => Problem::new(problem::ELECTED, error.to_string()),
        PromoteError::Syncing | PromoteError::NoHandover(_) => {
            Problem::new(problem::NOT_READY, error.to_string()).retry_after(1)
        }
        PromoteError::Refused(refusal) => Problem::of_refusal(refusal),
    }
}
