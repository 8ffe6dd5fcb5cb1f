//! Tells a thread that it stood still: suspended with its machine, stopped by a signal, or without a processor.
//!
//! Whoever measures the silence of another node must know of its own. A thread beats at each of its steps, and
//! says how long the step was to take at most; what a step took beyond that, it stood still.

use crate::boot_clock::BootInstant;
use std::time::Duration;

pub(super) struct Pulse {
    last: BootInstant,
    pause_max: Duration,
}

impl Pulse {
    /// Pauses up to `pause_max` are none.
    pub(super) fn new(pause_max: Duration) -> Pulse {
        Pulse {
            last: BootInstant::now(),
            pause_max,
        }
    }

    /// A step has ended that was to take `expected_max` at most. How long the thread stood still in it, if it did.
    pub(super) fn beat(&mut self, expected_max: Duration) -> Option<Duration> {
        let now = BootInstant::now();
        let took = now.since(std::mem::replace(&mut self.last, now));
        Some(took.saturating_sub(expected_max)).filter(|pause| *pause > self.pause_max)
    }

    /// A step has ended whose time does not matter.
    pub(super) fn skip(&mut self) {
        self.last = BootInstant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_than_it_was_to_is_a_pause() {
        let second = Duration::from_secs(1);
        let mut pulse = Pulse::new(second);
        assert_eq!(pulse.beat(Duration::ZERO), None);
        pulse.last = BootInstant::ago(5 * second);
        assert_eq!(
            pulse.beat(Duration::MAX),
            None,
            "it waited for as long as it liked"
        );
        pulse.last = BootInstant::ago(5 * second);
        assert!(pulse.beat(second).is_some_and(|pause| pause >= 4 * second));
        pulse.last = BootInstant::ago(5 * second);
        pulse.skip();
        assert_eq!(pulse.beat(Duration::ZERO), None);
    }
}
