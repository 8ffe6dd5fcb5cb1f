//! A node's key below `members/`: it says which process is the node of an address.
//!
//! A process is a member only while etcd has its key. Where etcd names another process at its address, this one asks
//! its own address who answers there. If it is this one, the key is what a former run has left, and is replaced. If it
//! is another one, two processes were given one `--advertise`: this one stays out until the other one is gone.
//!
//! Before a process is a member, its name is in its directory. So a directory knows all its runs that the cluster has
//! seen, and a copy of it lacks those that came after the copy: such a copy is not what `sync` names.
//!
//! # What must hold
//! - No process is registered whose name its directory does not have.
//! - A process that finds another one at its address does not begin to follow, and takes nothing over.
//! - What such a process has counts for nothing: the primary looks only at followers that etcd names.

use super::facts::{Facts, Follower, Step};
use super::occupant::{Found, Occupant};
use super::question::{Answer, Ask};
use super::registers::{self, Member};
use super::request::{Compare, Request, Txn};
use super::state::{Machine, Pending, Stage};
use super::view::View;

/// How many runs of its directory a node remembers. `sync` names the last one that it has seen, or one that it was or is
/// registered under since.
const RUNS_MAX: usize = 8;

/// Nodes that are gone and shown all the same.
const GONE_MAX: usize = 16;

impl Machine {
    /// Whether etcd has this node's key, under the present lease.
    pub(super) fn is_registered(&self) -> bool {
        let lease = self.lease.as_ref().map(|lease| lease.id);
        lease.is_some() && self.registered_under == lease
    }

    /// Puts this node's key into etcd, where it may. Comes after a read.
    pub(super) fn register(&mut self, now: u64, facts: &Facts) -> Option<Step> {
        if !facts.runs.contains(&self.config.process) {
            if now < self.keep_runs_at {
                return None;
            }
            // Where the disk takes nothing it is tried again.
            self.keep_runs_at = now + self.ttl() / 12;
            return Some(Step::KeepRuns(self.runs(facts)));
        }
        let (view, lease) = (self.view.as_ref()?, self.lease.as_ref()?.id);
        let key = registers::member_key(&self.config.node);
        let compare = match &self.occupant {
            Some(occupant) => match occupant.found {
                Found::Own => view.unchanged(&key),
                _ if now < occupant.ask_at => return None,
                _ => {
                    self.pending = Pending::OwnAddress;
                    let own = vec![self.config.node.clone()];
                    return Some(Step::Members(Ask::states(own, self.ttl() / 10)));
                }
            },
            None => view.unchanged(&key),
        };
        let txn = Txn::when(compare).put_under(&key, registers::text(&self.member()), Some(lease));
        Some(self.ask(Pending::Register, Request::Txn(txn)))
    }

    /// The runs of this directory, with this one: the last of them, and the one that `sync` names.
    fn runs(&self, facts: &Facts) -> Vec<String> {
        let sync = self.view.as_ref().and_then(|view| view.sync.as_ref());
        let processes = sync.and_then(|sync| sync.value.processes.as_ref());
        let named = processes.and_then(|processes| processes.get(&self.config.node));
        let last = facts.runs.len().saturating_sub(RUNS_MAX - 1);
        let kept = facts.runs.iter().enumerate();
        let kept = kept.filter(|(at, run)| *at >= last || Some(*run) == named);
        let own = self.config.process.clone();
        kept.map(|(_, run)| run.clone()).chain([own]).collect()
    }

    pub(super) fn member(&self) -> Member {
        Member {
            process: self.config.process.clone(),
        }
    }

    /// Whom etcd names at this node's address.
    pub(super) fn see_own_key(&mut self, now: u64, view: &View) {
        let key = registers::member_key(&self.config.node);
        let was_registered = self.is_registered();
        match view.members.get(&self.config.node) {
            Some(member) if member.process == self.config.process => self.occupant = None,
            Some(member) => {
                self.registered_under = None;
                if self.occupant.as_ref().is_none_or(|known| known.member != *member) {
                    self.occupant = Some(Occupant {
                        member: member.clone(),
                        found: Found::Nobody,
                        since: now,
                        ask_at: now,
                        is_reported: false,
                    });
                }
            }
            None => {
                self.registered_under = None;
                self.occupant = None;
                if was_registered {
                    self.warning = Some(format!(
                        "etcd has lost the key {key} of this node, which puts it back"
                    ));
                }
            }
        }
    }

    /// Notes which nodes are there.
    pub(super) fn see_members(&mut self, now: u64, view: &View) {
        for node in view.members.keys() {
            self.last_seen.insert(node.clone(), now);
        }
        let shown_for = self.config.shown_for;
        let is_shown = |node: &String, at: u64| view.members.contains_key(node) || now < at + shown_for;
        self.last_seen.retain(|node, at| is_shown(node, *at));
        while self.last_seen.len() > view.members.len() + GONE_MAX {
            let gone = self
                .last_seen
                .iter()
                .filter(|(node, _)| !view.members.contains_key(*node));
            let Some(oldest) = gone.min_by_key(|(_, at)| **at).map(|(node, _)| node.clone()) else {
                return;
            };
            self.last_seen.remove(&oldest);
        }
    }

    /// Shows a node that is gone no longer; `false` where it was not shown, or is there.
    pub fn forget(&mut self, node: &str) -> bool {
        let is_member = self
            .view
            .as_ref()
            .is_some_and(|view| view.members.contains_key(node));
        !is_member && self.last_seen.remove(node).is_some()
    }

    /// Who answers at this node's own address.
    pub(super) fn asked_own_address(&mut self, now: u64, answers: &[Answer]) {
        let ttl = self.ttl();
        let node = &self.config.node;
        let Some(occupant) = &mut self.occupant else {
            return;
        };
        let is_own = |answer: &Answer| answer.process == self.config.process;
        occupant.found = match answers.first() {
            None => Found::Nobody,
            Some(answer) if is_own(answer) => Found::Own,
            Some(_) => Found::Another,
        };
        occupant.ask_at = match occupant.found {
            Found::Own => now,
            Found::Nobody => now + ttl / 12,
            Found::Another => now + ttl / 3,
        };
        // The key of a process that has ended goes with its lease.
        let is_alive = occupant.found == Found::Another
            || occupant.found == Found::Nobody && now > occupant.since.saturating_add(2 * ttl);
        if is_alive && !occupant.is_reported {
            occupant.is_reported = true;
            self.warning = Some(format!(
                "another process has the address {node} in the cluster {}, so this one takes no part: give each node an \
                 --advertise of its own, or end the other process",
                self.config.cluster
            ));
        }
    }

    /// Why this process is no member, where another one is at its address.
    pub(super) fn occupied(&self) -> Option<String> {
        let occupant = self.occupant.as_ref()?;
        let node = &self.config.node;
        Some(match occupant.found {
            Found::Another => {
                format!("another process has its address {node}: each node needs an --advertise of its own")
            }
            _ => format!(
                "etcd names another process at its address {node}, until the lease of that one is over"
            ),
        })
    }

    /// Whether another process answers at this node's address.
    pub(super) fn is_displaced(&self) -> bool {
        let occupant = self.occupant.as_ref();
        occupant.is_some_and(|occupant| occupant.found == Found::Another)
    }

    /// When the own address is to be asked again, where it is.
    pub(super) fn ask_own_at(&self) -> u64 {
        self.occupant
            .as_ref()
            .map_or(u64::MAX, |occupant| occupant.ask_at)
    }

    /// The nodes have just said which process is at each of their addresses, while etcd cannot.
    pub(super) fn see_processes(&mut self, answers: &[Answer]) {
        let members = self.view.iter_mut().flat_map(|view| view.members.iter_mut());
        for (node, member) in members {
            let answer = answers
                .iter()
                .find(|answer| answer.node == *node && answer.confirms == Some(true));
            if let Some(answer) = answer {
                member.process.clone_from(&answer.process);
            }
        }
    }

    /// Leaves the cluster, as a replica does that stops.
    pub(super) fn leave(&mut self) -> Step {
        if !self.is_registered() || self.is_cut_off {
            self.stage = Stage::Stopped;
            return Step::Stopped;
        }
        self.registered_under = None;
        let key = registers::member_key(&self.config.node);
        let mine = registers::text(&self.member());
        let txn = Txn::when(Compare::Value(key.clone(), mine)).delete(&key);
        self.ask(Pending::Leave, Request::Txn(txn))
    }
}

/// The followers that count: of each member, the process that etcd names.
pub(super) fn members_of<'a>(view: Option<&View>, facts: &'a Facts) -> Vec<&'a Follower> {
    let is_member = |follower: &&Follower| {
        let member = view.and_then(|view| view.members.get(&follower.node));
        member.is_some_and(|member| member.process == follower.process)
    };
    facts.followers.iter().filter(is_member).collect()
}
