//! Answers that go on to the client as soon as they come, from the thread that reads them.
//!
//! The thread of a client's connection would sleep until the answer of the engine comes, wake, send its own, and sleep
//! again until the next request: two changes of threads a request, which cost more than the request does. So where
//! requests are being sent to a server already, the connection's thread leaves it to the [`pipeline`] to send
//! the answer on, and reads the next request.
//!
//! # What must hold
//! - An answer is sent on only where it is the plain one: a short value, no such key, a value that was set. Whatever else
//!   comes, the connection's thread sees to it.
//! - What is asked again has been refused, was not sent, or changes nothing.

use super::error::{EngineError, Verdict, in_time, judge};
use super::gateway::{Gateway, Seen};
use super::layout;
use super::pending::{Missed, Outcome};
use super::pipeline::{self, Item};
use super::slots::slot_of;
use super::upsert::{self, Upsert};
use crate::key::Key;
use crate::node::{Found, Written};
use redis::{RedisError, Value};
use std::sync::Arc;

/// What an engine says of a key that is read.
#[derive(Debug, PartialEq)]
pub(crate) enum Said<'v> {
    /// There is no such key.
    Missing,
    Found(Found, &'v [u8]),
}

/// A request that is under way.
pub(crate) struct Relay {
    relayed: pipeline::Relayed,
    is_change: bool,
}

/// What has become of one.
#[derive(Debug, PartialEq)]
pub(crate) enum Relayed {
    /// Its answer was sent on.
    SentOn,
    /// It is to be asked anew, by the thread that asks.
    Again,
    /// The engine has not done it, or it is not known whether it has.
    Failed(EngineError),
}

impl Gateway {
    /// Whether requests of a key's server are being sent, so that this thread need not wait for another one's answer.
    pub(crate) fn may_relay(&self, key: Key<'_>) -> bool {
        let pipeline = self.routing.owner(slot_of(key.as_bytes()));
        pipeline.is_ok_and(|pipeline| pipeline.is_led())
    }

    /// Reads a key; `send_on` has what the engine says of it. None where this thread has to.
    pub(crate) fn relay_read(
        &self,
        key: Key<'_>,
        send_on: impl FnOnce(Said<'_>) + Send + 'static,
    ) -> Option<Relay> {
        let pipeline = self.routing.owner(slot_of(key.as_bytes())).ok()?;
        if !pipeline.has_short_answers() {
            return None;
        }
        let mut command = redis::cmd("GET");
        command.arg(key.as_bytes());
        let seen = Arc::clone(&self.seen);
        let send_on = Box::new(move |answer: &Value| {
            let Some(said) = found(answer, &seen) else {
                return false;
            };
            send_on(said);
            true
        });
        let relayed = pipeline.relay(Item::Read(command.get_packed_command()), send_on)?;
        Some(Relay {
            relayed,
            is_change: false,
        })
    }

    /// Sets a value whatever there was, for ever; `send_on` has the new version. None where this thread has to.
    pub(crate) fn relay_upsert(
        &self,
        key: Key<'_>,
        value: &[u8],
        send_on: impl FnOnce(Written) + Send + 'static,
    ) -> Option<Relay> {
        if value.len() > self.options.value_bytes_max.min(pipeline::BYTES_MAX) {
            return None;
        }
        let pipeline = self.routing.owner(slot_of(key.as_bytes())).ok()?;
        let upsert = Upsert {
            key: key.as_bytes(),
            value,
            floor: self.seen.get(),
        };
        let item = match self.routing.is_cluster() {
            true => Item::Command(upsert.by_digest()),
            false => Item::Upsert(upsert.to_owned()),
        };
        let seen = Arc::clone(&self.seen);
        let send_on = Box::new(move |answer: &Value| {
            let Ok(Ok(written)) = upsert::read(Some(answer)) else {
                return false;
            };
            seen.note(written.version);
            send_on(written);
            true
        });
        let relayed = pipeline.relay(item, send_on)?;
        Some(Relay {
            relayed,
            is_change: true,
        })
    }

    /// Waits until it is known what has become of a request, for no longer than the time limit.
    pub(crate) fn end_relay(&self, relay: &Relay) -> Relayed {
        let answer = match relay.relayed.wait() {
            Outcome::SentOn => return Relayed::SentOn,
            Outcome::Answer(answer) => answer,
        };
        let verdict = match answer {
            Err(Missed::Broken(why)) if relay.is_change => Verdict::Broken(why),
            Err(Missed::NotSent(why) | Missed::Broken(why)) if relay.relayed.is_overdue() => {
                Verdict::Final(in_time(self.routing.timeout(), &why))
            }
            Ok(Value::ServerError(error)) if relay.is_change => judge(&RedisError::from(error)),
            // A read changes nothing, and the script says in words why it has set nothing.
            Ok(_) | Err(_) => return Relayed::Again,
        };
        match verdict {
            Verdict::Moved { .. } | Verdict::Ask { .. } | Verdict::NoScript | Verdict::Later(_) => {
                Relayed::Again
            }
            Verdict::Broken(why) => {
                self.routing.refresh_until(relay.relayed.deadline());
                Relayed::Failed(EngineError::Unknown(why))
            }
            Verdict::Final(error) => Relayed::Failed(error),
        }
    }
}

/// What a read has found, where that is short and pykv's own.
fn found<'v>(answer: &'v Value, seen: &Seen) -> Option<Said<'v>> {
    match answer {
        Value::Nil => Some(Said::Missing),
        Value::BulkString(kept) if kept.len() <= pipeline::BYTES_MAX => {
            let (found, value) = layout::decode(kept)?;
            seen.note(found.version);
            Some(Said::Found(found, value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::GatewayOptions;
    use super::super::pool::Dial;
    use super::*;
    use crate::node::AckRequirement;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    /// An engine that says what it is when it is asked for the first time, and nothing more. What it was asked so far.
    fn silent_engine() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let times = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, asked) = (stream.unwrap(), Arc::clone(&times));
                thread::spawn(move || {
                    let mut some = [0; 1024];
                    while let Ok(1..) = stream.read(&mut some) {
                        let is_question = some.windows(4).any(|four| four == b"INFO");
                        if is_question && asked.fetch_add(1, Ordering::SeqCst) == 0 {
                            let info = "role:master\r\nrun_id:1\r\nredis_version:7.0.0\r\n";
                            write!(stream, "${}\r\n{info}\r\n", info.len()).unwrap();
                        }
                    }
                });
            }
        });
        (address, asked)
    }

    /// The client learns at its deadline that the outcome is unknown.
    #[test]
    fn a_change_that_is_overdue_asks_the_engine_nothing_more() {
        let (address, asked) = silent_engine();
        let gateway = Gateway::new(GatewayOptions {
            url: format!("redis://{address}").parse().unwrap(),
            dial: Dial {
                user: None,
                password: None,
                tls: None,
                connections_max: 4,
                timeout: Duration::from_secs(1),
            },
            value_bytes_max: 1024,
            sync: AckRequirement {
                replicas: 0,
                timeout: Duration::ZERO,
                is_required: false,
            },
        });
        assert_eq!(gateway.routing.refresh_now(), None);
        let relay = gateway.relay_upsert(Key::new("key").unwrap(), b"value", |_| ());
        let relayed = gateway.end_relay(&relay.unwrap());
        assert!(
            matches!(relayed, Relayed::Failed(EngineError::Unknown(_))),
            "{relayed:?}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
