//! How an engine is, as `/status` shows it.

use super::context::{Context, Scratch};
use super::status::{NO_LIMITS, access, json, limits, resident_bytes, tls, tokens};
use crate::api;
use crate::engine::{Gateway, ServerReport};
use crate::http::problem::Problem;
use crate::http::request::Head;
use crate::http::response::Reply;
use crate::http::target;
use crate::session::Session;

/// `GET /status` of a gateway.
pub(super) fn status(
    context: &Context<'_>,
    gateway: &Gateway,
    session: &Session<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let report = gateway.report();
    let unready = report.unready();
    let body = api::GatewayStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: api::ROLE_GATEWAY.to_owned(),
        ready: unready.is_none(),
        health: unready.unwrap_or_else(|| "ok".to_owned()),
        uptime_seconds: gateway.uptime().as_secs(),
        engine: api::EngineStatus {
            url: gateway.url().to_string(),
            cluster: report.is_cluster,
            slots_uncovered: report.slots_uncovered as u64,
            servers: report.servers.iter().map(server).collect(),
        },
        tokens: context.shared.tokens.as_ref().map(tokens),
        access: context.shared.tokens.as_ref().map(|_| access(session)),
        limits: limits(context, NO_LIMITS),
        tls: context.shared.certificates.as_deref().map(tls),
        resident_bytes: resident_bytes(),
    };
    Ok(json(scratch, &body))
}

fn server(report: &ServerReport) -> api::EngineServer {
    api::EngineServer {
        address: report.address.clone(),
        role: report.role().to_owned(),
        version: report.version.clone(),
        slots: report.slots as u64,
        keys: report.keys,
        used_bytes: report.used_bytes,
        bytes_max: report.bytes_max,
        hits: report.hits,
        misses: report.misses,
        evictions: report.evictions,
        expiries: report.expiries,
        errors: report.errors,
        replicas: report.connected_replicas,
        error: report.error.clone(),
    }
}
