//! What nodes say to each other of themselves, and what follows from it.
//!
//! Each side hears of the other's term, and the higher one wins. Nothing is believed that no honest node says:
//! an address is one that can be connected to, and a term is no jump that uses the numbers up.

use super::link::{Link, Request, TEXT_BYTES_MAX};
use super::link_error::LinkError;
use super::{ANSWER_TIME_MAX, dial};
use crate::address::Address;
use crate::api::{self, Handshake, REPLICATION_PROTOCOL};
use crate::node::Node;
use crate::wal::{LogId, Role, Term};
use std::time::Duration;

/// The kind of the problem that a node which speaks TLS has with a request that does not.
const NOT_TLS: &str = "urn:pykv:problem:not-tls";

/// What a node of another version is answered.
pub(crate) const OTHER_VERSION: &str =
    "it speaks another version of the replication: run one version of pykv on all nodes";

/// What this node says of itself.
pub(crate) fn handshake(node: &Node) -> Handshake {
    let status = node.cluster_status();
    let is_fed = status.phase == crate::node::Phase::Streaming;
    Handshake {
        protocol: REPLICATION_PROTOCOL,
        node: node.cluster().id,
        id: node.log_id().to_string(),
        term: node.term().bits().to_string(),
        branch: format!("{:016x}", node.nonce()),
        role: status.role.name().to_owned(),
        address: status.address,
        primary: status.primary,
        primary_heard_ms: status
            .primary_heard
            .filter(|_| is_fed)
            .map(|heard| heard.as_millis() as u64),
        offset: node.written(),
        given_up: node.cluster().given_up(),
        check: 0,
    }
    .sealed()
}

/// Another node, as far as it matters to this one.
#[derive(Clone, Debug)]
pub(super) struct PeerInfo {
    pub(super) id: LogId,
    pub(super) term: Term,
    pub(super) is_primary: bool,
    pub(super) address: String,
    /// Where it hears the primary, if it is a replica that follows it.
    pub(super) primary: Option<String>,
    /// How long ago it heard it.
    pub(super) primary_heard: Option<Duration>,
    pub(super) offset: u64,
    /// The last of its promotions that it has given up.
    pub(super) given_up: u64,
    /// Which process it is: one may be reached at several addresses.
    pub(super) process: u64,
    /// Whether it is this node.
    pub(super) is_self: bool,
}

impl PeerInfo {
    /// Where the primary is, by what this node says.
    pub(super) fn primary(&self) -> Option<&str> {
        match self.is_primary {
            true => Some(&self.address),
            false => self.primary.as_deref(),
        }
    }
}

/// Hears what another node says of itself. The higher term wins: a primary of a lower one steps down, and a
/// replica goes over to a primary of a higher one.
///
/// An error says what is wrong with it. The first node of another version is logged: an older one does not show its
/// operator what it is answered.
pub(crate) fn receive(node: &Node, said: &Handshake) -> Result<(), &'static str> {
    if said.protocol != REPLICATION_PROTOCOL
        && let Some(address) = Address::of_node(&said.address)
        && node.cluster().meet_other_version()
    {
        log::warn!("{address} is refused: {OTHER_VERSION}");
    }
    read(node, said).map(|peer| act_on(node, &peer))
}

/// Checks what another node says, and acts on nothing.
fn read(node: &Node, said: &Handshake) -> Result<PeerInfo, &'static str> {
    if said.protocol != REPLICATION_PROTOCOL {
        return Err(OTHER_VERSION);
    }
    if !said.is_sound() {
        return Err("its checksum does not match");
    }
    let term: u64 = said.term.parse().map_err(|_| "its term is no number")?;
    let id = LogId::from_hex(&said.id).ok_or("it has no id of a log")?;
    let address = Address::of_node(&said.address).ok_or("its address is none that leads to a node")?;
    let primary = match &said.primary {
        Some(primary) => {
            Some(Address::of_node(primary).ok_or("the address of its primary is none that leads to a node")?)
        }
        None => None,
    };
    if said.branch.len() != 16 || !said.branch.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("its branch is no number of 16 hexadecimal digits");
    }
    let term = Term::from_bits(term);
    if id == node.log_id() && !node.term().may_meet(term) {
        return Err("its term is too far above this node's to be one that a cluster has reached");
    }
    Ok(PeerInfo {
        id,
        term,
        is_primary: said.role == Role::Primary.name(),
        address,
        primary,
        primary_heard: said.primary_heard_ms.map(Duration::from_millis),
        offset: said.offset,
        given_up: said.given_up,
        process: said.node,
        is_self: said.node == node.cluster().id,
    })
}

fn act_on(node: &Node, peer: &PeerInfo) {
    // The terms of another store mean nothing here.
    if peer.is_self || peer.id != node.log_id() {
        return;
    }
    let term = node.term();
    if peer.is_primary && node.role() == Role::Primary && peer.term == term {
        report_conflict(node, node.cluster().address(), &peer.address, term);
    }
    if peer.is_primary && node.role() == Role::Replica && peer.term >= term {
        // Found by the next search, where this node hears no primary now.
        node.cluster().add_peer(&peer.address);
    }
    if peer.term <= term {
        if !peer.is_primary {
            node.hear_replica(peer.process, &peer.address, peer.given_up);
        }
        return;
    }
    node.cluster().note_term(peer.term);
    if peer.is_primary {
        node.step_down(Some((&peer.address, peer.term)));
    } else if node.role() == Role::Primary {
        let own = node.cluster().address();
        let primary = peer.primary.as_deref().filter(|primary| *primary != own);
        node.step_down(primary.map(|primary| (primary, peer.term)));
    }
}

/// Says that two nodes are primary of one log in one term: a directory was copied, and both were started. They
/// are never mixed; which one is to stay only the operator knows.
pub(super) fn report_conflict(node: &Node, one: &str, other: &str, term: Term) {
    let what = format!(
        "{one} and {other} are both primary of one store in term {term}: a copy of its directory was started; \
         stop one of them"
    );
    if node.cluster().set_conflict(what.clone()) {
        log::error!("{what}");
    }
}

/// Whether an answer is that of a node that speaks TLS to one that does not.
fn is_tls(body: &[u8]) -> bool {
    serde_json::from_slice::<api::Problem>(body).is_ok_and(|problem| problem.kind == NOT_TLS)
}

/// Tells another node of this one, and hears of it.
pub(super) fn exchange(node: &Node, link: &mut Link, timeout: Duration) -> Result<PeerInfo, LinkError> {
    let invalid = |why: String| LinkError::Invalid(why);
    let body = serde_json::to_vec(&handshake(node)).map_err(|error| invalid(error.to_string()))?;
    let request = Request {
        method: "POST",
        target: api::PATH_REPLICATION_HELLO,
        body: &body,
        until_close: false,
    };
    let answer = link.ask(&request, timeout)?;
    let body = link.body(&answer, TEXT_BYTES_MAX, timeout.min(ANSWER_TIME_MAX), || ())?;
    match answer.status {
        200 => {}
        401 | 403 => {
            let why = "it asks for a token that is good for admin; see --cluster-token-file";
            return Err(LinkError::Refused(why));
        }
        404 | 422 => {
            let why = "it does not take this node's handshake; run one version of pykv on all nodes";
            return Err(LinkError::Refused(why));
        }
        421 => {
            let why = "it does not go by that name; start it with --advertise or --host-name";
            return Err(LinkError::Refused(why));
        }
        501 => {
            let why = "it is a gateway, which has no log to follow; `pykv mirror` copies its entries";
            return Err(LinkError::Refused(why));
        }
        400 if is_tls(&body) => {
            return Err(LinkError::Refused("it speaks TLS; name it with https://"));
        }
        status => return Err(invalid(format!("it answers with status {status}"))),
    }
    let said: Handshake =
        serde_json::from_slice(&body).map_err(|_| invalid("it answers with no handshake".to_owned()))?;
    let peer = read(node, &said).map_err(|why| invalid(why.to_owned()))?;
    act_on(node, &peer);
    Ok(peer)
}

/// What came of asking a node.
type Answer = Result<(Link, PeerInfo), LinkError>;

/// Asks nodes at once, each in a thread of its own, and waits for all of them: no longer than `timeout` and the
/// look-up of a name.
pub(super) fn ask_all(node: &Node, addresses: &[String], timeout: Duration) -> Vec<(String, Answer)> {
    let ask = |address: &str| {
        let mut link = dial(node, address, timeout)?;
        let peer = exchange(node, &mut link, timeout)?;
        Ok((link, peer))
    };
    if let [address] = addresses {
        return vec![(address.clone(), ask(address))];
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = addresses
            .iter()
            .map(|address| {
                let builder = std::thread::Builder::new().name("handshake".to_owned());
                (address, builder.spawn_scoped(scope, || ask(address)))
            })
            .collect();
        let answers = threads.into_iter().map(|(address, thread)| {
            let answer = match thread.map(|thread| thread.join()) {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(LinkError::Invalid(
                    "the thread that asked it has panicked".to_owned(),
                )),
                Err(error) => Err(LinkError::Io(error)),
            };
            (address.clone(), answer)
        });
        answers.collect()
    })
}
