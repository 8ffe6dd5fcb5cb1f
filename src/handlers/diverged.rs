//! `GET /diverged`: what the node had to set aside when its history parted from that of its primary.
//!
//! Without a `file` it names the files. With one it shows the changes in it, as a watcher is shown them. The node sends
//! nothing of it again by itself: whoever looks at it decides that.

use super::connection_handle::Aborted;
use super::out::Out;
use super::sink::{SINK_BYTES, Sink};
use super::status::json;
use super::stream::{Answer, LateResponse, Stream};
use super::watch::push_change;
use crate::api;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_json};
use crate::http::target;
use crate::node::Node;
use crate::wal::{self, Operation, Reader};
use tiny_http::StatusCode;

/// Most changes in an answer.
const CHANGES_MAX: usize = 1000;

/// An answer takes no further change once its values have so many bytes.
const ANSWER_BYTES: usize = 4 << 20;

pub(crate) fn get<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [file, after] = target::parameters(head.query, ["file", "after"])?;
    let after = after.map_or(Ok(0), |after| {
        after
            .parse::<u64>()
            .map_err(|_| Problem::new(problem::BAD_QUERY, "must be an offset").field("after"))
    })?;
    let file = file.map(|file| file.into_owned());
    Ok(Answer::Later(Box::new(move |workspace| {
        let dir = node.status().dir;
        let files = wal::diverged(&dir).map_err(|error| unreadable(&error.to_string()))?;
        let Some(file) = file else {
            let files = files
                .into_iter()
                .map(|(name, bytes)| api::DivergedFile { name, bytes });
            let body = api::DivergedFiles {
                files: files.collect(),
            };
            return Ok(LateResponse::Reply(json(workspace.scratch, &body)));
        };
        // What is opened is one of those that are there, whatever was asked for.
        if !files.iter().any(|(name, _)| *name == file) {
            return Err(Problem::new(problem::NO_PATH, "no such file was set aside").field("file"));
        }
        let reader = Reader::open(&dir.join(file)).map_err(|error| unreadable(&error.to_string()))?;
        Ok(LateResponse::Stream(Stream {
            head: Reply::new(StatusCode(200), Body::Streamed(Media::Json)),
            holds: SINK_BYTES + ANSWER_BYTES / 2 + 2 * node.value_bytes_max(),
            is_endless: false,
            body: Box::new(move |sink| send(sink, reader, after)),
        }))
    })))
}

fn unreadable(why: &str) -> Problem {
    Problem::new(problem::LOG_UNREADABLE, why.to_owned())
}

/// Sends the changes behind an offset, up to the most that an answer has.
fn send(sink: &mut Sink<'_, '_>, mut reader: Reader, after: u64) -> Result<(), Aborted> {
    let damaged = |error: wal::Error| Aborted::Body(error.to_string());
    let fork = reader.offset();
    let log = reader.log_id().to_string();
    let (mut changes, mut bytes, mut last) = (0, 0, None);
    sink.buffer().extend_from_slice(b"{\"changes\":[");
    let mut next = None;
    while let Some(read) = reader.next().map_err(damaged)? {
        use Operation::{Delete, Evict, Expire, Set, Update};
        let is_change = matches!(read.record.operation, Set | Update | Delete | Evict | Expire);
        if read.version <= after || !is_change {
            continue;
        }
        if changes == CHANGES_MAX || bytes >= ANSWER_BYTES {
            next = last;
            break;
        }
        if changes > 0 {
            sink.buffer().push(b',');
        }
        push_change(sink, &read, true)?;
        sink.settle()?;
        changes += 1;
        bytes += read.record.value.len();
        last = Some(read.version);
    }
    sink.buffer().extend_from_slice(b"],\"fork\":");
    push_json(sink.buffer(), &fork);
    sink.buffer().extend_from_slice(b",\"log\":");
    push_json(sink.buffer(), &log);
    sink.buffer().extend_from_slice(b",\"next\":");
    push_json(sink.buffer(), &next);
    sink.buffer().push(b'}');
    Ok(())
}
