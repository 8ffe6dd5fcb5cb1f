//! The handlers of one key, `/kv/{key}`: from a request to calls of the node and back.
//!
//! A handler writes the body of its answer into the connection's buffer and returns the rest as a
//! [`Reply`]. That of a write says which offset must be waited for; the connection does so, once for all
//! the requests it has in hand.

use super::conditions::{self, Conditions, Fetch};
use super::deadline;
use super::handlers::Scratch;
use super::media::{self, Sent};
use super::payload::{self, Payload};
use super::problem::{self, Problem};
use super::request::Head;
use super::response::{Body, Media, Reply, push_decimal, push_json, push_json_string};
use super::target;
use crate::api;
use crate::key::{Key, KeyError};
use crate::node::{Found, Mode, Node, Precondition, WriteError, Written};
use crate::pair::KEY_BYTES_MAX;
use std::borrow::Cow;
use tiny_http::{Method, StatusCode};

const OK: StatusCode = StatusCode(200);
const CREATED: StatusCode = StatusCode(201);
const NO_CONTENT: StatusCode = StatusCode(204);
const NOT_MODIFIED: StatusCode = StatusCode(304);

pub(super) fn get(node: &Node, head: &Head<'_>, key: &str, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let media = wanted_media(head)?;
    let key = check_key(key)?;
    scratch.value.clear();
    let Some(found) = node.get(key, &mut scratch.value) else {
        return Err(problem::no_key());
    };
    if let Some(reply) = check_conditions(head, found.version)? {
        return Ok(reply);
    }
    match media {
        // The bytes change places rather than being copied.
        Media::Octets => std::mem::swap(&mut scratch.value, &mut scratch.body),
        _ => {
            push_entry(
                &mut scratch.body,
                key.as_str(),
                &scratch.value,
                found,
                |body, deadline_ms| {
                    deadline::push_members_and_ttl(body, node, deadline_ms);
                },
            );
        }
    }
    Ok(Reply::new(OK, Body::Written(media))
        .version(found.version)
        .expires_at(node, found.deadline_ms))
}

pub(super) fn head(node: &Node, head: &Head<'_>, key: &str) -> Result<Reply, Problem> {
    let media = wanted_media(head)?;
    let Some(meta) = node.peek(check_key(key)?) else {
        return Err(problem::no_key());
    };
    if let Some(reply) = check_conditions(head, meta.found.version)? {
        return Ok(reply);
    }
    let body = match media {
        Media::Octets => Body::Measured(media, meta.value_bytes as u64),
        _ => Body::Unmeasured(media),
    };
    Ok(Reply::new(OK, body)
        .version(meta.found.version)
        .expires_at(node, meta.found.deadline_ms)
        .header(api::HEADER_VALUE_BYTES, &meta.value_bytes.to_string()))
}

pub(super) fn put(
    node: &Node,
    head: &Head<'_>,
    key: &str,
    body: &[u8],
    sent: Sent,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let (mode, ttl) = put_query(head)?;
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let payload = match sent {
        Sent::Octets => Payload {
            value: Cow::Borrowed(body),
            deadline: deadline::of_query(ttl.as_deref())?,
        },
        Sent::Json if ttl.is_some() => {
            let detail = "beside a body of JSON, the time to live stands in it";
            return Err(Problem::new(problem::BAD_QUERY, detail).field("ttl"));
        }
        Sent::Json => payload::value(body)?,
    };
    write(node, key, &payload, mode, conditions.precondition(), scratch)
}

/// Refuses a PUT or PATCH that fails whatever its body is, as things stand.
pub(super) fn foresee(node: &Node, head: &Head<'_>, key: &str) -> Result<(), Problem> {
    let is_upsert = match head.method {
        Method::Put => put_query(head)?.0 == Mode::Upsert,
        _ => false,
    };
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let precondition = conditions.precondition();
    let version = node.peek(key).map(|meta| meta.found.version);
    let foreseen = match version {
        None if !is_upsert => Err(WriteError::Missing),
        version => precondition.check(version),
    };
    foreseen.map_err(|error| Problem::of_write(error, precondition.wants_present()))
}

/// What the query of a PUT says: how it is meant, and until when the value is kept.
fn put_query<'a>(head: &Head<'a>) -> Result<(Mode, Option<Cow<'a, str>>), Problem> {
    let [upsert, ttl] = target::parameters(head.query, ["upsert", "ttl"])?;
    let mode = match target::flag("upsert", upsert.as_deref())? {
        true => Mode::Upsert,
        false => Mode::Update,
    };
    Ok((mode, ttl))
}

/// Gives a key another deadline, or none.
pub(super) fn patch(
    node: &Node,
    head: &Head<'_>,
    key: &str,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let precondition = conditions.precondition();
    let deadline = payload::deadline(body)?;
    let written = node
        .set_deadline(key, deadline, precondition)
        .map_err(|error| Problem::of_write(error, precondition.wants_present()))?;
    Ok(written_reply(node, key, written, scratch))
}

/// Puts a value, for `PUT` and `POST`.
pub(super) fn write(
    node: &Node,
    key: Key<'_>,
    payload: &Payload<'_>,
    mode: Mode,
    precondition: Precondition<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let written = node
        .put(key, &payload.value, payload.deadline, mode, precondition)
        .map_err(|error| Problem::of_write(error, precondition.wants_present()))?;
    Ok(written_reply(node, key, written, scratch))
}

fn written_reply(node: &Node, key: Key<'_>, written: Written, scratch: &mut Scratch) -> Reply {
    let body = &mut scratch.body;
    body.extend_from_slice(b"{\"key\":");
    push_json_string(body, key.as_str());
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, written.version);
    deadline::push_members_and_ttl(body, node, written.deadline_ms);
    body.push(b'}');
    let status = if written.created { CREATED } else { OK };
    Reply::new(status, Body::Written(Media::Json))
        .version(written.version)
        .expires_at(node, written.deadline_ms)
        .offset(written.version)
}

pub(super) fn delete(node: &Node, head: &Head<'_>, key: &str) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let precondition = conditions.precondition();
    let offset = node
        .delete(key, precondition)
        .map_err(|error| Problem::of_write(error, precondition.wants_present()))?;
    Ok(Reply::new(NO_CONTENT, Body::None).offset(offset))
}

pub(super) fn check_key(key: &str) -> Result<Key<'_>, Problem> {
    Key::new(key).map_err(|error| {
        let problem = Problem::new(problem::BAD_KEY, error.to_string()).field("key");
        match error {
            KeyError::Empty => problem,
            KeyError::TooLong(_) => problem.limit(KEY_BYTES_MAX as u64),
        }
    })
}

/// The form of a value that a read asks for: `?raw` says so whatever the client accepts.
fn wanted_media(head: &Head<'_>) -> Result<Media, Problem> {
    if head.query.is_some() {
        let [raw] = target::parameters(head.query, ["raw"])?;
        if target::flag("raw", raw.as_deref())? {
            return Ok(Media::Octets);
        }
    }
    media::preferred(&head.accept)
}

/// The answer to a read whose conditions say that there is nothing to send.
fn check_conditions(head: &Head<'_>, version: u64) -> Result<Option<Reply>, Problem> {
    match conditions::of_read(head, version)? {
        Fetch::Go => Ok(None),
        Fetch::NotModified => Ok(Some(Reply::new(NOT_MODIFIED, Body::None).version(version))),
        Fetch::Failed => Err(Problem::precondition_failed(version)),
    }
}

/// Appends an entry as JSON; `push_deadline` appends what is said of its deadline.
pub(super) fn push_entry(
    body: &mut Vec<u8>,
    key: &str,
    value: &[u8],
    found: Found,
    push_deadline: impl FnOnce(&mut Vec<u8>, Option<u64>),
) {
    let (text, encoding) = api::encode_value(value);
    body.reserve(key.len() + text.len() + 128);
    body.extend_from_slice(b"{\"key\":");
    push_json_string(body, key);
    body.extend_from_slice(b",\"value\":");
    push_json_string(body, &text);
    if let Some(encoding) = encoding {
        body.extend_from_slice(b",\"encoding\":");
        push_json(body, &encoding);
    }
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, found.version);
    push_deadline(body, found.deadline_ms);
    body.push(b'}');
}
