//! `If-Match` and `If-None-Match`: versions as entity tags.
//!
//! The tag of a version is its number in quotes. A tag that is well formed but not one of ours is the tag
//! of a version that no key has.

use super::problem::{self, Problem};
use crate::node::Precondition;

/// The version that no key ever has: past the last one that the store can hold.
const NO_VERSION: u64 = u64::MAX;

/// What a write asks of the version it replaces.
pub(super) fn for_write(
    if_match: Option<&[u8]>,
    if_none_match: Option<&[u8]>,
) -> Result<Precondition, Problem> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (Some(tags), None) => match (tags.trim_ascii(), one_tag(tags)) {
            (b"*", _) => Ok(Precondition::Present),
            // Compared strongly, a weak tag is like no other.
            (_, Some(tag)) if tag.weak => Ok(Precondition::Version(NO_VERSION)),
            (_, Some(tag)) => Ok(Precondition::Version(tag.version)),
            (_, None) => Err(not_understood("If-Match", "it is `*` or one version in quotes")),
        },
        (None, Some(tags)) if tags.trim_ascii() == b"*" => Ok(Precondition::Absent),
        (None, Some(_)) => Err(not_understood("If-None-Match", "on a write it is `*`")),
        (Some(_), Some(_)) => Err(not_understood("If-None-Match", "it contradicts If-Match")),
    }
}

/// What became of a read's conditions, for a key that is in `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Answer it.
    Go,
    /// The client has this version.
    NotModified,
    /// The client wants another one.
    Failed,
}

/// Whether a read of a key in `version` is answered with its value.
pub(super) fn for_read(
    if_match: Option<&[u8]>,
    if_none_match: Option<&[u8]>,
    version: u64,
) -> Result<Read, Problem> {
    if let Some(list) = if_match
        && !matches("If-Match", list, |tag| !tag.weak && tag.version == version)?
    {
        return Ok(Read::Failed);
    }
    if let Some(list) = if_none_match
        && matches("If-None-Match", list, |tag| tag.version == version)?
    {
        return Ok(Read::NotModified);
    }
    Ok(Read::Go)
}

#[derive(Clone, Copy)]
struct Tag {
    version: u64,
    weak: bool,
}

/// Whether a list of tags is `*` or has one that `is` likes.
fn matches(name: &'static str, list: &[u8], is: impl Fn(Tag) -> bool) -> Result<bool, Problem> {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return Ok(true);
    }
    let mut found = false;
    loop {
        // Elements may be empty (RFC 9110, 5.6.1).
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return Ok(found);
        }
        let Some((tag, after)) = split_tag(rest) else {
            return Err(not_understood(name, "it is `*` or versions in quotes"));
        };
        found |= is(tag);
        rest = match after.trim_ascii_start() {
            after @ ([] | [b',', ..]) => after,
            _ => return Err(not_understood(name, "tags are parted by commas")),
        };
    }
}

fn one_tag(text: &[u8]) -> Option<Tag> {
    match split_tag(text.trim_ascii()) {
        Some((tag, [])) => Some(tag),
        _ => None,
    }
}

/// The tag that `text` begins with, and what follows it.
fn split_tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| byte == b'"')?;
    let version = std::str::from_utf8(&text[..end])
        .ok()
        // As the server writes it: `07` and `+7` are other tags than `7`.
        .filter(|text| !text.starts_with(['0', '+']) || *text == "0")
        .and_then(|text| text.parse().ok())
        .unwrap_or(NO_VERSION);
    Some((Tag { version, weak }, &text[end + 1..]))
}

fn not_understood(name: &'static str, detail: &'static str) -> Problem {
    Problem::new(problem::BAD_PRECONDITION, detail).field(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes() {
        let if_match = |text: &str| for_write(Some(text.as_bytes()), None).ok();
        assert_eq!(if_match("\"12\""), Some(Precondition::Version(12)));
        assert_eq!(if_match(" * "), Some(Precondition::Present));
        for nobodys in [
            "\"abc\"",
            "\"012\"",
            "\"+12\"",
            "W/\"12\"",
            "\"\"",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(
                if_match(nobodys),
                Some(Precondition::Version(NO_VERSION)),
                "{nobodys}"
            );
        }
        for wrong in ["12", "\"12", "\"1\", \"2\"", "", "**"] {
            assert_eq!(if_match(wrong), None, "{wrong}");
        }
        assert_eq!(for_write(None, Some(b"*")).ok(), Some(Precondition::Absent));
        assert!(for_write(None, Some(b"\"12\"")).is_err());
        assert!(for_write(Some(b"*"), Some(b"*")).is_err());
    }

    #[test]
    fn reads() {
        let none_match = |text: &str| for_read(None, Some(text.as_bytes()), 12).ok();
        for same in ["\"12\"", "W/\"12\"", "*", "\"a,b\" , \"12\"", "\"1\",\"12\","] {
            assert_eq!(none_match(same), Some(Read::NotModified), "{same}");
        }
        assert_eq!(none_match("\"13\""), Some(Read::Go));
        assert_eq!(none_match("12"), None);
        assert_eq!(none_match("\"1\" \"12\""), None);
        assert_eq!(for_read(Some(b"\"12\""), None, 12).ok(), Some(Read::Go));
        assert_eq!(for_read(Some(b"W/\"12\""), None, 12).ok(), Some(Read::Failed));
    }
}
