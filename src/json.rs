//! JSON from outside, read so that what is wrong with it is said in plain words.
//!
//! serde names what it expects as Rust does ("f64", "a map"), and serde_json says where its parser stood. Neither
//! means anything to somebody who wrote a line by hand. So:
//! - The fields of an object are read by [`text`], [`number`], [`whole`], [`integer`] and [`flag`], whose errors name the
//!   field and what must stand there.
//! - A visitor of an object or a list takes its words for all else from [`refuse_others`].
//! - [`why`] says what is wrong with a text that was not read.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What begins a UTF-8 text that some editors and shells write. RFC 8259 lets a parser pass over it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text without the byte order mark that it may begin with.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The name of a field, borrowed from the text where it has no escapes.
#[derive(serde::Deserialize)]
pub(crate) struct Name<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The string that is the next value of an object, under the field `name`.
pub(crate) fn text<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Cow<'de, str>, A::Error> {
    const EXPECTED: &str = "a string";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Text(text) => Ok(text),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// The JSON that is the next value of an object, as it is written.
pub(crate) fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<&'de str, A::Error> {
    Ok(map.next_value::<&'de RawValue>()?.get())
}

/// The string that a piece of JSON is, which was read by [`raw`] under the field `name`.
pub(crate) fn text_of<'a>(raw: &'a str, name: &'static str) -> Result<Cow<'a, str>, String> {
    const EXPECTED: &str = "a string";
    let read = Seed(name, EXPECTED).deserialize(&mut serde_json::Deserializer::from_str(raw));
    match read.map_err(|error| why(&error, true))? {
        Scalar::Text(text) => Ok(text),
        other => Err(other.is_not::<serde_json::Error>(name, EXPECTED).to_string()),
    }
}

/// The number that is the next value of an object, under the field `name`.
pub(crate) fn number<'de, A: MapAccess<'de>>(map: &mut A, name: &'static str) -> Result<f64, A::Error> {
    const EXPECTED: &str = "a number";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Number(number) => Ok(number),
        // As the parser would have read it: exact below 2^53, and the nearest above.
        Scalar::Whole(number) => Ok(number as f64),
        Scalar::Negative(number) => Ok(number as f64),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// As [`number`]; `None` for `null`.
pub(crate) fn number_or_null<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Option<f64>, A::Error> {
    const EXPECTED: &str = "a number, or null";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Number(number) => Ok(Some(number)),
        Scalar::Whole(number) => Ok(Some(number as f64)),
        Scalar::Negative(number) => Ok(Some(number as f64)),
        Scalar::Null => Ok(None),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// The whole number from 0 on that is the next value of an object, under the field `name`.
pub(crate) fn whole<'de, A: MapAccess<'de>>(map: &mut A, name: &'static str) -> Result<u64, A::Error> {
    const EXPECTED: &str = "a whole number, 0 or more";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Whole(number) => Ok(number),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// The whole number of 64 bits that is the next value of an object, under the field `name`.
pub(crate) fn integer<'de, A: MapAccess<'de>>(map: &mut A, name: &'static str) -> Result<i64, A::Error> {
    const EXPECTED: &str = "a whole number of 64 bits";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Negative(number) => Ok(number),
        Scalar::Whole(number) => i64::try_from(number)
            .map_err(|_| A::Error::custom(format_args!("`{name}` must be {EXPECTED}, up to {}", i64::MAX))),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// As [`whole`]; `None` for `null`.
pub(crate) fn whole_or_null<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Option<u64>, A::Error> {
    const EXPECTED: &str = "a whole number, 0 or more, or null";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Whole(number) => Ok(Some(number)),
        Scalar::Null => Ok(None),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// The truth value that is the next value of an object, under the field `name`.
pub(crate) fn flag<'de, A: MapAccess<'de>>(map: &mut A, name: &'static str) -> Result<bool, A::Error> {
    const EXPECTED: &str = "true or false";
    match map.next_value_seed(Seed(name, EXPECTED))? {
        Scalar::Flag(flag) => Ok(flag),
        other => Err(other.is_not(name, EXPECTED)),
    }
}

/// A value that is neither an object nor a list.
enum Scalar<'de> {
    Text(Cow<'de, str>),
    Whole(u64),
    /// A whole number below 0.
    Negative(i64),
    /// A number with a fraction or an exponent.
    Number(f64),
    Flag(bool),
    Null,
}

impl Scalar<'_> {
    fn is_not<E: Error>(&self, name: &str, expected: &str) -> E {
        let found = match self {
            Scalar::Text(_) => "a string",
            Scalar::Whole(_) | Scalar::Negative(_) | Scalar::Number(_) => "a number",
            Scalar::Flag(true) => "true",
            Scalar::Flag(false) => "false",
            Scalar::Null => "null",
        };
        match (self, expected) {
            (Scalar::Number(_) | Scalar::Negative(_), expected) => {
                E::custom(format_args!("`{name}` must be {expected}"))
            }
            _ => E::custom(format_args!("`{name}` must be {expected}, not {found}")),
        }
    }
}

/// Reads a [`Scalar`] under a field's name, which must be what the second says.
struct Seed(&'static str, &'static str);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Negative(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Scalar<'de>, A::Error> {
        Err(self.is_not("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Scalar<'de>, A::Error> {
        Err(self.is_not("an object"))
    }
}

impl Seed {
    fn is_not<E: Error>(&self, found: &str) -> E {
        let Seed(name, expected) = self;
        // The likeliest slip of all: JSON as the value itself.
        let advice = match *name {
            "value" => "; to store JSON, write it as text in a string",
            _ => "",
        };
        E::custom(format_args!("`{name}` must be {expected}, not {found}{advice}"))
    }
}

/// The methods of a visitor for all that it does not take: it takes an object (`map`) or a list (`seq`).
///
/// Its deserializer must be asked for `deserialize_any`.
macro_rules! refuse_others {
    (map, $message:expr) => {
        crate::json::refuse_others!(scalars, $message);
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(serde::de::Error::custom(format_args!(
                "{}, not a list",
                $message
            )))
        }
    };
    (seq, $message:expr) => {
        crate::json::refuse_others!(scalars, $message);
        fn visit_map<A: serde::de::MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(serde::de::Error::custom(format_args!(
                "{}, not an object",
                $message
            )))
        }
    };
    (scalars, $message:expr) => {
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom(format_args!("{}, not a string", $message)))
        }
        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
            Err(E::custom(format_args!("{}, not a number", $message)))
        }
        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(E::custom(format_args!("{}, not a number", $message)))
        }
        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
            Err(E::custom(format_args!("{}, not a number", $message)))
        }
        fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Self::Value, E> {
            Err(E::custom(format_args!("{}, not {flag}", $message)))
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Err(E::custom(format_args!("{}, not null", $message)))
        }
    };
}
pub(crate) use refuse_others;

/// What the parser says where a text is no JSON, and the same in plain words.
const SYNTAX: [(&str, &str); 15] = [
    (
        "control character",
        "a line break or a control character stands in a string: write it as \\n, \\t or \\u0000",
    ),
    (
        "invalid escape",
        "a backslash in a string begins an escape that JSON does not have",
    ),
    (
        "lone leading surrogate",
        "a \\u escape in a string is half of a pair",
    ),
    (
        "unexpected end of hex escape",
        "a \\u escape in a string is half of a pair, or too short",
    ),
    ("invalid unicode code point", "it is not UTF-8"),
    ("recursion limit", "it is nested too deeply"),
    ("trailing comma", "a comma has nothing behind it"),
    (
        "trailing characters",
        "something follows where the JSON has ended",
    ),
    (
        "key must be a string",
        "the name of a field must be in double quotes",
    ),
    ("expected `:`", "a colon is missing behind the name of a field"),
    ("expected `,` or `}`", "a comma or the closing } is missing"),
    ("expected `,` or `]`", "a comma or the closing ] is missing"),
    ("expected `\"`", "the name of a field must be in double quotes"),
    ("number out of range", "a number is too large"),
    ("invalid number", "a number is not written as JSON has it"),
];

/// What is wrong with a text that is no JSON, or not the JSON that was asked for, as the end of a sentence.
///
/// An error of a visitor is said as it is: it names its field, so it needs no place. All else has its place:
/// the column in bytes from 1 on, and the line where the text `has_lines`.
pub(crate) fn why(error: &serde_json::Error, has_lines: bool) -> String {
    let (line, column) = (error.line(), error.column());
    let at = match has_lines {
        _ if line == 0 => String::new(),
        true => format!(", at line {line}, column {column}"),
        false => format!(", at column {column}"),
    };
    let said = error.to_string();
    let said = said
        .strip_suffix(&format!(" at line {line} column {column}"))
        .unwrap_or(&said);
    match error.classify() {
        Category::Data => said.to_owned(),
        Category::Eof if column == 0 => "there is no JSON".to_owned(),
        Category::Eof => format!("the JSON is cut short{at}"),
        Category::Io | Category::Syntax => {
            let words = SYNTAX.iter().find(|(parser, _)| said.starts_with(parser));
            let words = words.map_or("this is not JSON", |(_, words)| words);
            format!("{words}{at}")
        }
    }
}

#[cfg(test)]
mod tests;
