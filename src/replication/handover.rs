//! A promotion for which nobody loses anything: the primary holds its writers, the replica waits for the rest, and the
//! primary steps down.
//!
//! 1. The replica asks the primary to hold its writers for [`HOLD`]. The primary closes its log to them, waits
//!    until what they wrote before is written, and says where its log ends.
//! 2. The replica waits until it has applied its log up to there.
//! 3. It asks the primary to step down, which it does only if it still holds its writers for this replica.
//! 4. It begins the next term. The former primary hears of that, follows, and sends its writers here.
//!
//! # What must hold
//! - Between the offset that the primary named and its end as a primary nothing is written, however long either side
//!   stands still: no clock is asked for that, and no time is.
//! - Writers are held for one replica at a time: of two promotions at once the second one is refused.
//! - A hold ends with the connection on which it was asked for, and when its time is over: a replica that gives up, or
//!   whose process ends, leaves nobody waiting.
//! - A primary that stepped down takes its role back, in its own term, once the promotion cannot come any more: the
//!   replica says that it gave this promotion up (at once, and in every handshake after), or another process answers at
//!   its address as a replica. Until then it does not: the promotion may only be late.
//! - Promotions of one process are counted, so that a word about one is none about the next.

use super::handshake::exchange;
use super::link::{Link, Request, TEXT_BYTES_MAX};
use super::{ANSWER_TIME_MAX, HANDSHAKE_TIME_MAX, dial};
use crate::address::Address;
use crate::api::{self, Handover, HandoverOffset};
use crate::node::{Node, PromoteError, Promotion};
use crate::wal::Role;
use std::time::{Duration, Instant};

/// For how long the primary holds its writers.
const HOLD: Duration = Duration::from_secs(5);

/// The part of the hold in which the replica waits for the rest of the log.
const HOLD_USED_MAX: Duration = Duration::from_secs(4);

/// Makes this node the primary of a new term, after the present one has handed over. With `is_forced` at once,
/// whatever the primary does.
pub(crate) fn promote(
    node: &Node,
    is_forced: bool,
    go_on: impl Fn() -> bool,
) -> Result<Promotion, PromoteError> {
    if node.is_elected() {
        return Err(PromoteError::Elected);
    }
    if node.role() == Role::Primary {
        return Err(PromoteError::IsPrimary);
    }
    if !node.is_synced() {
        return Err(PromoteError::Syncing);
    }
    if is_forced {
        return node.promote();
    }
    // One at a time: where one gives the role back, another must not be about to take it.
    let mut promotions = node.cluster().promotions();
    *promotions += 1;
    let attempt = *promotions;
    take_over(node, attempt, go_on).inspect_err(|_| node.cluster().give_up(attempt))
}

/// Has the primary hand over, and begins the next term. After an error none begins by this attempt.
fn take_over(node: &Node, attempt: u64, go_on: impl Fn() -> bool) -> Result<Promotion, PromoteError> {
    let deadline = Instant::now() + HOLD_USED_MAX;
    let address = node.cluster().primary_address();
    let address = address.ok_or_else(|| PromoteError::NoHandover(node.no_primary()))?;
    let failed = |why: String| PromoteError::NoHandover(format!("{address}: {why}"));
    let mut link = dial(node, &address, HANDSHAKE_TIME_MAX).map_err(|error| failed(error.to_string()))?;
    let held = ask(node, &mut link, attempt, Ask::Hold(HOLD)).map_err(failed)?;
    if !node.wait_visible(held.offset, deadline, go_on) {
        give_back(node, attempt, &address);
        let why = "this node did not get the rest of its log in time";
        return Err(failed(why.to_owned()));
    }
    let stepped_down = ask(node, &mut link, attempt, Ask::StepDown).map_err(failed);
    let promoted = stepped_down.and_then(|last| node.take_over(successors(node, last.successors)));
    let promotion = promoted.inspect_err(|_| give_back(node, attempt, &address))?;
    // It hears of the new term.
    if let Err(error) = exchange(node, &mut link, HANDSHAKE_TIME_MAX) {
        log::debug!("{address}: {error}");
    }
    Ok(promotion)
}

/// The successors of the former primary that this node may know by an address of theirs.
fn successors(node: &Node, mut of_primary: Vec<String>) -> Vec<String> {
    of_primary.retain(|address| address != node.cluster().address() && Address::of_node(address).is_some());
    of_primary
}

/// This node does not take over: the primary need not hold its writers, and takes its role back where it has stepped
/// down. On a connection of its own, since the other one may be what failed. Where this does not get there, the next
/// handshake of the two says the same.
fn give_back(node: &Node, attempt: u64, address: &str) {
    let asked = dial(node, address, HANDSHAKE_TIME_MAX)
        .map_err(|error| error.to_string())
        .and_then(|mut link| ask(node, &mut link, attempt, Ask::Hold(Duration::ZERO)));
    if let Err(error) = asked {
        log::warn!("{address} cannot be asked to remain the primary yet: {error}");
    }
}

/// What the primary is asked for.
#[derive(Clone, Copy)]
enum Ask {
    /// To hold its writers for a time, or no longer.
    Hold(Duration),
    StepDown,
}

/// Asks the primary; returns where its log ends.
fn ask(node: &Node, link: &mut Link, attempt: u64, what: Ask) -> Result<HandoverOffset, String> {
    let (hold, step_down) = match what {
        Ask::Hold(time) => (time, false),
        Ask::StepDown => (Duration::ZERO, true),
    };
    let handover = Handover {
        id: node.log_id().to_string(),
        term: node.term().bits().to_string(),
        node: node.cluster().id,
        address: node.cluster().address().to_owned(),
        attempt,
        hold_ms: hold.as_millis() as u64,
        step_down,
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
    let offset = offset.filter(HandoverOffset::is_sound);
    offset.ok_or_else(|| "it does not say where its log ends".to_owned())
}
