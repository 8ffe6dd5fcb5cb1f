//! A paste: lines that the terminal gives as one.

/// Splits a text into commands. Each line is a command; a word in quotes may have several lines.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let mut begins_word = true;
    let mut is_escaped = false;
    text.split(move |c| match (quote, c) {
        (Some(closes), c) => {
            if c == closes && !is_escaped {
                quote = None;
            }
            // In single quotes a backslash does nothing to another.
            is_escaped = c == '\\' && (closes == '\'' || !is_escaped);
            false
        }
        (None, '\n') => {
            begins_word = true;
            true
        }
        (None, c) => {
            quote = (begins_word && matches!(c, '"' | '\'')).then_some(c);
            begins_word = c.is_ascii_whitespace();
            is_escaped = false;
            false
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_quotes_may_go_over_several_lines() {
        let lines_of = |text: &'static str| lines(text).collect::<Vec<_>>();
        assert_eq!(lines_of("get a\ndel b"), ["get a", "del b"]);
        assert_eq!(
            lines_of("set a \"one\ndel b\"\nget a"),
            ["set a \"one\ndel b\"", "get a"]
        );
        // Escaped quotes close nothing, and a quote within a word is a character.
        for whole in [
            "set a \"1\\\"\n2\"",
            "set a '1\\'\n2'",
            "set a \"1\\\\\\\"\n2\"",
            "set a '1\\\\'\n2'",
            "set a \"never\nclosed",
        ] {
            assert_eq!(lines_of(whole), [whole]);
        }
        for (text, first) in [
            ("set a it's\nget a", "set a it's"),
            ("set a \"\\\\\"\nget a", "set a \"\\\\\""),
            ("set a '\\x'\nget a", "set a '\\x'"),
        ] {
            assert_eq!(lines_of(text), [first, "get a"]);
        }
    }
}
