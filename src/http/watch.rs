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

use super::deadline;
use super::line::{Cut, Line};
use super::media;
use super::problem::{self, Problem};
use super::request::Head;
use super::response::{Body, Media, Reply, push_decimal, push_json_string};
use super::sink::{Out, SINK_BYTES, Sink, push_value};
use super::stream::{Answer, Desk, Outcome, Stream};
use super::target;
use crate::api;
use crate::log::{BUFFER_BYTES, Feed, FeedError, LogId, Operation, Read, Role};
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

/// What is asked for.
#[derive(Debug)]
struct Question {
    prefix: String,
    /// None: from now on.
    after: Option<Place>,
    /// Where it was said.
    after_field: &'static str,
    with_values: bool,
}

/// A place in a log: an offset, and which log it is of where that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    log: Option<LogId>,
    offset: u64,
}

pub(super) fn watch<'a>(head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [prefix, after, wait, limit, values] =
        target::parameters(head.query, ["prefix", "after", "wait", "limit", "values"])?;
    let with_values = values.is_none() || target::flag("values", values.as_deref())?;
    let mut question = Question {
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
        return Ok(Answer::Later(Box::new(|desk| {
            events(desk.line, question).map(Outcome::Stream)
        })));
    }
    let limit = limit.map_or(Ok(api::WATCH_LIMIT_DEFAULT), |limit| {
        number(&limit, "limit", 1..=api::WATCH_LIMIT_MAX)
    })?;
    let mut wait = wait.map_or(Ok(api::WATCH_WAIT_DEFAULT), |wait| seconds(&wait))?;
    if head.method == Method::Head {
        wait = Duration::ZERO; // There is nothing to see in the end of the wait.
    }
    Ok(Answer::Later(Box::new(move |desk| {
        poll(desk, question, limit, wait)
    })))
}

fn poll<'a>(
    desk: &mut Desk<'a, '_>,
    question: Question,
    limit: usize,
    wait: Duration,
) -> Result<Outcome<'a>, Problem> {
    let line = desk.line;
    let deadline = Instant::now() + wait;
    let mut feed = question.feed(line)?;
    let unreadable = |error| question.problem(error, line.node().role());
    loop {
        desk.hold(feed_bytes(&feed))?;
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
                desk.hold(feed_bytes(&feed) + bytes)?;
            }
            match feed.peek_next().map_err(unreadable)? {
                Some(read) if question.is_asked_for(&read) => break Found::Change,
                Some(_) => drop(feed.next().map_err(unreadable)?),
                None => break Found::End,
            }
        };
        if matches!(found, Found::Change) {
            return Ok(Outcome::Stream(Stream {
                head: Reply::new(StatusCode(200), Body::Streamed(Media::Json)),
                holds: feed_bytes(&feed),
                is_endless: false,
                body: Box::new(move |sink| send_changes(sink, feed, &question, limit)),
            }));
        }
        let now = Instant::now();
        if now >= deadline || line.is_stopping() {
            break;
        }
        if matches!(found, Found::Nothing) {
            if line.has_gone() {
                break;
            }
            continue;
        }
        desk.charge.release();
        let grown = feed.wait(deadline.min(now + GONE_EVERY), || !line.is_stopping());
        if !grown && Instant::now() < deadline && line.has_gone() {
            break;
        }
    }
    let body = &mut desk.scratch.body;
    body.extend_from_slice(b"{\"changes\":[],\"next\":");
    push_decimal(body, feed.offset());
    push_log(body, line.node().log_id());
    body.push(b'}');
    Ok(Outcome::Reply(Reply::new(
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

/// What a feed and a sink take to give what comes next, in bytes, but for a record that is longer than a buffer.
fn feed_bytes(feed: &Feed<'_>) -> usize {
    let ahead = usize::try_from(feed.bytes_ahead()).unwrap_or(usize::MAX);
    // Each byte may come to six, and the fields of a change to more than its record has.
    ahead.min(BUFFER_BYTES) + ahead.saturating_mul(16).min(SINK_BYTES)
}

/// Sends changes from the first one that is asked for on, which the feed gives next.
fn send_changes(
    sink: &mut Sink<'_, '_>,
    mut feed: Feed<'_>,
    question: &Question,
    limit: usize,
) -> Result<(), Cut> {
    let stride_end = feed.offset() + STRIDE_BYTES;
    let (mut changes, mut value_bytes) = (0, 0);
    sink.buffer().extend_from_slice(b"{\"changes\":[");
    while changes < limit && value_bytes < ANSWER_BYTES && feed.offset() < stride_end {
        // What was found is given; the next poll meets what ended this one with nothing in hand.
        match hold_next(sink, &mut feed) {
            Ok(true) => {}
            Ok(false) => break,
            Err(Cut::Overloaded | Cut::Body(_)) if changes > 0 => break,
            Err(cut) => return Err(cut),
        }
        match feed.next() {
            Ok(Some(read)) => {
                if question.is_asked_for(&read) {
                    if changes > 0 {
                        sink.buffer().push(b',');
                    }
                    question.push_change(sink, &read)?;
                    changes += 1;
                    value_bytes += read.record.value.len();
                }
            }
            Ok(None) => break,
            Err(_) if changes > 0 => break,
            Err(error) => return Err(Cut::Body(error.to_string())),
        }
    }
    sink.buffer().extend_from_slice(b"],\"next\":");
    push_decimal(sink.buffer(), feed.offset());
    let log = sink.line().node().log_id();
    push_log(sink.buffer(), log);
    sink.buffer().push(b'}');
    Ok(())
}

/// Takes room for the next record; `false` where nothing more is written.
fn hold_next(sink: &mut Sink<'_, '_>, feed: &mut Feed<'_>) -> Result<bool, Cut> {
    let next_bytes = feed.next_bytes().map_err(|error| Cut::Body(error.to_string()))?;
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

fn events<'a>(line: Line<'a>, question: Question) -> Result<Stream<'a>, Problem> {
    let feed = question.feed(line)?;
    Ok(Stream {
        head: Reply::new(StatusCode(200), Body::Streamed(Media::Events)),
        holds: 0,
        is_endless: true,
        body: Box::new(move |sink| send_events(sink, feed, &question)),
    })
}

fn send_events(sink: &mut Sink<'_, '_>, mut feed: Feed<'_>, question: &Question) -> Result<(), Cut> {
    let line = sink.line();
    let log = line.node().log_id();
    let out = sink.buffer();
    out.extend_from_slice(format!("retry: {RETRY_MS}\n").as_bytes());
    // An id without data is no event. It tells a browser where to go on if it is cut off before the first.
    push_event_id(out, log, feed.offset());
    out.push(b'\n');
    sink.flush()?;
    loop {
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
                Ok(Some(read)) if question.is_asked_for(&read) => question.push_event(sink, log, &read)?,
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(error) => {
                    sink.flush()?;
                    return Err(Cut::Body(error.to_string()));
                }
            }
        };
        sink.flush()?;
        sink.give_back();
        if line.is_stopping() {
            return Ok(());
        }
        if more {
            if line.has_gone() {
                return Err(Cut::Client(std::io::ErrorKind::ConnectionAborted.into()));
            }
            continue;
        }
        // Nothing is held while nothing comes.
        feed.give_back();
        sink.hold(0)?;
        let grown = feed.wait(Instant::now() + HEARTBEAT_EVERY, || !line.is_stopping());
        if line.is_stopping() {
            return Ok(());
        }
        if !grown {
            if line.has_gone() {
                return Err(Cut::Client(std::io::ErrorKind::ConnectionAborted.into()));
            }
            let out = sink.buffer();
            out.extend_from_slice(b": nothing new\n");
            push_event_id(out, log, feed.offset());
            out.push(b'\n');
            sink.flush()?;
        }
    }
}

/// An id names the log too: a browser that connects anew sends it back, and another log refuses it.
fn push_event_id(out: &mut Vec<u8>, log: LogId, offset: u64) {
    out.extend_from_slice(format!("id: {log}-{offset}\n").as_bytes());
}

impl Question {
    fn feed<'a>(&self, line: Line<'a>) -> Result<Feed<'a>, Problem> {
        let node = line.node();
        if let Some(Place { log: Some(log), .. }) = self.after
            && log != node.log_id()
        {
            let why = format!(
                "the offset is of the log {log}, and this node's log is {}",
                node.log_id()
            );
            return Err(Problem::new(problem::OFFSET_GONE, why).field(self.after_field));
        }
        let after = self.after.map(|after| after.offset);
        let feed = node.feed(after);
        feed.map_err(|error| self.problem(error, node.role()))
    }

    fn is_asked_for(&self, read: &Read<'_>) -> bool {
        read.record.key.starts_with(self.prefix.as_bytes())
    }

    /// Appends one event, as <https://html.spec.whatwg.org/multipage/server-sent-events.html> has it. JSON has
    /// no line breaks of its own, so the data is one line.
    fn push_event<O: Out>(&self, out: &mut O, log: LogId, read: &Read<'_>) -> Result<(), O::Error> {
        let buffer = out.buffer();
        push_event_id(buffer, log, read.version);
        buffer.extend_from_slice(b"event: ");
        buffer.extend(
            read.record
                .operation
                .name()
                .bytes()
                .map(|byte| byte.to_ascii_lowercase()),
        );
        buffer.extend_from_slice(b"\ndata: ");
        self.push_change(out, read)?;
        out.buffer().extend_from_slice(b"\n\n");
        out.settle()
    }

    /// Appends a change, as [`api::Change`] has it.
    fn push_change<O: Out>(&self, out: &mut O, read: &Read<'_>) -> Result<(), O::Error> {
        let record = &read.record;
        let buffer = out.buffer();
        buffer.extend_from_slice(b"{\"operation\":");
        push_json_string(buffer, record.operation.name());
        buffer.extend_from_slice(b",\"key\":");
        // What a node took for a key is UTF-8.
        push_json_string(buffer, &String::from_utf8_lossy(record.key));
        if self.with_values && matches!(record.operation, Operation::Set | Operation::Update) {
            push_value(out, record.value)?;
        }
        let buffer = out.buffer();
        buffer.extend_from_slice(b",\"version\":");
        push_decimal(buffer, read.version);
        buffer.extend_from_slice(b",\"timestamp\":");
        push_decimal(buffer, record.timestamp_ms);
        deadline::push_members(buffer, record.deadline_ms);
        buffer.push(b'}');
        out.settle()
    }

    fn problem(&self, error: FeedError, role: Role) -> Problem {
        let detail = error.to_string();
        match error {
            // The primary may be that far.
            FeedError::Ahead { .. } if role == Role::Replica => Problem::new(problem::BEHIND, detail)
                .field(self.after_field)
                .retry_after(1),
            FeedError::Gone { oldest }
            | FeedError::Hole {
                goes_on_at: oldest, ..
            } => Problem::new(problem::OFFSET_GONE, detail).oldest(oldest),
            // No version of this history: it is of another one, or made up.
            FeedError::Ahead { .. } | FeedError::NotABoundary { .. } => {
                Problem::new(problem::OFFSET_GONE, detail).field(self.after_field)
            }
            FeedError::OtherRecord { .. } | FeedError::Log(_) => {
                log::error!("a watcher cannot go on: {detail}");
                Problem::new(problem::LOG_UNREADABLE, detail)
            }
        }
    }
}

/// Reads `OFFSET` or `LOG-OFFSET`.
fn place(text: &str, field: &'static str) -> Result<Place, Problem> {
    let Some((log, number)) = text.split_once('-').filter(|(log, _)| !log.is_empty()) else {
        let offset = offset(text, field)?;
        return Ok(Place { log: None, offset });
    };
    let log = LogId::from_hex(log).ok_or_else(|| {
        let why = "before the offset stands the id of a log, as `log` of an answer names it";
        Problem::new(problem::BAD_QUERY, why).field(field)
    })?;
    let offset = offset(number, field)?;
    Ok(Place {
        log: Some(log),
        offset,
    })
}

fn offset(text: &str, field: &'static str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let why = "the offset is a number, as `next` and `version` of a change are";
        Problem::new(problem::BAD_QUERY, why).field(field)
    })
}

fn number(text: &str, field: &'static str, range: std::ops::RangeInclusive<usize>) -> Result<usize, Problem> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            Problem::new(problem::BAD_QUERY, format!("it is a number from {min} to {max}"))
                .field(field)
                .limit(*max as u64)
        })
}

fn seconds(text: &str) -> Result<Duration, Problem> {
    let max = api::WATCH_WAIT_MAX.as_secs();
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=max as f64).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            Problem::new(
                problem::BAD_QUERY,
                format!("it is a number of seconds from 0 to {max}"),
            )
            .field("wait")
            .limit(max)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn numbers_are_read_strictly() {
        assert_eq!(offset("0", "after").unwrap(), 0);
        for wrong in ["", "-1", "+1", "1.0", "18446744073709551616", " 1", "0x1"] {
            assert!(offset(wrong, "after").is_err(), "{wrong:?}");
        }
        let log = LogId::from_hex("000102030405060708090a0b0c0d0e0f");
        let id = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(
            place(&format!("{id}-7"), "after").unwrap(),
            Place { log, offset: 7 }
        );
        assert_eq!(place("7", "after").unwrap(), Place { log: None, offset: 7 });
        for wrong in ["", "-7", "x-7", &format!("{id}-"), id, &format!("{id}-7-7")] {
            assert!(place(wrong, "after").is_err(), "{wrong:?}");
        }
        assert_eq!(seconds("0.25").unwrap(), Duration::from_millis(250));
        assert_eq!(seconds("300").unwrap(), Duration::from_secs(300));
        for wrong in ["", "-0.1", "300.1", "inf", "nan", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_event_is_three_fields_and_a_blank_line() {
        let question = Question {
            prefix: String::new(),
            after: None,
            after_field: "after",
            with_values: true,
        };
        let read = Read {
            offset: 0,
            version: 7,
            record: Record::new(Operation::Set, 1, b"a\nb", b"v\r\n"),
        };
        let mut out = Vec::new();
        let Ok(()) = question.push_event(&mut out, LogId::default(), &read);
        let expected = "id: 00000000000000000000000000000000-7\nevent: set\ndata: {\"operation\":\"SET\",\"key\":\"a\\nb\",\"value\":\"v\\r\\n\",\
                        \"version\":7,\"timestamp\":1}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// What is written member by member is what the description of the API has.
    #[test]
    fn a_change_is_read_as_what_it_was() {
        let question = Question {
            prefix: String::new(),
            after: None,
            after_field: "after",
            with_values: true,
        };
        let record = Record {
            deadline_ms: Some(1_700_000_000_123),
            ..Record::new(Operation::Update, 5, "ü".as_bytes(), b"\xff\0")
        };
        let mut out = Vec::new();
        let Ok(()) = question.push_change(
            &mut out,
            &Read {
                offset: 1,
                version: 9,
                record,
            },
        );
        let change: api::Change<'_> = serde_json::from_slice(&out).unwrap();
        assert_eq!((&*change.operation, &*change.key), ("UPDATE", "ü"));
        assert_eq!(change.value.as_deref(), Some("/wA="));
        assert_eq!(change.encoding, Some(api::Encoding::Base64));
        assert_eq!((change.version, change.timestamp), (9, 5));
        assert_eq!(change.expires_at_ms, Some(1_700_000_000_123));
        assert_eq!(change.expires_at.as_deref(), Some("2023-11-14T22:13:20.123Z"));
    }
}
