//! Replication: a second node that has the same log, and takes over.
//!
//! | file | what it is |
//! | --- | --- |
//! | `follow` | the thread that brings the primary's log here |
//! | `scout` | the thread that calls the other nodes |
//! | `hello` | what nodes tell each other, and who gives way |
//! | `link` | one connection to another node |
//! | `backoff` | pauses |
//! | `trouble` | what keeps a replica from following |
//!
//! What these do to a node stands in `node/replica.rs`, what it does to the log's files in `log/copy.rs` and
//! `log/snapshot.rs`; the other end of each request in `http/replication.rs`, the words of both in
//! `api/replication.rs`.
//!
//! # The idea
//! A replica's log is the primary's: the same bytes at the same offsets. So a position is one number wherever it
//! is said, a replica can be followed itself, and promotion copies nothing.
//!
//! A log has an **id**, made with the store, and a history of **terms**, each a number and a mark drawn at random
//! (`log/term.rs`). A TERM record begins one. Two logs of one id agree up to the first offset at which their
//! histories differ, since in one term one node gives the offsets. The higher term wins wherever two nodes meet.
//!
//! There is no election. One replica is told by its operator to take over after a silence, or is told to do so
//! by hand. That is less than a consensus gives, and what it leaves open is said below.
//!
//! # What is said
//! All of it is HTTP, and asks for a token that is good for admin. What a node acts on carries a checksum.
//!
//! **`POST /replication/hello`**: id, term, role, address, primary and offset of the one who calls; the answer is
//! the same of the one who is called. Each side that hears of a higher term of its own log acts on it: a primary
//! closes its log to writers at once, becomes a replica, writes that down, and follows whoever it heard it from;
//! a replica goes over to a primary that it heard of. A replica says hello to find out whom to follow; the thread
//! `scout` of every node says it to all others that the node knows of, once a second, for as long as they are
//! not what this node follows. So the node that was primary before hears of its successor however it comes back.
//!
//! **`GET /replication/log?id=&after=&term=&wait=...`**: what comes after an offset, of a follower whose last record
//! before that is of `term`. The answer is
//! - 200 and whole records, and whole batches, from that offset on; none after `wait`. With it go the term of the
//!   node and how far its log is written.
//! - 409 and the node's history of terms, where the record before the offset is of another term in this log, or
//!   the offset lies in a hole of it. What the follower has behind the fork is no part of this history.
//! - 410 where what follows was compacted away.
//! - 421 where the id is another; 503 where the node cannot tell: it takes over a state itself, it is a replica
//!   and behind the one who asks, or it has just heard from the question that it must step down.
//!
//! To ask for what comes after an offset is to say that everything before it is in one's own log, as firmly as
//! one's own policy says. That is the acknowledgement; there is no other.
//!
//! **`GET /replication/snapshot`**: a backup, that is the state at an offset which its last record names.
//!
//! # What a replica does
//! It checks every record, writes the piece to its log, waits for it as any writer does, and only then applies
//! it. A SKIP is followed, so the logs have the same holes. It adds nothing of its own to the log: no SKIP after
//! a crash, no CLOSE when it is stopped. It drops nothing by itself: evictions and expiries come as records, and a
//! key whose deadline has come is hidden until its record does.
//!
//! After a 409 it copies what it has behind the fork to `diverged-<term>-<offset>.pykv`, synced, and takes a
//! snapshot. Where no key is told of behind the fork (a node that was stopped in order, or started again and
//! written to by nobody) it cuts the log there and goes on. After a 410, or with another id and `--replace`, it
//! takes a snapshot. While it does it serves no reads; the old files go when the new base has its name.
//!
//! What a node is, whom it knows, and whether it has met a follower that takes over by itself stand in the file
//! `ROLE`. A node that is started finds there what it was, whatever command starts it.
//!
//! # Taking over
//! A node that is promoted holds up its follower's thread, begins a term above every one that it has heard of
//! with a TERM record, and lets its log go on far behind anything that the primary before can have given, so
//! that no version is ever given twice. Once that is synced it writes down that it is primary, and takes writes.
//!
//! By itself a replica does so with `--failover-after`, if the node that it follows has not answered for that
//! long, and it had all of that node's log shortly before the silence began. So one that was away, or is still
//! catching up, does not take over.
//!
//! # Waiting for replicas
//! A write that waits for N replicas is answered when N followers have asked for what comes after it. Where a
//! follower is known that takes over by itself, it must be among them: its log is the one that will count. That
//! it is known is written down before it first counts, and holds over a restart.
//!
//! # What holds
//! - A node gives offsets in its own term only, and no two nodes have one term.
//! - Two logs that have the same term before the same offset are the same up to there.
//! - With one replica that takes over, a write that was acknowledged by it survives any failure of the other
//!   nodes: it is in the log of that replica, which is the log of the next term. A primary that was cut off
//!   acknowledges no such write any more, since that replica does not ask it any more.
//! - What a node has that is no part of the history in the end is kept in a file before it leaves the log.
//!
//! # What does not
//! - A write that waited for nobody can be lost with its node, or be set aside when the node comes back.
//! - A primary that is cut off, and not told, takes writes that wait for nobody until it hears of the higher term.
//!   They are set aside then.
//! - Where two replicas take over by themselves, or one is promoted by hand that does not have all that was
//!   acknowledged, the higher term wins, and what only the other one has is set aside, acknowledged or not.
//!
//! These rules are run through by a model: `tests/protocol_model.rs`.

mod backoff;
mod follow;
mod hello;
mod link;
mod scout;
mod trouble;

pub use hello::{hello, meet};

use crate::node::Node;
use std::io;
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

/// What the threads need beside the node.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Shown to other nodes.
    pub token: Option<String>,
    /// After how long without a word of the primary this node takes over by itself.
    pub failover_after: Option<Duration>,
    /// Whether a store that is another one may be given up for that of the primary.
    pub replaces: bool,
}

/// The threads `follow` and `scout` of a node. They end, and are joined, in [`Replication::stop`].
pub struct Replication<'scope> {
    node: &'scope Node,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Replication<'scope> {
    /// Starts them. Where one cannot be started, none is.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        node: &'scope Node,
        settings: &'scope Settings,
    ) -> io::Result<Replication<'scope>> {
        let mut replication = Replication {
            node,
            threads: Vec::new(),
        };
        for (name, run) in [
            ("follow", follow::run as fn(&Node, &Settings)),
            ("scout", scout::run),
        ] {
            let thread = Builder::new()
                .name(name.to_owned())
                .spawn_scoped(scope, move || run(node, settings));
            match thread {
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
    pub fn stop(mut self) {
        self.node.cluster().stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                ::log::error!("a thread of the replication has panicked");
            }
        }
    }
}
