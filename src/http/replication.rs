//! The handlers that nodes of a cluster call, and those that turn a node: see [`crate::replication`].

use super::admin::json;
use super::handlers::{Context, Scratch};
use super::problem::{self, Problem};
use super::request::Head;
use super::response::{Body, Media, Reply, push_json};
use super::stream::{Answer, Desk, Outcome, Stream};
use super::target;
use crate::api::{self, Divergence, Hello, LogQuery, Piece, Promoted};
use crate::log::{BUFFER_BYTES, FeedError, LogId, Role, Term};
use crate::node::{FollowerName, Phase, Poll, PollError, PromoteError};
use crate::replication;
use std::str::FromStr;
use std::time::{Duration, Instant};
use tiny_http::StatusCode;

/// A piece takes no further record once it has so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// How often it is looked whether a follower that waits is still there.
const GONE_EVERY: Duration = Duration::from_secs(5);

/// Longest address of a node, in bytes: a name in the DNS, and a port.
const ADDRESS_BYTES_MAX: usize = 262;

/// `POST /replication/hello`
pub(super) fn hello(
    context: &Context<'_>,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let said: Hello = serde_json::from_slice(body)
        .map_err(|error| Problem::new(problem::SHAPE, format!("it is no hello: {error}")))?;
    if said.address.len() > ADDRESS_BYTES_MAX {
        return Err(Problem::new(problem::SHAPE, "no address is as long")
            .field("address")
            .limit(ADDRESS_BYTES_MAX as u64));
    }
    replication::meet(context.node, &said).map_err(|why| Problem::new(problem::SHAPE, why))?;
    Ok(json(scratch, &replication::hello(context.node)))
}

/// `GET /replication/log`
pub(super) fn log<'a>(head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let (poll, wait) = question(head)?;
    Ok(Answer::Later(Box::new(move |desk| piece(desk, &poll, wait))))
}

fn question(head: &Head<'_>) -> Result<(Poll, Duration), Problem> {
    let names = [
        "id",
        "after",
        "term",
        "wait",
        "follower",
        "address",
        "successor",
        "check",
    ];
    let values = target::parameters(head.query, names)?;
    let value = |at: usize| {
        values[at]
            .as_deref()
            .ok_or_else(|| Problem::new(problem::BAD_QUERY, "it is missing").field(names[at]))
    };
    let query = LogQuery {
        id: value(0)?,
        after: number(value(1)?, names[1])?,
        term: number(value(2)?, names[2])?,
        wait_ms: number(value(3)?, names[3])?,
        follower: number(value(4)?, names[4])?,
        address: value(5)?,
        successor: target::flag(names[6], Some(value(6)?))?,
    };
    if number::<u32>(value(7)?, names[7])? != query.check() {
        let why = "it is not the checksum of what stands before it";
        return Err(Problem::new(problem::BAD_QUERY, why).field(names[7]));
    }
    if query.address.len() > ADDRESS_BYTES_MAX {
        return Err(Problem::new(problem::BAD_QUERY, "no address is as long")
            .field(names[5])
            .limit(ADDRESS_BYTES_MAX as u64));
    }
    let id = LogId::from_hex(query.id)
        .ok_or_else(|| Problem::new(problem::BAD_QUERY, "it is no id of a log").field(names[0]))?;
    let poll = Poll {
        name: FollowerName {
            id: query.follower,
            address: query.address.to_owned(),
            is_successor: query.successor,
        },
        id,
        after: query.after,
        term: Term::from_bits(query.term),
    };
    let wait = Duration::from_millis(query.wait_ms.min(api::POLL_WAIT_MS_MAX));
    Ok((poll, wait))
}

fn number<T: FromStr>(text: &str, field: &'static str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| Problem::new(problem::BAD_QUERY, "it is no number that can stand here").field(field))
}

fn piece<'a>(desk: &mut Desk<'a, '_>, poll: &Poll, wait: Duration) -> Result<Outcome<'a>, Problem> {
    let line = desk.line;
    let node = line.node();
    let deadline = Instant::now() + wait;
    let mut feed = match node.poll(poll) {
        Ok(feed) => feed,
        Err(PollError::Diverged { terms, from }) => {
            let body = &mut desk.scratch.body;
            return Ok(Outcome::Reply(divergence(terms, from, body)));
        }
        Err(error) => return Err(problem_of(error, node)),
    };
    let mut body = Vec::new();
    let offset = loop {
        // Room for a piece, or for the one record that is longer, before it is read.
        let next_bytes = feed
            .next_bytes_any()
            .map_err(|error| problem_of_feed(error, node.role()))?;
        if let Some(bytes) = next_bytes {
            if bytes > BUFFER_BYTES {
                feed.give_back();
            }
            let ahead = usize::try_from(feed.bytes_ahead()).unwrap_or(usize::MAX);
            desk.hold(bytes.max(ahead.min(PIECE_BYTES)) + ahead.min(BUFFER_BYTES))?;
        }
        let offset = feed
            .copy(PIECE_BYTES, &mut body)
            .map_err(|error| problem_of_feed(error, node.role()))?;
        let now = Instant::now();
        if !body.is_empty() || now >= deadline || line.is_stopping() {
            break offset;
        }
        desk.charge.release();
        let has_grown = feed.wait_next(deadline.min(now + GONE_EVERY), || !line.is_stopping());
        if !has_grown && line.has_gone() {
            break offset;
        }
    };
    node.leave(poll, &feed);
    drop(feed);
    let polled = node.polled(offset);
    let piece = Piece {
        term: polled.term.bits(),
        offset: polled.offset,
        written: polled.written,
    };
    let bytes = body.len();
    Ok(Outcome::Stream(Stream {
        head: Reply::new(StatusCode(200), Body::Measured(Media::Octets, bytes as u64))
            .header(api::HEADER_LOG, &piece.to_value()),
        holds: bytes,
        is_endless: false,
        body: Box::new(move |sink| sink.write(&body)),
    }))
}

fn divergence(terms: Vec<crate::log::TermStart>, from: Option<u64>, body: &mut Vec<u8>) -> Reply {
    let terms = terms
        .iter()
        .map(|term| (term.term.bits().to_string(), term.start));
    let divergence = Divergence {
        terms: terms.collect(),
        from,
        check: 0,
    };
    push_json(body, &divergence.sealed());
    Reply::new(StatusCode(409), Body::Written(Media::Json))
}

fn problem_of(error: PollError, node: &crate::node::Node) -> Problem {
    let not_now = |why: &'static str| Problem::new(problem::NOT_READY, why).retry_after(1);
    match error {
        PollError::OtherLog { id } => Problem::new(
            problem::OTHER_LOG,
            format!("the log of this node has the id {id}"),
        ),
        PollError::HigherTerm => {
            node.step_down(None);
            not_now("the follower has met a higher term: this node steps down")
        }
        PollError::Gone { oldest } => {
            let why = format!("the log no longer holds what came after this; it begins at offset {oldest}");
            Problem::new(problem::OFFSET_GONE, why).oldest(oldest)
        }
        PollError::Behind => not_now("this node is a replica, and not that far itself"),
        PollError::NotWhole => not_now("this node is taking over the state of another"),
        PollError::TooMany => not_now("there are as many followers as there may be"),
        // In one history and one term every record begins where it did when it was copied.
        PollError::Diverged { .. } => not_now("the histories part"),
        PollError::Log(error) => problem_of_feed(error, node.role()),
    }
}

fn problem_of_feed(error: FeedError, role: Role) -> Problem {
    match error {
        FeedError::Gone { oldest } => Problem::new(problem::OFFSET_GONE, error.to_string()).oldest(oldest),
        error => {
            ::log::error!("a follower of this {} cannot be answered: {error}", role.name());
            Problem::new(problem::LOG_UNREADABLE, error.to_string())
        }
    }
}

/// `POST /promote`
pub(super) fn promote(
    context: &Context<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    match context.node.promote() {
        Ok((term, offset)) => Ok(json(
            scratch,
            &Promoted {
                term: term.number().into(),
                offset,
            },
        )),
        Err(error @ PromoteError::IsPrimary) => Err(Problem::new(problem::IS_PRIMARY, error.to_string())),
        Err(error @ PromoteError::NotWhole) => {
            Err(Problem::new(problem::NOT_READY, error.to_string()).retry_after(1))
        }
        Err(PromoteError::Refused(refusal)) => Err(Problem::of_refusal(&refusal)),
    }
}

/// `GET /primary`: for load balancers that send writes here.
pub(super) fn primary(
    context: &Context<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    if context.node.role() == Role::Primary {
        return super::admin::readyz(context, head, scratch);
    }
    Err(Problem::new(problem::NOT_READY, "the node is a replica").retry_after(1))
}

/// `GET /replica`: for load balancers that send reads here.
pub(super) fn replica(
    context: &Context<'_>,
    head: &Head<'_>,
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [max_lag] = target::parameters(head.query, ["max_lag"])?;
    let max_lag = max_lag.map(|value| lag(&value)).transpose()?;
    let not_ready = |why: String| Err(Problem::new(problem::NOT_READY, why).retry_after(1));
    let status = context.node.cluster_status();
    match status.phase {
        _ if context.shared.is_stopping() => return not_ready("the node is stopping".to_owned()),
        Phase::Primary => return not_ready("the node is the primary".to_owned()),
        Phase::Streaming => {}
        phase => return not_ready(format!("the node follows nobody now; it is {}", phase.name())),
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
            Problem::new(problem::BAD_QUERY, "it is a number of seconds from 0 on").field("max_lag")
        })
}
