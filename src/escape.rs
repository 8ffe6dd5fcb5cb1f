//! Text of strangers on terminals and in logs.
//!
//! Keys, values, paths and file names may hold characters that act rather than show: control characters move the
//! cursor, recolour the screen or forge a line; those of Unicode's bidirectional algorithm turn the order of what
//! follows round; others show nothing, so that two keys look alike. Whatever shows such text to people writes these
//! characters as escapes.
//!
//! The two joiners stay where they join: Persian words and families of emoji are made with them. Behind ASCII they
//! join nothing.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character acts on a terminal, on the end of a line or on the order of text, or shows nothing.
fn acts(c: char) -> bool {
    // ASCII first: it is nearly all.
    match c {
        ' '..='~' => false,
        // Marks and controls of the order of text, separators of lines and paragraphs.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        // What has no width, fillers, and tags.
        '\u{ad}' | '\u{34f}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' => true,
        '\u{200b}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        c => c.is_control(),
    }
}

/// The characters of a text, each with whether it is to be escaped.
pub(crate) fn chars(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut is_behind_ascii = true;
    text.chars().map(move |c| {
        let is_stray_joiner = is_behind_ascii && matches!(c, '\u{200c}' | '\u{200d}');
        is_behind_ascii = c.is_ascii();
        (c, acts(c) || is_stray_joiner)
    })
}

/// One line of text: what acts is written as Rust and the shell have it, `\u{1b}`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    replaced(text, &[], |out, c| write!(out, "\\u{{{:x}}}", u32::from(c)))
}

/// As [`line()`], for text of several lines: line breaks and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, &['\n', '\t'], |out, c| {
        write!(out, "\\u{{{:x}}}", u32::from(c))
    })
}

/// JSON, with what acts in its strings escaped as JSON has it; it reads as the same. Line breaks between values stay.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    replaced(text, &['\n'], |out, c| {
        c.encode_utf16(&mut [0; 2])
            .iter()
            .try_for_each(|unit| write!(out, "\\u{unit:04x}"))
    })
}

/// Without a copy where there is nothing to replace.
fn replaced<'t>(
    text: &'t str,
    kept: &[char],
    push: impl Fn(&mut String, char) -> std::fmt::Result,
) -> Cow<'t, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    for (c, is_escaped) in chars(text) {
        if is_escaped && !kept.contains(&c) {
            out.push_str(&text[copied..at]);
            push(&mut out, c).expect("a string takes all");
            copied = at + c.len_utf8();
        }
        at += c.len_utf8();
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
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
        assert_eq!(
            line("\u{feff}ad\u{200b}m\u{200d}in\u{ad}\u{e0041}"),
            r"\u{feff}ad\u{200b}m\u{200d}in\u{ad}\u{e0041}"
        );
        let joined = "می\u{200c}خواهم";
        assert_eq!(line(joined), joined);
        assert_eq!(lines("two\n\tlines\r\u{2066}"), "two\n\tlines\\u{d}\\u{2066}");
    }

    #[test]
    fn json_stays_what_it_was() {
        let text = "\u{9b}\u{7f}\u{202e}\u{2028}\u{feff}\u{e0041}\x1b é\n\t\"\\";
        let plain = serde_json::to_string(text).unwrap() + "\n";
        let escaped = json(&plain);
        assert!(!chars(escaped.trim_end()).any(|(_, acts)| acts), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}
