//! `If-Match` and `If-None-Match`: versions as entity tags, in the grammar of RFC 9110, section 13.1.
//!
//! The tag of a version is its number in quotes. (That of a file of the page is a word, so that no client takes it for a
//! version.) Both fields are `*` or a list of tags, weak ones too, on any number of lines, and mean the same whatever the
//! method. `If-Match` compares strongly, so a weak tag matches
//! nothing there; `If-None-Match` compares weakly. A tag that is well formed but not one of ours is the tag of a
//! version that no key has.

use crate::http::problem::{self, Problem};
use crate::http::request::{Head, Lines};
use crate::node::Precondition;

/// The preconditions of a write.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    if_match: Asked,
    if_none_match: Asked,
}

/// What one of the two fields asks for.
#[derive(Debug, Default)]
enum Asked {
    /// The field is not there.
    #[default]
    Nothing,
    /// `*`
    Any,
    /// The versions whose tags it lists.
    Versions(Vec<u64>),
}

impl Conditions {
    /// What a write asks of the version that it replaces.
    pub(crate) fn of_write(head: &Head<'_>) -> Result<Conditions, Problem> {
        // Nearly all writes ask for nothing.
        if head.if_match.is_empty() && head.if_none_match.is_empty() {
            return Ok(Conditions::default());
        }
        let mut conditions = Conditions {
            if_match: Asked::read(IF_MATCH, &head.if_match, strong)?,
            if_none_match: Asked::read(IF_NONE_MATCH, &head.if_none_match, weak)?,
        };
        if let (Asked::Versions(wanted), Asked::Versions(unwanted)) =
            (&mut conditions.if_match, &mut conditions.if_none_match)
        {
            unwanted.sort_unstable();
            wanted.retain(|version| unwanted.binary_search(version).is_err());
        }
        Ok(conditions)
    }

    pub(crate) fn precondition(&self) -> Precondition<'_> {
        match (&self.if_match, &self.if_none_match) {
            (Asked::Nothing, Asked::Nothing) => Precondition::None,
            (Asked::Nothing, Asked::Any) => Precondition::Absent,
            // No key is there and absent at once.
            (_, Asked::Any) => Precondition::OneOf(&[]),
            (Asked::Any, Asked::Nothing) => Precondition::Present,
            (Asked::Versions(versions), _) => match versions[..] {
                [version] => Precondition::Version(version),
                _ => Precondition::OneOf(versions),
            },
            (wanted, Asked::Versions(versions)) => Precondition::NoneOf {
                versions,
                must_exist: matches!(wanted, Asked::Any),
            },
        }
    }
}

impl Asked {
    fn read(
        name: &'static str,
        lines: &Lines<'_>,
        text_of: fn(Tag<'_>) -> Option<&[u8]>,
    ) -> Result<Asked, Problem> {
        let mut versions = Vec::new();
        let read = read(name, lines, |tag| versions.extend(text_of(tag).and_then(version)))?;
        Ok(match read {
            Read::Nothing => Asked::Nothing,
            Read::Any => Asked::Any,
            Read::Tags => Asked::Versions(versions),
        })
    }
}

/// What became of a read's conditions, for a key that is in some version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Answer it.
    Go,
    /// The client has this version.
    NotModified,
    /// The client wants another one.
    Failed,
}

/// Whether a read of a key in version `of_key` is answered with its value.
pub(crate) fn of_read(head: &Head<'_>, of_key: u64) -> Result<Fetch, Problem> {
    of_tags(head, |text| version(text) == Some(of_key))
}

/// Whether a read of a file with this tag is answered with the file.
pub(crate) fn of_file(head: &Head<'_>, tag: &str) -> Result<Fetch, Problem> {
    of_tags(head, |text| text == tag.as_bytes())
}

/// As [`of_read`], of that whose tag `is_own` knows.
fn of_tags(head: &Head<'_>, is_own: impl Fn(&[u8]) -> bool) -> Result<Fetch, Problem> {
    if !head.if_match.is_empty()
        && !matches(IF_MATCH, &head.if_match, |tag| strong(tag).is_some_and(&is_own))?
    {
        return Ok(Fetch::Failed);
    }
    if !head.if_none_match.is_empty()
        && matches(IF_NONE_MATCH, &head.if_none_match, |tag| {
            weak(tag).is_some_and(&is_own)
        })?
    {
        return Ok(Fetch::NotModified);
    }
    Ok(Fetch::Go)
}

/// Whether a field is `*` or has a tag that `is_own` knows.
fn matches(name: &'static str, lines: &Lines<'_>, is_own: impl Fn(Tag<'_>) -> bool) -> Result<bool, Problem> {
    let mut found = false;
    let read = read(name, lines, |tag| found |= is_own(tag))?;
    Ok(found || matches!(read, Read::Any))
}

const IF_MATCH: &str = "If-Match";
const IF_NONE_MATCH: &str = "If-None-Match";

/// An entity tag.
#[derive(Clone, Copy)]
struct Tag<'t> {
    /// What is between the quotes.
    text: &'t [u8],
    is_weak: bool,
}

/// What a tag stands for where tags are compared strongly.
fn strong(tag: Tag<'_>) -> Option<&[u8]> {
    (!tag.is_weak).then_some(tag.text)
}

/// What a tag stands for where tags are compared weakly.
fn weak(tag: Tag<'_>) -> Option<&[u8]> {
    Some(tag.text)
}

/// The version whose tag this is; none where it is no tag of ours.
fn version(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text)
        .ok()
        // As the server writes it: `07` and `+7` are other tags than `7`.
        .filter(|text| !text.starts_with(['0', '+']) || *text == "0")
        .and_then(|text| text.parse().ok())
}

/// What a field turned out to be.
enum Read {
    Nothing,
    Any,
    Tags,
}

/// Reads one of the two fields; `take` gets its tags.
fn read(name: &'static str, lines: &Lines<'_>, mut take: impl FnMut(Tag<'_>)) -> Result<Read, Problem> {
    match lines.single().map(<[u8]>::trim_ascii) {
        Some(b"*") => return Ok(Read::Any),
        None if lines.is_empty() => return Ok(Read::Nothing),
        _ => {}
    }
    for line in lines.iter() {
        let mut rest = line;
        loop {
            // Elements may be empty (RFC 9110, 5.6.1).
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            if rest.is_empty() {
                break;
            }
            let Some((tag, after)) = split_tag(rest) else {
                return Err(not_understood(name, "it must be `*`, or versions in quotes"));
            };
            take(tag);
            rest = match after.trim_ascii_start() {
                after @ ([] | [b',', ..]) => after,
                _ => return Err(not_understood(name, "commas separate the tags")),
            };
        }
    }
    Ok(Read::Tags)
}

/// The tag that `text` begins with, and what follows it.
fn split_tag(text: &[u8]) -> Option<(Tag<'_>, &[u8])> {
    let (is_weak, text) = match text.strip_prefix(b"W/") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| byte == b'"')?;
    let tag = Tag {
        text: &text[..end],
        is_weak,
    };
    Some((tag, &text[end + 1..]))
}

fn not_understood(name: &'static str, detail: &'static str) -> Problem {
    Problem::new(problem::BAD_PRECONDITION, detail).field(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Limits;
    use proptest::prelude::*;

    /// What a head with these fields comes to.
    fn with_head<T>(fields: &[(&str, &str)], then: impl FnOnce(&Head<'_>) -> T) -> T {
        let mut head = String::from("PUT /kv/k HTTP/1.1\r\nHost: n\r\n");
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        then(&Head::parse(head.as_bytes(), &Limits::default()).unwrap().unwrap())
    }

    /// Whether a write with these fields is made to a key in `version`; none where they are not understood.
    fn is_written(fields: &[(&str, &str)], version: Option<u64>) -> Option<bool> {
        with_head(fields, |head| {
            let conditions = Conditions::of_write(head).ok()?;
            Some(conditions.precondition().check(version).is_ok())
        })
    }

    fn fetched(fields: &[(&str, &str)], version: u64) -> Option<Fetch> {
        with_head(fields, |head| of_read(head, version).ok())
    }

    const ALL_TO_12: &[&str] = &[
        "\"12\"",
        "\"1\", \"12\"",
        "\"12\",\"76\"",
        ", \"12\" ,",
        "\"a,b\" , \"12\"",
        "*",
        " * ",
    ];

    #[test]
    fn a_write_goes_over_one_of_the_versions_that_if_match_lists() {
        for tags in ALL_TO_12 {
            let fields = [("If-Match", *tags)];
            assert_eq!(is_written(&fields, Some(12)), Some(true), "{tags}");
            assert_eq!(is_written(&fields, None), Some(false), "{tags}");
            let others = !tags.contains('*');
            assert_eq!(is_written(&fields, Some(13)), Some(!others), "{tags}");
        }
        for nobodys in [
            "\"abc\"",
            "\"012\"",
            "\"+12\"",
            "W/\"12\"",
            "\"12-gzip\"",
            "\"\"",
            "\"99999999999999999999\"",
            "",
        ] {
            assert_eq!(
                is_written(&[("If-Match", nobodys)], Some(12)),
                Some(false),
                "{nobodys}"
            );
        }
    }

    #[test]
    fn a_write_goes_over_none_of_the_versions_that_if_none_match_lists() {
        for tags in ALL_TO_12.iter().chain(&["W/\"12\"", "\"1\", W/\"12\""]) {
            let fields = [("If-None-Match", *tags)];
            assert_eq!(is_written(&fields, Some(12)), Some(false), "{tags}");
            assert_eq!(is_written(&fields, None), Some(true), "{tags}");
            assert_eq!(is_written(&fields, Some(13)), Some(!tags.contains('*')), "{tags}");
        }
        assert_eq!(is_written(&[("If-None-Match", "\"abc\"")], Some(12)), Some(true));
    }

    #[test]
    fn both_fields_hold_at_once() {
        let fields = |a, b| [("If-Match", a), ("If-None-Match", b)];
        for (a, b, at_12, at_13, at_none) in [
            ("*", "\"12\"", false, true, false),
            ("\"12\", \"13\"", "\"12\"", false, true, false),
            ("\"12\"", "\"13\"", true, false, false),
            ("*", "*", false, false, false),
            ("\"12\"", "*", false, false, false),
        ] {
            for (version, holds) in [(Some(12), at_12), (Some(13), at_13), (None, at_none)] {
                assert_eq!(
                    is_written(&fields(a, b), version),
                    Some(holds),
                    "{a} {b} {version:?}"
                );
            }
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        for name in ["If-Match", "If-None-Match"] {
            let lines = [
                (name, "\"1\""),
                (name, "W/\"2\", \"12\""),
                (name, ""),
                (name, "\"3\""),
            ];
            assert_eq!(is_written(&lines, Some(12)), Some(name == "If-Match"), "{name}");
            assert_eq!(is_written(&lines, Some(13)), Some(name != "If-Match"), "{name}");
            let expected = if name == "If-Match" {
                Fetch::Go
            } else {
                Fetch::NotModified
            };
            assert_eq!(fetched(&lines, 12), Some(expected), "{name}");
            // `*` is no member of a list.
            assert_eq!(
                is_written(&[(name, "*"), (name, "\"12\"")], Some(12)),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_tag_is_refused_by_all_methods() {
        for name in ["If-Match", "If-None-Match"] {
            for wrong in [
                "12",
                "\"12",
                "\"1\" \"12\"",
                "**",
                "*, *",
                "w/\"12\"",
                "W/12",
                "'12'",
            ] {
                assert_eq!(is_written(&[(name, wrong)], Some(12)), None, "{name}: {wrong}");
                assert_eq!(fetched(&[(name, wrong)], 12), None, "{name}: {wrong}");
            }
        }
    }

    #[test]
    fn reads() {
        for same in ["\"12\"", "W/\"12\"", "*", "\"a,b\" , \"12\"", "\"1\",\"12\","] {
            assert_eq!(
                fetched(&[("If-None-Match", same)], 12),
                Some(Fetch::NotModified),
                "{same}"
            );
        }
        assert_eq!(fetched(&[("If-None-Match", "\"13\"")], 12), Some(Fetch::Go));
        assert_eq!(fetched(&[("If-Match", "\"12\"")], 12), Some(Fetch::Go));
        assert_eq!(fetched(&[("If-Match", "W/\"12\"")], 12), Some(Fetch::Failed));
    }

    proptest! {
        #[test]
        fn a_list_is_the_same_on_one_line_and_on_many(
            tags in proptest::collection::vec((any::<bool>(), 0u64..20), 1..6),
            version in 0u64..20,
            name in prop_oneof![Just("If-Match"), Just("If-None-Match")],
        ) {
            let texts: Vec<String> = tags
                .iter()
                .map(|(weak, tag)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" }))
                .collect();
            let lines: Vec<_> = texts.iter().map(|text| (name, text.as_str())).collect();
            let joined = texts.join(", ");
            let is_listed = tags.iter().any(|&(weak, tag)| tag == version && !(weak && name == "If-Match"));
            let expected = Some(is_listed == (name == "If-Match"));
            prop_assert_eq!(is_written(&lines, Some(version)), expected);
            prop_assert_eq!(is_written(&[(name, joined.as_str())], Some(version)), expected);
        }
    }
}
