//! The HTTP client of the command line: blocking, one request at a time.
//!
//! It says no more of HTTP than its callers need: a method a request, and an [`Error`] that tells apart
//! what they act on. Bodies are read whole, up to a bound: a node is trusted with the memory of a client
//! no more than a client is with a node's.
//!
//! A replica answers a write with 307 and where the primary is. It is followed here, with body and token,
//! because ureq follows such an answer without either; the nodes of a cluster share their tokens.

mod address;
mod backup;
mod error;
mod watch;

pub use address::{Address, AddressError};
pub use backup::BackupError;
pub use error::Error;
pub use watch::Watched;

use crate::api::{
    self, Batched, Deleted, Entries, HEADER_EXPIRES_AT, HEADER_TTL, Keys, Patch, Promoted, Stats, Status,
};
use crate::record::VALUE_BYTES_MAX;
use error::problem;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;
use ureq::http::{self, HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use ureq::{Agent, Body};

/// Connecting takes milliseconds or does not happen, however long an answer may be waited for.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// The largest answer: the largest value, each of its bytes as an escape of six in JSON, and the rest.
const ANSWER_BYTES_MAX: u64 = 6 * VALUE_BYTES_MAX as u64 + (1 << 20);

/// Hops from node to node that a request may take before they are taken for a circle.
const REDIRECTS_MAX: usize = 5;

/// A token as it is shown to a node.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// From the token's text; `None` where it has characters that no token has.
    pub fn new(text: &str) -> Option<Token> {
        let mut value = HeaderValue::try_from(format!("Bearer {text}")).ok()?;
        value.set_sensitive(true); // Keeps it out of debug output.
        (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(Token(value))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a write asks of the version that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// The key is new.
    Absent,
    /// The key is in this version.
    Version(u64),
}

/// A node as a client sees it.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: Address,
    token: Option<Token>,
    timeout: Duration,
}

/// One request, until a node is known that it goes to.
struct Request<'a> {
    method: Method,
    target: String,
    /// The media type that is asked for.
    accept: &'static str,
    condition: Condition,
    /// The body and its media type.
    body: Option<(&'a [u8], &'static str)>,
    /// Whether its answer takes as long as it takes, once it has begun.
    is_endless: bool,
}

impl<'a> Request<'a> {
    fn new(method: Method, target: String) -> Request<'a> {
        Request {
            method,
            target,
            accept: api::MEDIA_JSON,
            condition: Condition::None,
            body: None,
            is_endless: false,
        }
    }
}

impl Client {
    /// A client of one node. Nothing is sent yet.
    pub fn new(server: Address, token: Option<Token>, timeout: Duration) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None) // A node is spoken to directly; http_proxy is meant for others.
            .user_agent(concat!("pykv/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT_MAX)))
            .build();
        Client {
            agent: config.new_agent(),
            server,
            token,
            timeout,
        }
    }

    /// The bytes of a value.
    pub fn get(&self, key: &str) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(Method::GET, api::key_path(key));
        request.accept = api::MEDIA_OCTETS;
        self.send(request)
    }

    /// The answer to a read, an [`api::Entry`], as the node wrote it.
    pub fn get_json(&self, key: &str) -> Result<Vec<u8>, Error> {
        self.send(Request::new(Method::GET, api::key_path(key)))
    }

    /// Stores a value, for a time or for good; the answer, an [`api::Written`], as the node wrote it.
    pub fn set(
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
        let mut request = Request::new(Method::PUT, target);
        request.condition = condition;
        request.body = Some((value, api::MEDIA_OCTETS));
        self.send(request)
    }

    /// Gives a key a deadline, or takes it; the answer, an [`api::Written`], as the node wrote it.
    pub fn set_deadline(&self, key: &str, ttl: Option<Duration>) -> Result<Vec<u8>, Error> {
        let patch = match ttl {
            Some(ttl) => Patch::For { ttl: seconds(ttl) },
            None => Patch::Forever { ttl: () },
        };
        let body = serde_json::to_vec(&patch).map_err(|error| self.nonsense(error))?;
        let mut request = Request::new(Method::PATCH, api::key_path(key));
        request.body = Some((&body, api::MEDIA_JSON));
        self.send(request)
    }

    /// How long a key has left, by the clock of the node; none where it has no deadline. Leaves its recency alone.
    pub fn ttl(&self, key: &str) -> Result<Option<Duration>, Error> {
        let (headers, _) = self.exchange(Request::new(Method::HEAD, api::key_path(key)))?;
        if !headers.contains_key(HEADER_EXPIRES_AT) {
            return Ok(None);
        }
        let seconds = headers
            .get(HEADER_TTL)
            .and_then(|ttl| ttl.to_str().ok()?.parse().ok());
        let ttl = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        ttl.map(Some)
            .ok_or_else(|| self.nonsense(format_args!("{HEADER_TTL} is no number of seconds")))
    }

    /// Makes the node the primary.
    pub fn promote(&self) -> Result<Promoted, Error> {
        let mut request = Request::new(Method::POST, api::PATH_PROMOTE.to_owned());
        request.body = Some((b"", api::MEDIA_JSON)); // As for a compaction.
        self.ask(request)
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str, condition: Condition) -> Result<(), Error> {
        let mut request = Request::new(Method::DELETE, api::key_path(key));
        request.condition = condition;
        self.send(request).map(drop)
    }

    /// Deletes all keys that begin with `prefix`, or counts them.
    pub fn delete_prefix(&self, prefix: &str, dry_run: bool) -> Result<Deleted, Error> {
        let mut target = format!("{}?prefix={}", api::PATH_KV, api::query_value(prefix));
        if dry_run {
            target.push_str("&dry_run=true");
        }
        self.ask(Request::new(Method::DELETE, target))
    }

    /// A page of keys, from a cursor of the page before it.
    pub fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Keys, Error> {
        self.read(list_target(prefix, cursor, limit))
    }

    /// A page of entries, from a cursor of the page before it. It may end before it has `limit` of them.
    pub fn list_entries(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Entries, Error> {
        let target = list_target(prefix, cursor, limit) + "&values=true";
        self.read(target)
    }

    /// Does the operations of a body, an [`api::Batch`] in JSON: all of them, or none.
    pub fn batch(&self, body: &[u8]) -> Result<Batched, Error> {
        self.ask(batch_request(body))
    }

    /// As [`Client::batch`], where nobody asks for the results.
    pub fn apply(&self, body: &[u8]) -> Result<(), Error> {
        self.send(batch_request(body)).map(drop)
    }

    /// How the node is.
    pub fn status(&self) -> Result<Status, Error> {
        self.read(api::PATH_STATUS.to_owned())
    }

    /// Asks for a compaction of the log, and does not wait for it.
    pub fn compact(&self) -> Result<api::CompactionJob, Error> {
        let mut request = Request::new(Method::POST, api::PATH_COMPACT.to_owned());
        request.body = Some((b"", api::MEDIA_JSON)); // Or it would be sent as chunks, of which there are none.
        self.ask(request)
    }

    /// What the node has counted.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.read(api::PATH_STATS.to_owned())
    }

    fn read<T: DeserializeOwned>(&self, target: String) -> Result<T, Error> {
        self.ask(Request::new(Method::GET, target))
    }

    fn ask<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, Error> {
        let body = self.send(request)?;
        serde_json::from_slice(&body).map_err(|error| self.nonsense(error))
    }

    fn send(&self, request: Request<'_>) -> Result<Vec<u8>, Error> {
        self.exchange(request).map(|(_, body)| body)
    }

    /// Sends a request, to other nodes where it is sent on, and returns header and body of its answer.
    fn exchange(&self, request: Request<'_>) -> Result<(HeaderMap, Vec<u8>), Error> {
        let mut url = format!("{}{}", self.server, request.target);
        for _ in 0..=REDIRECTS_MAX {
            let mut response = self.send_to(&url, &request)?;
            let status = response.status();
            let body = response
                .body_mut()
                .with_config()
                .limit(ANSWER_BYTES_MAX)
                .read_to_vec();
            let body = body.map_err(|error| self.failed(error))?;
            match status {
                _ if status.is_success() => return Ok((std::mem::take(response.headers_mut()), body)),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let location = response
                        .headers()
                        .get(header::LOCATION)
                        .and_then(|to| to.to_str().ok());
                    let to = location.and_then(|location| self.resolve(location));
                    url = to.ok_or_else(|| self.nonsense("it sends the request on, to nowhere"))?;
                }
                _ => return Err(Error::Refused(Box::new(problem(status, &body)))),
            }
        }
        Err(self.nonsense("the nodes send the request round in a circle"))
    }

    fn send_to(&self, url: &str, request: &Request<'_>) -> Result<Response<Body>, Error> {
        let mut parts = http::Request::builder()
            .method(request.method.clone())
            .uri(url)
            .header(header::ACCEPT, request.accept);
        if let Some(Token(bearer)) = &self.token {
            parts = parts.header(header::AUTHORIZATION, bearer);
        }
        parts = match request.condition {
            Condition::None => parts,
            Condition::Absent => parts.header(header::IF_NONE_MATCH, "*"),
            Condition::Version(version) => parts.header(header::IF_MATCH, format!("\"{version}\"")),
        };
        let sent = match request.body {
            Some((body, media)) => parts
                .header(header::CONTENT_TYPE, media)
                .body(body)
                .map(|request| self.agent.run(request)),
            None if request.is_endless => parts.body(()).map(|request| {
                let request = self.agent.configure_request(request);
                self.agent.run(
                    request
                        .timeout_global(None)
                        .timeout_recv_response(Some(self.timeout))
                        .build(),
                )
            }),
            None => parts.body(()).map(|request| self.agent.run(request)),
        };
        sent.map_err(|error| self.nonsense(error))?
            .map_err(|error| self.failed(error))
    }

    /// Where a Location leads, if to a node.
    fn resolve(&self, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(format!("{}{location}", self.server));
        }
        location.starts_with("http://").then(|| location.to_owned())
    }

    fn failed(&self, error: ureq::Error) -> Error {
        let server = self.server.clone();
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Error::Unreachable {
                server,
                why: "no answer to the attempt to connect".to_owned(),
            },
            ureq::Error::Timeout(_) => Error::TimedOut {
                server,
                waited: self.timeout,
            },
            ureq::Error::HostNotFound => Error::Unreachable {
                server,
                why: "there is no such host".to_owned(),
            },
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Error::TimedOut {
                server,
                waited: self.timeout,
            },
            ureq::Error::Io(error) => Error::Unreachable {
                server,
                why: error.to_string(),
            },
            ureq::Error::ConnectionFailed => Error::Unreachable {
                server,
                why: error.to_string(),
            },
            _ => self.nonsense(error),
        }
    }

    fn nonsense(&self, why: impl fmt::Display) -> Error {
        Error::Nonsense {
            server: self.server.clone(),
            why: why.to_string(),
        }
    }
}

fn batch_request(body: &[u8]) -> Request<'_> {
    let mut request = Request::new(Method::POST, api::PATH_BATCH.to_owned());
    request.body = Some((body, api::MEDIA_JSON));
    request
}

/// A time to live as requests say it.
fn seconds(ttl: Duration) -> f64 {
    // In whole ms: what is below is not taken, and a float would say it in digits that nobody asked for.
    ttl.as_nanos().div_ceil(1_000_000) as f64 / 1000.0
}

fn list_target(prefix: &str, cursor: Option<&str>, limit: usize) -> String {
    let mut target = format!("{}?limit={limit}", api::PATH_KV);
    for (name, value) in [("prefix", Some(prefix)), ("cursor", cursor)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            target.extend(["&", name, "=", &api::query_value(value)]);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        let token = Token::new("s3cret").unwrap();
        assert!(!format!("{token:?}{:?}", token.0).contains("s3cret"));
        for text in ["", "two words", "line\n", "\u{7f}"] {
            assert!(Token::new(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_problem_is_said_in_one_line() {
        let said = |status, body: &[u8]| Error::Refused(Box::new(problem(status, body))).to_string();
        let body = br#"{"type":"t","title":"T","status":200,"detail":"two\nlines"}"#;
        assert_eq!(said(StatusCode::CONFLICT, body), "two lines (HTTP 409)");
        assert_eq!(said(StatusCode::BAD_GATEWAY, b"<html>"), "Bad Gateway (HTTP 502)");
    }

    #[test]
    fn where_a_request_is_sent_on() {
        let client = Client::new("a:1".parse().unwrap(), None, Duration::from_secs(1));
        assert_eq!(client.resolve("/kv/k").as_deref(), Some("http://a:1/kv/k"));
        assert_eq!(
            client.resolve("http://b:2/kv/k").as_deref(),
            Some("http://b:2/kv/k")
        );
        assert_eq!(client.resolve("https://b:2/kv/k"), None);
        assert_eq!(client.resolve("//b:2/kv/k"), None);
    }
}
