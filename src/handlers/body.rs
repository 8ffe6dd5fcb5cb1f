//! JSON bodies of single writes, read strictly: a field that is not known, or is missing, is refused by its name.
//! What the fields are is said in [`entry_fields`].

use super::entry_fields::{self, EntryFields, Null, Values};
use crate::http::problem::{self, Problem};
use crate::json::{self, Name};
use crate::node::Deadline;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A value, and until when it is kept.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) value: Cow<'a, [u8]>,
    pub(crate) deadline: Deadline,
}

/// What a PATCH asks for.
#[derive(Debug)]
pub(crate) enum Patch<'a> {
    /// Another deadline.
    Deadline(Deadline),
    /// A number that is changed; without a deadline it keeps the one that it has.
    Increment {
        by: i64,
        initial: Option<i64>,
        deadline: Option<Deadline>,
    },
    /// Bytes that are put behind those that are there.
    Append {
        value: Cow<'a, [u8]>,
        deadline: Option<Deadline>,
    },
}

/// Reads `{"value", "encoding"?, "ttl"? or "expires_at_ms"?}`.
pub(crate) fn value(body: &[u8]) -> Result<Payload<'_>, Problem> {
    entry_fields::read_twice(|values| decode(read(body, Asked::Value, values)?))
}

/// Reads `{"key", "value", "encoding"?, "ttl"? or "expires_at_ms"?}`.
pub(crate) fn key_and_value(body: &[u8]) -> Result<(Cow<'_, str>, Payload<'_>), Problem> {
    entry_fields::read_twice(|values| {
        let mut fields = read(body, Asked::KeyAndValue, values)?;
        let key = fields.entry.key.take().unwrap_or_default();
        Ok((key, decode(fields)?))
    })
}

/// Reads `{"ttl"}` or `{"expires_at_ms"}`, where `null` is for good, and `{"increment", "initial"?}` or `{"append",
/// "encoding"?}`, perhaps with one of these.
pub(crate) fn patch(body: &[u8]) -> Result<Patch<'_>, Problem> {
    let mut fields = read(body, Asked::Patch, Values::Strings)?;
    let deadline = fields.deadline;
    Ok(match (fields.entry.by, &fields.entry.value) {
        (Some(by), _) => Patch::Increment {
            by,
            initial: fields.entry.initial,
            deadline,
        },
        (None, Some(_)) => Patch::Append {
            value: take_value(&mut fields, "append")?,
            deadline,
        },
        (None, None) => Patch::Deadline(deadline.unwrap_or_default()),
    })
}

fn decode(mut fields: Fields<'_>) -> Result<Payload<'_>, Problem> {
    Ok(Payload {
        value: take_value(&mut fields, "value")?,
        deadline: fields.deadline.unwrap_or_default(),
    })
}

fn take_value<'a>(fields: &mut Fields<'a>, name: &'static str) -> Result<Cow<'a, [u8]>, Problem> {
    let value = fields.entry.take_value();
    value.map_err(|why| Problem::new(problem::SHAPE, format!("`{name}` {why}")).field(name))
}

struct Fields<'a> {
    entry: EntryFields<'a>,
    deadline: Option<Deadline>,
}

/// Which fields a body has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Value,
    KeyAndValue,
    Patch,
}

impl Asked {
    fn names(self) -> &'static [&'static str] {
        match self {
            Asked::Value => &["value", "encoding", "ttl", "expires_at_ms"],
            Asked::KeyAndValue => &["key", "value", "encoding", "ttl", "expires_at_ms"],
            Asked::Patch => &[
                "ttl",
                "expires_at_ms",
                "increment",
                "initial",
                "append",
                "encoding",
            ],
        }
    }

    /// The same for people.
    fn words(self) -> &'static str {
        match self {
            Asked::Value => "`value`, `encoding`, `ttl` and `expires_at_ms`",
            Asked::KeyAndValue => "`key`, `value`, `encoding`, `ttl` and `expires_at_ms`",
            Asked::Patch => {
                "`increment` and `initial`, or `append` and `encoding`, and `ttl` or `expires_at_ms`"
            }
        }
    }
}

fn read(body: &[u8], asked: Asked, values: Values) -> Result<Fields<'_>, Problem> {
    let mut field = None;
    let mut json = serde_json::Deserializer::from_slice(json::without_byte_order_mark(body));
    let shape = Shape {
        asked,
        values,
        field: &mut field,
    };
    shape
        .deserialize(&mut json)
        .and_then(|fields| json.end().map(|()| fields))
        .map_err(|error| entry_fields::problem_of(&error, field.map(Cow::into_owned)))
}

/// What is asked for; notes in `field` which field it is at, as the deserializer's errors do not say it.
struct Shape<'f> {
    asked: Asked,
    values: Values,
    field: &'f mut Option<Cow<'static, str>>,
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    json::refuse_others!(map, "the body must be an object");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut entry = EntryFields::new(self.values);
        let null = match self.asked {
            Asked::Patch => Null::Allowed,
            Asked::Value | Asked::KeyAndValue => Null::Refused,
        };
        while let Some(Name(name)) = map.next_key()? {
            let names = self.asked.names();
            let Some(&known) = names.iter().find(|known| **known == name) else {
                let error = A::Error::custom(format_args!(
                    "unknown field {name:?}: the body takes {}",
                    self.asked.words()
                ));
                *self.field = Some(name.into_owned().into());
                return Err(error);
            };
            *self.field = Some(known.into());
            entry.read(known, null, &mut map)?;
        }
        let deadline = entry.deadline().map_err(|(field, why)| {
            *self.field = Some(field.into());
            A::Error::custom(format_args!("`{field}` {why}"))
        })?;
        let missing = [
            ("key", self.asked == Asked::KeyAndValue && entry.key.is_none()),
            ("value", self.asked != Asked::Patch && entry.value.is_none()),
        ];
        if let Some((name, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            *self.field = Some(name.into());
            return Err(A::Error::custom(format_args!("`{name}` is missing")));
        }
        if let (Asked::Patch, Err((name, why))) = (self.asked, check_patch(&entry, deadline)) {
            *self.field = Some(name.into());
            return Err(A::Error::custom(format_args!("`{name}` {why}")));
        }
        *self.field = None;
        Ok(Fields { entry, deadline })
    }
}

/// Whether the fields of a PATCH go together; else which of them is at fault, and the rest of a sentence that begins
/// with it.
fn check_patch(
    entry: &EntryFields<'_>,
    deadline: Option<Deadline>,
) -> Result<(), (&'static str, &'static str)> {
    match (entry.by, &entry.value) {
        (Some(_), Some(_)) => Err(("append", "cannot be combined with `increment`")),
        (None, _) if entry.initial.is_some() => Err(("initial", "goes with `increment` only")),
        (_, None) if entry.encoding.is_some() => Err(("encoding", "goes with `append` only")),
        (None, None) if deadline.is_none() => Err((
            "ttl",
            "is missing; `increment`, `append` or `expires_at_ms` may stand in its place",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    fn refused(body: &[u8]) -> (u16, Option<String>) {
        let mut text = Vec::new();
        let problem = key_and_value(body).unwrap_err();
        problem.into_reply(&mut text);
        let problem: api::Problem = serde_json::from_slice(&text).unwrap();
        (problem.status, problem.field)
    }

    #[test]
    fn a_body_says_a_key_and_a_value() {
        let (key, value) = key_and_value(br#" {"value":"v","key":"k"} "#).unwrap();
        assert!(
            matches!((&key, &value.value), (Cow::Borrowed("k"), Cow::Borrowed(b"v"))),
            "nothing is copied"
        );
        let (key, bytes) = key_and_value(br#"{"key":"\u00e9","value":"/wA=","encoding":"base64"}"#).unwrap();
        assert_eq!((&*key, &*bytes.value), ("é", &b"\xff\0"[..]));
        assert_eq!(&*value_of(br#"{"value":"a\nb"}"#), b"a\nb");
    }

    fn value_of(body: &[u8]) -> Cow<'_, [u8]> {
        value(body).unwrap().value
    }

    #[test]
    fn a_body_says_until_when() {
        let read = |body: &'static str| value(body.as_bytes()).map(|payload| payload.deadline).ok();
        assert_eq!(read(r#"{"value":"v"}"#), Some(Deadline::Never));
        assert_eq!(read(r#"{"value":"v","ttl":1.5}"#), Some(Deadline::In(1500)));
        assert_eq!(read(r#"{"value":"v","expires_at_ms":7}"#), Some(Deadline::At(7)));
        let patched = |body: &'static str| match patch(body.as_bytes()) {
            Ok(Patch::Deadline(deadline)) => Some(deadline),
            _ => None,
        };
        assert_eq!(patched(r#"{"ttl":null}"#), Some(Deadline::Never));
        assert_eq!(patched(r#"{"ttl":2}"#), Some(Deadline::In(2000)));
        for wrong in [
            r#"{"value":"v","ttl":null}"#,
            r#"{"value":"v","ttl":0}"#,
            r#"{"value":"v","ttl":-1}"#,
            r#"{"value":"v","ttl":1e12}"#,
            r#"{"value":"v","ttl":"5"}"#,
            r#"{"value":"v","ttl":5,"expires_at_ms":7}"#,
            r#"{"value":"v","ttl":5,"ttl":5}"#,
            r#"{"value":"v","expires_at_ms":1.5}"#,
            r#"{"value":"v","expires_at_ms":253402300800000}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(patch(b"{}").is_err() && patch(br#"{"value":"v"}"#).is_err());
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_asked_for() {
        for body in [
            &b""[..],
            b"{",
            b"nonsense",
            br#"{"key":"k","value":"v"} {}"#,
            br#"{"key":"k","value":"v",}"#,
            b"{\"key\":\"k\",\"value\":\"\xff\"}",
            br#"{"key":"k","value":"\ud800"}"#,
            b"{\"key\":\"k\",\"value\":\"a\nb\"}",
        ] {
            assert_eq!(refused(body), (400, None), "{:?}", String::from_utf8_lossy(body));
        }
        for (body, field) in [
            (r#"[]"#, None),
            (r#""text""#, None),
            (r#"{"key":"k","value":5}"#, Some("value")),
            (r#"{"key":null,"value":""}"#, Some("key")),
            (r#"{"key":"k"}"#, Some("value")),
            (r#"{"value":"v"}"#, Some("key")),
            (r#"{}"#, Some("key")),
            (r#"{"key":"k","value":"v","ttl":0}"#, Some("ttl")),
            (r#"{"key":"k","value":"v","lease":5}"#, Some("lease")),
            (r#"{"key":"k","value":"v","value":"w"}"#, Some("value")),
            (r#"{"key":"k","value":"v","encoding":"rot13"}"#, Some("encoding")),
            (r#"{"key":"k","value":"?","encoding":"base64"}"#, Some("value")),
        ] {
            assert_eq!(
                refused(body.as_bytes()),
                (422, field.map(str::to_owned)),
                "{body}"
            );
        }
        assert!(
            value(br#"{"key":"k","value":"v"}"#).is_err(),
            "the path says the key"
        );
    }
}
