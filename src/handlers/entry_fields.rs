//! The fields of an entry in JSON, as bodies of single writes and operations of a batch have them: `key`, `value`,
//! `encoding`, `ttl`, `expires_at_ms`.
//!
//! - What is not JSON is a 400. What is JSON and not what is asked for is a 422 that names the field.
//! - Keys and values are borrowed from the body where they have no escapes.
//! - No field may be there twice.
//! - A value that is JSON (`"encoding":"json"`) is kept as it is written. Its encoding may stand behind it, so a body
//!   with such a value is read twice: see [`read_twice`].

use super::deadline;
use crate::api;
use crate::http::problem::{self, Problem};
use crate::json;
use crate::node::Deadline;
use serde::de::{Error as _, MapAccess};
use serde_json::error::Category;
use std::borrow::Cow;

/// The fields of one entry, as far as they were read.
#[derive(Default)]
pub(crate) struct EntryFields<'a> {
    pub(crate) key: Option<Cow<'a, str>>,
    pub(crate) value: Option<Cow<'a, str>>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) ttl: Option<Deadline>,
    pub(crate) expires_at: Option<Deadline>,
    /// What a number is changed by, and what it is where there is none.
    pub(crate) by: Option<i64>,
    pub(crate) initial: Option<i64>,
    values: Values,
}

/// How a body gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As bytes in base64.
    Base64,
    /// As JSON, which is kept as it is written.
    Json,
}

/// How values are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Values {
    /// As strings: what all bodies but few have.
    #[default]
    Strings,
    /// As pieces of JSON, which are strings where their encoding does not say otherwise.
    Pieces,
}

/// Reads a body whose values are strings, or else one with values that are JSON.
pub(crate) fn read_twice<T>(read: impl Fn(Values) -> Result<T, Problem>) -> Result<T, Problem> {
    match read(Values::Strings) {
        // It may be that only its values are of the other kind.
        Err(first) if first.kind.status == problem::SHAPE.status => read(Values::Pieces),
        // Or that a value is a number, or an escape, that is kept as it is written and stands for nothing.
        Err(first) if first.kind.status == problem::BAD_JSON.status => {
            read(Values::Pieces).map_err(|_| first)
        }
        read => read,
    }
}

/// Whether a deadline may be `null`, which is for good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Null {
    Allowed,
    Refused,
}

impl<'de> EntryFields<'de> {
    pub(crate) fn new(values: Values) -> EntryFields<'de> {
        EntryFields {
            values,
            ..EntryFields::default()
        }
    }

    /// Reads the value of the field `name`. An error where it has one already; `false`, and nothing read, where
    /// it is no field of an entry.
    pub(crate) fn read<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        null: Null,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        let again = match name {
            "key" => self.key.replace(json::text(map, name)?).is_some(),
            "value" | "append" => {
                let value = match self.values {
                    Values::Strings => json::text(map, name)?,
                    Values::Pieces => Cow::Borrowed(json::raw(map)?),
                };
                self.value.replace(value).is_some()
            }
            "encoding" => {
                // As text, and not as an enum: those have other forms in JSON than their name.
                let encoding = match (&*json::text(map, name)?, self.values) {
                    ("base64", _) => Encoding::Base64,
                    ("json", Values::Pieces) => Encoding::Json,
                    _ => return Err(A::Error::custom("`encoding` must be base64 or json, or left out")),
                };
                self.encoding.replace(encoding).is_some()
            }
            "by" | "increment" => self.by.replace(json::integer(map, name)?).is_some(),
            "initial" => self.initial.replace(json::integer(map, name)?).is_some(),
            "ttl" => {
                let seconds = match null {
                    Null::Allowed => json::number_or_null(map, name)?,
                    Null::Refused => Some(json::number(map, name)?),
                };
                let deadline = seconds.map(deadline::of_ttl).transpose();
                let deadline = deadline.map_err(A::Error::custom)?;
                self.ttl.replace(deadline.unwrap_or_default()).is_some()
            }
            "expires_at_ms" => {
                let ms = match null {
                    Null::Allowed => json::whole_or_null(map, name)?,
                    Null::Refused => Some(json::whole(map, name)?),
                };
                let deadline = ms.map(deadline::of_ms).transpose();
                let deadline = deadline.map_err(A::Error::custom)?;
                self.expires_at.replace(deadline.unwrap_or_default()).is_some()
            }
            _ => return Ok(false),
        };
        only_once(name, again)?;
        Ok(true)
    }

    /// Until when the entry is kept: for good where no field says it. An error names the field that is too much,
    /// and is the rest of a sentence that begins with it.
    pub(crate) fn deadline(&self) -> Result<Option<Deadline>, (&'static str, &'static str)> {
        match (self.ttl, self.expires_at) {
            (Some(_), Some(_)) => Err(("expires_at_ms", "cannot be combined with `ttl`")),
            (ttl, expires_at) => Ok(ttl.or(expires_at)),
        }
    }

    /// The bytes of the value. An error is the rest of a sentence that begins with it.
    pub(crate) fn take_value(&mut self) -> Result<Cow<'de, [u8]>, Cow<'static, str>> {
        let value = self.value.take().unwrap_or_default();
        let value = match (self.values, self.encoding, value) {
            (Values::Strings, _, value) | (Values::Pieces, Some(Encoding::Json), value) => value,
            (Values::Pieces, _, Cow::Borrowed(piece)) => {
                json::text_of(piece, "value").map_err(|why| no_text(&why))?
            }
            (Values::Pieces, _, Cow::Owned(_)) => unreachable!("a piece is a part of the body"),
        };
        let encoding = match self.encoding {
            Some(Encoding::Base64) => Some(api::Encoding::Base64),
            Some(Encoding::Json) | None => None,
        };
        api::decode_value(value, encoding).ok_or(Cow::Borrowed("is not base64"))
    }
}

/// What to do about a value that is not a string, as the rest of a sentence that begins with it.
fn no_text(why: &str) -> String {
    let why = why.strip_prefix("`value` ").unwrap_or(why);
    let why = why.split(';').next().unwrap_or(why);
    format!("{why}; to store JSON, put `\"encoding\":\"json\"` beside it")
}

/// An error where a field was there before.
pub(crate) fn only_once<E: serde::de::Error>(name: &str, again: bool) -> Result<(), E> {
    match again {
        true => Err(E::custom(format_args!("`{name}` occurs twice"))),
        false => Ok(()),
    }
}

/// The problem with a body that could not be read. `field` is the one that the reader was at, which matters only where
/// the body is JSON.
pub(crate) fn problem_of(error: &serde_json::Error, field: Option<String>) -> Problem {
    let why = json::why(error, true);
    match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => Problem::new(problem::BAD_JSON, why),
        Category::Data => match field {
            Some(field) => Problem::new(problem::SHAPE, why).field(field),
            None => Problem::new(problem::SHAPE, why),
        },
    }
}
