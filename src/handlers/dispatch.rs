//! From an admitted request to the handler that answers it.
//!
//! A handler writes the body of its answer into [`Scratch`] and returns the rest of it, or the problem that
//! takes its place. It neither reads from the connection nor writes to it, and it does not wait: one that has
//! to returns what is to be done later ([`crate::handlers::stream`]).

use super::admit::Admitted;
use super::allowance::Allowance;
use super::context::{Context, Scratch};
use super::route::Resource;
use super::stream::Answer;
use super::{
    backup, batch, cluster_view, compact, diverged, edit, election, keys, kv, metrics, nodes, page,
    replication, status, watch,
};
use crate::http::cors;
use crate::http::problem::Problem;
use crate::http::request::Head;
use crate::session::Session;
use tiny_http::Method;

/// Refuses a request whose body need not be asked for, since it would be refused with it too.
pub(crate) fn foresee(context: Context<'_>, head: &Head<'_>, admitted: &Admitted<'_>) -> Result<(), Problem> {
    match admitted.route.resource {
        Resource::Key => {
            let session = Session::new(context.node, admitted.grant.clone());
            kv::foresee(&session, head, &admitted.route.key)
        }
        _ => Ok(()),
    }
}

/// Answers a request; `body` is the whole of what came after the head. What the answer takes of memory beyond a
/// little is taken out of `room` before it is made, or is made later and in pieces.
pub(crate) fn handle<'a>(
    context: Context<'a>,
    head: &Head<'_>,
    admitted: Admitted<'_>,
    body: &[u8],
    scratch: &mut Scratch,
    room: &mut Allowance<'a, '_>,
) -> Result<Answer<'a>, Problem> {
    if head.method == Method::Options {
        return Ok(Answer::Now(cors::preflight(admitted.route.methods())));
    }
    let node = context.node;
    let session = Session::new(node, admitted.grant);
    let session = &session;
    let key = &*admitted.route.key;
    let reply = match (admitted.route.resource, &head.method, admitted.sent) {
        (Resource::Key, Method::Put, Some(sent)) => kv::put(session, head, key, body, sent, scratch),
        (Resource::Key, Method::Patch, _) => edit::patch(session, head, key, body, scratch, room),
        (Resource::Key, Method::Post, _) => kv::post(session, head, key, body, scratch),
        (Resource::Key, Method::Delete, _) => kv::delete(session, head, key),
        (Resource::Key, Method::Head, _) => kv::head(session, head, key),
        (Resource::Key, _, _) => return kv::get(session, head, key, scratch),
        (Resource::Keys, Method::Post, _) => keys::post(session, head, body, scratch),
        (Resource::Keys, Method::Delete, _) => keys::delete(session, head, scratch),
        (Resource::Keys, _, _) => return keys::list(session.clone(), head),
        (Resource::Batch, _, _) => {
            return batch::post(session, &context.shared.limits, head, body, scratch, room);
        }
        (Resource::Backup, _, _) => return backup::get(node, head),
        (Resource::Snapshot, _, _) => return backup::get(node, head),
        (Resource::Log, _, _) => return replication::log(node, head),
        (Resource::Hello, _, _) => replication::hello(&context, head, body, scratch),
        (Resource::Handover, _, _) => return replication::handover(node, head, body),
        (Resource::Promote, _, _) => return replication::promote(node, head),
        (Resource::Forget, _, _) => replication::forget(&context, head, scratch),
        (Resource::Primary, _, _) => replication::primary(&context, head, scratch),
        (Resource::Replica, _, _) => replication::replica(&context, head, scratch),
        (Resource::Election, _, _) => election::question(node, head, body, scratch),
        (Resource::Cluster, _, _) => return cluster_view::cluster(node, head),
        (Resource::Switchover, _, _) => return election::switchover(context, head),
        (Resource::Failover, _, _) => return election::failover(context, head),
        (Resource::Pause, _, _) => return election::pause(node, head, true),
        (Resource::Resume, _, _) => return election::pause(node, head, false),
        (Resource::Leader, _, _) => election::leader(node, head, scratch),
        (Resource::Liveness, _, _) => election::liveness(node, head, scratch),
        (Resource::Compact, _, _) => return compact::post(node, head, scratch),
        (Resource::Watch, _, _) => return watch::watch(session.clone(), head),
        (Resource::Page, _, _) => page::get(&admitted.route, head, scratch),
        (Resource::Status, _, _) => status::status(&context, session, head, scratch),
        (Resource::Stats, _, _) => status::stats(&context, session, head, scratch),
        (Resource::Metrics, _, _) => metrics::get(&context, head, scratch),
        (Resource::History, _, _) => status::history(&context, head, scratch),
        (Resource::Slow, _, _) => status::slow(&context, session, head, scratch),
        (Resource::Nodes, _, _) => return nodes::get(node, head),
        (Resource::Diverged, _, _) => return diverged::get(node, head),
        (Resource::Healthz, _, _) => status::healthz(head, scratch),
        (Resource::Readyz, _, _) => status::readyz(&context, head, scratch),
    }?;
    Ok(Answer::Now(reply))
}
