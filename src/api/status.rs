//! The JSON that says how a node is: `GET /status`, `GET /stats`, the probes, and compactions.

use super::{BigKey, HotKey, MissRatioCurve, ReplicationStatus};
use serde::{Deserialize, Serialize};

/// Whether a probe passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// `ok`: a probe that fails is answered by a [`Problem`](super::Problem).
    pub status: String,
    /// What there is to know all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The program's version.
    pub version: String,
    /// `primary`: it takes writes; or `replica`.
    pub role: String,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Whether the log takes writes, and if not, why.
    pub health: String,
    /// Whether it does.
    pub ready: bool,
    /// How many seconds the system's clock was set back since the node was opened, where that is some: deadlines that
    /// were given before are as much too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<f64>,
    /// Seconds since the node was opened.
    pub uptime_seconds: u64,
    /// Where the data is.
    pub dir: String,
    /// The log.
    pub log: LogStatus,
    /// Compaction of the log.
    pub compaction: Compaction,
    /// Its place in a cluster.
    pub replication: ReplicationStatus,
    /// The tokens that clients must show; absent where the node asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensStatus>,
    /// What the client's token allows; absent where the node asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The bounds of the store and of what requests may bring.
    pub limits: StatusLimits,
    /// How it is with TLS, where the node speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsStatus>,
    /// Memory of the process in RAM, in bytes, where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
}

/// What a client's token allows.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Access {
    /// `read`, `write` (which may read too) or `admin` (which may do all).
    pub scope: String,
    /// What the file of tokens calls the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The prefixes whose keys it opens; absent where it opens all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Vec<String>>,
}

/// The file of tokens, which a node reads anew when it changes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct TokensStatus {
    /// How often it was read anew since the start, and used.
    pub reloads: u64,
    /// How often it could not be used.
    pub reload_failures: u64,
    /// Why it could not the last time, and the tokens of before stay; null where it could.
    pub error: Option<String>,
}

/// How it is with TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TlsStatus {
    /// When the first of the certificates that are shown ends, in seconds since 1970.
    pub certificate_expires: u64,
    /// How often the files were read anew.
    pub reloads: u64,
    /// How often they could not be used.
    pub failed_reloads: u64,
    /// Why they could not the last time; the certificates of before are in use then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// How the log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogStatus {
    /// Random, made with the store: another one is another store.
    pub id: String,
    /// Counts promotions.
    pub term: u64,
    /// Just past the last record of all.
    pub offset: u64,
    /// The digest of what the node held at `digest_offset`: two nodes that hold the same have the same. None for a
    /// token that opens some prefixes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// An offset up to which the log is written.
    pub digest_offset: u64,
    /// Up to here the operating system has the log.
    pub written: u64,
    /// Up to here the disk has it.
    pub synced: u64,
    /// When it is synced: `always`, `everysec` or `no`.
    pub fsync: String,
}

/// How it is with compaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compaction {
    /// The one that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<CompactionProgress>,
    /// The last one that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<CompactionResult>,
}

/// A compaction that is going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompactionProgress {
    /// Its number, counted from 1 since the node was started.
    pub job: u64,
    /// What it was begun for: `request` or `growth`.
    pub cause: String,
    /// Seconds since it began.
    pub seconds: f64,
    /// Entries that are in the base.
    pub entries: u64,
    /// Entries that there were when it began.
    pub entries_total: u64,
    /// Bytes of the base that are written.
    pub bytes: u64,
}

/// A compaction that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompactionResult {
    /// Its number.
    pub job: u64,
    /// What it was begun for: `request` or `growth`.
    pub cause: String,
    /// Seconds that it took.
    pub seconds: f64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The offset of the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Entries in the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Bytes of all files of the log before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    /// And after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<u64>,
    /// Bytes of these that are kept for watchers and replicas that read the log from behind the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_bytes: Option<u64>,
}

/// The answer to a request for a compaction that is not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompactionJob {
    /// Its number, or that of the one that was going on.
    pub job: u64,
}

/// The bounds of the store and of what requests may bring. A bound that is not there is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusLimits {
    /// Most entries held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_max: Option<u64>,
    /// Most bytes held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Longest key, in bytes.
    pub key_bytes_max: u64,
    /// Largest value, in bytes.
    pub value_bytes_max: u64,
    /// Most operations in a batch.
    pub batch_operations_max: u64,
    /// Largest body of a batch, in bytes.
    pub batch_bytes_max: u64,
}

/// What the node has counted since it was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Entries held now.
    pub entries: u64,
    /// Bytes held now: keys, values and what the store adds to each.
    pub bytes: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Hits over reads; none before the first read.
    pub hit_ratio: Option<f64>,
    /// Keys added.
    pub adds: u64,
    /// Values replaced.
    pub updates: u64,
    /// Keys deleted by clients.
    pub deletes: u64,
    /// Entries dropped to stay within the bounds.
    pub evictions: u64,
    /// Entries dropped because their deadline came.
    pub expiries: u64,
    /// Entries that have a deadline.
    pub entries_with_deadline: u64,
    /// The bounds.
    pub limits: StatusLimits,
    /// Connections.
    pub connections: ConnectionStats,
    /// Answers given, by the class of their status.
    pub answers: AnswerStats,
    /// What the hit ratio would be at other sizes; null where too little was read to say.
    pub miss_ratio_curve: Option<MissRatioCurve>,
    /// The keys that are read most.
    pub hot_keys: Vec<HotKey>,
    /// The keys with the most bytes.
    pub big_keys: Vec<BigKey>,
}

/// Connections since the node was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionStats {
    /// Open now.
    pub open: u64,
    /// Most that may be open.
    pub max: u64,
    /// Accepted and served.
    pub accepted: u64,
    /// Refused for being over the limit, or for want of a thread.
    pub refused: u64,
}

/// Answers by the class of their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerStats {
    /// Done.
    #[serde(rename = "2xx")]
    pub done: u64,
    /// Not modified.
    #[serde(rename = "3xx")]
    pub redirected: u64,
    /// The request's fault.
    #[serde(rename = "4xx")]
    pub refused: u64,
    /// The node's fault.
    #[serde(rename = "5xx")]
    pub failed: u64,
}
