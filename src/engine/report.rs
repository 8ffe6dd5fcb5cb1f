//! How the engine was when it was looked at last.

use super::slots::SLOTS;

/// One server, as it was when it was looked at last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerReport {
    pub(crate) address: String,
    pub(crate) is_master: bool,
    pub(crate) slots: usize,
    /// What it runs, such as `redis 7.0.15`.
    pub(crate) version: String,
    pub(crate) keys: u64,
    /// Of its keys, those that expire.
    pub(crate) keys_with_deadline: u64,
    pub(crate) used_bytes: u64,
    /// None where it has no bound.
    pub(crate) bytes_max: Option<u64>,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) expiries: u64,
    /// Commands that it has answered with an error.
    pub(crate) errors: u64,
    pub(crate) connected_replicas: u64,
    /// Why it could not be looked at.
    pub(crate) error: Option<String>,
}

impl ServerReport {
    /// What it is: `master` or `replica`.
    pub(crate) fn role(&self) -> &'static str {
        if self.is_master { "master" } else { "replica" }
    }
}

/// The engine as it was when it was looked at last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// Whether it was looked at.
    pub(crate) is_known: bool,
    pub(crate) is_cluster: bool,
    pub(crate) servers: Vec<ServerReport>,
    /// Slots that no server has which answers.
    pub(crate) slots_uncovered: usize,
    /// Why no server could be asked.
    pub(crate) error: Option<String>,
}

impl Report {
    /// Why the engine does not take all requests; none where it does.
    pub(crate) fn unready(&self) -> Option<String> {
        match &self.error {
            _ if !self.is_known => Some("the engine was not reached yet".to_owned()),
            Some(why) => Some(format!("the engine cannot be reached: {why}")),
            None if self.slots_uncovered > 0 => Some(format!(
                "{} of the engine's {SLOTS} slots have no server that answers",
                self.slots_uncovered
            )),
            None => None,
        }
    }

    /// Sums over the masters.
    pub(crate) fn sum(&self, of: impl Fn(&ServerReport) -> u64) -> u64 {
        self.servers
            .iter()
            .filter(|server| server.is_master)
            .map(of)
            .sum()
    }
}
