//! What stands behind a flag: read, held against its bounds, and refused in words that say what it may be.
//!
//! clap puts the flag and what was typed before these words.

use super::units::{Size, SizeError, Span};
use crate::api::{BATCH_OPERATIONS_MAX, TTL_MS_MAX};
use crate::auth;
use crate::key::{Key, KeyError};
use crate::record::VALUE_BYTES_MAX;
use crate::store;
use crate::wal::{LogId, SEGMENT_BYTES_CEILING, UNWRITTEN_BYTES_CEILING};
use crate::wall;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Least size of a segment, in bytes: below it a log is more headers than records.
const SEGMENT_BYTES_MIN: u64 = 4096;

/// A key as typed.
pub(crate) fn key(text: &str) -> Result<String, KeyError> {
    Key::new(text).map(|key| key.as_str().to_owned())
}

pub(crate) fn version(text: &str) -> Result<u64, &'static str> {
    text.parse()
        .map_err(|_| "a version is a number, as `pykv get --json` shows it")
}

/// A place in a log, `OFFSET` or `LOG-OFFSET`.
pub(super) fn place(text: &str) -> Result<String, &'static str> {
    let (log, offset) = match text.split_once('-') {
        Some((log, offset)) => (Some(log), offset),
        None => (None, text),
    };
    let is_log = log.is_none_or(|log| LogId::from_hex(log).is_some());
    let is_offset = offset.parse::<u64>().is_ok();
    match is_log && is_offset {
        true => Ok(text.to_owned()),
        false => Err("a place is the `next` of a change that was printed, or an offset, as its version is"),
    }
}

/// Shortest time that a key lives: nodes count in milliseconds.
const TTL_MIN: Duration = Duration::from_millis(1);

/// How long a key lives: up to what a node takes, which is longer than anybody waits.
pub(crate) fn ttl(text: &str) -> Result<Span, String> {
    // A bare number is seconds, as everywhere in the API, and in other stores.
    let seconds = format!("{text}s");
    let is_bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = if is_bare { seconds.as_str() } else { text };
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() && duration < TTL_MIN => {
            Err("a key lives for at least 1ms".to_owned())
        }
        Ok(duration) if duration.as_millis() > u128::from(TTL_MS_MAX) => {
            Err("a key lives for at most 100 years, or for good".to_owned())
        }
        Ok(duration) if duration.is_zero() => text.parse(), // Which says what is wrong with it.
        Ok(duration) if duration.as_millis() == 0 => Err("a key lives at least 1ms".to_owned()),
        Ok(duration) => Ok(Span(duration)),
        Err(_) => text.parse(),
    }
}

/// A prefix of keys, as it stands in a file of tokens.
pub(super) fn prefix_of_token(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("it is empty; leave it out for a token that may use all keys"),
        text if text.contains(char::is_whitespace) => Err("a prefix of a token cannot contain blanks"),
        text => Ok(text.to_owned()),
    }
}

/// The name of a token.
pub(super) fn name_of_token(text: &str) -> Result<String, &'static str> {
    let is_name = auth::is_name(text);
    is_name
        .then(|| text.to_owned())
        .ok_or("a name is 1 to 64 letters, digits and -_.@:/+")
}

/// A moment to come: by RFC 3339, or as a time from now.
pub(super) fn expiry(text: &str) -> Result<SystemTime, &'static str> {
    let span = || {
        humantime::parse_duration(text)
            .ok()
            .filter(|span| !span.is_zero())
    };
    let moment = auth::moment(text).or_else(|| wall::now().checked_add(span()?));
    let moment =
        moment.ok_or("it must be a moment, as in 2030-01-01T00:00:00Z, or a time from now, as in 90d")?;
    match moment > wall::now() && moment < wall::last() {
        true => Ok(moment),
        false => Err("it must be in the future"),
    }
}

/// By how much a number changes.
pub(crate) fn by(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "it must be a whole number of 64 bits")
}

pub(crate) fn limit(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse().map_err(|_| "it must be a whole number, 1 or more")
}

/// A number of milliseconds.
pub(super) fn millis(text: &str) -> Result<u32, &'static str> {
    text.parse()
        .map_err(|_| "it is a number of milliseconds, without a unit, as in 500")
}

/// The mode of a file, in octal.
pub(super) fn mode(text: &str) -> Result<u32, &'static str> {
    let is_mode = text.len() == 3 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_mode);
    mode.ok_or("a mode is three octal digits, as in 660")
}

/// A name as a browser's address has it, without a port.
pub(super) fn host_name(text: &str) -> Result<String, &'static str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("a name is letters, digits, dots and dashes, without a port: kv.example.org"),
    }
}

/// An origin, as browsers write it (RFC 6454, 6.2): in lower case, without the port that its scheme has anyway.
pub(super) fn origin(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    let schemes = [("https://", ":443"), ("http://", ":80")];
    let found = schemes
        .iter()
        .find_map(|(scheme, port)| Some((scheme, text.strip_prefix(scheme)?, port)));
    let wrong = "an origin is a scheme and a host, and a port where it has one: https://app.example.org";
    let (scheme, host, port) = found.ok_or(wrong)?;
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host = host.strip_suffix(port).unwrap_or(host);
    match !host.is_empty() && !host.starts_with(':') && host.bytes().all(is_of_host) {
        true => Ok(format!("{scheme}{host}")),
        false => Err(wrong),
    }
}

fn size_within(text: &str, min: u64, max: u64) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|error: SizeError| error.to_string())?;
    if (min..=max).contains(&size.0) {
        Ok(size)
    } else {
        Err(format!("it must be between {} and {}", Size(min), Size(max)))
    }
}

pub(super) fn not_zero(text: &str) -> Result<Size, String> {
    match text.parse() {
        Ok(Size(0)) => Err("it must be more than 0".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn max_value(text: &str) -> Result<Size, String> {
    size_within(text, 1, VALUE_BYTES_MAX as u64)
}

pub(super) fn segment_size(text: &str) -> Result<Size, String> {
    size_within(text, SEGMENT_BYTES_MIN, SEGMENT_BYTES_CEILING)
}

pub(super) fn ratio(text: &str) -> Result<f64, &'static str> {
    text.parse()
        .ok()
        .filter(|ratio| *ratio == 0.0 || (1.0..=1000.0).contains(ratio))
        .ok_or("it must be 0, or between 1 and 1000")
}

pub(super) fn unwritten(text: &str) -> Result<Size, String> {
    size_within(text, 1, UNWRITTEN_BYTES_CEILING)
}

/// What a connection may be made to hold before a request is known: bounded, however large it is asked.
pub(super) fn buffer(text: &str) -> Result<Size, String> {
    size_within(text, 256, 1 << 20)
}

fn count_within<T: FromStr + PartialOrd + From<u8> + Display + Copy>(
    text: &str,
    max: T,
) -> Result<T, String> {
    match text.parse() {
        Ok(count) if (T::from(1)..=max).contains(&count) => Ok(count),
        _ => Err(format!("it must be a whole number between 1 and {max}")),
    }
}

pub(super) fn capacity(text: &str) -> Result<u64, String> {
    count_within(text, store::Limits::ENTRIES_MAX)
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    count_within(text, 1_000_000)
}

pub(super) fn connections(text: &str) -> Result<usize, String> {
    count_within(text, 1024)
}

pub(super) fn max_batch(text: &str) -> Result<usize, String> {
    count_within(text, BATCH_OPERATIONS_MAX)
}

pub(super) fn headers(text: &str) -> Result<usize, String> {
    count_within(text, crate::http::HEADERS_CEILING)
}
