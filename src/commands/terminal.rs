//! Keys and values of strangers, as a terminal gets them: nothing in them acts on it.
//!
//! Pipes and files get what is there, byte for byte.

use super::quotes::in_quotes;
use crate::escape;
use std::borrow::Cow;
use std::io::{self, IsTerminal};

/// Whether somebody sees what goes to standard output.
pub(super) fn is_seen() -> bool {
    io::stdout().is_terminal()
}

/// Whether colours are shown: to somebody who sees them, and wants them (<https://no-color.org>).
pub(super) fn has_colours() -> bool {
    is_seen() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A key: as it is, or in quotes as the shell takes it where something in it acts on a terminal, or would be taken for
/// more than one word.
pub(super) fn key(key: &str) -> Cow<'_, str> {
    let begins_quoted = key.starts_with(['"', '\'']);
    if begins_quoted || escape::chars(key).any(|(c, acts)| acts || c.is_whitespace()) {
        Cow::Owned(in_quotes(key.as_bytes()))
    } else {
        Cow::Borrowed(key)
    }
}

/// A value: as it is where it is plain text of any lines, else in quotes.
pub(super) fn value(value: Vec<u8>) -> Vec<u8> {
    let acts = |(c, acts)| acts && c != '\n' && c != '\t';
    match std::str::from_utf8(&value) {
        Ok(text) if !escape::chars(text).any(acts) => value,
        _ => in_quotes(&value).into_bytes(),
    }
}

/// JSON texts, one a line.
pub(super) fn json(lines: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(lines).map(escape::json) {
        Ok(Cow::Owned(escaped)) => Cow::Owned(escaped.into_bytes()),
        // What is not UTF-8 is no JSON of ours, and passed on.
        Ok(Cow::Borrowed(_)) | Err(_) => Cow::Borrowed(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_quoted() {
        assert_eq!(value("two\nlines\té".into()), "two\nlines\té".as_bytes());
        assert_eq!(value(b"\x1b[2J".to_vec()), b"\"\\x1b[2J\"");
        assert_eq!(value(b"\xff".to_vec()), b"\"\\xff\"");
        assert_eq!(value("a\u{202e}b".into()), b"\"a\\xe2\\x80\\xaeb\"");
        assert_eq!(key("a\u{200b}b"), "\"a\\xe2\\x80\\x8bb\"");
        assert_eq!(key("a\"b\"é"), "a\"b\"é");
        assert_eq!(key("a \"b\" é"), "\"a \\\"b\\\" é\"");
        assert_eq!(key("\"a\""), "\"\\\"a\\\"\"");
        assert_eq!(key("a\nb\u{9b}"), "\"a\\nb\\xc2\\x9b\"");
        assert_eq!(
            &*json("{\"k\":\"\u{9b}\"}\n".as_bytes()),
            b"{\"k\":\"\\u009b\"}\n"
        );
    }
}
