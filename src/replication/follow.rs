//! The thread `follow`: brings the log of the primary here, as long as the node is a replica.
//!
//! It looks for a node to follow, asks it for what comes after the end of its own log, takes that, and asks
//! again. Whatever goes wrong, it begins anew after a while, for ever; what is wrong is said once.

use super::hello::{Met, hello, met};
use super::link::{Link, LinkError, Request, TEXT_BYTES_MAX};
use super::trouble::{Said, Trouble};
use super::{Settings, backoff::Backoff};
use crate::api::{self, Divergence, Hello, LogQuery};
use crate::log::{Role, Term, TermStart};
use crate::node::{Change, Node, Phase, ReceiveError, TakeError};
use std::time::{Duration, Instant};

/// How long a poll waits for more of the log, at most.
const POLL_WAIT_MAX: Duration = Duration::from_secs(5);

/// How much longer than it was asked to wait another node may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long connecting may take, and a hello.
const HELLO_TIME_MAX: Duration = Duration::from_secs(2);

/// How often a replica that is followed is asked whom it takes for the primary.
const GREET_REPLICA_EVERY: Duration = Duration::from_secs(2);

/// How long a snapshot may pause.
const SNAPSHOT_PAUSE_MAX: Duration = Duration::from_secs(20);

/// Largest piece of the log that is taken, in bytes: several times what the largest record or batch has.
const PIECE_BYTES_MAX: usize = 1 << 30;

/// How long a node waits before it tries anew what will hardly come right by itself.
const STOPPED_PAUSE: Duration = Duration::from_secs(5);

/// Runs until the node stops.
pub(super) fn run(node: &Node, settings: &Settings) {
    let cluster = node.cluster();
    let mut backoff = Backoff::new();
    let mut said = Said::default();
    let mut heard = Instant::now();
    loop {
        let change = cluster.change();
        if change.to_stop {
            return;
        }
        if change.role == Role::Primary {
            cluster.wait_change(&change, Duration::MAX);
            heard = Instant::now();
            continue;
        }
        let mut following = Following {
            node,
            settings,
            change: &change,
            heard: &mut heard,
            times: Times::new(settings.failover_after),
            is_fresh: true,
        };
        let trouble = match node.leave_log() {
            Ok(()) => following.run(),
            Err(refusal) => Trouble::Log(refusal.to_string()),
        };
        if !following.is_fresh {
            backoff = Backoff::new();
            said = Said::default();
        }
        let now = cluster.change();
        if now != change {
            backoff = Backoff::new();
            continue;
        }
        let is_lasting = trouble.is_lasting();
        cluster.set_phase(if is_lasting {
            Phase::Stopped
        } else {
            Phase::Connecting
        });
        let why = trouble.to_string();
        if said.is_news(&why) {
            ::log::warn!("{why}; trying again until it works");
        }
        cluster.set_error(Some(why));
        if take_over_if_due(node, settings, heard) {
            continue;
        }
        let mut pause = if is_lasting { STOPPED_PAUSE } else { backoff.next() };
        let until_due = settings
            .failover_after
            .and_then(|after| after.checked_sub(heard.elapsed()));
        if let Some(until_due) = until_due {
            pause = pause.min(until_due.max(Duration::from_millis(20)));
        }
        cluster.wait_change(&change, pause);
    }
}

/// Makes the node primary where it is to take over by itself, has had all of the primary's log lately, and has
/// not heard of it for long enough.
fn take_over_if_due(node: &Node, settings: &Settings, heard: Instant) -> bool {
    let Some(after) = settings.failover_after else {
        return false;
    };
    let silent_for = heard.elapsed();
    let was_even = node
        .cluster()
        .even_at()
        .is_some_and(|even_at| even_at + after >= heard);
    if silent_for < after || !was_even {
        return false;
    }
    ::log::warn!(
        "the primary has not answered for {:.1} s: taking over",
        silent_for.as_secs_f32()
    );
    match node.promote() {
        Ok(_) => true,
        Err(error) => {
            ::log::error!("cannot take over: {error}");
            false
        }
    }
}

/// How long things may take: short where a failover is to be noticed soon.
struct Times {
    poll_wait: Duration,
    answer: Duration,
    hello: Duration,
}

impl Times {
    fn new(failover_after: Option<Duration>) -> Times {
        let third = failover_after.map_or(Duration::MAX, |after| after / 3);
        Times {
            poll_wait: POLL_WAIT_MAX.min(third),
            answer: ANSWER_TIME_MAX.min(third),
            hello: HELLO_TIME_MAX.min(third),
        }
    }
}

/// One attempt to follow.
struct Following<'a> {
    node: &'a Node,
    settings: &'a Settings,
    /// What the node was when it began; it ends when that is no longer so.
    change: &'a Change,
    /// When the node that is followed was last heard.
    heard: &'a mut Instant,
    times: Times,
    /// Whether nothing was achieved yet.
    is_fresh: bool,
}

impl Following<'_> {
    fn run(&mut self) -> Trouble {
        loop {
            match self.follow() {
                // It goes on from where the snapshot ends, on a connection of its own.
                Ok(()) => self.is_fresh = false,
                Err(trouble) => return trouble,
            }
        }
    }

    /// Follows until something is wrong; returns without an error once a snapshot was taken.
    fn follow(&mut self) -> Result<(), Trouble> {
        let (mut link, address, met) = self.find()?;
        let node = self.node;
        let may_replace = self.settings.replaces || node.is_pristine();
        if met.is_other && !may_replace {
            return Err(Trouble::OtherStore(address));
        }
        node.cluster().set_primary(met.primary().cloned());
        if met.is_other || !node.is_whole() {
            return self.take_snapshot(link, &address);
        }
        self.poll_on(&mut link, &address, met)
            .and_then(|next| match next {
                Next::Snapshot => self.take_snapshot(link, &address),
            })
    }

    /// Connects to the node that is to be followed: a primary in the highest term, or else a replica.
    fn find(&mut self) -> Result<(Link, String, Met), Trouble> {
        let cluster = self.node.cluster();
        let mut addresses: Vec<String> = cluster
            .upstream()
            .map(|(address, _)| address)
            .into_iter()
            .collect();
        for peer in cluster.peers() {
            if !addresses.contains(&peer) {
                addresses.push(peer);
            }
        }
        let mut best: Option<(Link, String, Met)> = None;
        let mut why = "no address is known; name one with --from".to_owned();
        for address in addresses {
            if cluster.change() != *self.change {
                return Err(Trouble::Turned);
            }
            let (link, met) = match self.say_hello(&address) {
                Ok(answer) => answer,
                Err(error) => {
                    why = format!("{address}: {error}");
                    continue;
                }
            };
            if met.address == cluster.address() || met.primary.as_deref() == Some(cluster.address()) {
                why = format!("{address} follows this node, or is it");
                continue;
            }
            if !met.is_other && met.term < self.node.term() {
                why = format!(
                    "{address} is in term {}, and this node has been in term {}",
                    met.term,
                    self.node.term()
                );
                continue;
            }
            if met.is_primary {
                *self.heard = Instant::now();
            }
            let rank = |met: &Met| (met.is_primary, met.term, met.offset);
            if best.as_ref().is_none_or(|(_, _, other)| rank(other) < rank(&met)) {
                best = Some((link, address, met));
            }
        }
        best.ok_or(Trouble::Nobody(why))
    }

    fn say_hello(&self, address: &str) -> Result<(Link, Met), LinkError> {
        let mut link = connect(self.settings, address, self.times.hello)?;
        if let Ok(line) = link.line()
            && !self.node.cluster().set_line(line, self.change)
        {
            return Err(LinkError::Nonsense("it is not wanted any more".to_owned()));
        }
        let met = exchange_hello(self.node, &mut link, self.times.hello)?;
        Ok((link, met))
    }

    /// Asks for more of the log, again and again.
    fn poll_on(&mut self, link: &mut Link, address: &str, mut met: Met) -> Result<Next, Trouble> {
        let node = self.node;
        let cluster = node.cluster();
        let id = node.log_id().to_string();
        let (mut after, mut term) = node.end();
        let mut is_streaming = false;
        let mut met_at = Instant::now();
        loop {
            if cluster.change() != *self.change {
                return Err(Trouble::Turned);
            }
            let query = LogQuery {
                id: &id,
                after,
                term: term.bits(),
                // The first answer only says how far the other one is.
                wait_ms: if is_streaming {
                    self.times.poll_wait.as_millis() as u64
                } else {
                    0
                },
                follower: cluster.id,
                address: cluster.address(),
                successor: self.settings.failover_after.is_some(),
            };
            let target = format!("{}?{}", api::PATH_REPLICATION_LOG, query.to_query());
            let broken = |error| Trouble::Link(address.to_owned(), error);
            let invalid = |why: &str| Trouble::Invalid(address.to_owned(), why.to_owned());
            let timeout = self.times.poll_wait + self.times.answer;
            let answer = link.ask(&get(&target), timeout).map_err(broken)?;
            let is_piece = answer.status == 200;
            let bytes_max = if is_piece { PIECE_BYTES_MAX } else { TEXT_BYTES_MAX };
            let body = link.body(&answer, bytes_max).map_err(broken)?;
            match answer.status {
                200 => {}
                409 => {
                    *self.heard = Instant::now();
                    if self.set_aside(&body, address)? {
                        (after, term) = node.end();
                        continue;
                    }
                    return Ok(Next::Snapshot);
                }
                410 => {
                    *self.heard = Instant::now();
                    ::log::info!(
                        "{address} no longer holds what comes after offset {after}: taking its state"
                    );
                    return Ok(Next::Snapshot);
                }
                status => return Err(Trouble::Refused(address.to_owned(), status)),
            }
            let Some(piece) = answer.piece else {
                return Err(invalid("it does not say what it is"));
            };
            if piece.offset != after {
                return Err(invalid("it is not what was asked for"));
            }
            if Term::from_bits(piece.term) < node.term() {
                return Err(invalid("it is of a lower term than this node's log"));
            }
            *self.heard = Instant::now();
            if !body.is_empty() {
                after = node.take(after, body).map_err(|error| match error {
                    TakeError::Turned => Trouble::Turned,
                    TakeError::Invalid(why) => Trouble::Invalid(address.to_owned(), why),
                    TakeError::Refused(refusal) => Trouble::Log(refusal.to_string()),
                })?;
                term = node.term();
            }
            cluster.set_known_written(piece.written.max(after), after >= piece.written);
            if !std::mem::replace(&mut is_streaming, true) {
                self.is_fresh = false;
                ::log::info!("following {address} from offset {} on", piece.offset);
                cluster.set_error(None);
                cluster.set_phase(Phase::Streaming);
            }
            // The one that is followed may have become primary, or follow another one now: clients are to be
            // sent there.
            let is_stale = Term::from_bits(piece.term) != met.term
                || !met.is_primary && met_at.elapsed() > GREET_REPLICA_EVERY;
            if is_stale {
                met = exchange_hello(node, link, self.times.hello).map_err(broken)?;
                met_at = Instant::now();
                cluster.set_primary(met.primary().cloned());
            }
        }
    }

    /// Sets aside what this node has and the other's history has not. Returns whether the log goes on from
    /// there.
    fn set_aside(&self, body: &[u8], address: &str) -> Result<bool, Trouble> {
        let divergence: Option<Divergence> = serde_json::from_slice(body).ok();
        let Some(divergence) = divergence.filter(Divergence::is_sound) else {
            return Err(Trouble::Invalid(
                address.to_owned(),
                "it does not say where the histories part".to_owned(),
            ));
        };
        let terms: Vec<TermStart> = divergence
            .terms
            .iter()
            .filter_map(|(term, start)| {
                let term = Term::from_bits(term.parse().ok()?);
                Some(TermStart { term, start: *start })
            })
            .collect();
        let aside = self
            .node
            .set_aside(&terms, divergence.from)
            .map_err(Trouble::Aside)?;
        for path in aside.paths {
            ::log::warn!(
                "the log has changes that are no part of the history of {address}; they are kept in {}: \
                 `pykv log` shows them, `pykv reapply` sends them again",
                path.display()
            );
        }
        Ok(aside.is_cut)
    }

    fn take_snapshot(&mut self, mut link: Link, address: &str) -> Result<(), Trouble> {
        ::log::info!("taking the state of {address}");
        let request = Request {
            until_close: true,
            ..get(api::PATH_REPLICATION_SNAPSHOT)
        };
        let answer = link
            .ask(&request, SNAPSHOT_PAUSE_MAX)
            .map_err(|error| Trouble::Link(address.to_owned(), error))?;
        if answer.status != 200 {
            return Err(Trouble::Refused(address.to_owned(), answer.status));
        }
        let received = self.node.receive(&mut link);
        let offset = received.map_err(|error| match error {
            ReceiveError::Turned => Trouble::Turned,
            error => Trouble::Snapshot(address.to_owned(), error),
        })?;
        *self.heard = Instant::now();
        ::log::info!("took the state of {address} at offset {offset}");
        Ok(())
    }
}

/// What comes after polling.
enum Next {
    Snapshot,
}

fn get(target: &str) -> Request<'_> {
    Request {
        method: "GET",
        target,
        body: b"",
        until_close: false,
    }
}

pub(super) fn connect(settings: &Settings, address: &str, timeout: Duration) -> Result<Link, LinkError> {
    Link::connect(address, settings.token.as_deref(), timeout)
}

/// Tells another node of this one, and hears of it.
pub(super) fn exchange_hello(node: &Node, link: &mut Link, timeout: Duration) -> Result<Met, LinkError> {
    let nonsense = |why: String| LinkError::Nonsense(why);
    let body = serde_json::to_vec(&hello(node)).map_err(|error| nonsense(error.to_string()))?;
    let request = Request {
        method: "POST",
        target: api::PATH_REPLICATION_HELLO,
        body: &body,
        until_close: false,
    };
    let answer = link.ask(&request, timeout)?;
    let body = link.body(&answer, TEXT_BYTES_MAX)?;
    if answer.status != 200 {
        return Err(nonsense(match answer.status {
            401 | 403 => "it asks for a token that is good for admin; see --cluster-token-file".to_owned(),
            status => format!("it answers with status {status}"),
        }));
    }
    let hello: Hello = serde_json::from_slice(&body).map_err(|error| nonsense(error.to_string()))?;
    met(node, &hello).map_err(|why| nonsense(why.to_owned()))
}
