//! Nodes as processes, in a network of their own, and what is done to them.

use super::board::Board;
use super::ledger::Promise;
use super::pace;
use super::schedule::Operation;
use super::timeline::Event;
use crate::common::files::copy_dir;
use crate::common::network::Network;
use crate::common::node::Setup;
use crate::common::{Client, Server, pykv};
use rustix::process::Signal;
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A node that runs answers within this time where the machine is not very busy.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Runs,
    IsSuspended,
    IsDown,
}

/// A copy of a directory, taken while its node was down.
struct Copy {
    dir: TempDir,
    taken: Instant,
}

struct Node {
    server: Server,
    condition: Condition,
    copy: Option<Copy>,
}

/// See the module.
pub struct Cluster<'a> {
    // Dropped before the network, so that no node waits for it.
    nodes: Vec<Node>,
    network: Network,
    board: &'a Board,
}

impl Cluster<'_> {
    /// The first node is primary, the second takes over by itself, the others follow whoever is primary. All name
    /// all others, but for the first, which knows nobody.
    pub fn start(count: usize, board: &Board) -> Cluster<'_> {
        let network = Network::start(count);
        let mut cluster = Cluster {
            nodes: Vec::new(),
            network,
            board,
        };
        for node in 0..count {
            let advertise = format!("--advertise={}", cluster.network.address(node));
            let others = (0..count).filter(|other| *other != node);
            let others: Vec<String> = others.map(|other| cluster.network.address(other)).collect();
            let from = others.join(",");
            // Every write that waits in vain would be told of as slow.
            let common = ["--slow-ms", "60000", &advertise];
            let setup = match node {
                0 => Setup::new(&[&["--sync-replicas", "1"], &common[..]].concat()),
                1 => Setup::replica(&from, &[&["--failover-after", "1s"], &common[..]].concat()),
                _ => Setup::replica(&from, &common),
            };
            board.timeline.note(Event::Runs(node));
            let server = setup.start();
            cluster.nodes.push(Node {
                server,
                condition: Condition::Runs,
                copy: None,
            });
            cluster.is_reached(node);
        }
        cluster
    }

    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Of which nodes there is a copy.
    pub fn has_copy(&self) -> Vec<bool> {
        self.nodes.iter().map(|node| node.copy.is_some()).collect()
    }

    /// What a node says of itself; none where it does not run, or does not answer.
    pub fn status(&self, node: usize) -> Option<Value> {
        if self.nodes[node].condition != Condition::Runs {
            return None;
        }
        let mut client = Client::try_connect(self.nodes[node].server.address()).ok()?;
        client.socket().set_read_timeout(Some(ANSWER_TIME_MAX)).ok()?;
        let answer = client.try_request("GET", "/status", &[], b"").ok()?;
        (answer.status == 200).then(|| answer.body_json())
    }

    pub fn server(&self, node: usize) -> &Server {
        &self.nodes[node].server
    }

    /// How other nodes reach a node.
    pub fn advertised(&self, node: usize) -> String {
        self.network.address(node)
    }

    /// Does something, and notes what becomes of what was promised; `false` where it cannot be done now.
    pub fn apply(&mut self, operation: Operation, promise: &mut Promise) -> bool {
        use Operation as O;
        match operation {
            O::Kill(node) => self.end(node, Signal::KILL),
            O::Terminate(node) => self.end(node, Signal::TERM),
            O::Start(node) => self.start_again(node),
            O::Suspend(node) => self.suspend(node),
            O::Continue(node) => self.go_on(node),
            O::Cut(one, other) => self.link(one, other, |network| network.cut(one, other)),
            O::Silence(from, to) => self.link(from, to, |network| network.silence(from, to)),
            O::Slow(one, other, ms) => {
                self.link(one, other, |network| {
                    network.slow(one, other, Duration::from_millis(ms));
                });
            }
            O::Heal(one, other) => self.heal_link(one, other),
            O::Promote(node) => return self.promote(node, promise),
            O::HandOver { to, victim, after_ms } => return self.hand_over(to, victim, after_ms),
            O::Copy(node) => return self.copy(node),
            O::PutBack(node) => return self.put_back(node, promise),
        }
        true
    }

    /// All links pass, and all nodes run, started in the order given.
    pub fn heal(&mut self, order: &[usize]) {
        for one in 0..self.count() {
            for other in 0..one {
                self.heal_link(one, other);
            }
        }
        for node in order {
            self.go_on(*node);
            self.start_again(*node);
        }
    }

    /// Makes a node primary by hand; whether it is now.
    pub fn promote_by_hand(&self, node: usize) -> bool {
        let run = pykv(&["promote", "--force", "--timeout", "10s"]).at(&self.nodes[node].server);
        run.run().code == Some(0)
    }

    fn end(&mut self, node: usize, signal: Signal) {
        let it = &mut self.nodes[node];
        match (it.condition, signal) {
            (Condition::IsDown, _) => return,
            // One that is suspended does not end in order.
            (Condition::Runs, Signal::TERM) => {
                it.server.sigterm();
            }
            _ => it.server.kill_9(),
        }
        it.condition = Condition::IsDown;
        self.network.lead_to(node, None);
        self.board.set_address(node, None);
        self.board.timeline.note(Event::Rests(node));
    }

    fn start_again(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.condition == Condition::IsDown {
            self.board.timeline.note(Event::Runs(node));
            it.server.start_again();
            it.condition = Condition::Runs;
            self.is_reached(node);
        }
    }

    /// Makes known where a node that has just been started listens.
    fn is_reached(&self, node: usize) {
        let address = self.nodes[node].server.address();
        self.network.lead_to(node, Some(address));
        self.board.set_address(node, Some(address));
    }

    fn suspend(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.condition == Condition::Runs {
            it.server.suspend();
            it.condition = Condition::IsSuspended;
            self.board.timeline.note(Event::Rests(node));
        }
    }

    fn go_on(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.condition == Condition::IsSuspended {
            self.board.timeline.note(Event::Runs(node));
            it.server.signal(Signal::CONT);
            it.condition = Condition::Runs;
        }
    }

    fn heal_link(&self, one: usize, other: usize) {
        // Noted first: what a node hears over it is no lie.
        if !self.network.passes(one, other) {
            self.board.timeline.note(Event::Link(one, other, true));
        }
        self.network.heal(one, other);
    }

    /// Makes a link worse.
    fn link(&self, one: usize, other: usize, change: impl FnOnce(&Network)) {
        let passed = self.network.passes(one, other);
        change(&self.network);
        if passed && !self.network.passes(one, other) {
            self.board.timeline.note(Event::Link(one, other, false));
        }
    }

    fn promote(&mut self, node: usize, promise: &mut Promise) -> bool {
        if self.nodes[node].condition != Condition::Runs {
            return false;
        }
        let run = pykv(&["promote", "--force", "--timeout", "5s"]).at(&self.nodes[node].server);
        let output = run.run();
        eprintln!(
            "          pykv promote: {:?} {}",
            output.code,
            output.stderr.trim()
        );
        // It was primary already, or it says that it is none: any other answer may mean that it is now.
        if !matches!(output.code, Some(4 | 6)) {
            self.board.set_primary(node, true);
            promise.promoted(node);
        }
        true
    }

    /// A handover takes nothing back that was promised, whatever becomes of it.
    fn hand_over(&mut self, to: usize, victim: usize, after_ms: u64) -> bool {
        if self.nodes[to].condition != Condition::Runs {
            return false;
        }
        let run = pykv(&["promote", "--timeout", "8s"]).at(&self.nodes[to].server);
        let output = thread::scope(|scope| {
            let promotion = scope.spawn(|| run.run());
            pace(Duration::from_millis(after_ms));
            self.end(victim, Signal::KILL);
            promotion.join().expect("the command is awaited")
        });
        eprintln!(
            "          pykv promote: {:?} {}",
            output.code,
            output.stderr.trim()
        );
        // It was primary already, or it says that it is none: any other answer may mean that it is now.
        if !matches!(output.code, Some(4 | 6)) {
            self.board.set_primary(to, true);
        }
        true
    }

    fn copy(&mut self, node: usize) -> bool {
        let it = &mut self.nodes[node];
        if it.condition != Condition::IsDown {
            return false;
        }
        let copy = Copy {
            dir: TempDir::new().unwrap(),
            taken: Instant::now(),
        };
        copy_dir(it.server.dir(), copy.dir.path());
        it.copy = Some(copy);
        true
    }

    fn put_back(&mut self, node: usize, promise: &mut Promise) -> bool {
        let it = &self.nodes[node];
        let Some(copy) = it.copy.as_ref().filter(|_| it.condition == Condition::IsDown) else {
            return false;
        };
        copy_dir(copy.dir.path(), it.server.dir());
        promise.put_back(node, copy.taken, self.board.was_primary(node));
        true
    }
}
