//! A promotion for which nobody loses anything: the primary holds its writers, and the replica waits for the rest.
//!
//! 1. The replica asks the primary to hold its writers for [`HOLD`]. The primary closes its log to them, waits
//!    until what they wrote before is written, and says where its log ends.
//! 2. The replica waits until it has applied its log up to there.
//! 3. It begins the next term. The former primary hears of that, steps down, and sends its writers here.
//!
//! # What must hold
//! - The replica promotes itself only while the primary still holds: it counts the hold from before it asked,
//!   and leaves a margin. A replica that is later than that has lost nothing but the certainty.
//! - A handover that fails ends the hold, or the hold ends by itself: writers wait, and are not lost.

use super::handshake::exchange;
use super::link::{Link, Request, TEXT_BYTES_MAX};
use super::{ANSWER_TIME_MAX, HANDSHAKE_TIME_MAX, dial};
use crate::api::{self, Handover, HandoverOffset};
use crate::log::Role;
use crate::node::{Node, PromoteError, Promotion};
use std::time::{Duration, Instant};

/// For how long the primary holds its writers.
const HOLD: Duration = Duration::from_secs(5);

/// The part of the hold in which the replica may still promote itself.
const HOLD_USED_MAX: Duration = Duration::from_secs(4);

/// Makes this node the primary of a new term, after the present one has handed over. With `is_forced` at once,
/// whatever the primary does.
pub fn promote(node: &Node, is_forced: bool, go_on: impl Fn() -> bool) -> Result<Promotion, PromoteError> {
    if node.role() == Role::Primary {
        return Err(PromoteError::IsPrimary);
    }
    if !node.is_synced() {
        return Err(PromoteError::Syncing);
    }
    if is_forced {
        return node.promote();
    }
    let deadline = Instant::now() + HOLD_USED_MAX;
    let address = node.cluster().primary_address();
    let address =
        address.ok_or_else(|| PromoteError::NoHandover("this node knows of no primary".to_owned()))?;
    let failed = |why: String| PromoteError::NoHandover(format!("{address}: {why}"));
    let mut link = dial(node, &address, HANDSHAKE_TIME_MAX).map_err(|error| failed(error.to_string()))?;
    let offset = ask(node, &mut link, HOLD).map_err(failed)?;
    let promoted = if node.wait_visible(offset, deadline, go_on) {
        node.promote()
    } else {
        Err(failed(
            "this node did not get the rest of its log in time".to_owned(),
        ))
    };
    // The former primary hears of the new term, or else that it need not hold its writers any more.
    let told = match promoted {
        Ok(_) => exchange(node, &mut link, HANDSHAKE_TIME_MAX).map(drop),
        Err(_) => ask(node, &mut link, Duration::ZERO)
            .map(drop)
            .map_err(super::LinkError::Invalid),
    };
    if let Err(error) = told {
        ::log::debug!("{address}: {error}");
    }
    promoted
}

/// Asks the primary to hold its writers for a time, or no longer; returns where its log ends.
fn ask(node: &Node, link: &mut Link, hold: Duration) -> Result<u64, String> {
    let handover = Handover {
        id: node.log_id().to_string(),
        term: node.term().bits().to_string(),
        hold_ms: hold.as_millis() as u64,
        check: 0,
    };
    let body = serde_json::to_vec(&handover.sealed()).expect("plain data has a form in JSON");
    let request = Request {
        method: "POST",
        target: api::PATH_REPLICATION_HANDOVER,
        body: &body,
        until_close: false,
    };
    let answer = link
        .ask(&request, ANSWER_TIME_MAX)
        .map_err(|error| error.to_string())?;
    let body = link
        .body(&answer, TEXT_BYTES_MAX, ANSWER_TIME_MAX, || ())
        .map_err(|error| error.to_string())?;
    if answer.status != 200 {
        let problem = serde_json::from_slice::<api::Problem>(&body);
        return Err(
            problem.map_or(format!("it refuses with status {}", answer.status), |problem| {
                problem.detail
            }),
        );
    }
    let offset: Option<HandoverOffset> = serde_json::from_slice(&body).ok();
    match offset.filter(HandoverOffset::is_sound) {
        Some(offset) => Ok(offset.offset),
        None => Err("it does not say where its log ends".to_owned()),
    }
}
