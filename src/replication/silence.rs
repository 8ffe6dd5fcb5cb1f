//! Taking over after a silence of the primary: `--failover-after`.
//!
//! # The rule
//! The node takes over once all of these hold:
//! - It has not heard the primary for that time.
//! - It had all of the primary's log shortly before the silence began.
//! - It did not stand still itself since it last heard the primary. A node that slept does not know what the
//!   primary acknowledged meanwhile; it waits until it has heard it again.

use super::decider::{Decider, Decision, Facts};
use std::time::Duration;

/// See the module.
pub(super) struct Silence {
    after: Duration,
}

impl Silence {
    /// Takes over after a silence of `after`.
    pub(super) fn new(after: Duration) -> Silence {
        Silence { after }
    }
}

impl Decider for Silence {
    fn decide(&self, facts: &Facts) -> Decision {
        // A node that never had all of the primary's log cannot stand in for it.
        let (Some(heard_at), Some(caught_up_at)) = (facts.heard_at, facts.caught_up_at) else {
            return Decision::Wait;
        };
        let silent_for = heard_at.elapsed();
        if silent_for < self.after {
            return Decision::Wait;
        }
        let behind_for = heard_at.since(caught_up_at);
        let obstacle = match facts.paused {
            Some(paused) => format!("stood still for {:.1} s", paused.as_secs_f32()),
            None if behind_for > self.after => format!(
                "had been behind it for {:.1} s when it was last heard",
                behind_for.as_secs_f32()
            ),
            None => {
                let silent_for = silent_for.as_secs_f32();
                return Decision::TakeOver(format!("the primary has not answered for {silent_for:.1} s"));
            }
        };
        Decision::Obstacle(format!(
            "the primary does not answer, and this node {obstacle}: it does not take over before it has heard the \
             primary again; `pykv promote --force` makes it the primary"
        ))
    }

    fn due_in(&self, facts: &Facts) -> Option<Duration> {
        let heard_at = facts.heard_at.filter(|_| facts.paused.is_none())?;
        self.after.checked_sub(heard_at.elapsed())
    }

    fn is_armed(&self, facts: &Facts) -> bool {
        let (Some(heard_at), Some(caught_up_at)) = (facts.heard_at, facts.caught_up_at) else {
            return false;
        };
        facts.paused.is_none() && heard_at.since(caught_up_at) <= self.after
    }

    fn silence_max(&self) -> Option<Duration> {
        Some(self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_clock::BootInstant;

    const SECOND: Duration = Duration::from_secs(1);

    fn facts(heard: Duration, caught_up: Duration) -> Facts {
        Facts {
            heard_at: Some(BootInstant::ago(heard)),
            caught_up_at: Some(BootInstant::ago(caught_up)),
            paused: None,
        }
    }

    #[test]
    fn a_silence_that_is_long_enough_is_reason_to_take_over() {
        let silence = Silence::new(2 * SECOND);
        let soon = facts(SECOND, SECOND);
        assert_eq!(silence.decide(&soon), Decision::Wait);
        assert!(silence.is_armed(&soon));
        assert!(silence.due_in(&soon).is_some_and(|due| due <= SECOND));
        let due = facts(3 * SECOND, 3 * SECOND);
        assert!(matches!(silence.decide(&due), Decision::TakeOver(_)));
        assert_eq!(silence.due_in(&due), None);
    }

    #[test]
    fn a_node_that_was_behind_or_slept_or_never_had_all_does_not_take_over() {
        let silence = Silence::new(2 * SECOND);
        let behind = facts(3 * SECOND, 10 * SECOND);
        assert!(matches!(silence.decide(&behind), Decision::Obstacle(why) if why.contains("behind")));
        assert!(!silence.is_armed(&behind));
        let slept = Facts {
            paused: Some(9 * SECOND),
            ..facts(3 * SECOND, 3 * SECOND)
        };
        assert!(matches!(silence.decide(&slept), Decision::Obstacle(why) if why.contains("stood still")));
        assert!(!silence.is_armed(&slept));
        let never = Facts {
            caught_up_at: None,
            ..facts(3 * SECOND, SECOND)
        };
        assert_eq!(silence.decide(&never), Decision::Wait);
        assert!(!silence.is_armed(&never));
    }
}
