//! What is wrong with a JSON text, in words that need no knowledge of the parser.

/// Says what is wrong with a text, and where.
pub(crate) fn json_fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (what, place) = match text.rfind(" at line ") {
        Some(at) => text.split_at(at),
        None => (text.as_str(), ""),
    };
    format!("{}{place}", in_words(what))
}

fn in_words(what: &str) -> String {
    let fixed = match what {
        "EOF while parsing a value" => "the text ends where a value should stand",
        "EOF while parsing an object" => "the text ends within an object",
        "EOF while parsing a list" => "the text ends within a list",
        "EOF while parsing a string" => "the text ends within a string",
        "expected value" | "expected ident" => "no JSON value begins here",
        "trailing characters" => "something follows the JSON text",
        "key must be a string" => "the name of a field is a string",
        "recursion limit exceeded" => "the text is nested too deeply",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a string holds a control character that is not escaped"
        }
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "an escape in a string stands for half a character"
        }
        "invalid unicode code point" => "a string is not UTF-8",
        "invalid escape" => "a string has an escape that JSON does not know",
        _ => "",
    };
    if !fixed.is_empty() {
        return fixed.to_owned();
    }
    if let Some(rest) = what
        .strip_prefix("invalid type: ")
        .or_else(|| what.strip_prefix("invalid value: "))
        && let Some((found, wanted)) = rest.rsplit_once(", expected ")
    {
        return format!(
            "{} stands where {} should",
            found_in_words(found),
            wanted_in_words(wanted)
        );
    }
    // A list in place of an object, which the parser takes for one by position.
    if what.starts_with("invalid length ") && what.contains("expected struct ") {
        return "a list stands where an object should".to_owned();
    }
    if let Some((field, known)) = what
        .strip_prefix("unknown field ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let known = known.strip_prefix("one of ").unwrap_or(known);
        return format!("there is no field {field} here, only {known}");
    }
    if let Some(field) = what.strip_prefix("missing field ") {
        return format!("the field {field} is missing");
    }
    if let Some(field) = what.strip_prefix("duplicate field ") {
        return format!("the field {field} is there twice");
    }
    what.to_owned()
}

/// What was found, as the parser calls it.
fn found_in_words(found: &str) -> String {
    let quoted = |rest: &str| rest.trim_matches('`').to_owned();
    match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" => "null".to_owned(),
        _ => match found.split_once(' ') {
            Some(("boolean", value)) => quoted(value),
            Some(("integer", value)) => format!("the number {}", quoted(value)),
            Some(("floating", rest)) => format!("the number {}", quoted(rest.trim_start_matches("point "))),
            Some(("string", value)) => format!("the text {value}"),
            _ => found.to_owned(),
        },
    }
}

/// What was wanted, as the parser calls it, where that is a word of Rust.
fn wanted_in_words(wanted: &str) -> &str {
    match wanted {
        "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "a boolean" => "`true` or `false`",
        "unit" => "null",
        _ if wanted.starts_with("struct ") => "an object",
        _ => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        text: String,
        #[serde(default)]
        number: f64,
        #[serde(default)]
        count: u64,
        #[serde(default)]
        flag: bool,
    }

    #[test]
    fn no_word_of_the_parser_is_left() {
        let deep = "[".repeat(300_000);
        for (text, words) in [
            ("", "the text ends where a value should stand at line 1 column 0"),
            ("{", "the text ends within an object at line 1 column 1"),
            (
                "{\"text\":\"a",
                "the text ends within a string at line 1 column 10",
            ),
            ("nonsense", "no JSON value begins here at line 1 column 2"),
            ("\u{feff}{}", "no JSON value begins here at line 1 column 1"),
            (
                "{\"text\":\"\"} x",
                "something follows the JSON text at line 1 column 13",
            ),
            ("{1:2}", "the name of a field is a string at line 1 column 2"),
            (
                "{\"text\":5}",
                "the number 5 stands where a string should at line 1 column 9",
            ),
            (
                "{\"text\":null}",
                "null stands where a string should at line 1 column 12",
            ),
            (
                "{\"text\":{}}",
                "an object stands where a string should at line 1 column 8",
            ),
            (
                "{\"number\":\"5\"}",
                "the text \"5\" stands where a number should at line 1 column 13",
            ),
            (
                "{\"number\":[]}",
                "a list stands where a number should at line 1 column 10",
            ),
            (
                "{\"count\":1.5}",
                "the number 1.5 stands where a whole number from 0 on should at line 1 column 12",
            ),
            (
                "{\"count\":-1}",
                "the number -1 stands where a whole number from 0 on should at line 1 column 11",
            ),
            (
                "{\"flag\":1}",
                "the number 1 stands where `true` or `false` should at line 1 column 9",
            ),
            (
                "{\"more\":1}",
                "there is no field `more` here, only `text`, `number`, `count`, `flag` at line 1 column 7",
            ),
            ("{}", "the field `text` is missing at line 1 column 2"),
            (
                "{\"text\":\"\",\"text\":\"\"}",
                "the field `text` is there twice at line 1 column 17",
            ),
            (
                "{\"text\":\"\\ud800\"}",
                "an escape in a string stands for half a character at line 1 column 16",
            ),
            (
                "{\"text\":\"a\nb\"}",
                "a string holds a control character that is not escaped at line 2 column 0",
            ),
            (
                "5",
                "the number 5 stands where an object should at line 1 column 1",
            ),
            (
                "{\"text\":\"\",\"x",
                "the text ends within a string at line 1 column 13",
            ),
        ] {
            let error = serde_json::from_str::<Sample>(text).unwrap_err();
            assert_eq!(json_fault(&error), words, "{text}");
        }
        let error = serde_json::from_str::<serde_json::Value>(&deep).unwrap_err();
        assert!(
            json_fault(&error).starts_with("the text is nested too deeply"),
            "{error}"
        );
    }
}
