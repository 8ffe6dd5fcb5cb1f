//! etcd as the machine of the election asks it: keys below one prefix, times in nanoseconds.

use crate::election::{Compare, Failure, FailureKind, Operation, Pair, Reply, Request, Txn};
use crate::etcd::{self, Client, Event, LeaseId, Notice, Op, Stop};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is asked of etcd may take a sixth of a lease.
pub(super) const TIME_SHARE: u32 = 6;

/// For how long etcd may return an older state than was seen: a member that lags catches up within it.
const LAG_MAX: Duration = Duration::from_secs(2);

/// The etcd of a cluster of nodes.
pub(crate) struct Etcd {
    client: Client,
    cluster: String,
    /// Ends in a slash.
    prefix: String,
    ttl: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last lease, and the number that stands for it.
    lease: Option<LeaseId>,
    leases: i64,
    /// Since when etcd answers from before what was seen.
    behind_since: Option<Instant>,
}

impl Etcd {
    /// `client` asks for the cluster of a name.
    pub(crate) fn new(client: Client, cluster: &str, ttl: Duration) -> Etcd {
        Etcd {
            client,
            cluster: cluster.to_owned(),
            prefix: format!("/pykv/{cluster}/"),
            ttl,
            state: Mutex::default(),
        }
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether etcd can be asked at all. An error is one that does not come right by itself; that nobody answers is
    /// none.
    pub(crate) fn check(&self) -> Result<(), etcd::Error> {
        let time_max = self.ttl / TIME_SHARE;
        let checked = self
            .client
            .version(time_max)
            .and_then(|_| self.client.range_prefix(&self.prefix, time_max).map(drop));
        match checked {
            Err(error @ (etcd::Error::Unreachable { .. } | etcd::Error::BadAnswer { .. })) => {
                // The elector says so.
                log::debug!("{error}");
                Ok(())
            }
            checked => checked,
        }
    }

    /// Calls `changed` whenever something that matters has changed, until it is stopped.
    pub(super) fn watch(&self, stop: &Stop, changed: impl Fn()) {
        let status = format!("{}status", self.prefix);
        let matters = |event: &Event| match event {
            Event::Put(pair) => pair.key != status,
            Event::Delete { .. } => true,
        };
        self.client
            .watch(&self.prefix, None, stop, |notice| match notice {
                Notice::State(_) => changed(),
                Notice::Changed { events, .. } if events.iter().any(matters) => changed(),
                Notice::Changed { .. } => {}
                Notice::Failed(error) => log::debug!("etcd: watch: {error}"),
            });
    }

    /// Asks, and waits no longer than `time_max`.
    pub(super) fn ask(&self, request: &Request, time_max: Duration) -> Result<Reply, Failure> {
        let asked = match request {
            Request::Grant => self.client.grant(self.ttl, time_max).map(|lease| {
                let mut state = self.state();
                state.lease = Some(lease.id);
                state.leases += 1;
                Reply::Granted {
                    id: state.leases,
                    ttl: nanoseconds(lease.ttl),
                }
            }),
            Request::KeepAlive(id) => match self.lease(*id) {
                None => return Ok(Reply::Kept(None)),
                Some(lease) => {
                    let kept = self.client.keep_alive(lease, time_max);
                    kept.map(|left| Reply::Kept(left.map(nanoseconds)))
                }
            },
            Request::Read => self.read(time_max),
            Request::Txn(txn) => self.txn(txn, time_max),
        };
        // A lease that is known proves nothing: a restored backup knows it too.
        if asked.is_err() || matches!(request, Request::Read | Request::Txn(_)) {
            self.note(asked.as_ref().err());
        }
        asked.map_err(|error| Failure {
            kind: match &error {
                etcd::Error::LeaseGone { .. } => FailureKind::NoLease,
                error if error.may_be_done() => FailureKind::Unknown,
                _ => FailureKind::NotDone,
            },
            why: error.to_string(),
        })
    }

    /// An etcd that returns an older state for longer than [`LAG_MAX`] has lost data: a member that lags would have
    /// caught up. The machine judges what it holds then.
    fn note(&self, error: Option<&etcd::Error>) {
        let mut state = self.state();
        match error {
            Some(etcd::Error::OtherCluster { .. }) => self.client.forget_seen(),
            Some(etcd::Error::WentBack { .. }) => {
                let since = *state.behind_since.get_or_insert_with(Instant::now);
                if since.elapsed() > LAG_MAX {
                    state.behind_since = None;
                    self.client.forget_seen();
                }
            }
            _ => state.behind_since = None,
        }
    }

    fn read(&self, time_max: Duration) -> Result<Reply, etcd::Error> {
        let range = self.client.range_prefix(&self.prefix, time_max)?;
        let pair = |pair: etcd::KeyValue| {
            Some(Pair {
                key: pair.key.strip_prefix(&self.prefix)?.to_owned(),
                value: String::from_utf8_lossy(&pair.value).into_owned(),
                revision: pair.mod_revision as i64,
            })
        };
        Ok(Reply::Read {
            etcd: range.header.cluster_id,
            pairs: range.kvs.into_iter().filter_map(pair).collect(),
        })
    }

    fn txn(&self, txn: &Txn, time_max: Duration) -> Result<Reply, etcd::Error> {
        let key = |key: &String| format!("{}{key}", self.prefix);
        let when: Vec<_> = txn
            .when
            .iter()
            .map(|compare| match compare {
                Compare::Absent(name) => etcd::Compare::absent(key(name)),
                Compare::Value(name, value) => etcd::Compare::Value(key(name), value.clone().into_bytes()),
                Compare::Revision(name, revision) => etcd::Compare::ModRevision(key(name), *revision as u64),
            })
            .collect();
        let mut then = Vec::new();
        for operation in &txn.then {
            then.push(match operation {
                Operation::Delete(name) => Op::Delete(key(name)),
                Operation::Put {
                    key: name,
                    value,
                    lease,
                } => {
                    let lease = match lease {
                        None => None,
                        Some(id) => Some(self.lease(*id).ok_or(etcd::Error::LeaseGone { lease: None })?),
                    };
                    Op::Put {
                        key: key(name),
                        value: value.clone().into_bytes(),
                        lease,
                    }
                }
            });
        }
        let answer = self.client.txn(&when, &then, &[], time_max)?;
        let revision = answer.header.revision as i64;
        Ok(Reply::Txn(answer.succeeded.then_some(revision)))
    }

    /// The lease that a number stands for, if it is the last one.
    fn lease(&self, id: i64) -> Option<LeaseId> {
        let state = self.state();
        state.lease.filter(|_| state.leases == id)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
