//! What a node says of the election.

use super::facts::Facts;
use super::state::{Machine, Stage};

/// Who holds the key of the primary, by the last read of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// How others reach it.
    pub node: String,
    /// Its term.
    pub term: u64,
}

/// A member, by the last read of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// How others reach it.
    pub node: String,
    /// Whether it has every write that was answered, where the primary waits for that.
    pub is_standby: bool,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Who is primary.
    pub holder: Option<Holder>,
    /// For how long this node may take writes yet, as primary.
    pub lease_left: Option<u64>,
    /// Whether takeovers are paused.
    pub is_paused: bool,
    /// Why etcd does not answer.
    pub failure: Option<String>,
    /// Whether this node is primary without etcd, by the word of all others.
    pub is_confirmed: bool,
    /// Why this node may not take over, or does not.
    pub obstacle: Option<String>,
    /// Whether it hands over at this moment.
    pub is_handing_over: bool,
    /// The nodes that are there.
    pub members: Vec<MemberReport>,
    /// When etcd was last read.
    pub viewed_at: u64,
}

impl Machine {
    /// Whether takeovers are paused; none where that is not known, or is to change.
    pub fn is_paused(&self) -> Option<bool> {
        let view = self.view.as_ref()?;
        self.wish.is_none().then_some(view.is_paused)
    }

    /// How it is.
    pub fn report(&self, now: u64, facts: &Facts) -> Report {
        let deadline = self.deadline();
        let (standbys, is_confirmed) = match &self.stage {
            Stage::Leading(leading) => (
                leading.standbys.named().to_vec(),
                matches!(leading.confirmation, Some(Ok(()))),
            ),
            _ => {
                let named = self.view.as_ref().and_then(|view| view.standbys());
                (named.map_or(Vec::new(), |(_, named)| named.to_vec()), false)
            }
        };
        let view = self.view.as_ref();
        let leader = view.and_then(|view| view.leader.as_ref());
        let members = view.iter().flat_map(|view| view.members.keys());
        let is_primary = facts.is_primary && now < deadline;
        Report {
            holder: match &self.stage {
                Stage::Leading(leading) => Some(Holder {
                    node: self.config.node.clone(),
                    term: leading.term,
                }),
                _ => leader.map(|leader| Holder {
                    node: leader.node.clone(),
                    term: leader.term,
                }),
            },
            lease_left: is_primary.then(|| deadline - now),
            is_paused: view.is_some_and(|view| view.is_paused),
            failure: self.failure.clone(),
            is_confirmed,
            obstacle: match is_primary {
                true => None,
                false => self.why_not(now, facts).or_else(|| self.obstacle.clone()),
            },
            is_handing_over: self.is_handing_over(),
            members: members
                .map(|node| MemberReport {
                    node: node.clone(),
                    is_standby: standbys.contains(node),
                })
                .collect(),
            viewed_at: self.viewed_at,
        }
    }
}
