//! Three nodes and etcd, and what is done to them.

use super::clients::Board;
use super::faults::Operation;
use super::links::{Host, Links};
use crate::common::client::Response;
use crate::common::etcd::Etcd;
use crate::common::faketime::Clock;
use crate::common::node::Setup;
use crate::common::small_disk::SmallDisk;
use crate::common::{Client, Server, faketime, pykv};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

pub const NODES: usize = 3;

/// The name of the cluster.
const NAME: &str = "shop";

/// A node that runs answers within this time where the machine is not very busy.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// The disk of a node: more than a cluster writes in its life.
const DISK_SIZE: &str = "96m";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Runs,
    IsSuspended,
    IsDown,
}

struct Node {
    server: Server,
    condition: Condition,
    /// Where its data is, if a disk could be made.
    disk: Option<SmallDisk>,
    /// Its clock, if that can be set.
    clock: Option<Clock>,
}

/// See the module.
pub struct Cluster {
    // Dropped before what they hang on.
    nodes: Vec<Node>,
    members: Vec<Condition>,
    pub etcd: Etcd,
    links: Links,
    pub board: Board,
    _home: TempDir,
}

/// How a cluster is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of etcd.
    pub members: usize,
    pub ttl_seconds: u64,
    /// Whether reads wait for replicas.
    pub sync_reads: bool,
    /// Whether the primary continues without etcd while all others confirm it.
    pub failsafe: bool,
}

impl Cluster {
    /// All nodes are started in the same way. None where there is no etcd, or no network.
    pub fn start(test: &str, options: Options) -> Option<Cluster> {
        let mut links = Links::start(test, NODES, options.members)?;
        let Some(etcd) = Etcd::start_at(&links.places(options.members), &[]) else {
            crate::common::skip(test, "etcd or etcdctl is not installed");
            return None;
        };
        links.lead_to_etcd(NODES, &etcd);
        let home = TempDir::new().unwrap();
        let board = Board::new((0..NODES).map(|node| links.advertised(node)).collect());
        let mut cluster = Cluster {
            nodes: Vec::new(),
            members: vec![Condition::Runs; options.members],
            etcd,
            links,
            board,
            _home: home,
        };
        for node in 0..NODES {
            let started = cluster.node(node, options);
            cluster.nodes.push(started);
            cluster.is_reached(node, &cluster.board);
        }
        Some(cluster)
    }

    fn node(&self, number: usize, options: Options) -> Node {
        let endpoints = self.links.endpoints(number, &self.etcd);
        // As one argument, by which the network knows the process.
        let advertise = format!("--advertise={}", self.links.advertised(number));
        let ttl = format!("{}s", options.ttl_seconds);
        let mut args = vec![
            "--etcd",
            &endpoints,
            "--cluster",
            NAME,
            &advertise,
            "--etcd-ttl",
            &ttl,
            "--sync-replicas",
            "1",
            "--sync-timeout",
            "1s",
            // Every write that waits in vain would be told of as slow.
            "--slow-ms",
            "60000",
        ];
        args.extend((!options.failsafe).then_some("--failsafe=off"));
        args.extend(options.sync_reads.then_some("--sync-reads"));
        let is_real = matches!(self.links, Links::Real { .. });
        args.extend(is_real.then_some("--insecure"));
        let clock = Clock::new();
        let of_clock = faketime::wrapper(&clock.variable());
        let clock = of_clock.is_some().then_some(clock);
        let wrapper = [self.links.wrapper(number), of_clock.unwrap_or_default()].concat();
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let disk = SmallDisk::mount_of(DISK_SIZE).ok();
        let mut setup = Setup::new(&args)
            .listen(&self.links.listen(number))
            .wrapper(&wrapper);
        if let Some(disk) = &disk {
            setup = setup.data(&disk.path("data"));
        }
        Node {
            server: setup.start(),
            condition: Condition::Runs,
            disk,
            clock,
        }
    }

    /// What a node says of itself; none where it does not run, or does not answer.
    pub fn status(&self, node: usize) -> Option<Value> {
        self.ask(node, "/status")
    }

    /// Whether a node knows of another one that has every write that is answered, and so may take over.
    pub fn has_standby(&self, node: usize) -> bool {
        let cluster = self.ask(node, "/cluster").unwrap_or_default();
        let mut members = cluster["members"].as_array().into_iter().flatten();
        members.any(|member| member["standby"] == true)
    }

    fn ask(&self, node: usize, path: &str) -> Option<Value> {
        let answer = self.answer(node, path)?;
        (answer.status == 200).then(|| answer.body_json())
    }

    fn answer(&self, node: usize, path: &str) -> Option<Response> {
        if self.nodes[node].condition != Condition::Runs {
            return None;
        }
        let mut client = Client::try_connect(self.nodes[node].server.address()).ok()?;
        client.socket().set_read_timeout(Some(ANSWER_TIME_MAX)).ok()?;
        client.try_request("GET", path, &[], b"").ok()
    }

    pub fn server(&self, node: usize) -> &Server {
        &self.nodes[node].server
    }

    /// How other nodes reach a node.
    pub fn advertised(&self, node: usize) -> String {
        self.links.advertised(node)
    }

    /// Does something; `false` where it cannot be done now.
    pub fn apply(&mut self, operation: Operation, board: &Board) -> bool {
        use Operation as O;
        match operation {
            O::Kill(Host::Node(node)) => return self.end(node, Signal::KILL, board),
            O::Terminate(node) => return self.end(node, Signal::TERM, board),
            O::SwitchOver => return self.switch_over(),
            O::Start(Host::Node(node)) => return self.start_again(node, board),
            O::Suspend(Host::Node(node)) => return self.suspend(node),
            O::Continue(Host::Node(node)) => return self.go_on(node),
            O::Kill(Host::Member(member)) => return self.kill_member(member),
            O::Start(Host::Member(member)) => return self.start_member(member),
            O::Suspend(Host::Member(member)) => return self.suspend_member(member),
            O::Continue(Host::Member(member)) => return self.continue_member(member),
            O::Silence(from, to) => self.links.silence(from, to),
            O::HealLinks => self.links.heal(),
            O::SetClock(node, ahead_seconds) => return self.set_clock(node, ahead_seconds),
            O::FillDisk(node) => match &self.nodes[node].disk {
                // As much of it as fits.
                Some(disk) => drop(fs::write(disk.path("filler"), vec![0; 128 << 20])),
                None => return false,
            },
            O::FreeDisk(node) => match &self.nodes[node].disk {
                Some(disk) => drop(fs::remove_file(disk.path("filler"))),
                None => return false,
            },
        }
        true
    }

    /// All hear each other, all clocks are right, all disks have room, and all runs, the nodes in the order given.
    pub fn heal(&mut self, order: &[usize], board: &Board) {
        self.links.heal();
        for member in 0..self.members.len() {
            self.continue_member(member);
            self.start_member(member);
        }
        for &node in order {
            self.apply(Operation::FreeDisk(node), board);
            self.go_on(node);
            self.start_again(node, board);
            // Now that it runs and can be seen to follow it.
            self.set_clock(node, 0);
        }
    }

    /// A node that runs is seen to follow it; others do from when they go on.
    fn set_clock(&self, node: usize, ahead_seconds: i64) -> bool {
        let Some(clock) = &self.nodes[node].clock else {
            return false;
        };
        if self.nodes[node].condition == Condition::Runs {
            let what = format!("the clock of node {node} is ahead by {ahead_seconds} s");
            clock.set(ahead_seconds, &what, || self.is_clock(node, ahead_seconds));
        } else {
            clock.put(ahead_seconds);
        }
        true
    }

    /// Whether the clock of a node that runs is ahead by so much, to a minute.
    fn is_clock(&self, node: usize, ahead_seconds: i64) -> bool {
        let date = self.answer(node, "/healthz").and_then(|answer| {
            let date = answer.header("Date")?.to_owned();
            httpdate::parse_http_date(&date).ok()
        });
        let ahead = Duration::from_secs(ahead_seconds.unsigned_abs());
        let now = SystemTime::now();
        let expected = if ahead_seconds < 0 {
            now - ahead
        } else {
            now + ahead
        };
        let is_near = |date: SystemTime| {
            let apart = date.duration_since(expected);
            apart.unwrap_or_else(|error| error.duration()) < Duration::from_secs(60)
        };
        date.is_some_and(is_near)
    }

    fn end(&mut self, node: usize, signal: Signal, board: &Board) -> bool {
        let it = &mut self.nodes[node];
        match (it.condition, signal) {
            (Condition::IsDown, _) => return false,
            // One that is suspended does not end in order.
            (Condition::Runs, Signal::TERM) => drop(it.server.sigterm()),
            _ => it.server.kill_9(),
        }
        it.condition = Condition::IsDown;
        self.links.lead_to(node, None);
        board.set_address(node, None);
        true
    }

    /// Asks each node in turn; whether one has done it. In the midst of another fault there may be nobody to take over.
    fn switch_over(&self) -> bool {
        let runs = self.nodes.iter().filter(|node| node.condition == Condition::Runs);
        let mut asked = runs.map(|node| pykv(&["switchover", "--timeout", "5s"]).at(&node.server).run());
        asked.any(|run| run.code == Some(0))
    }

    fn start_again(&mut self, node: usize, board: &Board) -> bool {
        let it = &mut self.nodes[node];
        if it.condition != Condition::IsDown {
            return false;
        }
        it.server.start_again();
        it.condition = Condition::Runs;
        self.is_reached(node, board);
        true
    }

    /// Makes known where a node that has just been started listens.
    fn is_reached(&self, node: usize, board: &Board) {
        let address = self.nodes[node].server.address();
        self.links.lead_to(node, Some(address));
        board.set_address(node, Some(address));
    }

    fn suspend(&mut self, node: usize) -> bool {
        let it = &mut self.nodes[node];
        let runs = it.condition == Condition::Runs;
        if runs {
            it.server.suspend();
            it.condition = Condition::IsSuspended;
        }
        runs
    }

    fn go_on(&mut self, node: usize) -> bool {
        let it = &mut self.nodes[node];
        let is_suspended = it.condition == Condition::IsSuspended;
        if is_suspended {
            it.server.signal(Signal::CONT);
            it.condition = Condition::Runs;
        }
        is_suspended
    }

    fn kill_member(&mut self, member: usize) -> bool {
        let runs = self.members[member] != Condition::IsDown;
        if runs {
            self.etcd.kill_9(member);
            self.members[member] = Condition::IsDown;
        }
        runs
    }

    fn start_member(&mut self, member: usize) -> bool {
        let is_down = self.members[member] == Condition::IsDown;
        if is_down {
            self.etcd.start_again(member);
            self.members[member] = Condition::Runs;
        }
        is_down
    }

    fn suspend_member(&mut self, member: usize) -> bool {
        let runs = self.members[member] == Condition::Runs;
        if runs {
            self.etcd.signal(member, Signal::STOP);
            self.members[member] = Condition::IsSuspended;
        }
        runs
    }

    fn continue_member(&mut self, member: usize) -> bool {
        let is_suspended = self.members[member] == Condition::IsSuspended;
        if is_suspended {
            self.etcd.signal(member, Signal::CONT);
            self.members[member] = Condition::Runs;
        }
        is_suspended
    }
}
