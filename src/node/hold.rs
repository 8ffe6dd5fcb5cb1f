//! Why a primary holds its writers, and for how long.

use std::time::Duration;

/// Why a primary holds its writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It asks the others first whether one of them took over.
    Inquiry,
    /// The replica that is this process is about to take over.
    Handover(u64),
}

/// For how long a writer waits at most, beyond the rest of one hold, where one hold follows another.
pub(crate) const HELD_MAX: Duration = Duration::from_secs(10);

/// How long a primary holds its writers at most while it asks whether another took over.
pub(crate) const INQUIRY_TIME_MAX: Duration = Duration::from_millis(1500);
