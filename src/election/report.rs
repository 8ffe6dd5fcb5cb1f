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
    /// For how long it has been gone; none where it is there.
    pub gone_for: Option<u64>,
}

/// Etcd does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Why not.
    pub why: String,
    /// For how long.
    pub time: u64,
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
    /// That etcd does not answer.
    pub outage: Option<Outage>,
    /// The primary that continues without etcd, since all others confirm it: this node, or the one that it confirms.
    pub confirmed: Option<String>,
    /// Why this node may not take over, or does not.
    pub obstacle: Option<String>,
    /// Whether it hands over at this moment.
    pub is_handing_over: bool,
    /// The nodes that are there, and those that were.
    pub members: Vec<MemberReport>,
    /// When etcd was last read.
    pub viewed_at: u64,
}

impl Machine {
    /// Whether takeovers are paused; none where that is not known, or is to change.
    pub fn is_paused(&self) -> Option<bool> {
        let view = self.view.as_ref()?;
        self.pause_request.is_none().then_some(view.is_paused)
    }

    fn outage(&self, now: u64) -> Option<Outage> {
        let since = self.failing_since.unwrap_or(now);
        self.failure.as_ref().map(|why| Outage {
            why: why.clone(),
            time: now.saturating_sub(since),
        })
    }

    /// How it is.
    pub fn report(&self, now: u64, facts: &Facts) -> Report {
        let deadline = self.deadline();
        let (standbys, confirmed) = match &self.stage {
            Stage::Leading(leading) => (
                leading
                    .standbys
                    .named()
                    .iter()
                    .map(|one| one.node.clone())
                    .collect(),
                matches!(leading.confirmation, Some(Ok(()))).then_some(&self.config.node),
            ),
            _ => {
                let named = self.view.as_ref().and_then(|view| view.standbys());
                let promised = self.promised.as_ref().filter(|(_, until)| now < *until);
                (
                    named.map_or(Vec::new(), |(_, named)| named.to_vec()),
                    promised.map(|(leader, _)| &leader.node),
                )
            }
        };
        let view = self.view.as_ref();
        let leader = view.and_then(|view| view.leader.as_ref());
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
            outage: self.outage(now),
            confirmed: confirmed.filter(|_| self.failure.is_some()).cloned(),
            obstacle: match is_primary {
                true => None,
                false => self.why_not(now, facts).or_else(|| self.obstacle.clone()),
            },
            is_handing_over: self.is_handing_over(),
            members: self
                .last_seen
                .iter()
                .map(|(node, at)| MemberReport {
                    node: node.clone(),
                    is_standby: standbys.contains(node),
                    gone_for: view
                        .is_some_and(|view| !view.members.contains_key(node))
                        .then(|| now.saturating_sub(*at)),
                })
                .collect(),
            viewed_at: self.viewed_at,
        }
    }
}
