//! `POST /compact`, and how compactions are shown.

use super::connection_handle::ConnectionHandle;
use super::context::Scratch;
use super::stream::{Answer, LateResponse};
use crate::api;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_json};
use crate::http::target;
use crate::node::Node;
use crate::wal::{CompactionStatus, Finished};
use std::time::{Duration, Instant};
use tiny_http::StatusCode;

/// Where a compaction can be followed: `/status`, relative to `/compact`, since a proxy may show both below a path.
const LOCATION: &str = "./status";

/// How often it is looked whether a client that waits is still there.
const GONE_EVERY: Duration = Duration::from_secs(5);

pub(crate) fn post<'a>(
    node: &'a Node,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Answer<'a>, Problem> {
    let [wait] = target::parameters(head.query, ["wait"])?;
    if target::flag("wait", wait.as_deref())? {
        return Ok(Answer::Later(Box::new(move |workspace| {
            finish(node, workspace.connection, &mut workspace.scratch.body).map(LateResponse::Reply)
        })));
    }
    let job = node.compact();
    push_json(&mut scratch.body, &api::CompactionJob { job });
    let reply = Reply::new(StatusCode(202), Body::Written(Media::Json));
    Ok(Answer::Now(reply.header("Location", LOCATION)))
}

fn finish(node: &Node, connection: ConnectionHandle<'_>, body: &mut Vec<u8>) -> Result<Reply, Problem> {
    let job = node.compact();
    loop {
        let look = Instant::now() + GONE_EVERY;
        if let Some(finished) = node.wait_compaction(job, look, || !connection.is_stopping()) {
            let result = api::CompactionResult::from(finished);
            if let Some(error) = result.error {
                return Err(Problem::new(problem::NOT_COMPACTED, error).retry_after(1));
            }
            push_json(body, &result);
            return Ok(Reply::new(StatusCode(200), Body::Written(Media::Json)));
        }
        if connection.is_stopping() || connection.has_gone() {
            return Err(Problem::new(problem::NOT_READY, "the node is stopping"));
        }
    }
}

/// As `/status` shows it.
pub(crate) fn status(status: CompactionStatus) -> api::Compaction {
    api::Compaction {
        running: status.running.map(|running| api::CompactionProgress {
            job: running.job,
            cause: running.cause.name().to_owned(),
            seconds: running.started.elapsed().as_secs_f64(),
            entries: running.entries,
            entries_total: running.entries_total,
            bytes: running.bytes,
        }),
        last: status.last.map(api::CompactionResult::from),
    }
}

impl From<Finished> for api::CompactionResult {
    fn from(finished: Finished) -> api::CompactionResult {
        let done = finished.result.as_ref().ok();
        api::CompactionResult {
            job: finished.job,
            cause: finished.cause.name().to_owned(),
            seconds: finished.took.as_secs_f64(),
            offset: done.map(|done| done.offset),
            entries: done.map(|done| done.entries),
            bytes_before: done.map(|done| done.bytes_before),
            bytes_after: done.map(|done| done.bytes_after),
            kept_bytes: done.map(|done| done.kept_bytes),
            error: finished.result.err(),
        }
    }
}
