//! Errors as a client sees them: `application/problem+json` (RFC 9457).
//!
//! A [`Kind`] is the part that never changes: status, type and title. A [`Problem`] adds what is wrong this
//! time, and members such as the field at fault or the limit that was passed. Making and writing the common
//! ones allocates nothing: a cache answers a good part of its reads with 404.

use super::response::{Body, Encoder, Envelope, Media, Reply, push_decimal, push_json_string};
use crate::escape;
use std::borrow::Cow;
use std::time::Instant;
use tiny_http::{Header, StatusCode};

/// A kind of problem.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) status: u16,
    pub(crate) name: &'static str,
    title: &'static str,
}

macro_rules! kinds {
    ($($constant:ident $status:literal $name:literal $title:literal;)*) => {
        $(pub(crate) const $constant: &Kind = &Kind { status: $status, name: $name, title: $title };)*

        /// All of them.
        #[cfg(test)]
        pub(crate) const KINDS: &[&Kind] = &[$($constant),*];
    };
}

kinds! {
    NOT_PRIMARY 307 "not-primary" "The primary takes writes";
    MALFORMED 400 "malformed-request" "The request is malformed";
    NOT_TLS 400 "not-tls" "This port speaks TLS";
    BAD_KEY 400 "bad-key" "The key is not valid";
    BAD_QUERY 400 "bad-query" "The query is not understood";
    BAD_JSON 400 "bad-json" "The body is not JSON";
    CROSS_SLOT 400 "cross-slot" "The keys are in different slots";
    BAD_PRECONDITION 400 "bad-precondition" "The precondition is not understood";
    UNAUTHORIZED 401 "unauthorized" "A token is needed";
    FORBIDDEN 403 "forbidden" "The token does not allow this";
    CROSS_SITE 403 "cross-site" "Pages of other sites may not do this";
    NO_KEY 404 "no-such-key" "The key does not exist";
    NO_NODE 404 "no-such-node" "The node is not known";
    NO_PATH 404 "no-such-path" "There is nothing at this path";
    METHOD 405 "method-not-allowed" "The path does not take this method";
    NOT_ACCEPTABLE 406 "not-acceptable" "The answer has no form that is acceptable";
    TIMEOUT 408 "request-timeout" "The request took too long";
    EXISTS 409 "key-exists" "The key exists";
    FOREIGN_VALUE 409 "foreign-value" "The value was not written by pykv";
    OVERFLOW 409 "overflow" "The number would be too large";
    IS_PRIMARY 409 "is-primary" "The node is the primary";
    NOT_ELECTED 409 "not-elected" "The node was started without etcd";
    NOT_ABLE 409 "not-able" "No node can take over";
    ELECTED 409 "elected" "Etcd decides who is primary";
    STALE_CURSOR 410 "stale-cursor" "The cursor is from before a restart";
    OFFSET_GONE 410 "offset-gone" "The log does not have this offset";
    LENGTH 411 "length-required" "The body's length is needed";
    PRECONDITION 412 "precondition-failed" "The precondition does not hold";
    TOO_LARGE 413 "too-large" "The body is too large";
    TARGET_TOO_LONG 414 "target-too-long" "The request line is too long";
    MEDIA_TYPE 415 "media-type" "The body's media type is not understood";
    EXPECTATION 417 "expectation" "The expectation cannot be met";
    OTHER_LOG 421 "other-log" "The log is another one";
    MISDIRECTED 421 "misdirected" "The request is for another host";
    SHAPE 422 "wrong-shape" "The body is not what is asked for";
    NOT_A_NUMBER 422 "not-a-number" "The value is not a whole number";
    HEADERS 431 "headers-too-large" "The header is too large";
    LOG_UNREADABLE 500 "log-unreadable" "The log cannot be read";
    UNKNOWN_METHOD 501 "unknown-method" "The method is not known";
    TRANSFER_CODING 501 "transfer-coding" "The transfer coding is not known";
    NOT_OF_ENGINE 501 "not-of-engine" "A gateway to another engine does not have this";
    OVERLOADED 503 "overloaded" "The node is busy";
    NO_WRITES 503 "writes-refused" "The node takes no writes now";
    UNKNOWN_OUTCOME 503 "outcome-unknown" "The change may or may not survive";
    NOT_COMPACTED 503 "not-compacted" "The log could not be compacted";
    HELD 503 "held" "The node holds its writers";
    NO_PRIMARY 503 "no-primary" "No primary is known";
    BEHIND 503 "behind" "The node is behind";
    NOT_REPLICATED 503 "not-replicated" "Too few replicas have the change";
    NOT_READY 503 "not-ready" "The node is not ready";
    ENGINE_UNAVAILABLE 503 "engine-unavailable" "The engine is not available";
    ENGINE_REFUSED 503 "engine-refused" "The engine refuses the request";
    HTTP_VERSION 505 "http-version" "The HTTP version is not supported";
    DISK_FULL 507 "disk-full" "The disk is full";
    ENGINE_FULL 507 "engine-full" "The engine's memory is full";
    UNKNOWN_OUTCOME_DISK_FULL 507 "outcome-unknown" "The change may or may not survive";
}

/// A member of a problem beside those that all have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    Number(u64),
    Text(Cow<'static, str>),
}

/// One error.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) kind: &'static Kind,
    detail: Cow<'static, str>,
    members: Vec<(&'static str, Member)>,
    headers: Vec<Header>,
}

impl Problem {
    pub(crate) fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem {
            kind,
            detail: detail.into(),
            members: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// What is wrong, for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Names the field at fault.
    pub(crate) fn field(self, field: impl Into<Cow<'static, str>>) -> Problem {
        self.member("field", Member::Text(field.into()))
    }

    /// Says the limit that was passed.
    pub(crate) fn limit(self, limit: u64) -> Problem {
        self.member("limit", Member::Number(limit))
    }

    /// Says the first offset that the log has.
    pub(crate) fn oldest(self, oldest: u64) -> Problem {
        self.member("oldest", Member::Number(oldest))
    }

    fn member(mut self, name: &'static str, member: Member) -> Problem {
        self.members.push((name, member));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Problem {
        self.headers
            .extend(crate::http::response::header(name, value.as_ref()));
        self
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Problem {
        self.header("Retry-After", seconds.to_string())
    }

    /// The node holds its writers: the answer to a write that it held for too long, and to a probe meanwhile.
    pub(crate) fn held() -> Problem {
        let why =
            "the node asks the others first whether it is still the primary, or hands over to one of them";
        Problem::new(HELD, why).retry_after(1)
    }

    /// Whether it is the one that [`Problem::held`] makes, with nothing done before it.
    pub(crate) fn is_held(&self) -> bool {
        self.kind.name == HELD.name && self.members.is_empty()
    }

    /// As an answer to nothing that was read, behind which the connection is closed.
    pub(crate) fn into_last_answer(self) -> Vec<u8> {
        let (mut answer, mut body) = (Vec::new(), Vec::new());
        let reply = self.into_reply(&mut body);
        let envelope = Envelope {
            close: true,
            ..Envelope::default()
        };
        let mut encoder = Encoder::new("");
        encoder.tick(Instant::now());
        encoder.encode(&mut answer, envelope, &reply, &body);
        answer
    }

    /// Writes the body in place of whatever `body` holds.
    pub(crate) fn into_reply(self, body: &mut Vec<u8>) -> Reply {
        body.clear();
        body.extend_from_slice(b"{\"type\":\"urn:pykv:problem:");
        body.extend_from_slice(self.kind.name.as_bytes());
        body.extend_from_slice(b"\",\"title\":");
        push_json_string(body, self.kind.title);
        body.extend_from_slice(b",\"status\":");
        push_decimal(body, u64::from(self.kind.status));
        body.extend_from_slice(b",\"detail\":");
        // It may name what a stranger sent, and ends up on terminals and in logs.
        push_json_string(body, &escape::line(&self.detail));
        for (name, member) in &self.members {
            body.push(b',');
            push_json_string(body, name);
            body.push(b':');
            match member {
                Member::Number(number) => push_decimal(body, *number),
                Member::Text(text) => push_json_string(body, text),
            }
        }
        body.push(b'}');
        let mut reply = Reply::new(StatusCode(self.kind.status), Body::Written(Media::Problem));
        reply.headers = self.headers;
        reply
    }

    /// The key is there, and should not be.
    pub(crate) fn exists(kind: &'static Kind, version: u64, advice: &'static str) -> Problem {
        Problem::new(kind, format!("the key exists, in version {version}{advice}"))
            .member("version", Member::Number(version))
    }

    /// The key is there, in another version than was asked for.
    pub(crate) fn precondition_failed(version: u64) -> Problem {
        Problem::new(PRECONDITION, format!("the key is in version {version}"))
            .member("version", Member::Number(version))
    }

    /// Says what became of a change.
    pub(crate) fn outcome(self, outcome: &'static str) -> Problem {
        self.member("outcome", Member::Text(outcome.into()))
    }

    /// Says which operation of a batch it is about, counted from 0.
    pub(crate) fn index(self, index: usize) -> Problem {
        self.member("index", Member::Number(index as u64))
    }

    /// How many replicas have a change that was to be had by more.
    pub(crate) fn not_replicated(wanted: usize, reached: usize) -> Problem {
        let why = format!("{reached} of {wanted} replicas have it; this node keeps it");
        Problem::new(NOT_REPLICATED, why).replicas(reached)
    }

    /// Says how many replicas have a change.
    pub(crate) fn replicas(self, reached: usize) -> Problem {
        self.member("replicas", Member::Number(reached as u64))
    }

    /// Says how many keys were deleted before it came to this.
    pub(crate) fn deleted(self, keys: u64) -> Problem {
        self.member("deleted", Member::Number(keys))
    }
}

pub(crate) fn no_key() -> Problem {
    Problem::new(NO_KEY, "key not found")
}

pub(crate) fn value_too_large(bytes_max: u64) -> Problem {
    Problem::new(
        TOO_LARGE,
        format!("a value may have at most {bytes_max} bytes here"),
    )
    .limit(bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(problem: Problem) -> crate::api::Problem {
        let mut body = b"left over".to_vec();
        problem.into_reply(&mut body);
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_problem_reads_as_what_a_client_expects() {
        let problem = body(
            Problem::new(SHAPE, "not \"this\"\n\u{202e}")
                .field("ttl")
                .limit(7),
        );
        assert_eq!(problem.kind, "urn:pykv:problem:wrong-shape");
        assert_eq!((problem.status, problem.limit), (422, Some(7)));
        assert_eq!(problem.field.as_deref(), Some("ttl"));
        assert_eq!(problem.detail, "not \"this\"\\u{a}\\u{202e}");
    }
}
