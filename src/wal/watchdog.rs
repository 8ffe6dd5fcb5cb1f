//! The thread `watchdog`: answers for the thread that leads, where the disk holds that, and says that it does.

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
        let mut stalled_for = None;
        while !signal.wait(LOOK_EVERY).to_stop {
            shared.commit.leader.rescue_overdue();
            stalled_for = tell(stalled_for, shared.stalled_for());
        }
    };
    Worker::start("watchdog", move || to_end.stop(), work)
}

/// Logs when the disk begins to hang, and when it works again. Returns `now`, for the next call.
fn tell(before: Option<Duration>, now: Option<Duration>) -> Option<Duration> {
    match (before, now) {
        (None, Some(since)) => log::warn!(
            "the disk has not finished a write or a sync of the log for {} s; writes wait, or are refused, until it has",
            since.as_secs()
        ),
        (Some(since), None) => log::info!(
            "the disk has finished what it was at for more than {} s; taking writes",
            since.as_secs()
        ),
        _ => {}
    }
    now
}
