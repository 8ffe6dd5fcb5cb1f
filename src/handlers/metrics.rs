//! `GET /metrics`: what the node counts, for Prometheus.
//!
//! Nothing is counted for this alone. The crate's registry is not used, since the counts are elsewhere already; its
//! model of metrics, and its text format, are. Names follow Prometheus's conventions: `pykv_`, base units, `_total`.
//!
//! Labels have few values: the routes of the API and not their keys, methods, statuses, and the followers there are.

use super::context::{Context, Scratch};
use super::engine_metrics;
use super::families::{Families, counter, gauge, histogram};
use super::status::resident_bytes;
use crate::engine::Engine;
use crate::http::problem::Problem;
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply};
use crate::http::target;
use crate::net::certificates::Certificates;
use crate::node::{FollowerStatus, Node};
use crate::store::Limits;
use crate::wal::{Health, Role};
use crate::wall;
use prometheus::proto::MetricType;
use prometheus::{Encoder, TextEncoder};
use tiny_http::StatusCode;

/// `GET /metrics`
pub(crate) fn get(context: &Context<'_>, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let mut families = Families::default();
    process(&mut families, context);
    requests(&mut families, context);
    if let Some(certificates) = &context.shared.certificates {
        tls(&mut families, certificates);
    }
    if let Some(tokens) = &context.shared.tokens {
        let help = "Reloads of the token file.";
        reloads(&mut families, "token_reloads_total", help, tokens.reloads());
    }
    match context.engine {
        Engine::Embedded(node) => {
            store(&mut families, node);
            log(&mut families, node);
            replication(&mut families, node);
        }
        Engine::Redis(gateway) => engine_metrics::metrics(&mut families, &gateway.report()),
    }
    TextEncoder::new()
        .encode(&families.0, &mut scratch.body)
        .expect("every family has a name and a metric, and a vector takes all");
    Ok(Reply::new(StatusCode(200), Body::Written(Media::Metrics)))
}

fn tls(families: &mut Families, certificates: &Certificates) {
    families.gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When the first of the certificates that are shown ends.",
        certificates.expires() as f64,
    );
    let counts = certificates.reloads();
    let help = "Reloads of the certificate files.";
    reloads(families, "tls_reloads_total", help, (counts.done, counts.failed));
}

/// How often files were read anew, and how often they could not be used.
fn reloads(families: &mut Families, name: &str, help: &str, (done, failed): (u64, u64)) {
    let results = [("done", done), ("failed", failed)];
    let metrics = results.map(|(result, count)| counter(&[("result", result)], count));
    families.push(name, help, MetricType::COUNTER, metrics.into());
}

fn process(families: &mut Families, context: &Context<'_>) {
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    families.push(
        "build_info",
        "Which pykv this is; always 1.",
        MetricType::GAUGE,
        vec![gauge(&build, 1.0)],
    );
    let started = wall::since_epoch().saturating_sub(match context.engine {
        Engine::Embedded(node) => node.status().uptime,
        Engine::Redis(gateway) => gateway.uptime(),
    });
    families.gauge(
        "start_time_seconds",
        "When the node was started, in seconds since the Unix epoch.",
        started.as_secs_f64(),
    );
    if let Some(bytes) = resident_bytes() {
        families.gauge(
            "resident_memory_bytes",
            "Memory of the process in RAM.",
            bytes as f64,
        );
    }
}

fn requests(families: &mut Families, context: &Context<'_>) {
    let observer = &context.shared.observer;
    let series = observer.latencies.series().map(|series| {
        let status = series.status.to_string();
        let labels = [
            ("route", series.path),
            ("method", series.method),
            ("status", &status),
        ];
        histogram(&labels, &series.counts)
    });
    families.push(
        "http_request_duration_seconds",
        "From when a request was read to when its answer was sent.",
        MetricType::HISTOGRAM,
        series.collect(),
    );
    let connections = context.shared.registry.counts();
    families.gauge("http_connections", "Connections open.", connections.open as f64);
    families.gauge(
        "http_connections_max",
        "Most connections open at once.",
        connections.open_max as f64,
    );
    let budget = &context.shared.budget;
    families.gauge(
        "http_in_flight_bytes",
        "Bytes of requests and answers that all connections together hold.",
        budget.used_bytes() as f64,
    );
    families.gauge(
        "http_in_flight_bytes_max",
        "Most bytes of requests and answers that all connections together may hold.",
        budget.bytes_max() as f64,
    );
    families.counter(
        "http_connections_accepted_total",
        "Connections that were served.",
        connections.accepted,
    );
    families.counter(
        "http_connections_refused_total",
        "Connections for which there was no room.",
        connections.refused,
    );
    if let Some(lines) = observer.dropped_lines() {
        families.counter(
            "access_log_dropped_lines_total",
            "Lines left out of the access log, since its disk did not keep up.",
            lines,
        );
    }
}

fn store(families: &mut Families, node: &Node) {
    let counters = node.counters();
    let status = node.status();
    families.gauge("entries", "Entries held.", counters.entries as f64);
    families.gauge("entries_bytes", "Bytes held for entries.", counters.bytes as f64);
    if status.limits.entries_max < Limits::ENTRIES_MAX {
        families.gauge(
            "entries_max",
            "Most entries held.",
            status.limits.entries_max as f64,
        );
    }
    if status.limits.bytes_max < u64::MAX {
        families.gauge(
            "entries_max_bytes",
            "Most bytes held for entries.",
            status.limits.bytes_max as f64,
        );
    }
    families.gauge(
        "entries_with_deadline",
        "Entries that expire.",
        status.entries_with_deadline as f64,
    );
    if let Some(curve) = node.curve() {
        let points = curve.points.iter().map(|point| {
            let times = format!("{:.3}", point.entries as f64 / curve.entries as f64);
            gauge(&[("capacity_ratio", &times)], point.hit_ratio)
        });
        families.push(
            "hit_ratio_estimate",
            "What the hit ratio would be at so many times the size of today, estimated from a sample.",
            MetricType::GAUGE,
            points.collect(),
        );
    }
    let reads = [("hit", counters.hits), ("miss", counters.misses)];
    families.push(
        "reads_total",
        "Keys read, by whether they were there.",
        MetricType::COUNTER,
        reads
            .map(|(result, count)| counter(&[("result", result)], count))
            .into(),
    );
    let changes = [
        ("add", counters.adds),
        ("update", counters.updates),
        ("delete", counters.deletes),
        ("evict", counters.evictions),
        ("expire", counters.expiries),
    ];
    families.push(
        "changes_total",
        "Changes of entries, by what was done; clients add, update and delete, the node evicts and expires.",
        MetricType::COUNTER,
        changes
            .map(|(operation, count)| counter(&[("operation", operation)], count))
            .into(),
    );
}

fn log(families: &mut Families, node: &Node) {
    let status = node.status();
    let offsets = [
        ("appended", status.offset),
        ("written", status.position.written),
        ("synced", status.position.synced),
    ];
    families.push(
        "log_offset_bytes",
        "How far the log is: appended in memory, written to the system, synced to the disk.",
        MetricType::GAUGE,
        offsets
            .map(|(state, offset)| gauge(&[("state", state)], offset as f64))
            .into(),
    );
    families.gauge(
        "log_files_bytes",
        "Bytes of the log's files.",
        node.log_bytes() as f64,
    );
    let stalled_for = node.stalled_for();
    let is_healthy = status.health == Health::Ok && stalled_for.is_none();
    families.gauge(
        "log_healthy",
        "1 while the log takes writes; 0 also while the disk hangs.",
        f64::from(u8::from(is_healthy)),
    );
    families.gauge(
        "log_stalled_seconds",
        "How long the disk has been at a write or a sync of the log, where that is too long.",
        stalled_for.unwrap_or_default().as_secs_f64(),
    );
    families.gauge(
        "clock_ahead_seconds",
        "How far the node's clock has been ahead of the system's, which was set back.",
        node.clock_ahead().unwrap_or_default().as_secs_f64(),
    );
    families.push(
        "log_sync_duration_seconds",
        "How long it took to sync what was written.",
        MetricType::HISTOGRAM,
        vec![histogram(&[], &node.syncs())],
    );
    let compaction = status.compaction;
    families.gauge(
        "compaction_running",
        "1 while the log is compacted.",
        f64::from(u8::from(compaction.running.is_some())),
    );
    if let Some(last) = compaction.last {
        families.gauge(
            "compaction_last_duration_seconds",
            "How long the last compaction took.",
            last.took.as_secs_f64(),
        );
    }
}

fn replication(families: &mut Families, node: &Node) {
    let cluster = node.cluster_status();
    let roles = [Role::Primary, Role::Replica].map(|role| {
        gauge(
            &[("role", role.name())],
            f64::from(u8::from(role == cluster.role)),
        )
    });
    families.push(
        "role",
        "1 for the role that the node has.",
        MetricType::GAUGE,
        roles.into(),
    );
    families.gauge(
        "term",
        "The term of the log.",
        f64::from(node.status().term.number()),
    );
    for (name, help, value) in super::cluster_view::gauges(node) {
        families.gauge(name, help, value);
    }
    if let Some(bytes) = cluster.lag_bytes {
        families.gauge(
            "replica_lag_bytes",
            "How far the node is behind its primary.",
            bytes as f64,
        );
    }
    if let Some(lag) = cluster.lag {
        families.gauge(
            "replica_lag_seconds",
            "How long the node has been behind its primary.",
            lag.as_secs_f64(),
        );
    }
    if cluster.lag_bytes.is_some() {
        families.gauge(
            "replica_clock_skew_seconds",
            "How far the node's clock is ahead of its primary's, where they differ by more than 5 s.",
            cluster.clock_skew_seconds.unwrap_or_default() as f64,
        );
    }
    let mut followers = node.followers();
    // Two series of one name would have Prometheus refuse all: of followers that give one address, one is reported.
    followers.sort_by(|one, other| one.address.cmp(&other.address));
    followers.dedup_by(|one, other| one.address == other.address);
    let mut per_follower = |name: &str, help: &str, value: fn(&FollowerStatus) -> f64| {
        let metrics = followers
            .iter()
            .map(|follower| gauge(&[("follower", &follower.address)], value(follower)));
        families.push(name, help, MetricType::GAUGE, metrics.collect());
    };
    per_follower(
        "follower_lag_bytes",
        "How far a follower is behind.",
        |follower| follower.lag_bytes as f64,
    );
    per_follower(
        "follower_lag_seconds",
        "How long a follower has been behind.",
        |follower| follower.lag.as_secs_f64(),
    );
    per_follower(
        "follower_silence_seconds",
        "How long ago a follower was last heard.",
        |follower| follower.silent_for.as_secs_f64(),
    );
}
