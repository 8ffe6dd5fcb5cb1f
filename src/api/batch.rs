//! The JSON of `POST /batch`: operations on their way to a node, and what came of them.
//!
//! A client writes [`Batch`] and reads [`Batched`]. A node reads and writes the same without these types, so
//! that it copies no key and no value: see `http::batch`.

use super::Encoding;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Operations in a batch that a node takes, unless it is told otherwise.
pub(crate) const BATCH_OPERATIONS_DEFAULT: usize = 1000;
/// Most operations in a batch that a node can be told to take.
pub(crate) const BATCH_OPERATIONS_MAX: usize = 10_000;

/// What the body of a batch may have, in bytes, however small the largest value of a node is.
pub(crate) const BATCH_BYTES_MIN: usize = 8 << 20;

/// What a client sends: all of it is done, or nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Batch<'a> {
    /// In the order in which they are done.
    pub operations: Vec<Operation<'a>>,
}

/// One operation of a batch. No two of a batch may write the same key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Operation<'a> {
    /// Reads a key.
    Get {
        /// The key.
        key: Cow<'a, str>,
    },
    /// Adds a key or replaces its value.
    Set {
        /// The key.
        key: Cow<'a, str>,
        /// The value, in terms of [`encode_value`](super::encode_value).
        value: Cow<'a, str>,
        /// How the value is encoded, where it is not text.
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<Encoding>,
        /// Seconds that the key lives. Without a deadline it stays.
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<f64>,
        /// The key's deadline, in ms since the Unix epoch; instead of `ttl`.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at_ms: Option<u64>,
        /// Only if the key is in this version.
        #[serde(skip_serializing_if = "Option::is_none")]
        if_version: Option<u64>,
        /// Only if the key is not there.
        #[serde(skip_serializing_if = "is_false")]
        if_absent: bool,
    },
    /// Deletes a key, if it is there.
    Delete {
        /// The key.
        key: Cow<'a, str>,
        /// Only if the key is in this version.
        #[serde(skip_serializing_if = "Option::is_none")]
        if_version: Option<u64>,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes what it asks about by reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The answer to a batch that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batched {
    /// One result for each operation, in their order.
    pub results: Vec<Outcome>,
    /// The offset just past the last record of the batch; none where it changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// What came of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The status that the operation would have had as a request of its own: 200, 201, 204 or 404. 413 of a
    /// get: the values before this one fill the answer; the key is there, and has to be asked for again.
    pub status: u16,
    /// The key.
    pub key: String,
    /// Of a get: the value, in terms of [`encode_value`](super::encode_value).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How the value is encoded, where it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The key's version; none where the key is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The key's deadline, where it has one, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The same in ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_as_a_node_reads_them() {
        let operations = vec![
            Operation::Set {
                key: "k".into(),
                value: "/w==".into(),
                encoding: Some(Encoding::Base64),
                ttl: Some(1.5),
                expires_at_ms: None,
                if_version: None,
                if_absent: true,
            },
            Operation::Get { key: "k".into() },
            Operation::Delete {
                key: "l".into(),
                if_version: Some(7),
            },
        ];
        assert_eq!(
            serde_json::to_string(&Batch { operations }).unwrap(),
            r#"{"operations":[{"op":"set","key":"k","value":"/w==","encoding":"base64","ttl":1.5,"if_absent":true},{"op":"get","key":"k"},{"op":"delete","key":"l","if_version":7}]}"#
        );
    }
}
