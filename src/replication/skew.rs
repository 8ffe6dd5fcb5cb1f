//! Clock skew: how far the clock of this machine is from that of its primary, by the dates of the primary's answers.
//!
//! A deadline is a time of the primary's clock, and each node hides a key once its own clock has got there. So a replica
//! whose clock is ahead hides keys too soon, and one whose clock is behind shows them for too long. A node cannot tell
//! whose clock is wrong. It says that they differ.
//!
//! # What must hold
//! - Skew is reported only if it is certain: a date has whole seconds, and the answer may have been made at any moment
//!   between the question and its arrival.

use std::time::SystemTime;

/// Clocks that differ by no more than this count as equal, in seconds.
const SKEW_SECONDS_MAX: f64 = 5.0;

/// Clocks that were not equal are so again once they differ by no more than this: what is measured varies by more than a
/// second.
const AGREE_SECONDS_MAX: f64 = 2.5;

/// How far the clock here is ahead of the one that has dated an answer, in whole seconds and at least; negative where it
/// is behind. None where the clocks agree, as far as can be told. `asked` and `answered` are times of the clock here;
/// `differed` says whether the clocks did before.
pub(super) fn seconds(
    date: SystemTime,
    (asked, answered): (SystemTime, SystemTime),
    differed: bool,
) -> Option<i64> {
    let ahead = since(date, asked) - 1.0;
    let behind = since(answered, date);
    let most = if differed {
        AGREE_SECONDS_MAX
    } else {
        SKEW_SECONDS_MAX
    };
    match (ahead > most, behind > most) {
        (true, _) => Some(ahead as i64),
        (_, true) => Some(-behind as i64),
        _ => None,
    }
}

/// How long after `from` a time is, in seconds; negative where it is before.
fn since(from: SystemTime, time: SystemTime) -> f64 {
    match time.duration_since(from) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    /// A difference of six seconds is measured as one of 4.5 to 6.
    #[test]
    fn what_varies_is_said_once() {
        let measured = |asked, differed| seconds(at(100_000), (at(asked), at(asked)), differed).is_some();
        assert!(!measured(105_500, false));
        assert!(measured(107_000, false));
        assert!(measured(105_500, true));
        assert!(!measured(103_000, true));
    }

    #[test]
    fn clocks_that_differ_by_some_seconds_do_and_others_may_not() {
        for (date, asked, answered, expected) in [
            (100_000, 100_000, 100_001, None),
            // Of 100.999, asked 5.5 s later by the clock here.
            (100_000, 106_000, 106_001, None),
            (100_000, 107_000, 107_001, Some(6)),
            (100_000, 7_300_000, 7_300_500, Some(7_199)),
            (100_000, 95_000, 95_001, None),
            (100_000, 90_000, 90_001, Some(-9)),
            (7_300_000, 100_000, 100_000, Some(-7_200)),
            // An answer that has lain in a buffer for long, or was made at once: nobody knows.
            (100_000, 50_000, 200_000, None),
        ] {
            assert_eq!(
                seconds(at(date), (at(asked), at(answered)), false),
                expected,
                "{date} {asked} {answered}"
            );
        }
    }
}
