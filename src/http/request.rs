//! The head of a request: parsed by httparse, then held to what HTTP asks beyond its grammar.
//!
//! Two readings of one request are how requests are smuggled past a proxy. So everything that could be
//! read in two ways is refused: a length given twice, a length beside a transfer coding, a host given
//! twice or no host at all, line breaks inside a field, lines that end in LF alone. Nothing is guessed.

use super::authority::Authority;
use super::limits::{HEADERS_CEILING, Limits};
use super::problem::{self, Problem};
use crate::api;
use std::mem::MaybeUninit;
use std::str::FromStr;
use tiny_http::Method;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, and no word of one.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, up to an empty one.
    Chunked,
}

/// The values of a field that may stand on several lines, in their order.
#[derive(Debug, Default)]
pub(crate) struct Lines<'a> {
    first: Option<&'a [u8]>,
    /// Nearly always empty, and then without an allocation.
    more: Vec<&'a [u8]>,
}

impl<'a> Lines<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The value, where there is one line.
    pub(crate) fn single(&self) -> Option<&'a [u8]> {
        self.first.filter(|_| self.more.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.first.into_iter().chain(self.more.iter().copied())
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(values: [&'a str; N]) -> Lines<'a> {
        let mut lines = Lines::default();
        values.iter().for_each(|value| lines.push(value.as_bytes()));
        lines
    }

    fn push(&mut self, value: &'a [u8]) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.more.push(value),
        }
    }
}

/// The head of a request, borrowed from the bytes it came in.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    /// The path, percent-encoded as it came.
    pub(crate) path: &'a str,
    /// What follows the `?`, if there is one.
    pub(crate) query: Option<&'a str>,
    pub(crate) is_http10: bool,
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
    /// The client waits for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) accept: Lines<'a>,
    pub(crate) accept_encoding: Lines<'a>,
    pub(crate) authorization: Option<&'a [u8]>,
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) content_encoding: Option<&'a [u8]>,
    pub(crate) content_range: Option<&'a [u8]>,
    pub(crate) if_match: Lines<'a>,
    pub(crate) if_none_match: Lines<'a>,
    pub(crate) last_event_id: Option<&'a [u8]>,
    /// What is asked of the node's place in its cluster; see [`crate::handlers::consistency`].
    pub(crate) min_offset: Option<&'a [u8]>,
    pub(crate) sync_replicas: Option<&'a [u8]>,
    pub(crate) sync_timeout: Option<&'a [u8]>,
    pub(crate) sync_required: Option<&'a [u8]>,
    /// The host that the request is for: the authority of an absolute target, else `Host`.
    pub(crate) host: Option<Authority<'a>>,
    /// What a browser says of the page that asks.
    pub(crate) origin: Option<&'a [u8]>,
    pub(crate) sec_fetch_site: Option<&'a [u8]>,
    /// Length of the head itself.
    pub(crate) bytes: usize,
}

impl<'a> Head<'a> {
    /// Reads the head that `bytes` begin with; `None` where they end before it does. Not inlined: the fields would stand
    /// on the stack while the request is handled, and an idle connection keeps as much of that as was ever touched.
    #[inline(never)]
    pub(crate) fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Option<Head<'a>>, Problem> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_CEILING];
        let mut request = httparse::Request::new(&mut []);
        let headers = &mut headers[..limits.headers_max.min(HEADERS_CEILING)];
        let head_bytes = match request.parse_with_uninit_headers(bytes, headers) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return check_partial(bytes, limits).map(|()| None),
            Err(error) => return Err(malformed(error, bytes, limits)),
        };
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err(Problem::new(
                problem::MALFORMED,
                "the request line is not complete",
            ));
        };
        let line_bytes = method.len() + target.len() + " ".len() * 2 + "HTTP/1.1".len();
        check_sizes(line_bytes, head_bytes - line_bytes, limits)?;
        let method = Method::from_str(method)
            .map_err(|()| Problem::new(problem::MALFORMED, "the method is not a token"))?;
        if has_bare_lf(&bytes[..head_bytes], request.headers.len()) {
            return Err(Problem::new(problem::MALFORMED, "a line ends in LF without CR"));
        }
        let Target {
            authority,
            path,
            query,
        } = Target::parse(target)?;
        let mut head = Head {
            method,
            path,
            query,
            is_http10: version == 0,
            keep_alive: false,
            framing: Framing::None,
            expects_continue: false,
            accept: Lines::default(),
            accept_encoding: Lines::default(),
            authorization: None,
            content_type: None,
            content_encoding: None,
            content_range: None,
            if_match: Lines::default(),
            if_none_match: Lines::default(),
            last_event_id: None,
            min_offset: None,
            sync_replicas: None,
            sync_timeout: None,
            sync_required: None,
            host: authority,
            origin: None,
            sec_fetch_site: None,
            bytes: head_bytes,
        };
        head.read_fields(request.headers)?;
        Ok(Some(head))
    }

    fn read_fields(&mut self, fields: &[httparse::Header<'a>]) -> Result<(), Problem> {
        let mut host = None;
        let mut length = None;
        let mut coding = None;
        let mut expect = None;
        let mut connection = Connection::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // By length first: most fields of most requests are none of these.
            match field.name.len() {
                4 if is("host") => once(&mut host, field)?,
                6 if is("accept") => self.accept.push(field.value),
                6 if is("origin") => once(&mut self.origin, field)?,
                6 if is("expect") => once(&mut expect, field)?,
                8 if is("if-match") => self.if_match.push(field.value),
                10 if is("connection") => connection.read(field.value),
                12 if is("content-type") => once(&mut self.content_type, field)?,
                13 if is("if-none-match") => self.if_none_match.push(field.value),
                13 if is("content-range") => once(&mut self.content_range, field)?,
                13 if is("last-event-id") => once(&mut self.last_event_id, field)?,
                13 if is("authorization") => once(&mut self.authorization, field)?,
                14 if is("content-length") => once(&mut length, field)?,
                14 if is("sec-fetch-site") => once(&mut self.sec_fetch_site, field)?,
                16 if is("content-encoding") => once(&mut self.content_encoding, field)?,
                15 if is("accept-encoding") => self.accept_encoding.push(field.value),
                15 if is(api::HEADER_MIN_OFFSET) => once(&mut self.min_offset, field)?,
                17 if is("transfer-encoding") => once(&mut coding, field)?,
                17 if is(api::HEADER_SYNC_TIMEOUT) => once(&mut self.sync_timeout, field)?,
                18 if is(api::HEADER_SYNC_REPLICAS) => once(&mut self.sync_replicas, field)?,
                18 if is(api::HEADER_SYNC_REQUIRED) => once(&mut self.sync_required, field)?,
                _ => {}
            }
        }
        let bad_host = |detail| Err(Problem::new(problem::MALFORMED, detail).field("Host"));
        match host.map(Authority::parse) {
            None if self.is_http10 => {}
            None => return bad_host("HTTP/1.1 needs a Host field"),
            Some(None) => return bad_host("it is a name or an address, and a port where there is one"),
            // An absolute target says itself whom it is for (RFC 9112, 3.2.2).
            Some(host) => self.host = self.host.or(host),
        }
        self.keep_alive = !connection.close && (!self.is_http10 || connection.keep_alive);
        self.framing = framing(length, coding, self.is_http10)?;
        if let Some(expect) = expect {
            if !expect.eq_ignore_ascii_case(b"100-continue") {
                return Err(
                    Problem::new(problem::EXPECTATION, "only 100-continue is understood").field("Expect"),
                );
            }
            self.expects_continue = !self.is_http10;
        }
        Ok(())
    }
}

/// What the client says of the connection, over all such fields. `close` wins, wherever it stands.
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

fn once<'a>(place: &mut Option<&'a [u8]>, field: &httparse::Header<'a>) -> Result<(), Problem> {
    match place.replace(field.value) {
        None => Ok(()),
        Some(_) => {
            Err(Problem::new(problem::MALFORMED, "the header field occurs twice")
                .field(field.name.to_owned()))
        }
    }
}

fn framing(length: Option<&[u8]>, coding: Option<&[u8]>, is_http10: bool) -> Result<Framing, Problem> {
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(length), None) => decimal(length).map(Framing::Length).ok_or_else(|| {
            Problem::new(problem::MALFORMED, "the length is not a number of bytes").field("Content-Length")
        }),
        (Some(_), Some(_)) => Err(Problem::new(
            problem::MALFORMED,
            "Content-Length and Transfer-Encoding contradict each other",
        )
        .field("Transfer-Encoding")),
        (None, Some(_)) if is_http10 => Err(Problem::new(
            problem::MALFORMED,
            "HTTP/1.0 has no transfer codings",
        )
        .field("Transfer-Encoding")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err(
            Problem::new(problem::TRANSFER_CODING, "only chunked is understood").field("Transfer-Encoding"),
        ),
    }
}

/// A number of digits alone: no sign, no blank, no list.
fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The parts of a target.
struct Target<'a> {
    /// Of an absolute one.
    authority: Option<Authority<'a>>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Splits a target in origin form or in absolute form.
    fn parse(target: &'a str) -> Result<Target<'a>, Problem> {
        let refused = |why| Err(Problem::new(problem::MALFORMED, why));
        let (authority, origin) = if target.starts_with('/') {
            (None, target)
        } else {
            let scheme = |name: &str| {
                let (scheme, rest) = target.split_at_checked(name.len())?;
                scheme.eq_ignore_ascii_case(name).then_some(rest)
            };
            let Some(rest) = scheme("http://").or_else(|| scheme("https://")) else {
                return refused("the target is not a path");
            };
            let (authority, origin) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            match Authority::parse(authority.as_bytes()) {
                Some(authority) if !authority.host.is_empty() => (Some(authority), origin),
                _ => return refused("the target names no host"),
            }
        };
        if origin.contains('#') {
            return refused("a fragment is not sent to a server");
        }
        let (path, query) = match origin.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (origin, None),
        };
        Ok(Target {
            authority,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}

/// Whether a line of a head ends in LF alone. The parser has seen to it that every CR stands before an LF, and that
/// there is a line for the request, for each field and for the end, behind blank ones; so to count CRs says it.
fn has_bare_lf(head: &[u8], fields: usize) -> bool {
    let blank = head
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    // In parts so short that a byte has room for the count: then the compiler counts sixteen bytes at a time.
    let parts = head.chunks(u8::MAX.into());
    let crs = |part: &[u8]| usize::from(part.iter().map(|&byte| u8::from(byte == b'\r')).sum::<u8>());
    parts.map(crs).sum::<usize>() != fields + 2 + blank / 2 || blank % 2 == 1
}

fn check_sizes(line_bytes: usize, fields_bytes: usize, limits: &Limits) -> Result<(), Problem> {
    if line_bytes > limits.request_line_bytes_max {
        let limit = limits.request_line_bytes_max;
        return Err(Problem::new(
            problem::TARGET_TOO_LONG,
            format!("the request line may have at most {limit} bytes"),
        )
        .limit(limit as u64));
    }
    if fields_bytes > limits.header_bytes_max {
        let limit = limits.header_bytes_max;
        return Err(Problem::new(
            problem::HEADERS,
            format!("the header may have at most {limit} bytes"),
        )
        .limit(limit as u64));
    }
    Ok(())
}

/// Refuses what is too long already, though it has not come to its end.
fn check_partial(bytes: &[u8], limits: &Limits) -> Result<(), Problem> {
    // Blank lines may stand before a request; they count as the line's.
    let content = bytes.iter().position(|byte| !b"\r\n".contains(byte));
    let start = content.unwrap_or(0);
    match bytes[start..].iter().position(|&byte| byte == b'\n') {
        Some(line_bytes) if content.is_some() => {
            check_sizes(start + line_bytes, bytes.len() - start - line_bytes, limits)
        }
        _ => check_sizes(bytes.len(), 0, limits),
    }
}

fn malformed(error: httparse::Error, bytes: &[u8], limits: &Limits) -> Problem {
    if let Err(too_long) = check_partial(bytes, limits) {
        return too_long;
    }
    let why = match error {
        httparse::Error::TooManyHeaders => {
            let limit = limits.headers_max.min(HEADERS_CEILING);
            return Problem::new(
                problem::HEADERS,
                format!("there may be at most {limit} header fields"),
            )
            .limit(limit as u64);
        }
        httparse::Error::Version => {
            return Problem::new(problem::HTTP_VERSION, "the node speaks HTTP/1.1 and HTTP/1.0");
        }
        httparse::Error::HeaderName => "a header field's name is not a token",
        httparse::Error::HeaderValue => "a header field's value has a byte that it must not",
        httparse::Error::NewLine => "a line does not end as it must",
        _ => "the request line is not one",
    };
    Problem::new(problem::MALFORMED, why)
}
