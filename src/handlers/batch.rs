//! The handler of `/batch`: many operations as one step of the log, and a result for each.

mod operation;
mod read;

#[cfg(any(test, fuzzing))]
pub(crate) use read::operations;

use super::allowance::Allowance;
use super::connection_handle::overloaded;
use super::context::Scratch;
use super::deadline;
use super::out::{Out, push_value};
use super::sink::SINK_BYTES;
use super::stream::{self, Answer, Stream};
use crate::http::Limits;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Body, Media, Reply, push_decimal, push_json_string};
use crate::http::target;
use crate::key::Key;
use crate::node::{BatchError, Batched, Edit, Outcome, Reads, Step};
use crate::session::{RefusedBatch, Session};
use operation::Operation;
use tiny_http::StatusCode;

/// From so many bytes of values on, an answer takes no further one: the batch is done, and what it read is told to be
/// asked for again. A batch may name one large key ten thousand times.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What a result has at most beside key and value, in bytes.
const RESULT_BYTES_MAX: usize = 160;

pub(crate) fn post<'a>(
    session: &Session<'a>,
    limits: &Limits,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
    room: &mut Allowance<'a, '_>,
) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    if !head.if_match.is_empty() || !head.if_none_match.is_empty() {
        return Err(Problem::new(
            problem::BAD_PRECONDITION,
            "the operations of a batch have their own: `if_version` and `if_absent`",
        ));
    }
    let operations = read::operations(body, limits.batch_operations_max)?;
    let steps = operations.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    // Once it is done its answer must be made, so room for that is taken before: for the keys and what stands around
    // them, for the values, and for the request that it is.
    let key_bytes: usize = steps.iter().map(|step| step.key().as_str().len()).sum();
    let json_bytes = |value_bytes: usize| 6 * (key_bytes + value_bytes) + RESULT_BYTES_MAX * steps.len();
    let held_bytes = |value_bytes: usize| {
        let base_bytes = 2 * body.len() + key_bytes + steps.len() * size_of::<Outcome>();
        base_bytes + value_bytes + json_bytes(value_bytes).min(SINK_BYTES)
    };
    let mut value_bytes = 0;
    room.take(held_bytes(0))?;
    let go_on = room.is_wanted();
    let reads = Reads {
        bytes_max: ANSWER_BYTES_MAX,
        room: &mut |bytes| {
            value_bytes = bytes;
            room.take(held_bytes(bytes)).is_ok()
        },
        go_on: &go_on,
    };
    let batched = session
        .batch(&steps, reads)
        .map_err(|refused| match refused {
            RefusedBatch::Denied { index, denied } => Problem::of_denied(denied).index(index),
            RefusedBatch::Engine(error) => Problem::of_engine(error),
        })?
        .map_err(|error| refused(error, &steps))?;
    let mut reply = Reply::new(StatusCode(200), Body::Written(Media::Json));
    reply.offset = batched.offset;
    if json_bytes(value_bytes) <= SINK_BYTES {
        let keys = steps.iter().map(|step| step.key().as_str());
        let Ok(()) = push_results(&mut scratch.body, session, keys, &batched);
        return Ok(Answer::Now(reply));
    }
    let holds = held_bytes(value_bytes);
    let keys: Vec<Box<str>> = steps.iter().map(|step| step.key().as_str().into()).collect();
    reply.body = Body::Streamed(Media::Json);
    let session = session.clone();
    Ok(Answer::Later(Box::new(move |_| {
        Ok(stream::LateResponse::Stream(Stream {
            head: reply,
            holds,
            is_endless: false,
            body: Box::new(move |sink| {
                let keys = keys.iter().map(|key| &**key);
                push_results(sink, &session, keys, &batched)
            }),
        }))
    })))
}

fn step<'a>(operation: &'a Operation<'_>) -> Result<Step<'a>, Problem> {
    let key = Key::new(operation.key());
    let key = key.map_err(|error| Problem::new(problem::BAD_KEY, error.to_string()))?;
    Ok(match operation {
        Operation::Get { .. } => Step::Get { key },
        Operation::Set {
            value,
            deadline,
            precondition,
            ..
        } => Step::Set {
            key,
            value,
            deadline: *deadline,
            precondition: *precondition,
        },
        Operation::Increment {
            by,
            initial,
            deadline,
            precondition,
            ..
        } => Step::Edit {
            key,
            edit: Edit::Increment {
                by: *by,
                initial: *initial,
            },
            deadline: *deadline,
            precondition: *precondition,
        },
        Operation::Append {
            value,
            deadline,
            precondition,
            ..
        } => Step::Edit {
            key,
            edit: Edit::Append(value),
            deadline: *deadline,
            precondition: *precondition,
        },
        Operation::Delete { precondition, .. } => Step::Delete {
            key,
            precondition: *precondition,
        },
    })
}

fn refused(error: BatchError, steps: &[Step<'_>]) -> Problem {
    match error {
        BatchError::Step { index, error } => {
            let wants_present = match steps.get(index) {
                Some(
                    Step::Set { precondition, .. }
                    | Step::Edit { precondition, .. }
                    | Step::Delete { precondition, .. },
                ) => precondition.wants_present(),
                Some(Step::Get { .. }) | None => false,
            };
            Problem::of_write(error, wants_present).index(index)
        }
        BatchError::Refused(refusal) => Problem::of_refusal(&refusal),
        BatchError::NoRoom => overloaded(),
    }
}

fn push_results<'k, O: Out>(
    out: &mut O,
    session: &Session<'_>,
    keys: impl Iterator<Item = &'k str>,
    batched: &Batched,
) -> Result<(), O::Error> {
    out.buffer().extend_from_slice(b"{\"results\":[");
    for (position, (key, outcome)) in keys.zip(&batched.outcomes).enumerate() {
        if position > 0 {
            out.buffer().push(b',');
        }
        push_result(out, session, key, outcome)?;
    }
    let body = out.buffer();
    body.push(b']');
    if let Some(offset) = batched.offset {
        body.extend_from_slice(b",\"offset\":");
        push_decimal(body, offset);
    }
    body.push(b'}');
    Ok(())
}

fn push_result<O: Out>(
    out: &mut O,
    session: &Session<'_>,
    key: &str,
    outcome: &Outcome,
) -> Result<(), O::Error> {
    let status: &[u8] = match outcome {
        Outcome::Passed(_) => b"413",
        Outcome::Got(Some(_)) => b"200",
        Outcome::Set(written) if written.created => b"201",
        Outcome::Edited(edited) if edited.written.created => b"201",
        Outcome::Set(_) | Outcome::Edited(_) => b"200",
        Outcome::Deleted(true) => b"204",
        Outcome::Got(None) | Outcome::Deleted(false) => b"404",
    };
    let body = out.buffer();
    body.extend_from_slice(b"{\"status\":");
    body.extend_from_slice(status);
    body.extend_from_slice(b",\"key\":");
    push_json_string(body, key);
    if let Outcome::Got(Some((pair, _))) = outcome {
        push_value(out, pair.value())?;
    }
    let body = out.buffer();
    match outcome {
        Outcome::Got(Some((_, found))) | Outcome::Passed(found) => {
            push_version(body, found.version);
            deadline::push_members_and_ttl(body, session, found.deadline_ms);
        }
        Outcome::Set(written) => {
            push_version(body, written.version);
            deadline::push_members_and_ttl(body, session, written.deadline_ms);
        }
        Outcome::Edited(edited) => {
            super::edit::push_made(body, edited);
            push_version(body, edited.written.version);
            deadline::push_members_and_ttl(body, session, edited.written.deadline_ms);
        }
        Outcome::Got(None) | Outcome::Deleted(_) => {}
    }
    body.push(b'}');
    out.settle()
}

fn push_version(body: &mut Vec<u8>, version: u64) {
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, version);
}
