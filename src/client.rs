//! The HTTP client of the command line: blocking, one request at a time.
//!
//! It says no more of HTTP than its callers need: a method a request, and an [`Error`] that tells apart
//! what they act on. Bodies are read whole, up to a bound: a node is trusted with the memory of a client
//! no more than a client is with a node's.
//!
//! A replica answers a write with 307 and where the primary is. It is followed here, with body and token,
//! because ureq follows such an answer without either; the nodes of a cluster share their tokens.

mod address;
mod watch;

pub use address::{Address, AddressError};
pub use watch::Watched;

use crate::api::{self, Keys, Problem, Stats, Status};
use crate::record::VALUE_BYTES_MAX;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Duration;
use ureq::http::{self, HeaderValue, Method, Response, StatusCode, header};
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
    body: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn new(method: Method, target: String) -> Request<'a> {
        Request {
            method,
            target,
            accept: api::MEDIA_JSON,
            condition: Condition::None,
            body: None,
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

    /// Stores a value; the answer, an [`api::Written`], as the node wrote it.
    pub fn set(&self, key: &str, value: &[u8], condition: Condition) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(Method::PUT, api::key_path(key) + "?upsert=true");
        request.condition = condition;
        request.body = Some(value);
        self.send(request)
    }

    /// Deletes a key.
    pub fn delete(&self, key: &str, condition: Condition) -> Result<(), Error> {
        let mut request = Request::new(Method::DELETE, api::key_path(key));
        request.condition = condition;
        self.send(request).map(drop)
    }

    /// A page of keys, from a cursor of the page before it.
    pub fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Keys, Error> {
        let mut target = format!("{}?limit={limit}", api::PATH_KV);
        for (name, value) in [("prefix", Some(prefix)), ("cursor", cursor)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                target.extend(["&", name, "=", &api::query_value(value)]);
            }
        }
        self.read(target)
    }

    /// How the node is.
    pub fn status(&self) -> Result<Status, Error> {
        self.read(api::PATH_STATUS.to_owned())
    }

    /// What the node has counted.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.read(api::PATH_STATS.to_owned())
    }

    fn read<T: DeserializeOwned>(&self, target: String) -> Result<T, Error> {
        let body = self.send(Request::new(Method::GET, target))?;
        serde_json::from_slice(&body).map_err(|error| self.nonsense(error))
    }

    /// Sends a request, to other nodes where it is sent on, and returns the body of its answer.
    fn send(&self, request: Request<'_>) -> Result<Vec<u8>, Error> {
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
                _ if status.is_success() => return Ok(body),
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
            Some(body) => parts
                .header(header::CONTENT_TYPE, api::MEDIA_OCTETS)
                .body(body)
                .map(|request| self.agent.run(request)),
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

/// The problem that a node names, or what the status alone says where the answer is not a node's.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let named = serde_json::from_slice::<Problem>(body).ok();
    let mut problem = named.unwrap_or_else(|| {
        let reason = status.canonical_reason().unwrap_or("no reason given");
        Problem {
            kind: "about:blank".to_owned(),
            title: reason.to_owned(),
            status: status.as_u16(),
            detail: String::new(),
            field: None,
            limit: None,
            version: None,
            oldest: None,
            deleted: None,
            index: None,
            outcome: None,
        }
    });
    problem.status = status.as_u16(); // What HTTP says counts, whatever the body does.
    problem
}

/// Why a request was not done.
#[derive(Debug)]
pub enum Error {
    /// There is no connection to the node, or it broke.
    Unreachable {
        /// The node.
        server: Address,
        /// What the system said.
        why: String,
    },
    /// The node did not answer in time. Whether it did what was asked is not known.
    TimedOut {
        /// The node.
        server: Address,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The node said no.
    Refused(Box<Problem>),
    /// What answered does not speak as a node does.
    Nonsense {
        /// The node.
        server: Address,
        /// What is wrong with the answer.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { server, why } => write!(
                f,
                "cannot reach a node at {server}: {why}; start one with `pykv serve`, or name another with --server"
            ),
            Error::TimedOut { server, waited } => write!(
                f,
                "the node at {server} did not answer within {}; --timeout sets how long to wait",
                humantime::format_duration(*waited)
            ),
            Error::Refused(problem) => {
                let said = if problem.detail.is_empty() {
                    &problem.title
                } else {
                    &problem.detail
                };
                // One line, and nothing that a terminal acts on, whoever sent it.
                let said = said.replace(char::is_control, " ");
                let advice = match problem.status {
                    401 => "; the token is taken from --token-file, PYKV_TOKEN or PYKV_TOKEN_FILE",
                    _ => "",
                };
                write!(f, "{said} (HTTP {}){advice}", problem.status)
            }
            Error::Nonsense { server, why } => {
                write!(
                    f,
                    "what answers at {server} is no pykv node, or a broken one: {why}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

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
