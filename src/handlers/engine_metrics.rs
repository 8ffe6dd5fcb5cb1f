//! What `/metrics` says of another engine.

use super::families::{Families, counter, gauge};
use crate::engine::{Report, ServerReport};
use prometheus::proto::MetricType;

/// A number of a server.
type Of = fn(&ServerReport) -> u64;

/// The engine's servers, as they were looked at last.
pub(super) fn metrics(families: &mut Families, report: &Report) {
    let ready = if report.unready().is_none() { 1.0 } else { 0.0 };
    families.gauge(
        "engine_ready",
        "1 while all slots of the engine are served.",
        ready,
    );
    families.gauge(
        "engine_slots_uncovered",
        "Slots of the engine that no server has which answers.",
        report.slots_uncovered as f64,
    );
    let mut each = |name: &str, help: &str, kind: MetricType, of: &dyn Fn(&ServerReport) -> Option<u64>| {
        let metrics = report.servers.iter().filter_map(|server| {
            let labels = [("server", server.address.as_str()), ("role", server.role())];
            let value = of(server)?;
            Some(match kind {
                MetricType::COUNTER => counter(&labels, value),
                _ => gauge(&labels, value as f64),
            })
        });
        families.push(name, help, kind, metrics.collect());
    };
    let known = |of: Of| move |server: &ServerReport| server.error.is_none().then(|| of(server));
    let gauges: [(&str, &str, Of); 3] = [
        (
            "engine_slots",
            "Slots that a server of the engine has.",
            |server| server.slots as u64,
        ),
        ("engine_keys", "Keys that a server of the engine has.", |server| {
            server.keys
        }),
        (
            "engine_memory_bytes",
            "Memory that a server of the engine uses.",
            |server| server.used_bytes,
        ),
    ];
    each(
        "engine_up",
        "1 where a server of the engine answers.",
        MetricType::GAUGE,
        &|server| Some(u64::from(server.error.is_none())),
    );
    for (name, help, of) in gauges {
        each(name, help, MetricType::GAUGE, &known(of));
    }
    let counters: [(&str, &str, Of); 5] = [
        (
            "engine_hits_total",
            "Reads of a server of the engine that found their key.",
            |server| server.hits,
        ),
        (
            "engine_misses_total",
            "Reads of a server of the engine that found no key.",
            |server| server.misses,
        ),
        (
            "engine_evictions_total",
            "Keys that a server of the engine has evicted.",
            |server| server.evictions,
        ),
        (
            "engine_expiries_total",
            "Keys that have expired in a server of the engine.",
            |server| server.expiries,
        ),
        (
            "engine_errors_total",
            "Commands that a server of the engine has answered with an error.",
            |server| server.errors,
        ),
    ];
    for (name, help, of) in counters {
        each(name, help, MetricType::COUNTER, &known(of));
    }
}
