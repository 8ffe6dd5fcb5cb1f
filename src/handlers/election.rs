//! The handlers of a cluster in which etcd decides who is primary: see [`crate::election`].

use super::consistency::lease_over;
use super::context::{NodeContext, Scratch};
use super::status::{json, passed};
use super::stream::{Answer, LateResponse};
use crate::address::Address;
use crate::api::{self, ClusterMember, ClusterView, Elected, Paused};
use crate::election::{self, Ask, Desk, Question, Report, Sealed};
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::Reply;
use crate::http::target;
use crate::node::{Node, election_now};
use crate::replication;
use crate::wal::Role;
use std::time::{Duration, Instant};

/// How long a change of the primary may take until it is said that it has not come.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(15);

/// How long a node that was ordered to take over keeps trying.
const FORCE_TIME: Duration = Duration::from_secs(15);

/// How long other members may take to say how they are.
const MEMBERS_TIME_MAX: Duration = Duration::from_secs(1);

fn desk(node: &Node) -> Result<&Desk, Problem> {
    node.election().ok_or_else(|| {
        let why = "this node was started without --etcd; `pykv promote` makes a replica the primary";
        Problem::new(problem::NOT_ELECTED, why)
    })
}

/// `POST /replication/election`
pub(crate) fn question(
    node: &Node,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let desk = desk(node)?;
    let question: Option<Sealed<Question>> = serde_json::from_slice(body).ok();
    let question = question.and_then(Sealed::open).ok_or_else(|| {
        Problem::new(
            problem::SHAPE,
            "it is no question of a member, or its checksum is wrong",
        )
    })?;
    let facts = node.facts();
    let answer = desk.look(|machine| {
        let is_same = machine.cluster() == question.cluster;
        is_same.then(|| machine.answer(election_now(), question.confirm.as_ref(), &facts))
    });
    match answer {
        Some(answer) => Ok(json(scratch, &Sealed::new(answer))),
        None => {
            let why = format!("this node is of another cluster than {}", question.cluster);
            Err(Problem::new(problem::OTHER_LOG, why))
        }
    }
}

/// `GET /cluster`
pub(crate) fn cluster<'a>(node: &'a Node, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    let desk = desk(node)?;
    Ok(Answer::Later(Box::new(move |workspace| {
        let view = view(node, desk);
        Ok(LateResponse::Reply(json(workspace.scratch, &view)))
    })))
}

/// What this node knows, and what the others say of themselves.
fn view(node: &Node, desk: &Desk) -> ClusterView {
    let facts = node.facts();
    let now = election_now();
    let (report, own, name) = desk.look(|machine| {
        let report = machine.report(now, &facts);
        let own = machine.answer(now, None, &facts);
        (report, own, machine.cluster().to_owned())
    });
    let own_address = node.cluster().address();
    let others = report.members.iter().map(|member| member.node.clone());
    let ask = Ask {
        addresses: others.filter(|address| address != own_address).collect(),
        confirm: None,
        time_max: MEMBERS_TIME_MAX.as_nanos() as u64,
    };
    let mut answers = desk.see_others(|| replication::ask_members(node, &name, &ask));
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
        etcd_error: report.failure,
        failsafe: report.is_confirmed,
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
            .map(|(answer, primary)| primary.missing_bytes(answer.written)),
        standby: member.is_standby,
        lease_left_seconds: answer
            .and_then(|answer| answer.lease_left)
            .map(|left| Duration::from_nanos(left).as_secs_f64()),
        obstacle: match answer {
            Some(answer) if answer.is_primary => None,
            Some(answer) => answer.obstacle.clone(),
            None => Some("it does not answer".to_owned()),
        },
    }
}

/// `POST /switchover`
pub(crate) fn switchover<'a>(context: NodeContext<'a>, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [to] = target::parameters(head.query, ["to"])?;
    let node = context.node;
    let desk = desk(node)?;
    let to = to.map(|to| address(&to)).transpose()?;
    if node.role() != Role::Primary {
        let Some(primary) = node.primary() else {
            let why = "there is no primary that could hand over: `pykv cluster` says why no node takes over";
            return Err(Problem::new(problem::NO_PRIMARY, why).retry_after(1));
        };
        let query = to.map_or(String::new(), |to| format!("?to={}", api::query_value(&to)));
        return Err(elsewhere(&context, &primary, api::PATH_SWITCHOVER, &query));
    }
    Ok(Answer::Later(Box::new(move |workspace| {
        let facts = node.facts();
        let begun = desk.call(|machine| machine.switchover(to.as_deref(), &facts));
        begun.map_err(|refused| not_able(&refused))?;
        let own = node.cluster().address();
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        let changed = desk.wait_for(deadline, |machine| {
            let report = machine.report(election_now(), &facts);
            let is_settled = !report.is_handing_over;
            match report.holder.filter(|_| is_settled) {
                Some(holder) if holder.node != own => Some(Ok(elected(&holder))),
                Some(_) if machine.deadline() > 0 => Some(Err(machine.report(election_now(), &facts))),
                _ => None,
            }
        });
        match changed {
            Some(Ok(elected)) => Ok(LateResponse::Reply(json(workspace.scratch, &elected))),
            Some(Err(Report { obstacle, .. })) => {
                let why = obstacle.unwrap_or_else(|| "this node remains the primary".to_owned());
                Err(Problem::new(problem::NOT_READY, why).retry_after(1))
            }
            None => Err(no_primary_yet()),
        }
    })))
}

/// `POST /failover`
pub(crate) fn failover<'a>(context: NodeContext<'a>, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [to, accept_loss] = target::parameters(head.query, ["to", "accept_loss"])?;
    let node = context.node;
    let desk = desk(node)?;
    let missing = |field: &'static str, why: &'static str| Problem::new(problem::BAD_QUERY, why).field(field);
    let to = to.ok_or_else(|| missing("to", "name the node that is to be primary, as host:port"))?;
    let to = address(&to)?;
    if !target::flag("accept_loss", accept_loss.as_deref())? {
        let why = "writes may be lost that the node does not have: say that this is accepted";
        return Err(missing("accept_loss", why));
    }
    let facts = node.facts();
    let report = desk.look(|machine| machine.report(election_now(), &facts));
    if let Some(holder) = &report.holder {
        let why = format!(
            "{} is primary in term {}: `pykv switchover --to {to}` hands over without a loss",
            holder.node, holder.term
        );
        return Err(Problem::new(problem::IS_PRIMARY, why));
    }
    if to != node.cluster().address() {
        if report.members.iter().all(|member| member.node != to) {
            return Err(not_able(&[(to, "no member has this address".to_owned())]));
        }
        let query = format!("?to={}&accept_loss=true", api::query_value(&to));
        return Err(elsewhere(&context, &to, api::PATH_FAILOVER, &query));
    }
    Ok(Answer::Later(Box::new(move |workspace| {
        desk.call(|machine| machine.force(election_now(), FORCE_TIME.as_nanos() as u64));
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        let changed = desk.wait_for(deadline, |machine| {
            (machine.deadline() > 0)
                .then(|| machine.report(election_now(), &facts).holder)
                .flatten()
        });
        match changed {
            Some(holder) => Ok(LateResponse::Reply(json(workspace.scratch, &elected(&holder)))),
            None => {
                let facts = node.facts();
                let report = desk.look(|machine| machine.report(election_now(), &facts));
                match report.obstacle {
                    Some(why) => Err(not_able(&[(to, why)])),
                    None => Err(no_primary_yet()),
                }
            }
        }
    })))
}

/// `POST /pause` and `POST /resume`
pub(crate) fn pause<'a>(node: &'a Node, head: &Head<'_>, is_paused: bool) -> Result<Answer<'a>, Problem> {
    let [] = target::parameters(head.query, [])?;
    let desk = desk(node)?;
    Ok(Answer::Later(Box::new(move |workspace| {
        desk.call(|machine| machine.pause(is_paused));
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        let done = desk.wait_for(deadline, |machine| {
            machine.is_paused().filter(|now| *now == is_paused)
        });
        match done {
            Some(paused) => Ok(LateResponse::Reply(json(workspace.scratch, &Paused { paused }))),
            None => {
                let why = "etcd does not answer: it is done once it does";
                Err(Problem::new(problem::NOT_READY, why).retry_after(1))
            }
        }
    })))
}

/// `GET /leader`: whether the node is primary, be its disk full or not.
pub(crate) fn leader(node: &Node, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    if node.role() != Role::Primary {
        return Err(Problem::new(problem::NOT_READY, "the node is a replica").retry_after(1));
    }
    match node.check_lease() {
        Ok(()) => Ok(json(scratch, &passed())),
        Err(_) => Err(lease_over()),
    }
}

/// `GET /liveness`: whether the process does what it should; one that does not is to be started anew.
pub(crate) fn liveness(node: &Node, head: &Head<'_>, scratch: &mut Scratch) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    if let Some(desk) = node.election() {
        let (still, max) = desk.still_for();
        if still > max {
            let why = format!(
                "the thread of the election stands still for {} s",
                still.as_secs()
            );
            return Err(Problem::new(problem::NOT_READY, why).retry_after(1));
        }
    }
    Ok(json(scratch, &passed()))
}

fn elected(holder: &election::Holder) -> Elected {
    Elected {
        primary: holder.node.clone(),
        term: holder.term,
    }
}

fn address(text: &str) -> Result<String, Problem> {
    Address::of_node(text)
        .ok_or_else(|| Problem::new(problem::BAD_QUERY, "it is no address of a node: HOST:PORT").field("to"))
}

fn elsewhere(context: &NodeContext<'_>, node: &str, path: &str, query: &str) -> Problem {
    let location = format!("{}://{node}{path}{query}", context.shared.scheme());
    Problem::new(problem::NOT_PRIMARY, format!("send it to {node}")).header("Location", location)
}

fn not_able(refused: &[(String, String)]) -> Problem {
    let reasons: Vec<String> = refused
        .iter()
        .map(|(node, why)| format!("{node}: {why}"))
        .collect();
    Problem::new(problem::NOT_ABLE, reasons.join("; "))
}

fn no_primary_yet() -> Problem {
    let why = "there is no primary yet: `pykv cluster` says why";
    Problem::new(problem::NO_PRIMARY, why).retry_after(1)
}
