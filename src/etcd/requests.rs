//! The JSON of etcd's gateway: requests as they are sent. How it writes bytes and numbers stands in `wire`.

use super::kv::{Compare, KEYS_MAX, LeaseId, Op, TTL_SECONDS_MAX};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

fn bytes(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The first key behind all those that begin with a prefix.
fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return bytes(&end);
        }
    }
    bytes(b"\0") // To the end of all keys.
}

fn prefix_of(prefix: &str) -> Value {
    // etcd takes no empty key, and means the first one of all by a zero.
    let first = if prefix.is_empty() { "\0" } else { prefix };
    json!({"key": bytes(first.as_bytes()), "range_end": prefix_end(prefix), "limit": KEYS_MAX})
}

pub(super) fn range(key: &str) -> Vec<u8> {
    encode(&json!({"key": bytes(key.as_bytes())}))
}

pub(super) fn range_prefix(prefix: &str) -> Vec<u8> {
    encode(&prefix_of(prefix))
}

pub(super) fn grant(ttl: Duration) -> Vec<u8> {
    // In whole seconds, none of them too few.
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    encode(&json!({"TTL": seconds.clamp(1, TTL_SECONDS_MAX).to_string()}))
}

pub(super) fn lease(lease: LeaseId) -> Vec<u8> {
    encode(&json!({"ID": lease.0.to_string()}))
}

pub(super) fn login(user: &str, password: &str) -> Vec<u8> {
    encode(&json!({"name": user, "password": password}))
}

pub(super) fn txn(compares: &[Compare], success: &[Op], failure: &[Op]) -> Vec<u8> {
    let compares: Vec<Value> = compares.iter().map(compare).collect();
    let ops = |ops: &[Op]| ops.iter().map(op).collect::<Vec<Value>>();
    encode(&json!({"compare": compares, "success": ops(success), "failure": ops(failure)}))
}

fn compare(compare: &Compare) -> Value {
    let equal = |key: &str, target: &str, field: &str, value: String| json!({"target": target, "result": "EQUAL", "key": bytes(key.as_bytes()), field: value});
    match compare {
        Compare::CreateRevision(key, revision) => {
            equal(key, "CREATE", "create_revision", revision.to_string())
        }
        Compare::ModRevision(key, revision) => equal(key, "MOD", "mod_revision", revision.to_string()),
        Compare::Value(key, value) => equal(key, "VALUE", "value", bytes(value)),
    }
}

fn op(op: &Op) -> Value {
    match op {
        Op::Put { key, value, lease } => {
            let lease = lease.map_or(0, |lease| lease.0).to_string();
            json!({"request_put": {"key": bytes(key.as_bytes()), "value": bytes(value), "lease": lease}})
        }
        Op::Delete(key) => json!({"request_delete_range": {"key": bytes(key.as_bytes())}}),
        Op::Range(key) => json!({"request_range": {"key": bytes(key.as_bytes())}}),
        Op::RangePrefix(prefix) => json!({"request_range": prefix_of(prefix)}),
    }
}

pub(super) fn watch(prefix: &str, from_revision: u64) -> Vec<u8> {
    let mut create = prefix_of(prefix);
    create["start_revision"] = from_revision.to_string().into();
    if let Some(fields) = create.as_object_mut() {
        fields.remove("limit");
    }
    encode(&json!({"create_request": create}))
}

fn encode(request: &Value) -> Vec<u8> {
    request.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_etcd_takes_them() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(grant(Duration::from_millis(4001))), r#"{"TTL":"5"}"#);
        assert_eq!(text(grant(Duration::ZERO)), r#"{"TTL":"1"}"#);
        assert_eq!(
            text(lease(LeaseId(u64::MAX >> 1))),
            r#"{"ID":"9223372036854775807"}"#
        );
        let of = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap();
        assert_eq!(of(range_prefix("foo"))["range_end"], "Zm9w", "fop");
        assert_eq!(of(range_prefix("\u{7f}"))["range_end"], bytes(b"\x80"));
        assert_eq!(
            of(range_prefix("")),
            json!({"key": "AA==", "range_end": "AA==", "limit": 1024})
        );
        let watched = of(watch("foo", 7));
        assert_eq!(
            watched,
            json!({"create_request": {"key": "Zm9v", "range_end": "Zm9w", "start_revision": "7"}})
        );
        let put = Op::Put {
            key: "foo".to_owned(),
            value: b"bar".to_vec(),
            lease: Some(LeaseId(7)),
        };
        let sent = of(txn(
            &[Compare::absent("foo")],
            &[put],
            &[Op::Range("foo".to_owned())],
        ));
        assert_eq!(
            sent,
            json!({
                "compare": [{"target": "CREATE", "result": "EQUAL", "key": "Zm9v", "create_revision": "0"}],
                "success": [{"request_put": {"key": "Zm9v", "value": "YmFy", "lease": "7"}}],
                "failure": [{"request_range": {"key": "Zm9v"}}],
            })
        );
    }
}
