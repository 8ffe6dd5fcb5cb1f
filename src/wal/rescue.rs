//! What becomes of a client whose thread leads, where the disk does not answer.
//!
//! Whoever waits for the log gives up at its time limit. The thread that leads cannot: it is in a write or a sync,
//! which the kernel may not end for as long as the disk hangs. So it leaves a [`Rescue`] before it leads. At its time
//! limit the thread `watchdog` calls that.
//!
//! # What must hold
//! - There is at most one, as at most one thread leads.
//! - A rescue may be called just when its thread has come back: whoever makes one decides under a lock of its own which
//!   of both answers the client.

use super::health::Refusal;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Answers for a thread that the disk holds.
pub(crate) trait Rescue: Send + Sync {
    /// Gives up what the thread waits for. Must not block.
    fn rescue(&self, refusal: &Refusal);
}

/// The client of the thread that leads.
#[derive(Default)]
pub(super) struct Leader(Mutex<Option<Led>>);

struct Led {
    deadline: Instant,
    wait_max: Duration,
    rescue: Arc<dyn Rescue>,
}

/// Leading ends when it is dropped.
pub(super) struct Leading<'a>(&'a Leader);

impl Leader {
    pub(super) fn enter(
        &self,
        deadline: Instant,
        wait_max: Duration,
        rescue: &Arc<dyn Rescue>,
    ) -> Leading<'_> {
        *self.lock() = Some(Led {
            deadline,
            wait_max,
            rescue: Arc::clone(rescue),
        });
        Leading(self)
    }

    /// Rescues the leader's client, where its time limit is over.
    pub(super) fn rescue_overdue(&self) {
        let overdue = self.lock().take_if(|led| Instant::now() >= led.deadline);
        if let Some(led) = overdue {
            log::warn!("the disk has not finished a write to the log in time; the client got an error");
            led.rescue.rescue(&Refusal::TimedOut { waited: led.wait_max });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Led>> {
        self.0.lock().expect("nothing under the leader's lock panics")
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
