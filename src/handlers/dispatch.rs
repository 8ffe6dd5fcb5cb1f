//! From an admitted request to the handler that answers it.
//!
//! A handler writes the body of its answer into [`Scratch`] and returns the rest of it, or the problem that
//! takes its place. It neither reads from the connection nor writes to it, and it does not wait: one that has
//! to returns what is to be done later ([`crate::handlers::stream`]).

use super::admit::Admitted;
use super::allowance::Allowance;
use super::consistency::Asked;
use super::context::{Context, NodeContext, Scratch};
use super::route::Resource;
use super::stream::Answer;
use super::{
    backup, batch, cluster_view, compact, diverged, edit, election, engine_status, keys, kv, metrics, nodes,
    page, replication, status, watch,
};
use crate::api;
use crate::engine::Engine;
use crate::http::cors;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::Reply;
use crate::session::Session;
use tiny_http::Method;

/// Refuses a request whose body need not be asked for, since it would be refused with it too.
pub(crate) fn foresee(context: Context<'_>, head: &Head<'_>, admitted: &Admitted<'_>) -> Result<(), Problem> {
    match admitted.route.resource {
        Resource::Key => {
            let session = Session::new(context.engine, admitted.grant.clone());
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
    asked: &Asked,
    body: &[u8],
    scratch: &mut Scratch,
    room: &mut Allowance<'a, '_>,
) -> Result<Answer<'a>, Problem> {
    if head.method == Method::Options {
        return Ok(Answer::Now(cors::preflight(admitted.route.methods())));
    }
    let session = Session::new(context.engine, admitted.grant.clone()).with_sync(asked.sync);
    match admitted.route.resource {
        Resource::Key | Resource::Keys | Resource::Batch => {
            let answer = data(context, &session, head, admitted, body, scratch, room)?;
            Ok(match answer {
                Answer::Now(reply) if context.node().is_none() && asked.is_write() => {
                    Answer::Now(of_engine(reply, session.replicas()))
                }
                answer => answer,
            })
        }
        _ => of_process(context, &session, head, &admitted, body, scratch),
    }
}

/// Says of a write that an engine has it, and how many of its replicas do where that was asked for.
pub(super) fn of_engine(reply: Reply, replicas: Option<usize>) -> Reply {
    let reply = reply.header(api::HEADER_ENGINE, "redis");
    match replicas {
        Some(replicas) => reply.header(api::HEADER_REPLICAS, &replicas.to_string()),
        None => reply,
    }
}

/// Keys and values.
fn data<'a>(
    context: Context<'a>,
    session: &Session<'a>,
    head: &Head<'_>,
    admitted: Admitted<'_>,
    body: &[u8],
    scratch: &mut Scratch,
    room: &mut Allowance<'a, '_>,
) -> Result<Answer<'a>, Problem> {
    let key = &*admitted.route.key;
    let reply = match (admitted.route.resource, &head.method, admitted.sent) {
        (Resource::Batch, _, _) => {
            return batch::post(session, &context.shared.limits, head, body, scratch, room);
        }
        (Resource::Keys, Method::Post, _) => keys::post(session, head, body, scratch),
        (Resource::Keys, Method::Delete, _) => keys::delete(session, head, scratch),
        (Resource::Keys, _, _) => return keys::list(session.clone(), head),
        (_, Method::Put, Some(sent)) => kv::put(session, head, key, body, sent, scratch),
        (_, Method::Patch, _) => edit::patch(session, head, key, body, scratch, room),
        (_, Method::Post, _) => kv::post(session, head, key, body, scratch),
        (_, Method::Delete, _) => kv::delete(session, head, key),
        (_, Method::Head, _) => kv::head(session, head, key),
        _ => return kv::get(session, head, key, scratch),
    }?;
    Ok(Answer::Now(reply))
}

/// What any process has, whatever holds its entries; and what its node alone has.
fn of_process<'a>(
    context: Context<'a>,
    session: &Session<'a>,
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Answer<'a>, Problem> {
    let resource = admitted.route.resource;
    let reply = match (resource, context.node()) {
        (Resource::Page, _) => return page::get(&admitted.route, head, scratch),
        (Resource::Status, _) => match context.engine {
            Engine::Embedded(node) => status::status(&context, node, session, head, scratch),
            Engine::Redis(gateway) => engine_status::status(&context, gateway, session, head, scratch),
        },
        (Resource::Stats, _) => status::stats(&context, session, head, scratch),
        (Resource::Metrics, _) => metrics::get(&context, head, scratch),
        (Resource::History, _) => status::history(&context, head, scratch),
        (Resource::Slow, _) => status::slow(&context, session, head, scratch),
        (Resource::Healthz, _) => status::healthz(head, scratch),
        // A gateway takes writes wherever it is.
        (Resource::Readyz, _) | (Resource::Primary, None) => status::readyz(&context, head, scratch),
        (resource, None) => Err(Problem::new(problem::NOT_OF_ENGINE, instead_of(resource))),
        (_, Some(node)) => {
            let context = NodeContext {
                node,
                shared: context.shared,
            };
            return of_node(context, session, head, resource, body, scratch);
        }
    }?;
    Ok(Answer::Now(reply))
}

/// What a node alone has: its log, its replicas and its cluster.
fn of_node<'a>(
    context: NodeContext<'a>,
    session: &Session<'a>,
    head: &Head<'_>,
    resource: Resource,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Answer<'a>, Problem> {
    let node = context.node;
    let reply = match resource {
        Resource::Backup | Resource::Snapshot => return backup::get(node, head),
        Resource::Log => return replication::log(node, head),
        Resource::Hello => replication::hello(&context, head, body, scratch),
        Resource::Handover => return replication::handover(node, head, body),
        Resource::Promote => return replication::promote(node, head),
        Resource::Forget => replication::forget(&context, head, scratch),
        Resource::Primary => replication::primary(&context, head, scratch),
        Resource::Replica => replication::replica(&context, head, scratch),
        Resource::Election => election::question(node, head, body, scratch),
        Resource::Cluster => return cluster_view::cluster(node, head),
        Resource::Switchover => return election::switchover(context, head),
        Resource::Failover => return election::failover(context, head),
        Resource::Pause => return election::pause(node, head, true),
        Resource::Resume => return election::pause(node, head, false),
        Resource::Leader => election::leader(node, head, scratch),
        Resource::Liveness => election::liveness(node, head, scratch),
        Resource::Compact => return compact::post(node, head, scratch),
        Resource::Nodes => return nodes::get(node, head),
        Resource::Diverged => return diverged::get(node, head),
        Resource::Watch => return watch::watch(session.clone(), head),
        _ => unreachable!("the other resources are answered whatever holds the entries"),
    }?;
    Ok(Answer::Now(reply))
}

/// What to use in place of what a gateway does not have.
fn instead_of(resource: Resource) -> &'static str {
    match resource {
        Resource::Watch => {
            "an engine does not order its changes, so a gateway cannot be watched; use the engine's keyspace \
             notifications, or watch a node that holds its entries itself"
        }
        Resource::Compact => "an engine keeps its own files; use its BGSAVE or BGREWRITEAOF",
        Resource::Backup => "an engine makes its own backups, with BGSAVE; `pykv export` copies the entries",
        Resource::Promote | Resource::Switchover | Resource::Failover => {
            "an engine chooses its own masters; use its CLUSTER FAILOVER, or FAILOVER on a single server"
        }
        Resource::Cluster | Resource::Replica | Resource::Leader | Resource::Liveness => {
            "a gateway is in no cluster of pykv; GET /status shows the engine's servers, GET /readyz whether it serves"
        }
        _ => "a gateway has no log and no replicas; the engine replicates its own",
    }
}
