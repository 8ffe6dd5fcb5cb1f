//! All nodes, etcd and the links between them, and what can happen.

use super::etcd::{Etcd, TTL};
use super::node::{Busy, Dir, Node, Record, Unanswered};
use super::{Mutant, Run};
use pykv::internals::election::{Ask, Compare, Failure, FailureKind, Operation, Pair, Reply, Request, Step};
use std::collections::{BTreeSet, VecDeque};

/// Lines of what happened that are kept.
const STORY_MAX: usize = 80;

/// Copies of a node's directories that are kept.
const DRAWER_MAX: usize = 3;

pub struct World {
    pub run: Run,
    pub now: u64,
    random: u64,
    pub nodes: Vec<Node>,
    etcd: Etcd,
    /// Etcd as it was once.
    copy: Option<Etcd>,
    /// Directories of each node that lie in a drawer.
    drawers: Vec<Vec<Dir>>,
    /// Which process is reached at the address that two nodes have.
    shared_address: usize,
    /// What lies on its way to etcd, and arrives late.
    late: Vec<Request>,
    /// Who does not hear whom; the last number is etcd.
    cut: BTreeSet<(usize, usize)>,
    processes: u64,
    writes: u64,
    /// Writes that were answered, and in which term.
    pub answered: Vec<(u64, u64)>,
    pub terms: BTreeSet<u64>,
    /// Those of which a primary was to take writes.
    pub opened: BTreeSet<u64>,
    pub fault: Option<String>,
    story: VecDeque<String>,
}

impl World {
    pub fn new(run: &Run, seed: u64) -> World {
        World {
            run: *run,
            now: 1000,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            nodes: (0..run.nodes + usize::from(run.has_twin))
                .map(|at| Node::new(at, run))
                .collect(),
            drawers: vec![Vec::new(); run.nodes],
            shared_address: 0,
            etcd: Etcd::new(),
            copy: None,
            late: Vec::new(),
            cut: BTreeSet::new(),
            processes: 100,
            writes: 0,
            answered: Vec::new(),
            terms: BTreeSet::new(),
            opened: BTreeSet::new(),
            fault: None,
            story: VecDeque::new(),
        }
    }

    pub fn answered_count(&self) -> u64 {
        self.answered.len() as u64
    }

    pub fn primaries_count(&self) -> u64 {
        self.terms.len() as u64
    }

    pub fn story(&self) -> String {
        self.story.iter().map(|line| format!("{line}\n")).collect()
    }

    fn tell(&mut self, what: String) {
        if self.story.len() == STORY_MAX {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>8} {what}", self.now));
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn some_node(&mut self) -> usize {
        self.below(self.nodes.len() as u64) as usize
    }

    /// Whether two hear each other; etcd is the one after the last node.
    fn is_linked(&self, one: usize, other: usize) -> bool {
        !self.cut.contains(&(one.min(other), one.max(other)))
    }

    fn number_of(&self, address: &str) -> Option<usize> {
        match self.nodes.iter().position(|node| node.address == address) {
            Some(0) => Some(self.shared_address),
            found => found,
        }
    }

    /// One thing happens.
    pub fn step(&mut self) {
        let at = self.some_node();
        match self.below(1000) {
            0..520 => {
                self.turn(at);
                self.note_open(at);
            }
            520..640 => {
                self.now += 20 + self.below(130);
                self.etcd.pass(self.now);
            }
            640..800 => self.poll(at),
            800..870 => self.write(at),
            870..960 => self.answer(at),
            960..982 => self.heal(),
            982..985 => self.late_arrives(),
            985..989 => self.cut_link(at),
            989..991 => self.end_process(at),
            991..994 => self.suspend(at),
            994..996 => self.drift(at),
            996..997 => self.trouble_etcd(),
            997..998 => self.hand_over(at),
            998..999 => self.turn_address(),
            _ => self.pause_takeovers(at),
        }
    }

    // What the operator, the network and the machines do.

    fn heal(&mut self) {
        match self.below(3) {
            0 => {
                let at = self.below(self.cut.len() as u64 + 1) as usize;
                let healed = self.cut.iter().nth(at).copied();
                if let Some(link) = healed {
                    self.cut.remove(&link);
                    self.tell(format!("link {link:?} heals"));
                }
            }
            1 => {
                let at = self.some_node();
                if !self.nodes[at].is_up {
                    self.change_dir(at);
                    self.processes += 1;
                    let (process, run) = (self.processes, self.run);
                    self.nodes[at].restart(process, &run);
                    self.tell(format!("n{at} starts as {process:x}"));
                }
            }
            _ if !self.etcd.is_up => {
                self.etcd.restart(self.now);
                self.tell("etcd is back".to_owned());
            }
            _ => {}
        }
    }

    /// The directory of a node that is down is copied, or another one is put in its place.
    fn change_dir(&mut self, at: usize) {
        if !self.run.has_copies {
            return;
        }
        let drawer = at % self.run.nodes;
        match self.below(8) {
            0..3 => {
                let copy = self.nodes[at].dir.clone();
                self.drawers[drawer].push(copy);
                self.tell(format!("the directory of n{at} is copied"));
            }
            3..5 if !self.drawers[drawer].is_empty() => {
                let which = self.below(self.drawers[drawer].len() as u64) as usize;
                let other = self.drawers[drawer].swap_remove(which);
                let before = std::mem::replace(&mut self.nodes[at].dir, other);
                self.drawers[drawer].push(before);
                self.tell(format!("n{at} has another directory"));
            }
            _ => {}
        }
        self.drawers[drawer].truncate(DRAWER_MAX);
    }

    /// Of two processes at one address the other one is reached there.
    fn turn_address(&mut self) {
        if self.run.has_twin {
            self.shared_address = self.run.nodes - self.shared_address;
            let at = self.shared_address;
            self.tell(format!("{} leads to n{at}", self.nodes[at].address));
        }
    }

    fn cut_link(&mut self, at: usize) {
        let other = match self.below(2) {
            0 => self.nodes.len(),
            _ => self.some_node(),
        };
        if at != other {
            self.cut.insert((at.min(other), at.max(other)));
            self.tell(format!("link {at}-{other} is cut"));
        }
    }

    fn end_process(&mut self, at: usize) {
        if self.nodes[at].is_up {
            self.tell(format!("n{at} is killed"));
            self.nodes[at].is_up = false;
            self.nodes[at].demote();
        }
    }

    fn suspend(&mut self, at: usize) {
        let time = 200 + self.below(3 * TTL);
        self.nodes[at].suspended_until = self.now + time;
        self.tell(format!("n{at} is suspended for {time}"));
    }

    /// A clock goes wrong by a little, and not twice within the time of a lease.
    fn drift(&mut self, at: usize) {
        let by = self.below(TTL / 8) as i64 - (TTL / 16) as i64;
        let now = self.now;
        let node = &mut self.nodes[at];
        if now >= node.drifted_at + 2 * TTL {
            node.drifted_at = now;
            node.skew += by;
        }
    }

    fn trouble_etcd(&mut self) {
        // A node that remembers nothing of a cluster would begin one.
        let do_all_remember = self.nodes.iter().all(|node| {
            node.dir
                .remembered
                .as_ref()
                .is_some_and(|known| known.log.is_some())
        });
        match self.below(8) {
            0 if self.run.loses_etcd && do_all_remember && self.etcd.has("log") => {
                let mut empty = Etcd::new();
                empty.id = self.below(2);
                self.etcd.replace(empty, self.now);
                self.tell("etcd loses all".to_owned());
            }
            1 if self.run.loses_etcd && self.etcd.has("log") => self.copy = Some(self.etcd.clone()),
            2 => {
                if let Some(copy) = self.copy.take_if(|copy| {
                    // A node that knows of no later term cannot know that one is missing.
                    let knows = |node: &Node| node.dir.remembered.as_ref().map_or(0, |known| known.term);
                    self.nodes.iter().all(|node| knows(node) > copy.term())
                }) {
                    self.etcd.replace(copy, self.now);
                    self.tell("etcd is put back from a copy".to_owned());
                }
            }
            3..5 => {
                self.etcd.restart(self.now);
                self.tell("etcd has another leader".to_owned());
            }
            _ => {
                self.etcd.is_up = false;
                self.tell("etcd is away".to_owned());
            }
        }
    }

    fn hand_over(&mut self, at: usize) {
        let facts = self.nodes[at].facts(self.now);
        if self.nodes[at].is_running(self.now) {
            let handed = self.nodes[at].machine.switchover(None, &facts);
            self.nodes[at].wait_until = 0;
            if let Ok(to) = handed {
                self.tell(format!("n{at} is to hand over to {to}"));
            }
        }
    }

    fn pause_takeovers(&mut self, at: usize) {
        let is_paused = self.below(8) == 0;
        self.nodes[at].machine.pause(is_paused);
    }

    fn late_arrives(&mut self) {
        if let Some(request) = self.late.pop()
            && self.etcd.is_up
        {
            self.tell(format!("late: {request:?}"));
            let _ = self.etcd.ask(&request, self.now);
        }
    }

    // What nodes do.

    /// A node goes on.
    fn turn(&mut self, at: usize) {
        if !self.nodes[at].is_running(self.now) {
            return;
        }
        if let Some((_, turns)) = &mut self.nodes[at].required_late {
            *turns -= 1;
            if *turns == 0
                && let Some((late, _)) = self.nodes[at].required_late.take()
            {
                self.nodes[at].required = late;
            }
        }
        match self.nodes[at].busy.take() {
            None => self.begin(at),
            Some(Busy::Etcd {
                request,
                sent,
                reply,
                is_settled,
            }) => self.await_etcd(at, request, sent, reply, is_settled),
            Some(Busy::Members { ask, sent, answers }) => self.await_members(at, ask, sent, answers),
        }
    }

    fn begin(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let local = node.local(now);
        if local < node.wait_until {
            // Something may have happened in etcd.
            if self.below(4) == 0 {
                self.nodes[at].machine.wake();
                self.nodes[at].wait_until = 0;
            }
            return;
        }
        let facts = node.facts(now);
        let step = node.machine.next(local, &facts);
        if !matches!(
            step,
            Step::Wait(_) | Step::Etcd(Request::Read | Request::KeepAlive(_))
        ) {
            self.tell(format!("n{at}: {step:?}"));
        }
        self.do_step(at, local, step);
    }

    fn do_step(&mut self, at: usize, local: u64, step: Step) {
        let mutant = self.run.mutant;
        let node = &mut self.nodes[at];
        match step {
            Step::Etcd(request) => {
                node.busy = Some(Busy::Etcd {
                    request: mutate(request, mutant),
                    sent: local,
                    reply: None,
                    is_settled: false,
                });
            }
            Step::Members(ask) => {
                node.busy = Some(Busy::Members {
                    ask,
                    sent: local,
                    answers: None,
                });
            }
            Step::Promote(term) => {
                node.demote();
                node.is_primary = true;
                node.dir.log.push(Record { term, write: None });
                node.machine.promoted(local, Ok(()));
                self.note_term(at, term);
            }
            Step::Demote(_) => node.demote(),
            Step::Follow(leader) => node.follows = Some(leader),
            Step::Require(nodes) => match mutant {
                Mutant::NamedBeforeWaiting if nodes.len() > node.required.len() => {
                    node.required_late = Some((nodes, 12));
                }
                _ => node.required = nodes,
            },
            Step::Hold(_) => node.is_held = true,
            Step::Release => node.is_held = false,
            Step::Warn(_) => {}
            Step::Remember(remembered) => node.dir.remembered = Some(remembered),
            Step::KeepRuns(runs) => node.dir.runs = runs,
            Step::Wait(until) => node.wait_until = until,
            Step::Stopped => node.is_up = false,
        }
    }

    fn await_etcd(
        &mut self,
        at: usize,
        request: Request,
        sent: u64,
        mut reply: Option<Result<Reply, Failure>>,
        mut is_settled: bool,
    ) {
        let local = self.nodes[at].local(self.now);
        let is_reached = self.etcd.is_up && self.is_linked(at, self.nodes.len());
        let luck = self.below(100);
        if reply.is_none() && !is_settled && is_reached && luck < 90 {
            match luck {
                0..2 => self.late.push(request.clone()),
                2..5 => drop(self.etcd.ask(&request, self.now)),
                _ => reply = Some(self.etcd.ask(&request, self.now)),
            }
            is_settled = true;
        }
        let is_late = local > sent + TTL / 6;
        let reply = match reply {
            Some(reply) if is_reached || is_late => reply,
            _ if is_late => Err(Failure {
                why: "it does not answer".to_owned(),
                kind: FailureKind::Unknown,
            }),
            reply => {
                self.nodes[at].busy = Some(Busy::Etcd {
                    request,
                    sent,
                    reply,
                    is_settled,
                });
                return;
            }
        };
        // It may lie in a buffer for a while.
        if luck.is_multiple_of(5) && !is_late {
            self.nodes[at].busy = Some(Busy::Etcd {
                request,
                sent,
                reply: Some(reply),
                is_settled: true,
            });
            return;
        }
        let sent = match self.run.mutant {
            Mutant::DeadlineFromAnswer => local,
            _ => sent,
        };
        let reply = reply.map(|reply| self.forge(at, reply));
        self.nodes[at].machine.etcd(sent, local, reply);
    }

    /// What a mutant reads in place of what is there.
    fn forge(&self, at: usize, reply: Reply) -> Reply {
        let Reply::Read { etcd, mut pairs } = reply else {
            return reply;
        };
        match self.run.mutant {
            Mutant::TakeoverOutsideSync => {
                for pair in pairs.iter_mut().filter(|pair| pair.key == "sync") {
                    let own = &self.nodes[at].address;
                    pair.value = format!(r#"{{"leader":"{own}","standbys":["{own}"]}}"#);
                }
            }
            Mutant::CopyTakesOver => {
                for pair in pairs.iter_mut().filter(|pair| pair.key == "sync") {
                    let end = pair.value.find(r#","processes""#).unwrap();
                    pair.value.replace_range(end.., "}");
                }
            }
            Mutant::TwinTakesPart => {
                let node = &self.nodes[at];
                let key = format!("members/{}", node.address);
                for pair in pairs.iter_mut().filter(|pair| pair.key == key) {
                    pair.value = format!(r#"{{"process":"{}"}}"#, node.process_name());
                }
            }
            Mutant::StrangerTakesOver => pairs.retain(|Pair { key, .. }| key != "failsafe"),
            _ => {}
        }
        Reply::Read { etcd, pairs }
    }

    fn await_members(
        &mut self,
        at: usize,
        ask: Ask,
        sent: u64,
        answers: Option<Vec<pykv::internals::election::Answer>>,
    ) {
        let local = self.nodes[at].local(self.now);
        let answers = match answers {
            Some(answers) => answers,
            None => self.ask_members(at, &ask),
        };
        let is_whole = answers.len() == ask.addresses.len();
        if !is_whole && local < sent + ask.time_max || self.below(4) == 0 {
            let answers = Some(answers);
            self.nodes[at].busy = Some(Busy::Members { ask, sent, answers });
            return;
        }
        let mut answers = answers;
        if self.run.mutant == Mutant::FailsafeByMajority && ask.confirm.is_some() {
            answers.retain(|answer| answer.confirms == Some(true));
            if answers.len() + 1 > self.nodes.len() / 2 {
                for node in ask
                    .addresses
                    .iter()
                    .filter(|node| answers.iter().all(|answer| answer.node != **node))
                    .collect::<Vec<_>>()
                {
                    let mut one = answers[0].clone();
                    one.node = node.clone();
                    answers.push(one);
                }
            }
        }
        self.nodes[at].machine.members(sent, local, answers);
    }

    fn ask_members(&mut self, at: usize, ask: &Ask) -> Vec<pykv::internals::election::Answer> {
        let mut answers = Vec::new();
        for address in &ask.addresses {
            let Some(to) = self.number_of(address) else {
                continue;
            };
            if !self.nodes[to].is_running(self.now) || !self.is_linked(at, to) {
                continue;
            }
            let (local, facts) = (self.nodes[to].local(self.now), self.nodes[to].facts(self.now));
            let answer = match self.run.mutant {
                Mutant::PromiseNotKept => {
                    let mut forgetful = self.nodes[to].machine.clone();
                    forgetful.answer(local, ask.confirm.as_ref(), &facts)
                }
                _ => self.nodes[to].machine.answer(local, ask.confirm.as_ref(), &facts),
            };
            answers.push(answer);
        }
        answers
    }

    /// A replica asks the primary that it follows for what comes after the end of its log.
    fn poll(&mut self, at: usize) {
        if !self.nodes[at].is_running(self.now) || self.nodes[at].is_primary {
            return;
        }
        let Some(leader) = self.nodes[at].follows.clone() else {
            return;
        };
        let Some(to) = self.number_of(&leader.node) else {
            return;
        };
        let primary = &self.nodes[to];
        let is_followed = primary.is_running(self.now)
            && primary.is_primary
            && primary.process_name() == leader.process
            && self.is_linked(at, to)
            && primary.term() >= self.nodes[at].term();
        if !is_followed {
            return;
        }
        let (log, log_id, local) = (
            primary.dir.log.clone(),
            primary.dir.log_id,
            primary.local(self.now),
        );
        if self.nodes[at].dir.log_id != log_id && !self.nodes[at].dir.log.is_empty() {
            return;
        }
        let node = &mut self.nodes[at];
        node.dir.log_id = log_id;
        if log.starts_with(&node.dir.log) {
            let (follower, end) = ((node.address.clone(), node.process_name()), node.end());
            self.nodes[to].asked.insert(follower, (end, local));
        }
        let most = self.below(6) as usize + 1;
        let node = &mut self.nodes[at];
        match log.starts_with(&node.dir.log) {
            true => {
                let more: Vec<Record> = log[node.dir.log.len()..].iter().take(most).copied().collect();
                node.dir.log.extend(more);
            }
            false => node.dir.log = log,
        }
    }

    fn write(&mut self, at: usize) {
        let mutant = self.run.mutant;
        let node = &mut self.nodes[at];
        if !node.is_running(self.now) || node.is_held || !node.is_open(self.now, mutant) {
            return;
        }
        self.writes += 1;
        let write = self.writes;
        let term = node.term() >> 32;
        node.dir.log.push(Record {
            term,
            write: Some(write),
        });
        let end = node.end();
        node.unanswered.push(Unanswered { write, end });
    }

    fn answer(&mut self, at: usize) {
        let mutant = self.run.mutant;
        if !self.nodes[at].is_running(self.now) || !self.nodes[at].is_primary {
            return;
        }
        let Some(first) = self.nodes[at].unanswered.first().copied() else {
            return;
        };
        let node = &mut self.nodes[at];
        if !node.is_covered(first.end, self.now, mutant) {
            return;
        }
        node.unanswered.remove(0);
        if node.is_open(self.now, mutant) || mutant == Mutant::NoCheckBeforeAnswer {
            self.note_answer(at, first.write);
        }
    }
}

/// What a mutant asks in place of what is to be asked.
fn mutate(request: Request, mutant: Mutant) -> Request {
    let Request::Txn(mut txn) = request else {
        return request;
    };
    let takes_key = txn
        .then
        .iter()
        .any(|operation| matches!(operation, Operation::Put { key, .. } if key == "term"));
    if mutant == Mutant::TermOutOfTransaction && takes_key {
        txn.when
            .retain(|compare| !matches!(compare, Compare::Absent(key) | Compare::Revision(key, _) if key == "term" || key == "sync"));
    }
    if mutant == Mutant::TwinTakesPart {
        let is_of_member = |compare: &Compare| match compare {
            Compare::Absent(key) | Compare::Value(key, _) | Compare::Revision(key, _) => {
                key.starts_with("members/")
            }
        };
        txn.when.retain(|compare| !is_of_member(compare));
    }
    Request::Txn(txn)
}
