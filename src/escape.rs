//! Text of strangers on terminals and in logs.
//!
//! Keys, values, paths and file names may hold characters that act rather than show: control characters move the
//! cursor, recolour the screen or forge a line; those of Unicode's bidirectional algorithm turn the order of what
//! follows round. Whatever shows such text to people writes these characters as escapes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character acts on a terminal, on the end of a line or on the order of text.
pub(crate) fn acts(c: char) -> bool {
    // ASCII first: it is nearly all.
    match c {
        ' '..='~' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

/// One line of text: what acts is written as Rust and the shell have it, `\u{1b}`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    replaced(text, acts, |out, c| write!(out, "\\u{{{:x}}}", u32::from(c)))
}

/// As [`line()`], for text of several lines: line breaks and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    let is_replaced = |c| acts(c) && c != '\n' && c != '\t';
    replaced(text, is_replaced, |out, c| {
        write!(out, "\\u{{{:x}}}", u32::from(c))
    })
}

/// JSON, with what acts in its strings escaped as JSON has it; it reads as the same. Line breaks between values stay.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    // All of them are below 2^16, so that none needs a pair of escapes.
    replaced(
        text,
        |c| acts(c) && c != '\n',
        |out, c| write!(out, "\\u{:04x}", u32::from(c)),
    )
}

/// Without a copy where there is nothing to replace.
fn replaced(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    push: impl Fn(&mut String, char) -> std::fmt::Result,
) -> Cow<'_, str> {
    let Some(first) = text.find(&is_replaced) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_replaced(c) {
            push(&mut out, c).expect("a string takes all");
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_shows_is_not() {
        for plain in ["", "a b~", "é к 日本 👩‍👩‍👧", "\u{a0}"] {
            assert!(
                matches!(line(plain), Cow::Borrowed(text) if text == plain),
                "{plain}"
            );
        }
        assert_eq!(
            line("a\x1b[31m\x07\x7f\n\u{9b}2J\u{202e}x"),
            r"a\u{1b}[31m\u{7}\u{7f}\u{a}\u{9b}2J\u{202e}x"
        );
        assert_eq!(lines("two\n\tlines\r\u{2066}"), "two\n\tlines\\u{d}\\u{2066}");
    }

    #[test]
    fn json_stays_what_it_was() {
        let text = "\u{9b}\u{7f}\u{202e}\u{2028}\x1b é\n\t\"\\";
        let plain = serde_json::to_string(text).unwrap() + "\n";
        let escaped = json(&plain);
        assert!(!escaped.trim_end().chars().any(acts), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}
