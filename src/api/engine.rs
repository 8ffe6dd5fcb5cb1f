//! The JSON that says how a gateway and its engine are: `GET /status` of a gateway.

use super::{Access, Status, StatusLimits, TlsStatus, TokensStatus};
use serde::{Deserialize, Serialize};

/// The role of a process whose entries another engine holds.
pub(crate) const ROLE_GATEWAY: &str = "gateway";

/// What has a write, where the process that answers does not hold its entries itself.
pub(crate) const HEADER_ENGINE: &str = "Pykv-Engine";

/// How a gateway is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GatewayStatus {
    /// The program's version.
    pub version: String,
    /// Always [`ROLE_GATEWAY`].
    pub role: String,
    /// Whether the engine takes all requests, and if not, why.
    pub health: String,
    /// Whether it does.
    pub ready: bool,
    /// Seconds since the gateway was started.
    pub uptime_seconds: u64,
    /// The engine, as it was looked at last: it is every second.
    pub engine: EngineStatus,
    /// The tokens that clients must show; absent where the gateway asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensStatus>,
    /// What the token of this request may do; absent where the gateway asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The bounds of what requests may bring.
    pub limits: StatusLimits,
    /// How it is with TLS, where the gateway speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsStatus>,
    /// Memory of the process in RAM, in bytes, where the system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
}

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EngineStatus {
    /// As the command line names it.
    pub url: String,
    /// Whether it is a cluster, whose servers share slots.
    pub cluster: bool,
    /// Slots that no server has which answers.
    pub slots_uncovered: u64,
    /// Its servers.
    pub servers: Vec<EngineServer>,
}

/// A server of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EngineServer {
    /// As `host:port`.
    pub address: String,
    /// `master` or `replica`.
    pub role: String,
    /// What it runs, such as `redis 7.0.15`.
    pub version: String,
    /// Slots that it has.
    pub slots: u64,
    /// Keys that it has.
    pub keys: u64,
    /// Memory that it uses.
    pub used_bytes: u64,
    /// Most memory that it may use; null where it has no bound.
    pub bytes_max: Option<u64>,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that it has evicted.
    pub evictions: u64,
    /// Keys that have expired.
    pub expiries: u64,
    /// Commands that it has answered with an error.
    pub errors: u64,
    /// Replicas that are connected to it.
    pub replicas: u64,
    /// Why it could not be looked at; null where it could.
    pub error: Option<String>,
}

/// How a process is, whoever holds its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum About {
    /// It holds them itself.
    Node(Box<Status>),
    /// Another engine does.
    Gateway(Box<GatewayStatus>),
}

impl About {
    /// What requests may bring.
    pub(crate) fn limits(&self) -> &StatusLimits {
        match self {
            About::Node(status) => &status.limits,
            About::Gateway(status) => &status.limits,
        }
    }

    /// The node, where it holds its entries itself.
    pub(crate) fn node(&self) -> Option<&Status> {
        match self {
            About::Node(status) => Some(status),
            About::Gateway(_) => None,
        }
    }
}
