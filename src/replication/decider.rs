//! Who may become primary, as a replica sees it.
//!
//! A decider has no effects: it is given what the node knows and answers what is to be done; `failover` gathers the
//! one and does the other. [`Manual`] leaves every promotion to `pykv promote`; `silence` takes over when the primary
//! was not heard for a time. Where etcd decides, `elector` does, and this is [`Manual`].

use crate::boot_clock::BootInstant;
use std::time::Duration;

/// What a replica knows when it decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// When the primary was last heard.
    pub(super) heard_at: Option<BootInstant>,
    /// When this node last had all of the primary's log.
    pub(super) caught_up_at: Option<BootInstant>,
    /// For how long this node stood still since it last heard the primary.
    pub(super) paused: Option<Duration>,
}

/// What a replica is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// To look for the primary.
    Wait,
    /// To begin the next term, for this reason.
    TakeOver(String),
    /// To look for the primary, and to say why this node does not take over though it is time.
    Obstacle(String),
}

/// See the module.
pub(super) trait Decider {
    /// What to do as things are.
    fn decide(&self, facts: &Facts) -> Decision;

    /// In how long the decision changes, if nothing is heard meanwhile. None where it does not.
    fn due_in(&self, facts: &Facts) -> Option<Duration>;

    /// Whether silence alone makes this node take over, as things are.
    fn is_armed(&self, facts: &Facts) -> bool;

    /// How long the primary may be silent before it matters. None where that never does. A follower for which it does
    /// takes over by itself: no acknowledgement counts without it.
    fn silence_max(&self) -> Option<Duration>;
}

/// Never takes over by itself.
pub(super) struct Manual;

impl Decider for Manual {
    fn decide(&self, _: &Facts) -> Decision {
        Decision::Wait
    }

    fn due_in(&self, _: &Facts) -> Option<Duration> {
        None
    }

    fn is_armed(&self, _: &Facts) -> bool {
        false
    }

    fn silence_max(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_alone_promotes() {
        let decider = Manual;
        let hour = Duration::from_secs(3600);
        let facts = Facts {
            heard_at: Some(BootInstant::ago(hour)),
            caught_up_at: Some(BootInstant::ago(hour)),
            paused: None,
        };
        assert_eq!(decider.decide(&facts), Decision::Wait);
        assert_eq!(decider.due_in(&facts), None);
        assert!(!decider.is_armed(&facts));
        assert_eq!(decider.silence_max(), None);
    }
}
