//! What a cluster is at one moment: the nodes, what is on its way between them, and what has happened so far.

use super::Run;
use pykv::internals::wal::{Branch, Term, branch_before};

pub const NODES: usize = 3;

/// The node that takes over by itself.
pub const SUCCESSOR: usize = 1;

/// Offsets of a branch: more than a run can write.
const BRANCH_OFFSETS: u64 = 100;

/// The branch that every log begins with.
pub const FIRST: Branch = Branch {
    term: Term::FIRST,
    nonce: 1,
    start: 0,
};

/// A record: where it ends, the branch it was made in, and which write it is; none for the beginning of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub end: u64,
    pub branch: Branch,
    pub write: Option<u8>,
}

/// What a follower and the node that it follows say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    Nothing,
    Asked { to: usize, proof: Proof },
    Answered { from: usize, term: Term, answer: Answer },
}

/// What a follower says of its log: where it ends, the branch there, and the last record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    pub after: u64,
    pub branch: Branch,
    pub last: Option<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// With them, when the node that answers heard the primary; none where nobody counts time.
    Records(Vec<Record>, u8),
    /// The histories part: the branches of the other one, and its whole log as a snapshot.
    Diverged(Vec<Branch>, Vec<Record>),
}

/// What a node knows of time. Nothing of it survives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clock {
    /// When it heard the primary.
    pub heard: Option<u8>,
    /// When it had all that the primary had.
    pub caught_up: Option<u8>,
    /// When it last beat.
    pub beat: u8,
    /// It stood still since it last heard the primary, and knows.
    pub paused: bool,
    /// It has asked since then.
    pub has_asked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub is_up: bool,
    /// The process is suspended: it does nothing, and its sockets keep what comes.
    pub is_suspended: bool,
    pub is_primary: bool,
    pub log: Vec<Record>,
    /// Written down: a successor was met, in the term of now.
    pub has_successor: bool,
    /// Up to where each follower has asked, since this node is what it is; 0 where it has not.
    pub acknowledged: [u64; NODES],
    pub said: Said,
    /// The node whose answer it took last, and whether that one is primary.
    pub source: Option<(usize, bool)>,
    /// It has had all of what it follows.
    pub was_even: bool,
    pub clock: Clock,
    /// The highest term that it has heard of.
    pub met: Term,
    pub aside: Vec<u8>,
}

/// A directory that somebody has copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copied {
    pub log: Vec<Record>,
    pub is_primary: bool,
    pub has_successor: bool,
}

/// How often each thing has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    pub writes: u8,
    pub crashes: u8,
    pub promotions: u8,
    pub suspensions: u8,
    pub branches: u8,
    /// Copies that were taken, and those that were put in a node's place.
    pub copies: u8,
    pub puts: u8,
}

/// What no node may do, noticed when one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    GivenTwice,
    Joined,
    /// A node took over without a write that is so many ticks old.
    TookOverWithout(u8, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub nodes: Vec<Node>,
    pub counts: Counts,
    pub now: u8,
    /// When a primary last was there and not suspended.
    pub primary_at: u8,
    /// Writes that were acknowledged with a replica: which, in which branch, by whom.
    pub synced: Vec<(u8, Branch, usize)>,
    /// Writes that were acknowledged by a primary alone.
    pub hoped: Vec<u8>,
    /// When each write was made.
    pub made_at: Vec<u8>,
    /// All offsets that were given.
    pub given: Vec<u64>,
    pub copied: Option<Copied>,
    pub fault: Option<Fault>,
}

/// The branches of a log.
pub fn history_of(log: &[Record]) -> Vec<Branch> {
    let begun = log.iter().filter(|record| record.write.is_none());
    std::iter::once(FIRST)
        .chain(begun.map(|record| record.branch))
        .collect()
}

impl Node {
    pub fn end(&self) -> u64 {
        self.log.last().map_or(1, |record| record.end)
    }

    pub fn branch(&self) -> Branch {
        let begun = self.log.iter().rfind(|record| record.write.is_none());
        begun.map_or(FIRST, |record| record.branch)
    }

    pub fn term(&self) -> Term {
        self.branch().term
    }

    pub fn proof(&self) -> Proof {
        let after = self.end();
        let branch = branch_before(&history_of(&self.log), after);
        Proof {
            after,
            branch: branch.expect("the first branch begins before everything"),
            last: self.log.last().copied(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.is_up && !self.is_suspended
    }

    /// The process ends; what is on the disk stays.
    pub fn end_process(&mut self) {
        self.is_up = false;
        self.is_suspended = false;
        self.acknowledged = [0; NODES];
        self.met = Term::FIRST;
        self.lose_source();
        self.was_even = false;
        self.clock = Clock::default();
    }

    /// The connection to the node that it follows is gone.
    pub fn lose_source(&mut self) {
        self.said = Said::Nothing;
        self.source = None;
    }
}

impl State {
    /// A primary, and two empty replicas.
    pub fn first() -> State {
        let node = |at: usize| Node {
            is_up: true,
            is_suspended: false,
            is_primary: at == 0,
            log: Vec::new(),
            has_successor: false,
            acknowledged: [0; NODES],
            said: Said::Nothing,
            source: None,
            was_even: false,
            clock: Clock::default(),
            met: Term::FIRST,
            aside: Vec::new(),
        };
        State {
            nodes: (0..NODES).map(node).collect(),
            counts: Counts::default(),
            now: 0,
            primary_at: 0,
            synced: Vec::new(),
            hoped: Vec::new(),
            made_at: Vec::new(),
            given: Vec::new(),
            copied: None,
            fault: None,
        }
    }

    /// A node gives an offset.
    pub fn append(&mut self, at: usize, end: u64, branch: Branch, write: Option<u8>) {
        self.nodes[at].log.push(Record { end, branch, write });
        match self.given.binary_search(&end) {
            Ok(_) => self.fault = Some(Fault::GivenTwice),
            // In order, so that two ways to one state are one.
            Err(place) => self.given.insert(place, end),
        }
    }

    /// A node begins a branch of a term.
    pub fn begin_branch(&mut self, at: usize, term: Term, run: &Run) {
        self.counts.branches += 1;
        let number = u64::from(self.counts.branches);
        // By number alone, two nodes that each begin the next term do the same.
        let (nonce, region) = match run.has_marks {
            true => (1 + number, number),
            false => (term.bits(), u64::from(term.number())),
        };
        let end = match run.spreads_branches {
            true => BRANCH_OFFSETS * region,
            false => self.nodes[at].end() + 1,
        };
        let start = end - 1;
        self.append(at, end, Branch { term, nonce, start }, None);
    }

    /// Whether a write is in some node's log, or was set aside.
    pub fn is_somewhere(&self, write: u8) -> bool {
        self.nodes.iter().any(|node| {
            node.aside.contains(&write) || node.log.iter().any(|record| record.write == Some(write))
        })
    }
}
