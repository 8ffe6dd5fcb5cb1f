//! `POST /replication/handover`: a replica asks this primary to hold its writers, and to step down for it.

use super::problems::problem_of_promote;
use crate::address::Address;
use crate::api::{Handover, HandoverOffset};
use crate::handlers::context::Scratch;
use crate::handlers::status::json;
use crate::handlers::stream::{Answer, LateResponse};
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::Reply;
use crate::http::target;
use crate::node::{Node, PromoteError};
use crate::wal::Role;
use std::time::Duration;

/// Longest time for which writers can be held.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// `POST /replication/handover`. The hold ends with the connection, if not before.
pub(crate) fn handover<'a>(node: &'a Node, head: &Head<'_>, body: &[u8]) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    let asked: Option<Handover> = serde_json::from_slice(body).ok();
    let asked = asked.filter(Handover::is_sound).ok_or_else(|| {
        Problem::new(
            problem::SHAPE,
            "it is no handover, or its checksum does not match",
        )
    })?;
    if asked.id != node.log_id().to_string() {
        let why = format!("the log of this node has the id {}", node.log_id());
        return Err(Problem::new(problem::OTHER_LOG, why));
    }
    let address = Address::of_node(&asked.address).ok_or_else(|| {
        Problem::new(problem::SHAPE, "its address is none that leads to a node").field("address")
    })?;
    Ok(Answer::Later(Box::new(move |workspace| {
        // A node that has given up meanwhile takes nothing over: writers are not held for it.
        if workspace.connection.has_gone() {
            return Err(Problem::new(problem::NOT_READY, "the node that asked has gone"));
        }
        *workspace.held_for = Some(asked.node).filter(|_| asked.hold_ms > 0);
        hand_over(node, &asked, &address, workspace.scratch).map(LateResponse::Reply)
    })))
}

fn hand_over(node: &Node, asked: &Handover, address: &str, scratch: &mut Scratch) -> Result<Reply, Problem> {
    if node.is_elected() {
        return Err(problem_of_promote(&PromoteError::Elected));
    }
    let is_asked = node.role() == Role::Primary || node.has_stepped_down_for(asked.node);
    if !is_asked || asked.term != node.term().bits().to_string() {
        return Err(Problem::new(problem::NOT_READY, "the node is not primary in that term").retry_after(1));
    }
    let hold = Duration::from_millis(asked.hold_ms).min(HOLD_MAX);
    let successors = node.successors_of_handover();
    let done = if asked.step_down {
        node.step_down_for(asked.node, asked.attempt, address)
            .map(|()| node.written())
    } else if hold.is_zero() {
        node.end_handover(asked.node, asked.attempt);
        Ok(node.written())
    } else {
        node.hand_over(asked.node, address, hold)
    };
    match done {
        Ok(offset) => {
            let answer = HandoverOffset {
                offset,
                successors,
                check: 0,
            };
            Ok(json(scratch, &answer.sealed()))
        }
        // The node that asked says what that means for it.
        Err(PromoteError::NoHandover(why)) => Err(Problem::new(problem::NOT_READY, why).retry_after(1)),
        Err(error) => Err(problem_of_promote(&error)),
    }
}
