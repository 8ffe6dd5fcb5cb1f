//! How the engine is: looked at every second by a thread of its own, so that no probe waits for it.

use super::gateway::Gateway;
use super::routing::{field, text_of};
use super::slots::SLOTS;
use super::topology;
use crate::store::Counters;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often the engine is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long one server may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);

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
        self.servers.iter().filter(|server| server.is_master).map(of).sum()
    }
}

/// Ends the thread.
#[derive(Debug, Default)]
pub(crate) struct Looking {
    is_ending: Mutex<bool>,
    to_end: Condvar,
}

impl Looking {
    /// Looks at the engine every second, until [`Looking::end`].
    pub(crate) fn run(&self, gateway: &Gateway) {
        loop {
            gateway.look();
            let ending = self.is_ending.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.to_end.wait_timeout_while(ending, LOOK_EVERY, |ending| !*ending);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
        }
    }

    pub(crate) fn end(&self) {
        *self.is_ending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.to_end.notify_all();
    }
}

impl Gateway {
    /// How the engine was when it was looked at last.
    pub(crate) fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its masters have counted, as far as they count as a node does. They may go back: a master that was replaced
    /// took its counts with it.
    pub(crate) fn counters(&self) -> Counters {
        let report = self.report();
        Counters {
            entries: report.sum(|server| server.keys),
            bytes: report.sum(|server| server.used_bytes),
            hits: report.sum(|server| server.hits),
            misses: report.sum(|server| server.misses),
            adds: 0,
            updates: 0,
            deletes: 0,
            evictions: report.sum(|server| server.evictions),
            expiries: report.sum(|server| server.expiries),
        }
    }

    /// Looks at the engine: at once, however long it takes.
    pub(crate) fn look(&self) {
        let error = self.routing.refresh_now();
        let mut described = self.routing.described();
        let mut servers = Vec::with_capacity(described.len());
        for server in &mut described {
            let mut report = self.look_at_server(&server.address);
            report.is_master = server.is_master;
            report.slots = server.slots.len();
            server.has_failed |= report.error.is_some();
            servers.push(report);
        }
        let report = Report {
            is_known: true,
            is_cluster: self.routing.is_cluster(),
            slots_uncovered: topology::uncovered(&described),
            servers,
            error,
        };
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    fn look_at_server(&self, address: &str) -> ServerReport {
        let mut report = ServerReport {
            address: address.to_owned(),
            ..ServerReport::default()
        };
        let answers = self.routing.ask(
            address,
            &[redis::cmd("INFO")],
            ANSWER_MAX.min(self.routing.timeout()),
        );
        let info = match answers.map(|answers| answers.first().and_then(text_of)) {
            Ok(Some(info)) => info,
            Ok(None) => {
                report.error = Some("it does not say how it is".to_owned());
                return report;
            }
            Err(why) => {
                report.error = Some(why);
                return report;
            }
        };
        let number = |name| field(&info, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let name = if field(&info, "valkey_version").is_some() { "valkey" } else { "redis" };
        let version = field(&info, "valkey_version").or_else(|| field(&info, "redis_version"));
        report.version = format!("{name} {}", version.unwrap_or("?"));
        report.used_bytes = number("used_memory");
        report.bytes_max = Some(number("maxmemory")).filter(|bytes| *bytes > 0);
        report.hits = number("keyspace_hits");
        report.misses = number("keyspace_misses");
        report.evictions = number("evicted_keys");
        report.expiries = number("expired_keys");
        report.errors = number("total_error_replies");
        report.connected_replicas = number("connected_slaves");
        // db0:keys=1,expires=0,avg_ttl=0
        for part in field(&info, "db0").unwrap_or_default().split(',') {
            match part.split_once('=') {
                Some(("keys", keys)) => report.keys = keys.parse().unwrap_or(0),
                Some(("expires", keys)) => report.keys_with_deadline = keys.parse().unwrap_or(0),
                _ => {}
            }
        }
        report
    }
}

