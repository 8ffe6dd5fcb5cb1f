//! The thread `follow`: brings the log of the primary here, as long as the node is a replica.
//!
//! It looks for the primary, asks it for what comes after the end of its own log, appends that, and asks again.
//! Whatever goes wrong, it begins anew after a pause, for ever; what is wrong is logged once.
//!
//! # What must hold
//! - It follows a primary of its own log. It follows a replica only with `--from-replica`, and only one that
//!   follows a primary itself.
//! - It takes over only if it heard the primary until shortly before the silence began, had all of its log
//!   then, and did not stand still itself since.
//! - Nothing here waits without a bound while a take-over may come due.

use super::failover::Failover;
use super::find::{Finder, Found, may_follow};
use super::follow_error::{FollowError, LogOnce};
use super::handshake::{PeerInfo, exchange};
use super::link::{Answer, Link, Request, TEXT_BYTES_MAX};
use super::link_error::LinkError;
use super::pipeline::Pipeline;
use super::{Times, backoff::Backoff, skew};
use crate::api::{self, ChunkHeader, Divergence, LogQuery, REPLICATION_PROTOCOL};
use crate::boot_clock::BootInstant;
use crate::node::{Change, End, Node, Phase, ReceiveError};
use crate::wal::{Branch, OFFSET_TAKEN_MAX, Role, Term};
use crate::wall;
use std::time::{Duration, Instant};

/// How long a snapshot may pause.
const SNAPSHOT_PAUSE_MAX: Duration = Duration::from_secs(20);

/// Largest chunk of the log, in bytes: several times what the largest record or batch has.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// How long a node waits before it tries anew what will hardly come right by itself.
const STOPPED_PAUSE: Duration = Duration::from_secs(5);

/// The least time between two polls that bring nothing, whatever the other node does.
const EMPTY_PAUSE: Duration = Duration::from_millis(20);

/// How often a replica that is followed is asked whether it still follows the same primary.
const HANDSHAKE_EVERY: Duration = Duration::from_secs(2);

/// Runs until the node stops.
pub(super) fn run(node: &Node) {
    let cluster = node.cluster();
    let (mut backoff, mut logged) = <(Backoff, LogOnce)>::default();
    let mut failover = Failover::new(node);
    loop {
        let change = cluster.change();
        if change.to_stop {
            return;
        }
        if change.role == Role::Primary {
            cluster.wait_change(&change, Duration::MAX);
            failover.reset(node);
            logged = LogOnce::default();
            continue;
        }
        let mut following = Following {
            node,
            change: &change,
            times: Times::of(failover.silence_max()),
            failover: &mut failover,
            has_progressed: false,
        };
        let error = match node.leave_log() {
            Ok(()) => following.run(),
            Err(refusal) => FollowError::Log(refusal.to_string()),
        };
        if following.has_progressed {
            (backoff, logged) = Default::default();
        }
        if cluster.change() != change {
            (backoff, logged) = Default::default();
            continue;
        }
        let is_lasting = error.is_lasting();
        cluster.set_phase(match is_lasting {
            true => Phase::Stopped,
            false => Phase::Connecting,
        });
        let why = error.to_string();
        if logged.is_due(&error, node.is_elected()) && logged.is_first(&why) {
            log::warn!("{why}; trying again until it works");
        }
        cluster.set_error(Some(why));
        if !matches!(error, FollowError::Snapshot(..))
            && let Err(error) = node.reload()
        {
            log::error!("the state of before the snapshot cannot be read: {error}");
        }
        if failover.take_over_if_due(node) {
            continue;
        }
        let pause = if is_lasting { STOPPED_PAUSE } else { backoff.next() };
        let pause = failover.at_most_until_due(node, pause);
        cluster.wait_change(&change, pause);
        failover.beat(pause);
        if cluster.change() != change {
            (backoff, logged) = Default::default();
        }
    }
}

/// One attempt to follow.
struct Following<'a> {
    node: &'a Node,
    /// What the node was when it began; it ends when that is no longer so.
    change: &'a Change,
    failover: &'a mut Failover,
    times: Times,
    /// Whether a chunk or a snapshot was taken.
    has_progressed: bool,
}

impl Following<'_> {
    fn run(&mut self) -> FollowError {
        loop {
            match self.follow() {
                // It continues from where the snapshot ends, on a connection of its own.
                Ok(()) => self.has_progressed = true,
                Err(error) => return error,
            }
        }
    }

    /// Follows until something is wrong; returns without an error once a snapshot was taken.
    fn follow(&mut self) -> Result<(), FollowError> {
        let node = self.node;
        // Where it cannot take over before it has heard the primary, hearing it is all that counts, however slowly.
        let handshake_time = match self.failover.is_armed(node) {
            true => self.times.handshake,
            false => super::HANDSHAKE_TIME_MAX,
        };
        let finder = Finder {
            node,
            change: self.change,
            failover: &mut *self.failover,
            handshake_time,
        };
        let found = finder.find()?;
        let cluster = node.cluster();
        if let Ok(socket) = found.link.socket()
            && !cluster.set_upstream_socket(socket, self.change)
        {
            return Err(FollowError::RoleChanged);
        }
        cluster.set_source(&found.address, found.peer.is_primary, found.peer.term);
        let (address, peer) = (found.address.clone(), found.peer.clone());
        let link = match found.peer.id != node.log_id() || !node.is_synced() {
            true => found.link,
            false => self.poll_on(found)?,
        };
        let asked = BootInstant::now();
        self.take_snapshot(link, &address)?;
        // From here on the log is that of the primary which has sent it: this node can be promoted before it has asked
        // for more.
        if peer.is_primary && peer.id == node.log_id() {
            self.failover.heard(node, Some(&peer.address), asked.elapsed());
        }
        Ok(())
    }

    /// Asks for more of the log, again and again; returns the connection where a snapshot must be taken.
    fn poll_on(&mut self, found: Found) -> Result<Link, FollowError> {
        std::thread::scope(|scope| self.poll_into(Pipeline::new(scope, self.node), found))
    }

    fn poll_into(&mut self, mut pipeline: Pipeline<'_, '_>, found: Found) -> Result<Link, FollowError> {
        let node = self.node;
        let cluster = node.cluster();
        let Found {
            mut link,
            address,
            mut peer,
        } = found;
        let mut end = node.end();
        let mut is_streaming = false;
        let mut shaken_at = Instant::now();
        loop {
            if cluster.change() != *self.change {
                return Err(FollowError::RoleChanged);
            }
            let wait = match is_streaming {
                true => self.times.poll_wait,
                // The first answer only says how far the other one is.
                false => Duration::ZERO,
            };
            let target = self.target(&end, wait);
            let (asked, asked_at) = (BootInstant::now(), wall::now());
            let polled = self.poll(&mut link, &target, peer.is_primary);
            let (answer, body) = polled.map_err(|error| FollowError::Link(address.clone(), error))?;
            match answer.status {
                200 => {}
                409 => {
                    self.heard_if_primary(&peer);
                    pipeline
                        .finish()
                        .map_err(|error| FollowError::not_taken(error, &address))?;
                    if self.set_aside(&body, &address)? {
                        end = node.end();
                        continue;
                    }
                    return Ok(link);
                }
                410 => {
                    self.heard_if_primary(&peer);
                    let offset = end.offset;
                    log::info!(
                        "{address} no longer holds what comes after offset {offset}: taking its state"
                    );
                    return Ok(link);
                }
                status => return Err(FollowError::Refused(address, status)),
            }
            let chunk = check_chunk(node, answer.chunk, end.offset);
            let chunk = chunk.map_err(|why| FollowError::Invalid(address.clone(), why.to_owned()))?;
            // News are as old as the question, except for the time that the other node may have waited: an answer can
            // lie in a buffer for long, and what it says of the primary comes before its first byte. A replica adds
            // how old its own news are.
            let passed_on = match peer.is_primary {
                true => Duration::ZERO,
                false => Duration::from_millis(chunk.primary_heard_ms),
            };
            let age = || passed_on + asked.elapsed().saturating_sub(wait);
            if let Some(date) = answer.date.filter(|_| peer.is_primary) {
                let times = (asked_at, wall::now());
                cluster.note_clock_skew(|differed| skew::seconds(date, times, differed));
            }
            self.failover.heard(node, peer.primary(), age());
            let is_empty = body.is_empty();
            if !is_empty {
                let chunk = node.check_chunk(end.offset, body);
                let taken = chunk.and_then(|chunk| pipeline.take(chunk));
                end = taken.map_err(|error| FollowError::not_taken(error, &address))?;
            }
            cluster.took(chunk.written, end.offset, age());
            if !std::mem::replace(&mut is_streaming, true) {
                self.has_progressed = true;
                log::info!("following {address} from offset {} on", chunk.offset);
                cluster.set_error(None);
                cluster.set_phase(Phase::Streaming);
            }
            if is_empty && wait > Duration::ZERO && asked.elapsed() < EMPTY_PAUSE {
                cluster.wait_change(self.change, EMPTY_PAUSE);
            }
            // The node may have become primary, or follow another one now.
            let is_stale = Term::from_bits(chunk.term) != peer.term
                || !peer.is_primary && shaken_at.elapsed() > HANDSHAKE_EVERY;
            if is_stale {
                peer = self.shake_again(&mut link, &address)?;
                shaken_at = Instant::now();
            }
        }
    }

    /// What asks for what comes after the end of this node's log, and proves what that is.
    fn target(&self, end: &End, wait: Duration) -> String {
        let cluster = self.node.cluster();
        let query = LogQuery {
            protocol: REPLICATION_PROTOCOL,
            id: &self.node.log_id().to_string(),
            after: end.offset,
            term: end.term.bits(),
            branch: end.nonce,
            last: end.last.map(|last| (last.start, last.crc)),
            wait_ms: wait.as_millis() as u64,
            follower: cluster.id,
            address: cluster.address(),
            successor: self.failover.silence_max().is_some(),
        };
        format!("{}?{}", api::PATH_REPLICATION_LOG, query.to_query())
    }

    /// Asks the node that is followed anew what it is.
    fn shake_again(&self, link: &mut Link, address: &str) -> Result<PeerInfo, FollowError> {
        let shaken = exchange(self.node, link, self.times.handshake);
        let peer = shaken.map_err(|error| FollowError::Link(address.to_owned(), error))?;
        if !may_follow(self.node, &peer) {
            let why = format!("{address} is a replica that follows no primary");
            return Err(FollowError::NoPrimary(why));
        }
        self.node
            .cluster()
            .set_source(address, peer.is_primary, peer.term);
        Ok(peer)
    }

    /// A primary that answers is heard. A replica's answer says nothing of it.
    fn heard_if_primary(&mut self, peer: &PeerInfo) {
        if peer.is_primary {
            self.failover
                .heard(self.node, Some(&peer.address), Duration::ZERO);
        }
    }

    /// One poll. While bytes come at a fair rate, the node that sends them is alive.
    fn poll(
        &mut self,
        link: &mut Link,
        target: &str,
        is_primary: bool,
    ) -> Result<(Answer, Vec<u8>), LinkError> {
        self.failover.ask();
        let answer_time = self.times.poll_wait + self.times.answer;
        let answer = link.ask(&Request::get(target), answer_time);
        self.failover.beat(answer_time);
        let answer = answer?;
        let bytes_max = match answer.status {
            200 => CHUNK_BYTES_MAX,
            _ => TEXT_BYTES_MAX,
        };
        let (node, failover, times) = (self.node, &mut *self.failover, &self.times);
        let body = link.body(&answer, bytes_max, times.answer, || {
            failover.beat(times.answer);
            if is_primary {
                failover.heard(node, None, Duration::ZERO);
            }
        });
        self.failover.beat(self.times.answer);
        Ok((answer, body?))
    }

    /// Sets aside what this node has and the other's history has not. Returns whether the log continues from
    /// there.
    fn set_aside(&self, body: &[u8], address: &str) -> Result<bool, FollowError> {
        let divergence: Option<Divergence> = serde_json::from_slice(body).ok();
        let Some(divergence) = divergence.filter(Divergence::is_sound) else {
            return Err(FollowError::Invalid(
                address.to_owned(),
                "it does not say where the histories part".to_owned(),
            ));
        };
        let branch = |(term, nonce, start): &(String, String, u64)| {
            Some(Branch {
                term: Term::from_bits(term.parse().ok()?),
                nonce: u64::from_str_radix(nonce, 16).ok()?,
                start: *start,
            })
        };
        let branches: Vec<Branch> = divergence.branches.iter().filter_map(branch).collect();
        let aside = self
            .node
            .set_aside(&branches, divergence.from)
            .map_err(FollowError::Aside)?;
        for path in aside.paths {
            log::warn!(
                "the log has changes that are no part of the history of {address}; they are kept in {}: \
                 `pykv log` shows them, `pykv reapply` sends them again",
                path.display()
            );
        }
        Ok(aside.is_cut)
    }

    fn take_snapshot(&mut self, mut link: Link, address: &str) -> Result<(), FollowError> {
        log::info!("taking the state of {address}");
        let request = Request {
            until_close: true,
            ..Request::get(api::PATH_REPLICATION_SNAPSHOT)
        };
        let answer = link
            .ask(&request, SNAPSHOT_PAUSE_MAX)
            .map_err(|error| FollowError::Link(address.to_owned(), error))?;
        if answer.status != 200 {
            return Err(FollowError::Refused(address.to_owned(), answer.status));
        }
        let received = self.node.receive(&mut link.until_close(SNAPSHOT_PAUSE_MAX));
        self.failover.skip();
        let offset = received.map_err(|error| match error {
            ReceiveError::RoleChanged => FollowError::RoleChanged,
            error => FollowError::Snapshot(address.to_owned(), error),
        })?;
        log::info!("took the state of {address} at offset {offset}");
        Ok(())
    }
}

/// What came with an answer, if that can follow this node's log, which ends at `offset`; or what is wrong with it.
fn check_chunk(node: &Node, chunk: Option<ChunkHeader>, offset: u64) -> Result<ChunkHeader, &'static str> {
    let chunk = chunk.ok_or("it does not say what it is")?;
    if chunk.offset != offset {
        return Err("it is not what was asked for");
    }
    let term = Term::from_bits(chunk.term);
    if term < node.term() || !node.term().may_meet(term) {
        return Err("its term is none that can follow this node's");
    }
    let is_possible = chunk.written <= OFFSET_TAKEN_MAX;
    is_possible
        .then_some(chunk)
        .ok_or("it says that its log is longer than any")
}
