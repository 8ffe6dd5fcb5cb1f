//! `GET /watch`: the changes after an offset, as a long poll or as server-sent events.
//!
//! Both read a [`Feed`] of the log, on the connection's own thread. A poll is answered as soon as there is a
//! change that it asks for, or when its time is up; it says where the next one is to go on, which is behind
//! everything that was looked at. A stream of events says so with every event, and every
//! [`HEARTBEAT_EVERY`] when there is none, so that whoever is cut off can go on where they were.
//!
//! # What must hold
//! - Over all answers, each change is given once, in the order of the log: `next`, or the last `id`, is just
//!   behind the last change that was given, or looked at and not asked for.
//! - An answer is bounded: by number, by the bytes of its values, and by the bytes of the log that are looked
//!   at for it.

mod question;

use super::connection_handle::Aborted;
use super::out::Out;
use super::sink::{SINK_BYTES, Sink};
use super::stream::{Answer, LateResponse, Stream, Workspace};
use crate::api;
use crate::engine::EngineError;
use crate::http::media;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_decimal, push_json_string};
use crate::http::target;
use crate::session::Session;
use crate::wal::{BUFFER_BYTES, Feed, LogId};
pub(super) use question::push_change;
use question::{Question, number, place, push_event, push_event_id, seconds};
use std::borrow::Cow;
use std::time::{Duration, Instant};
use tiny_http::{Method, StatusCode};

/// An answer takes no further change once its values have so many bytes.
const ANSWER_BYTES: usize = 1 << 20;

/// How far is read, in bytes of the log, before a watcher looks at its clock and whether it is to stop.
const STRIDE_BYTES: u64 = 8 << 20;

/// How often a stream without events says that it is there.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// How often it is looked whether the client of a poll that waits is still there.
const GONE_EVERY: Duration = Duration::from_secs(5);

/// How long a browser waits before it connects anew, in ms.
const RETRY_MS: u64 = 1000;

pub(crate) fn watch<'a>(session: Session<'a>, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [prefix, after, wait, limit, values] =
        target::parameters(head.query, ["prefix", "after", "wait", "limit", "values"])?;
    let with_values = values.is_none() || target::flag("values", values.as_deref())?;
    let first_log = session
        .log_id()
        .ok_or_else(|| Problem::of_engine(EngineError::NoOrder))?;
    let mut question = Question {
        session,
        first_log,
        prefix: prefix.map(Cow::into_owned).unwrap_or_default(),
        after: after.map(|after| place(&after, "after")).transpose()?,
        after_field: "after",
        with_values,
    };
    if media::prefers_events(&head.accept)? {
        for (name, value) in [("wait", wait), ("limit", limit)] {
            if value.is_some() {
                let why = "a stream of events has neither an end nor a number of them";
                return Err(Problem::new(problem::BAD_QUERY, why).field(name));
            }
        }
        // A browser that connects anew asks with the query of the first time, and this.
        if let Some(last) = head.last_event_id.filter(|last| !last.is_empty()) {
            question.after_field = "Last-Event-ID";
            let last = std::str::from_utf8(last).unwrap_or_default();
            question.after = Some(place(last, question.after_field)?);
        }
        return Ok(Answer::Later(Box::new(|_| {
            events(question).map(LateResponse::Stream)
        })));
    }
    let limit = limit.map_or(Ok(api::WATCH_LIMIT_DEFAULT), |limit| {
        number(&limit, "limit", 1..=api::WATCH_LIMIT_MAX)
    })?;
    let mut wait = wait.map_or(Ok(api::WATCH_WAIT_DEFAULT), |wait| seconds(&wait))?;
    if head.method == Method::Head {
        wait = Duration::ZERO; // There is nothing to see in the end of the wait.
    }
    Ok(Answer::Later(Box::new(move |workspace| {
        poll(workspace, question, limit, wait)
    })))
}

fn poll<'a>(
    workspace: &mut Workspace<'a, '_>,
    question: Question<'a>,
    limit: usize,
    wait: Duration,
) -> Result<LateResponse<'a>, Problem> {
    let connection = workspace.connection;
    let deadline = Instant::now() + wait;
    let mut feed = question.feed()?;
    let unreadable = |error| question.problem(error);
    loop {
        let time_left = question.session.time_left().map_err(Problem::of_denied)?;
        workspace.hold(feed_bytes(&feed))?;
        let stride_end = feed.offset() + STRIDE_BYTES;
        let found = loop {
            if feed.offset() >= stride_end {
                break Found::Nothing;
            }
            let Some(bytes) = feed.next_bytes().map_err(unreadable)? else {
                break Found::End;
            };
            if bytes > BUFFER_BYTES {
                feed.give_back();
                workspace.hold(feed_bytes(&feed) + bytes)?;
            }
            match feed.peek_next().map_err(unreadable)? {
                Some(read) if question.is_asked_for(&read) => break Found::Change,
                Some(_) => drop(feed.next().map_err(unreadable)?),
                None => break Found::End,
            }
        };
        if matches!(found, Found::Change) {
            return Ok(LateResponse::Stream(Stream {
                head: Reply::new(StatusCode(200), Body::Streamed(Media::Json)),
                holds: feed_bytes(&feed),
                is_endless: false,
                body: Box::new(move |sink| send_changes(sink, feed, &question, limit)),
            }));
        }
        let now = Instant::now();
        if now >= deadline || connection.is_stopping() {
            break;
        }
        if matches!(found, Found::Nothing) {
            if connection.has_gone() {
                break;
            }
            continue;
        }
        workspace.charge.release();
        let turn = time_left.map_or(GONE_EVERY, |left| left.min(GONE_EVERY));
        let grown = feed.wait(deadline.min(now + turn), || !connection.is_stopping());
        if !grown && Instant::now() < deadline && connection.has_gone() {
            break;
        }
    }
    let body = &mut workspace.scratch.body;
    body.extend_from_slice(b"{\"changes\":[],\"next\":");
    push_decimal(body, feed.offset());
    push_log(body, question.log());
    body.push(b'}');
    Ok(LateResponse::Reply(Reply::new(
        StatusCode(200),
        Body::Written(Media::Json),
    )))
}

/// Appends which log `next` is an offset of.
fn push_log(out: &mut Vec<u8>, log: LogId) {
    out.extend_from_slice(b",\"log\":");
    push_json_string(out, &log.to_string());
}

/// What a look at the log has come to.
enum Found {
    /// A change that is asked for, which the feed gives next.
    Change,
    /// Nothing so far.
    Nothing,
    /// Nothing, and nothing more is written.
    End,
}

/// The buffers of a feed and a sink for the next record, in bytes. A record longer than a buffer takes more.
fn feed_bytes(feed: &Feed<'_>) -> usize {
    let ahead = usize::try_from(feed.bytes_ahead()).unwrap_or(usize::MAX);
    // Each byte may come to six, and the fields of a change to more than its record has.
    ahead.min(BUFFER_BYTES) + ahead.saturating_mul(16).min(SINK_BYTES)
}

/// Sends changes from the first one that is asked for on, which the feed gives next.
fn send_changes(
    sink: &mut Sink<'_, '_>,
    mut feed: Feed<'_>,
    question: &Question<'_>,
    limit: usize,
) -> Result<(), Aborted> {
    let stride_end = feed.offset() + STRIDE_BYTES;
    let (mut changes, mut value_bytes) = (0, 0);
    sink.buffer().extend_from_slice(b"{\"changes\":[");
    while changes < limit && value_bytes < ANSWER_BYTES && feed.offset() < stride_end {
        // What was found is given; the next poll meets what ended this one with nothing in hand.
        match hold_next(sink, &mut feed) {
            Ok(true) => {}
            Ok(false) => break,
            Err(Aborted::Overloaded | Aborted::Body(_)) if changes > 0 => break,
            Err(cut) => return Err(cut),
        }
        match feed.next() {
            Ok(Some(read)) => {
                if question.is_asked_for(&read) {
                    if changes > 0 {
                        sink.buffer().push(b',');
                    }
                    push_change(sink, &read, question.with_values)?;
                    changes += 1;
                    value_bytes += read.record.value.len();
                }
            }
            Ok(None) => break,
            Err(_) if changes > 0 => break,
            Err(error) => return Err(Aborted::Body(error.to_string())),
        }
    }
    sink.buffer().extend_from_slice(b"],\"next\":");
    push_decimal(sink.buffer(), feed.offset());
    let log = question.log();
    push_log(sink.buffer(), log);
    sink.buffer().push(b'}');
    Ok(())
}

/// Takes room for the next record; `false` where nothing more is written.
fn hold_next(sink: &mut Sink<'_, '_>, feed: &mut Feed<'_>) -> Result<bool, Aborted> {
    let next_bytes = feed
        .next_bytes()
        .map_err(|error| Aborted::Body(error.to_string()))?;
    let Some(bytes) = next_bytes else {
        return Ok(false);
    };
    if bytes > BUFFER_BYTES {
        feed.give_back();
        sink.hold(BUFFER_BYTES + SINK_BYTES + bytes)?;
    } else {
        sink.lower_to(BUFFER_BYTES + SINK_BYTES);
    }
    Ok(true)
}

fn events(question: Question<'_>) -> Result<Stream<'_>, Problem> {
    let feed = question.feed()?;
    Ok(Stream {
        head: Reply::new(StatusCode(200), Body::Streamed(Media::Events)),
        holds: 0,
        is_endless: true,
        body: Box::new(move |sink| send_events(sink, feed, &question)),
    })
}

fn send_events(sink: &mut Sink<'_, '_>, mut feed: Feed<'_>, question: &Question<'_>) -> Result<(), Aborted> {
    let connection = sink.connection();
    let log = question.log();
    let out = sink.buffer();
    out.extend_from_slice(format!("retry: {RETRY_MS}\n").as_bytes());
    // An id without data is no event. It tells a browser where to go on if it is cut off before the first.
    push_event_id(out, log, feed.offset());
    out.push(b'\n');
    sink.flush()?;
    loop {
        // A client whose token has ended meanwhile sees no further event. Its next request is refused.
        let Ok(time_left) = question.session.time_left() else {
            return Ok(());
        };
        sink.hold(feed_bytes(&feed))?;
        let stride_end = feed.offset() + STRIDE_BYTES;
        let more = loop {
            if feed.offset() >= stride_end {
                break true;
            }
            if !hold_next(sink, &mut feed)? {
                break false;
            }
            match feed.next() {
                Ok(Some(read)) if question.is_asked_for(&read) => {
                    push_event(sink, log, &read, question.with_values)?
                }
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(error) => {
                    sink.flush()?;
                    return Err(Aborted::Body(error.to_string()));
                }
            }
        };
        sink.flush()?;
        sink.give_back();
        if connection.is_stopping() {
            return Ok(());
        }
        if more {
            if connection.has_gone() {
                return Err(Aborted::Client(std::io::ErrorKind::ConnectionAborted.into()));
            }
            continue;
        }
        // Nothing is held while nothing comes.
        feed.give_back();
        sink.hold(0)?;
        let wait = time_left.map_or(HEARTBEAT_EVERY, |left| left.min(HEARTBEAT_EVERY));
        let grown = feed.wait(Instant::now() + wait, || !connection.is_stopping());
        if connection.is_stopping() {
            return Ok(());
        }
        if !grown {
            if connection.has_gone() {
                return Err(Aborted::Client(std::io::ErrorKind::ConnectionAborted.into()));
            }
            let out = sink.buffer();
            out.extend_from_slice(b": nothing new\n");
            push_event_id(out, log, feed.offset());
            out.push(b'\n');
            sink.flush()?;
        }
    }
}
