//! The handlers that say how the node is: `/status`, `/stats`, `/history` and the probes.

use super::admit::body_bytes_max;
use super::compact;
use super::context::{Context, Scratch};
use super::route::Resource;
use crate::api;
use crate::auth::LiveTokens;
use crate::engine::Engine;
use crate::http::media::Sent;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_json};
use crate::http::target;
use crate::net::certificates::Certificates;
use crate::node::{ClusterStatus, Node, Usage};
use crate::observe::history;
use crate::pair::KEY_BYTES_MAX;
use crate::session::Session;
use crate::store::{Curve, Limits};
use crate::wal::Health;
use std::time::Duration;
use tiny_http::StatusCode;

/// What bounds the entries of another engine: nothing that a gateway knows.
pub(super) const NO_LIMITS: Limits = Limits {
    entries_max: Limits::ENTRIES_MAX,
    bytes_max: u64::MAX,
};

pub(crate) fn status(
    context: &Context<'_>,
    node: &Node,
    session: &Session<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let status = node.status();
    let cluster = node.cluster_status();
    let body = api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: cluster.role.name().to_owned(),
        address: cluster.address.clone(),
        health: match stalled(node) {
            Some(why) if status.health == Health::Ok => why,
            _ => status.health.to_string(),
        },
        ready: status.health == Health::Ok && node.is_synced() && stalled(node).is_none(),
        clock_ahead_seconds: node.clock_ahead().map(|ahead| ahead.as_secs_f64()),
        uptime_seconds: status.uptime.as_secs(),
        dir: status.dir.display().to_string(),
        log: api::LogStatus {
            id: status.log_id,
            term: u64::from(status.term.number()),
            offset: status.offset,
            // From one state to the next it tells what a client may not read.
            digest: session.shows_all().then(|| status.digest.to_string()),
            digest_offset: status.digest_offset,
            written: status.position.written,
            synced: status.position.synced,
            fsync: status.policy.name().to_owned(),
        },
        compaction: compact::status(status.compaction),
        replication: replication(node, cluster),
        tokens: context.shared.tokens.as_ref().map(tokens),
        access: context.shared.tokens.as_ref().map(|_| access(session)),
        limits: limits(context, status.limits),
        tls: context.shared.certificates.as_deref().map(tls),
        resident_bytes: resident_bytes(),
    };
    Ok(json(scratch, &body))
}

pub(super) fn access(session: &Session<'_>) -> api::Access {
    let grant = session.grant();
    let prefixes = grant.prefixes().map(|prefixes| {
        let texts = prefixes.iter().map(|prefix| prefix.to_string());
        texts.collect()
    });
    api::Access {
        scope: grant.scope().name().to_owned(),
        client: grant.name().map(|name| name.to_string()),
        prefixes,
    }
}

pub(super) fn tls(certificates: &Certificates) -> api::TlsStatus {
    let reloads = certificates.reloads();
    api::TlsStatus {
        certificate_expires: certificates.expires(),
        reloads: reloads.done,
        failed_reloads: reloads.failed,
        failure: reloads.failure,
    }
}

pub(crate) fn stats(
    context: &Context<'_>,
    session: &Session<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let (counters, entries_with_deadline, store, usage) = match context.engine {
        Engine::Embedded(node) => {
            let status = node.status();
            (
                node.counters(),
                status.entries_with_deadline,
                status.limits,
                node.usage(),
            )
        }
        Engine::Redis(gateway) => {
            let with_deadline = gateway.report().sum(|server| server.keys_with_deadline);
            (gateway.counters(), with_deadline, NO_LIMITS, Usage::default())
        }
    };
    let reads = counters.hits + counters.misses;
    let counts = context.shared.registry.counts();
    let [done, redirected, refused, failed] = counts.answers;
    let body = api::Stats {
        entries: counters.entries,
        bytes: counters.bytes,
        hits: counters.hits,
        misses: counters.misses,
        hit_ratio: (reads > 0).then(|| counters.hits as f64 / reads as f64),
        adds: counters.adds,
        updates: counters.updates,
        deletes: counters.deletes,
        evictions: counters.evictions,
        expiries: counters.expiries,
        entries_with_deadline,
        limits: limits(context, store),
        connections: api::ConnectionStats {
            open: counts.open,
            max: counts.open_max,
            accepted: counts.accepted,
            refused: counts.refused,
        },
        answers: api::AnswerStats {
            done,
            redirected,
            refused,
            failed,
        },
        miss_ratio_curve: usage.curve.map(curve),
        hot_keys: usage
            .hot_keys
            .into_iter()
            .filter(|(key, _)| session.shows(key.as_bytes()))
            .map(|(key, reads)| api::HotKey { key, reads })
            .collect(),
        big_keys: usage
            .big_keys
            .into_iter()
            .filter(|(key, _)| session.shows(key.as_bytes()))
            .map(|(key, bytes)| api::BigKey { key, bytes })
            .collect(),
    };
    Ok(json(scratch, &body))
}

pub(super) fn tokens(live: &LiveTokens) -> api::TokensStatus {
    let (reloads, reload_failures) = live.reloads();
    api::TokensStatus {
        reloads,
        reload_failures,
        error: live.error(),
    }
}

fn curve(curve: Curve) -> api::MissRatioCurve {
    let points = curve.points.iter().map(|point| api::CurvePoint {
        entries: point.entries,
        hit_ratio: (point.hit_ratio * 1e4).round() / 1e4,
    });
    api::MissRatioCurve {
        sampled: curve.sampled,
        entries: curve.entries,
        points: points.collect(),
    }
}

fn replication(node: &Node, cluster: ClusterStatus) -> api::ReplicationStatus {
    let ms = |time: Duration| time.as_millis() as u64;
    let followers = node.followers().into_iter().map(|follower| api::Follower {
        address: follower.address,
        offset: follower.offset,
        lag_bytes: follower.lag_bytes,
        lag_ms: ms(follower.lag),
        last_heard_ms: ms(follower.silent_for),
        successor: follower.is_successor,
    });
    api::ReplicationStatus {
        primary: cluster.primary,
        primary_heard_ms: cluster.primary_heard.map(ms),
        state: cluster.phase.name().to_owned(),
        error: cluster.error,
        snapshot_bytes: cluster.snapshot_bytes,
        lag_bytes: cluster.lag_bytes,
        lag_ms: cluster.lag.map(ms),
        failover_after_seconds: cluster.failover_after.map(|after| after.as_secs_f64()),
        cluster: node
            .election()
            .map(|shared| shared.look(|machine| machine.cluster().to_owned())),
        followers: followers.collect(),
        successors: node
            .successors()
            .into_iter()
            .map(|(address, connected)| api::Successor { address, connected })
            .collect(),
    }
}

/// The process is there and answers: nothing more.
pub(crate) fn healthz(head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    Ok(json(scratch, &passed()))
}

/// Reads and writes are taken.
pub(crate) fn readyz(
    context: &Context<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    if context.shared.is_stopping() {
        return Err(Problem::new(problem::NOT_READY, "the node is stopping"));
    }
    let node = match context.engine {
        Engine::Embedded(node) => node,
        Engine::Redis(gateway) => {
            return match gateway.report().unready() {
                None => Ok(json(scratch, &passed())),
                Some(why) => Err(Problem::new(problem::NOT_READY, why).retry_after(1)),
            };
        }
    };
    if !node.is_synced() {
        let why = "the node is taking over the state of its primary";
        return Err(Problem::new(problem::NOT_READY, why).retry_after(1));
    }
    match node.health() {
        Health::Ok => match stalled(node) {
            Some(why) => Err(Problem::new(problem::NOT_READY, why).retry_after(1)),
            None => Ok(json(
                scratch,
                &api::Probe {
                    detail: node.clock_ahead().map(clock_ahead),
                    ..passed()
                },
            )),
        },
        health => Err(Problem::new(problem::NOT_READY, health.to_string()).retry_after(1)),
    }
}

/// Where the disk hangs.
fn stalled(node: &Node) -> Option<String> {
    let since = node.stalled_for()?;
    Some(format!(
        "the disk has not finished a write to the log for {} s",
        since.as_secs()
    ))
}

fn clock_ahead(ahead: Duration) -> String {
    format!(
        "the system's clock was set back by {} s: deadlines that were given before may be as much too late",
        ahead.as_secs()
    )
}

pub(super) fn passed() -> api::Probe {
    api::Probe {
        status: "ok".to_owned(),
        detail: None,
    }
}

pub(crate) fn json(scratch: &mut Scratch, body: &impl serde::Serialize) -> Reply {
    push_json(&mut scratch.body, body);
    Reply::new(StatusCode(200), Body::Written(Media::Json))
}

pub(super) fn limits(context: &Context<'_>, store: Limits) -> api::StatusLimits {
    api::StatusLimits {
        entries_max: (store.entries_max < Limits::ENTRIES_MAX).then_some(store.entries_max),
        bytes_max: (store.bytes_max < u64::MAX).then_some(store.bytes_max),
        key_bytes_max: KEY_BYTES_MAX as u64,
        value_bytes_max: context.engine.value_bytes_max() as u64,
        batch_operations_max: context.shared.limits.batch_operations_max as u64,
        batch_bytes_max: body_bytes_max(context, Resource::Batch, Sent::Json) as u64,
    }
}

/// The process's memory in RAM, where the system keeps a file that says so.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// `GET /slow`
pub(crate) fn slow(
    context: &Context<'_>,
    session: &Session<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let mut body = context.shared.observer.slow_requests();
    if !session.shows_all() {
        body.requests.clear(); // Their lines have keys.
    }
    Ok(json(scratch, &body))
}

/// `GET /history`
pub(crate) fn history(
    context: &Context<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [after, range] = target::parameters(head.query, ["after", "range"])?;
    let range = match range.as_deref() {
        None | Some("hour") => history::Range::Hour,
        Some("day") => history::Range::Day,
        Some(_) => return Err(Problem::new(problem::BAD_QUERY, "must be `hour` or `day`").field("range")),
    };
    let after = after.map_or(Ok(0), |after| {
        after.parse().map_err(|_| {
            Problem::new(problem::BAD_QUERY, "must be a moment, in ms since the Unix epoch").field("after")
        })
    })?;
    let body = api::History {
        interval_ms: range.interval().as_millis() as u64,
        samples: context.shared.history.after(range, after),
    };
    Ok(json(scratch, &body))
}
