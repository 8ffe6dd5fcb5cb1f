//! The flags of a gateway: which engine holds the entries.

use super::cluster::Cluster;
use super::units::Span;
use super::values::connections;
use crate::engine::EngineUrl;
use clap::Args;
use std::path::PathBuf;

/// Name the user and the password of the engine, where no file does.
pub(crate) const ENV_ENGINE_USER: &str = "PYKV_ENGINE_USER";
pub(crate) const ENV_ENGINE_PASSWORD: &str = "PYKV_ENGINE_PASSWORD";

/// Which engine holds the entries, and how it is asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Another engine")]
pub(crate) struct EngineFlags {
    /// Serve what a Redis or Valkey holds, such as redis://10.0.0.1:6379,10.0.0.2:6379; rediss:// for TLS
    ///
    /// The process is then a gateway, and holds no entries: it refuses the flags of store, log and cluster, except for
    /// --max-value and --sync-replicas. Any of the servers are named, of a cluster or a single one; the others are
    /// learnt from them. Run as many gateways as you like.
    #[arg(long, value_name = "URL", env = "PYKV_ENGINE")]
    pub engine: Option<EngineUrl>,

    /// How long a request may wait for the engine, redirections and other attempts included
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "5s")]
    pub engine_timeout: Span,

    /// Most connections to one server of the engine; requests that find none free wait
    #[arg(long, value_name = "N", allow_hyphen_values = true, default_value_t = 64, value_parser = connections)]
    pub engine_connections: usize,

    /// A file whose first line is the password of the engine, or user and password with a blank between them
    /// [default: the variables PYKV_ENGINE_PASSWORD and PYKV_ENGINE_USER]
    #[arg(long, value_name = "FILE", requires = "engine")]
    pub engine_auth_file: Option<PathBuf>,
}

impl EngineFlags {
    /// What a gateway cannot be.
    pub(super) fn check(&self, cluster: &Cluster) -> Result<(), String> {
        let why = match &self.engine {
            None => return Ok(()),
            Some(_) if cluster.election.etcd.is_some() => {
                "--etcd decides which node is primary, and a gateway is none; leave out one of --etcd and --engine"
            }
            Some(_) if cluster.sync_reads => {
                "--sync-reads is for nodes: an engine does not say what its replicas have shown"
            }
            Some(_) if self.engine_timeout.0.is_zero() => {
                "--engine-timeout leaves the engine no time; give it at least 1ms"
            }
            Some(_) => return Ok(()),
        };
        Err(why.to_owned())
    }
}
