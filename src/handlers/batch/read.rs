//! The body of a batch: a list of operations.
//!
//! The bound on the number of operations holds while they are read: what is over it is never held. Errors name the
//! operation as well as the field: `operations[3].key`.

use super::operation::{FIELDS, Fields, Operation};
use crate::handlers::entry_fields::{self, Values};
use crate::http::problem::{self, Problem};
use crate::json::{self, Name};
use crate::key::Key;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Allowance for operations that is made before any has been read.
const OPERATIONS_AHEAD: usize = 128;

/// Reads `{"operations":[...]}`, at least one and at most `operations_max`.
pub(crate) fn operations(body: &[u8], operations_max: usize) -> Result<Vec<Operation<'_>>, Problem> {
    entry_fields::read_twice(|values| read(body, operations_max, values))
}

fn read(body: &[u8], operations_max: usize, values: Values) -> Result<Vec<Operation<'_>>, Problem> {
    let mut place = Place::default();
    let mut json = serde_json::Deserializer::from_slice(json::without_byte_order_mark(body));
    let read = Batch {
        operations_max,
        values,
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
    values: Values,
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
                    "unknown field {name:?}: the body takes `operations`"
                ));
                self.place.field = Some(name.into_owned().into());
                return Err(error);
            }
            self.place.field = Some("operations".into());
            if operations.is_some() {
                return Err(A::Error::custom("`operations` occurs twice"));
            }
            operations = Some(map.next_value_seed(List {
                operations_max: self.operations_max,
                values: self.values,
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
    values: Values,
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
                values: self.values,
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
    values: Values,
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

impl<'de> Visitor<'de> for One<'_> {
    type Value = Operation<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation: an object with `op` and `key`")
    }

    json::refuse_others!(map, "an operation must be an object with `op` and `key`");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operation<'de>, A::Error> {
        let mut fields = Fields::new(self.values);
        while let Some(Name(name)) = map.next_key()? {
            let Some(known) = FIELDS.into_iter().find(|known| *known == name) else {
                let error = A::Error::custom(format_args!("unknown field {name:?} in an operation"));
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

#[cfg(test)]
mod tests;
