//! How a cluster is in which etcd decides who is primary: `GET /cluster`, and what `/metrics` says of it.

use super::status::json;
use super::stream::{Answer, LateResponse};
use crate::api::{ClusterMember, ClusterView};
use crate::election::{self, Ask, Report, SharedMachine};
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::target;
use crate::node::{Node, election_now};
use crate::replication;
use crate::wal::Role;
use std::time::Duration;

/// How long other members may take to say how they are.
const MEMBERS_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) fn shared(node: &Node) -> Result<&SharedMachine, Problem> {
    node.election().ok_or_else(|| {
        let why = "this node was started without --etcd; `pykv status` shows the nodes that it knows";
        Problem::new(problem::NOT_ELECTED, why)
    })
}

/// `GET /cluster`
pub(crate) fn cluster<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    let shared = shared(node)?;
    Ok(Answer::Later(Box::new(move |workspace| {
        let view = view(node, shared);
        Ok(LateResponse::Reply(json(workspace.scratch, &view)))
    })))
}

/// Whether another member says that it is primary, asked for this.
pub(super) fn is_primary(node: &Node, shared: &SharedMachine, member: &str) -> bool {
    let name = shared.look(|machine| machine.cluster().to_owned());
    let ask = Ask {
        addresses: vec![member.to_owned()],
        confirm: None,
        time_max: MEMBERS_TIME_MAX.as_nanos() as u64,
    };
    let answers = replication::ask_members(node, &name, &ask);
    answers.iter().any(|answer| answer.is_primary)
}

/// What this node knows, and what the others say of themselves.
fn view(node: &Node, shared: &SharedMachine) -> ClusterView {
    let facts = node.facts();
    let now = election_now();
    let (report, own, name) = shared.look(|machine| {
        let report = machine.report(now, &facts);
        let own = machine.answer(now, None, &facts);
        (report, own, machine.cluster().to_owned())
    });
    let own_address = node.cluster().address();
    let there = report.members.iter().filter(|member| member.gone_for.is_none());
    let others = there.map(|member| member.node.clone());
    let ask = Ask {
        addresses: others.filter(|address| address != own_address).collect(),
        confirm: None,
        time_max: MEMBERS_TIME_MAX.as_nanos() as u64,
    };
    let mut answers = shared.see_others(report.holder.as_ref(), || {
        replication::ask_members(node, &name, &ask)
    });
    answers.push(own);
    let primary = answers.iter().find(|answer| answer.is_primary);
    let mut members: Vec<ClusterMember> = report
        .members
        .iter()
        .map(|member| {
            let answer = answers.iter().find(|answer| answer.node == member.node);
            cluster_member(member, answer, primary)
        })
        .collect();
    if members.iter().all(|member| member.node != own_address) {
        let own = election::MemberReport {
            node: own_address.to_owned(),
            is_standby: false,
            gone_for: None,
        };
        members.push(cluster_member(&own, answers.last(), primary));
    }
    for member in members.iter_mut().filter(|member| member.node == own_address) {
        member.obstacle.clone_from(&report.obstacle);
    }
    ClusterView {
        cluster: name,
        node: own_address.to_owned(),
        primary: report.holder.as_ref().map(|holder| holder.node.clone()),
        term: report.holder.as_ref().map(|holder| holder.term),
        read_ms: (report.viewed_at > 0).then(|| now.saturating_sub(report.viewed_at) / 1_000_000),
        etcd_error: report.outage.as_ref().map(|outage| outage.why.clone()),
        etcd_silent_seconds: report.outage.as_ref().map(|outage| seconds(outage.time)),
        failsafe: report.confirmed.is_some(),
        paused: report.is_paused,
        members,
    }
}

fn cluster_member(
    member: &election::MemberReport,
    answer: Option<&election::Answer>,
    primary: Option<&election::Answer>,
) -> ClusterMember {
    let role = |answer: &election::Answer| match answer.is_primary {
        true => Role::Primary,
        false => Role::Replica,
    };
    ClusterMember {
        node: member.node.clone(),
        role: answer.map(|answer| role(answer).name().to_owned()),
        term: answer.map(|answer| answer.term >> 32),
        offset: answer.map(|answer| answer.written),
        lag_bytes: answer
            .zip(primary)
            // Offsets of two terms are of two histories: their difference is no lag.
            .filter(|(answer, primary)| answer.term == primary.term)
            .map(|(answer, primary)| primary.missing_bytes(answer.written)),
        standby: member.is_standby,
        lease_left_seconds: answer.and_then(|answer| answer.lease_left).map(seconds),
        gone_seconds: member.gone_for.map(seconds),
        obstacle: match answer {
            Some(answer) if answer.is_primary => None,
            Some(answer) => answer.obstacle.clone(),
            None => Some(match member.gone_for {
                Some(time) => format!("not seen for {}", span(time)),
                None => "it does not answer".to_owned(),
            }),
        },
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// A time as people say it.
pub(super) fn span(nanoseconds: u64) -> String {
    let seconds = Duration::from_nanos(nanoseconds).as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

pub(super) fn report_of(node: &Node, shared: &SharedMachine) -> Report {
    let facts = node.facts();
    shared.look(|machine| machine.report(election_now(), &facts))
}

/// What `/metrics` says of the election; nothing where etcd decides nothing.
pub(crate) fn gauges(node: &Node) -> Vec<(&'static str, &'static str, f64)> {
    let Some(shared) = node.election() else {
        return Vec::new();
    };
    let report = report_of(node, shared);
    let silent = report.outage.as_ref().map_or(0.0, |outage| seconds(outage.time));
    let standbys = report.members.iter().filter(|member| member.is_standby).count();
    let mut gauges = vec![
        (
            "etcd_silence_seconds",
            "For how long etcd has not answered the node; 0 where it does.",
            silent,
        ),
        (
            "election_paused",
            "1 while takeovers are paused.",
            f64::from(u8::from(report.is_paused)),
        ),
        (
            "election_standbys",
            "Nodes that have every write that was answered.",
            standbys as f64,
        ),
    ];
    if let Some(left) = report.lease_left {
        let help = "For how long the primary may take writes before it must have renewed its lease.";
        gauges.push(("election_lease_seconds", help, seconds(left)));
    }
    gauges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_compares_within_one_term() {
        let answer = |node: &str, term: u64, written: u64| election::Answer {
            node: node.to_owned(),
            process: "1".to_owned(),
            log: "a".to_owned(),
            is_primary: node == "p:1",
            is_empty: false,
            term,
            start: 1000,
            first: 5000,
            written,
            lease_left: None,
            obstacle: None,
            confirms: None,
        };
        let primary = answer("p:1", 3, 5300);
        let lag_of = |term, written| {
            let member = election::MemberReport {
                node: "r:1".to_owned(),
                is_standby: false,
                gone_for: None,
            };
            cluster_member(&member, Some(&answer("r:1", term, written)), Some(&primary)).lag_bytes
        };
        assert_eq!(lag_of(3, 5200), Some(100));
        assert_eq!(lag_of(3, 5300), Some(0));
        assert_eq!(lag_of(2, 900), None);
    }
}
