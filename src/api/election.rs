//! A cluster in which etcd decides who is primary, as the HTTP API speaks of it.

use serde::{Deserialize, Serialize};

/// What members of a cluster ask each other.
pub(crate) const PATH_REPLICATION_ELECTION: &str = "/replication/election";
/// The nodes of the cluster.
pub(crate) const PATH_CLUSTER: &str = "/cluster";
/// Hands the primary's role to another node.
pub(crate) const PATH_SWITCHOVER: &str = "/switchover";
/// Makes a node primary that may lack writes.
pub(crate) const PATH_FAILOVER: &str = "/failover";
/// Lets no node take over by itself.
pub(crate) const PATH_PAUSE: &str = "/pause";
/// Ends that.
pub(crate) const PATH_RESUME: &str = "/resume";
/// Whether the node is primary, be it ready or not.
pub(crate) const PATH_LEADER: &str = "/leader";
/// Whether the process does what it should.
pub(crate) const PATH_LIVENESS: &str = "/liveness";

/// The answer to [`PATH_CLUSTER`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterView {
    /// The name of the cluster.
    pub cluster: String,
    /// The node that answers.
    pub node: String,
    /// The primary that etcd named when it was last read.
    pub primary: Option<String>,
    /// The number of its term.
    pub term: Option<u64>,
    /// How long ago etcd was last read, in ms; none where it was not.
    pub read_ms: Option<u64>,
    /// Why etcd does not answer; none where it does.
    pub etcd_error: Option<String>,
    /// For how long etcd has not answered, in seconds; none where it does.
    pub etcd_silent_seconds: Option<f64>,
    /// Whether the primary is one without etcd, since all others confirm it.
    pub failsafe: bool,
    /// Whether takeovers are paused.
    pub paused: bool,
    /// The nodes.
    pub members: Vec<ClusterMember>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterMember {
    /// How others reach it, as `host:port`.
    pub node: String,
    /// `primary` or `replica`; none where it does not answer.
    pub role: Option<String>,
    /// The number of its log's term.
    pub term: Option<u64>,
    /// How far its log is written.
    pub offset: Option<u64>,
    /// How far it is behind the primary, in bytes of the log; none where it is in another term.
    pub lag_bytes: Option<u64>,
    /// Whether it has every write that was answered, since the primary waits for it.
    pub standby: bool,
    /// For how long the primary may take writes before it must have renewed its lease.
    pub lease_left_seconds: Option<f64>,
    /// For how long it has been gone, in seconds; none where it is there.
    pub gone_seconds: Option<f64>,
    /// Why it may not take over; none where it may, or is primary.
    pub obstacle: Option<String>,
}

/// The answer to [`PATH_SWITCHOVER`] and [`PATH_FAILOVER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Elected {
    /// The node that is primary now.
    pub primary: String,
    /// The number of its term.
    pub term: u64,
}

/// The answer to [`PATH_PAUSE`] and [`PATH_RESUME`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Paused {
    /// Whether takeovers are paused.
    pub paused: bool,
}
