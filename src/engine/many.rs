//! Many keys at once, for lists and for what is deleted under a prefix.

use super::error::{EngineError, unexpected};
use super::gateway::Gateway;
use super::layout::HEADER_BYTES;
use super::request::Request;
use super::scan::Sized;
use super::slots::slot_of;
use super::topology::Described;
use crate::node::{AckRequirement, Ahead, PrefixDeletion};
use redis::{Cmd, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was answered for a key.
#[derive(Default)]
struct Answered {
    answers: Vec<Value>,
    /// The number that the command behind the piece of this key was answered with.
    behind: Option<i64>,
}

impl Gateway {
    /// The servers, once the engine was asked for them.
    pub(super) fn servers(&self) -> Result<Vec<Described>, EngineError> {
        let servers = self.routing.described();
        match servers.is_empty() {
            false => Ok(servers),
            true => match self.routing.refresh_now() {
                None => Ok(self.routing.described()),
                Some(why) => Err(EngineError::Unavailable(why)),
            },
        }
    }

    /// Asks the engine for its servers anew.
    pub(super) fn look_anew(&self) {
        self.routing.refresh_now();
    }

    /// What a server says of itself, and which run of it that is.
    pub(super) fn look_at(&self, address: &str) -> Result<(Described, String), EngineError> {
        self.routing.look_at(address).map_err(EngineError::Unavailable)
    }

    /// Runs one command on a server that is named.
    pub(super) fn ask_one(&self, address: &str, command: Cmd) -> Result<Value, EngineError> {
        let answers = self.routing.ask(address, &[command], self.routing.timeout());
        let answer = answers.map_err(EngineError::Unavailable)?.into_iter().next();
        match answer {
            Some(Value::ServerError(_)) | None => Err(unexpected(answer.as_ref())),
            Some(answer) => Ok(answer),
        }
    }

    /// Values of up to so many bytes, and the sizes of longer ones.
    pub(super) fn small_or_size(&self, keys: &[String], bytes_max: usize) -> Result<Vec<Sized>, EngineError> {
        let last = HEADER_BYTES + bytes_max - 1;
        let commands = |key: &[u8]| {
            let mut part = redis::cmd("GETRANGE");
            part.arg(key).arg(0).arg(last);
            let mut size = redis::cmd("STRLEN");
            size.arg(key);
            vec![part, size]
        };
        let answers = self.each(keys, 2, &commands, None)?;
        let sized = answers.into_iter().map(|answered| match &answered.answers[..] {
            [Value::BulkString(part), Value::Int(size)] => match usize::try_from(*size).unwrap_or(0) {
                0 => Sized::Absent,
                size if size > part.len() => Sized::Large(size),
                _ => Sized::Small(part.clone()),
            },
            _ => Sized::Absent,
        });
        Ok(sized.collect())
    }

    /// Has commands run for each key, all of one server in one piece. What a server refuses is run by itself, wherever
    /// the key is then. They may be run twice: to delete twice is to delete. `behind` is run once behind each piece, and may
    /// take longer by its time.
    fn each(
        &self,
        keys: &[String],
        answers: usize,
        commands: &dyn Fn(&[u8]) -> Vec<Cmd>,
        behind: Option<&(Cmd, Duration)>,
    ) -> Result<Vec<Answered>, EngineError> {
        let (behind, patience) = match behind {
            Some((command, patience)) => (Some(command), *patience),
            None => (None, Duration::ZERO),
        };
        let mut by_server: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            let address = self.routing.address_of(slot_of(key.as_bytes()));
            by_server.entry(address).or_default().push(place);
        }
        let mut all: Vec<Answered> = keys.iter().map(|_| Answered::default()).collect();
        for (address, places) in by_server {
            let key = |place: usize| keys.get(place).map_or(&b""[..], |key| key.as_bytes());
            let together = places.iter().flat_map(|place| commands(key(*place)));
            let together: Vec<Cmd> = together.chain(behind.cloned()).collect();
            let answered = match address {
                None => None,
                Some(address) => {
                    let timeout = self.routing.timeout() + patience;
                    self.routing.ask(&address, &together, timeout).ok()
                }
            };
            let mut answered = answered.unwrap_or_default();
            // Where it is missing or no number, nothing is known of the piece: each key is asked about by itself.
            let of_piece = behind.and_then(|_| match answered.pop() {
                Some(Value::Int(number)) => Some(number),
                _ => None,
            });
            if behind.is_some() && of_piece.is_none() {
                answered.clear();
            }
            let mut answered = answered.into_iter();
            for place in places {
                let mut of_key: Vec<Value> = answered.by_ref().take(answers).collect();
                let is_refused = of_key
                    .iter()
                    .any(|answer| matches!(answer, Value::ServerError(_)));
                if is_refused || of_key.len() < answers {
                    let commands = commands(key(place));
                    let packed = commands.iter().chain(behind).flat_map(Cmd::get_packed_command);
                    of_key = self.routing.run(&Request {
                        slot: slot_of(key(place)),
                        packed: &packed.collect::<Vec<u8>>(),
                        answers: answers + usize::from(behind.is_some()),
                        with_script: None,
                        is_change: false,
                        patience,
                        upsert: None,
                    })?;
                }
                let own = of_key.split_off(answers.min(of_key.len()));
                let behind = match own.first() {
                    Some(Value::Int(number)) => Some(*number),
                    _ => of_piece,
                };
                if let Some(slot) = all.get_mut(place) {
                    *slot = Answered {
                        answers: of_key,
                        behind,
                    };
                }
            }
        }
        Ok(all)
    }

    /// How many keys start with `prefix`.
    pub(crate) fn count_prefix(&self, prefix: &str) -> Result<u64, EngineError> {
        let mut keys = 0;
        self.walk_prefix(prefix, &mut |found| {
            keys += found.len() as u64;
            Ok(())
        })?;
        Ok(keys)
    }

    /// Deletes all keys that start with `prefix`, each by itself. Says how many were deleted before an error too.
    pub(crate) fn delete_prefix(
        &self,
        prefix: &str,
        sync: AckRequirement,
    ) -> (PrefixDeletion, Option<EngineError>, Option<usize>) {
        let mut done = PrefixDeletion::default();
        let mut replicas: Option<usize> = None;
        let patience = sync.timeout.min(self.routing.timeout());
        let walked = self.walk_prefix(prefix, &mut |found| {
            let unlink = |key: &[u8]| {
                let mut command = redis::cmd("UNLINK");
                command.arg(key);
                vec![command]
            };
            // One wait for all that was deleted on a connection: it is for all of its writes.
            let wait = (sync.replicas > 0).then(|| {
                let mut wait = redis::cmd("WAIT");
                wait.arg(sync.replicas).arg(patience.as_millis().max(1) as u64);
                (wait, patience)
            });
            for Answered { answers, behind } in self.each(&found, 1, &unlink, wait.as_ref())? {
                if let Some(Value::Int(1)) = answers.first() {
                    done.keys += 1;
                }
                if let Some(reached) = behind {
                    let reached = usize::try_from(reached).unwrap_or(0);
                    replicas = Some(replicas.map_or(reached, |before| before.min(reached)));
                }
            }
            Ok(())
        });
        let error = walked.err().or(match replicas {
            Some(reached) if sync.is_required && reached < sync.replicas => {
                Some(EngineError::NotReplicated {
                    wanted: sync.replicas,
                    reached,
                })
            }
            _ => None,
        });
        (done, error, replicas)
    }

    fn walk_prefix(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(Vec<String>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let Some(mut lister) = self.lister(prefix, "", None, None, false) else {
            return Ok(());
        };
        loop {
            match lister.look(0)? {
                Ahead::End => return Ok(()),
                Ahead::Nothing => {}
                Ahead::Entry | Ahead::Large(_) => take(lister.take_found())?,
            }
        }
    }
}
