//! The fields of an entry in JSON, as bodies of single writes and operations of a batch have them: `key`, `value`,
//! `encoding`, `ttl`, `expires_at_ms`.
//!
//! - What is not JSON is a 400. What is JSON and not what is asked for is a 422 that names the field.
//! - Keys and values are borrowed from the body where they have no escapes.
//! - No field may be there twice.

use super::deadline;
use crate::api::{self, Encoding};
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
}

/// Whether a deadline may be `null`, which is for good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Null {
    Allowed,
    Refused,
}

impl<'de> EntryFields<'de> {
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
            "value" => self.value.replace(json::text(map, name)?).is_some(),
            "encoding" => {
                // As text, and not as an enum: those have other forms in JSON than their name.
                let encoding = Encoding::of_name(&json::text(map, name)?)
                    .ok_or_else(|| A::Error::custom("`encoding` is base64, or left out"))?;
                self.encoding.replace(encoding).is_some()
            }
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
            (Some(_), Some(_)) => Err(("expires_at_ms", "stands in place of `ttl`, not beside it")),
            (ttl, expires_at) => Ok(ttl.or(expires_at)),
        }
    }

    /// The bytes of the value; none where it is not base64 and should be.
    pub(crate) fn take_value(&mut self) -> Option<Cow<'de, [u8]>> {
        api::decode_value(self.value.take().unwrap_or_default(), self.encoding)
    }
}

/// An error where a field was there before.
pub(crate) fn only_once<E: serde::de::Error>(name: &str, again: bool) -> Result<(), E> {
    match again {
        true => Err(E::custom(format_args!("`{name}` is there twice"))),
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
