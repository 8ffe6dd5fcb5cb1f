//! The system's clock, as far as dates have a form for it.
//!
//! A clock may be set to anything. The libraries that write dates panic before 1970 or after 9999; whoever writes one
//! takes the time from here. Whoever needs the time of day does, so that all of the program has one clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999, since the Unix epoch.
const LAST_SECOND: u64 = 253_402_300_799;

/// The time now; where the clock says something that dates have no form for, the nearest moment that they have.
pub(crate) fn now() -> SystemTime {
    within(SystemTime::now())
}

/// The time since the Unix epoch, in ms; 0 where the clock is set to before it.
pub(crate) fn now_ms() -> u64 {
    since_epoch().as_millis() as u64
}

/// The time since the Unix epoch.
pub(crate) fn since_epoch() -> Duration {
    now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The last moment that dates have a form for.
pub(crate) fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(LAST_SECOND)
}

/// Whether the clock says something that dates have a form for.
pub(crate) fn is_sound() -> bool {
    let now = SystemTime::now();
    within(now) == now
}

fn within(time: SystemTime) -> SystemTime {
    time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(LAST_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_one_that_dates_have_no_form_for() {
        let second = Duration::from_secs(1);
        let last = UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
        for (time, date) in [
            (UNIX_EPOCH - second, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH + second, "Thu, 01 Jan 1970 00:00:01 GMT"),
            (last + second, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (last + second * 1_000_000_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(httpdate::fmt_http_date(within(time)), date);
            assert!((1970..=9999).contains(&time::OffsetDateTime::from(within(time)).year()));
        }
    }
}
