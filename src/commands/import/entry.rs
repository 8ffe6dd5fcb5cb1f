//! One line of an import: an entry as an object, read as strictly as a node reads one.

use crate::api::{self, DEADLINE_MS_MAX, Encoding, TTL_MS_MAX};
use crate::json::{self, Name};
use crate::key::Key;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// An entry. What a listing with values has beside what an export has may stand in the line; it is not looked at.
#[derive(Default)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    pub(super) encoding: Option<Encoding>,
    pub(super) ttl: Option<f64>,
    pub(super) expires_at_ms: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Reads a line, and finds what of it can be found wrong without the node; or why it is no entry.
    pub(super) fn parse(line: &'a [u8], value_bytes_max: u64) -> Result<Entry<'a>, String> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let entry = Shape
            .deserialize(&mut json)
            .and_then(|entry| json.end().map(|()| entry))
            .map_err(|error| json::why(&error, false))?;
        entry.check(value_bytes_max)?;
        Ok(entry)
    }

    fn check(&self, value_bytes_max: u64) -> Result<(), String> {
        Key::new(&self.key).map_err(|error| error.to_string())?;
        let value_bytes = match self.encoding {
            None => self.value.len(),
            Some(_) => api::decode_value(Cow::Borrowed(&self.value), self.encoding)
                .ok_or("`value` is not base64")?
                .len(),
        };
        if value_bytes as u64 > value_bytes_max {
            return Err(format!(
                "the value has {value_bytes} bytes, and the node takes at most {value_bytes_max}"
            ));
        }
        match (self.ttl, self.expires_at_ms) {
            (Some(_), Some(_)) => Err("`ttl` and `expires_at_ms` are both there".to_owned()),
            (Some(ttl), None) if api::ttl_ms(ttl).is_none() => Err(format!(
                "`ttl` is in seconds, above 0 and at most {}",
                TTL_MS_MAX / 1000
            )),
            (None, Some(ms)) if ms > DEADLINE_MS_MAX => Err(format!(
                "`expires_at_ms` is in ms since 1970, at most {DEADLINE_MS_MAX}"
            )),
            _ => Ok(()),
        }
    }
}

/// Reads an [`Entry`].
struct Shape;

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Entry<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = Entry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `key` and `value`")
    }

    json::refuse_others!(map, "a line must be an object with `key` and `value`");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
        let (mut key, mut value) = (None, None);
        let mut entry = Entry::default();
        while let Some(Name(name)) = map.next_key()? {
            let is_twice = match &*name {
                "key" => key.replace(json::text(&mut map, "key")?).is_some(),
                "value" => value.replace(json::text(&mut map, "value")?).is_some(),
                "encoding" => {
                    let name = json::text(&mut map, "encoding")?;
                    let encoding = Encoding::of_name(&name)
                        .ok_or_else(|| A::Error::custom("`encoding` must be base64, or left out"))?;
                    entry.encoding.replace(encoding).is_some()
                }
                "ttl" => entry.ttl.replace(json::number(&mut map, "ttl")?).is_some(),
                "expires_at_ms" => {
                    let deadline = json::whole(&mut map, "expires_at_ms")?;
                    entry.expires_at_ms.replace(deadline).is_some()
                }
                "version" | "expires_at" => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
                _ => {
                    return Err(A::Error::custom(format_args!(
                        "unknown field `{name}` in an entry"
                    )));
                }
            };
            if is_twice {
                return Err(A::Error::custom(format_args!("`{name}` occurs twice")));
            }
        }
        entry.key = key.ok_or_else(|| A::Error::custom("`key` is missing"))?;
        entry.value = value.ok_or_else(|| A::Error::custom("`value` is missing"))?;
        Ok(entry)
    }
}
