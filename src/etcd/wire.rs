//! The JSON of etcd's gateway: its answers taken apart.
//!
//! Bytes are in base64. A number of 64 bits is a string. What is zero, false or empty is left out.

use super::kv::{Done, Event, Header, KEYS_MAX, KeyValue, Lease, LeaseId, TTL_SECONDS_MAX, TxnAnswer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use std::fmt;
use std::time::Duration;

/// Longest message of etcd that is kept.
const MESSAGE_CHARS_MAX: usize = 512;

/// An answer that is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum No {
    /// etcd says no.
    Etcd { code: u32, message: String },
    /// The answer is malformed.
    Malformed(&'static str),
}

const NOT_JSON: No = No::Malformed("its answer is not the JSON of etcd");
const NO_HEADER: No = No::Malformed("its answer does not say which cluster it is of");

/// A number as the gateway writes it: as a string, and as a number where it has 32 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of 64 bits")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                // None of etcd's numbers that are read here is below 0.
                text.parse()
                    .map(Number)
                    .map_err(|_| E::custom("not a number of 64 bits"))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Bytes in base64.
#[derive(Clone, Debug, Default)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map(Bytes).map_err(|_| D::Error::custom("not base64"))
    }
}

impl Bytes {
    /// The text of a key. pykv writes no keys that are not UTF-8; those of others are shown.
    fn into_key(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// The parts of a transaction say a revision alone.
#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonHeader {
    cluster_id: Number,
    revision: Number,
    raft_term: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonKeyValue {
    key: Bytes,
    value: Bytes,
    create_revision: Number,
    mod_revision: Number,
    lease: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonRange {
    header: Option<JsonHeader>,
    kvs: Vec<JsonKeyValue>,
    more: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonLease {
    header: Option<JsonHeader>,
    #[serde(rename = "ID")]
    id: Number,
    #[serde(rename = "TTL")]
    ttl: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonTxn {
    header: Option<JsonHeader>,
    succeeded: bool,
    responses: Vec<JsonDone>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonDone {
    response_range: Option<JsonRange>,
    response_delete_range: Option<JsonDeleted>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonDeleted {
    deleted: Number,
}

/// A message of a stream.
#[derive(Deserialize)]
struct JsonStream<T> {
    result: Option<T>,
    error: Option<JsonError>,
}

/// An error, as an answer has it or a message of a stream.
#[derive(Deserialize)]
struct JsonError {
    message: String,
    #[serde(alias = "grpc_code")]
    code: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonWatch {
    header: Option<JsonHeader>,
    created: bool,
    canceled: bool,
    cancel_reason: String,
    compact_revision: Number,
    events: Vec<JsonEvent>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct JsonEvent {
    r#type: String,
    kv: JsonKeyValue,
}

#[derive(Deserialize)]
struct JsonVersion {
    etcdserver: String,
}

#[derive(Deserialize)]
struct JsonToken {
    token: String,
}

/// A message of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WatchMessage {
    pub(super) header: Header,
    pub(super) created: bool,
    /// Why the watch ends, where it does.
    pub(super) canceled: Option<String>,
    /// Whether it ends because the changes that it asks for were compacted.
    pub(super) is_compacted: bool,
    pub(super) events: Vec<Event>,
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, No> {
    serde_json::from_slice(body).map_err(|_| NOT_JSON)
}

/// What etcd says in an answer whose status is an error's; none where no etcd says it.
pub(super) fn refusal(body: &[u8]) -> Option<No> {
    serde_json::from_slice(body).ok().map(JsonError::into_no)
}

impl JsonError {
    fn into_no(self) -> No {
        let one_line = self.message.chars().take(MESSAGE_CHARS_MAX);
        let message = one_line.map(|c| if c.is_control() { ' ' } else { c }).collect();
        No::Etcd {
            code: self.code,
            message,
        }
    }
}

fn header(json: Option<JsonHeader>) -> Result<Header, No> {
    let json = json.filter(|json| json.cluster_id.0 != 0).ok_or(NO_HEADER)?;
    Ok(Header {
        cluster_id: json.cluster_id.0,
        revision: json.revision.0,
        raft_term: json.raft_term.0,
    })
}

fn lease_id(number: Number) -> Option<LeaseId> {
    (number.0 != 0).then_some(LeaseId(number.0))
}

impl JsonKeyValue {
    fn into_key_value(self) -> KeyValue {
        KeyValue {
            key: self.key.into_key(),
            value: self.value.0,
            create_revision: self.create_revision.0,
            mod_revision: self.mod_revision.0,
            lease: lease_id(self.lease),
        }
    }
}

impl JsonRange {
    fn into_kvs(self) -> Result<Vec<KeyValue>, No> {
        if self.more || self.kvs.len() > KEYS_MAX {
            return Err(No::Malformed(
                "it holds more keys under the prefix than pykv writes",
            ));
        }
        Ok(self.kvs.into_iter().map(JsonKeyValue::into_key_value).collect())
    }
}

/// The answer to a range.
pub(super) fn range(body: &[u8]) -> Result<(Header, Vec<KeyValue>), No> {
    let mut json: JsonRange = from_json(body)?;
    let header = header(json.header.take())?;
    Ok((header, json.into_kvs()?))
}

/// The answer to a grant.
pub(super) fn granted(body: &[u8]) -> Result<(Header, Lease), No> {
    let json: JsonLease = from_json(body)?;
    let header = header(json.header)?;
    let id = lease_id(json.id).ok_or(No::Malformed("it grants a lease without an id"))?;
    let ttl = ttl(json.ttl)?.ok_or(No::Malformed("it grants a lease that has ended"))?;
    Ok((header, Lease { id, ttl }))
}

/// The answer to a renewal: what the lease has left, or none where it is gone.
pub(super) fn renewed(body: &[u8]) -> Result<(Header, Option<Duration>), No> {
    let json: JsonStream<JsonLease> = from_json(body)?;
    let json = stream_result(json)?;
    Ok((header(json.header)?, ttl(json.ttl)?))
}

fn ttl(number: Number) -> Result<Option<Duration>, No> {
    match number.0 {
        0 => Ok(None),
        seconds @ ..=TTL_SECONDS_MAX => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(No::Malformed("it grants a lease of more than a day")),
    }
}

fn stream_result<T>(json: JsonStream<T>) -> Result<T, No> {
    match json {
        JsonStream {
            error: Some(error), ..
        } => Err(error.into_no()),
        JsonStream {
            result: Some(result), ..
        } => Ok(result),
        _ => Err(NOT_JSON),
    }
}

/// An answer of which only the header counts.
pub(super) fn header_alone(body: &[u8]) -> Result<(Header, ()), No> {
    let mut json: JsonRange = from_json(body)?;
    Ok((header(json.header.take())?, ()))
}

/// The answer to a transaction.
pub(super) fn txn(body: &[u8]) -> Result<(Header, TxnAnswer), No> {
    let json: JsonTxn = from_json(body)?;
    let header = header(json.header)?;
    let done = json.responses.into_iter().map(|one| {
        Ok(match one {
            JsonDone {
                response_range: Some(range),
                ..
            } => Done::Range(range.into_kvs()?),
            JsonDone {
                response_delete_range: Some(deleted),
                ..
            } => Done::Deleted(deleted.deleted.0),
            _ => Done::Put,
        })
    });
    let answer = TxnAnswer {
        header,
        succeeded: json.succeeded,
        done: done.collect::<Result<_, No>>()?,
    };
    Ok((header, answer))
}

/// A message of a watch.
pub(super) fn watched(line: &[u8]) -> Result<WatchMessage, No> {
    let json: JsonStream<JsonWatch> = from_json(line)?;
    let json = stream_result(json)?;
    let events = json.events.into_iter().map(|event| match event.r#type.as_str() {
        "" | "PUT" => Ok(Event::Put(event.kv.into_key_value())),
        "DELETE" => Ok(Event::Delete {
            revision: event.kv.mod_revision.0,
            key: event.kv.key.into_key(),
        }),
        _ => Err(No::Malformed("it names a kind of change that is unknown")),
    });
    Ok(WatchMessage {
        header: header(json.header)?,
        created: json.created,
        is_compacted: json.compact_revision.0 > 0,
        canceled: json.canceled.then_some(json.cancel_reason),
        events: events.collect::<Result<_, No>>()?,
    })
}

/// The answer to a login.
pub(super) fn token(body: &[u8]) -> Result<String, No> {
    let json: JsonToken = from_json(body)?;
    Ok(json.token)
}

/// The version of the server, as it says it.
pub(super) fn version(body: &[u8]) -> Result<String, No> {
    let json: JsonVersion = from_json(body)?;
    Ok(json.etcdserver)
}

#[cfg(test)]
mod tests;
