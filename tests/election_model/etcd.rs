//! An etcd: leases, keys and transactions, each of them one step.

use pykv::internals::election::{Compare, Failure, FailureKind, Operation, Pair, Reply, Request};
use std::collections::BTreeMap;

/// How long a lease lasts, in ticks.
pub const TTL: u64 = 6000;

#[derive(Clone, Debug)]
struct Key {
    value: String,
    revision: i64,
    lease: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Etcd {
    pub is_up: bool,
    pub id: u64,
    keys: BTreeMap<String, Key>,
    /// When each lease ends.
    leases: BTreeMap<i64, u64>,
    revision: i64,
    last_lease: i64,
}

impl Etcd {
    pub fn new() -> Etcd {
        Etcd {
            is_up: true,
            id: 1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            revision: 1,
            last_lease: 0,
        }
    }

    /// A new leader of etcd gives every lease its whole time.
    pub fn restart(&mut self, now: u64) {
        self.is_up = true;
        self.leases.values_mut().for_each(|until| *until = now + TTL);
    }

    /// It is put back from a copy, or begins anew. Leases that it knows count from then on.
    pub fn replace(&mut self, copy: Etcd, now: u64) {
        let last_lease = self.last_lease;
        *self = copy;
        self.last_lease = last_lease.max(self.last_lease) + 1000;
        self.restart(now);
    }

    pub fn pass(&mut self, now: u64) {
        if !self.is_up {
            return;
        }
        let over: Vec<i64> = self
            .leases
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().for_each(|id| self.end(id));
    }

    fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        self.revision += 1;
        self.keys.retain(|_, key| key.lease != Some(lease));
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The number of the term that it holds.
    pub fn term(&self) -> u64 {
        self.keys
            .get("term")
            .and_then(|key| key.value.parse().ok())
            .unwrap_or(0)
    }

    pub fn ask(&mut self, request: &Request, now: u64) -> Result<Reply, Failure> {
        Ok(match request {
            Request::Grant => {
                self.last_lease += 1;
                self.leases.insert(self.last_lease, now + TTL);
                Reply::Granted {
                    id: self.last_lease,
                    ttl: TTL,
                }
            }
            Request::KeepAlive(id) => Reply::Kept(self.leases.get_mut(id).map(|until| {
                *until = now + TTL;
                TTL
            })),
            Request::Read => Reply::Read {
                etcd: self.id,
                pairs: self
                    .keys
                    .iter()
                    .map(|(name, key)| Pair {
                        key: name.clone(),
                        value: key.value.clone(),
                        revision: key.revision,
                    })
                    .collect(),
            },
            Request::Txn(txn) => {
                let is_true = txn.when.iter().all(|compare| match compare {
                    Compare::Absent(key) => !self.keys.contains_key(key),
                    Compare::Value(key, value) => {
                        self.keys.get(key).is_some_and(|known| known.value == *value)
                    }
                    Compare::Revision(key, revision) => self
                        .keys
                        .get(key)
                        .is_some_and(|known| known.revision == *revision),
                });
                if !is_true {
                    return Ok(Reply::Txn(None));
                }
                let leases = txn.then.iter().filter_map(|operation| match operation {
                    Operation::Put { lease, .. } => *lease,
                    Operation::Delete(_) => None,
                });
                if leases.into_iter().any(|id| !self.leases.contains_key(&id)) {
                    return Err(Failure {
                        why: "there is no such lease".to_owned(),
                        kind: FailureKind::NoLease,
                    });
                }
                self.revision += 1;
                for operation in &txn.then {
                    match operation {
                        Operation::Put { key, value, lease } => {
                            self.keys.insert(
                                key.clone(),
                                Key {
                                    value: value.clone(),
                                    revision: self.revision,
                                    lease: *lease,
                                },
                            );
                        }
                        Operation::Delete(key) => {
                            self.keys.remove(key);
                        }
                    }
                }
                Reply::Txn(Some(self.revision))
            }
        })
    }
}
