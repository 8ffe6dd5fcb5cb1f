//! From a slot to the server that has it: requests are sent, redirected and tried again, within a time limit.
//!
//! # What must hold
//! - A change is sent a second time only where the engine has said that it did nothing, or where no byte was sent.
//!   The blocking cluster client of the crate `redis` sends it again after a connection was cut, so its connections are
//!   used and its routing is not.
//! - Nothing takes longer than the time limit, and at most one read's time more.
//! - Which server has a slot is learnt from redirections and asked for anew when something fails. One thread asks; the
//!   others pause and look again.

use super::error::{EngineError, Verdict, in_time, judge, words};
use super::pending::Missed;
use super::pipeline::Pipeline;
use super::pool::Dial;
use super::request::{Request, send};
use super::slots::{SLOTS, Slot};
use super::topology::{self, Described, Description};
use crate::resolver::Resolver;
use redis::{Cmd, RedisError, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// How long is waited before another attempt: a little first, then more.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a server may take to say what it knows of the others.
const ASK_TIMEOUT: Duration = Duration::from_millis(1000);

/// What is known of the engine.
pub(super) struct Known {
    /// By slot: the server that has it. Of an engine without slots all are the same.
    owners: Vec<Option<Arc<Pipeline>>>,
    pub(super) servers: Vec<Described>,
    /// Whether the engine has slots.
    pub(super) is_cluster: bool,
    /// Counts how often it was asked for.
    generation: u64,
}

/// See the module.
pub(super) struct Routing {
    dial: Dial,
    seeds: Vec<String>,
    resolver: Resolver,
    /// Every server that there ever was, by address.
    servers: Mutex<HashMap<String, Arc<Pipeline>>>,
    known: RwLock<Known>,
    /// Held by the thread that asks.
    asking: Mutex<()>,
}

impl Routing {
    pub(super) fn new(dial: Dial, seeds: Vec<String>) -> Routing {
        Routing {
            dial,
            seeds,
            resolver: Resolver::default(),
            servers: Mutex::new(HashMap::new()),
            known: RwLock::new(Known {
                owners: vec![None; SLOTS],
                servers: Vec::new(),
                is_cluster: true,
                generation: 0,
            }),
            asking: Mutex::new(()),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.dial.timeout
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.dial.timeout
    }

    /// Whether keys have slots, and so may not share a batch.
    pub(super) fn is_cluster(&self) -> bool {
        self.known().is_cluster
    }

    /// The servers as they were last described.
    pub(super) fn described(&self) -> Vec<Described> {
        self.known().servers.clone()
    }

    /// Runs a request, and gives its answers.
    pub(super) fn run(&self, request: &Request<'_>) -> Result<Vec<Value>, EngineError> {
        let deadline = self.deadline();
        let mut pause = PAUSE_MIN;
        let mut asked: Option<String> = None;
        let mut moved: Option<String> = None;
        let mut last;
        // The first attempt may take all the time there is, and needs no other timeout of its socket than usual.
        let mut timeout = self.dial.timeout;
        loop {
            let generation = self.known().generation;
            let pipeline = match asked.as_ref().or(moved.as_ref()) {
                Some(address) => self.server(address),
                None => self.owner(request.slot),
            };
            let is_asking = asked.take().is_some();
            moved = None;
            let verdict = match pipeline {
                Err(why) => Verdict::Later(why),
                Ok(pipeline) => match self.attempt(&pipeline, request, is_asking, timeout) {
                    Ok(answers) => return Ok(answers),
                    Err(verdict) => verdict,
                },
            };
            match verdict {
                Verdict::Final(error) => return Err(error),
                Verdict::Broken(why) if request.is_change => {
                    self.refresh(generation, deadline);
                    return Err(EngineError::Unknown(why));
                }
                Verdict::Moved { address } => {
                    last = format!("slot {} has moved", request.slot);
                    self.note_owner(request.slot, &address);
                    moved = Some(address);
                    timeout = left_until(deadline);
                    if !timeout.is_zero() {
                        continue;
                    }
                }
                Verdict::Ask { address } => {
                    last = format!("slot {} moves", request.slot);
                    asked = Some(address);
                    timeout = left_until(deadline);
                    if !timeout.is_zero() {
                        continue;
                    }
                }
                Verdict::NoScript => last = "the script is not known".to_owned(),
                Verdict::Later(why) | Verdict::Broken(why) => {
                    last = why;
                    self.refresh(generation, deadline);
                }
            }
            let left = left_until(deadline);
            thread::sleep(pause.min(left)); // The engine moves something, or chooses another master.
            pause = (pause * 2).min(PAUSE_MAX);
            timeout = left_until(deadline);
            if timeout.is_zero() {
                return Err(in_time(self.dial.timeout, &last));
            }
        }
    }

    fn attempt(
        &self,
        pipeline: &Arc<Pipeline>,
        request: &Request<'_>,
        is_asking: bool,
        timeout: Duration,
    ) -> Result<Vec<Value>, Verdict> {
        let is_first = timeout == self.dial.timeout;
        let may_share = is_first && !is_asking && request.is_small();
        if may_share
            && (request.is_change || pipeline.takes_reads())
            && let Some(answer) = pipeline.ask(request.item(self.is_cluster()))
        {
            let verdict = match answer {
                Ok(Value::ServerError(error)) => Some(judge(&RedisError::from(error))),
                Ok(answer) => return Ok(vec![answer]),
                Err(Missed::NotSent(why)) => Some(Verdict::Later(why)),
                Err(Missed::Broken(why)) => Some(Verdict::Broken(why)),
                Err(Missed::Long) => None,
            };
            match verdict {
                Some(Verdict::NoScript) | None => {}
                Some(verdict) => return Err(verdict),
            }
        }
        let server = pipeline.server();
        let link = server.link(Instant::now() + timeout, &self.resolver);
        let mut link = link.map_err(Verdict::Later)?;
        let timeout = timeout + request.patience;
        let mut sent = send(&mut link, request, request.packed, is_asking, timeout);
        if matches!(sent, Err(Verdict::NoScript))
            && let Some(with_script) = request.with_script
        {
            sent = send(&mut link, request, &with_script(), is_asking, timeout);
        }
        match &sent {
            Err(Verdict::Broken(_)) => server.purge(),
            _ => link.give_back(),
        }
        if let Ok([answer, ..]) = sent.as_deref() {
            pipeline.note_read(answer);
        }
        sent
    }

    /// Runs a command on a server that is named, once.
    pub(super) fn ask(
        &self,
        address: &str,
        commands: &[Cmd],
        timeout: Duration,
    ) -> Result<Vec<Value>, String> {
        let server = self.server(address)?;
        let server = server.server();
        let mut link = server.link(Instant::now() + timeout, &self.resolver)?;
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        match link.exchange(&packed, commands.len(), timeout) {
            Ok(answers) => {
                link.give_back();
                Ok(answers)
            }
            Err(error) => {
                server.purge();
                Err(server.words(&error))
            }
        }
    }

    /// The server that has a slot.
    pub(super) fn owner(&self, slot: Slot) -> Result<Arc<Pipeline>, String> {
        let known = self.known();
        match known.owners.get(usize::from(slot)) {
            Some(Some(server)) => Ok(Arc::clone(server)),
            _ if known.servers.is_empty() => Err("no server of the engine can be reached".to_owned()),
            _ => Err(format!("no server of the engine has slot {slot}")),
        }
    }

    fn note_owner(&self, slot: Slot, address: &str) {
        if let Ok(server) = self.server(address)
            && let Some(owner) = self.known_mut().owners.get_mut(usize::from(slot))
        {
            *owner = Some(server);
        }
    }

    fn server(&self, address: &str) -> Result<Arc<Pipeline>, String> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(address) {
            return Ok(Arc::clone(server));
        }
        let server =
            Pipeline::new(address, &self.dial, self.resolver.clone()).map_err(|error| words(&error))?;
        let server = Arc::new(server);
        servers.insert(address.to_owned(), Arc::clone(&server));
        Ok(server)
    }

    /// Asks the engine which servers it has, where nobody has since `generation` and nobody does. Says why not, where
    /// none answers.
    pub(super) fn refresh(&self, generation: u64, deadline: Instant) -> Option<String> {
        let _asking = self.asking.try_lock().ok()?;
        if self.known().generation != generation {
            return None;
        }
        let mut candidates: Vec<String> = self
            .described()
            .into_iter()
            .filter(|server| !server.has_failed)
            .map(|server| server.address)
            .collect();
        // Another one each time: one that is cut off from the others does not know that.
        let turn = generation as usize % candidates.len().max(1);
        candidates.rotate_left(turn);
        candidates.extend(self.seeds.iter().cloned());
        let mut why = "no server is named".to_owned();
        for address in candidates {
            let timeout = ASK_TIMEOUT.min(left_until(deadline));
            if timeout.is_zero() {
                break;
            }
            match self.describe(&address, timeout) {
                Ok(described) => {
                    self.learn(described);
                    return None;
                }
                Err(error) => why = error,
            }
        }
        self.known_mut().generation += 1;
        Some(why)
    }

    /// Asks the engine anew.
    pub(super) fn refresh_now(&self) -> Option<String> {
        self.refresh_until(self.deadline())
    }

    /// As [`Routing::refresh_now`], until a deadline.
    pub(super) fn refresh_until(&self, deadline: Instant) -> Option<String> {
        let generation = self.known().generation;
        self.refresh(generation, deadline)
    }

    /// What a server says of the engine.
    fn describe(&self, address: &str, timeout: Duration) -> Result<Description, String> {
        let begun = Instant::now();
        let mut info = redis::cmd("INFO");
        info.arg("server").arg("replication").arg("cluster");
        let answers = self.ask(address, &[info], timeout)?;
        let info = topology::text(answers.first().unwrap_or(&Value::Nil), address)?;
        let mut nodes = None;
        // A single server counts the question as an error, every second.
        if topology::is_of_cluster(&info) {
            let mut command = redis::cmd("CLUSTER");
            command.arg("NODES");
            let answers = self.ask(address, &[command], timeout.saturating_sub(begun.elapsed()))?;
            nodes = Some(answers.into_iter().next().unwrap_or(Value::Nil));
        }
        Description::read(&info, nodes.as_ref(), address, self.dial.tls.is_some())
    }

    /// What a server says of itself, and which run of it that is.
    pub(super) fn look_at(&self, address: &str) -> Result<(Described, String), String> {
        let described = self.describe(address, ASK_TIMEOUT.min(self.dial.timeout))?;
        let myself = described.servers.into_iter().find(|server| server.is_myself);
        let myself = myself.ok_or_else(|| format!("{address}: it does not know itself"))?;
        Ok((myself, described.run))
    }

    /// Where the server of a slot is.
    pub(super) fn address_of(&self, slot: Slot) -> Option<String> {
        self.owner(slot)
            .ok()
            .map(|server| server.server().address().to_owned())
    }

    fn learn(&self, described: Description) {
        let Description {
            servers, is_cluster, ..
        } = described;
        let mut owners = vec![None; SLOTS];
        for described in servers.iter().filter(|one| one.is_master && !one.has_failed) {
            let Ok(server) = self.server(&described.address) else {
                continue;
            };
            for slot in described.slots.iter() {
                if let Some(owner) = owners.get_mut(usize::from(slot)) {
                    *owner = Some(Arc::clone(&server));
                }
            }
        }
        let mut known = self.known_mut();
        known.owners = owners;
        known.servers = servers;
        known.is_cluster = is_cluster;
        known.generation += 1;
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Routing {
    /// Ends the threads of all servers.
    fn drop(&mut self) {
        let servers = self.servers.get_mut().unwrap_or_else(PoisonError::into_inner);
        servers.values().for_each(|pipeline| pipeline.end());
    }
}

fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
