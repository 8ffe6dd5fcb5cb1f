//! Replication: a second node that has the same log, and takes over.
//!
//! | file | what it is |
//! | --- | --- |
//! | `follow` | the thread that brings the primary's log here |
//! | `find` | which node is followed |
//! | `pipeline` | what was fetched: checked, appended, and applied while the next is fetched |
//! | `decider`, `silence` | who may become primary: the operator alone, or a replica after a silence |
//! | `failover` | what a replica does about that |
//! | `elector` | the thread that drives an election, where etcd decides who is primary |
//! | `prober` | the thread that asks the other nodes |
//! | `handshake` | what nodes say of themselves, and which of them gives way |
//! | `handover` | a promotion for which the primary holds its writers |
//! | `link`, `wire`, `link_error` | one connection to another node; its bytes, plain or under TLS; what goes wrong there |
//! | `pulse`, `backoff` | this node's own pauses; pauses between attempts |
//! | `skew` | whether the clock here differs from the primary's |
//! | `follow_error` | what keeps a replica from following |
//!
//! `node/replica.rs`, `node/role.rs` and `node/handover.rs` say what these do to a node, `wal/copy.rs` and
//! `wal/snapshot.rs` what they do to the log's files. The other end of each request is in `handlers/replication.rs`
//! and its folder, the messages of both in `api/replication.rs`.
//!
//! # The idea
//! A replica's log is the primary's: the same bytes at the same offsets. So a position is one number wherever it
//! is said, a replica can be followed itself, and promotion copies nothing.
//!
//! A log has an **id**, made with the store, and a history of **branches**, each a term, a nonce drawn at random,
//! and the offset where it begins (`wal/branch.rs`). A TERM record begins one: at every start as primary, and at
//! every promotion, which begins a term too. Two logs of one id agree up to the first offset at which their
//! histories differ, since one process gives the offsets of a branch. The higher term wins wherever two nodes
//! meet.
//!
//! There is no election of these nodes' own. The operator makes one replica take over after a silence, or promotes one
//! by hand. That is less than a consensus gives, and what it leaves open is said below. Where an etcd decides
//! ([`crate::election`]), it alone says who is primary and whom replicas follow: nobody takes over after a silence, no
//! primary steps down for what another node says, and a handover is the election's.
//!
//! # The messages
//! All of it is HTTP, and asks for a token that is good for admin. What a node acts on carries a checksum. A node
//! shows its token to the nodes that its operator named, and to those that such nodes, or nodes that showed a
//! token themselves, have named: a node that has a token for others asks for one itself.
//!
//! **`POST /replication/hello`**: a node says its id, term, branch, role, address and offset, and where it hears
//! the primary; the other one answers with the same. Each side that hears of a higher term of its own log acts on
//! it: a primary closes its log to writers at once, becomes a replica, writes that down, and follows; a replica
//! goes over to a primary that it heard of. A term that is far above the own one is refused, so nobody uses the
//! terms up. Two primaries of one term are reported, and never mixed.
//!
//! **`GET /replication/log?id=&after=&term=&branch=&last=&wait=...`**: what comes after an offset. The follower
//! proves what it has before it: the term and branch of its last record, where that begins, and its checksum. The
//! answer is
//! - 200 and whole records, and whole batches, from that offset on; none after `wait`. With it go the term of the
//!   node, how far the primary's log is written, and how long ago the node heard the primary.
//! - 409 and the node's history, where the proof does not hold, or the offset lies in a hole of this log. What
//!   the follower has behind the fork is no part of this history.
//! - 410 where what follows was compacted away.
//! - 421 where the id is another; 503 where the node cannot tell: it takes over a state itself, it is a replica
//!   that hears no primary, or is behind the one who asks, or it has just heard from the question that it must
//!   step down.
//!
//! To ask for what comes after an offset is to say that everything before it is in one's own log, as durable as
//! one's own policy says. That is the acknowledgement; there is no other.
//!
//! **`GET /replication/snapshot`**: a backup, that is the state at an offset which its last record names.
//!
//! **`POST /replication/handover`**: makes a primary hold its writers for a time, and says how far its log goes.
//!
//! # Whom a replica follows
//! The primary, and nobody else. With `--from-replica` it may follow a replica too, one that follows the primary
//! itself at that moment: a replica answers a poll only while the node that it follows is a primary. So replicas
//! cannot follow each other in a circle, whatever is started, stopped or promoted in whatever order. A chain has
//! two links at most.
//!
//! Only the primary counts as heard, and no later than it can have spoken: an answer that lay in a buffer is old
//! news. A replica passes on how long ago it heard it and how far that was, so the lag at the end of a chain is
//! against the primary too. A primary that has nothing new says so every half
//! second.
//!
//! # What a replica does
//! It checks every record, writes the chunk to its log, waits for it as any writer does, and only then applies it. It
//! asks for the next chunk meanwhile. A SKIP is followed, so the logs have the same holes. It adds nothing of its own
//! to the log: no branch, no CLOSE when it is stopped. It drops nothing by itself: evictions and expiries come as
//! records, and a key whose deadline has come is hidden until its record does.
//!
//! After a 409 it copies what it has behind the fork to `diverged-<term>-<offset>.pykv`, synced, and takes a
//! snapshot. Where no record of a key is behind the fork (a node that was stopped in order, or started again and
//! written to by nobody) it cuts the log there and continues. After a 410 it takes a snapshot. So it does where
//! the primary has another id, if its own store is empty or the operator has named that id with `--replace`; its
//! old files are kept in `replaced-<id>` then. Meanwhile it serves no reads. Where a snapshot breaks off and no
//! primary answers, it serves its old state again.
//!
//! What a node is, whom it knows, and which followers of it take over by themselves stand in the file `ROLE`. A
//! node finds there what it was, whatever command starts it.
//!
//! # Taking over
//! A node that is promoted begins a term above every one that it has heard of, and lets its log continue far
//! behind anything that the former primary can have given, so that no version is ever given twice. Once that is
//! synced it writes down that it is primary, and takes writes.
//!
//! `pykv promote` has the primary hold its writers first, and waits until this node has all of its log, so nothing is
//! lost; with `--force` it does not. Where a replica takes over by itself at the same time, cut off from both, its term
//! wins: no write of the other one was acknowledged without it. By itself a replica takes over with `--failover-after`:
//! see `silence`.
//!
//! A primary that was away (a start, a pause of its own) and knows of other nodes holds its writers and asks
//! those nodes for a higher term first: see `prober`.
//!
//! # Waiting for replicas
//! A write that waits for N replicas is answered when N followers have asked for what comes after it. Where a
//! follower is known that takes over by itself, it must be among them: its log is the one that will count. That
//! it is known is written down before it first counts, and holds over a restart, until `pykv forget`.
//!
//! # What holds
//! - One process gives the offsets of a branch, and no two branches give one offset.
//! - Two logs that have the same branch before the same offset are the same up to there.
//! - With one replica that takes over, a write that it acknowledged survives any failure of the other nodes: it
//!   is in the log of that replica, which is the log of the next term. A primary that was cut off acknowledges no
//!   such write any more, since that replica does not ask it any more.
//! - What a node has that is no part of the history in the end is kept in a file before it leaves the log.
//!
//! # What does not
//! - A write that waited for nobody can be lost with its node, or be set aside when the node comes back.
//! - A primary that is cut off, and hears of nothing, takes writes that wait for nobody until it hears of the
//!   higher term. They are set aside then.
//! - Where two replicas take over by themselves, or one is promoted with `--force` that does not have all that
//!   was acknowledged, the higher term wins, and what only the other one has is set aside, acknowledged or not.
//! - A primary whose directory is put back from a copy, or that loses what was not synced, is believed by its
//!   replicas, though they have more: what they have is set aside.
//!
//! `tests/protocol_model/` runs through these rules.

mod backoff;
mod decider;
mod elector;
mod failover;
mod find;
mod follow;
mod follow_error;
mod handover;
mod handshake;
mod link;
mod link_error;
mod pipeline;
mod prober;
mod pulse;
mod silence;
mod skew;
mod survey;
mod wire;

pub(crate) use elector::{Etcd, ask_members, retire};
pub(crate) use handover::promote;
pub(crate) use handshake::{OTHER_VERSION, handshake, receive};
pub(crate) use survey::ask_nodes;

use crate::node::{HEARTBEAT_EVERY, Node};
use link::Link;
use link_error::LinkError;
use std::io;
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

/// How much longer than it was asked to wait another node may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// How long connecting may take, and a handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(2);

/// How long things may take.
struct Times {
    /// Until a poll without news is answered.
    poll_wait: Duration,
    /// Beyond that, and between the bytes of an answer.
    answer: Duration,
    /// Connecting, and a handshake.
    handshake: Duration,
}

impl Times {
    /// Short where a failover is to be noticed soon: after a silence of this length.
    fn of(silence_max: Option<Duration>) -> Times {
        let third = silence_max.map_or(Duration::MAX, |after| after / 3);
        Times {
            poll_wait: HEARTBEAT_EVERY.min(third),
            answer: ANSWER_TIME_MAX.min(third),
            handshake: HANDSHAKE_TIME_MAX.min(third),
        }
    }
}

/// Connects to another node. A name is looked up elsewhere; this waits no longer than `timeout` for that, nor
/// for the connection.
fn dial(node: &Node, address: &str, timeout: Duration) -> Result<Link, LinkError> {
    let cluster = node.cluster();
    let addresses = cluster.resolver().resolve(address, timeout)?;
    let token = cluster.options().token.as_ref().map(|token| token.text());
    let tls = cluster.options().tls.as_ref().map(|tls| tls.config());
    Link::connect(address, &addresses, token.as_deref(), tls.as_ref(), timeout)
}

/// The threads `follow`, `prober` and `elector` of a node. They end, and are joined, in [`Replication::stop`].
pub(crate) struct Replication<'scope> {
    node: &'scope Node,
    etcd: Option<&'scope elector::Etcd>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Replication<'scope> {
    /// Starts them. Where one cannot be started, none is. A primary that knows of other nodes holds its writers
    /// until it has asked them.
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        node: &'scope Node,
        etcd: Option<&'scope elector::Etcd>,
    ) -> io::Result<Replication<'scope>> {
        let mut replication = Replication {
            node,
            etcd,
            threads: Vec::new(),
        };
        node.begin_inquiry();
        for (name, run) in [("follow", follow::run as fn(&Node)), ("prober", prober::run)] {
            let thread = Builder::new()
                .name(name.to_owned())
                .spawn_scoped(scope, move || run(node));
            match thread {
                Ok(thread) => replication.threads.push(thread),
                Err(error) => {
                    replication.stop();
                    return Err(error);
                }
            }
        }
        if let Some(etcd) = etcd {
            let thread = Builder::new().name("elector".to_owned());
            match thread.spawn_scoped(scope, move || elector::run(node, etcd)) {
                Ok(thread) => replication.threads.push(thread),
                Err(error) => {
                    replication.stop();
                    return Err(error);
                }
            }
        }
        Ok(replication)
    }

    /// Ends them, and returns when they have.
    pub(crate) fn stop(mut self) {
        if let Some(etcd) = self.etcd {
            elector::retire(self.node, etcd);
        }
        self.node.cluster().stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the replication has panicked");
            }
        }
    }
}
