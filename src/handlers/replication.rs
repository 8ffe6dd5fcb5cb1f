//! The handlers that nodes of a cluster call, and those that turn a node: see [`crate::replication`].

mod handover;
mod problems;

pub(crate) use handover::handover;

use super::connection_handle::Aborted;
use super::context::{NodeContext, Scratch};
use super::sink::Sink;
use super::status::json;
use super::stream::{Answer, LateResponse, Stream, Workspace};
use crate::address::Address;
use crate::api::{
    self, ChunkHeader, Divergence, Forgotten, Handshake, LogQuery, Promoted, REPLICATION_PROTOCOL,
};
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_json};
use crate::http::target;
use crate::node::{FollowerName, Node, Phase, Poll, PollError, Polled};
use crate::replication;
use crate::wal::{BUFFER_BYTES, Branch, Feed, LastRecord, LogId, Role, Term};
use problems::{problem_of, problem_of_feed, problem_of_promote};
use std::str::FromStr;
use std::time::{Duration, Instant};
use tiny_http::StatusCode;

/// A chunk takes no further record once it has so many bytes. A record or batch of more is a chunk by itself,
/// and is sent as it is read.
const CHUNK_BYTES: usize = 1 << 20;

/// Records of fewer bytes may wait for others.
const FEW_BYTES: u64 = 64 * 1024;

/// Read and sent at once of such a chunk, in bytes.
const PART_BYTES: usize = 256 * 1024;

/// How often it is looked whether a follower that waits is still there.
const GONE_EVERY: Duration = Duration::from_secs(5);

/// `POST /replication/hello`
pub(crate) fn hello(
    context: &NodeContext<'_>,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let said: Handshake = serde_json::from_slice(body)
        .map_err(|_| Problem::new(problem::SHAPE, "it is no handshake of a node"))?;
    replication::receive(context.node, &said).map_err(|why| Problem::new(problem::SHAPE, why))?;
    Ok(json(scratch, &replication::handshake(context.node)))
}

/// `POST /forget`
pub(crate) fn forget(
    context: &NodeContext<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [named] = target::parameters(head.query, ["node"])?;
    let named = named.ok_or_else(|| {
        Problem::new(problem::BAD_QUERY, "name the node to forget, as host:port").field("node")
    })?;
    match context.node.forget(&named) {
        true => Ok(json(
            scratch,
            &Forgotten {
                node: named.into_owned(),
            },
        )),
        false => {
            Err(Problem::new(problem::NO_NODE, "this node knows of no node with that address").field("node"))
        }
    }
}

/// `GET /replication/log`
pub(crate) fn log<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let (poll, wait) = question(head)?;
    Ok(Answer::Later(Box::new(move |workspace| {
        chunk(node, workspace, poll, wait)
    })))
}

pub(crate) fn question(head: &Head<'_>) -> Result<(Poll, Duration), Problem> {
    let names = [
        "protocol",
        "id",
        "after",
        "term",
        "branch",
        "last",
        "last_check",
        "wait",
        "follower",
        "address",
        "successor",
        "check",
    ];
    let [
        protocol,
        id,
        after,
        term,
        branch,
        last,
        last_check,
        wait,
        follower,
        address,
        successor,
        check,
    ] = target::parameters(head.query, names)?;
    let bad = |field: &'static str, why: &'static str| Problem::new(problem::BAD_QUERY, why).field(field);
    let missing = |field| bad(field, "it is missing");
    if protocol.as_deref() != Some(REPLICATION_PROTOCOL.to_string().as_str()) {
        return Err(bad("protocol", replication::OTHER_VERSION));
    }
    let id = id.ok_or_else(|| missing("id"))?;
    let address = address.ok_or_else(|| missing("address"))?;
    let successor = successor.ok_or_else(|| missing("successor"))?;
    let last = match (last, last_check) {
        (Some(start), Some(crc)) => Some((number(&start, "last")?, number(&crc, "last_check")?)),
        (None, None) => None,
        _ => return Err(bad("last", "it stands with last_check, or not at all")),
    };
    let required = |field: &'static str, value: Option<std::borrow::Cow<'_, str>>| {
        number(&value.ok_or_else(|| missing(field))?, field)
    };
    let query = LogQuery {
        protocol: REPLICATION_PROTOCOL,
        id: &id,
        after: required("after", after)?,
        term: required("term", term)?,
        branch: required("branch", branch)?,
        last,
        wait_ms: required("wait", wait)?,
        follower: required("follower", follower)?,
        address: &address,
        successor: target::flag("successor", Some(&successor))?,
    };
    if required("check", check)? != u64::from(query.check()) {
        return Err(bad("check", "it is not the checksum of what stands before it"));
    }
    let address =
        Address::of_node(&address).ok_or_else(|| bad("address", "it is none that leads to a node"))?;
    let poll = Poll {
        name: FollowerName {
            id: query.follower,
            address,
            is_successor: query.successor,
        },
        id: LogId::from_hex(&id).ok_or_else(|| bad("id", "it is no id of a log"))?,
        after: query.after,
        term: Term::from_bits(query.term),
        nonce: query.branch,
        last: last.map(|(start, crc)| LastRecord { start, crc }),
    };
    let wait = Duration::from_millis(query.wait_ms.min(api::POLL_WAIT_MS_MAX));
    Ok((poll, wait))
}

fn number<T: FromStr>(text: &str, field: &'static str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| Problem::new(problem::BAD_QUERY, "must be a number").field(field))
}

/// Waits until there is more of the log, and answers with it: small records together, a large one as it is read.
fn chunk<'a>(
    node: &'a Node,
    workspace: &mut Workspace<'a, '_>,
    poll: Poll,
    wait: Duration,
) -> Result<LateResponse<'a>, Problem> {
    let connection = workspace.connection;
    let deadline = Instant::now() + wait;
    let mut feed = match node.poll(&poll) {
        Ok(feed) => feed,
        Err(PollError::Diverged { branches, from }) => {
            let body = &mut workspace.scratch.body;
            return Ok(LateResponse::Reply(divergence(&branches, from, body)));
        }
        Err(error) => return Err(problem_of(error, node.role())),
    };
    let unreadable = |error| problem_of_feed(error, node.role());
    let mut body = Vec::new();
    let offset = loop {
        // Records that follow one another closely go out together. One that comes after a pause, or after one alone, goes
        // out at once.
        if (1..FEW_BYTES).contains(&feed.bytes_ahead()) {
            std::thread::sleep(node.rest(&poll));
        }
        // Allowance for a chunk, and for what the feed reads ahead.
        let ahead = usize::try_from(feed.bytes_ahead()).unwrap_or(usize::MAX);
        workspace.hold(ahead.min(CHUNK_BYTES) + ahead.min(BUFFER_BYTES))?;
        let offset = feed.copy(CHUNK_BYTES, &mut body).map_err(unreadable)?;
        if body.is_empty()
            && let Some(bytes) = feed.item_bytes().map_err(unreadable)?
        {
            feed.give_back();
            let head = head_of(node, feed.offset(), Body::Streamed(Media::Octets))?;
            return Ok(LateResponse::Stream(Stream {
                head,
                holds: PART_BYTES,
                is_endless: false,
                body: Box::new(move |sink| send_item(sink, feed, bytes)),
            }));
        }
        let now = Instant::now();
        if !body.is_empty() || now >= deadline || connection.is_stopping() {
            break offset;
        }
        workspace.charge.release();
        let has_grown = feed.wait_next(deadline.min(now + GONE_EVERY), || !connection.is_stopping());
        if !has_grown && connection.has_gone() {
            break offset;
        }
    };
    node.leave(&poll, &feed, &body);
    drop(feed);
    let bytes = body.len();
    let head = head_of(node, offset, Body::Measured(Media::Octets, bytes as u64))?;
    Ok(LateResponse::Stream(Stream {
        head,
        holds: bytes,
        is_endless: false,
        body: Box::new(move |sink| sink.write(&body)),
    }))
}

/// Sends a record or batch of so many bytes as it is read.
fn send_item(sink: &mut Sink<'_, '_>, mut feed: Feed<'_>, bytes: u64) -> Result<(), Aborted> {
    let mut left = bytes;
    let mut part = Vec::with_capacity(PART_BYTES);
    while left > 0 {
        part.clear();
        feed.read_raw(left.min(PART_BYTES as u64) as usize, &mut part)
            .map_err(|error| Aborted::Body(error.to_string()))?;
        sink.write(&part)?;
        left -= part.len() as u64;
    }
    Ok(())
}

fn head_of(node: &Node, offset: u64, body: Body) -> Result<Reply, Problem> {
    let polled = node
        .polled(offset)
        .ok_or_else(|| problem_of(PollError::NoPrimary, node.role()))?;
    let Polled {
        term,
        offset,
        written,
        primary_heard,
    } = polled;
    let chunk = ChunkHeader {
        term: term.bits(),
        offset,
        written,
        primary_heard_ms: primary_heard.as_millis() as u64,
    };
    Ok(Reply::new(StatusCode(200), body).header(api::HEADER_LOG, &chunk.to_value()))
}

fn divergence(branches: &[Branch], from: Option<u64>, body: &mut Vec<u8>) -> Reply {
    let branches = branches.iter().map(|branch| {
        let nonce = format!("{:016x}", branch.nonce);
        (branch.term.bits().to_string(), nonce, branch.start)
    });
    let divergence = Divergence {
        branches: branches.collect(),
        from,
        check: 0,
    };
    push_json(body, &divergence.sealed());
    Reply::new(StatusCode(409), Body::Written(Media::Json))
}

/// `POST /promote`
pub(crate) fn promote<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [force] = target::parameters(head.query, ["force"])?;
    let is_forced = target::flag("force", force.as_deref())?;
    // The primary may take a moment to hand over.
    Ok(Answer::Later(Box::new(move |workspace| {
        let connection = workspace.connection;
        let promoted = replication::promote(node, is_forced, || !connection.is_stopping());
        let promotion = promoted.map_err(|error| problem_of_promote(&error))?;
        Ok(LateResponse::Reply(json(
            workspace.scratch,
            &Promoted {
                term: promotion.term.number().into(),
                offset: promotion.offset,
                left_behind_bytes: promotion.left_behind_bytes,
                evicted: promotion.evicted,
            },
        )))
    })))
}

/// `GET /primary`: for load balancers that send writes here.
pub(crate) fn primary(
    context: &NodeContext<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    if context.node.role() == Role::Primary {
        if context.node.holds_writers() {
            return Err(Problem::held());
        }
        if context.node.check_lease().is_err() {
            return Err(super::consistency::lease_over());
        }
        return crate::handlers::status::readyz(&context.any(), head, scratch);
    }
    Err(Problem::new(problem::NOT_READY, "the node is a replica").retry_after(1))
}

/// `GET /replica`: for load balancers that send reads here.
pub(crate) fn replica(
    context: &NodeContext<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [max_lag, max_lag_bytes] = target::parameters(head.query, ["max_lag", "max_lag_bytes"])?;
    let max_lag_bytes = max_lag_bytes
        .map(|value| number(&value, "max_lag_bytes"))
        .transpose()?;
    let max_lag = max_lag.map(|value| lag(&value)).transpose()?;
    let not_ready = |why: String| Err(Problem::new(problem::NOT_READY, why).retry_after(1));
    let status = context.node.cluster_status();
    match status.phase {
        _ if context.shared.is_stopping() => return not_ready("the node is stopping".to_owned()),
        Phase::Primary => return not_ready("the node is the primary".to_owned()),
        Phase::Streaming => {}
        phase => {
            return not_ready(format!(
                "the node does not hear the primary; it is {}",
                phase.name()
            ));
        }
    }
    match (max_lag_bytes, status.lag_bytes) {
        (Some(max), Some(lag)) if lag > max => {
            return not_ready(format!("the node is behind by {lag} bytes"));
        }
        (Some(_), None) => return not_ready("how far the node is behind is not known yet".to_owned()),
        _ => {}
    }
    match (max_lag, status.lag) {
        (Some(max), Some(lag)) if lag > max => {
            not_ready(format!("the node is behind by {:.3} s", lag.as_secs_f64()))
        }
        (Some(_), None) => not_ready("how far the node is behind is not known yet".to_owned()),
        _ => Ok(json(
            scratch,
            &api::Probe {
                status: "ok".to_owned(),
                detail: None,
            },
        )),
    }
}

/// A time, in seconds.
fn lag(text: &str) -> Result<Duration, Problem> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| {
            Problem::new(problem::BAD_QUERY, "must be a number of seconds, 0 or more").field("max_lag")
        })
}
