//! The requests that callers make of etcd.

use super::client::{Ask, Client};
use super::error::Error;
use super::kv::{Compare, Header, KeyValue, Lease, LeaseId, Op, Range, TxnAnswer};
use super::post::{self, Failed, Request};
use super::requests;
use super::verdict::{Verdict, worst};
use super::wire::{self, No};
use crate::address::Address;
use std::time::{Duration, Instant};

const PATH_RANGE: &str = "/v3/kv/range";
const PATH_TXN: &str = "/v3/kv/txn";
const PATH_GRANT: &str = "/v3/lease/grant";
const PATH_KEEP_ALIVE: &str = "/v3/lease/keepalive";
const PATH_REVOKE: &str = "/v3/lease/revoke";
const PATH_VERSION: &str = "/version";

/// The oldest version whose gateway is at `/v3`.
const VERSION_MIN: (u32, u32) = (3, 4);

/// Longest text of a version that is believed, in bytes.
const VERSION_BYTES_MAX: usize = 64;

impl Ask {
    /// A request that may be done twice.
    fn new(path: &'static str, body: Vec<u8>) -> Ask {
        Ask {
            path,
            body,
            is_write: false,
            is_linearizable: true,
            lease: None,
        }
    }

    /// One that a single member answers, as it knows it.
    fn of_lease(path: &'static str, lease: LeaseId) -> Ask {
        Ask {
            is_linearizable: false,
            lease: Some(lease),
            ..Ask::new(path, requests::lease(lease))
        }
    }
}

impl Client {
    /// The lowest version of the endpoints that answer. An error where it is too low, or the gateway is off.
    pub fn version(&self, timeout: Duration) -> Result<String, Error> {
        let deadline = Instant::now() + timeout;
        let mut lowest: Option<((u32, u32), String)> = None;
        let mut failed = Vec::new();
        let count = self.endpoints.len();
        for (at, endpoint) in self.endpoints.as_slice().iter().enumerate() {
            // The probe of the gateway below takes its share, too.
            let share = self.share(deadline, count - at + 1);
            match self.version_of(endpoint, share) {
                Err(verdict) => failed.push(verdict),
                Ok((version, text)) if version < VERSION_MIN => {
                    return Err(Error::TooOld {
                        endpoint: endpoint.to_string(),
                        version: text,
                    });
                }
                Ok(found) => lowest = Some(lowest.map_or(found.clone(), |lowest| lowest.min(found))),
            }
        }
        let Some((_, version)) = lowest else {
            return Err(worst(failed));
        };
        // That a version is known says nothing of the gateway.
        self.range("/pykv/", deadline.saturating_duration_since(Instant::now()))?;
        Ok(version)
    }

    fn version_of(&self, at: &Address, timeout: Duration) -> Result<((u32, u32), String), Verdict> {
        let request = Request {
            path: PATH_VERSION,
            body: None,
            token: None,
        };
        let read = |failed| Verdict::of(at, false, None, failed);
        let body = post::post(&self.agent, at, request, timeout).map_err(read)?;
        let text = wire::version(&body).map_err(|no| read(no.into()))?;
        let mut parts = text.split('.').map(|part| part.parse().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(major), Some(minor)) if text.len() <= VERSION_BYTES_MAX => Ok(((major, minor), text)),
            _ => Err(read(Failed::Foreign(
                "its version is no version of etcd".to_owned(),
            ))),
        }
    }

    /// A new lease. It lives as long as the answer says, which may be longer than `ttl`.
    pub fn grant(&self, ttl: Duration, timeout: Duration) -> Result<Lease, Error> {
        // A lease that nobody heard of ends by itself.
        let ask = Ask::new(PATH_GRANT, requests::grant(ttl));
        self.ask(&ask, timeout, wire::granted)
    }

    /// Renews a lease, and returns how long it lives from then on: none where it is gone. Count that from before this
    /// was called.
    pub fn keep_alive(&self, lease: LeaseId, timeout: Duration) -> Result<Option<Duration>, Error> {
        self.ask(&Ask::of_lease(PATH_KEEP_ALIVE, lease), timeout, wire::renewed)
    }

    /// Ends a lease, and with it the keys that hang on it. One that is gone is no error.
    pub fn revoke(&self, lease: LeaseId, timeout: Duration) -> Result<(), Error> {
        match self.ask(&Ask::of_lease(PATH_REVOKE, lease), timeout, wire::header_alone) {
            Err(Error::LeaseGone { .. }) => Ok(()),
            ended => ended,
        }
    }

    /// A key, if it is there.
    pub fn range(&self, key: &str, timeout: Duration) -> Result<Range, Error> {
        self.range_of(requests::range(key), timeout)
    }

    /// All keys that begin so.
    pub fn range_prefix(&self, prefix: &str, timeout: Duration) -> Result<Range, Error> {
        self.range_of(requests::range_prefix(prefix), timeout)
    }

    fn range_of(&self, body: Vec<u8>, timeout: Duration) -> Result<Range, Error> {
        let read = |body: &[u8]| -> Result<(Header, (Header, Vec<KeyValue>)), No> {
            let (header, kvs) = wire::range(body)?;
            Ok((header, (header, kvs)))
        };
        let (header, kvs) = self.ask(&Ask::new(PATH_RANGE, body), timeout, read)?;
        Ok(Range { header, kvs })
    }

    /// Does the steps of `success` if all compares hold, else those of `failure`. One that writes is sent once: where
    /// no answer comes it may have been done.
    pub fn txn(
        &self,
        compares: &[Compare],
        success: &[Op],
        failure: &[Op],
        timeout: Duration,
    ) -> Result<TxnAnswer, Error> {
        let ask = Ask {
            is_write: success.iter().chain(failure).any(Op::is_write),
            ..Ask::new(PATH_TXN, requests::txn(compares, success, failure))
        };
        self.ask(&ask, timeout, wire::txn)
    }
}
