//! The flags of a node of a cluster in which etcd decides who is primary, and those of the commands for such a cluster.

use super::connection::Connection;
use super::units::{Size, Span};
use crate::election::Config;
use crate::etcd::Endpoints;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Shortest time of a lease: a sixth of it must do for a request to etcd.
const TTL_MIN: Duration = Duration::from_secs(5);

/// Longest time of a lease: for so long there is no primary after the former one has failed.
const TTL_MAX: Duration = Duration::from_secs(3600);

const TTL_DEFAULT: Span = Span(Duration::from_secs(10));

/// After how long a silence a replica is not waited for any more.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// For how long a node that is gone is shown.
const SHOWN_FOR: Duration = Duration::from_secs(24 * 3600);

const LAG_DEFAULT: Size = Size(1 << 20);

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// The flags of a node.
#[derive(Args, Debug)]
#[command(next_help_heading = "Failover by etcd")]
pub(crate) struct Election {
    /// Let an etcd decide who is primary: its endpoints, with commas between them
    ///
    /// All nodes of the cluster are started alike. One of them becomes primary and the others follow it; one of these
    /// takes over when the primary fails. etcd 3.4 or later is asked by its JSON gateway. It needs --cluster, and an
    /// --advertise that the other nodes reach, where the node does not listen at such an address.
    #[arg(long, value_name = "URL")]
    pub etcd: Option<Endpoints>,

    /// The cluster that the node is of: its keys in etcd begin with /pykv/NAME/
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// The user of etcd, where it asks for one
    #[arg(long, value_name = "NAME")]
    pub etcd_user: Option<String>,

    /// A file with the password of that user
    #[arg(long, value_name = "FILE")]
    pub etcd_password_file: Option<PathBuf>,

    /// The certificates that etcd's own must be signed by, as PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,

    /// How long the lease of a primary lasts, 5s or more [default: 10s]
    ///
    /// A primary that fails is replaced after this time, and about a second. A primary that cannot renew its lease stops
    /// taking writes after two thirds of it.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = ttl)]
    pub etcd_ttl: Option<Span>,

    /// Whether the primary continues without etcd while every other node confirms it [default: on]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub failsafe: Option<Switch>,

    /// How much of what was answered a node may lack that takes over, where no --sync-replicas are asked for [default:
    /// 1MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub max_lag_on_failover: Option<Size>,
}

impl Election {
    /// What does not go together, in a node that waits for `sync_replicas`.
    pub(crate) fn check(&self, sync_replicas: usize) -> Result<(), String> {
        let given = [
            ("--cluster", self.cluster.is_some()),
            ("--etcd-user", self.etcd_user.is_some()),
            ("--etcd-password-file", self.etcd_password_file.is_some()),
            ("--etcd-ca", self.etcd_ca.is_some()),
            ("--etcd-ttl", self.etcd_ttl.is_some()),
            ("--failsafe", self.failsafe.is_some()),
            ("--max-lag-on-failover", self.max_lag_on_failover.is_some()),
        ];
        let Some(endpoints) = &self.etcd else {
            let flag = given.iter().find(|(_, is_given)| *is_given);
            return match flag {
                Some((flag, _)) => Err(format!(
                    "{flag} says something of etcd; say where that is with --etcd"
                )),
                None => Ok(()),
            };
        };
        if self.cluster.is_none() {
            return Err("--etcd needs --cluster: name the cluster that this node is of".to_owned());
        }
        if self.max_lag_on_failover.is_some() && sync_replicas > 0 {
            return Err(
                "--max-lag-on-failover is for a cluster without --sync-replicas: with them only a node takes over that \
                 has every write that was answered"
                    .to_owned(),
            );
        }
        if self.etcd_user.is_some() != self.etcd_password_file.is_some() {
            return Err("--etcd-user and --etcd-password-file go together".to_owned());
        }
        if self.etcd_ca.is_some() && !endpoints.are_tls() {
            return Err("--etcd-ca is for endpoints of https".to_owned());
        }
        Ok(())
    }

    /// How long a lease lasts.
    pub(crate) fn ttl(&self) -> Duration {
        self.etcd_ttl.unwrap_or(TTL_DEFAULT).0
    }

    /// What the election is built from; none where etcd decides nothing.
    pub(crate) fn config(&self, sync_replicas: usize) -> Option<Config> {
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        self.etcd.as_ref()?;
        Some(Config {
            cluster: self.cluster.clone()?,
            node: String::new(),
            process: String::new(),
            ttl: nanoseconds(self.ttl()),
            standbys: sync_replicas,
            failsafe: self.failsafe != Some(Switch::Off),
            lag_bytes_max: self.max_lag_on_failover.unwrap_or(LAG_DEFAULT).0,
            silence_max: nanoseconds(SILENCE_MAX),
            shown_for: nanoseconds(SHOWN_FOR),
        })
    }
}

fn ttl(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match (TTL_MIN..=TTL_MAX).contains(&span.0) {
        true => Ok(span),
        false => Err("it is at least 5s, and at most an hour".to_owned()),
    }
}

fn cluster_name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("it has 1 to 64 letters, digits, dots, dashes and underscores"),
    }
}

/// `pykv cluster`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv cluster\n  pykv cluster --json --server 10.0.0.7:7958")]
pub(crate) struct ShowCluster {
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach any node of the cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv switchover`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv switchover\n  pykv switchover --to 10.0.0.8:7958")]
pub(crate) struct Switchover {
    /// The node that is to be primary, as `pykv cluster` shows it [default: the one that has most of the log]
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,

    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach any node of the cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv failover`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pykv failover --to 10.0.0.8:7958 --accept-loss")]
pub(crate) struct Failover {
    /// The node that is to be primary, as `pykv cluster` shows it
    #[arg(long, value_name = "NODE")]
    pub to: String,

    /// Accept the loss of writes that this node does not have
    #[arg(long, required = true)]
    pub accept_loss: bool,

    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach any node of the cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// `pykv pause` and `pykv resume`
#[derive(Args, Debug)]
pub(crate) struct Pause {
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,

    /// How to reach any node of the cluster.
    #[command(flatten)]
    pub connection: Connection,
}
