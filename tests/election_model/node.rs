//! A node: a machine, a log, and what the program around them does.

use super::etcd::TTL;
use super::{Mutant, Run};
use pykv::internals::election::{
    Answer, Ask, Config, Facts, Failure, Follower, Leader, Machine, Remembered, Reply, Request, Standby,
};
use std::collections::BTreeMap;

/// A record: a write, or the beginning of a term where it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub term: u64,
    pub write: Option<u64>,
}

/// What a node waits for.
#[derive(Clone, Debug)]
pub enum Busy {
    Etcd {
        request: Request,
        sent: u64,
        /// The answer, which is on its way; none where none comes, or none yet.
        reply: Option<Result<Reply, Failure>>,
        /// Etcd was asked, or the question is lost.
        is_settled: bool,
    },
    Members {
        ask: Ask,
        sent: u64,
        answers: Option<Vec<Answer>>,
    },
}

/// A write that is in the log and not answered.
#[derive(Clone, Copy, Debug)]
pub struct Unanswered {
    pub write: u64,
    pub end: u64,
}

/// What outlives a process, and can be copied.
#[derive(Clone, Debug)]
pub struct Dir {
    pub log: Vec<Record>,
    pub log_id: u64,
    pub remembered: Option<Remembered>,
    pub runs: Vec<String>,
}

impl Dir {
    pub fn empty(log_id: u64) -> Dir {
        Dir {
            log: Vec::new(),
            log_id,
            remembered: None,
            runs: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub address: String,
    pub process: u64,
    pub machine: Machine,
    pub is_up: bool,
    /// The process is suspended until then.
    pub suspended_until: u64,
    /// How far its clock is from that of the world.
    pub skew: i64,
    pub drifted_at: u64,
    pub dir: Dir,
    pub is_primary: bool,
    pub is_held: bool,
    /// The standbys that a write waits for.
    pub required: Vec<Standby>,
    /// A mutant takes these later.
    pub required_late: Option<(Vec<Standby>, u32)>,
    /// Up to where each follower has asked, and when: its address and its process.
    pub asked: BTreeMap<(String, String), (u64, u64)>,
    pub unanswered: Vec<Unanswered>,
    pub follows: Option<Leader>,
    pub busy: Option<Busy>,
    pub wait_until: u64,
}

impl Node {
    pub fn new(at: usize, run: &Run) -> Node {
        // The one beyond the last has the address of the first.
        let address = format!("n{}:1", at % run.nodes);
        let mut node = Node {
            machine: machine(&address, at as u64, run),
            process: at as u64,
            address,
            is_up: true,
            suspended_until: 0,
            skew: 100_000 * at as i64,
            drifted_at: 0,
            dir: Dir::empty(at as u64),
            is_primary: false,
            is_held: false,
            required: Vec::new(),
            required_late: None,
            asked: BTreeMap::new(),
            unanswered: Vec::new(),
            follows: None,
            busy: None,
            wait_until: 0,
        };
        node.restart(at as u64, run);
        node
    }

    /// A new process on the same directory.
    pub fn restart(&mut self, process: u64, run: &Run) {
        self.machine = machine(&self.address, process, run);
        self.process = process;
        self.is_up = true;
        self.suspended_until = 0;
        self.busy = None;
        self.wait_until = 0;
        self.follows = None;
        self.demote();
    }

    pub fn demote(&mut self) {
        self.is_primary = false;
        self.is_held = false;
        self.required.clear();
        self.required_late = None;
        self.asked.clear();
        self.unanswered.clear();
    }

    pub fn local(&self, now: u64) -> u64 {
        now.wrapping_add_signed(self.skew)
    }

    pub fn is_running(&self, now: u64) -> bool {
        self.is_up && now >= self.suspended_until
    }

    pub fn process_name(&self) -> String {
        format!("{:x}", self.process)
    }

    /// The number of its term, in the upper half.
    pub fn term(&self) -> u64 {
        self.dir.log.last().map_or(1, |record| record.term) << 32
    }

    pub fn end(&self) -> u64 {
        self.dir.log.len() as u64
    }

    /// Whether it may take writes, or answer them.
    pub fn is_open(&self, now: u64, mutant: Mutant) -> bool {
        let deadline = match mutant {
            Mutant::OpenBeforeSync if self.is_primary => u64::MAX,
            _ => self.machine.deadline(),
        };
        self.is_up && self.is_primary && self.local(now) < deadline
    }

    pub fn facts(&self, now: u64) -> Facts {
        let start = self.dir.log.iter().rposition(|record| record.write.is_none());
        let start = start.unwrap_or(0) as u64;
        let followers = self.asked.iter().map(|((node, process), (offset, at))| Follower {
            node: node.clone(),
            process: process.clone(),
            offset: *offset,
            silence: self.local(now).saturating_sub(*at),
        });
        Facts {
            log: format!("{}", self.dir.log_id),
            term: self.term(),
            is_primary: self.is_primary,
            is_synced: true,
            is_empty: self.dir.log.is_empty(),
            ailment: None,
            written: self.end(),
            appended: self.end(),
            start,
            first: start + 1,
            followers: followers.collect(),
            remembered: self.dir.remembered.clone(),
            runs: self.dir.runs.clone(),
        }
    }

    /// Whether all who must have a write have it.
    pub fn is_covered(&self, end: u64, now: u64, mutant: Mutant) -> bool {
        let has = |standby: &Standby, asked: &(String, String)| {
            let (node, process) = asked;
            let is_process = *process == standby.process || mutant == Mutant::AddressIsEnough;
            *node == standby.node && is_process
        };
        self.required.iter().all(|standby| {
            let followers = self.asked.iter().filter(|(asked, _)| has(standby, asked));
            let (offset, at) = followers.map(|(_, asked)| *asked).max().unwrap_or_default();
            let is_silent = self.local(now).saturating_sub(at) > TTL / 4;
            offset >= end || mutant == Mutant::RemovedBeforeUnnamed && is_silent
        })
    }
}

fn machine(address: &str, process: u64, run: &Run) -> Machine {
    Machine::new(Config {
        cluster: "shop".to_owned(),
        node: address.to_owned(),
        process: format!("{process:x}"),
        ttl: TTL,
        standbys: run.standbys,
        failsafe: run.has_failsafe,
        lag_bytes_max: 5,
        silence_max: TTL / 4,
        shown_for: 4 * TTL,
    })
}
