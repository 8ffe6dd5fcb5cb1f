//! Looks at the engine every second, by a thread of its own: no probe waits for it.

use super::gateway::Gateway;
use super::report::{Report, ServerReport};
use super::topology::{self, field, text_of};
use crate::store::Counters;
use log::{info, warn};
use std::mem;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often the engine is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long one server may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(500);

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
            let waited = self
                .to_end
                .wait_timeout_while(ending, LOOK_EVERY, |ending| !*ending);
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
        let new = report.unready();
        let before = mem::replace(
            &mut *self.report.lock().unwrap_or_else(PoisonError::into_inner),
            report,
        );
        match (before.unready(), new) {
            // Whoever looks first says what there is.
            _ if !before.is_known => {}
            (None, Some(why)) => warn!("{why}; requests get 503 meanwhile"),
            (Some(_), None) => info!("the engine takes all requests again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
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
        let number = |name| {
            field(&info, name)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let name = if field(&info, "valkey_version").is_some() {
            "valkey"
        } else {
            "redis"
        };
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
