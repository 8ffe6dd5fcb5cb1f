//! Watching a node: one long poll.

use super::answer::Bound;
use super::error::Error;
use super::exchange::Client;
use crate::api::{self, Changes};
use std::time::Duration;

/// What is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    /// Only keys that begin with this.
    pub prefix: &'a str,
    /// Whether changes come with their values.
    pub with_values: bool,
    /// Most changes in an answer.
    pub limit: usize,
    /// How long the node waits for a change at most.
    pub wait_max: Duration,
}

impl Client {
    /// The changes behind a place, `OFFSET` or `LOG-OFFSET`: at once where there are some, else when there are,
    /// or none after a while.
    pub(crate) fn watch(&self, watched: Watched<'_>, after: &str) -> Result<Changes, Error> {
        // The answer must be here within the time that answers have.
        let wait = (self.timeout / 2).min(api::WATCH_WAIT_DEFAULT);
        self.poll(watched, Some(after), wait.min(watched.wait_max))
    }

    /// The place behind the last change there is.
    pub(crate) fn watch_from_now(&self) -> Result<String, Error> {
        let nothing = Watched {
            prefix: "",
            with_values: false,
            limit: 1,
            wait_max: Duration::ZERO,
        };
        Ok(self.poll(nothing, None, Duration::ZERO)?.place())
    }

    fn poll(&self, watched: Watched<'_>, after: Option<&str>, wait: Duration) -> Result<Changes, Error> {
        let mut target = format!(
            "{}?values={}&limit={}&wait={}",
            api::PATH_WATCH,
            watched.with_values,
            watched.limit,
            wait.as_secs_f64()
        );
        if let Some(after) = after {
            target += &format!("&after={after}");
        }
        if !watched.prefix.is_empty() {
            target += &format!("&prefix={}", api::query_value(watched.prefix));
        }
        self.read(target, Bound::Values)
    }
}
