//! How an answer is read: within the bound of what a node may send, and only if a node can have sent it.
//!
//! Whatever listens at an address may send anything, without end. So every answer has a bound in bytes, which depends on
//! the request ([`Bound`]). And an answer that no node sends is an error ([`Sign`]): a wrong media type, or no version
//! where every node sends one. An entity tag alone is no sign: other servers have numbers in theirs too. So JSON must name
//! the key as well ([`is_of_key`]), and what has no body must have a field of Pykv.

use crate::api::{self, LIST_LIMIT_MAX};
use crate::pair::KEY_BYTES_MAX;
use crate::record::VALUE_BYTES_MAX;
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{self, Read};
use ureq::http::{HeaderMap, header};

/// A key in JSON at its longest, each byte as an escape of six, and what stands around it.
const KEY_JSON_BYTES_MAX: u64 = 6 * KEY_BYTES_MAX as u64 + 64;

/// What an answer with values may have before the node is asked how large its values can be, in bytes.
const UNASKED_BYTES_MAX: u64 = 32 << 20;

/// Read at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How proxies name in an entity tag how they have compressed.
const CODINGS: [&str; 7] = ["gzip", "gz", "br", "zstd", "deflate", "df", "zlib"];

/// How long an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A status, counters, what came of one write, a problem.
    Small,
    /// A page of keys.
    Keys,
    /// A value as it is.
    Value,
    /// Values in JSON: a page of them, and a last one as large as any of this node.
    Values,
}

impl Bound {
    /// Most bytes, as far as that is known without a question.
    pub(super) fn bytes_max(self) -> u64 {
        match self {
            Bound::Small => 4 << 20,
            Bound::Keys => LIST_LIMIT_MAX as u64 * KEY_JSON_BYTES_MAX + 4096,
            Bound::Value => VALUE_BYTES_MAX as u64,
            Bound::Values => UNASKED_BYTES_MAX,
        }
    }

    /// Most bytes of [`Bound::Values`], of a node whose largest value has that many: what a page or a batch may hold
    /// before it is full, and one value more, each of its bytes as an escape of six.
    pub(super) fn values_bytes_max(value_bytes_max: u64) -> u64 {
        UNASKED_BYTES_MAX + 6 * value_bytes_max.min(VALUE_BYTES_MAX as u64)
    }
}

/// Why an answer was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It is longer than it may be.
    TooLong,
    /// The connection, or memory, failed.
    Io(io::Error),
}

/// Reads an answer on, behind what `body` holds of it, up to `bytes_max` in all.
pub(super) fn read(from: &mut impl Read, body: &mut Vec<u8>, bytes_max: u64) -> Result<(), ReadError> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(bytes) => {
                // An answer that does not fit into memory is an error, not the end of the process.
                body.try_reserve(bytes)
                    .map_err(|_| ReadError::Io(io::ErrorKind::OutOfMemory.into()))?;
                body.extend_from_slice(&piece[..bytes]);
                if body.len() as u64 > bytes_max {
                    return Err(ReadError::TooLong);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::Io(error)),
        }
    }
}

/// What a node's answer always has, by the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// JSON.
    Json,
    /// JSON, and the version of a key.
    JsonOfKey,
    /// The bytes of a value, and the version of its key.
    Value,
    /// The version of a key and the size of its value; there is no body.
    Version,
    /// The offset of a write.
    Offset,
    /// Bytes that prove by themselves what they are.
    Bytes,
}

impl Sign {
    /// Why the answer cannot be a node's, where it cannot.
    pub(super) fn missing(self, headers: &HeaderMap) -> Option<&'static str> {
        let is_of = |media: &str| {
            let found = headers
                .get(header::CONTENT_TYPE)
                .and_then(|found| found.to_str().ok());
            let found = found.and_then(|found| found.split(';').next());
            found.is_some_and(|found| found.trim().eq_ignore_ascii_case(media))
        };
        let no_json = || (!is_of(api::MEDIA_JSON)).then_some("its answer is not JSON");
        let no_bytes =
            || (!is_of(api::MEDIA_OCTETS)).then_some("its answer is not the bytes that were asked for");
        let no_version = || {
            version(headers)
                .is_none()
                .then_some("its answer has no version of the key")
        };
        match self {
            Sign::Json => no_json(),
            Sign::JsonOfKey => no_json().or_else(no_version),
            Sign::Value => no_bytes().or_else(no_version),
            Sign::Version => {
                let has_size = headers.contains_key(api::HEADER_VALUE_BYTES);
                no_version().or_else(|| (!has_size).then_some("its answer is not about a key"))
            }
            Sign::Offset => {
                let is_written =
                    [api::HEADER_OFFSET, api::HEADER_ENGINE].map(|name| headers.contains_key(name));
                (is_written == [false, false]).then_some("its answer has no offset")
            }
            Sign::Bytes => no_bytes(),
        }
    }
}

/// The version of a key, as the entity tag says it; a proxy that compresses makes it a weak one.
fn version(headers: &HeaderMap) -> Option<u64> {
    let tag = headers.get(header::ETAG)?.to_str().ok()?;
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let version = tag.strip_prefix('"')?.strip_suffix('"')?;
    // Behind the version a proxy may have put how it compressed.
    let version = match version.split_once('-') {
        Some((version, coding)) if CODINGS.contains(&coding) => version,
        _ => version,
    };
    version.parse().ok()
}

/// Whether JSON is about this key.
pub(super) fn is_of_key(body: &[u8], key: &str) -> bool {
    serde_json::from_slice::<OfKey<'_>>(body).is_ok_and(|of| of.key == key)
}

/// What all JSON about a key has.
#[derive(Deserialize)]
struct OfKey<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_answer_ends_at_its_bound() {
        let mut body = Vec::new();
        let read_it = read(&mut io::repeat(b'x'), &mut body, 1 << 20);
        assert!(matches!(read_it, Err(ReadError::TooLong)));
        assert!(body.len() <= (1 << 20) + PIECE_BYTES);
        let mut body = b"be".to_vec();
        read(&mut &b"gun"[..], &mut body, 5).unwrap();
        assert_eq!(body, b"begun");
    }

    #[test]
    fn what_marks_an_answer_of_a_node() {
        let headers = |of: &[(&'static str, &'static str)]| {
            let headers = of
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            headers.collect::<HeaderMap>()
        };
        let value = headers(&[("content-type", "application/octet-stream"), ("etag", "\"7\"")]);
        assert_eq!(Sign::Value.missing(&value), None);
        assert!(Sign::JsonOfKey.missing(&value).is_some());
        for tag in ["W/\"7\"", "\"7-gzip\"", "W/\"7-br\""] {
            let json = headers(&[("content-type", "application/json; charset=utf-8"), ("etag", tag)]);
            assert_eq!(Sign::JsonOfKey.missing(&json), None, "{tag}");
        }
        // A number as another server has it, or a file's time and size.
        for tag in ["\"5f3c-19a\"", "\"5131-264\"", "\"page-7\"", "7", ""] {
            let other = headers(&[("content-type", "application/octet-stream"), ("etag", tag)]);
            assert!(Sign::Value.missing(&other).is_some(), "{tag}");
            assert!(Sign::Offset.missing(&other).is_some(), "{tag}");
        }
        for other in [
            &[("content-type", "text/html"), ("etag", "\"7\"")][..],
            &[("content-type", "application/octet-stream")],
            &[],
        ] {
            assert!(Sign::Value.missing(&headers(other)).is_some(), "{other:?}");
            assert!(Sign::Offset.missing(&headers(other)).is_some(), "{other:?}");
            assert!(Sign::Version.missing(&headers(other)).is_some(), "{other:?}");
        }
        assert!(Sign::Version.missing(&value).is_some());
        let of_key = headers(&[("etag", "\"7\""), ("pykv-value-bytes", "1")]);
        assert_eq!(Sign::Version.missing(&of_key), None);
    }

    #[test]
    fn json_names_the_key_that_was_asked_for() {
        assert!(is_of_key(br#"{"version":7,"key":"\u0061"}"#, "a"));
        for other in [&b"{}"[..], b"{\"key\":\"b\"}", b"{\"key\":1}", b"[]", b""] {
            assert!(!is_of_key(other, "a"), "{}", String::from_utf8_lossy(other));
        }
    }
}
