//! What is sent to the server of a slot, and how it is sent on a connection of its own.

use super::error::{Verdict, judge};
use super::pipeline::{self, Item};
use super::pool::Link;
use super::slots::Slot;
use super::upsert::Upsert;
use redis::{RedisError, Value};
use std::time::Duration;

/// A request to the server of a slot.
pub(super) struct Request<'r> {
    pub(super) slot: Slot,
    /// The commands, one after the other. The first says whether it went well.
    pub(super) packed: &'r [u8],
    /// How many answers come.
    pub(super) answers: usize,
    /// Takes its place where the server does not know the script.
    pub(super) with_script: Option<&'r dyn Fn() -> Vec<u8>>,
    /// Whether it changes something, so that it is not sent again where its outcome is not known.
    pub(super) is_change: bool,
    /// How long its answers may take longer than those of others.
    pub(super) patience: Duration,
    /// Where it is a value that is set, and may be set in one call with others.
    pub(super) upsert: Option<Upsert<&'r [u8]>>,
}

impl Request<'_> {
    /// Whether it may share a connection with others.
    pub(super) fn is_small(&self) -> bool {
        self.answers == 1 && self.patience.is_zero() && self.packed.len() <= pipeline::BYTES_MAX
    }

    pub(super) fn item(&self, is_cluster: bool) -> Item {
        match &self.upsert {
            Some(upsert) if !is_cluster => Item::Upsert(upsert.to_owned()),
            _ if self.is_change => Item::Command(self.packed.to_vec()),
            _ => Item::Read(self.packed.to_vec()),
        }
    }
}

/// Sends a request, and reads its answers. The first of them may be an error.
pub(super) fn send(
    link: &mut Link<'_>,
    request: &Request<'_>,
    packed: &[u8],
    is_asking: bool,
    timeout: Duration,
) -> Result<Vec<Value>, Verdict> {
    let sent = match is_asking {
        false => link.exchange(packed, request.answers, timeout),
        true => {
            let mut with_asking = redis::cmd("ASKING").get_packed_command();
            with_asking.extend_from_slice(packed);
            let answers = link.exchange(&with_asking, request.answers + 1, timeout);
            answers.map(|mut answers| {
                answers.remove(0);
                answers
            })
        }
    };
    let answers = sent.map_err(|error| judge(&error))?;
    match answers.first() {
        Some(Value::ServerError(error)) => Err(judge(&RedisError::from(error.clone()))),
        _ => Ok(answers),
    }
}
