//! What is done in a round, and when: drawn from the seed before the round begins.
//!
//! A round has one fault, and now and then another one beside it. Each fault comes with what ends it, so that a round is
//! a list of steps, each at its moment. A step that another fault has made impossible is left out when its moment
//! comes. What is not ended by a step is ended when all is healed.

use super::links::Host::{self, Member, Node};
use crate::common::Random;
use std::fmt;
use std::time::Duration;

/// How long a fault lasts, in ms.
const LASTS_MS: std::ops::Range<u64> = 3_000..20_000;

/// How long a node is suspended, in ms.
const SUSPENDED_MS: std::ops::Range<u64> = 3_000..30_000;

/// How long what was killed is down, in ms.
const DOWN_MS: std::ops::Range<u64> = 0..12_000;

/// A second fault comes so much later at most, in ms.
const SECOND_MS_MAX: u64 = 4_000;

/// One in so many rounds has two faults.
const SECOND_EVERY: u64 = 4;

const HOUR_SECONDS: i64 = 3600;

/// Something that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Kill(Host),
    Start(Host),
    /// A node ends in order.
    Terminate(usize),
    /// `pykv switchover`, to whichever node may take over.
    SwitchOver,
    Suspend(Host),
    Continue(Host),
    /// The second hears nothing of the first any more.
    Silence(Host, Host),
    /// All hear each other again.
    HealLinks,
    /// The clock of a node is ahead by so much.
    SetClock(usize, i64),
    FillDisk(usize),
    FreeDisk(usize),
}

/// An operation and its moment, since the round began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub operation: Operation,
}

/// How things are before a round.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    pub nodes: usize,
    pub primary: usize,
    pub members: usize,
    /// The member that leads etcd.
    pub leader: usize,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillPrimary,
    KillReplica,
    KillLeaderOfEtcd,
    StopPrimary,
    SwitchOver,
    SuspendPrimary,
    SuspendReplica,
    SuspendLeaderOfEtcd,
    /// Either way.
    PrimaryWithoutEtcd,
    /// Either way, and from all of them.
    PrimaryWithoutReplicas,
    PrimaryAlone,
    /// The primary hears nothing of etcd, which hears it.
    PrimaryDeafToEtcd,
    EtcdDeafToPrimary,
    /// The replicas hear nothing of the primary, which hears them.
    ReplicasDeafToPrimary,
    PrimaryDeafToReplicas,
    /// The leader of etcd hears no other member.
    LeaderOfEtcdAlone,
    Clock,
    AllNodesKilled,
    AllKilled,
    DiskFull,
}

/// All of them.
pub const ALL: [Fault; 20] = [
    Fault::KillPrimary,
    Fault::KillReplica,
    Fault::KillLeaderOfEtcd,
    Fault::StopPrimary,
    Fault::SwitchOver,
    Fault::SuspendPrimary,
    Fault::SuspendReplica,
    Fault::SuspendLeaderOfEtcd,
    Fault::PrimaryWithoutEtcd,
    Fault::PrimaryWithoutReplicas,
    Fault::PrimaryAlone,
    Fault::PrimaryDeafToEtcd,
    Fault::EtcdDeafToPrimary,
    Fault::ReplicasDeafToPrimary,
    Fault::PrimaryDeafToReplicas,
    Fault::LeaderOfEtcdAlone,
    Fault::Clock,
    Fault::AllNodesKilled,
    Fault::AllKilled,
    Fault::DiskFull,
];

impl Fault {
    /// Those of these names, with commas between them; all of them where there is no name.
    pub fn named(names: &str) -> Vec<Fault> {
        if names.is_empty() {
            return ALL.to_vec();
        }
        let of_name = |name: &str| {
            let fault = ALL.into_iter().find(|fault| format!("{fault:?}") == name);
            fault.unwrap_or_else(|| panic!("there is no fault {name}"))
        };
        names.split(',').map(of_name).collect()
    }
}

/// The steps of a round, in order.
pub fn draw(random: &mut Random, situation: &Situation, among: &[Fault]) -> Vec<Step> {
    let first = any(random, situation, among);
    let mut steps = steps(random, situation, first);
    if random.below(SECOND_EVERY) == 0 {
        let later = Duration::from_millis(random.below(SECOND_MS_MAX));
        let second = any(random, situation, among);
        let second = self::steps(random, situation, second);
        steps.extend(second.into_iter().map(|step| Step {
            at: step.at + later,
            ..step
        }));
        steps.sort_by_key(|step| step.at);
    }
    steps
}

/// Any of these faults. One member of etcd cannot be alone among others: then it is the primary that loses it.
fn any(random: &mut Random, situation: &Situation, among: &[Fault]) -> Fault {
    match among[random.below(among.len() as u64) as usize] {
        Fault::LeaderOfEtcdAlone if situation.members == 1 => Fault::PrimaryWithoutEtcd,
        fault => fault,
    }
}

/// The steps of a fault, in order.
pub fn steps(random: &mut Random, situation: &Situation, fault: Fault) -> Vec<Step> {
    use Operation as O;
    let Situation {
        nodes,
        primary,
        members,
        leader,
    } = *situation;
    let replicas: Vec<usize> = (0..nodes).filter(|node| *node != primary).collect();
    let replica = replicas[random.below(replicas.len() as u64) as usize];
    let all_members = || (0..members).map(Member);
    let lasts = within(random, &LASTS_MS);
    let mut draft = Draft::default();
    // Both ways, or one: what a host hears of others no more, and they of it.
    let mut silence = |to: &[Host], from: &[Host]| {
        for (&to, &from) in to.iter().flat_map(|to| from.iter().map(move |from| (to, from))) {
            draft.now(O::Silence(from, to));
        }
        draft.later(lasts, O::HealLinks);
    };
    let one = [Node(primary)];
    let etcd: Vec<Host> = all_members().collect();
    let others: Vec<Host> = replicas.iter().map(|node| Node(*node)).collect();
    match fault {
        Fault::PrimaryDeafToEtcd => silence(&one, &etcd),
        Fault::EtcdDeafToPrimary => silence(&etcd, &one),
        Fault::PrimaryWithoutEtcd => (silence(&one, &etcd), silence(&etcd, &one)).0,
        Fault::ReplicasDeafToPrimary => silence(&others, &one),
        Fault::PrimaryDeafToReplicas => silence(&one, &others),
        Fault::PrimaryWithoutReplicas => (silence(&one, &others), silence(&others, &one)).0,
        Fault::PrimaryAlone => {
            let all: Vec<Host> = etcd.iter().chain(&others).copied().collect();
            silence(&one, &all);
            silence(&all, &one);
        }
        Fault::LeaderOfEtcdAlone => {
            let rest: Vec<Host> = etcd
                .iter()
                .filter(|host| **host != Member(leader))
                .copied()
                .collect();
            silence(&[Member(leader)], &rest);
            silence(&rest, &[Member(leader)]);
        }
        Fault::KillPrimary => draft.kill(random, Node(primary)),
        Fault::KillReplica => draft.kill(random, Node(replica)),
        Fault::KillLeaderOfEtcd => draft.kill(random, Member(leader)),
        Fault::StopPrimary => {
            draft.now(O::Terminate(primary));
            draft.later(within(random, &DOWN_MS), O::Start(Node(primary)));
        }
        Fault::SwitchOver => {
            draft.now(O::SwitchOver);
            draft.later(lasts / 4, O::SwitchOver);
        }
        Fault::SuspendPrimary => draft.suspend(random, Node(primary)),
        Fault::SuspendReplica => draft.suspend(random, Node(replica)),
        Fault::SuspendLeaderOfEtcd => draft.suspend(random, Member(leader)),
        Fault::Clock => {
            let node = random.below(nodes as u64) as usize;
            let ahead = if random.below(2) == 0 {
                HOUR_SECONDS
            } else {
                -HOUR_SECONDS
            };
            draft.now(O::SetClock(node, ahead));
            draft.later(lasts, O::SetClock(node, 0));
        }
        Fault::AllNodesKilled => shuffled(random, nodes)
            .into_iter()
            .for_each(|node| draft.kill(random, Node(node))),
        Fault::AllKilled => {
            (0..nodes).for_each(|node| draft.kill(random, Node(node)));
            all_members().for_each(|member| draft.kill(random, member));
        }
        Fault::DiskFull => {
            draft.now(O::FillDisk(primary));
            draft.later(lasts, O::FreeDisk(primary));
        }
    }
    draft.0.sort_by_key(|step| step.at);
    draft.0
}

fn within(random: &mut Random, range: &std::ops::Range<u64>) -> Duration {
    Duration::from_millis(range.start + random.below(range.end - range.start))
}

/// Numbers from 0 on in an order drawn by lot.
pub fn shuffled(random: &mut Random, count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        numbers.swap(at, random.below(at as u64 + 1) as usize);
    }
    numbers
}

#[derive(Default)]
struct Draft(Vec<Step>);

impl Draft {
    fn now(&mut self, operation: Operation) {
        self.later(Duration::ZERO, operation);
    }

    fn later(&mut self, at: Duration, operation: Operation) {
        self.0.push(Step { at, operation });
    }

    fn kill(&mut self, random: &mut Random, host: Host) {
        self.now(Operation::Kill(host));
        self.later(within(random, &DOWN_MS), Operation::Start(host));
    }

    fn suspend(&mut self, random: &mut Random, host: Host) {
        self.now(Operation::Suspend(host));
        self.later(within(random, &SUSPENDED_MS), Operation::Continue(host));
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Node(node) => write!(f, "{}", (b'A' + node as u8) as char),
            Member(member) => write!(f, "etcd {member}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Operation as O;
        write!(f, "{:6.2} s  ", self.at.as_secs_f64())?;
        match self.operation {
            O::Kill(host) => write!(f, "kill -9 {host}"),
            O::Start(host) => write!(f, "start {host}"),
            O::Terminate(node) => write!(f, "stop {} in order", Node(node)),
            O::SwitchOver => f.write_str("switch over"),
            O::Suspend(host) => write!(f, "suspend {host}"),
            O::Continue(host) => write!(f, "continue {host}"),
            O::Silence(from, to) => write!(f, "make {to} deaf to {from}"),
            O::HealLinks => f.write_str("heal all links"),
            O::SetClock(node, seconds) => write!(f, "set the clock of {} to {seconds:+} s", Node(node)),
            O::FillDisk(node) => write!(f, "fill the disk of {}", Node(node)),
            O::FreeDisk(node) => write!(f, "make room on the disk of {}", Node(node)),
        }
    }
}

mod tests {
    use super::*;

    const SITUATION: Situation = Situation {
        nodes: 3,
        primary: 1,
        members: 3,
        leader: 2,
    };

    #[test]
    fn a_seed_decides_what_is_done() {
        let draw = |seed| draw(&mut Random::new(seed), &SITUATION, &ALL);
        assert_eq!(draw(7), draw(7));
        assert!((0..20).any(|seed| draw(seed) != draw(7)));
        assert!((0..200).all(|seed| draw(seed).is_sorted_by_key(|step| step.at)));
    }

    #[test]
    fn faults_have_names() {
        assert_eq!(Fault::named(""), ALL);
        assert_eq!(Fault::named("Clock,AllKilled"), [Fault::Clock, Fault::AllKilled]);
    }

    #[test]
    fn every_fault_does_something_and_ends() {
        for fault in ALL {
            let steps = steps(&mut Random::new(1), &SITUATION, fault);
            assert!(steps.len() >= 2, "{fault:?}: {steps:?}");
        }
        let of = |fault| steps(&mut Random::new(1), &SITUATION, fault);
        assert_eq!(of(Fault::PrimaryAlone).len(), 2 * 5 + 2);
        let killed = of(Fault::AllKilled);
        assert_eq!(killed.iter().filter(|step| step.at.is_zero()).count(), 6);
    }
}
