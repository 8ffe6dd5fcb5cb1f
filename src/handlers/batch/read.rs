//! The body of a batch. The fields of an operation that are an entry's are read by [`entry_fields`].
//!
//! The bound on the number of
//! operations holds while they are read: what is over it is never held. Errors name the operation as well
//! as the field: `operations[3].key`.

use crate::handlers::entry_fields::{self, EntryFields, Null};
use crate::http::problem::{self, Problem};
use crate::json::{self, Name};
use crate::key::Key;
use crate::node::{Deadline, Precondition};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Allowance for operations that is made before any has been read.
const OPERATIONS_AHEAD: usize = 128;

/// One operation. Its key is one that a node takes, and no two operations of a batch write the same.
#[derive(Debug, PartialEq)]
pub(crate) enum Operation<'a> {
    Get {
        key: Cow<'a, str>,
    },
    Set {
        key: Cow<'a, str>,
        value: Cow<'a, [u8]>,
        deadline: Deadline,
        precondition: Precondition<'static>,
    },
    Delete {
        key: Cow<'a, str>,
        precondition: Precondition<'static>,
    },
}

impl Operation<'_> {
    pub(crate) fn key(&self) -> &str {
        match self {
            Operation::Get { key } | Operation::Set { key, .. } | Operation::Delete { key, .. } => key,
        }
    }

    fn writes(&self) -> bool {
        !matches!(self, Operation::Get { .. })
    }
}

/// Reads `{"operations":[...]}`, at least one and at most `operations_max`.
pub(crate) fn operations(body: &[u8], operations_max: usize) -> Result<Vec<Operation<'_>>, Problem> {
    let mut place = Place::default();
    let mut json = serde_json::Deserializer::from_slice(json::without_byte_order_mark(body));
    let read = Batch {
        operations_max,
        place: &mut place,
    }
    .deserialize(&mut json)
    .and_then(|operations| json.end().map(|()| operations));
    let operations = read.map_err(|error| {
        let problem = entry_fields::problem_of(&error, place.path());
        match place.over_limit {
            true => problem.limit(operations_max as u64),
            false => problem,
        }
    })?;
    check_keys(&operations)?;
    Ok(operations)
}

/// Every key is one, and none is written twice: which of two writes counts is not for a node to guess.
fn check_keys(operations: &[Operation<'_>]) -> Result<(), Problem> {
    let mut written = HashSet::with_capacity(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        let at_fault = |problem: Problem| problem.field(format!("operations[{index}].key"));
        Key::new(operation.key())
            .map_err(|error| at_fault(Problem::new(problem::BAD_KEY, error.to_string())))?;
        if operation.writes() && !written.insert(operation.key()) {
            return Err(at_fault(Problem::new(
                problem::SHAPE,
                "an operation before this one writes the same key",
            )));
        }
    }
    Ok(())
}

/// Where in the body the reading is; the deserializer's errors do not say it.
#[derive(Default)]
struct Place {
    index: Option<usize>,
    field: Option<Cow<'static, str>>,
    over_limit: bool,
}

impl Place {
    fn path(&self) -> Option<String> {
        match (self.index, &self.field) {
            (None, field) => field.as_ref().map(ToString::to_string),
            (Some(index), None) => Some(format!("operations[{index}]")),
            (Some(index), Some(field)) => Some(format!("operations[{index}].{field}")),
        }
    }
}

/// The whole body.
struct Batch<'p> {
    operations_max: usize,
    place: &'p mut Place,
}

impl<'de> DeserializeSeed<'de> for Batch<'_> {
    type Value = Vec<Operation<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_> {
    type Value = Vec<Operation<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `operations`")
    }

    json::refuse_others!(map, "the body must be an object with `operations`");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut operations = None;
        while let Some(Name(name)) = map.next_key()? {
            if name != "operations" {
                let error = A::Error::custom(format_args!(
                    "there is no field {name:?} here: it takes `operations`"
                ));
                self.place.field = Some(name.into_owned().into());
                return Err(error);
            }
            self.place.field = Some("operations".into());
            if operations.is_some() {
                return Err(A::Error::custom("`operations` is there twice"));
            }
            operations = Some(map.next_value_seed(List {
                operations_max: self.operations_max,
                place: self.place,
            })?);
        }
        self.place.field = Some("operations".into());
        let operations = operations.ok_or_else(|| A::Error::custom("`operations` is missing"))?;
        if operations.is_empty() {
            return Err(A::Error::custom("a batch has at least one operation"));
        }
        self.place.field = None;
        Ok(operations)
    }
}

/// The list of operations.
struct List<'p> {
    operations_max: usize,
    place: &'p mut Place,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Vec<Operation<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Vec<Operation<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of operations")
    }

    json::refuse_others!(seq, "`operations` must be a list");

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut operations = Vec::with_capacity(self.operations_max.min(OPERATIONS_AHEAD));
        loop {
            self.place.index = Some(operations.len());
            self.place.field = None;
            let one = One {
                is_over_limit: operations.len() == self.operations_max,
                place: self.place,
            };
            match seq.next_element_seed(one)? {
                Some(operation) => operations.push(operation),
                None => break,
            }
        }
        *self.place = Place {
            field: Some("operations".into()),
            ..Place::default()
        };
        Ok(operations)
    }
}

/// One operation.
struct One<'p> {
    /// There are as many as may be already.
    is_over_limit: bool,
    place: &'p mut Place,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Operation<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.is_over_limit {
            let max = self.place.index.unwrap_or_default();
            *self.place = Place {
                index: None,
                field: Some("operations".into()),
                over_limit: true,
            };
            return Err(D::Error::custom(format_args!(
                "a batch has at most {max} operations here"
            )));
        }
        deserializer.deserialize_any(self)
    }
}

/// What may stand in an operation.
const FIELDS: [&str; 8] = [
    "op",
    "key",
    "value",
    "encoding",
    "ttl",
    "expires_at_ms",
    "if_version",
    "if_absent",
];

/// The fields of one operation, as far as they were read.
#[derive(Default)]
struct Fields<'a> {
    op: Option<Op>,
    entry: EntryFields<'a>,
    if_version: Option<u64>,
    if_absent: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Get,
    Set,
    Delete,
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Operation<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation: an object with `op` and `key`")
    }

    json::refuse_others!(map, "an operation must be an object with `op` and `key`");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operation<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = map.next_key()? {
            let Some(known) = FIELDS.into_iter().find(|known| *known == name) else {
                let error = A::Error::custom(format_args!("there is no field {name:?} in an operation"));
                self.place.field = Some(name.into_owned().into());
                return Err(error);
            };
            self.place.field = Some(known.into());
            fields.read(known, &mut map)?;
        }
        fields.into_operation().map_err(|(field, why)| {
            self.place.field = Some(field.into());
            A::Error::custom(format_args!("`{field}` {why}"))
        })
    }
}

impl<'de> Fields<'de> {
    /// Reads the value of a field. An error where it has one already.
    fn read<A: MapAccess<'de>>(&mut self, name: &'static str, map: &mut A) -> Result<(), A::Error> {
        if self.entry.read(name, Null::Refused, map)? {
            return Ok(());
        }
        let again = match name {
            "op" => {
                let op = match &*json::text(map, name)? {
                    "get" => Op::Get,
                    "set" => Op::Set,
                    "delete" => Op::Delete,
                    _ => return Err(A::Error::custom("`op` is get, set or delete")),
                };
                self.op.replace(op).is_some()
            }
            "if_version" => self.if_version.replace(json::whole(map, name)?).is_some(),
            _ => self.if_absent.replace(json::flag(map, name)?).is_some(),
        };
        entry_fields::only_once(name, again)
    }

    /// What the fields come to, or which of them is at fault and the rest of the sentence that it begins.
    fn into_operation(mut self) -> Result<Operation<'de>, (&'static str, &'static str)> {
        const MISSING: &str = "is missing";
        let op = self.op.ok_or(("op", MISSING))?;
        let not_for_this = "is a field of a set alone";
        for (field, is_there) in [
            ("value", self.entry.value.is_some()),
            ("encoding", self.entry.encoding.is_some()),
            ("ttl", self.entry.ttl.is_some()),
            ("expires_at_ms", self.entry.expires_at.is_some()),
            ("if_absent", self.if_absent.is_some()),
        ] {
            if is_there && op != Op::Set {
                return Err((field, not_for_this));
            }
        }
        if op == Op::Get && self.if_version.is_some() {
            return Err(("if_version", "is no field of a get"));
        }
        let key = self.entry.key.take().ok_or(("key", MISSING))?;
        let precondition = match (self.if_version, self.if_absent) {
            (Some(_), Some(true)) => {
                return Err(("if_absent", "cannot stand beside `if_version`"));
            }
            (Some(version), _) => Precondition::Version(version),
            (None, Some(true)) => Precondition::Absent,
            (None, _) => Precondition::None,
        };
        Ok(match op {
            Op::Get => Operation::Get { key },
            Op::Delete => Operation::Delete { key, precondition },
            Op::Set if self.entry.value.is_none() => return Err(("value", MISSING)),
            Op::Set => Operation::Set {
                key,
                value: self.entry.take_value().ok_or(("value", "is not base64"))?,
                deadline: self.entry.deadline()?.unwrap_or_default(),
                precondition,
            },
        })
    }
}

#[cfg(test)]
mod tests;
