//! When a replica takes over by itself: the silence of the primary, and the pauses of this node.
//!
//! # The rule
//! The node takes over once all of these hold:
//! - It has not heard the primary for `--failover-after`.
//! - It had all of the primary's log shortly before the silence began.
//! - It did not stand still itself since it last heard the primary. A node that slept does not know what the
//!   primary acknowledged meanwhile; it waits until it has heard it again.

use super::pulse::Pulse;
use crate::node::Node;
use std::time::Duration;

/// Pauses up to this long are none, however short `--failover-after` is: every machine has them.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The least time between two attempts to take over.
const ATTEMPT_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Failover {
    after: Option<Duration>,
    pulse: Pulse,
    /// For how long this node stood still since it last heard the primary.
    paused: Option<Duration>,
    /// Whether a question was asked since then. What came before may have waited in the socket meanwhile.
    has_asked: bool,
    /// Whether the log says so already.
    is_logged: bool,
}

impl Failover {
    pub(super) fn new(after: Option<Duration>) -> Failover {
        Failover {
            after,
            pulse: Pulse::new(after.unwrap_or_default().max(PAUSE_MIN)),
            paused: None,
            has_asked: false,
            is_logged: false,
        }
    }

    /// The node was something else.
    pub(super) fn reset(&mut self) {
        *self = Failover::new(self.after);
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

    /// Whether the silence of the primary alone would make this node take over.
    pub(super) fn is_armed(&self, node: &Node) -> bool {
        let (heard_at, caught_up_at) = node.cluster().heard_and_caught_up();
        let (Some(after), Some(heard_at), Some(caught_up_at)) = (self.after, heard_at, caught_up_at) else {
            return false;
        };
        self.paused.is_none() && heard_at.since(caught_up_at) <= after
    }

    /// A pause that ends when the node may have to take over, if that is sooner.
    pub(super) fn at_most_until_due(&self, node: &Node, pause: Duration) -> Duration {
        let (heard_at, _) = node.cluster().heard_and_caught_up();
        let (Some(after), Some(heard_at), None) = (self.after, heard_at, self.paused) else {
            return pause;
        };
        match after.checked_sub(heard_at.elapsed()) {
            Some(until_due) => pause.min(until_due.max(ATTEMPT_EVERY)),
            None => pause,
        }
    }

    /// Makes the node primary where that is due.
    pub(super) fn take_over_if_due(&mut self, node: &Node) -> bool {
        let (heard_at, caught_up_at) = node.cluster().heard_and_caught_up();
        let (Some(after), Some(heard_at), Some(caught_up_at)) = (self.after, heard_at, caught_up_at) else {
            return false;
        };
        let silent_for = heard_at.elapsed();
        if silent_for < after {
            return false;
        }
        let behind_for = heard_at.since(caught_up_at);
        let obstacle = match self.paused {
            Some(paused) => format!("stood still for {:.1} s", paused.as_secs_f32()),
            None if behind_for > after => format!(
                "had been behind it for {:.1} s when it was last heard",
                behind_for.as_secs_f32()
            ),
            None => String::new(),
        };
        if !obstacle.is_empty() {
            let why = format!(
                "the primary does not answer, and this node {obstacle}: it does not take over before it has heard the \
                 primary again; `pykv promote --force` makes it the primary"
            );
            if !std::mem::replace(&mut self.is_logged, true) {
                log::warn!("{why}");
            }
            node.cluster().set_error(Some(why));
            return false;
        }
        log::warn!(
            "the primary has not answered for {:.1} s: taking over",
            silent_for.as_secs_f32()
        );
        match node.promote() {
            Ok(_) => true,
            Err(error) => {
                log::error!("cannot take over: {error}");
                false
            }
        }
    }
}
