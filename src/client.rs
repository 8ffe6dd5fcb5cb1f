//! The HTTP client of the command line: blocking, one request at a time.
//!
//! It says no more of HTTP than its callers need: a method a request, and an [`Error`] that tells apart
//! what they act on. Bodies are read whole, up to the bound of what a node may send (`answer`): a node is trusted
//! with the memory of a client no more than a client is with a node's.
//!
//! A replica answers a write with 307 and where the primary is. It is followed here, with body and token,
//! because ureq follows such an answer without either; the nodes of a cluster share their tokens.

mod answer;
mod backup;
mod error;
mod exchange;
mod socket;
mod token;
mod watch;

pub(crate) use crate::address::{Address, Server};
pub(crate) use backup::BackupError;
pub(crate) use error::Error;
pub(crate) use error::Place;
pub(crate) use token::{Flags, Token};
pub(crate) use watch::Watched;

use crate::api::{
    self, Batched, ClusterView, Deleted, Elected, Entries, Entry, Forgotten, HEADER_EXPIRES_AT, HEADER_TTL,
    Keys, Patch, Paused, Promoted, Stats, Status,
};
use answer::{Bound, Sign};
pub(crate) use exchange::{Client, Condition};
use exchange::{Request, nonsense};
use serde::de::DeserializeOwned;
use std::time::Duration;
use ureq::http::Method;

/// What is wrong with an answer that is JSON, and not that of a node.
const NO_JSON_OF_NODE: &str = "its answer is not the JSON of a node";

impl Client {
    /// The bytes of a value.
    pub(crate) fn get(&self, key: &str) -> Result<Vec<u8>, Error> {
        let request = Request::new(Method::GET, api::key_path(key), Sign::Value, Bound::Value);
        self.send(&request)
    }

    /// The answer to a read, an [`api::Entry`], as the node wrote it.
    pub(crate) fn get_json(&self, key: &str) -> Result<Vec<u8>, Error> {
        let request = Request::new(Method::GET, api::key_path(key), Sign::JsonOfKey, Bound::Values);
        self.send_of_key(&request, key)
    }

    /// As [`Client::get_json`], taken apart.
    pub(crate) fn entry(&self, key: &str) -> Result<Entry, Error> {
        let request = Request::new(Method::GET, api::key_path(key), Sign::JsonOfKey, Bound::Values);
        let (at, body) = self.answer_of_key(&request, key)?;
        serde_json::from_slice(&body).map_err(|_| nonsense(&at, &request, NO_JSON_OF_NODE))
    }

    /// Stores a value, for a time or for good; the answer, JSON, as the node wrote it.
    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        condition: Condition,
        ttl: Option<Duration>,
    ) -> Result<Vec<u8>, Error> {
        let mut target = api::key_path(key) + "?upsert=true";
        if let Some(ttl) = ttl {
            target.extend(["&ttl=", &seconds(ttl).to_string()]);
        }
        let mut request = Request::new(Method::PUT, target, Sign::JsonOfKey, Bound::Small);
        request.condition = condition;
        request.body = Some((value, api::MEDIA_OCTETS));
        self.send_of_key(&request, key)
    }

    /// Gives a key a deadline, or takes it; the answer, JSON, as the node wrote it.
    pub(crate) fn set_deadline(&self, key: &str, ttl: Option<Duration>) -> Result<Vec<u8>, Error> {
        let patch = match ttl {
            Some(ttl) => Patch::For { ttl: seconds(ttl) },
            None => Patch::Forever { ttl: () },
        };
        let body = serde_json::to_vec(&patch).expect("its numbers are finite");
        let mut request = Request::new(Method::PATCH, api::key_path(key), Sign::JsonOfKey, Bound::Small);
        request.body = Some((&body, api::MEDIA_JSON));
        self.send_of_key(&request, key)
    }

    /// Adds to a number, or makes it `initial` where the key is not there; the answer, JSON, as the node wrote it.
    pub(crate) fn increment(&self, key: &str, by: i64, initial: i64) -> Result<Vec<u8>, Error> {
        let body = format!(r#"{{"increment":{by},"initial":{initial}}}"#);
        let mut request = Request::new(Method::PATCH, api::key_path(key), Sign::JsonOfKey, Bound::Small);
        request.body = Some((body.as_bytes(), api::MEDIA_JSON));
        self.send_of_key(&request, key)
    }

    /// Whether the node answers; with `is_ready`, whether it takes reads and writes. Needs no token.
    pub(crate) fn ping(&self, is_ready: bool) -> Result<(), Error> {
        let path = if is_ready {
            api::PATH_READYZ
        } else {
            api::PATH_HEALTHZ
        };
        self.read::<serde::de::IgnoredAny>(path.to_owned(), Bound::Small)
            .map(drop)
    }

    /// How long a key has left, by the clock of the node; none where it has no deadline. Leaves its recency alone.
    pub(crate) fn ttl(&self, key: &str) -> Result<Option<Duration>, Error> {
        let request = Request::new(Method::HEAD, api::key_path(key), Sign::Version, Bound::Small);
        let (at, response) = match self.exchange(&request) {
            // An answer to HEAD has no body that says why: GET is refused for the same reason.
            Err(Error::Refused(refusal)) if refusal.status != 404 => {
                return Err(self.get_json(key).err().unwrap_or(Error::Refused(refusal)));
            }
            answered => answered?,
        };
        let headers = response.headers();
        if !headers.contains_key(HEADER_EXPIRES_AT) {
            return Ok(None);
        }
        let seconds = headers
            .get(HEADER_TTL)
            .and_then(|ttl| ttl.to_str().ok()?.parse().ok());
        let ttl = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        ttl.map(Some)
            .ok_or_else(|| nonsense(&at, &request, format!("{HEADER_TTL} is no number of seconds")))
    }

    /// Makes the node the primary, after the present one has handed over; with `is_forced` without that.
    pub(crate) fn promote(&self, is_forced: bool) -> Result<Promoted, Error> {
        let force = if is_forced { "?force=true" } else { "" };
        self.ask(&bodiless_post(&format!("{}{force}", api::PATH_PROMOTE)))
    }

    /// The nodes of a cluster in which etcd decides who is primary.
    pub(crate) fn cluster(&self) -> Result<ClusterView, Error> {
        self.read(api::PATH_CLUSTER.to_owned(), Bound::Values)
    }

    /// Has the primary hand over, to a node or to the best one.
    pub(crate) fn switchover(&self, to: Option<&str>) -> Result<Elected, Error> {
        let query = to.map_or(String::new(), |to| format!("?to={}", api::query_value(to)));
        self.ask(&bodiless_post(&format!("{}{query}", api::PATH_SWITCHOVER)))
    }

    /// Makes a node primary that may lack writes.
    pub(crate) fn failover(&self, to: &str, accepts_loss: bool) -> Result<Elected, Error> {
        let (path, to) = (api::PATH_FAILOVER, api::query_value(to));
        self.ask(&bodiless_post(&format!(
            "{path}?to={to}&accept_loss={accepts_loss}"
        )))
    }

    /// Lets no node take over by itself, or all again.
    pub(crate) fn pause(&self, is_paused: bool) -> Result<Paused, Error> {
        self.ask(&bodiless_post(match is_paused {
            true => api::PATH_PAUSE,
            false => api::PATH_RESUME,
        }))
    }

    /// Makes the node forget another one.
    pub(crate) fn forget(&self, node: &str) -> Result<Forgotten, Error> {
        let target = format!("{}?node={}", api::PATH_FORGET, api::query_value(node));
        self.ask(&bodiless_post(&target))
    }

    /// Deletes a key.
    pub(crate) fn delete(&self, key: &str, condition: Condition) -> Result<(), Error> {
        let mut request = Request::new(Method::DELETE, api::key_path(key), Sign::Offset, Bound::Small);
        request.condition = condition;
        self.send(&request).map(drop)
    }

    /// Deletes all keys that begin with `prefix`, or counts them.
    pub(crate) fn delete_prefix(&self, prefix: &str, dry_run: bool) -> Result<Deleted, Error> {
        let mut target = format!("{}?prefix={}", api::PATH_KV, api::query_value(prefix));
        if dry_run {
            target.push_str("&dry_run=true");
        }
        let mut request = Request::new(Method::DELETE, target, Sign::Json, Bound::Small);
        request.is_write = !dry_run;
        self.ask(&request)
    }

    /// A page of keys, of those that match a pattern where there is one, from a cursor of the page before it. With a
    /// pattern, a page may have fewer than `limit` and yet not be the last.
    pub(crate) fn list(
        &self,
        prefix: &str,
        pattern: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Keys, Error> {
        let page: Keys = self.read(list_target(prefix, pattern, cursor, limit), Bound::Keys)?;
        self.check_cursor(cursor, page.cursor.as_deref())?;
        Ok(page)
    }

    /// As [`Client::list`], a page of entries. It may end before it has `limit` of them.
    pub(crate) fn list_entries(
        &self,
        prefix: &str,
        pattern: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Entries, Error> {
        let target = list_target(prefix, pattern, cursor, limit) + "&values=true";
        let page: Entries = self.read(target, Bound::Values)?;
        self.check_cursor(cursor, page.cursor.as_deref())?;
        Ok(page)
    }

    /// Checks that a page leads to another one: a cursor that leads back to its own page would never end.
    fn check_cursor(&self, before: Option<&str>, after: Option<&str>) -> Result<(), Error> {
        match (before, after) {
            (Some(before), Some(after)) if before == after => Err(Error::Nonsense {
                at: self.place(),
                why: "the cursor of a page leads back to that page".to_owned(),
                may_be_done: false,
            }),
            _ => Ok(()),
        }
    }

    /// Does the operations of a body, an [`api::Batch`] in JSON: all of them, or none.
    pub(crate) fn batch(&self, body: &[u8]) -> Result<Batched, Error> {
        self.ask(&batch_request(body))
    }

    /// As [`Client::batch`], where nobody asks for the results. They are looked at only where the answer has no offset: a
    /// node that found nothing to delete has written nothing.
    pub(crate) fn apply(&self, body: &[u8]) -> Result<(), Error> {
        let request = batch_request(body);
        let (at, mut response) = self.exchange(&request)?;
        let is_written = Sign::Offset.missing(response.headers()).is_none();
        let body = self.body(&at, &request, &mut response)?;
        match is_written || serde_json::from_slice::<Batched>(&body).is_ok() {
            true => Ok(()),
            false => Err(nonsense(&at, &request, NO_JSON_OF_NODE)),
        }
    }

    /// How the node or gateway is.
    pub(crate) fn about(&self) -> Result<api::About, Error> {
        self.read(api::PATH_STATUS.to_owned(), Bound::Small)
    }

    /// How the node is.
    pub(crate) fn status(&self) -> Result<Status, Error> {
        self.read(api::PATH_STATUS.to_owned(), Bound::Small)
    }

    /// Asks for a compaction of the log, and does not wait for it.
    pub(crate) fn compact(&self) -> Result<api::CompactionJob, Error> {
        self.ask(&bodiless_post(api::PATH_COMPACT))
    }

    /// What the node has counted.
    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        self.read(api::PATH_STATS.to_owned(), Bound::Small)
    }

    fn read<T: DeserializeOwned>(&self, target: String, bound: Bound) -> Result<T, Error> {
        self.ask(&Request::new(Method::GET, target, Sign::Json, bound))
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, Error> {
        let (at, mut response) = self.exchange(request)?;
        let body = self.body(&at, request, &mut response)?;
        serde_json::from_slice(&body).map_err(|_| nonsense(&at, request, NO_JSON_OF_NODE))
    }

    /// An answer in JSON that is about a key: a proxy that takes the key for a part of a path answers with something else.
    fn send_of_key(&self, request: &Request<'_>, key: &str) -> Result<Vec<u8>, Error> {
        self.answer_of_key(request, key).map(|(_, body)| body)
    }

    fn answer_of_key(&self, request: &Request<'_>, key: &str) -> Result<(Place, Vec<u8>), Error> {
        let (at, mut response) = self.exchange(request)?;
        let body = self.body(&at, request, &mut response)?;
        match answer::is_of_key(&body, key) {
            true => Ok((at, body)),
            false => Err(nonsense(&at, request, "its answer is not about the key")),
        }
    }

    fn send(&self, request: &Request<'_>) -> Result<Vec<u8>, Error> {
        let (at, mut response) = self.exchange(request)?;
        self.body(&at, request, &mut response)
    }
}

/// A request that asks for something to be done, and says no more.
fn bodiless_post(path: &str) -> Request<'static> {
    let mut request = Request::new(Method::POST, path.to_owned(), Sign::Json, Bound::Small);
    request.body = Some((b"", api::MEDIA_JSON)); // Or it would be sent as chunks, of which there are none.
    request
}

fn batch_request(body: &[u8]) -> Request<'_> {
    let target = api::PATH_BATCH.to_owned();
    let mut request = Request::new(Method::POST, target, Sign::Json, Bound::Values);
    request.body = Some((body, api::MEDIA_JSON));
    request
}

/// A time to live as requests say it.
fn seconds(ttl: Duration) -> f64 {
    // In whole ms: what is below is not taken, and a float would say it in digits that nobody asked for.
    ttl.as_nanos().div_ceil(1_000_000) as f64 / 1000.0
}

fn list_target(prefix: &str, pattern: Option<&str>, cursor: Option<&str>, limit: usize) -> String {
    let mut target = format!("{}?limit={limit}", api::PATH_KV);
    for (name, value) in [("prefix", Some(prefix)), ("match", pattern), ("cursor", cursor)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            target.extend(["&", name, "=", &api::query_value(value)]);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::error::{Refusal, problem};
    use super::*;
    use ureq::http::StatusCode;

    #[test]
    fn a_problem_is_said_in_one_line() {
        let body = br#"{"type":"urn:pykv:problem:t","title":"T","status":200,"detail":"two\nlines"}"#;
        let named = problem(StatusCode::CONFLICT, body).unwrap();
        assert_eq!(
            Error::Refused(Box::new(Refusal::new(named, String::new))).to_string(),
            "two lines (HTTP 409)"
        );
        for other in [
            &b"<html>"[..],
            br#"{"type":"about:blank","title":"T","status":404,"detail":""}"#,
        ] {
            assert!(problem(StatusCode::NOT_FOUND, other).is_none(), "no node says so");
        }
    }
}
