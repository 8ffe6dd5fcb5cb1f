//! The machine's state. What it does is in `machine`, `membership`, `primary`, `standbys`, `handover` and `racing`.

use super::facts::{Config, Step};
use super::leadership::Leadership;
use super::occupant::Occupant;
use super::question::Answer;
use super::registers::{self, Leader, Standby, SteppedDown};
use super::request::{Compare, Request, Txn};
use super::view::View;
use std::collections::BTreeMap;

/// What etcd, or the members, were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    Nothing,
    Grant,
    KeepAlive,
    Read,
    Register,
    OwnAddress,
    Leave,
    Acquire { term: u64 },
    Reacquire,
    Open,
    Sync(Vec<Standby>),
    Failsafe(Vec<String>),
    Status,
    Release,
    Pause,
    States,
    Confirmation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) id: i64,
    pub(super) ttl: u64,
    /// When the grant or the last renewal was sent.
    pub(super) renewed: u64,
}

impl Lease {
    /// When the node stops to rely on the lease: well before etcd can give the key to another node.
    pub(super) fn deadline(&self) -> u64 {
        self.renewed + self.ttl * 2 / 3
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Following,
    /// Etcd was asked for the key; whether it gave it is to be read.
    Acquiring {
        term: u64,
    },
    /// The key is this node's, and its term is to begin.
    Promoting {
        term: u64,
    },
    Leading(Box<Leadership>),
    /// It has stepped down in order, and gives the key away.
    Releasing {
        term: u64,
        to: Option<String>,
        /// The nodes to record in `sync` as having every write; none where it records nobody.
        standbys: Option<Vec<Standby>>,
    },
    Stopped,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) stage: Stage,
    pub(super) pending: Pending,
    pub(super) lease: Option<Lease>,
    /// The lease that this node's key in etcd hangs on, where it has one.
    pub(super) registered_under: Option<i64>,
    /// Another process that etcd names at this node's address.
    pub(super) occupant: Option<Occupant>,
    /// What the operator is to know.
    pub(super) warning: Option<String>,
    /// The runs of the directory are not written down again before this moment.
    pub(super) keep_runs_at: u64,
    pub(super) renew_at: u64,
    pub(super) read_at: u64,
    /// Something has changed since the last read was asked for.
    pub(super) is_woken: bool,
    /// Etcd is asked nothing before this moment.
    pub(super) retry_at: u64,
    /// Why etcd did not answer, where it did not.
    pub(super) failure: Option<String>,
    /// Since when it has not.
    pub(super) failing_since: Option<u64>,
    pub(super) view: Option<View>,
    /// The nodes that were members, and when each was last one.
    pub(super) last_seen: BTreeMap<String, u64>,
    /// When the last read was sent that was answered.
    pub(super) viewed_at: u64,
    pub(super) followed: Option<Leader>,
    /// Whom this node has confirmed as primary, and until when it does not take over for that.
    pub(super) promised: Option<(Leader, u64)>,
    /// What other members answered when this node was about to take over.
    pub(super) answers: Option<Vec<Answer>>,
    /// The earliest moment of the next attempt to take over.
    pub(super) race_at: u64,
    /// Why this node does not take over.
    pub(super) obstacle: Option<String>,
    /// That the last primary has stepped down, and when it was first seen.
    pub(super) stepped_down: Option<(SteppedDown, u64)>,
    /// Until when the operator wants this node to take over, whatever it lacks.
    pub(super) forced_until: u64,
    pub(super) handover: Option<Handover>,
    pub(super) pause_request: Option<PauseRequest>,
    pub(super) is_stopping: bool,
    /// Etcd did not answer since the node was to stop: it is not asked any more.
    pub(super) is_cut_off: bool,
    /// When this process first looked.
    pub(super) started_at: Option<u64>,
}

/// The operator wants takeovers to be paused, or resumed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PauseRequest {
    pub(super) is_paused: bool,
    /// Etcd was asked, and has not said whether it did it.
    pub(super) is_in_doubt: bool,
}

/// A handover that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handover {
    /// Who takes over; none where nobody can, and the node stops all the same.
    pub(super) to: Option<String>,
    /// When it is given up; none where it has not begun.
    pub(super) until: Option<u64>,
    /// Whether the process ends then.
    pub(super) is_stop: bool,
    /// Nobody wants it any more.
    pub(super) is_given_up: bool,
}

impl Machine {
    /// A node that knows nothing yet.
    pub fn new(config: Config) -> Machine {
        Machine {
            config,
            stage: Stage::Following,
            pending: Pending::Nothing,
            lease: None,
            registered_under: None,
            occupant: None,
            warning: None,
            keep_runs_at: 0,
            renew_at: 0,
            read_at: 0,
            is_woken: false,
            retry_at: 0,
            failure: None,
            failing_since: None,
            view: None,
            last_seen: BTreeMap::new(),
            viewed_at: 0,
            followed: None,
            promised: None,
            answers: None,
            race_at: 0,
            obstacle: None,
            stepped_down: None,
            forced_until: 0,
            handover: None,
            pause_request: None,
            is_stopping: false,
            is_cut_off: false,
            started_at: None,
        }
    }

    /// Until when the node may take writes, and answer them; 0 where it may not.
    pub fn deadline(&self) -> u64 {
        match &self.stage {
            Stage::Leading(leading) if leading.is_open => leading.deadline,
            _ => 0,
        }
    }

    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.config.cluster
    }

    /// Whether the node is to stop.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether nothing is to be done any more.
    pub fn has_stopped(&self) -> bool {
        self.stage == Stage::Stopped
    }

    /// Stops at once and drops what was begun. The process ends, so its lease in etcd expires.
    pub fn give_up(&mut self) {
        self.stage = Stage::Stopped;
    }

    /// Something has changed in etcd.
    pub fn wake(&mut self) {
        self.is_woken = true;
        self.read_at = 0;
    }

    pub(super) fn ask(&mut self, pending: Pending, request: Request) -> Step {
        self.is_woken &= pending != Pending::Read;
        self.pending = pending;
        Step::Etcd(request)
    }

    /// This run of this node.
    pub(super) fn own(&self) -> Standby {
        Standby {
            node: self.config.node.clone(),
            process: self.config.process.clone(),
        }
    }

    /// The key of the primary, as this node writes it.
    pub(super) fn leader(&self, term: u64) -> Leader {
        Leader {
            node: self.config.node.clone(),
            process: self.config.process.clone(),
            term,
        }
    }

    /// A transaction that succeeds only if this node holds the key in `term`.
    pub(super) fn holds_key(&self, term: u64) -> Txn {
        let mine = registers::text(&self.leader(term));
        Txn::when(Compare::Value(registers::LEADER.to_owned(), mine))
    }

    /// When there is something to do again, if nothing happens.
    pub(super) fn due(&self) -> u64 {
        self.renew_at
            .min(self.read_at)
            .min(self.ask_own_at())
            .max(self.retry_at)
    }

    /// How long a lease lasts.
    pub fn lease_time(&self) -> u64 {
        self.ttl()
    }

    pub(super) fn ttl(&self) -> u64 {
        self.lease.as_ref().map_or(self.config.ttl, |lease| lease.ttl)
    }
}
