//! The handlers of `/kv/`: from a request to calls of the node and back.
//!
//! A handler writes the body of its answer into the connection's buffer and returns the rest as a
//! [`Reply`]. That of a write says which offset must be waited for; the connection does so, once for all
//! the requests it has in hand.

use super::conditions::{self, Read};
use super::handlers::Scratch;
use super::media::{self, Sent};
use super::problem::{self, Problem};
use super::request::Head;
use super::response::{Body, Media, Reply, push_decimal, push_json, push_json_string};
use super::target;
use crate::api;
use crate::key::{Key, KeyError};
use crate::node::{Cursor, Mode, Node, Precondition};
use crate::pair::KEY_BYTES_MAX;
use std::borrow::Cow;
use tiny_http::StatusCode;

const OK: StatusCode = StatusCode(200);
const CREATED: StatusCode = StatusCode(201);
const NO_CONTENT: StatusCode = StatusCode(204);
const NOT_MODIFIED: StatusCode = StatusCode(304);

pub(super) fn get(node: &Node, head: &Head<'_>, key: &str, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let media = wanted_media(head)?;
    let key = check_key(key)?;
    scratch.value.clear();
    let Some(version) = node.get(key, &mut scratch.value) else {
        return Err(problem::no_key());
    };
    if let Some(reply) = check_conditions(head, version)? {
        return Ok(reply);
    }
    match media {
        // The bytes change places rather than being copied.
        Media::Octets => std::mem::swap(&mut scratch.value, &mut scratch.body),
        _ => push_entry(&mut scratch.body, key, &scratch.value, version),
    }
    Ok(Reply::new(OK, Body::Written(media)).version(version))
}

pub(super) fn head(node: &Node, head: &Head<'_>, key: &str) -> Result<Reply, Problem> {
    let media = wanted_media(head)?;
    let Some(meta) = node.peek(check_key(key)?) else {
        return Err(problem::no_key());
    };
    if let Some(reply) = check_conditions(head, meta.version)? {
        return Ok(reply);
    }
    let body = match media {
        Media::Octets => Body::Measured(media, meta.value_bytes as u64),
        _ => Body::Unmeasured(media),
    };
    Ok(Reply::new(OK, body)
        .version(meta.version)
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
    let [upsert] = target::parameters(head.query, ["upsert"])?;
    let mode = match target::flag("upsert", upsert.as_deref())? {
        true => Mode::Upsert,
        false => Mode::Update,
    };
    let key = check_key(key)?;
    let precondition = conditions::for_write(head.if_match, head.if_none_match)?;
    let value = match sent {
        Sent::Octets => Cow::Borrowed(body),
        Sent::Json => super::payload::value(body)?,
    };
    write(node, key, &value, mode, precondition, scratch)
}

pub(super) fn post(
    node: &Node,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let precondition = conditions::for_write(head.if_match, head.if_none_match)?;
    let (key, value) = super::payload::key_and_value(body)?;
    let reply = write(node, check_key(&key)?, &value, Mode::Add, precondition, scratch)?;
    Ok(reply.header("Location", &api::key_path(&key)))
}

fn write(
    node: &Node,
    key: Key<'_>,
    value: &[u8],
    mode: Mode,
    precondition: Precondition,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let written = node
        .put(key, value, mode, precondition)
        .map_err(|error| Problem::of_write(error, wants_present(precondition)))?;
    let body = &mut scratch.body;
    body.extend_from_slice(b"{\"key\":");
    push_json_string(body, key.as_str());
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, written.version);
    body.push(b'}');
    let status = if written.created { CREATED } else { OK };
    Ok(Reply::new(status, Body::Written(Media::Json))
        .version(written.version)
        .offset(written.version))
}

pub(super) fn delete(node: &Node, head: &Head<'_>, key: &str) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let key = check_key(key)?;
    let precondition = conditions::for_write(head.if_match, head.if_none_match)?;
    let offset = node
        .delete(key, precondition)
        .map_err(|error| Problem::of_write(error, wants_present(precondition)))?;
    Ok(Reply::new(NO_CONTENT, Body::None).offset(offset))
}

pub(super) fn list(node: &Node, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let [prefix, limit, cursor] = target::parameters(head.query, ["prefix", "limit", "cursor"])?;
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
    let page = node
        .list(prefix.as_deref().unwrap_or(""), cursor, limit)
        .map_err(|_| {
            Problem::new(
                problem::STALE_CURSOR,
                "the node was restarted; start the listing again",
            )
            .field("cursor")
        })?;
    let keys = api::Keys {
        keys: page.keys,
        cursor: page.next.map(Cursor::encode),
    };
    push_json(&mut scratch.body, &keys);
    Ok(Reply::new(OK, Body::Written(Media::Json)))
}

fn check_key(key: &str) -> Result<Key<'_>, Problem> {
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
    media::preferred(head.accept)
}

/// The answer to a read whose conditions say that there is nothing to send.
fn check_conditions(head: &Head<'_>, version: u64) -> Result<Option<Reply>, Problem> {
    match conditions::for_read(head.if_match, head.if_none_match, version)? {
        Read::Go => Ok(None),
        Read::NotModified => Ok(Some(Reply::new(NOT_MODIFIED, Body::None).version(version))),
        Read::Failed => Err(Problem::precondition_failed(version)),
    }
}

/// Whether a write asked for a key that is there: without one, it is its condition that fails.
fn wants_present(precondition: Precondition) -> bool {
    matches!(precondition, Precondition::Present | Precondition::Version(_))
}

fn push_entry(body: &mut Vec<u8>, key: Key<'_>, value: &[u8], version: u64) {
    let (text, encoding) = api::encode_value(value);
    body.reserve(key.as_str().len() + text.len() + 64);
    body.extend_from_slice(b"{\"key\":");
    push_json_string(body, key.as_str());
    body.extend_from_slice(b",\"value\":");
    push_json_string(body, &text);
    if let Some(encoding) = encoding {
        body.extend_from_slice(b",\"encoding\":");
        push_json(body, &encoding);
    }
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, version);
    body.push(b'}');
}
