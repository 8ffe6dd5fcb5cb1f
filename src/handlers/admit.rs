//! Whether a request may come in: all that is decided from the head alone.
//!
//! The order is that of a client's questions, once it is no page of another site that asks: is there such a
//! path, does it take the method, may I, is the body one it takes. It is decided before the body is read, so
//! that nobody sends a gigabyte to learn that the token was wrong.

use super::context::Context;
use super::route::{Resource, Route};
use crate::api;
use crate::auth::{Grant, Scope};
use crate::http::media::{self, Sent};
use crate::http::problem::{self, Problem};
use crate::http::request::{Framing, Head};
use crate::wal::Role;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tiny_http::Method;

/// A request that may come in once its body is there.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    pub(crate) route: Route<'a>,
    /// The form of its body; none where it has none.
    pub(crate) sent: Option<Sent>,
    /// Longest body it may have, in bytes.
    pub(crate) body_bytes_max: usize,
    /// What its client may do.
    pub(crate) grant: Grant,
}

/// Decides from the head alone whether a request may come in. `names`: what its client has proved by a certificate.
pub(crate) fn admit<'a>(
    context: &Context<'_>,
    names: &[String],
    head: &Head<'a>,
) -> Result<Admitted<'a>, Problem> {
    // A method that HTTP has got since; no path takes it.
    if let Method::NonStandard(name) = &head.method
        && name != "QUERY"
    {
        return Err(Problem::new(problem::UNKNOWN_METHOD, "HTTP has no such method"));
    }
    let hosts = &context.shared.hosts;
    hosts.check_name(head)?;
    let is_read = matches!(head.method, Method::Get | Method::Head);
    let is_allowed = hosts.origins().allows(head);
    if !is_read && !is_allowed {
        hosts.check_site(head)?;
    }
    let route = Route::of_path(head.path)?;
    if is_read && route.is_guarded() || is_allowed && !is_read && !route.is_for_applications() {
        hosts.check_site(head)?;
    }
    if is_allowed && head.method == Method::Options {
        return admit_preflight(route, head);
    }
    if !route.methods().contains(&head.method.as_str()) {
        let allowed = route.methods().join(", ");
        return Err(
            Problem::new(problem::METHOD, format!("the path takes {allowed}")).header("Allow", allowed)
        );
    }
    let grant = match (&context.shared.tokens, route.scope(&head.method)) {
        (Some(tokens), Some(scope)) => match head.authorization {
            None if !names.is_empty() => tokens.check_names(names, scope),
            shown => tokens.check(shown, scope),
        }
        .map_err(Problem::of_denied)?,
        _ => Grant::ALL,
    };
    if route.is_data() {
        check_role(context, head, route.scope(&head.method))?;
    }
    let missing = match head.method {
        Method::Post | Method::Patch if route.has_body() => None,
        Method::Put => Some(Sent::Octets),
        _ => {
            return match head.framing {
                // A body in chunks may turn out to be empty, as some proxies make one of every DELETE.
                Framing::None | Framing::Length(0) | Framing::Chunked => Ok(Admitted {
                    route,
                    sent: None,
                    body_bytes_max: 0,
                    grant,
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
    if head.content_range.is_some() {
        // A part would take the place of the whole (RFC 9110, 14.5).
        let why = "send the complete value: a part of one (Content-Range) is refused";
        return Err(Problem::new(problem::MALFORMED, why).field("Content-Range"));
    }
    media::check_coding(head.content_encoding)?;
    let sent = media::sent(head.content_type, missing)?;
    let body_bytes_max = body_bytes_max(context, route.resource, sent);
    if let Framing::Length(length) = head.framing
        && length > body_bytes_max as u64
    {
        return Err(body_too_large(body_bytes_max));
    }
    Ok(Admitted {
        route,
        sent: Some(sent),
        body_bytes_max,
        grant,
    })
}

/// A browser asks whether a page of another origin may do something, which shows no token.
fn admit_preflight<'a>(route: Route<'a>, head: &Head<'_>) -> Result<Admitted<'a>, Problem> {
    match head.framing {
        Framing::None | Framing::Length(0) => Ok(Admitted {
            route,
            sent: None,
            body_bytes_max: 0,
            grant: Grant::ALL,
        }),
        _ => Err(no_body()),
    }
}

/// Sends writes to the primary, and readers away where there is nothing whole to read.
fn check_role(context: &Context<'_>, head: &Head<'_>, scope: Option<Scope>) -> Result<(), Problem> {
    let Some(node) = context.node() else {
        return Ok(());
    };
    if node.role() == Role::Primary {
        return Ok(());
    }
    if scope == Some(Scope::Write) {
        let Some(primary) = node.primary() else {
            let why = "the node is a replica without a primary; `pykv status` says why";
            return Err(Problem::new(problem::NO_PRIMARY, why).retry_after(1));
        };
        let path = utf8_percent_encode(head.path, NOT_OF_URI);
        let mut location = format!("{}://{primary}{path}", context.shared.scheme());
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
pub(crate) fn body_too_large(body_bytes_max: usize) -> Problem {
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
pub(crate) fn body_bytes_max(context: &Context<'_>, resource: Resource, sent: Sent) -> usize {
    let value_bytes_max = context.engine.value_bytes_max();
    let derived = match sent {
        Sent::Octets => value_bytes_max,
        Sent::Json => value_bytes_max.saturating_mul(6).saturating_add(16 * 1024),
    };
    let derived = match resource {
        Resource::Batch => derived.max(api::BATCH_BYTES_MIN),
        _ => derived,
    };
    let limits = &context.shared.limits;
    // One that can never be held is refused for its size, and not for the moment.
    let held_max = limits.in_flight_bytes_max;
    derived
        .min(limits.body_bytes_max.unwrap_or(held_max))
        .min(held_max)
}
