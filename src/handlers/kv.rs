//! The handlers of one key, `/kv/{key}`: from a request to calls of the node and back.
//!
//! A handler writes the body of its answer into the connection's buffer and returns the rest as a
//! [`Reply`]. That of a write says which offset must be waited for; the connection does so, once for all
//! the requests it has in hand.

use super::body::{self, Payload};
use super::conditions::{self, Conditions, Fetch};
use super::connection_handle::{Aborted, overloaded};
use super::context::Scratch;
use super::deadline::{self, Clock};
use super::out::{Out, push_value};
use super::sink::{SINK_BYTES, SharedValue, Sink};
use super::stream::{Answer, DeferredHandler, LateResponse, Stream};
use crate::api;
use crate::http::media::{self, Sent};
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_decimal, push_json_string};
use crate::http::target;
use crate::key::{Key, KeyError};
use crate::node::{Found, Got, Mode, Precondition, WriteError, Written};
use crate::pair::{KEY_BYTES_MAX, Pair};
use crate::session::Session;
use std::borrow::Cow;
use tiny_http::{Method, StatusCode};

const OK: StatusCode = StatusCode(200);
const CREATED: StatusCode = StatusCode(201);
const NO_CONTENT: StatusCode = StatusCode(204);
const NOT_MODIFIED: StatusCode = StatusCode(304);

pub(crate) fn get<'a>(
    session: &Session<'a>,
    head: &Head<'_>,
    key: &str,
    scratch: &mut Scratch,
) -> Result<Answer<'a>, Problem> {
    let media = wanted_media(head)?;
    let key = check_key(key)?;
    scratch.value.clear();
    let (found, large_bytes) = match session
        .read(key, &mut scratch.value)
        .map_err(Problem::of_refused)?
    {
        None => return Err(problem::no_key()),
        Some(Got::Copied(found)) => (found, None),
        Some(Got::Large(meta)) => (meta.found, Some(meta.value_bytes)),
    };
    if let Some(reply) = check_conditions(head, found.version)? {
        return Ok(Answer::Now(reply));
    }
    if let Some(value_bytes) = large_bytes {
        return Ok(Answer::Later(large(
            session.clone(),
            Large {
                key: key.as_str().into(),
                media,
                value_bytes,
                version: found.version,
                is_conditional: !head.if_match.is_empty() || !head.if_none_match.is_empty(),
            },
        )));
    }
    match media {
        // The bytes change places rather than being copied.
        Media::Octets => std::mem::swap(&mut scratch.value, &mut scratch.body),
        _ => push_found(&mut scratch.body, session, key.as_str(), &scratch.value, found),
    }
    Ok(Answer::Now(found_reply(session, media, found)))
}

/// Appends the body of the answer to a read, as JSON.
pub(super) fn push_found(body: &mut Vec<u8>, clock: &impl Clock, key: &str, value: &[u8], found: Found) {
    let Ok(()) = push_entry(body, key, value, found, |body, deadline_ms| {
        deadline::push_members_and_ttl(body, clock, deadline_ms)
    });
}

/// The rest of it.
pub(super) fn found_reply(clock: &impl Clock, media: Media, found: Found) -> Reply {
    Reply::new(OK, Body::Written(media))
        .version(found.version)
        .expires_at(clock, found.deadline_ms)
}

/// A large value that was found, to be sent without a copy of it.
struct Large {
    key: Box<str>,
    media: Media,
    value_bytes: usize,
    version: u64,
    is_conditional: bool,
}

/// Sends a large value without a copy of it. Keeps it alive meanwhile, where there is room for it to be charged: it may
/// be deleted, and is then held by the answer alone.
fn large<'a>(session: Session<'a>, large: Large) -> DeferredHandler<'a> {
    Box::new(move |workspace| {
        let media = large.media;
        // Bytes are sent from where they are.
        let sink_bytes = if media == Media::Octets { 0 } else { SINK_BYTES };
        let mut value_bytes = large.value_bytes;
        let (kept, value_bytes, found) = loop {
            let is_charged = workspace.may_keep(value_bytes + sink_bytes);
            if !is_charged {
                workspace.hold(sink_bytes)?;
            }
            let pair = session
                .pair(check_key(&large.key)?)
                .map_err(Problem::of_refused)?;
            let (pair, found) = pair.ok_or_else(problem::no_key)?;
            let found_bytes = pair.value().len();
            if found_bytes <= value_bytes || !is_charged {
                break (is_charged.then_some(pair), found_bytes, found);
            }
            value_bytes = found_bytes;
        };
        // The condition was held against the version of before.
        if large.is_conditional && found.version != large.version {
            return Err(overloaded());
        }
        let body = match media {
            Media::Octets => Body::Measured(media, value_bytes as u64),
            _ => Body::Streamed(media),
        };
        Ok(LateResponse::Stream(Stream {
            head: Reply::new(OK, body)
                .version(found.version)
                .expires_at(&session, found.deadline_ms),
            holds: sink_bytes,
            is_endless: false,
            body: Box::new(move |sink| {
                if let Some(pair) = kept {
                    sink.keep(pair, Some(sink_bytes));
                }
                let shared = SharedValue {
                    value_bytes,
                    find: &|| find(&session, &large.key, found.version),
                };
                match media {
                    Media::Octets => sink.write_shared(&shared),
                    _ => push_shared_entry(sink, &large.key, &shared, found, |body, deadline_ms| {
                        deadline::push_members_and_ttl(body, &session, deadline_ms);
                    }),
                }
            }),
        }))
    })
}

/// A share of a value, as long as it is of that version.
pub(crate) fn find(session: &Session<'_>, key: &str, version: u64) -> Option<Pair> {
    let (pair, found) = session.pair(Key::new(key).ok()?).ok()??;
    (found.version == version).then_some(pair)
}

pub(crate) fn head(session: &Session<'_>, head: &Head<'_>, key: &str) -> Result<Reply, Problem> {
    let media = wanted_media(head)?;
    let meta = session.peek(check_key(key)?).map_err(Problem::of_refused)?;
    let Some(meta) = meta else {
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
        .expires_at(session, meta.found.deadline_ms)
        .header(api::HEADER_VALUE_BYTES, &meta.value_bytes.to_string()))
}

pub(crate) fn put(
    session: &Session<'_>,
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
            let detail = "with a JSON body, put `ttl` into the body";
            return Err(Problem::new(problem::BAD_QUERY, detail).field("ttl"));
        }
        Sent::Json => body::value(body)?,
    };
    write(session, key, &payload, mode, conditions.precondition(), scratch)
}

/// Refuses a write that fails whatever its body is, as things stand.
pub(crate) fn foresee(session: &Session<'_>, head: &Head<'_>, key: &str) -> Result<(), Problem> {
    let mode = match head.method {
        Method::Put => put_query(head)?.0,
        Method::Post => post_mode(head)?,
        // An increment may have an initial value.
        _ => Mode::Upsert,
    };
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let precondition = conditions.precondition();
    let meta = session.peek(key).map_err(Problem::of_refused)?;
    let version = meta.map(|meta| meta.found.version);
    let foreseen = match (mode, version) {
        (Mode::Update, None) => Err(WriteError::Missing),
        (Mode::Add, Some(version)) => Err(WriteError::Exists { version }),
        (_, version) => precondition.check(version),
    };
    foreseen.map_err(|error| not_put(error, precondition))
}

/// Why a value is not put.
fn not_put(error: WriteError, precondition: Precondition<'_>) -> Problem {
    match error {
        WriteError::Missing if !precondition.wants_present() => {
            Problem::new(problem::NO_KEY, "key not found; `?upsert=true` adds it")
        }
        error => Problem::of_write(error, precondition.wants_present()),
    }
}

/// What the query of a PUT says: how it is meant, and until when the value is kept.
pub(super) fn put_query<'a>(head: &Head<'a>) -> Result<(Mode, Option<Cow<'a, str>>), Problem> {
    let [upsert, ttl] = target::parameters(head.query, ["upsert", "ttl"])?;
    let mode = match target::flag("upsert", upsert.as_deref())? {
        true => Mode::Upsert,
        false => Mode::Update,
    };
    Ok((mode, ttl))
}

/// What the query of a POST says: nothing, as it only adds.
fn post_mode(head: &Head<'_>) -> Result<Mode, Problem> {
    let [] = target::parameters(head.query, [])?;
    Ok(Mode::Add)
}

/// Adds a key, as a POST of all keys does.
pub(crate) fn post(
    session: &Session<'_>,
    head: &Head<'_>,
    key: &str,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let mode = post_mode(head)?;
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let payload = body::value(body)?;
    write(session, key, &payload, mode, conditions.precondition(), scratch)
}

/// Puts a value, for `PUT` and `POST`.
pub(crate) fn write(
    session: &Session<'_>,
    key: Key<'_>,
    payload: &Payload<'_>,
    mode: Mode,
    precondition: Precondition<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let written = session
        .put(key, &payload.value, payload.deadline, mode, precondition)
        .map_err(Problem::of_refused)?
        .map_err(|error| not_put(error, precondition))?;
    Ok(written_reply(session, key, written, scratch))
}

pub(crate) fn written_reply(
    session: &Session<'_>,
    key: Key<'_>,
    written: Written,
    scratch: &mut Scratch,
) -> Reply {
    push_written_key(&mut scratch.body, key.as_str());
    written_rest(session, written, scratch)
}

/// Appends what the answer to a write begins with.
pub(crate) fn push_written_key(body: &mut Vec<u8>, key: &str) {
    body.extend_from_slice(b"{\"key\":");
    push_json_string(body, key);
}

/// The rest of such an answer.
pub(crate) fn written_rest(session: &Session<'_>, written: Written, scratch: &mut Scratch) -> Reply {
    rest_of_written(&mut scratch.body, session, written).offset(session.offset(written.version))
}

/// As [`written_rest`], of an engine without offsets.
pub(super) fn rest_of_written(body: &mut Vec<u8>, clock: &impl Clock, written: Written) -> Reply {
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, written.version);
    deadline::push_members_and_ttl(body, clock, written.deadline_ms);
    body.push(b'}');
    let status = if written.created { CREATED } else { OK };
    Reply::new(status, Body::Written(Media::Json))
        .version(written.version)
        .expires_at(clock, written.deadline_ms)
}

pub(crate) fn delete(session: &Session<'_>, head: &Head<'_>, key: &str) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let key = check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let precondition = conditions.precondition();
    let offset = session
        .delete(key, precondition)
        .map_err(Problem::of_refused)?
        .map_err(|error| Problem::of_write(error, precondition.wants_present()))?;
    Ok(Reply::new(NO_CONTENT, Body::None).offset(offset))
}

pub(crate) fn check_key(key: &str) -> Result<Key<'_>, Problem> {
    Key::new(key).map_err(|error| {
        let problem = Problem::new(problem::BAD_KEY, error.to_string()).field("key");
        match error {
            KeyError::Empty => problem,
            KeyError::TooLong(_) => problem.limit(KEY_BYTES_MAX as u64),
        }
    })
}

/// The form of a value that a read asks for: `?raw` says so whatever the client accepts.
pub(super) fn wanted_media(head: &Head<'_>) -> Result<Media, Problem> {
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
pub(crate) fn push_entry<O: Out>(
    out: &mut O,
    key: &str,
    value: &[u8],
    found: Found,
    push_deadline: impl FnOnce(&mut Vec<u8>, Option<u64>),
) -> Result<(), O::Error> {
    let body = out.buffer();
    body.reserve(key.len() + value.len().min(SINK_BYTES) + 128);
    push_key(body, key);
    push_value(out, value)?;
    push_rest(out.buffer(), found, push_deadline);
    out.settle()
}

/// As [`push_entry`], of a value that is not copied.
pub(crate) fn push_shared_entry(
    sink: &mut Sink<'_, '_>,
    key: &str,
    shared: &SharedValue<'_>,
    found: Found,
    push_deadline: impl FnOnce(&mut Vec<u8>, Option<u64>),
) -> Result<(), Aborted> {
    push_key(sink.buffer(), key);
    sink.push_shared(shared)?;
    push_rest(sink.buffer(), found, push_deadline);
    sink.settle()
}

fn push_key(body: &mut Vec<u8>, key: &str) {
    body.extend_from_slice(b"{\"key\":");
    push_json_string(body, key);
}

fn push_rest(body: &mut Vec<u8>, found: Found, push_deadline: impl FnOnce(&mut Vec<u8>, Option<u64>)) {
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, found.version);
    push_deadline(body, found.deadline_ms);
    body.push(b'}');
}
