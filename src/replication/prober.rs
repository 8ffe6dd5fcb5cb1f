//! The thread `prober`: asks the other nodes, so that a higher term is heard everywhere.
//!
//! A primary that took over asks the one before it until that has heard: it may have been cut off, or come
//! back as it was started. A replica asks those of its list that it does not follow, since one of them may be
//! primary in a higher term by now. [`handshake`](mod@super::handshake) acts on what each side hears.
//!
//! # An inquiry
//! A primary that was away does not know what happened meanwhile: after a start, and after a pause of its own
//! (it was suspended, or got no processor). Where it knows of other nodes it holds its writers and asks them
//! first. The hold has a bound, so nodes that are gone delay writers and do not stop them.

use super::backoff::jittered;
use super::handshake::ask_all;
use super::pulse::Pulse;
use crate::node::{Hold, Node};
use crate::wal::Role;
use std::time::{Duration, Instant};

/// How often the others are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long a question may take.
const ASK_TIME_MAX: Duration = Duration::from_secs(1);

/// A primary that stood still for longer than this asks before it takes another write.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a primary looks whether it stood still.
const PULSE_EVERY: Duration = Duration::from_millis(250);

/// Runs until the node stops.
pub(super) fn run(node: &Node) {
    let cluster = node.cluster();
    let mut pulse = Pulse::new(PAUSE_MAX);
    let mut calls = 0;
    let mut due = Instant::now();
    loop {
        let change = cluster.change();
        if change.to_stop {
            return;
        }
        let is_inquiring = cluster.hold_reason() == Some(Hold::Inquiry);
        // Where etcd decides, no other node has anything to say.
        let is_elected = node.is_elected();
        let peers = match is_elected {
            true => Vec::new(),
            false => peers_to_ask(node, change.role, is_inquiring),
        };
        if is_inquiring || Instant::now() >= due {
            for (address, answer) in ask_all(node, &peers, ASK_TIME_MAX) {
                if let Err(error) = answer {
                    log::debug!("{address}: {error}");
                }
            }
            due = Instant::now() + jittered(ASK_EVERY);
        }
        // Those who had heard of a higher term have made this node a replica by now.
        if is_inquiring && cluster.hold_reason() == Some(Hold::Inquiry) {
            node.release_writers();
        }
        // What took time until here was asking.
        pulse.skip();
        let has_others = !is_elected && (!peers.is_empty() || !cluster.peers().is_empty());
        let pause = match change.role {
            _ if !has_others => Duration::MAX,
            Role::Primary => PULSE_EVERY,
            Role::Replica => due.saturating_duration_since(Instant::now()),
        };
        let until_release = cluster.held_until().map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        });
        let pause = pause.min(until_release);
        let now_calls = cluster.wait_call(&change, calls, pause);
        if now_calls != calls {
            calls = now_calls;
            due = Instant::now();
        }
        node.release_overdue();
        let paused = pulse.beat(if pause == Duration::MAX {
            pause
        } else {
            pause + PULSE_EVERY
        });
        if let Some(paused) = paused
            && cluster.change() == change
            && change.role == Role::Primary
            && has_others
        {
            log::warn!(
                "this node stood still for {:.1} s: asking the others before it takes writes again",
                paused.as_secs_f32()
            );
            node.begin_inquiry();
        }
    }
}

/// The nodes that this one does not hear of by itself.
fn peers_to_ask(node: &Node, role: Role, is_inquiring: bool) -> Vec<String> {
    let cluster = node.cluster();
    let mut peers = cluster.peers();
    match role {
        // A follower asks for the log all the time.
        Role::Primary if is_inquiring => {}
        Role::Primary => peers.retain(|peer| !node.is_followed_by(peer)),
        Role::Replica if peers.len() == 1 => peers.clear(),
        Role::Replica => {
            let followed = cluster.source();
            peers.retain(|peer| Some(peer) != followed.as_ref());
        }
    }
    peers
}
