//! What both sides of the HTTP API speak: paths, header names, media types and JSON bodies.
//!
//! The server writes these and a client reads them, or the other way round; that both use this file is
//! what keeps them from drifting apart. Nothing here knows a socket or a store.
//!
//! Numbers that are offsets or versions stay below 2^53, so that every JSON reader holds them exactly.

mod batch;
mod deadline;
mod diverged;
mod election;
mod engine;
mod history;
mod listing;
mod nodes;
mod replication;
mod slow;
mod status;
mod usage;

pub(crate) use batch::{
    BATCH_BYTES_MIN, BATCH_OPERATIONS_DEFAULT, BATCH_OPERATIONS_MAX, Batch, Batched, Operation, Outcome,
};
pub(crate) use deadline::{DEADLINE_MS_MAX, Patch, TTL_MS_MAX, expires_at, ttl_ms, ttl_seconds};
pub(crate) use diverged::{DivergedFile, DivergedFiles, PATH_DIVERGED};
pub(crate) use election::{
    ClusterMember, ClusterView, Elected, PATH_CLUSTER, PATH_FAILOVER, PATH_LEADER, PATH_LIVENESS, PATH_PAUSE,
    PATH_REPLICATION_ELECTION, PATH_RESUME, PATH_SWITCHOVER, Paused,
};
pub(crate) use engine::{About, EngineServer, EngineStatus, GatewayStatus, HEADER_ENGINE, ROLE_GATEWAY};
pub(crate) use history::{History, Samples};
pub(crate) use listing::{Folder, Item, Level};
pub(crate) use nodes::{Nodes, OtherNode, PATH_NODES};
pub(crate) use replication::{
    ChunkHeader, Divergence, Follower, Forgotten, HEADER_LOG, HEADER_MIN_OFFSET, HEADER_REPLICAS,
    HEADER_SYNC_REPLICAS, HEADER_SYNC_REQUIRED, HEADER_SYNC_TIMEOUT, HandoverOffset, PATH_FORGET,
    PATH_PRIMARY, PATH_PROMOTE, PATH_REPLICA, PATH_REPLICATION_SNAPSHOT, POLL_WAIT_MS_MAX, Promoted,
    ReplicationStatus, SYNC_REPLICAS_MAX, SYNC_TIMEOUT_SECONDS_MAX, Successor,
};
pub use replication::{
    Handover, Handshake, LogQuery, PATH_REPLICATION_HANDOVER, PATH_REPLICATION_HELLO, PATH_REPLICATION_LOG,
    REPLICATION_PROTOCOL,
};

pub(crate) use slow::{PATH_SLOW, SlowRequest, SlowRequests};
pub(crate) use status::{
    Access, AnswerStats, Compaction, CompactionJob, CompactionProgress, CompactionResult, ConnectionStats,
    LogStatus, Probe, Stats, Status, StatusLimits, TlsStatus, TokensStatus,
};
pub(crate) use usage::{BigKey, CurvePoint, HotKey, MissRatioCurve};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// Where keys live; a key follows it, percent-encoded. With nothing after it, the collection of all keys.
pub(crate) const PATH_KV: &str = "/kv/";
/// What changes: the changes after an offset.
pub(crate) const PATH_WATCH: &str = "/watch";
/// Where batches of operations are sent.
pub(crate) const PATH_BATCH: &str = "/batch";
/// How the node is: role, log, durability.
pub(crate) const PATH_STATUS: &str = "/status";
/// The state of the node as a file.
pub(crate) const PATH_BACKUP: &str = "/backup";
/// Compaction of the log.
pub(crate) const PATH_COMPACT: &str = "/compact";
/// What the node has counted.
pub(crate) const PATH_STATS: &str = "/stats";
/// What the node has kept of the last hour.
pub(crate) const PATH_HISTORY: &str = "/history";
/// The same for Prometheus, in its text format.
pub(crate) const PATH_METRICS: &str = "/metrics";
/// Whether the process answers at all.
pub(crate) const PATH_HEALTHZ: &str = "/healthz";
/// Whether the node takes reads and writes.
pub(crate) const PATH_READYZ: &str = "/readyz";

/// In an answer to a write: the offset just past its record in the log.
pub(crate) const HEADER_OFFSET: &str = "Pykv-Offset";
/// In an answer to a write: how firmly the log holds it, [`DURABLE_WRITTEN`] or [`DURABLE_SYNCED`].
pub(crate) const HEADER_DURABLE: &str = "Pykv-Durable";
/// In an answer to HEAD: the size of the value, in bytes.
pub(crate) const HEADER_VALUE_BYTES: &str = "Pykv-Value-Bytes";

/// In an answer to a read or a write of a key that has a deadline: when it expires (RFC 3339).
pub(crate) const HEADER_EXPIRES_AT: &str = "Pykv-Expires-At";

/// In the same answers: how many seconds there are until then, by the node's clock.
pub(crate) const HEADER_TTL: &str = "Pykv-Ttl";

/// The operating system has taken the record: it survives a killed process.
pub(crate) const DURABLE_WRITTEN: &str = "written";
/// The disk has the record: it survives a power cut.
pub(crate) const DURABLE_SYNCED: &str = "synced";

/// The media type of JSON bodies.
pub(crate) const MEDIA_JSON: &str = "application/json";
/// The media type of a value's bytes alone.
pub(crate) const MEDIA_OCTETS: &str = "application/octet-stream";
/// The media type of errors (RFC 9457).
pub(crate) const MEDIA_PROBLEM: &str = "application/problem+json";
/// The kind of problem that says that a node is not known.
pub(crate) const PROBLEM_NO_NODE: &str = "urn:pykv:problem:no-such-node";

/// The media type of server-sent events.
pub(crate) const MEDIA_EVENTS: &str = "text/event-stream";

/// Keys in a page of a listing, unless `limit` says otherwise.
pub(crate) const LIST_LIMIT_DEFAULT: usize = 100;
/// Most keys in a page of a listing.
pub(crate) const LIST_LIMIT_MAX: usize = 1000;

/// Changes in an answer to a watch, unless `limit` says otherwise.
pub(crate) const WATCH_LIMIT_DEFAULT: usize = 100;
/// Most changes in an answer to a watch.
pub(crate) const WATCH_LIMIT_MAX: usize = 1000;
/// How long a watch waits for a change, unless `wait` says otherwise.
pub(crate) const WATCH_WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest that a watch waits for a change.
pub(crate) const WATCH_WAIT_MAX: Duration = Duration::from_secs(300);

/// What stands in a path as itself: the unreserved characters of RFC 3986, and `/`, which needs no escape
/// because all that follows [`PATH_KV`] is the key.
const PATH_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What stands in a query's value as itself.
const QUERY_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The path of a key, percent-encoded.
///
/// A segment of `.` or `..` has its dots escaped as well, since clients and proxies resolve the plain ones.
pub(crate) fn key_path(key: &str) -> String {
    let mut path = String::with_capacity(PATH_KV.len() + key.len());
    path.push_str(PATH_KV);
    for (position, segment) in key.split('/').enumerate() {
        if position > 0 {
            path.push('/');
        }
        match segment {
            "." => path.push_str("%2E"),
            ".." => path.push_str("%2E%2E"),
            _ => path.extend(utf8_percent_encode(segment, PATH_ESCAPES)),
        }
    }
    path
}

/// The path of a key, relative to [`PATH_KV`]: it leads to the key wherever a proxy shows that path.
pub(crate) fn relative_key_path(key: &str) -> String {
    // `./` since a key may begin as a scheme does, or with a slash.
    format!("./{}", &key_path(key)[PATH_KV.len()..])
}

/// A query's value, percent-encoded.
pub(crate) fn query_value(value: &str) -> String {
    utf8_percent_encode(value, QUERY_ESCAPES).to_string()
}

/// How a value that is not text is put into JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// RFC 4648 base64, with padding.
    Base64,
}

impl Encoding {
    /// The encoding that is called so in JSON.
    pub(crate) fn of_name(name: &str) -> Option<Encoding> {
        (name == "base64").then_some(Encoding::Base64)
    }
}

/// Puts a value into JSON's terms: as it is where it is UTF-8, in base64 where it is not.
pub(crate) fn encode_value(value: &[u8]) -> (Cow<'_, str>, Option<Encoding>) {
    match std::str::from_utf8(value) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(BASE64.encode(value)), Some(Encoding::Base64)),
    }
}

/// Appends bytes in base64. Parts of a value follow one another without a seam where each but the last is a multiple of
/// three bytes.
pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(bytes, &mut out[start..]);
    out.truncate(start + written.expect("room was made for four bytes of every three"));
}

/// Takes a value out of JSON's terms; `None` where it is not the base64 that it is said to be.
pub(crate) fn decode_value(value: Cow<'_, str>, encoding: Option<Encoding>) -> Option<Cow<'_, [u8]>> {
    match encoding {
        None => Some(match value {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }),
        Some(Encoding::Base64) => BASE64.decode(value.as_bytes()).ok().map(Cow::Owned),
    }
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// The value, in terms of [`encode_value`].
    pub value: String,
    /// How the value is encoded, where it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The key's version.
    pub version: u64,
    /// The key's deadline, where it has one, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The same in ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Seconds until then, by the node's clock; not in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
}

/// The answer to a write that left a value.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The key.
    pub key: String,
    /// The version it has now.
    pub version: u64,
    /// The key's deadline, where it has one, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The same in ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Seconds until then, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<f64>,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    /// Keys, in no order that means anything.
    pub keys: Vec<String>,
    /// What to ask the next page with; none after the last.
    pub cursor: Option<String>,
}

/// A page of a listing with values (`values=true`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entries {
    /// Entries, in no order that means anything.
    pub entries: Vec<Entry>,
    /// What to ask the next page with; none after the last.
    pub cursor: Option<String>,
}

/// The answer to the deletion of all keys under a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deleted {
    /// Keys that were deleted.
    pub deleted: u64,
    /// Keys that would have been (`dry_run=true`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_delete: Option<u64>,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change<'a> {
    /// `SET` (a new key), `UPDATE` (a new value of one that was there), `DELETE`, `EVICT` or `EXPIRE`.
    pub operation: Cow<'a, str>,
    /// The key.
    pub key: Cow<'a, str>,
    /// The value it has now, in terms of [`encode_value`], unless none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Cow<'a, str>>,
    /// How the value is encoded, where it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The offset just past the change: the key's version, and where to go on after it.
    pub version: u64,
    /// When it was made, in ms since the Unix epoch.
    pub timestamp: u64,
    /// When the key expires (RFC 3339), if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Cow<'a, str>>,
    /// The same in ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// The answer to a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// The changes, in the order they were made.
    pub changes: Vec<Change<'static>>,
    /// Where to go on: everything before it was given, or was not asked for.
    pub next: u64,
    /// The id of the log that `next` is an offset of: asked with both, as `ID-OFFSET`, another log says so.
    #[serde(default)]
    pub log: String,
}

impl Changes {
    /// What to ask with as `after` next, so that another log says that it is another one.
    pub(crate) fn place(&self) -> String {
        self.place_at(self.next)
    }

    /// As [`Changes::place`], of another offset of the same log.
    pub(crate) fn place_at(&self, offset: u64) -> String {
        match self.log.is_empty() {
            true => offset.to_string(),
            false => format!("{}-{offset}", self.log),
        }
    }
}

/// Any error (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// Names the kind of problem; does not change with its wording.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The version that the key has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The first offset that the log has, where one before it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// Keys that were deleted before the rest was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Which operation of a batch is at fault, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// `unknown` where a write was applied and is not known to survive a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_slashes_and_loses_nothing() {
        assert_eq!(key_path("a/b"), "/kv/a/b");
        assert_eq!(key_path("a b?c#d%e+f"), "/kv/a%20b%3Fc%23d%25e%2Bf");
        assert_eq!(key_path("ключ"), "/kv/%D0%BA%D0%BB%D1%8E%D1%87");
        assert_eq!(key_path("../x/./y"), "/kv/%2E%2E/x/%2E/y");
        assert_eq!(key_path("..."), "/kv/...");
        assert_eq!(relative_key_path("mailto:x"), "./mailto%3Ax");
        assert_eq!(relative_key_path("//a"), ".///a");
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        for value in [&b"text"[..], b"", b"\xff\x00\xfe", "é\u{0}".as_bytes()] {
            let (text, encoding) = encode_value(value);
            assert_eq!(decode_value(text, encoding).as_deref(), Some(value));
        }
        assert_eq!(decode_value("no!".into(), Some(Encoding::Base64)), None);
    }
}
