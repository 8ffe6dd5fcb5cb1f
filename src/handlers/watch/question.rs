//! What a watcher asks for, and a change as it is shown to one.

use crate::api;
use crate::handlers::deadline;
use crate::handlers::out::{Out, push_value};
use crate::http::problem::{self, Problem};
use crate::http::response::{push_decimal, push_json_string};
use crate::session::Session;
use crate::wal::{Feed, FeedError, LogId, Operation, Read, Role};
use std::time::Duration;

/// What is asked for.
pub(crate) struct Question<'a> {
    pub(crate) session: Session<'a>,
    pub(crate) prefix: String,
    /// None: from now on.
    pub(crate) after: Option<Place>,
    /// Where it was said.
    pub(crate) after_field: &'static str,
    pub(crate) with_values: bool,
    /// The log that the node had when it was asked.
    pub(crate) first_log: LogId,
}

/// A place in a log: an offset, and which log it is of where that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log: Option<LogId>,
    pub(crate) offset: u64,
}

impl<'a> Question<'a> {
    /// The log that offsets are of.
    pub(crate) fn log(&self) -> LogId {
        self.session.log_id().unwrap_or(self.first_log)
    }

    pub(crate) fn feed(&self) -> Result<Feed<'a>, Problem> {
        let session = &self.session;
        if let Some(Place { log: Some(log), .. }) = self.after
            && log != self.log()
        {
            let why = format!(
                "the offset is of the log {log}, and this node's log is {}",
                self.log()
            );
            return Err(Problem::new(problem::OFFSET_GONE, why).field(self.after_field));
        }
        let after = self.after.map(|after| after.offset);
        let feed = session.feed(&self.prefix, after).map_err(Problem::of_refused)?;
        feed.map_err(|error| self.problem(error))
    }

    pub(crate) fn is_asked_for(&self, read: &Read<'_>) -> bool {
        let key = read.record.key;
        key.starts_with(self.prefix.as_bytes()) && self.session.shows(key)
    }

    pub(crate) fn problem(&self, error: FeedError) -> Problem {
        let role = self.session.role();
        let detail = error.to_string();
        match error {
            // The primary may be that far.
            FeedError::Ahead { .. } if role == Some(Role::Replica) => Problem::new(problem::BEHIND, detail)
                .field(self.after_field)
                .retry_after(1),
            FeedError::Gone { oldest }
            | FeedError::Hole {
                next_offset: oldest, ..
            } => Problem::new(problem::OFFSET_GONE, detail).oldest(oldest),
            // No version of this history: it is of another one, or made up.
            FeedError::Ahead { .. } | FeedError::NotABoundary { .. } => {
                Problem::new(problem::OFFSET_GONE, detail).field(self.after_field)
            }
            FeedError::OtherRecord { .. } | FeedError::Log(_) => {
                log::error!("a watcher cannot continue: {detail}");
                Problem::new(problem::LOG_UNREADABLE, detail)
            }
        }
    }
}

/// Appends one event, as <https://html.spec.whatwg.org/multipage/server-sent-events.html> has it. JSON has
/// no line breaks of its own, so the data is one line.
pub(crate) fn push_event<O: Out>(
    out: &mut O,
    log: LogId,
    read: &Read<'_>,
    with_values: bool,
) -> Result<(), O::Error> {
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
    push_change(out, read, with_values)?;
    out.buffer().extend_from_slice(b"\n\n");
    out.settle()
}

/// Appends a change, as [`api::Change`] has it.
pub(crate) fn push_change<O: Out>(out: &mut O, read: &Read<'_>, with_values: bool) -> Result<(), O::Error> {
    let record = &read.record;
    let buffer = out.buffer();
    buffer.extend_from_slice(b"{\"operation\":");
    push_json_string(buffer, record.operation.name());
    buffer.extend_from_slice(b",\"key\":");
    // What a node took for a key is UTF-8.
    push_json_string(buffer, &String::from_utf8_lossy(record.key));
    if with_values && matches!(record.operation, Operation::Set | Operation::Update) {
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

/// Reads `OFFSET` or `LOG-OFFSET`.
pub(crate) fn place(text: &str, field: &'static str) -> Result<Place, Problem> {
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
        let why = "the offset must be a number: `next` of an answer, or `version` of a change";
        Problem::new(problem::BAD_QUERY, why).field(field)
    })
}

pub(crate) fn number(
    text: &str,
    field: &'static str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, Problem> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (min, max) = (range.start(), range.end());
            Problem::new(
                problem::BAD_QUERY,
                format!("must be a number from {min} to {max}"),
            )
            .field(field)
            .limit(*max as u64)
        })
}

pub(crate) fn seconds(text: &str) -> Result<Duration, Problem> {
    let max = api::WATCH_WAIT_MAX.as_secs();
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=max as f64).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            Problem::new(
                problem::BAD_QUERY,
                format!("it must be a number of seconds from 0 to {max}"),
            )
            .field("wait")
            .limit(max)
        })
}

/// An id names the log too: a browser that connects anew sends it back, and another log refuses it.
pub(crate) fn push_event_id(out: &mut Vec<u8>, log: LogId, offset: u64) {
    out.extend_from_slice(format!("id: {log}-{offset}\n").as_bytes());
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
        let read = Read {
            offset: 0,
            version: 7,
            record: Record::new(Operation::Set, 1, b"a\nb", b"v\r\n"),
        };
        let mut out = Vec::new();
        let Ok(()) = push_event(&mut out, LogId::default(), &read, true);
        let expected = "id: 00000000000000000000000000000000-7\nevent: set\ndata: {\"operation\":\"SET\",\"key\":\"a\\nb\",\"value\":\"v\\r\\n\",\
                        \"version\":7,\"timestamp\":1}\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// What is written member by member is what the description of the API has.
    #[test]
    fn a_change_is_read_as_what_it_was() {
        let record = Record {
            deadline_ms: Some(1_700_000_000_123),
            ..Record::new(Operation::Update, 5, "ü".as_bytes(), b"\xff\0")
        };
        let mut out = Vec::new();
        let Ok(()) = push_change(
            &mut out,
            &Read {
                offset: 1,
                version: 9,
                record,
            },
            true,
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
