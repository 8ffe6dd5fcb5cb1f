//! What a node is built as in its cluster, and what it says of its place there.

use crate::election;
use crate::wal::{LogId, Role};
use rustls::ClientConfig;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A token that is shown to other nodes, and never printed. Clones are one: another may take its place.
#[derive(Clone)]
pub struct Secret(Arc<RwLock<Arc<str>>>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: String) -> Secret {
        Secret(Arc::new(RwLock::new(text.into())))
    }

    /// Shows another token from now on.
    pub(crate) fn replace(&self, text: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// How TLS is spoken with other nodes. Clones are one: another may take its place.
#[derive(Clone, Debug)]
pub struct PeerTls(Arc<RwLock<Arc<ClientConfig>>>);

impl PeerTls {
    /// Keeps what is to be used from now on.
    pub(crate) fn new(config: ClientConfig) -> PeerTls {
        PeerTls(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// Begins new connections with another from now on.
    pub(crate) fn replace(&self, config: ClientConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a node takes part in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What it was started as; a directory that says otherwise is right.
    pub is_replica: bool,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// Nodes to follow, or that are to hear of this one, as `host:port`.
    pub peers: Vec<String>,
    /// Whether it follows a replica among `peers` where it finds no primary.
    pub follows_replicas: bool,
    /// After how long without a word of the primary it takes over by itself.
    pub failover_after: Option<Duration>,
    /// How it takes part where etcd decides who is primary; node and process are filled in.
    pub election: Option<election::Config>,
    /// The id of another log, for which this node's own is set aside.
    pub replace: Option<LogId>,
    /// How many followers must have a write before it is answered.
    pub sync_replicas: usize,
    /// For how long they are waited for.
    pub sync_timeout: Duration,
    /// Whether a write that too few have then is answered with 503.
    pub sync_required: bool,
    /// Whether a read waits until the followers have what it shows.
    pub sync_reads: bool,
    /// How TLS is spoken with other nodes, where it is.
    pub tls: Option<PeerTls>,
    /// Shown to other nodes.
    pub token: Option<Secret>,
}

/// What a node is doing about its copy of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is the primary.
    Primary,
    /// It looks for a node to follow.
    Connecting,
    /// It takes over the state of the one that it follows; until that is synced it serves no reads.
    Snapshot,
    /// It takes the log of the one that it follows.
    Streaming,
    /// It cannot continue by itself.
    Stopped,
}

impl Phase {
    /// As the API calls it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Primary => "primary",
            Phase::Connecting => "connecting",
            Phase::Snapshot => "snapshot",
            Phase::Streaming => "streaming",
            Phase::Stopped => "stopped",
        }
    }
}

/// How it is with a node's place in the cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// Primary or replica.
    pub role: Role,
    /// What it is doing.
    pub phase: Phase,
    /// How others reach it, as `host:port`.
    pub address: String,
    /// How the primary is reached, while it is heard: itself, where it is one.
    pub primary: Option<String>,
    /// How long ago a replica heard the primary.
    pub primary_heard: Option<Duration>,
    /// What is wrong.
    pub error: Option<String>,
    /// How many bytes of the state of another node have come, while this one takes it over.
    pub snapshot_bytes: Option<u64>,
    /// How far a replica is behind the primary, in bytes of the log.
    pub lag_bytes: Option<u64>,
    /// For how long it has not had all that the primary has, as far as it knows.
    pub lag: Option<Duration>,
    /// How far its clock is ahead of the primary's, in seconds, where they differ by more than some; negative where it is
    /// behind.
    pub clock_skew_seconds: Option<i64>,
    /// After how long without a word of the primary it takes over by itself.
    pub failover_after: Option<Duration>,
}
