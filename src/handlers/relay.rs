//! Requests of one key that are relayed: what is asked of an engine, and what becomes of its answer.
//!
//! They are the plain ones, which come most: a read, and a value that is set whatever there was. Whatever else a request
//! has, or is wrong with it, is the handler's ([`kv`]). Both give the same answers.

use super::admit::Admitted;
use super::body;
use super::consistency::Asked;
use super::context::Context;
use super::deadline::Clock;
use super::dispatch::of_engine;
use super::kv;
use super::route::Resource;
use crate::engine::{EngineError, Relay, Said};
use crate::http::media::Sent;
use crate::http::problem::{self, Problem};
use crate::http::request::Head;
use crate::http::response::{Media, Reply};
use crate::key::Key;
use crate::node::{Deadline, Mode, Written};
use crate::session::{Refused, Session};
use crate::wall;
use std::borrow::Cow;
use tiny_http::Method;

/// Longest body of a request that is relayed, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The clock of this process, which a gateway goes by.
struct Wall;

impl Clock for Wall {
    fn ttl_ms(&self, deadline_ms: u64) -> u64 {
        deadline_ms.saturating_sub(wall::now_ms())
    }
}

/// Begins a request that can be relayed now. What `sender` gives has the answer and its body as soon as the engine has
/// answered, on another thread. None where the handler has to be called.
pub(crate) fn begin<S>(
    context: &Context<'_>,
    head: &Head<'_>,
    admitted: &Admitted<'_>,
    body: &[u8],
    asked: &Asked,
    sender: impl FnOnce() -> S,
) -> Option<Relay>
where
    S: FnOnce(&Reply, &[u8]) + Send + 'static,
{
    let has_conditions = !head.if_match.is_empty() || !head.if_none_match.is_empty();
    if admitted.route.resource != Resource::Key || has_conditions || body.len() > BODY_BYTES_MAX {
        return None;
    }
    let key = Key::new(&admitted.route.key).ok()?;
    let session = Session::new(context.engine, admitted.grant.clone()).with_sync(asked.sync);
    match (&head.method, admitted.sent) {
        (Method::Get, _) => {
            let media = kv::wanted_media(head).ok()?;
            if !session.may_relay(key) {
                return None;
            }
            let (send, name) = (sender(), Box::<str>::from(key.as_str()));
            session.relay_read(key, move |said| answer_read(said, &name, media, send))
        }
        (Method::Put, Some(sent)) => {
            let (mode, ttl) = kv::put_query(head).ok()?;
            if mode != Mode::Upsert || ttl.is_some() || !session.may_relay(key) {
                return None;
            }
            let value = match sent {
                Sent::Octets => Cow::Borrowed(body),
                Sent::Json => {
                    let payload = body::value(body).ok()?;
                    (payload.deadline == Deadline::Never).then_some(payload.value)?
                }
            };
            let (send, name) = (sender(), Box::<str>::from(key.as_str()));
            session.relay_upsert(key, &value, move |written| answer_write(written, &name, send))
        }
        _ => None,
    }
}

/// What a client is answered whose request the engine has refused.
pub(crate) fn refusal(error: EngineError) -> Problem {
    Problem::of_refused(Refused::Engine(error))
}

fn answer_read(said: Said<'_>, key: &str, media: Media, send: impl FnOnce(&Reply, &[u8])) {
    let mut body = Vec::new();
    match said {
        Said::Found(found, value) if media == Media::Octets => {
            send(&kv::found_reply(&Wall, media, found), value);
        }
        Said::Found(found, value) => {
            kv::push_found(&mut body, &Wall, key, value, found);
            send(&kv::found_reply(&Wall, media, found), &body);
        }
        Said::Missing => {
            let reply = problem::no_key().into_reply(&mut body);
            send(&reply, &body);
        }
    }
}

fn answer_write(written: Written, key: &str, send: impl FnOnce(&Reply, &[u8])) {
    let mut body = Vec::new();
    kv::push_written_key(&mut body, key);
    let reply = kv::rest_of_written(&mut body, &Wall, written);
    send(&of_engine(reply, None), &body);
}
