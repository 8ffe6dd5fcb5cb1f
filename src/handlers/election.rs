//! The handlers of a cluster in which etcd decides who is primary: see [`crate::election`].

use super::cluster_view::{is_primary, report_of, shared, span};
use super::consistency::lease_over;
use super::context::{NodeContext, Scratch};
use super::status::{json, passed};
use super::stream::{Answer, LateResponse};
use crate::address::Address;
use crate::api::{self, Elected, Paused};
use crate::election::{self, Machine, Question, Report, Sealed};
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::Reply;
use crate::http::target;
use crate::node::{Node, election_now};
use crate::wal::Role;
use std::thread;
use std::time::{Duration, Instant};

/// How long a change of the primary may take until it is said that it has not come.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(15);

/// How long a node that was ordered to take over keeps trying.
const FORCE_TIME: Duration = Duration::from_secs(15);

/// How long a node that etcd names as the primary may take to be it before the change counts as made all the same, and
/// how often that is looked at.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);
const SETTLE_EVERY: Duration = Duration::from_millis(5);

/// `POST /replication/election`
pub(crate) fn question(
    node: &Node,
    head: &Head<'_>,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Reply, Problem> {
    let [] = target::parameters(head.query, [])?;
    let shared = shared(node)?;
    let question: Option<Sealed<Question>> = serde_json::from_slice(body).ok();
    let question = question.and_then(Sealed::open).ok_or_else(|| {
        Problem::new(
            problem::SHAPE,
            "it is no question of a member, or its checksum is wrong",
        )
    })?;
    let facts = node.facts();
    let answer = shared.look(|machine| {
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

/// Refuses what needs etcd while it does not answer: says what holds meanwhile, and what to do.
fn needs_etcd(report: &Report) -> Result<(), Problem> {
    let Some(outage) = &report.outage else {
        return Ok(());
    };
    let meanwhile = match &report.confirmed {
        Some(primary) => format!("{primary} stays primary while every other node confirms it"),
        None => "no node becomes primary before it does".to_owned(),
    };
    let why = format!(
        "etcd has not answered this node for {} ({}), and nothing was done; {meanwhile}; bring etcd back, and send this \
         again",
        span(outage.time),
        outage.why
    );
    Err(Problem::new(problem::NOT_READY, why).retry_after(1))
}

/// `POST /switchover`
pub(crate) fn switchover<'a>(context: NodeContext<'a>, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [to] = target::parameters(head.query, ["to"])?;
    let node = context.node;
    let shared = shared(node)?;
    let to = to.map(|to| address(&to)).transpose()?;
    if node.role() != Role::Primary {
        let Some(primary) = node.primary() else {
            needs_etcd(&report_of(node, shared))?;
            let why = "there is no primary that could hand over: `pykv cluster` says why no node takes over";
            return Err(Problem::new(problem::NO_PRIMARY, why).retry_after(1));
        };
        let query = to.map_or(String::new(), |to| format!("?to={}", api::query_value(&to)));
        return Err(elsewhere(&context, &primary, api::PATH_SWITCHOVER, &query));
    }
    Ok(Answer::Later(Box::new(move |workspace| {
        needs_etcd(&report_of(node, shared))?;
        let facts = node.facts();
        let begun = shared.call(|machine| machine.switchover(to.as_deref(), &facts));
        begun.map_err(|refused| not_able(&refused))?;
        let own = node.cluster().address();
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        let changed = shared.wait_for(deadline, |machine| {
            let report = machine.report(election_now(), &facts);
            let is_settled = !report.is_handing_over;
            match report.holder.filter(|_| is_settled) {
                Some(holder) if holder.node != own => Some(Ok(elected(&holder))),
                Some(_) if machine.deadline() > 0 => Some(Err(machine.report(election_now(), &facts))),
                _ => None,
            }
        });
        match changed {
            Some(Ok(elected)) => {
                settle(|| is_primary(node, shared, &elected.primary));
                Ok(LateResponse::Reply(json(workspace.scratch, &elected)))
            }
            Some(Err(Report { obstacle, .. })) => {
                let why = obstacle.unwrap_or_else(|| "this node remains the primary".to_owned());
                Err(Problem::new(problem::NOT_READY, why).retry_after(1))
            }
            None => Err(match shared.call(Machine::withdraw_switchover) {
                true => may_be_done(
                    "the primary has stepped down, and no other node is primary yet: one may be soon",
                ),
                false => {
                    let why = "the other node did not get the rest of the log in time: this node remains the primary";
                    Problem::new(problem::NOT_READY, why).retry_after(1)
                }
            }),
        }
    })))
}

/// `POST /failover`
pub(crate) fn failover<'a>(context: NodeContext<'a>, head: &Head<'_>) -> Result<Answer<'a>, Problem> {
    let [to, accept_loss] = target::parameters(head.query, ["to", "accept_loss"])?;
    let node = context.node;
    let shared = shared(node)?;
    let missing = |field: &'static str, why: &'static str| Problem::new(problem::BAD_QUERY, why).field(field);
    let to = to.ok_or_else(|| missing("to", "name the node that is to be primary, as host:port"))?;
    let to = address(&to)?;
    if !target::flag("accept_loss", accept_loss.as_deref())? {
        let why = "writes may be lost that the node does not have: say that this is accepted";
        return Err(missing("accept_loss", why));
    }
    let facts = node.facts();
    let report = shared.look(|machine| machine.report(election_now(), &facts));
    needs_etcd(&report)?;
    if let Some(holder) = &report.holder {
        let why = format!(
            "{} is primary in term {}: `pykv switchover --to {to}` hands over without a loss",
            holder.node, holder.term
        );
        return Err(Problem::new(problem::IS_PRIMARY, why));
    }
    if to != node.cluster().address() {
        let is_there = |member: &election::MemberReport| member.node == to && member.gone_for.is_none();
        if !report.members.iter().any(is_there) {
            return Err(not_able(&[(to, "no member has this address".to_owned())]));
        }
        let query = format!("?to={}&accept_loss=true", api::query_value(&to));
        return Err(elsewhere(&context, &to, api::PATH_FAILOVER, &query));
    }
    Ok(Answer::Later(Box::new(move |workspace| {
        shared.call(|machine| machine.force(election_now(), FORCE_TIME.as_nanos() as u64));
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        let changed = shared.wait_for(deadline, |machine| {
            (machine.deadline() > 0)
                .then(|| machine.report(election_now(), &facts).holder)
                .flatten()
        });
        match changed {
            Some(holder) => {
                settle(|| node.role() == Role::Primary);
                Ok(LateResponse::Reply(json(workspace.scratch, &elected(&holder))))
            }
            None => {
                let report = report_of(node, shared);
                if shared.call(Machine::withdraw_force) {
                    return Err(may_be_done(
                        "etcd was asked to make this node primary, and has not answered",
                    ));
                }
                needs_etcd(&report)?;
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
    let shared = shared(node)?;
    Ok(Answer::Later(Box::new(move |workspace| {
        needs_etcd(&report_of(node, shared))?;
        shared.call(|machine| machine.pause(is_paused));
        let deadline = Instant::now() + CHANGE_TIME_MAX;
        let done = shared.wait_for(deadline, |machine| {
            machine.is_paused().filter(|now| *now == is_paused)
        });
        match done {
            Some(paused) => Ok(LateResponse::Reply(json(workspace.scratch, &Paused { paused }))),
            None => {
                if shared.call(Machine::withdraw_pause) {
                    return Err(may_be_done(
                        "etcd was asked for it, and has not said that it is done",
                    ));
                }
                needs_etcd(&report_of(node, shared))?;
                let why = "it was not done in time, and is not tried any more";
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
    if let Some(shared) = node.election() {
        let (still, max) = shared.still_for();
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

/// Waits for the node that etcd names to be primary, so that whoever reads the answer finds it so. Its log begins the
/// term first, a moment after etcd has named it.
fn settle(is_primary: impl Fn() -> bool) {
    let deadline = Instant::now() + SETTLE_TIME_MAX;
    while !is_primary() && Instant::now() < deadline {
        thread::sleep(SETTLE_EVERY);
    }
}

fn elected(holder: &election::Holder) -> Elected {
    Elected {
        primary: holder.node.clone(),
        term: holder.term,
    }
}

fn address(text: &str) -> Result<String, Problem> {
    Address::of_node(text).ok_or_else(|| {
        Problem::new(
            problem::BAD_QUERY,
            "a node is named by HOST:PORT, as GET /cluster shows it",
        )
        .field("to")
    })
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

/// It was begun, and nobody can say yet what comes of it.
fn may_be_done(why: &str) -> Problem {
    let why = format!("it may have been done, or be done yet: {why}; `pykv cluster` shows what holds");
    Problem::new(problem::UNKNOWN_OUTCOME, why)
        .outcome("unknown")
        .retry_after(1)
}

fn no_primary_yet() -> Problem {
    let why = "there is no primary yet: `pykv cluster` says why";
    Problem::new(problem::NO_PRIMARY, why).retry_after(1)
}
