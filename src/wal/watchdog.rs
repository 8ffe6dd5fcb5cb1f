//! The thread `watchdog`: answers for the thread that leads, where the disk holds that.

use super::shared::Shared;
use crate::worker::{Signal, Worker};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the leader is overdue.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Starts it.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Worker> {
    let signal = Arc::new(Signal::default());
    let (to_end, shared) = (Arc::clone(&signal), Arc::clone(shared));
    let work = move || {
        while !signal.wait(LOOK_EVERY).to_stop {
            shared.commit.leader.rescue_overdue();
        }
    };
    Worker::start("watchdog", move || to_end.stop(), work)
}
