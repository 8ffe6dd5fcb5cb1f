//! Which request is which, and whether it may come in: all that is decided from the head alone.
//!
//! The order is that of a client's questions, once it is no page of another site that asks: is there such a
//! path, does it take the method, may I, is the body one it takes. It is decided before the body is read, so
//! that nobody sends a gigabyte to learn that the token was wrong.

use super::auth::Scope;
use super::context::Context;
use super::media::{self, Sent};
use super::page;
use super::problem::{self, Problem};
use super::request::{Framing, Head};
use super::target;
use crate::api;
use crate::log::Role;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::borrow::Cow;
use tiny_http::Method;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// All keys.
    Keys,
    /// One key, decoded and not yet checked.
    Key(Cow<'a, str>),
    Batch,
    Watch,
    Compact,
    Backup,
    /// A file of the web page.
    Page(&'static page::File),
    Status,
    Stats,
    History,
    Metrics,
    Healthz,
    Readyz,
    Primary,
    Replica,
    Promote,
    Forget,
    /// What a node says of itself to another.
    Hello,
    /// Asks a primary to hold its writers.
    Handover,
    /// The log, for followers.
    Log,
    /// The state, for followers.
    Snapshot,
}

impl<'a> Route<'a> {
    pub(super) fn of_path(path: &'a str) -> Result<Route<'a>, Problem> {
        Ok(match path.strip_prefix(api::PATH_KV) {
            Some("") => Route::Keys,
            Some(key) => Route::Key(target::decode(key, problem::BAD_KEY)?),
            None => match path {
                api::PATH_BATCH => Route::Batch,
                api::PATH_WATCH => Route::Watch,
                api::PATH_COMPACT => Route::Compact,
                api::PATH_BACKUP => Route::Backup,
                api::PATH_STATUS => Route::Status,
                api::PATH_STATS => Route::Stats,
                api::PATH_HISTORY => Route::History,
                api::PATH_METRICS => Route::Metrics,
                api::PATH_HEALTHZ => Route::Healthz,
                api::PATH_READYZ => Route::Readyz,
                api::PATH_PRIMARY => Route::Primary,
                api::PATH_REPLICA => Route::Replica,
                api::PATH_PROMOTE => Route::Promote,
                api::PATH_FORGET => Route::Forget,
                api::PATH_REPLICATION_HELLO => Route::Hello,
                api::PATH_REPLICATION_HANDOVER => Route::Handover,
                api::PATH_REPLICATION_LOG => Route::Log,
                api::PATH_REPLICATION_SNAPSHOT => Route::Snapshot,
                _ => match page::file(path) {
                    Some(file) => Route::Page(file),
                    None => return Err(Problem::new(problem::NO_PATH, "keys are under /kv/")),
                },
            },
        })
    }

    /// The methods it takes.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Route::Compact
            | Route::Promote
            | Route::Forget
            | Route::Hello
            | Route::Handover
            | Route::Batch => &["POST"],
            Route::Keys => &["GET", "HEAD", "POST", "DELETE"],
            Route::Key(_) => &["GET", "HEAD", "PUT", "PATCH", "DELETE"],
            // A HEAD of a piece of the log would be an acknowledgement.
            Route::Log | Route::Snapshot => &["GET"],
            Route::Watch
            | Route::Backup
            | Route::Status
            | Route::Stats
            | Route::History
            | Route::Metrics
            | Route::Healthz
            | Route::Readyz
            | Route::Primary
            | Route::Replica
            | Route::Page(_) => &["GET", "HEAD"],
        }
    }

    /// Whether it is about keys and values, and not about the node.
    pub(super) fn is_data(&self) -> bool {
        matches!(
            self,
            Route::Keys | Route::Key(_) | Route::Batch | Route::Watch | Route::Backup
        )
    }

    /// Whether no page of another site has any business with reading it: it is the node's whole state, or asking is
    /// an act (a poll of the log is an acknowledgement).
    fn is_guarded(&self) -> bool {
        matches!(self, Route::Backup | Route::Log | Route::Snapshot)
    }

    /// What a token must allow; none where no token is asked for.
    fn scope(&self, method: &Method) -> Option<Scope> {
        match (self, method) {
            (Route::Page(_) | Route::Healthz | Route::Readyz | Route::Primary | Route::Replica, _) => None,
            (
                Route::Compact
                | Route::Backup
                | Route::Promote
                | Route::Forget
                | Route::Hello
                | Route::Handover
                | Route::Log
                | Route::Snapshot,
                _,
            ) => Some(Scope::Admin),
            (_, Method::Get | Method::Head) => Some(Scope::Read),
            _ => Some(Scope::Write),
        }
    }
}

/// A request that may come in once its body is there.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    pub(super) route: Route<'a>,
    /// The form of its body; none where it has none.
    pub(super) sent: Option<Sent>,
    /// Longest body it may have, in bytes.
    pub(super) body_bytes_max: usize,
}

/// Decides from the head alone whether a request may come in.
pub(super) fn admit<'a>(context: &Context<'_>, head: &Head<'a>) -> Result<Admitted<'a>, Problem> {
    // A method that HTTP has got since; no path takes it.
    if let Method::NonStandard(name) = &head.method
        && name != "QUERY"
    {
        return Err(Problem::new(problem::UNKNOWN_METHOD, "HTTP has no such method"));
    }
    let hosts = &context.shared.hosts;
    hosts.check_name(head)?;
    let is_read = matches!(head.method, Method::Get | Method::Head);
    if !is_read {
        hosts.check_site(head)?;
    }
    let route = Route::of_path(head.path)?;
    if is_read && route.is_guarded() {
        hosts.check_site(head)?;
    }
    if !route.methods().contains(&head.method.as_str()) {
        let allowed = route.methods().join(", ");
        return Err(Problem::new(problem::METHOD, format!("it takes {allowed}")).header("Allow", allowed));
    }
    if let (Some(tokens), Some(scope)) = (&context.shared.tokens, route.scope(&head.method)) {
        tokens.check(head.authorization, scope)?;
    }
    if route.is_data() {
        check_role(context, head, route.scope(&head.method))?;
    }
    let missing = match head.method {
        Method::Post | Method::Patch if !matches!(route, Route::Compact | Route::Promote | Route::Forget) => {
            None
        }
        Method::Put => Some(Sent::Octets),
        _ => {
            return match head.framing {
                // A body in chunks may turn out to be empty, as some proxies make one of every DELETE.
                Framing::None | Framing::Length(0) | Framing::Chunked => Ok(Admitted {
                    route,
                    sent: None,
                    body_bytes_max: 0,
                }),
                Framing::Length(_) => Err(no_body()),
            };
        }
    };
    if head.framing == Framing::None {
        return Err(Problem::new(
            problem::LENGTH,
            "send Content-Length, or the body in chunks",
        ));
    }
    media::check_coding(head.content_encoding)?;
    let sent = media::sent(head.content_type, missing)?;
    let body_bytes_max = body_bytes_max(context, &route, sent);
    if let Framing::Length(length) = head.framing
        && length > body_bytes_max as u64
    {
        return Err(body_too_large(body_bytes_max));
    }
    Ok(Admitted {
        route,
        sent: Some(sent),
        body_bytes_max,
    })
}

/// Sends writes to the primary, and readers away where there is nothing whole to read.
fn check_role(context: &Context<'_>, head: &Head<'_>, scope: Option<Scope>) -> Result<(), Problem> {
    let node = context.node;
    if node.role() == Role::Primary {
        return Ok(());
    }
    if scope == Some(Scope::Write) {
        let Some(primary) = node.primary() else {
            let why = "the node is a replica, and hears no primary now";
            return Err(Problem::new(problem::NO_PRIMARY, why).retry_after(1));
        };
        let path = utf8_percent_encode(head.path, NOT_OF_URI);
        let mut location = format!("http://{primary}{path}");
        if let Some(query) = head.query {
            location.push('?');
            location.extend(utf8_percent_encode(query, NOT_OF_URI));
        }
        return Err(
            Problem::new(problem::NOT_PRIMARY, format!("send it to {primary}")).header("Location", location),
        );
    }
    if !node.is_synced() {
        let why = "the node is taking over the state of its primary";
        return Err(Problem::new(problem::NOT_READY, why).retry_after(1));
    }
    Ok(())
}

/// What stands in no URI as itself (RFC 3986). A client may have sent it in a target all the same.
const NOT_OF_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// There is a body where none is taken.
fn no_body() -> Problem {
    Problem::new(problem::MALFORMED, "the method takes no body here")
}

/// A body is longer than `body_bytes_max`, which is 0 where none is taken.
pub(super) fn body_too_large(body_bytes_max: usize) -> Problem {
    if body_bytes_max == 0 {
        return no_body();
    }
    Problem::new(
        problem::TOO_LARGE,
        format!("the body may have at most {body_bytes_max} bytes"),
    )
    .limit(body_bytes_max as u64)
}

/// The longest body in one of its forms: a value, or JSON that may write each byte of it in six.
pub(super) fn body_bytes_max(context: &Context<'_>, route: &Route<'_>, sent: Sent) -> usize {
    let value_bytes_max = context.node.value_bytes_max();
    let derived = match sent {
        Sent::Octets => value_bytes_max,
        Sent::Json => value_bytes_max.saturating_mul(6).saturating_add(16 * 1024),
    };
    let derived = match route {
        Route::Batch => derived.max(api::BATCH_BYTES_MIN),
        _ => derived,
    };
    let limits = &context.shared.limits;
    // One that can never be held is refused for its size, and not for the moment.
    let held_max = limits.in_flight_bytes_max;
    derived
        .min(limits.body_bytes_max.unwrap_or(held_max))
        .min(held_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(Route::of_path("/kv/").unwrap(), Route::Keys);
        assert_eq!(Route::of_path("/kv/a%2Fb/c").unwrap(), Route::Key("a/b/c".into()));
        assert_eq!(Route::of_path("/kv//").unwrap(), Route::Key("/".into()));
        assert_eq!(Route::of_path("/status").unwrap(), Route::Status);
        assert!(matches!(Route::of_path("/").unwrap(), Route::Page(_)));
        for (path, status) in [
            ("/kv", 404),
            ("/page", 404),
            ("/page/", 404),
            ("/page/nothing.js", 404),
            ("/status/", 404),
            ("/kv/%", 400),
            ("/kv/%ff", 400),
        ] {
            assert_eq!(Route::of_path(path).unwrap_err().kind.status, status, "{path}");
        }
    }
}
