//! One operation of a batch, and the fields that it is read from. Those that are an entry's are read by [`entry_fields`].

use crate::handlers::entry_fields::{self, Encoding, EntryFields, Null, Values};
use crate::json;
use crate::node::{Deadline, Precondition};
use serde::de::{Error as _, MapAccess};
use std::borrow::Cow;

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
    Increment {
        key: Cow<'a, str>,
        by: i64,
        initial: Option<i64>,
        deadline: Option<Deadline>,
        precondition: Precondition<'static>,
    },
    Append {
        key: Cow<'a, str>,
        value: Cow<'a, [u8]>,
        deadline: Option<Deadline>,
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
            Operation::Get { key }
            | Operation::Set { key, .. }
            | Operation::Increment { key, .. }
            | Operation::Append { key, .. }
            | Operation::Delete { key, .. } => key,
        }
    }

    pub(super) fn writes(&self) -> bool {
        !matches!(self, Operation::Get { .. })
    }
}

/// What may stand in an operation.
pub(super) const FIELDS: [&str; 10] = [
    "op",
    "key",
    "value",
    "encoding",
    "ttl",
    "expires_at_ms",
    "by",
    "initial",
    "if_version",
    "if_absent",
];

/// The fields of one operation, as far as they were read.
#[derive(Default)]
pub(super) struct Fields<'a> {
    op: Option<Op>,
    entry: EntryFields<'a>,
    if_version: Option<u64>,
    if_absent: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Get,
    Set,
    Increment,
    Append,
    Delete,
}

impl<'de> Fields<'de> {
    pub(super) fn new(values: Values) -> Fields<'de> {
        Fields {
            entry: EntryFields::new(values),
            ..Fields::default()
        }
    }

    /// Reads the value of a field. An error where it has one already.
    pub(super) fn read<A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        if self.entry.read(name, Null::Refused, map)? {
            return Ok(());
        }
        let again = match name {
            "op" => {
                let op = match &*json::text(map, name)? {
                    "get" => Op::Get,
                    "set" => Op::Set,
                    "increment" => Op::Increment,
                    "append" => Op::Append,
                    "delete" => Op::Delete,
                    _ => {
                        return Err(A::Error::custom(
                            "`op` must be get, set, increment, append or delete",
                        ));
                    }
                };
                self.op.replace(op).is_some()
            }
            "if_version" => self.if_version.replace(json::whole(map, name)?).is_some(),
            _ => self.if_absent.replace(json::flag(map, name)?).is_some(),
        };
        entry_fields::only_once(name, again)
    }

    /// What the fields come to, or which of them is at fault and the rest of the sentence that it begins.
    pub(super) fn into_operation(mut self) -> Result<Operation<'de>, (&'static str, Cow<'static, str>)> {
        let missing = |field| (field, Cow::Borrowed("is missing"));
        let op = self.op.ok_or(missing("op"))?;
        if let Some(field) = self.field_of_others(op) {
            return Err((field, Cow::Borrowed(op.has_no_such_field())));
        }
        let key = self.entry.key.take().ok_or(missing("key"))?;
        let precondition = match (self.if_version, self.if_absent) {
            (Some(_), Some(true)) => {
                return Err(("if_absent", Cow::Borrowed("cannot be combined with `if_version`")));
            }
            (Some(version), _) => Precondition::Version(version),
            (None, Some(true)) => Precondition::Absent,
            (None, _) => Precondition::None,
        };
        if matches!(op, Op::Set | Op::Append) && self.entry.value.is_none() {
            return Err(missing("value"));
        }
        let deadline = self
            .entry
            .deadline()
            .map_err(|(field, why)| (field, Cow::Borrowed(why)))?;
        let mut value = || self.entry.take_value().map_err(|why| ("value", why));
        Ok(match op {
            Op::Get => Operation::Get { key },
            Op::Delete => Operation::Delete { key, precondition },
            Op::Increment => Operation::Increment {
                key,
                by: self.entry.by.ok_or(missing("by"))?,
                initial: self.entry.initial,
                deadline,
                precondition,
            },
            Op::Append => Operation::Append {
                key,
                value: value()?,
                deadline,
                precondition,
            },
            Op::Set => Operation::Set {
                key,
                value: value()?,
                deadline: deadline.unwrap_or_default(),
                precondition,
            },
        })
    }

    /// A field that the operation does not have.
    fn field_of_others(&self, op: Op) -> Option<&'static str> {
        let gives_value = matches!(op, Op::Set | Op::Append);
        let keeps_key = gives_value || op == Op::Increment;
        let fields = [
            ("value", self.entry.value.is_some() && !gives_value),
            ("encoding", self.entry.encoding.is_some() && !gives_value),
            (
                "encoding",
                self.entry.encoding == Some(Encoding::Json) && op == Op::Append,
            ),
            ("ttl", self.entry.ttl.is_some() && !keeps_key),
            ("expires_at_ms", self.entry.expires_at.is_some() && !keeps_key),
            ("by", self.entry.by.is_some() && op != Op::Increment),
            ("initial", self.entry.initial.is_some() && op != Op::Increment),
            ("if_absent", self.if_absent.is_some() && op != Op::Set),
            ("if_version", self.if_version.is_some() && op == Op::Get),
        ];
        fields
            .into_iter()
            .find(|(_, is_wrong)| *is_wrong)
            .map(|(field, _)| field)
    }
}

impl Op {
    /// The rest of a sentence that begins with a field.
    fn has_no_such_field(self) -> &'static str {
        match self {
            Op::Get => "is no field of a get",
            Op::Set => "is no field of a set",
            Op::Increment => "is no field of an increment",
            Op::Append => "is no field of an append",
            Op::Delete => "is no field of a delete",
        }
    }
}
