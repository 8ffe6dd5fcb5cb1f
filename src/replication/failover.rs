//! What the thread `follow` keeps of the primary's silence and of its own pauses, and what it does about them. What is
//! to be done the [`Decider`] says.

use super::decider::{Decider, Decision, Facts, Manual};
use super::pulse::Pulse;
use super::silence::Silence;
use crate::node::Node;
use std::time::Duration;

/// Pauses up to this long are none, however short `--failover-after` is: every machine has them.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The least time between two attempts to take over.
const ATTEMPT_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Failover {
    decider: Box<dyn Decider>,
    pulse: Pulse,
    /// For how long this node stood still since it last heard the primary.
    paused: Option<Duration>,
    /// Whether a question was asked since then. What came before may have waited in the socket meanwhile.
    has_asked: bool,
    /// Whether the log says so already.
    is_logged: bool,
}

impl Failover {
    pub(super) fn new(node: &Node) -> Failover {
        let decider: Box<dyn Decider> = match node.cluster().options().failover_after {
            Some(after) => Box::new(Silence::new(after)),
            None => Box::new(Manual),
        };
        let pause_max = decider.silence_max().unwrap_or_default().max(PAUSE_MIN);
        Failover {
            decider,
            pulse: Pulse::new(pause_max),
            paused: None,
            has_asked: false,
            is_logged: false,
        }
    }

    /// The node was something else.
    pub(super) fn reset(&mut self, node: &Node) {
        *self = Failover::new(node);
    }

    /// A step has ended that was to take `expected_max` at most.
    pub(super) fn beat(&mut self, expected_max: Duration) {
        if let Some(pause) = self.pulse.beat(expected_max) {
            log::debug!("this node stood still for {:.1} s", pause.as_secs_f32());
            self.paused = Some(pause);
            self.has_asked = false;
        }
    }

    /// A question is asked: an answer to it is news of now.
    pub(super) fn ask(&mut self) {
        self.has_asked = true;
    }

    /// A step has ended whose time does not matter.
    pub(super) fn skip(&mut self) {
        self.pulse.skip();
    }

    /// The primary of this node's log has spoken, `age` ago; its address, where that is known.
    pub(super) fn heard(&mut self, node: &Node, primary: Option<&str>, age: Duration) {
        if self.paused.is_some() && !self.has_asked {
            return;
        }
        node.cluster().heard(primary, age);
        self.paused = None;
        self.is_logged = false;
    }

    fn facts(&self, node: &Node) -> Facts {
        let (heard_at, caught_up_at) = node.cluster().heard_and_caught_up();
        Facts {
            heard_at,
            caught_up_at,
            paused: self.paused,
        }
    }

    /// See [`Decider::silence_max`].
    pub(super) fn silence_max(&self) -> Option<Duration> {
        self.decider.silence_max()
    }

    /// See [`Decider::is_armed`].
    pub(super) fn is_armed(&self, node: &Node) -> bool {
        self.decider.is_armed(&self.facts(node))
    }

    /// A pause that ends when the node may have to take over, if that is sooner.
    pub(super) fn at_most_until_due(&self, node: &Node, pause: Duration) -> Duration {
        match self.decider.due_in(&self.facts(node)) {
            Some(due_in) => pause.min(due_in.max(ATTEMPT_EVERY)),
            None => pause,
        }
    }

    /// Makes the node primary where that is due.
    pub(super) fn take_over_if_due(&mut self, node: &Node) -> bool {
        match self.decider.decide(&self.facts(node)) {
            Decision::Wait => false,
            Decision::Obstacle(why) => {
                if !std::mem::replace(&mut self.is_logged, true) {
                    log::warn!("{why}");
                }
                node.cluster().set_error(Some(why));
                false
            }
            Decision::TakeOver(why) => {
                log::warn!("{why}: taking over");
                match node.promote() {
                    Ok(_) => true,
                    Err(error) => {
                        log::error!("cannot take over: {error}");
                        false
                    }
                }
            }
        }
    }
}
