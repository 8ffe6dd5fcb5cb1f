//! Times to live and deadlines, as requests give them and answers show them.

use crate::api;
use crate::http::problem::{self, Problem};
use crate::http::response::{Reply, push_decimal};
use crate::node::Deadline;
use crate::session::Session;

/// What knows how long there is until a deadline.
pub(crate) trait Clock {
    /// In ms; 0 where it has passed.
    fn ttl_ms(&self, deadline_ms: u64) -> u64;
}

impl Clock for Session<'_> {
    fn ttl_ms(&self, deadline_ms: u64) -> u64 {
        Session::ttl_ms(self, deadline_ms)
    }
}

const TTL_RANGE: &str = "a time to live must be a number of seconds, from 0.001 up to a hundred years";

/// A time to live in seconds.
pub(crate) fn of_ttl(seconds: f64) -> Result<Deadline, &'static str> {
    api::ttl_ms(seconds).map(Deadline::In).ok_or(TTL_RANGE)
}

/// A deadline in ms since the Unix epoch.
pub(crate) fn of_ms(deadline_ms: u64) -> Result<Deadline, &'static str> {
    if deadline_ms <= api::DEADLINE_MS_MAX {
        Ok(Deadline::At(deadline_ms))
    } else {
        Err("a deadline must be before the year 10000, in ms since the Unix epoch")
    }
}

/// What `?ttl=` says.
pub(crate) fn of_query(ttl: Option<&str>) -> Result<Deadline, Problem> {
    let Some(ttl) = ttl else {
        return Ok(Deadline::Never);
    };
    // No more than JSON would take: neither `inf` nor `+5`, which Rust reads as numbers.
    let is_plain = ttl.starts_with(|first: char| first.is_ascii_digit())
        && ttl
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let seconds = ttl.parse().ok().filter(|_| is_plain);
    seconds
        .ok_or(TTL_RANGE)
        .and_then(of_ttl)
        .map_err(|why| Problem::new(problem::BAD_QUERY, why).field("ttl"))
}

/// As [`push_members`], and how long there is until then.
pub(crate) fn push_members_and_ttl(body: &mut Vec<u8>, clock: &impl Clock, deadline_ms: Option<u64>) {
    push_members(body, deadline_ms);
    if let Some(deadline_ms) = deadline_ms {
        body.extend_from_slice(b",\"ttl\":");
        body.extend_from_slice(api::ttl_seconds(clock.ttl_ms(deadline_ms)).as_bytes());
    }
}

/// Appends a deadline as members of a JSON object, each after a comma; nothing where there is none.
pub(crate) fn push_members(body: &mut Vec<u8>, deadline_ms: Option<u64>) {
    if let Some(deadline_ms) = deadline_ms {
        body.extend_from_slice(b",\"expires_at\":\"");
        body.extend_from_slice(api::expires_at(deadline_ms).as_bytes());
        body.extend_from_slice(b"\",\"expires_at_ms\":");
        push_decimal(body, deadline_ms);
    }
}

impl Reply {
    /// Says when the key expires, if it does, and how long there is until then by that clock.
    pub(crate) fn expires_at(self, clock: &impl Clock, deadline_ms: Option<u64>) -> Reply {
        match deadline_ms {
            Some(deadline_ms) => self
                .header(api::HEADER_EXPIRES_AT, &api::expires_at(deadline_ms))
                .header(api::HEADER_TTL, &api::ttl_seconds(clock.ttl_ms(deadline_ms))),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_takes_what_json_takes() {
        assert_eq!(of_query(Some("90")).ok(), Some(Deadline::In(90_000)));
        assert_eq!(of_query(Some("1.5")).ok(), Some(Deadline::In(1500)));
        assert_eq!(of_query(Some("1e1")).ok(), Some(Deadline::In(10_000)));
        for wrong in [
            "", "-1", "+1", "inf", "nan", "1s", ".5", "0", "1e99", "0x10", " 1",
        ] {
            assert_eq!(of_query(Some(wrong)).unwrap_err().kind.status, 400, "{wrong}");
        }
    }
}
