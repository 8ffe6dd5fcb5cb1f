//! How long a client may take.

use std::time::Duration;

/// How much longer a client may take that moves `bytes`: those who make no headway gain nothing.
pub(crate) fn time_for(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 / 64)
}
