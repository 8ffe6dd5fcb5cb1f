//! Replication: a second node that has the same log, and takes over.
//!
//! | file | what it is |
//! | --- | --- |
//! | `follow` | the thread that brings the primary's log here |
//! | `scout` | the thread that calls the other nodes |
//! | `hello` | what nodes tell each other, and who gives way |
//! | `link` | one connection to another node |
//! | `backoff` | pauses |
//!
//! What these do to a node stands in `node/replica.rs`, what it does to the log's files in `log/copy.rs` and
//! `log/snapshot.rs`.

mod backoff;
mod follow;
mod hello;
mod link;
mod scout;

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
