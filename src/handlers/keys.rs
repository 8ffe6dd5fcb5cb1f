//! The handlers of all keys, `/kv/`: adding one, listing, and deleting what begins alike.

use super::body;
use super::conditions::Conditions;
use super::connection_handle::Aborted;
use super::context::Scratch;
use super::deadline;
use super::glob::Glob;
use super::kv;
use super::level;
use super::out::Out;
use super::sink::{SINK_BYTES, SharedValue, Sink};
use super::stream::{Answer, LateResponse, Stream};
use crate::api;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_json, push_json_string};
use crate::http::target;
use crate::node::{Ahead, CursorError, Found, LISTER_BYTES, Mode, Question};
use crate::pair::Pair;
use crate::session::{Cursor, DeletionError, Lister, Session};
use std::borrow::Cow;
use std::io;
use tiny_http::StatusCode;

const OK: StatusCode = StatusCode(200);

/// Values, in bytes, from which on a page has no room for more.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Keys that a page passes over, as they do not match, before it ends with what it has. The next one continues.
const PASSED_OVER_MAX: usize = 100_000;

/// Comparisons of characters that a page makes with a pattern, after which it ends in the same way: some 20 ms.
const MATCH_STEPS_MAX: u64 = 4_000_000;

/// What a listing holds beside a large value, in bytes.
const LIST_BYTES: usize = SINK_BYTES + LISTER_BYTES;

/// Looks without a find, of a few hundred slots each, after which it is looked whether the client is still there.
const GONE_EVERY_LOOKS: u64 = 256;

pub(crate) fn post(
    session: &Session<'_>,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let conditions = Conditions::of_write(head)?;
    let (key, payload) = body::key_and_value(body)?;
    let reply = kv::write(
        session,
        kv::check_key(&key)?,
        &payload,
        Mode::Add,
        conditions.precondition(),
        scratch,
    )?;
    let location = api::relative_key_path(&key);
    // It is relative to the path of the request, which may lack the slash.
    let location = match head.path.ends_with('/') {
        true => location,
        false => location.replacen("./", "./kv/", 1),
    };
    Ok(reply.header("Location", &location))
}

pub(crate) fn list<'a>(session: Session<'a>, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let names = [
        "prefix",
        "limit",
        "cursor",
        "values",
        "match",
        "details",
        "order",
        "delimiter",
        "after",
    ];
    let [
        prefix,
        limit,
        cursor,
        values,
        pattern,
        details,
        order,
        delimiter,
        after,
    ] = target::parameters(head.query, names)?;
    let prefix = prefix.map(Cow::into_owned).unwrap_or_default();
    let with_values = target::flag("values", values.as_deref())?;
    let with_details = target::flag("details", details.as_deref())?;
    if with_values && with_details {
        let why = "cannot be combined with `values`, which include the details";
        return Err(Problem::new(problem::BAD_QUERY, why).field("details"));
    }
    let limit = list_limit(limit.as_deref())?;
    let is_by_name = level::is_by_name(order.as_deref())?;
    if is_by_name || delimiter.is_some() || after.is_some() {
        if !session.orders_keys() {
            let why = "an engine has no order of keys: leave out `order`, `delimiter` and `after`, and follow `cursor`";
            return Err(Problem::new(problem::NOT_OF_ENGINE, why));
        }
        by_name_alone(cursor.is_some(), with_values, pattern.is_some())?;
        let (delimiter, after) = (delimiter.map(Cow::into_owned), after.map(Cow::into_owned));
        return level::list(session, prefix, delimiter, after, limit);
    }
    let pattern = pattern.map(Cow::into_owned).unwrap_or_default();
    let glob = (!pattern.is_empty())
        .then(|| Glob::parse(&pattern))
        .transpose()
        .map_err(|why| Problem::new(problem::BAD_QUERY, why).field("match"))?;
    let cursor = cursor
        .map(|cursor| decode_cursor(&session, &cursor))
        .transpose()?;
    Ok(Answer::Later(Box::new(move |_| {
        let question = Question {
            prefix: &prefix,
            pattern: &pattern,
            pattern_head: glob.as_ref().map_or("", Glob::head),
            within: None,
            is_by_name: false,
        };
        // An engine has the details of an entry beside its value.
        let reads_values = with_values || (with_details && !session.orders_keys());
        let lister = session
            .lister(question, cursor, reads_values)
            .map_err(Problem::of_denied)?;
        let lister = lister.map_err(of_cursor)?;
        Ok(LateResponse::Stream(Stream {
            head: Reply::new(OK, Body::Streamed(Media::Json)),
            holds: LIST_BYTES,
            is_endless: false,
            body: Box::new(move |sink| {
                let page = Page {
                    limit,
                    with_values,
                    with_details,
                    glob,
                };
                send_list(sink, &session, lister, &page)
            }),
        }))
    })))
}

/// Refuses what a listing in the order of names does not take.
fn by_name_alone(has_cursor: bool, with_values: bool, has_pattern: bool) -> Result<(), Problem> {
    let given = [
        ("cursor", has_cursor),
        ("values", with_values),
        ("match", has_pattern),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((field, _)) => {
            let why = "cannot be combined with `order`, `delimiter` or `after`";
            Err(Problem::new(problem::BAD_QUERY, why).field(field))
        }
    }
}

fn list_limit(limit: Option<&str>) -> Result<usize, Problem> {
    let Some(limit) = limit else {
        return Ok(api::LIST_LIMIT_DEFAULT);
    };
    let max = api::LIST_LIMIT_MAX;
    let number = limit.parse().ok().filter(|limit| (1..=max).contains(limit));
    number.ok_or_else(|| {
        Problem::new(problem::BAD_QUERY, format!("must be a number from 1 to {max}"))
            .field("limit")
            .limit(max as u64)
    })
}

fn of_cursor(error: CursorError) -> Problem {
    let (kind, detail) = match error {
        CursorError::Stale => (
            problem::STALE_CURSOR,
            "the cursor is of another node, or of this one before it was started again; start the listing again",
        ),
        CursorError::OtherQuestion => (
            problem::BAD_QUERY,
            "the cursor belongs to a listing with another `prefix` or `match`",
        ),
    };
    Problem::new(kind, detail).field("cursor")
}

fn decode_cursor(session: &Session<'_>, cursor: &str) -> Result<Cursor, Problem> {
    session.cursor(cursor).ok_or_else(|| {
        let why = "invalid cursor: it is not one that this node gave";
        Problem::new(problem::BAD_QUERY, why).field("cursor")
    })
}

/// What a page of a listing is to have.
struct Page {
    limit: usize,
    with_values: bool,
    /// With version, size and deadline of each key.
    with_details: bool,
    /// What its keys look like.
    glob: Option<Glob>,
}

/// Sends a page: as many entries as are asked for, or as many as have values of so many bytes.
fn send_list(
    sink: &mut Sink<'_, '_>,
    session: &Session<'_>,
    mut lister: Lister<'_>,
    page: &Page,
) -> Result<(), Aborted> {
    let &Page {
        limit, with_values, ..
    } = page;
    let name: &[u8] = match (with_values, page.with_details) {
        (true, _) => b"{\"entries\":[",
        (false, true) => b"{\"items\":[",
        (false, false) => b"{\"keys\":[",
    };
    sink.buffer().extend_from_slice(name);
    let (mut items, mut value_bytes, mut empty_looks, mut large_bytes) = (0, 0, 0, 0);
    let (mut passed_over, mut steps) = (0, 0);
    let next = loop {
        let has_searched = passed_over >= PASSED_OVER_MAX || steps >= MATCH_STEPS_MAX;
        let is_long = items >= limit || value_bytes >= PAGE_BYTES_MAX || has_searched;
        let ahead = lister.look(large_bytes);
        match ahead.map_err(|error| Aborted::Unacknowledged(Problem::of_engine(error)))? {
            Ahead::End => break None,
            // The look itself may have found more than a cursor has room for.
            Ahead::Entry | Ahead::Large(_) if is_long && lister.may_pause() => break lister.cursor(),
            Ahead::Nothing => {
                empty_looks += 1;
                if empty_looks % GONE_EVERY_LOOKS == 0 && sink.connection().has_gone() {
                    return Err(Aborted::Client(io::ErrorKind::ConnectionAborted.into()));
                }
            }
            Ahead::Large(bytes) => large_bytes = bytes,
            Ahead::Entry => {
                let Some(listed) = lister.next() else { break None };
                let key = String::from_utf8_lossy(listed.key);
                if page
                    .glob
                    .as_ref()
                    .is_some_and(|glob| !glob.matches(&key, &mut steps))
                {
                    passed_over += 1;
                    large_bytes = 0;
                    continue;
                }
                if items > 0 {
                    sink.buffer().push(b',');
                }
                items += 1;
                value_bytes += listed.value.len();
                if page.with_details {
                    large_bytes = 0;
                    let item = level::item(&key, listed.value_bytes, listed.found);
                    push_json(sink.buffer(), &item);
                } else if large_bytes > 0 {
                    large_bytes = 0;
                    let entry = LargeEntry {
                        key: key.into_owned(),
                        found: listed.found,
                        value_bytes: listed.value.len(),
                        pair: listed.shared,
                    };
                    lister.give_back();
                    send_large(sink, session, entry)?;
                } else if with_values {
                    kv::push_entry(sink, &key, listed.value, listed.found, deadline::push_members)?;
                } else {
                    push_json_string(sink.buffer(), &key);
                }
                sink.settle()?;
            }
        }
    };
    sink.buffer().extend_from_slice(b"],\"cursor\":");
    push_json(sink.buffer(), &next.map(Cursor::encode));
    sink.buffer().push(b'}');
    Ok(())
}

/// An entry with a large value, of a listing.
struct LargeEntry {
    key: String,
    found: Found,
    value_bytes: usize,
    pair: Option<Pair>,
}

/// Sends one as [`kv::get`] does: charged where there is room for it, piece by piece where there is none.
fn send_large(sink: &mut Sink<'_, '_>, session: &Session<'_>, entry: LargeEntry) -> Result<(), Aborted> {
    let LargeEntry {
        key,
        found,
        value_bytes,
        pair,
    } = entry;
    if let Some(pair) = pair {
        let is_charged = sink.may_keep(LIST_BYTES + value_bytes);
        sink.keep(pair, is_charged.then_some(LIST_BYTES));
    }
    let shared = SharedValue {
        value_bytes,
        find: &|| kv::find(session, &key, found.version),
    };
    kv::push_shared_entry(sink, &key, &shared, found, deadline::push_members)?;
    sink.lower_to(LIST_BYTES);
    Ok(())
}

/// Deletes all keys under a prefix, or says how many that would be.
pub(crate) fn delete(
    session: &Session<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [prefix, dry_run] = target::parameters(head.query, ["prefix", "dry_run"])?;
    let is_dry_run = target::flag("dry_run", dry_run.as_deref())?;
    let Some(prefix) = prefix else {
        let detail = "give a `prefix`; `prefix=` with nothing after it means all keys";
        return Err(Problem::new(problem::BAD_QUERY, detail).field("prefix"));
    };
    if !head.if_match.is_empty() || !head.if_none_match.is_empty() {
        let detail = "a precondition is for one key, not for a prefix";
        return Err(Problem::new(problem::BAD_PRECONDITION, detail));
    }
    if is_bare(head.query, "prefix") {
        let detail = "give a `prefix`; `prefix=`, with the sign and nothing after it, means all keys";
        return Err(Problem::new(problem::BAD_QUERY, detail).field("prefix"));
    }
    let mut answer = api::Deleted::default();
    let mut offset = None;
    if is_dry_run {
        answer.would_delete = Some(session.count_prefix(&prefix).map_err(Problem::of_refused)?);
    } else {
        let swept = session
            .delete_prefix(&prefix)
            .map_err(Problem::of_denied)?
            .map_err(|(keys, error)| match error {
                DeletionError::Node(refusal) => Problem::of_refusal(&refusal).deleted(keys),
                DeletionError::Engine(error) => Problem::of_engine(error).deleted(keys),
            })?;
        answer.deleted = swept.keys;
        offset = swept.offset;
    }
    push_json(&mut scratch.body, &answer);
    let mut reply = Reply::new(OK, Body::Written(Media::Json));
    reply.offset = offset;
    Ok(reply)
}

/// Whether a parameter stands in a query without a `=`: a flag, where a value was to be.
fn is_bare(query: Option<&str>, name: &str) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == name))
}
