//! One request to one endpoint: sent, and its answer read within a bound and a time.
//!
//! A failure before anything was sent is another one than a failure after it: only the first says that nothing was done.

use super::error::no_answer_within;
use super::wire::{self, No};
use crate::address::Address;
use crate::system;
use crate::tls::{self, Trust};
use std::io::{self, Read};
use std::time::Duration;
use ureq::config::Config;
use ureq::http::{HeaderValue, Response, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Longest answer, in bytes: etcd takes no request of more than 1.5 MiB, and pykv writes a few KiB.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Read at a time, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// The part of a request's time in which a connection must be made: so a host that is away is no slow etcd.
const CONNECT_SHARE: f64 = 0.75;

/// Asks the member to say at once that it has no leader, rather than to wait for one.
const HEADER_REQUIRE_LEADER: &str = "Grpc-Metadata-Hasleader";

const MEDIA_JSON: &str = "application/json";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, at least in part, and no answer came.
    Lost(String),
    /// The other side proves to be nobody that is trusted. Nothing was sent.
    Untrusted(String),
    /// etcd says no.
    Etcd { code: u32, message: String },
    /// There is nothing at this path.
    NoGateway,
    /// The answer is not one that etcd gives.
    Foreign(String),
}

impl From<No> for Failed {
    fn from(no: No) -> Failed {
        match no {
            No::Etcd { code, message } => Failed::Etcd { code, message },
            No::Malformed(why) => Failed::Foreign(why.to_owned()),
        }
    }
}

/// What requests to all endpoints have in common.
pub(super) fn config(trust: Option<Trust>) -> Config {
    let roots = trust.map_or(Vec::new(), |trust| trust.roots);
    let roots: Vec<Certificate<'static>> = roots
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(roots.into()))
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None) // etcd is spoken to directly; http_proxy is meant for others.
        .user_agent(concat!("pykv/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
}

/// A path, and what is sent to it.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    /// None for a GET.
    pub(super) body: Option<&'a [u8]>,
    pub(super) token: Option<&'a HeaderValue>,
}

/// Sends a request and returns the body of its answer.
pub(super) fn post(
    agent: &Agent,
    at: &Address,
    request: Request<'_>,
    timeout: Duration,
) -> Result<Vec<u8>, Failed> {
    let mut response = send(agent, at, request, Timeouts::Answer(timeout))?;
    let status = response.status();
    let body = read_all(&mut response.body_mut().as_reader()).map_err(|error| match error {
        ReadError::TooLong => Failed::Foreign("its answer is longer than any of etcd".to_owned()),
        ReadError::Io(error) => failed(ureq::Error::from(error), timeout),
    })?;
    match status.is_success() {
        true => Ok(body),
        false => Err(refused(status, &body)),
    }
}

/// Sends a request whose answer has no end, and returns it once it has begun. `silence_max`: how long nothing may come.
pub(super) fn open(
    agent: &Agent,
    at: &Address,
    request: Request<'_>,
    timeout: Duration,
    silence_max: Duration,
) -> Result<Response<Body>, Failed> {
    let timeouts = Timeouts::Stream {
        begin: timeout,
        silence_max,
    };
    let mut response = send(agent, at, request, timeouts)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read_all(&mut response.body_mut().as_reader()).unwrap_or_default();
    Err(refused(status, &body))
}

enum Timeouts {
    /// For all of it.
    Answer(Duration),
    /// Until it begins, and between two parts of it.
    Stream { begin: Duration, silence_max: Duration },
}

fn send(
    agent: &Agent,
    at: &Address,
    request: Request<'_>,
    timeouts: Timeouts,
) -> Result<Response<Body>, Failed> {
    let timeout = match timeouts {
        Timeouts::Answer(timeout) | Timeouts::Stream { begin: timeout, .. } => timeout,
    };
    let url = format!("{at}{}", request.path);
    let connect = Some(timeout.mul_f64(CONNECT_SHARE));
    macro_rules! configured {
        ($builder:expr) => {{
            let mut builder = $builder.header(HEADER_REQUIRE_LEADER, "true");
            if let Some(token) = request.token {
                builder = builder.header(header::AUTHORIZATION, token);
            }
            let config = builder.config().timeout_connect(connect).timeout_resolve(connect);
            match timeouts {
                Timeouts::Answer(timeout) => config.timeout_global(Some(timeout)).build(),
                Timeouts::Stream { begin, silence_max } => config
                    .timeout_recv_response(Some(begin))
                    .timeout_per_read(Some(silence_max))
                    .build(),
            }
        }};
    }
    let sent = match request.body {
        Some(body) => configured!(agent.post(url))
            .header(header::CONTENT_TYPE, MEDIA_JSON)
            .send(body),
        None => configured!(agent.get(url)).call(),
    };
    sent.map_err(|error| failed(error, timeout))
}

/// What an answer says whose status is an error's.
fn refused(status: StatusCode, body: &[u8]) -> Failed {
    match wire::refusal(body) {
        Some(no) => no.into(),
        None if status == StatusCode::NOT_FOUND => Failed::NoGateway,
        None => Failed::Foreign(format!("it answers with HTTP status {}", status.as_u16())),
    }
}

enum ReadError {
    TooLong,
    Io(io::Error),
}

fn read_all(from: &mut impl Read) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let mut piece = [0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(body),
            Ok(bytes) if body.len() + bytes > ANSWER_BYTES_MAX => return Err(ReadError::TooLong),
            Ok(bytes) => body.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadError::Io(error)),
        }
    }
}

/// What the failure of a request comes to, by when it failed.
pub(super) fn failed(error: ureq::Error, timeout: Duration) -> Failed {
    use io::ErrorKind;
    let late = || no_answer_within(timeout);
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Failed::NotSent("no answer to the attempt to connect".to_owned())
        }
        ureq::Error::Timeout(_) => Failed::Lost(late()),
        ureq::Error::HostNotFound => Failed::NotSent("there is no such host".to_owned()),
        ureq::Error::ConnectionFailed => Failed::NotSent("there is no connection".to_owned()),
        ureq::Error::Rustls(error) => Failed::Untrusted(words_of_tls(&error)),
        ureq::Error::Tls(why) => Failed::NotSent(why.to_owned()),
        ureq::Error::Io(error) => match error.kind() {
            _ if rustls_error(&error).is_some() => {
                Failed::Untrusted(rustls_error(&error).map(words_of_tls).unwrap_or_default())
            }
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Failed::Lost(late()),
            kind if system::is_of_connecting(kind) => Failed::NotSent(system::words(&error)),
            ErrorKind::UnexpectedEof => Failed::Lost("the other side closed the connection".to_owned()),
            _ => Failed::Lost(system::words(&error)),
        },
        _ => Failed::Foreign("its answer is not HTTP".to_owned()),
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn words_of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "its certificate is from an unknown CA; --etcd-ca names a file with the CA to trust".to_owned()
        }
        error => tls::words(error),
    }
}
