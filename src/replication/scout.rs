//! The thread `scout`: calls the other nodes that are known, so that a higher term is heard of everywhere.
//!
//! A primary that took over calls the one before it until that has heard: it may have been cut off, or come
//! back as it was started. A replica calls those of its list that it does not follow, since one of them may be
//! primary in a higher term by now. What is heard, and what the other side hears, is acted on in
//! [`super::hello`].

use super::Settings;
use super::backoff::jittered;
use super::follow::{connect, exchange_hello};
use crate::log::Role;
use crate::node::Node;
use std::time::Duration;

/// How often the others are called.
const CALL_EVERY: Duration = Duration::from_secs(1);

/// How long a call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(1);

/// Runs until the node stops.
pub(super) fn run(node: &Node, settings: &Settings) {
    let cluster = node.cluster();
    loop {
        let change = cluster.change();
        if change.to_stop {
            return;
        }
        // The one that is followed is heard of all the time.
        let followed = match change.role {
            Role::Primary => None,
            Role::Replica => cluster.upstream().map(|(address, _)| address),
        };
        let mut peers = cluster.peers();
        if change.role == Role::Replica && peers.len() == 1 {
            peers.clear();
        }
        peers.retain(|peer| Some(peer) != followed.as_ref());
        for peer in &peers {
            let called = connect(settings, peer, CALL_TIME_MAX)
                .and_then(|mut link| exchange_hello(node, &mut link, CALL_TIME_MAX));
            if let Err(error) = called {
                ::log::debug!("{peer}: {error}");
            }
            if cluster.change().to_stop {
                return;
            }
        }
        let pause = match peers.is_empty() {
            true => Duration::MAX,
            false => jittered(CALL_EVERY),
        };
        cluster.wait_change(&change, pause);
    }
}
