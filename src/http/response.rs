//! Answers, and how they stand on the wire.
//!
//! tiny_http gives the vocabulary (status codes with their phrases, header fields). The head is written
//! here, not by its `raw_print`: that one drops every `Connection` header, while a server that closes must
//! say so, and turns to chunked encoding at 32 KiB, while all but streams has a length that is known. Nor
//! does it append to a buffer that several answers share, which is what one write for a whole pipeline
//! needs. The fields that nearly every answer has are typed and written without allocating.

use crate::api;
use crate::wall;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tiny_http::{Header, StatusCode};

/// A form that a body can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Octets,
    Problem,
    /// Server-sent events.
    Events,
    /// The files of the page.
    Html,
    Css,
    Script,
    Svg,
    /// What Prometheus reads.
    Metrics,
}

impl Media {
    fn name(self) -> &'static str {
        match self {
            Media::Json => api::MEDIA_JSON,
            Media::Octets => api::MEDIA_OCTETS,
            Media::Problem => api::MEDIA_PROBLEM,
            Media::Events => api::MEDIA_EVENTS,
            Media::Html => "text/html; charset=utf-8",
            Media::Css => "text/css; charset=utf-8",
            Media::Script => "text/javascript; charset=utf-8",
            Media::Svg => "image/svg+xml",
            Media::Metrics => prometheus::TEXT_FORMAT,
        }
    }
}

/// What stands in an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing, by the meaning of the status.
    None,
    /// What the handler wrote into the connection's buffer.
    Written(Media),
    /// Of a HEAD: so many bytes, if they were sent.
    Measured(Media, u64),
    /// Of a HEAD: a length that is not known before the body is made.
    Unmeasured(Media),
    /// What is made and sent after the head, in chunks; for HTTP/1.0, up to the close.
    Streamed(Media),
}

/// One answer without the bytes of its body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Body,
    /// The version of the key, for its ETag.
    pub(crate) version: Option<u64>,
    /// For a write: what must be waited for before this answer may go out.
    pub(crate) offset: Option<u64>,
    pub(crate) caching: Caching,
    /// What few answers have.
    pub(crate) headers: Vec<Header>,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, body: Body) -> Reply {
        Reply {
            status,
            body,
            version: None,
            offset: None,
            caching: Caching::None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn version(mut self, version: u64) -> Reply {
        self.version = Some(version);
        self
    }

    /// Says what a read of a replica shows, where it does not wait for anything.
    pub(crate) fn seen(self, offset: Option<u64>) -> Reply {
        match offset {
            Some(offset) if self.offset.is_none() => self.header(api::HEADER_OFFSET, &offset.to_string()),
            _ => self,
        }
    }

    pub(crate) fn offset(mut self, offset: Option<u64>) -> Reply {
        self.offset = offset;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.extend(header(name, value));
        self
    }
}

/// A field of an answer's head; none where its value is not one line of visible ASCII. This is the one place where
/// fields are made of text, so a value that comes from outside cannot end its field and begin another.
pub(crate) fn header(name: &'static str, value: &str) -> Option<Header> {
    let is_field = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let header = Header::from_bytes(name, value).ok().filter(|_| is_field);
    if header.is_none() {
        log::error!("the header field {name} is left out, since its value cannot be in one: {value:?}");
    }
    header
}

/// What keeps browsers from taking an answer for something else than it is. All answers have it: a value has the
/// origin of the node's page, and a page of another site may not load one as an image or a script of its own.
const GUARD: &[u8] = b"\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin";

/// Who may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Nobody: it holds data, or says how the node is.
    None,
    /// A browser, which asks before each use whether it is still so.
    Revalidated,
}

/// What an answer says about the pages of other origins that may read it: fields, as they stand in its head. Mostly
/// there are none; see `cors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sharing(&'static str);

impl Sharing {
    /// `fields` begin with the end of the line before them.
    pub(super) fn new(fields: &'static str) -> Sharing {
        Sharing(fields)
    }
}

/// What the connection adds to an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Envelope {
    /// The request was a HEAD: the body stays away.
    pub(crate) is_head: bool,
    /// The request was of HTTP/1.0, where a connection that stays open must be said to.
    pub(crate) is_http10: bool,
    /// The server closes the connection after this answer.
    pub(crate) close: bool,
    pub(crate) sharing: Sharing,
}

/// Writes answers one after the other.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// `Server`, `Date`, [`GUARD`], and what is said of TLS.
    stamp: Vec<u8>,
    /// When the second ends that the stamp tells.
    stale_at: Option<Instant>,
    /// What the log's policy makes of an acknowledged write.
    durable: &'static str,
    /// For how long a browser is to come by TLS alone; none where nothing is said of that.
    tls_only: Option<Duration>,
}

impl Encoder {
    pub(crate) fn new(durable: &'static str) -> Encoder {
        Encoder {
            stamp: Vec::new(),
            stale_at: None,
            durable,
            tls_only: None,
        }
    }

    /// From the next [`Encoder::tick`] on, answers tell a browser to come by TLS alone for so long. Only to be said
    /// under TLS (RFC 6797, 7.2).
    pub(crate) fn set_tls_only(&mut self, age: Duration) {
        self.tls_only = Some(age);
    }

    /// Brings the date up to `now`; once for all the answers that go out together. The system's clock is asked
    /// once a second, since the other one has to be read anyway.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.stale_at.is_some_and(|stale_at| now < stale_at) {
            return;
        }
        let date = wall::now();
        let since_second = date
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let left = Duration::from_secs(1) - Duration::from_nanos(u64::from(since_second));
        self.stale_at = Some(now + left);
        self.stamp.clear();
        self.stamp.extend_from_slice(GUARD);
        self.stamp.extend_from_slice(b"\r\nServer: pykv\r\nDate: ");
        self.stamp
            .extend_from_slice(httpdate::fmt_http_date(date).as_bytes());
        if let Some(age) = self.tls_only {
            push_field(&mut self.stamp, "Strict-Transport-Security");
            self.stamp.extend_from_slice(b"max-age=");
            push_decimal(&mut self.stamp, age.as_secs());
        }
    }

    /// Appends an answer; `body` are the bytes of a [`Body::Written`].
    pub(crate) fn encode(&self, out: &mut Vec<u8>, envelope: Envelope, reply: &Reply, body: &[u8]) {
        out.reserve(512 + body.len());
        match reply.status.0 {
            200 => out.extend_from_slice(b"HTTP/1.1 200 OK"),
            status => {
                out.extend_from_slice(b"HTTP/1.1 ");
                push_decimal(out, u64::from(status));
                out.push(b' ');
                out.extend_from_slice(reply.status.default_reason_phrase().as_bytes());
            }
        }
        out.extend_from_slice(&self.stamp);
        out.extend_from_slice(envelope.sharing.0.as_bytes());
        let (media, length) = match reply.body {
            Body::None => (None, None),
            Body::Written(media) => (Some(media), Some(body.len() as u64)),
            Body::Measured(media, length) => (Some(media), Some(length)),
            Body::Unmeasured(media) | Body::Streamed(media) => (Some(media), None),
        };
        if let Some(media) = media {
            out.extend_from_slice(b"\r\nContent-Type: ");
            out.extend_from_slice(media.name().as_bytes());
        }
        if let Some(length) = length {
            out.extend_from_slice(b"\r\nContent-Length: ");
            push_decimal(out, length);
        }
        if matches!(reply.body, Body::Streamed(Media::Events)) {
            // nginx gathers an answer up before it passes it on, and a stream may never have enough for that.
            out.extend_from_slice(b"\r\nX-Accel-Buffering: no");
        }
        if matches!(reply.body, Body::Streamed(_)) && !envelope.is_http10 {
            out.extend_from_slice(b"\r\nTransfer-Encoding: chunked");
        }
        out.extend_from_slice(match reply.caching {
            Caching::None => b"\r\nCache-Control: no-store",
            Caching::Revalidated => b"\r\nCache-Control: no-cache",
        });
        if let Some(version) = reply.version {
            out.extend_from_slice(b"\r\nETag: \"");
            push_decimal(out, version);
            out.push(b'"');
        }
        if let Some(offset) = reply.offset {
            push_field(out, api::HEADER_OFFSET);
            push_decimal(out, offset);
            push_field(out, api::HEADER_DURABLE);
            out.extend_from_slice(self.durable.as_bytes());
        }
        for header in &reply.headers {
            push_field(out, header.field.as_str().as_str());
            out.extend_from_slice(header.value.as_bytes());
        }
        if envelope.close {
            out.extend_from_slice(b"\r\nConnection: close");
        } else if envelope.is_http10 {
            out.extend_from_slice(b"\r\nConnection: keep-alive");
        }
        out.extend_from_slice(b"\r\n\r\n");
        if !envelope.is_head && matches!(reply.body, Body::Written(_)) {
            out.extend_from_slice(body);
        }
    }
}

fn push_field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
}

/// Appends a number in decimal; several times as fast as the machinery of `write!`.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a string as JSON has it, quotes included.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    // Without a branch in it the compiler looks at many bytes at once; serde looks at one.
    let has_escapes = |found, &byte: &u8| found | (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if text.as_bytes().iter().fold(false, has_escapes) {
        serde_json::to_writer(&mut *out, text).expect("neither a string nor a vector can fail");
        return;
    }
    out.reserve(text.len() + "\"\"".len());
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends anything that is plain data as JSON.
pub(crate) fn push_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(&mut *out, value).expect("plain data has a form in JSON, and a vector takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(envelope: Envelope, reply: &Reply, body: &[u8]) -> String {
        let mut out = Vec::new();
        Encoder::new(api::DURABLE_WRITTEN).encode(&mut out, envelope, reply, body);
        String::from_utf8(out).unwrap()
    }

    const PLAIN: Envelope = Envelope {
        is_head: false,
        is_http10: false,
        close: false,
        sharing: Sharing(""),
    };

    #[test]
    fn an_answer_has_its_fields_in_order() {
        let reply = Reply::new(StatusCode(201), Body::Written(Media::Json))
            .version(7)
            .offset(Some(7))
            .header("Location", "/kv/a");
        assert_eq!(
            encoded(PLAIN, &reply, b"{}"),
            "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Cache-Control: no-store\r\nETag: \"7\"\r\nPykv-Offset: 7\r\nPykv-Durable: written\r\nLocation: /kv/a\r\n\r\n{}"
        );
    }

    #[test]
    fn a_head_has_the_length_and_not_the_body() {
        let head = Envelope {
            is_head: true,
            close: true,
            ..PLAIN
        };
        let reply = Reply::new(StatusCode(200), Body::Written(Media::Octets));
        assert_eq!(
            encoded(head, &reply, b"abc"),
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: 3\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn nothing_has_no_length() {
        let http10 = Envelope {
            is_http10: true,
            ..PLAIN
        };
        assert_eq!(
            encoded(http10, &Reply::new(StatusCode(204), Body::None), b"stale"),
            "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn a_value_that_would_end_its_field_is_left_out() {
        for wrong in ["a\r\nSet-Cookie: b", "a\nb", "\0", "a\tb", "\x7f", "é"] {
            let reply = Reply::new(StatusCode(204), Body::None).header("Location", wrong);
            let head = encoded(PLAIN, &reply, b"");
            assert!(!head.contains("Location"), "{head:?}");
        }
    }

    #[test]
    fn a_stream_is_not_to_be_gathered_up() {
        let reply = Reply::new(StatusCode(200), Body::Streamed(Media::Events));
        let head = encoded(PLAIN, &reply, b"");
        assert!(head.contains("\r\nX-Accel-Buffering: no\r\n"), "{head:?}");
    }

    #[test]
    fn decimals() {
        for number in [0, 9, 10, 12345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
