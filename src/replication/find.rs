//! Finds the node to follow.
//!
//! All addresses that are known are asked at once, and each says what it is. A node that says where the primary
//! is has it asked too. A node with `--from-replica` asks the nodes of its `--from` alone: its operator wants it
//! behind these, and not behind the primary that they name.
//!
//! # What must hold
//! - Only a node of this log counts, or one whose store this node may take: where its own is empty, or where
//!   the operator has named the other's id.
//! - A primary of this log that is alive counts as heard, whatever becomes of following it.
//! - Of two primaries of one term neither wins by being found first: this node keeps to the one it followed.

use super::failover::Failover;
use super::follow_error::FollowError;
use super::handshake::{PeerInfo, ask_all, report_conflict};
use super::link::Link;
use crate::node::{Change, Node};
use crate::wal::Term;
use std::time::Duration;

/// How many of the nodes that do not do are named with the reason.
const REFUSED_MAX: usize = 4;

/// A node to follow, and the connection to it.
pub(super) struct Found {
    pub(super) link: Link,
    pub(super) address: String,
    pub(super) peer: PeerInfo,
}

/// A search for the node to follow.
pub(super) struct Finder<'a> {
    pub(super) node: &'a Node,
    /// What the node was when the search began; it ends when that is no longer so.
    pub(super) change: &'a Change,
    pub(super) failover: &'a mut Failover,
    /// How long connecting may take, and a handshake.
    pub(super) handshake_time: Duration,
}

/// How a node that answered ranks: the highest is followed.
type Rank = (bool, Term, bool, u64);

impl Finder<'_> {
    /// Asks every address that is known, and chooses.
    pub(super) fn find(mut self) -> Result<Found, FollowError> {
        let cluster = self.node.cluster();
        let options = cluster.options();
        let (mut addresses, rounds) = match options.follows_replicas {
            // Etcd names it.
            _ if self.node.is_elected() => (Vec::new(), 1),
            true => (options.peers.clone(), 1),
            // The nodes that are known, then those that they name.
            false => (cluster.peers(), 2),
        };
        if let Some(leader) = cluster.leader()
            && !addresses.contains(&leader)
        {
            addresses.push(leader);
        }
        let mut search = Search {
            best: None,
            primaries: Vec::new(),
            other_store: None,
            refused: Vec::new(),
        };
        let mut next = addresses.clone();
        for _ in 0..rounds {
            let named = self.ask(&next, &mut search)?;
            next = named
                .into_iter()
                .filter(|address| !addresses.contains(address) && address != cluster.address())
                .collect();
            next.sort();
            next.dedup();
            if next.is_empty() {
                break;
            }
            addresses.extend(next.iter().cloned());
        }
        if let [(_, one), (_, other), ..] = &search.primaries[..] {
            report_conflict(self.node, one, other, self.node.term());
        }
        match (search.best, search.other_store) {
            (Some((_, found)), _) => Ok(found),
            (None, Some(error)) => Err(error),
            (None, None) if search.refused.is_empty() => Err(FollowError::NoPrimary(
                match options.peers.is_empty() {
                    _ if self.node.is_elected() => "etcd names none, or has not answered",
                    true => "no address is known; name one with --from",
                    false => "--from names this node itself alone; name another one",
                }
                .to_owned(),
            )),
            (None, None) => Err(FollowError::NoPrimary(search.refused.join("; "))),
        }
    }

    /// Asks addresses at once; returns where those that answer say that the primary is.
    fn ask(&mut self, addresses: &[String], search: &mut Search) -> Result<Vec<String>, FollowError> {
        let cluster = self.node.cluster();
        let mut named = Vec::new();
        self.failover.ask();
        let answers = ask_all(self.node, addresses, self.handshake_time);
        self.failover.beat(2 * self.handshake_time);
        if cluster.change() != *self.change {
            return Err(FollowError::RoleChanged);
        }
        for (address, answer) in answers {
            match answer {
                Err(error) => search.refuse(format!("{address}: {error}")),
                Ok((link, peer)) => {
                    named.extend(peer.primary.clone().filter(|_| !peer.is_self));
                    self.consider(link, address, peer, search);
                }
            }
        }
        Ok(named)
    }

    fn consider(&mut self, link: Link, address: String, peer: PeerInfo, search: &mut Search) {
        let node = self.node;
        let cluster = node.cluster();
        if peer.is_self {
            search.refuse(match node.is_elected() {
                true => format!("{address}, which etcd names, is this node itself"),
                false => format!("{address} is this node itself; name another one with --from"),
            });
            return;
        }
        if peer.address == cluster.address() {
            search.refuse(format!(
                "{address} advertises this node's own address; see --advertise"
            ));
            return;
        }
        if let Some((_, process)) = cluster.named_leader()
            && process != format!("{:016x}", peer.process)
        {
            search.refuse(format!(
                "{address} is another process than the one that etcd names"
            ));
            return;
        }
        let is_own = peer.id == node.log_id();
        if !is_own && !self.may_take(&peer) {
            if peer.is_primary {
                search.other_store = Some(FollowError::OtherStore {
                    address,
                    id: peer.id,
                    own: node.log_id(),
                    is_elected: node.is_elected(),
                });
            } else {
                search.refuse(format!("{address} is a replica of another store"));
            }
            return;
        }
        if is_own && peer.term < node.term() {
            search.refuse(format!(
                "{address} is in term {}, and this node was in term {}",
                peer.term,
                node.term()
            ));
            return;
        }
        if !may_follow(node, &peer) {
            search.refuse(match node.is_elected() {
                true => format!("{address}, which etcd names, is not primary yet"),
                false => format!("{address} is a replica"),
            });
            return;
        }
        if peer.is_primary && is_own {
            self.failover.heard(node, Some(&peer.address), Duration::ZERO);
            let is_new = search
                .primaries
                .iter()
                .all(|(process, _)| *process != peer.process);
            if peer.term == node.term() && is_new {
                search.primaries.push((peer.process, peer.address.clone()));
            }
        }
        let is_followed = cluster.source().is_some_and(|source| source == address);
        let rank = (peer.is_primary, peer.term, is_followed, peer.offset);
        if search.best.as_ref().is_none_or(|(best, _)| *best < rank) {
            search.best = Some((rank, Found { link, address, peer }));
        }
    }

    /// Whether this node's own store may be set aside for that of another.
    fn may_take(&self, peer: &PeerInfo) -> bool {
        self.node.is_empty_store() || self.node.cluster().options().replace == Some(peer.id)
    }
}

/// Whether a node may be followed: a primary, or a replica that follows one, where the operator said so.
pub(super) fn may_follow(node: &Node, peer: &PeerInfo) -> bool {
    peer.is_primary || node.cluster().options().follows_replicas && peer.primary_heard.is_some()
}

/// What the answers have come to.
struct Search {
    best: Option<(Rank, Found)>,
    /// The primaries of this log and term: which process each is, and its address.
    primaries: Vec<(u64, String)>,
    other_store: Option<FollowError>,
    /// Why each of the first few does not do.
    refused: Vec<String>,
}

impl Search {
    fn refuse(&mut self, why: String) {
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(why);
        }
    }
}
