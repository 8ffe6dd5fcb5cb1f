//! What a node knows of the election, what it does next, and what it learns.
//!
//! One thing is done at a time. Moments and durations are numbers of one clock, whatever its unit: nanoseconds in the
//! program, ticks in the model. What a change of state waits for is written as a [`Pending`].

use super::drain::Drain;
use super::leading::Leading;
use super::question::{Answer, Ask, Confirm};
use super::registers::{self, Leader, Order};
use super::request::{Compare, Failure, FailureKind, Reply, Request, Txn};
use super::view::View;

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
    /// Whether a primary goes on without etcd while all others confirm it.
    pub failsafe: bool,
    /// How much of what was answered a node may lack that takes over, in bytes.
    pub lag_bytes_max: u64,
    /// After how long a silence a standby is not waited for any more.
    pub silence_max: u64,
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
}

/// What follows a primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    /// How others reach it.
    pub node: String,
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
    /// To ask etcd; [`Machine::etcd`] takes what it answers.
    Etcd(Request),
    /// To ask other members; [`Machine::members`] takes what they answer.
    Members(Ask),
    /// To become primary in the term of this number; [`Machine::promoted`] takes what came of it.
    Promote(u64),
    /// To become a replica, for this reason.
    Demote(String),
    /// To follow this primary.
    Follow(Leader),
    /// To wait for these standbys before a write is answered.
    Require(Vec<String>),
    /// To hold writers for so long at most.
    Hold(u64),
    /// To hold them no longer.
    Release,
    /// To keep this over a restart.
    Remember(Remembered),
    /// To do nothing before this moment, unless something happens.
    Wait(u64),
    /// Nothing, ever again.
    Stopped,
}

/// What etcd, or the members, were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    Nothing,
    Grant,
    KeepAlive,
    Read,
    Register,
    Acquire { term: u64 },
    Reacquire,
    Open,
    Sync(Option<Vec<String>>),
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
    /// Up to when the node counts on it: well before etcd can give the key to another node.
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
    Leading(Box<Leading>),
    /// It has stepped down in order, and gives the key away.
    Releasing {
        term: u64,
        to: Option<String>,
        /// Who has every write, as `sync` is to say; none where it says nothing of that.
        standbys: Option<Vec<String>>,
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
    pub(super) is_registered: bool,
    pub(super) renew_at: u64,
    pub(super) read_at: u64,
    /// Etcd is asked nothing before this moment.
    pub(super) retry_at: u64,
    /// Why etcd did not answer, where it did not.
    pub(super) failure: Option<String>,
    pub(super) view: Option<View>,
    /// When the last read was sent that was answered.
    pub(super) viewed_at: u64,
    pub(super) followed: Option<Leader>,
    /// Whom this node has confirmed as primary, and until when it does not take over for that.
    pub(super) promised: Option<(Leader, u64)>,
    /// What other members answered when this node was about to take over.
    pub(super) answers: Option<Vec<Answer>>,
    /// Not before this moment is it tried again to take over.
    pub(super) race_at: u64,
    /// Why this node does not take over.
    pub(super) obstacle: Option<String>,
    /// An order, and when it was first seen.
    pub(super) order: Option<(Order, u64)>,
    /// Until when the operator wants this node to take over, whatever it lacks.
    pub(super) forced_until: u64,
    pub(super) drain: Option<Drain>,
    /// Whether takeovers are to be paused, or no longer.
    pub(super) wish: Option<bool>,
    pub(super) is_stopping: bool,
    /// When this process first looked.
    pub(super) started_at: Option<u64>,
}

impl Machine {
    /// A node that knows nothing yet.
    pub fn new(config: Config) -> Machine {
        Machine {
            config,
            stage: Stage::Following,
            pending: Pending::Nothing,
            lease: None,
            is_registered: false,
            renew_at: 0,
            read_at: 0,
            retry_at: 0,
            failure: None,
            view: None,
            viewed_at: 0,
            followed: None,
            promised: None,
            answers: None,
            race_at: 0,
            obstacle: None,
            order: None,
            forced_until: 0,
            drain: None,
            wish: None,
            is_stopping: false,
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

    /// Whether nothing is to be done any more.
    pub fn has_stopped(&self) -> bool {
        self.stage == Stage::Stopped
    }

    /// Something has changed in etcd.
    pub fn wake(&mut self) {
        self.read_at = 0;
    }

    /// What is to be done next.
    pub fn next(&mut self, now: u64, facts: &Facts) -> Step {
        debug_assert_eq!(self.pending, Pending::Nothing, "one thing at a time");
        self.started_at.get_or_insert(now);
        match self.stage {
            Stage::Following => self.follow(now, facts),
            Stage::Acquiring { .. } => match now < self.retry_at {
                true => Step::Wait(self.retry_at),
                false => self.ask(Pending::Read, Request::Read),
            },
            Stage::Promoting { term } => {
                match self.lease.as_ref().is_some_and(|lease| now < lease.deadline()) {
                    true => Step::Promote(term),
                    // The process stood still. What is left of the key is removed.
                    false => {
                        self.lose_race(now, now);
                        Step::Wait(now)
                    }
                }
            }
            Stage::Leading(_) => self.lead(now, facts),
            Stage::Releasing { .. } => self.release(now),
            Stage::Stopped => Step::Stopped,
        }
    }

    pub(super) fn ask(&mut self, pending: Pending, request: Request) -> Step {
        self.pending = pending;
        Step::Etcd(request)
    }

    /// The key of the primary, as this node writes it.
    pub(super) fn leader(&self, term: u64) -> Leader {
        Leader {
            node: self.config.node.clone(),
            process: self.config.process.clone(),
            term,
        }
    }

    /// That this node holds the key, in its term.
    pub(super) fn holds_key(&self, term: u64) -> Txn {
        let mine = registers::text(&self.leader(term));
        Txn::when(Compare::Value(registers::LEADER.to_owned(), mine))
    }

    fn follow(&mut self, now: u64, facts: &Facts) -> Step {
        if facts.is_primary {
            return Step::Demote("etcd does not name this node as the primary".to_owned());
        }
        if self.is_stopping {
            return self.leave();
        }
        if let Some(step) = self.keep(now) {
            return step;
        }
        if let Some(step) = self.remember(facts) {
            return step;
        }
        let wait = Step::Wait(self.due());
        let Some(view) = &self.view else {
            return wait;
        };
        match view.leader.clone() {
            // What is left of an attempt to take over.
            Some(leader) if leader.process == self.config.process => match now < self.retry_at {
                true => Step::Wait(self.retry_at),
                false => {
                    let txn = self.holds_key(leader.term).delete(registers::LEADER);
                    self.ask(Pending::Release, Request::Txn(txn))
                }
            },
            Some(leader) if self.followed.as_ref() != Some(&leader) => {
                self.followed = Some(leader.clone());
                self.obstacle = None;
                Step::Follow(leader)
            }
            Some(_) => wait,
            None => self.race(now, facts),
        }
    }

    /// What keeps the lease and the view of etcd fresh.
    pub(super) fn keep(&mut self, now: u64) -> Option<Step> {
        if now < self.retry_at {
            return None;
        }
        let Some(lease) = &self.lease else {
            return Some(self.ask(Pending::Grant, Request::Grant));
        };
        let id = lease.id;
        if now >= self.renew_at {
            return Some(self.ask(Pending::KeepAlive, Request::KeepAlive(id)));
        }
        if !self.is_registered {
            let member = registers::Member {
                process: self.config.process.clone(),
            };
            let key = registers::member_key(&self.config.node);
            let txn = Txn::default().put_under(&key, registers::text(&member), Some(id));
            return Some(self.ask(Pending::Register, Request::Txn(txn)));
        }
        if now >= self.read_at {
            return Some(self.ask(Pending::Read, Request::Read));
        }
        let is_paused = self.wish?;
        let txn = match is_paused {
            true => Txn::default().put(registers::PAUSE, "true".to_owned()),
            false => Txn::default().delete(registers::PAUSE),
        };
        Some(self.ask(Pending::Pause, Request::Txn(txn)))
    }

    /// When there is something to do again, if nothing happens.
    pub(super) fn due(&self) -> u64 {
        self.renew_at.min(self.read_at).max(self.retry_at)
    }

    /// What is to be kept over a restart: which etcd this is, and which log its cluster has. A node that knows another
    /// one believes this one once it has the log of its primary.
    pub(super) fn remember(&self, facts: &Facts) -> Option<Step> {
        let view = self.view.as_ref()?;
        let now = Remembered {
            etcd: view.etcd,
            log: view.log.clone(),
            term: view.term_number(),
        };
        let is_due = match &facts.remembered {
            None => true,
            Some(before) if *before == now => false,
            Some(before) if before.etcd == now.etcd && before.log.is_none() => true,
            Some(before) if before.etcd == now.etcd && before.log == now.log && before.term < now.term => {
                true
            }
            Some(before) => {
                let leader = view.leader.as_ref();
                let is_primarys =
                    leader.is_some_and(|leader| leader.term == facts.number() && leader.term >= before.term);
                is_primarys && now.log.as_ref() == Some(&facts.log)
            }
        };
        is_due.then_some(Step::Remember(now))
    }

    /// Takes what etcd has answered to what was asked at `sent`.
    pub fn etcd(&mut self, sent: u64, now: u64, reply: Result<Reply, Failure>) {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match reply {
            Ok(reply) => {
                self.failure = None;
                self.answered(pending, sent, now, reply);
            }
            Err(failure) => self.failed(pending, now, failure),
        }
    }

    fn answered(&mut self, pending: Pending, sent: u64, now: u64, reply: Reply) {
        match (pending, reply) {
            (Pending::Grant, Reply::Granted { id, ttl }) => {
                let renewed = sent;
                self.lease = Some(Lease { id, ttl, renewed });
                self.is_registered = false;
                self.renew_at = sent + ttl / 3;
            }
            (Pending::KeepAlive, Reply::Kept(ttl)) => self.kept(sent, ttl),
            (Pending::Read, Reply::Read { etcd, pairs }) => {
                self.viewed_at = sent;
                self.read_at = now + self.ttl() / 3;
                self.see(now, View::read(etcd, &pairs));
            }
            (Pending::Register, Reply::Txn(done)) => {
                self.is_registered = done.is_some();
                self.read_at = 0;
            }
            (Pending::Acquire { term }, Reply::Txn(done)) => match done {
                Some(_) => self.stage = Stage::Promoting { term },
                None => self.lose_race(now, now),
            },
            (Pending::Pause, Reply::Txn(_)) => {
                self.wish = None;
                self.read_at = 0;
            }
            (Pending::Release, Reply::Txn(_)) => self.released(),
            (pending, Reply::Txn(done)) => self.led(pending, now, done),
            (_, Reply::Revoked) => {}
            (pending, reply) => unreachable!("{pending:?} is not answered with {reply:?}"),
        }
    }

    /// What is seen of all keys.
    fn see(&mut self, now: u64, view: View) {
        self.order = match (self.order.take(), &view.order) {
            (_, None) => None,
            (Some((known, at)), Some(order)) if known == *order => Some((known, at)),
            (_, Some(order)) => Some((order.clone(), now)),
        };
        let own = view
            .leader
            .as_ref()
            .filter(|leader| leader.process == self.config.process);
        let own_term = own.map(|leader| leader.term);
        match &mut self.stage {
            Stage::Acquiring { term } => {
                let term = *term;
                let is_in_time = self.lease.as_ref().is_some_and(|lease| now < lease.deadline());
                self.stage = match own_term == Some(term) && is_in_time {
                    true => Stage::Promoting { term },
                    false => Stage::Following,
                };
            }
            Stage::Leading(leading) => {
                let is_lease_lost = leading.see(&view, &self.config);
                if is_lease_lost {
                    self.lease = None;
                }
            }
            _ => {}
        }
        self.view = Some(view);
    }

    fn kept(&mut self, sent: u64, ttl: Option<u64>) {
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        match ttl {
            Some(ttl) => {
                lease.ttl = ttl;
                lease.renewed = sent;
                self.renew_at = sent + ttl / 3;
                let deadline = lease.deadline();
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.renewed(deadline);
                }
            }
            None => {
                self.lease = None;
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.holds_key = false;
                }
            }
        }
    }

    fn failed(&mut self, pending: Pending, now: u64, failure: Failure) {
        self.retry_at = now + self.ttl() / 12;
        self.read_at = 0;
        self.failure = Some(failure.why);
        match pending {
            // A lease that etcd does not know cannot carry a key; a new one is to be asked for.
            Pending::Register | Pending::Reacquire if failure.kind == FailureKind::NoLease => {
                self.lease = None;
            }
            Pending::Acquire { term } => match failure.kind {
                FailureKind::Unknown => self.stage = Stage::Acquiring { term },
                FailureKind::NotDone => self.stage = Stage::Following,
                FailureKind::NoLease => {
                    self.lease = None;
                    self.stage = Stage::Following;
                }
            },
            Pending::Sync(_) | Pending::Failsafe(_) | Pending::Open => {
                if let Stage::Leading(leading) = &mut self.stage {
                    leading.in_doubt(&pending);
                }
            }
            _ => {}
        }
    }

    /// How long a lease lasts.
    pub fn lease_time(&self) -> u64 {
        self.ttl()
    }

    pub(super) fn ttl(&self) -> u64 {
        self.lease.as_ref().map_or(self.config.ttl, |lease| lease.ttl)
    }

    /// What came of becoming primary.
    pub fn promoted(&mut self, now: u64, promoted: Result<(), String>) {
        let Stage::Promoting { term } = self.stage else {
            return;
        };
        let deadline = self.lease.as_ref().map_or(0, Lease::deadline);
        match promoted {
            Ok(()) => self.stage = Stage::Leading(Box::new(Leading::new(term, deadline))),
            Err(why) => {
                self.stage = Stage::Following;
                self.obstacle = Some(why);
                self.race_at = now + self.ttl() / 3;
            }
        }
        self.forced_until = 0;
        self.followed = None;
        self.read_at = 0;
    }

    /// Takes what other members answered; those that did not are not among them.
    pub fn members(&mut self, sent: u64, now: u64, answers: Vec<Answer>) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::States => self.answers = Some(answers),
            Pending::Confirmation => self.confirmed(sent, now, &answers),
            _ => {}
        }
    }

    /// A primary that etcd does not answer asks whether this node takes it for that. If so, this node takes nothing
    /// over for a time.
    pub fn confirm(&mut self, now: u64, confirm: &Confirm, facts: &Facts) -> Result<(), String> {
        if self.stage != Stage::Following || facts.is_primary {
            return Err("it is about to be primary itself".to_owned());
        }
        if confirm.log != facts.log {
            return Err("it has another store".to_owned());
        }
        if confirm.leader.term < facts.number() {
            return Err(format!("it was in term {}", facts.number()));
        }
        let is_fresh = self.failure.is_none() && now.saturating_sub(self.viewed_at) <= self.ttl();
        let named = self.view.as_ref().and_then(|view| view.leader.as_ref());
        if let Some(named) = named.filter(|named| is_fresh && **named != confirm.leader) {
            return Err(format!("etcd names {} as the primary", named.node));
        }
        let until = now + confirm.time.max(self.ttl());
        self.promised = Some((confirm.leader.clone(), until));
        self.answers = None;
        Ok(())
    }
}

/// Whom to ask, and what.
impl Ask {
    pub(super) fn states(addresses: Vec<String>, time_max: u64) -> Ask {
        Ask {
            addresses,
            confirm: None,
            time_max,
        }
    }
}
