//! What a read or a wait of a socket comes to.

use rustix::event::Timespec;
use std::time::Duration;

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes,
    /// The client sends no more.
    End,
    TimedOut,
}

/// A time as poll takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
