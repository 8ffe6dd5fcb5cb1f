//! What a request asks of the node's place in its cluster: to be seen as of an offset, or to be had by replicas.

use super::context::Context;
use super::route::Route;
use crate::api;
use crate::engine::Engine;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::node::{AckRequirement, Node};
use crate::wal::Role;
use std::str::FromStr;
use std::time::Duration;
use tiny_http::Method;

/// How long a reader is kept waiting for an offset.
pub(crate) const AWAIT_MAX: Duration = Duration::from_secs(5);

/// What a request asks, and what a replica will show it.
pub(crate) struct Asked {
    /// Of a write: who must have it.
    pub(crate) sync: Option<AckRequirement>,
    /// Of a read of a replica: it shows everything before this offset.
    pub(crate) seen: Option<u64>,
    /// With `--sync-reads`: who must have what the primary shows, before it shows it. A refused write shows something
    /// too: that a key is there, or is not, or in which version.
    pub(crate) shown: Option<AckRequirement>,
    /// Whether it is a read of a primary that etcd has named: it shows nothing once the lease is over.
    pub(crate) is_leased: bool,
}

impl Asked {
    /// Whether it is a write.
    pub(crate) fn is_write(&self) -> bool {
        self.sync.is_some()
    }
}

/// Why a request cannot be handled now.
pub(crate) enum NotYet {
    /// It cannot be understood.
    Refused(Problem),
    /// The node does not show this offset yet.
    Behind(u64),
    /// The node holds its writers.
    Held,
}

/// Reads what a request asks.
pub(crate) fn ask(context: &Context<'_>, head: &Head<'_>, route: &Route<'_>) -> Result<Asked, NotYet> {
    let mut asked = Asked {
        sync: None,
        seen: None,
        shown: None,
        is_leased: false,
    };
    // A browser's question for a page: it neither shows nor changes anything.
    if head.method == Method::Options {
        return Ok(asked);
    }
    let Some(node) = context.node() else {
        return ask_engine(context, head, route, asked).map_err(NotYet::Refused);
    };
    if route.is_data() && node.cluster().options().sync_reads && node.role() == Role::Primary {
        asked.shown = Some(AckRequirement {
            // Where etcd decides, what all standbys have is not undone, however few they are.
            is_required: !node.is_elected(),
            ..node.sync_default()
        });
    }
    if matches!(head.method, Method::Get | Method::Head) {
        if let Some(min_offset) = head.min_offset {
            let offset = number(min_offset, api::HEADER_MIN_OFFSET).map_err(NotYet::Refused)?;
            if node.visible() < offset {
                return Err(NotYet::Behind(offset));
            }
        }
        // Before the read, so that no more is promised than it shows.
        let is_read_of_replica = route.is_data() && node.role() == Role::Replica;
        asked.seen = is_read_of_replica.then(|| node.visible());
        asked.is_leased = route.is_data() && !is_read_of_replica && node.is_elected();
    } else if route.is_data() {
        if node.holds_writers() {
            return Err(NotYet::Held);
        }
        asked.sync = Some(sync(context, head).map_err(NotYet::Refused)?);
    }
    Ok(asked)
}

/// As [`ask`], where an engine holds the entries: it has no offsets.
fn ask_engine(
    context: &Context<'_>,
    head: &Head<'_>,
    route: &Route<'_>,
    asked: Asked,
) -> Result<Asked, Problem> {
    let is_read = matches!(head.method, Method::Get | Method::Head);
    match is_read {
        true if head.min_offset.is_some() => {
            let why = "an engine has no offsets; a gateway reads from masters, so a read follows each write that was \
                       answered before";
            Err(Problem::new(problem::NOT_OF_ENGINE, why).field(api::HEADER_MIN_OFFSET))
        }
        false if route.is_data() => Ok(Asked {
            sync: Some(sync(context, head)?),
            ..asked
        }),
        _ => Ok(asked),
    }
}

/// Whether a request may be refused before its body has come. With `--sync-reads` a refusal waits for replicas, as all
/// that shows something does.
pub(crate) fn may_refuse_early(context: &Context<'_>) -> bool {
    let has_sync_reads = |node: &Node| node.cluster().options().sync_reads;
    !context.node().is_some_and(has_sync_reads)
}

/// The answer to a read that was kept waiting for too long.
pub(crate) fn behind(context: &Context<'_>, offset: u64) -> Problem {
    let visible = context.node().map_or(0, Node::visible);
    let why = format!("it shows everything before offset {visible}, and not yet offset {offset}");
    Problem::new(problem::BEHIND, why).retry_after(1)
}

/// The answer to a read of a primary whose lease was over before it was answered.
pub(crate) fn lease_over() -> Problem {
    let why = "the node's lease as primary is over: another node may be primary";
    Problem::new(problem::NO_PRIMARY, why).retry_after(1)
}

fn sync(context: &Context<'_>, head: &Head<'_>) -> Result<AckRequirement, Problem> {
    let (mut sync, is_elected) = match context.engine {
        Engine::Embedded(node) => (node.sync_default(), node.is_elected()),
        Engine::Redis(gateway) => (gateway.sync_default(), false),
    };
    if let Some(replicas) = head.sync_replicas {
        let replicas = number(replicas, api::HEADER_SYNC_REPLICAS)?;
        // No request asks for less than what any takeover relies on.
        sync.replicas = match is_elected {
            true => sync.replicas.max(replicas),
            false => replicas,
        };
        if sync.replicas > api::SYNC_REPLICAS_MAX {
            return Err(
                malformed("no write waits for as many replicas", api::HEADER_SYNC_REPLICAS)
                    .limit(api::SYNC_REPLICAS_MAX as u64),
            );
        }
    }
    if let Some(timeout) = head.sync_timeout {
        let seconds: f64 = number(timeout, api::HEADER_SYNC_TIMEOUT)?;
        if !(0.0..=api::SYNC_TIMEOUT_SECONDS_MAX).contains(&seconds) {
            return Err(malformed(
                "it must be a number of seconds from 0 to 60",
                api::HEADER_SYNC_TIMEOUT,
            ));
        }
        sync.timeout = Duration::from_secs_f64(seconds);
    }
    if let Some(required) = head.sync_required {
        sync.is_required = number(required, api::HEADER_SYNC_REQUIRED)?;
    }
    Ok(sync)
}

fn number<T: FromStr>(value: &[u8], field: &'static str) -> Result<T, Problem> {
    let text = std::str::from_utf8(value).ok().map(str::trim);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("the value of this field is not valid", field))
}

fn malformed(why: &'static str, field: &'static str) -> Problem {
    Problem::new(problem::MALFORMED, why).field(field)
}
