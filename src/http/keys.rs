//! The handlers of all keys, `/kv/`: adding one, listing, and deleting what begins alike.

use super::conditions::Conditions;
use super::deadline;
use super::handlers::Scratch;
use super::kv;
use super::payload;
use super::problem::{self, Problem};
use super::request::Head;
use super::response::{Body, Media, Reply, push_json, push_json_string};
use super::target;
use crate::api;
use crate::node::{Cursor, CursorError, Mode, Node};
use tiny_http::StatusCode;

const OK: StatusCode = StatusCode(200);

pub(super) fn post(
    node: &Node,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let conditions = Conditions::of_write(head)?;
    let (key, payload) = payload::key_and_value(body)?;
    let reply = kv::write(
        node,
        kv::check_key(&key)?,
        &payload,
        Mode::Add,
        conditions.precondition(),
        scratch,
    )?;
    Ok(reply.header("Location", &api::relative_key_path(&key)))
}

pub(super) fn list(node: &Node, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let names = ["prefix", "limit", "cursor", "values"];
    let [prefix, limit, cursor, values] = target::parameters(head.query, names)?;
    let prefix = prefix.as_deref().unwrap_or("");
    let with_values = target::flag("values", values.as_deref())?;
    let limit = match limit {
        None => api::LIST_LIMIT_DEFAULT,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=api::LIST_LIMIT_MAX).contains(limit))
            .ok_or_else(|| {
                let max = api::LIST_LIMIT_MAX;
                Problem::new(
                    problem::BAD_QUERY,
                    format!("the limit is a number from 1 to {max}"),
                )
                .field("limit")
                .limit(max as u64)
            })?,
    };
    let cursor = cursor
        .map(|cursor| {
            Cursor::decode(&cursor)
                .ok_or_else(|| Problem::new(problem::BAD_QUERY, "no answer gave this cursor").field("cursor"))
        })
        .transpose()?;
    let stale = |error| {
        let (kind, detail) = match error {
            CursorError::Stale => (
                problem::STALE_CURSOR,
                "the node was restarted; start the listing again",
            ),
            CursorError::OtherPrefix => (
                problem::BAD_QUERY,
                "the cursor belongs to a listing of another prefix",
            ),
        };
        Problem::new(kind, detail).field("cursor")
    };
    let body = &mut scratch.body;
    let next = if with_values {
        let page = node.list_entries(prefix, cursor, limit).map_err(stale)?;
        push_list(body, "entries", &page.items, |body, listed| {
            let key = String::from_utf8_lossy(listed.pair.key());
            kv::push_entry(
                body,
                &key,
                listed.pair.value(),
                listed.found,
                deadline::push_members,
            );
        });
        page.next
    } else {
        let page = node.list(prefix, cursor, limit).map_err(stale)?;
        push_list(body, "keys", &page.items, |body, key| push_json_string(body, key));
        page.next
    };
    body.extend_from_slice(b",\"cursor\":");
    push_json(body, &next.map(Cursor::encode));
    body.push(b'}');
    Ok(Reply::new(OK, Body::Written(Media::Json)))
}

/// Begins an object with a list.
fn push_list<T>(body: &mut Vec<u8>, name: &str, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    body.push(b'{');
    push_json_string(body, name);
    body.extend_from_slice(b":[");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        push(body, item);
    }
    body.push(b']');
}

/// Deletes all keys under a prefix, or says how many that would be.
pub(super) fn delete(node: &Node, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let [prefix, dry_run] = target::parameters(head.query, ["prefix", "dry_run"])?;
    let is_dry_run = target::flag("dry_run", dry_run.as_deref())?;
    let Some(prefix) = prefix else {
        let detail = "say which keys are to go; `prefix=` with nothing after it means all";
        return Err(Problem::new(problem::BAD_QUERY, detail).field("prefix"));
    };
    if !head.if_match.is_empty() || !head.if_none_match.is_empty() {
        let detail = "many keys have many versions: a precondition has no meaning here";
        return Err(Problem::new(problem::BAD_PRECONDITION, detail));
    }
    let mut answer = api::Deleted::default();
    let mut offset = None;
    if is_dry_run {
        answer.would_delete = Some(node.count_prefix(&prefix));
    } else {
        let swept = node
            .delete_prefix(&prefix)
            .map_err(|partly| Problem::of_refusal(&partly.refusal).deleted(partly.done.keys))?;
        answer.deleted = swept.keys;
        offset = swept.offset;
    }
    push_json(&mut scratch.body, &answer);
    let mut reply = Reply::new(OK, Body::Written(Media::Json));
    reply.offset = offset;
    Ok(reply)
}
