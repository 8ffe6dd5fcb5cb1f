//! From an admitted request to the handler that answers it, and what handlers work with.
//!
//! A handler writes the body of its answer into [`Scratch`] and returns the rest of it, or the problem that
//! takes its place. It neither reads from the connection nor writes to it, and it does not wait: one that has
//! to returns what is to be done later ([`super::stream`]).

use super::admit::Admitted;
use super::context::{Context, Scratch};
use super::problem::Problem;
use super::request::Head;
use super::room::Room;
use super::route::Route;
use super::stream::Answer;
use super::{admin, backup, batch, compact, keys, kv, metrics, page, replication, watch};
use tiny_http::Method;

/// Refuses a request whose body need not be asked for, since it would be refused with it too.
pub(super) fn foresee(context: Context<'_>, head: &Head<'_>, route: &Route<'_>) -> Result<(), Problem> {
    match route {
        Route::Key(key) => kv::foresee(context.node, head, key),
        _ => Ok(()),
    }
}

/// Answers a request; `body` is the whole of what came after the head. What the answer takes of memory beyond a
/// little is taken out of `room` before it is made, or is made later and in pieces.
pub(super) fn handle<'a>(
    context: Context<'a>,
    head: &Head<'_>,
    admitted: Admitted<'_>,
    body: &[u8],
    scratch: &mut Scratch,
    room: &mut Room<'a, '_>,
) -> Result<Answer<'a>, Problem> {
    let node = context.node;
    let reply = match (&admitted.route, &head.method, admitted.sent) {
        (Route::Key(key), Method::Put, Some(sent)) => kv::put(node, head, key, body, sent, scratch),
        (Route::Key(key), Method::Patch, _) => kv::patch(node, head, key, body, scratch),
        (Route::Key(key), Method::Delete, _) => kv::delete(node, head, key),
        (Route::Key(key), Method::Head, _) => kv::head(node, head, key),
        (Route::Key(key), _, _) => return kv::get(node, head, key, scratch),
        (Route::Keys, Method::Post, _) => keys::post(node, head, body, scratch),
        (Route::Keys, Method::Delete, _) => keys::delete(node, head, scratch),
        (Route::Keys, _, _) => return keys::list(head),
        (Route::Batch, _, _) => return batch::post(&context, head, body, scratch, room),
        (Route::Backup, _, _) => return backup::get(head),
        (Route::Snapshot, _, _) => return backup::get(head),
        (Route::Log, _, _) => return replication::log(head),
        (Route::Hello, _, _) => replication::hello(&context, head, body, scratch),
        (Route::Handover, _, _) => return replication::handover(&context, head, body),
        (Route::Promote, _, _) => return replication::promote(head),
        (Route::Forget, _, _) => replication::forget(&context, head, scratch),
        (Route::Primary, _, _) => replication::primary(&context, head, scratch),
        (Route::Replica, _, _) => replication::replica(&context, head, scratch),
        (Route::Compact, _, _) => return compact::post(&context, head, scratch),
        (Route::Watch, _, _) => return watch::watch(head),
        (Route::Page(file), _, _) => page::get(file, head, scratch),
        (Route::Status, _, _) => admin::status(&context, head, scratch),
        (Route::Stats, _, _) => admin::stats(&context, head, scratch),
        (Route::Metrics, _, _) => metrics::get(&context, head, scratch),
        (Route::History, _, _) => admin::history(&context, head, scratch),
        (Route::Healthz, _, _) => admin::healthz(head, scratch),
        (Route::Readyz, _, _) => admin::readyz(&context, head, scratch),
    }?;
    Ok(Answer::Now(reply))
}
