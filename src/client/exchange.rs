//! One request: sent, followed to the node that does it, and its answer read.
//!
//! A failure before anything was sent is another error than one after it: a script must not take a write whose outcome
//! is unknown for one that never left.

use super::answer::{self, Bound, ReadError, Sign};
use super::error::problem;
use super::error::{Error, Place, Refusal};
use super::socket;
use super::token::{Flags, Token};
use crate::address::{Address, Server};
use crate::api::{self, Problem};
use crate::system;
use crate::tls::{self, Identity, Trust};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::time::Duration;
use ureq::http::{self, Method, Response, StatusCode, header};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Hops from node to node that a request may take before they are taken for a circle.
const REDIRECTS_MAX: usize = 5;

/// One request, until a node is known that it goes to.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) target: String,
    /// The media type that is asked for.
    pub(super) accept: &'static str,
    pub(super) condition: Condition,
    /// The body and its media type.
    pub(super) body: Option<(&'a [u8], &'static str)>,
    /// Whether its answer takes as long as it takes, once it has begun.
    pub(super) is_endless: bool,
    /// Whether the node may have changed something, though there is no answer.
    pub(super) is_write: bool,
    /// What the answer must have.
    pub(super) sign: Sign,
    pub(super) bound: Bound,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, target: String, sign: Sign, bound: Bound) -> Request<'a> {
        Request {
            is_write: !method.is_safe(),
            method,
            target,
            accept: match sign {
                Sign::Value => api::MEDIA_OCTETS,
                _ => api::MEDIA_JSON,
            },
            condition: Condition::None,
            body: None,
            is_endless: false,
            sign,
            bound,
        }
    }
}

/// Connecting takes milliseconds or does not happen, however long an answer may be waited for.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// What a write asks of the version that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    None,
    /// The key is new.
    Absent,
    /// The key is in this version.
    Version(u64),
}

/// A node as a client sees it.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    /// For requests to the socket, where the command line names one: the others go where those are sent on to.
    of_socket: Option<Agent>,
    pub(super) server: Server,
    token: Option<Token>,
    pub(super) timeout: Duration,
    pub(super) flags: Flags,
}

impl Client {
    /// A client of one node. Nothing is sent yet. `trust`: for a node that is named with https, and none for others.
    pub(crate) fn new(
        server: Server,
        token: Option<Token>,
        trust: Option<Trust>,
        timeout: Duration,
        flags: Flags,
    ) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None) // A node is spoken to directly; http_proxy is meant for others.
            .user_agent(concat!("pykv/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls_config(trust))
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT_MAX)))
            .build();
        let of_socket = match &server {
            Server::Socket(path) => Some(socket::agent(config.clone(), path.clone())),
            Server::Address(_) => None,
        };
        Client {
            agent: config.new_agent(),
            of_socket,
            server,
            token,
            timeout,
            flags,
        }
    }

    /// Sends a request, to other nodes where it is sent on, and returns an answer that says that it was done, whose
    /// body is still to be read.
    pub(super) fn exchange(&self, request: &Request<'_>) -> Result<(Place, Response<Body>), Error> {
        let mut at = self.place();
        let mut url = format!("{}{}", at.origin(), request.target);
        for _ in 0..=REDIRECTS_MAX {
            let mut response = self.send_to(&url, &at, request)?;
            let status = response.status();
            if status.is_success() {
                return match request.sign.missing(response.headers()) {
                    None => Ok((at, response)),
                    Some(why) => Err(nonsense(&at, request, why)),
                };
            }
            if !matches!(
                status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            ) {
                return Err(self.refused(at, request, &mut response));
            }
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|to| to.to_str().ok());
            let Some((origin, path)) = location.and_then(|location| resolve(&at.url, location)) else {
                return Err(nonsense(&at, request, "it redirects without an address"));
            };
            if origin != at.url {
                at = Place {
                    url: origin,
                    sent_by: Some(at.url),
                    flag: at.flag,
                };
            }
            url = format!("{}{path}", at.origin());
        }
        let mut error = nonsense(&at, request, "the nodes redirect in a circle");
        if let Error::Nonsense { may_be_done, .. } = &mut error {
            *may_be_done = false;
        }
        Err(error)
    }

    /// The node that the command line names.
    pub(super) fn place(&self) -> Place {
        Place::named(&self.server, self.flags.server)
    }

    /// Which token is shown, for whoever is refused.
    fn shown(&self) -> String {
        match &self.token {
            Some(token) => format!("the token is that of {}", token.source()),
            None => format!("give one with {}", self.flags.token),
        }
    }

    /// The error of an answer that says no.
    fn refused(&self, at: Place, request: &Request<'_>, response: &mut Response<Body>) -> Error {
        let status = response.status();
        let mut body = Vec::new();
        let read = answer::read(
            &mut response.body_mut().as_reader(),
            &mut body,
            Bound::Small.bytes_max(),
        );
        let named = match read {
            Ok(()) if request.method == Method::HEAD => problem_of_head(response),
            Ok(()) => problem(status, &body),
            Err(_) => None,
        };
        match named {
            Some(problem) => Error::Refused(Box::new(Refusal::new(problem, || self.shown()))),
            None => Error::Foreign {
                at,
                status: status.as_u16(),
                // What passes a request on may have done so; what refuses one has not.
                may_be_done: request.is_write && status.is_server_error(),
            },
        }
    }

    /// Reads the body of an answer, up to what a node may send.
    pub(super) fn body(
        &self,
        at: &Place,
        request: &Request<'_>,
        response: &mut Response<Body>,
    ) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let mut reader = response.body_mut().as_reader();
        let mut bytes_max = request.bound.bytes_max();
        let mut read = answer::read(&mut reader, &mut body, bytes_max);
        if request.bound == Bound::Values && matches!(read, Err(ReadError::TooLong)) {
            let limits = self.status()?.limits;
            bytes_max = Bound::values_bytes_max(limits.value_bytes_max);
            read = answer::read(&mut reader, &mut body, bytes_max);
        }
        match read {
            Ok(()) => Ok(body),
            Err(ReadError::TooLong) => {
                let why = format!("its answer has over {bytes_max} bytes, more than any node sends");
                Err(nonsense(at, request, why))
            }
            Err(ReadError::Io(error)) => Err(self.failed(at, request, error.into())),
        }
    }

    fn send_to(&self, url: &str, at: &Place, request: &Request<'_>) -> Result<Response<Body>, Error> {
        let mut parts = http::Request::builder()
            .method(request.method.clone())
            .uri(url)
            .header(header::ACCEPT, request.accept);
        if let Some(token) = &self.token {
            parts = parts.header(header::AUTHORIZATION, token.bearer());
        }
        parts = match request.condition {
            Condition::None => parts,
            Condition::Absent => parts.header(header::IF_NONE_MATCH, "*"),
            Condition::Version(version) => parts.header(header::IF_MATCH, format!("\"{version}\"")),
        };
        let agent = self
            .of_socket
            .as_ref()
            .filter(|_| at.is_socket())
            .unwrap_or(&self.agent);
        let sent = match request.body {
            Some((body, media)) => parts
                .header(header::CONTENT_TYPE, media)
                .body(body)
                .map(|request| agent.run(request)),
            None if request.is_endless => parts.body(()).map(|request| {
                let request = agent.configure_request(request);
                agent.run(
                    request
                        .timeout_global(None)
                        .timeout_recv_response(Some(self.timeout))
                        .build(),
                )
            }),
            None => parts.body(()).map(|request| agent.run(request)),
        };
        let sent = sent.map_err(|_| nonsense(at, request, "the request cannot be sent to it"))?;
        sent.map_err(|error| self.failed(at, request, error))
    }

    /// What the failure of a request comes to, by when it failed: before anything was sent, or later.
    pub(super) fn failed(&self, at: &Place, request: &Request<'_>, error: ureq::Error) -> Error {
        use io::ErrorKind;
        let unreachable = |why: &str| Error::Unreachable {
            at: at.clone(),
            why: why.to_owned(),
        };
        let untrusted = |why| Error::Untrusted { at: at.clone(), why };
        let timed_out = || Error::TimedOut {
            at: at.clone(),
            waited: self.timeout,
            may_be_done: request.is_write,
        };
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                unreachable("no answer to the attempt to connect")
            }
            ureq::Error::Timeout(_) => timed_out(),
            ureq::Error::HostNotFound => unreachable("there is no such host"),
            ureq::Error::ConnectionFailed => unreachable("there is no connection"),
            ureq::Error::Rustls(error) => untrusted(tls::words(&error)),
            ureq::Error::Tls(why) => unreachable(why),
            ureq::Error::Io(error) if tls::words_of(&error).is_some() => {
                untrusted(tls::words_of(&error).unwrap_or_default())
            }
            ureq::Error::Io(error) if system::is_look_up(&error) => unreachable(&system::words(&error)),
            ureq::Error::Io(error) => match error.kind() {
                ErrorKind::NotFound if at.is_socket() => unreachable("there is no socket at this path"),
                ErrorKind::TimedOut => timed_out(),
                kind if system::is_of_connecting(kind) => unreachable(&system::words(&error)),
                kind => Error::Broken {
                    at: at.clone(),
                    why: match kind {
                        ErrorKind::UnexpectedEof => "the other side closed it".to_owned(),
                        _ => system::words(&error),
                    },
                    may_be_done: request.is_write,
                },
            },
            _ => nonsense(at, request, "its answer is not HTTP"),
        }
    }
}

/// What TLS is spoken with. Without any trust nobody is believed.
fn tls_config(trust: Option<Trust>) -> TlsConfig {
    let (roots, identity) = trust.map_or((Vec::new(), None), |trust| (trust.roots, trust.identity));
    let roots: Vec<Certificate<'static>> = roots
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(roots.into()))
        .client_cert(identity.and_then(client_certificate))
        .unversioned_rustls_crypto_provider(tls::provider())
        .build()
}

/// What ureq takes. Of keys that is PEM alone: it keeps the names of their forms to itself.
fn client_certificate(identity: Identity) -> Option<ClientCert> {
    let chain: Vec<Certificate<'static>> = identity
        .chain
        .iter()
        .map(|one| Certificate::from_der(one).to_owned())
        .collect();
    let form = match &identity.key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let text = BASE64_STANDARD.encode(identity.key.secret_der());
    let pem = format!("-----BEGIN {form}-----\n{text}\n-----END {form}-----\n");
    let key = PrivateKey::from_pem(pem.as_bytes()).ok()?;
    Some(ClientCert::new_with_certs(&chain, key))
}

pub(super) fn nonsense(at: &Place, request: &Request<'_>, why: impl Into<String>) -> Error {
    Error::Nonsense {
        at: at.clone(),
        why: why.into(),
        may_be_done: request.is_write,
    }
}

/// What a node says no to HEAD with: there is no body to name it, but its type.
fn problem_of_head(response: &Response<Body>) -> Option<Problem> {
    let media = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let status = response.status();
    (media == api::MEDIA_PROBLEM).then(|| Problem {
        kind: String::new(),
        title: status.canonical_reason().unwrap_or("no reason given").to_owned(),
        status: status.as_u16(),
        detail: String::new(),
        field: None,
        limit: None,
        version: None,
        index: None,
        oldest: None,
        deleted: None,
        outcome: None,
    })
}

/// Where a Location leads, if to a node: its origin, and the rest. `from` is the origin of who says it.
fn resolve(from: &str, location: &str) -> Option<(String, String)> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some((from.to_owned(), location.to_owned()));
    }
    // Whoever was asked under TLS sends nobody, and no token, where there is none.
    let scheme = from.split_once("://").map_or("http", |(scheme, _)| scheme);
    let rest = location.strip_prefix(scheme)?.strip_prefix("://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host: Address = format!("{scheme}://{host}").parse().ok()?;
    Some((host.to_string(), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_request_is_sent_on() {
        let to = |location| resolve("http://a:1", location).map(|(origin, path)| origin + &path);
        let to_tls = |location| resolve("https://a:1", location).map(|(origin, path)| origin + &path);
        assert_eq!(to_tls("https://b:2/kv").as_deref(), Some("https://b:2/kv"));
        assert_eq!(to_tls("http://b:2/kv"), None);
        assert_eq!(to("/kv/k").as_deref(), Some("http://a:1/kv/k"));
        assert_eq!(to("http://b:2/kv/k?x").as_deref(), Some("http://b:2/kv/k?x"));
        assert_eq!(to("http://[::1]:2/kv/k").as_deref(), Some("http://[::1]:2/kv/k"));
        for other in [
            "https://b:2/kv/k",
            "//b:2/kv/k",
            "http://user@b:2/kv/k",
            "http:///kv",
            "kv/k",
        ] {
            assert_eq!(to(other), None, "{other}");
        }
    }
}
