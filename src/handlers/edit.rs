//! The handler of `PATCH /kv/{key}`: another deadline, or a value that is made from the one that is there.

use super::allowance::Allowance;
use super::body::{self, Patch};
use super::conditions::Conditions;
use super::context::Scratch;
use super::kv;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Reply, push_decimal, push_json_string};
use crate::http::target;
use crate::node::{Edit, Edited, WriteError};
use crate::session::Session;

/// Gives a key another deadline, or none; or makes its value from the one that is there.
pub(crate) fn patch(
    session: &Session<'_>,
    head: &Head<'_>,
    key: &str,
    body: &[u8],
    scratch: &mut Scratch,
    room: &mut Allowance<'_, '_>,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let key = kv::check_key(key)?;
    let conditions = Conditions::of_write(head)?;
    let precondition = conditions.precondition();
    let patch = body::patch(body)?;
    let go_on = room.is_wanted();
    let mut room = |bytes| room.take(body.len() + bytes).is_ok();
    let (edit, deadline) = match &patch {
        Patch::Deadline(deadline) => {
            let written = session
                .set_deadline(key, *deadline, precondition, &mut room, &go_on)
                .map_err(Problem::of_refused)?
                .map_err(|error| Problem::of_write(error, precondition.wants_present()))?;
            return Ok(kv::written_reply(session, key, written, scratch));
        }
        &Patch::Increment {
            by,
            initial,
            deadline,
        } => (Edit::Increment { by, initial }, deadline),
        Patch::Append { value, deadline } => (Edit::Append(value), *deadline),
    };
    let wants_initial = matches!(edit, Edit::Increment { initial: None, .. });
    let edited = session
        .edit(key, edit, deadline, precondition, &mut room, &go_on)
        .map_err(Problem::of_refused)?
        .map_err(|error| match error {
            WriteError::Missing if wants_initial && !precondition.wants_present() => Problem::new(
                problem::NO_KEY,
                "key not found; with `initial` the key is added with that number",
            ),
            error => Problem::of_write(error, precondition.wants_present()),
        })?;
    kv::push_written_key(&mut scratch.body, key.as_str());
    push_made(&mut scratch.body, &edited);
    Ok(kv::written_rest(session, edited.written, scratch))
}

/// Appends what was made to an answer: a number as text, since some clients read no number of 64 bits; of other values
/// the size.
pub(crate) fn push_made(body: &mut Vec<u8>, edited: &Edited) {
    match edited.number {
        Some(number) => {
            body.extend_from_slice(b",\"value\":");
            push_json_string(body, &number.to_string());
        }
        None => {
            body.extend_from_slice(b",\"value_bytes\":");
            push_decimal(body, edited.value_bytes as u64);
        }
    }
}
