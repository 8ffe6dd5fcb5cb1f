//! The thread `elector`: drives the machine of [`crate::election`], where etcd decides who is primary.
//!
//! It asks the machine what to do, does it, and says what came of it: one thing at a time. The thread `watch` beside it
//! calls it when keys change in etcd; without that thread everything happens a little later.
//!
//! # What must hold
//! - No request to etcd outlasts a sixth of the lease, and no other member is waited for longer than the machine says.
//! - The time of a question is taken before it is sent.
//! - The fence is the machine's deadline at every moment: [`SharedMachine`] moves it. This thread may be as late as it
//!   likes.

mod members;
mod register;

pub(crate) use members::ask as ask_members;
pub(crate) use register::Etcd;

use crate::boot_clock::BootInstant;
use crate::election::{Machine, Request, SharedMachine, Step};
use crate::etcd::Stop;
use crate::node::{Node, election_now};
use std::time::{Duration, Instant};

/// The least pause between two steps of which nothing comes.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Runs until the machine has stopped.
pub(super) fn run(node: &Node, etcd: &Etcd) {
    let Some(shared) = node.election() else {
        return;
    };
    let watch = Stop::new();
    std::thread::scope(|scope| {
        let watcher = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn_scoped(scope, || {
                etcd.watch(&watch, || shared.call(Machine::wake));
            });
        if let Err(error) = watcher {
            log::warn!(
                "cannot start a thread that watches etcd, which is asked now and then all the same: {error}"
            );
        }
        let mut elector = Elector {
            node,
            shared,
            etcd,
            failed: None,
            has_answered: false,
        };
        while elector.turn() {}
        watch.stop();
    });
}

struct Elector<'a> {
    node: &'a Node,
    shared: &'a SharedMachine,
    etcd: &'a Etcd,
    /// Since when etcd does not answer, and what the log says of it.
    failed: Option<(BootInstant, Vec<String>)>,
    /// Whether etcd has answered since the node was started.
    has_answered: bool,
}

impl Elector<'_> {
    /// Does what is next; `false` where nothing is, ever again.
    fn turn(&mut self) -> bool {
        let facts = self.node.facts();
        let step = self.shared.drive(|machine| machine.next(election_now(), &facts));
        match step {
            Step::Etcd(request) => self.ask_etcd(&request),
            Step::Members(ask) => {
                let sent = election_now();
                let answers = ask_members(self.node, self.etcd.cluster(), &ask);
                self.shared
                    .drive(|machine| machine.members(sent, election_now(), answers));
            }
            Step::Promote(number) => {
                log::info!("etcd names this node as the primary of term {number}");
                let led = self.node.lead(number);
                let led = led.map(|_| ()).map_err(|error| {
                    log::error!("this node cannot be primary, though etcd names it: {error}");
                    error.to_string()
                });
                self.shared.drive(|machine| machine.promoted(election_now(), led));
            }
            Step::Demote(why) => {
                match self.shared.look(|machine| machine.is_handing_over()) {
                    true => log::info!("this node is no longer primary: {why}"),
                    false => log::warn!("this node is no longer primary: {why}"),
                }
                self.node.follow_again();
            }
            Step::Follow(leader) => {
                log::info!(
                    "this node follows {}, the primary of term {}",
                    leader.node,
                    leader.term
                );
                self.node
                    .follow_leader(&leader.node, &leader.process, leader.term);
            }
            Step::Require(nodes) => {
                let names: Vec<&str> = nodes.iter().map(|standby| standby.node.as_str()).collect();
                match names.is_empty() {
                    true => log::info!("writes wait for no replica"),
                    false => log::info!("writes wait for {}", names.join(" and ")),
                }
                self.node.require_followers(&nodes);
            }
            Step::Hold(time) => self.node.hold_for_handover(Duration::from_nanos(time)),
            Step::Release => self.node.release_writers(),
            Step::Warn(what) => log::warn!("{what}"),
            Step::Remember(seen) => self.node.remember_etcd(seen),
            Step::KeepRuns(runs) => self.node.keep_runs(runs),
            Step::Wait(until) => {
                let left = Duration::from_nanos(until.saturating_sub(election_now()));
                self.shared.rest(left.max(PAUSE_MIN));
            }
            Step::Stopped => return false,
        }
        true
    }

    fn ask_etcd(&mut self, request: &Request) {
        let sent = election_now();
        let time_max = self.etcd.ttl() / register::TIME_SHARE;
        let time_max = match self.shared.look(|machine| machine.is_stopping()) {
            true => time_max.min(STOP_ASK_TIME_MAX),
            false => time_max,
        };
        let reply = self.etcd.ask(request, time_max);
        match &reply {
            Ok(_) => {
                self.has_answered = true;
                if let Some((since, _)) = self.failed.take() {
                    let seconds = since.elapsed().as_secs();
                    log::info!("etcd answers again, after {seconds} s");
                }
            }
            Err(failure) => {
                let failed = self.failed.get_or_insert((BootInstant::now(), Vec::new()));
                let logged = &mut failed.1;
                // A dead host is refused and silent in turns: each reason is logged once.
                if logged.len() < REASONS_MAX && !logged.contains(&failure.why) {
                    logged.push(failure.why.clone());
                    let why = &failure.why;
                    match self.has_answered {
                        true => log::warn!("{why}"),
                        false => log::warn!("{why}; before etcd answers, this node is not primary"),
                    }
                }
            }
        }
        self.shared
            .drive(|machine| machine.etcd(sent, election_now(), reply));
    }
}

/// Reasons that are logged of one time in which etcd does not answer.
const REASONS_MAX: usize = 8;

/// How long a request to etcd may take once the node is to stop.
const STOP_ASK_TIME_MAX: Duration = Duration::from_millis(500);

/// How long a node that stops may take to hand over, beyond half of a lease.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);

/// Has the node hand over, where it is primary, and leave the cluster; returns when it has, or after a time.
pub(crate) fn retire(node: &Node, etcd: &Etcd) {
    let Some(shared) = node.election() else {
        return;
    };
    let facts = node.facts();
    shared.call(|machine| machine.stop(&facts));
    let deadline = Instant::now() + etcd.ttl() / 2 + STOP_TIME_MAX;
    let stopped = shared.wait_for(deadline, |machine| machine.has_stopped().then_some(()));
    if stopped.is_none() {
        log::warn!("the node has not handed over in time; the others take over once its lease is over");
        // Without etcd the machine would try for ever.
        shared.call(Machine::give_up);
    }
}
