//! The links between nodes and members of etcd: real ones where there can be namespaces, else those of proxies.
//!
//! By proxies, members of etcd always hear each other, and a link between a node and a member is silent both ways or not
//! at all.

use crate::common::etcd::{Etcd, Place};
use crate::common::namespaces::Namespaces;
use crate::common::network::Network;
use crate::common::opener;
use crate::common::proxy::{Mode, Proxy};
use crate::common::skip;
use std::net::SocketAddr;

/// The port of every node that has an address of its own.
const PORT: u16 = 7958;

/// Something that hears others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Node(usize),
    /// Of etcd.
    Member(usize),
}

/// See the module.
pub enum Links {
    Real {
        network: Namespaces,
        nodes: usize,
    },
    Proxies {
        network: Network,
        /// By node, then member; made once etcd runs.
        to_etcd: Vec<Vec<Proxy>>,
    },
}

impl Links {
    /// None where there are neither namespaces nor proxies that know who they speak with.
    pub fn start(test: &str, nodes: usize, members: usize) -> Option<Links> {
        match Namespaces::start(nodes + members) {
            Ok(network) => return Some(Links::Real { network, nodes }),
            Err(why) => eprintln!("the links are proxies: there are no network namespaces: {why}"),
        }
        if !opener::is_known_here() {
            skip(test, "the kernel does not tell who opened a connection");
            return None;
        }
        Some(Links::Proxies {
            network: Network::start(nodes),
            to_etcd: Vec::new(),
        })
    }

    /// Where the members of etcd run.
    pub fn places(&self, members: usize) -> Vec<Place> {
        let place = |member| match self {
            Links::Real { network, nodes } => Place {
                host: network.address(nodes + member),
                wrapper: network.wrapper(nodes + member),
            },
            Links::Proxies { .. } => Place::here(),
        };
        (0..members).map(place).collect()
    }

    /// Leads to these members from now on.
    pub fn lead_to_etcd(&mut self, nodes: usize, etcd: &Etcd) {
        if let Links::Proxies { to_etcd, .. } = self {
            let proxy = |member| {
                let proxy = Proxy::start();
                proxy.lead_to(etcd.address(member));
                proxy
            };
            *to_etcd = (0..nodes).map(|_| (0..etcd.len()).map(proxy).collect()).collect();
        }
    }

    /// How a node names the members of etcd.
    pub fn endpoints(&self, node: usize, etcd: &Etcd) -> String {
        match self {
            Links::Real { .. } => etcd.endpoints(),
            Links::Proxies { to_etcd, .. } => {
                let urls = to_etcd[node]
                    .iter()
                    .map(|proxy| format!("http://{}", proxy.address()));
                urls.collect::<Vec<String>>().join(",")
            }
        }
    }

    /// Where a node listens.
    pub fn listen(&self, node: usize) -> String {
        match self {
            Links::Real { network, .. } => SocketAddr::new(network.address(node), PORT).to_string(),
            Links::Proxies { .. } => "127.0.0.1:0".to_owned(),
        }
    }

    /// The address by which others reach a node.
    pub fn advertised(&self, node: usize) -> String {
        match self {
            Links::Real { .. } => self.listen(node),
            Links::Proxies { network, .. } => network.address(node),
        }
    }

    /// What runs a node at its place, before its command.
    pub fn wrapper(&self, node: usize) -> Vec<String> {
        match self {
            Links::Real { network, .. } => network.wrapper(node),
            Links::Proxies { .. } => Vec::new(),
        }
    }

    /// Where a node that was started listens; none where it has ended.
    pub fn lead_to(&self, node: usize, address: Option<SocketAddr>) {
        if let Links::Proxies { network, .. } = self {
            network.lead_to(node, address);
        }
    }

    /// The second hears nothing of the first any more.
    pub fn silence(&self, from: Host, to: Host) {
        match self {
            Links::Real { network, nodes } => {
                let number = |host| match host {
                    Host::Node(node) => node,
                    Host::Member(member) => nodes + member,
                };
                network.silence(number(from), number(to));
            }
            Links::Proxies { network, to_etcd } => match (from, to) {
                (Host::Node(from), Host::Node(to)) => network.silence(from, to),
                (Host::Node(node), Host::Member(member)) | (Host::Member(member), Host::Node(node)) => {
                    to_etcd[node][member].set(Mode::Hang);
                }
                (Host::Member(_), Host::Member(_)) => {}
            },
        }
    }

    /// All hear each other again.
    pub fn heal(&self) {
        match self {
            Links::Real { network, .. } => network.heal(),
            Links::Proxies { network, to_etcd } => {
                for node in 0..to_etcd.len() {
                    (0..node).for_each(|other| network.heal(node, other));
                }
                to_etcd.iter().flatten().for_each(|proxy| proxy.set(Mode::Pass));
            }
        }
    }
}

mod tests {
    use super::*;
    use crate::common::eventually;

    /// A leader that hears nobody is one no more, and the others have another one.
    #[test]
    fn hosts_hear_what_they_are_let_hear() {
        const TEST: &str = "hosts_hear_what_they_are_let_hear";
        let links = match Links::start(TEST, 0, 3) {
            Some(links @ Links::Real { .. }) => links,
            _ => {
                return skip(
                    TEST,
                    "there are no network namespaces; proxies have tests of their own",
                );
            }
        };
        let Some(etcd) = Etcd::start_at(&links.places(3), &[]) else {
            return skip(TEST, "etcd is not installed");
        };
        let mut leader = None;
        eventually("etcd has a leader", || {
            leader = etcd.leader();
            leader.is_some()
        });
        let leader = leader.unwrap();
        let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
        for other in &others {
            links.silence(Host::Member(*other), Host::Member(leader));
        }
        eventually("another one leads", || {
            etcd.leader().is_some_and(|now| now != leader)
        });
        assert!(etcd.try_ctl(leader, &["endpoint", "health"]).is_none());
        links.heal();
        eventually("all are one again", || {
            (0..3).all(|member| etcd.try_ctl(member, &["endpoint", "health"]).is_some())
        });
    }
}
