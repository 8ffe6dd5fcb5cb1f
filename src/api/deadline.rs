//! Deadlines: how long a key lives, as clients say it and as answers show it.
//!
//! A client says a time to live in seconds, or a deadline in ms since the Unix epoch. What is taken is
//! always a deadline, in ms; answers show it so, and as RFC 3339 has it.

use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};

/// Longest time to live, in ms: a hundred years.
pub(crate) const TTL_MS_MAX: u64 = 3_155_760_000_000;

/// Latest deadline, in ms since the Unix epoch: the end of the year 9999, beyond which RFC 3339 has no words.
pub(crate) const DEADLINE_MS_MAX: u64 = 253_402_300_799_999;

/// A deadline as RFC 3339 has it, to the millisecond: `2026-11-23T02:12:00.123Z`.
pub(crate) fn expires_at(deadline_ms: u64) -> String {
    let since_epoch = Duration::from_millis(deadline_ms.min(DEADLINE_MS_MAX));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}

/// A time to live in ms, from seconds; what is over a whole number of milliseconds counts as one more. `None` where
/// it is below 1 ms, or over [`TTL_MS_MAX`].
pub(crate) fn ttl_ms(seconds: f64) -> Option<u64> {
    // 0.07 * 1000 is a little over 70: what is closer to a whole number than a float can tell is one.
    let ms = (seconds * 1000.0 * (1.0 - 2.0 * f64::EPSILON)).ceil();
    (seconds >= 0.001 && ms <= TTL_MS_MAX as f64).then_some(ms as u64)
}

/// What a client sends with PATCH, to give a key a deadline or to take it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Patch {
    /// It lives for so many seconds from now.
    For {
        /// Seconds.
        ttl: f64,
    },
    /// It has no deadline.
    Forever {
        /// `null` in JSON.
        ttl: (),
    },
}

/// A time that is left, in seconds: `59.987`.
pub(crate) fn ttl_seconds(ttl_ms: u64) -> String {
    format!("{}.{:03}", ttl_ms / 1000, ttl_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_words() {
        // date -u -d 2026-11-23T02:12:00 +%s
        assert_eq!(expires_at(1_795_399_920_123), "2026-11-23T02:12:00.123Z");
        assert_eq!(expires_at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(expires_at(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_to_live() {
        for (seconds, ms) in [
            (90.0, Some(90_000)),
            (0.07, Some(70)),
            (1.005, Some(1005)),
            (0.001, Some(1)),
            (0.0011, Some(2)),
            (0.0009, None),
            (1.0001, Some(1001)),
            (1e-320, None),
            (3_155_760_000.0, Some(TTL_MS_MAX)),
            (3_155_760_000.001, None),
            (0.0, None),
            (-0.0, None),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(ttl_ms(seconds), ms, "{seconds}");
        }
    }

    #[test]
    fn every_ms_of_a_day_is_itself() {
        for ms in (1..86_400_000).step_by(997) {
            assert_eq!(
                ttl_ms(format!("{}.{:03}", ms / 1000, ms % 1000).parse().unwrap()),
                Some(ms)
            );
        }
    }

    #[test]
    fn patches() {
        for (patch, json) in [
            (Patch::For { ttl: 1.5 }, r#"{"ttl":1.5}"#),
            (Patch::Forever { ttl: () }, r#"{"ttl":null}"#),
        ] {
            assert_eq!(serde_json::to_string(&patch).unwrap(), json);
        }
    }
}
