//! The handler of `/batch`: many operations as one step of the log, and a result for each.

mod read;

#[cfg(any(test, fuzzing))]
pub(super) use read::operations;

use super::deadline;
use super::handlers::{Context, Scratch};
use super::problem::{self, Problem};
use super::request::Head;
use super::response::{Body, Media, Reply, push_decimal, push_json, push_json_string};
use super::target;
use crate::api;
use crate::key::Key;
use crate::node::{BatchError, Batched, Node, Outcome, Step};
use read::Operation;
use tiny_http::StatusCode;

/// From so many bytes on, an answer takes no further value: the batch is done, and what it read is told to be
/// asked for again. A batch may name one large key ten thousand times.
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub(super) fn post(
    context: &Context<'_>,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    if !head.if_match.is_empty() || !head.if_none_match.is_empty() {
        return Err(Problem::new(
            problem::BAD_PRECONDITION,
            "the operations of a batch have their own: `if_version` and `if_absent`",
        ));
    }
    let operations = read::operations(body, context.shared.limits.batch_operations_max)?;
    let steps = operations.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    let batched = context
        .node
        .batch(&steps)
        .map_err(|error| refused(error, &steps))?;
    push_results(&mut scratch.body, context.node, &steps, &batched);
    let mut reply = Reply::new(StatusCode(200), Body::Written(Media::Json));
    reply.offset = batched.offset;
    Ok(reply)
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
                Some(Step::Set { precondition, .. } | Step::Delete { precondition, .. }) => {
                    precondition.wants_present()
                }
                Some(Step::Get { .. }) | None => false,
            };
            Problem::of_write(error, wants_present).index(index)
        }
        BatchError::Refused(refusal) => Problem::of_refusal(&refusal),
    }
}

fn push_results(body: &mut Vec<u8>, node: &Node, steps: &[Step<'_>], batched: &Batched) {
    body.reserve(64 * steps.len());
    body.extend_from_slice(b"{\"results\":[");
    for (position, (step, outcome)) in steps.iter().zip(&batched.outcomes).enumerate() {
        if position > 0 {
            body.push(b',');
        }
        push_result(body, node, key(step), outcome);
    }
    body.push(b']');
    if let Some(offset) = batched.offset {
        body.extend_from_slice(b",\"offset\":");
        push_decimal(body, offset);
    }
    body.push(b'}');
}

fn push_result(body: &mut Vec<u8>, node: &Node, key: Key<'_>, outcome: &Outcome) {
    let is_full = body.len() >= ANSWER_BYTES_MAX;
    let status: &[u8] = match outcome {
        Outcome::Got(Some(_)) if is_full => b"413",
        Outcome::Got(Some(_)) => b"200",
        Outcome::Set(written) if written.created => b"201",
        Outcome::Set(_) => b"200",
        Outcome::Deleted(true) => b"204",
        Outcome::Got(None) | Outcome::Deleted(false) => b"404",
    };
    body.extend_from_slice(b"{\"status\":");
    body.extend_from_slice(status);
    body.extend_from_slice(b",\"key\":");
    push_json_string(body, key.as_str());
    match outcome {
        Outcome::Got(Some((pair, found))) => {
            if !is_full {
                let (text, encoding) = api::encode_value(pair.value());
                body.extend_from_slice(b",\"value\":");
                push_json_string(body, &text);
                if let Some(encoding) = encoding {
                    body.extend_from_slice(b",\"encoding\":");
                    push_json(body, &encoding);
                }
            }
            push_version(body, found.version);
            deadline::push_members_and_ttl(body, node, found.deadline_ms);
        }
        Outcome::Set(written) => {
            push_version(body, written.version);
            deadline::push_members_and_ttl(body, node, written.deadline_ms);
        }
        Outcome::Got(None) | Outcome::Deleted(_) => {}
    }
    body.push(b'}');
}

fn push_version(body: &mut Vec<u8>, version: u64) {
    body.extend_from_slice(b",\"version\":");
    push_decimal(body, version);
}

fn key<'a>(step: &Step<'a>) -> Key<'a> {
    match step {
        Step::Get { key } | Step::Set { key, .. } | Step::Delete { key, .. } => *key,
    }
}
