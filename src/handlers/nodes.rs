//! `GET /nodes`: how the other nodes are, each by what it says of itself. A browser may ask the node alone that its page
//! came from, so this node asks them for it.

use super::status::json;
use super::stream::{Answer, LateResponse};
use crate::api;
use crate::http::problem::Problem;
use crate::http::request::Head;
use crate::http::target;
use crate::node::{Node, election_now};
use crate::replication;
use std::collections::BTreeSet;

/// Most nodes that are asked.
const NODES_MAX: usize = 32;

pub(crate) fn get<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    Ok(Answer::Later(Box::new(move |workspace| {
        let nodes = replication::ask_nodes(node, &addresses(node));
        Ok(LateResponse::Reply(json(
            workspace.scratch,
            &api::Nodes { nodes },
        )))
    })))
}

/// Where the others are: those that it follows or shall follow, those that follow it, and the members of its cluster.
fn addresses(node: &Node) -> Vec<String> {
    let cluster = node.cluster();
    let mut known: BTreeSet<String> = cluster.peers().into_iter().collect();
    known.extend(node.primary());
    known.extend(node.followers().into_iter().map(|follower| follower.address));
    known.extend(node.successors().into_iter().map(|(address, _)| address));
    if let Some(desk) = node.election() {
        let facts = node.facts();
        let report = desk.look(|machine| machine.report(election_now(), &facts));
        known.extend(report.members.into_iter().map(|member| member.node));
    }
    known.remove(cluster.address());
    known.into_iter().take(NODES_MAX).collect()
}
