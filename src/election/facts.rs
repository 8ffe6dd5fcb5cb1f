//! What the machine is given, and what it wants done. Moments and durations are numbers of one clock, whatever its unit:
//! nanoseconds in the program, ticks in the model.

use super::question::Ask;
use super::registers::{Leader, Standby};
use super::request::Request;

/// How a node takes part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The name of the cluster.
    pub cluster: String,
    /// How others reach it, as `host:port`.
    pub node: String,
    /// Random: this run of it.
    pub process: String,
    /// How long a lease is to last.
    pub ttl: u64,
    /// How many standbys must have a write before it is answered.
    pub standbys: usize,
    /// Whether a primary continues without etcd while all others confirm it.
    pub failsafe: bool,
    /// How much of what was answered a node may lack that takes over, in bytes.
    pub lag_bytes_max: u64,
    /// After how long a silence a standby is not waited for any more.
    pub silence_max: u64,
    /// For how long a node that is gone is shown.
    pub shown_for: u64,
}

/// What a node keeps of etcd from one start to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// Which etcd it was.
    pub etcd: u64,
    /// The id of the cluster's log, once there was one.
    pub log: Option<String>,
    /// The highest number of a term that etcd has shown.
    pub term: u64,
    /// The last primary that etcd named.
    pub leader: Option<Leader>,
}

impl Standby {
    pub(super) fn of(follower: &Follower) -> Standby {
        Standby {
            node: follower.node.clone(),
            process: follower.process.clone(),
        }
    }
}

/// What follows a primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    /// How others reach it.
    pub node: String,
    /// Which run of it.
    pub process: String,
    /// It has everything before this offset.
    pub offset: u64,
    /// For how long nothing was heard of it.
    pub silence: u64,
}

/// How the node is, apart from the election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The id of its log.
    pub log: String,
    /// The term of its log: the number in the upper 32 bits, and a mark.
    pub term: u64,
    /// Whether it is primary.
    pub is_primary: bool,
    /// Whether it holds all of some state.
    pub is_synced: bool,
    /// Whether it has nothing yet, and never had.
    pub is_empty: bool,
    /// Why its log takes no writes; none where it does.
    pub ailment: Option<String>,
    /// How far its log is written.
    pub written: u64,
    /// Where its log ends, with what is to be written yet.
    pub appended: u64,
    /// Where its term begins.
    pub start: u64,
    /// The first offset that its term gives.
    pub first: u64,
    /// Those that follow it.
    pub followers: Vec<Follower>,
    /// What it kept of etcd.
    pub remembered: Option<Remembered>,
    /// The runs of this directory that etcd may know, the latest last. A copy of it has those of before.
    pub runs: Vec<String>,
}

impl Facts {
    /// The number of the term.
    pub fn number(&self) -> u64 {
        self.term >> 32
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// To ask etcd; `Machine::etcd` takes what it answers.
    Etcd(Request),
    /// To ask other members; `Machine::members` takes what they answer.
    Members(Ask),
    /// To become primary in the term of this number; `Machine::promoted` takes what came of it.
    Promote(u64),
    /// To become a replica, for this reason.
    Demote(String),
    /// To follow this primary.
    Follow(Leader),
    /// To wait for these standbys before a write is answered.
    Require(Vec<Standby>),
    /// To hold writers for so long at most.
    Hold(u64),
    /// To hold them no longer.
    Release,
    /// To tell the operator.
    Warn(String),
    /// To keep this over a restart.
    Remember(Remembered),
    /// To keep over a restart that these are the runs of this directory.
    KeepRuns(Vec<String>),
    /// To do nothing before this moment, unless something happens.
    Wait(u64),
    /// Nothing, ever again.
    Stopped,
}
