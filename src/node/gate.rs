//! A gate that one thread passes at a time, to do what may wait for the log.
//!
//! The log makes nobody wait longer than its time limit. Those who wait at a gate would wait so long one after the
//! other, on a disk that does not answer. So what the log refuses to the one inside, it refuses to all who wait at the
//! gate meanwhile.

use crate::lock_order::{Rank, Ranked};
use crate::wal::Refusal;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// When the log refused something last, and why.
type LastRefusal = Option<(Instant, Refusal)>;

#[derive(Default)]
pub(super) struct Gate(Mutex<LastRefusal>);

/// The right to be inside. The next one has it once this is dropped.
pub(super) struct Pass<'a>(Ranked<MutexGuard<'a, LastRefusal>>);

impl Gate {
    pub(super) const fn new() -> Gate {
        Gate(Mutex::new(None))
    }

    /// Waits to be let in. `rank` is the gate's.
    pub(super) fn enter(&self, rank: Rank) -> Result<Pass<'_>, Refusal> {
        self.enter_since(rank, Instant::now())
    }

    fn enter_since(&self, rank: Rank, waits_since: Instant) -> Result<Pass<'_>, Refusal> {
        let last = Ranked::take(rank, || self.0.lock().expect("nothing inside a gate panics"));
        match &*last {
            Some((at, refusal)) if *at >= waits_since => Err(refusal.clone()),
            _ => Ok(Pass(last)),
        }
    }
}

impl Pass<'_> {
    pub(super) fn note_refusal(&mut self, refusal: &Refusal) {
        *self.0 = Some((Instant::now(), refusal.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_that_of_all_who_wait_meanwhile() {
        let gate = Gate::new();
        let waits_since = Instant::now();
        let mut first = gate.enter(Rank::Edit).unwrap();
        first.note_refusal(&Refusal::Full);
        drop(first);
        assert!(matches!(
            gate.enter_since(Rank::Edit, waits_since),
            Err(Refusal::Full)
        ));
        assert!(
            gate.enter(Rank::Edit).is_ok(),
            "who comes later asks the log again"
        );
    }
}
