//! What a primary keeps while it is one.

use super::facts::Config;
use super::registers::{self, Status};
use super::standby_set::Standbys;
use super::view::{Register, View};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leadership {
    pub(super) term: u64,
    /// The etcd that named it.
    etcd: u64,
    /// Up to when the node counts on its lease, or on the word of all others.
    pub(super) deadline: u64,
    /// Whether the key hangs on the present lease.
    pub(super) holds_key: bool,
    /// Whether `sync` is this primary's: only then are writes taken.
    pub(super) is_open: bool,
    /// Why the key is not this node's any more.
    pub(super) lost: Option<String>,
    pub(super) standbys: Standbys,
    /// The nodes that `failsafe` names, as far as this primary has written it, and its revision.
    pub(super) failsafe: Option<Register<Vec<String>>>,
    /// Further nodes that it may name.
    pub(super) failsafe_in_doubt: Vec<String>,
    pub(super) status: Option<Status>,
    pub(super) status_at: u64,
    /// The members are not asked for their confirmation before this moment.
    pub(super) confirm_at: u64,
    /// Why the primary continues without etcd, or cannot.
    pub(super) confirmation: Option<Result<(), String>>,
}

impl Leadership {
    pub(super) fn new(term: u64, etcd: u64, deadline: u64) -> Leadership {
        Leadership {
            term,
            etcd,
            deadline,
            holds_key: true,
            is_open: false,
            lost: None,
            standbys: Standbys::default(),
            failsafe: None,
            failsafe_in_doubt: Vec::new(),
            status: None,
            status_at: 0,
            confirm_at: 0,
            confirmation: None,
        }
    }

    /// The lease was renewed.
    pub(super) fn renewed(&mut self, deadline: u64) {
        if self.holds_key {
            self.deadline = self.deadline.max(deadline);
            self.confirmation = None;
        }
    }

    /// What etcd has; `true` where the lease is gone.
    pub(super) fn see(&mut self, view: &View, config: &Config) -> bool {
        let is_own =
            |leader: &&registers::Leader| leader.process == config.process && leader.term == self.term;
        match &view.leader {
            _ if view.etcd != self.etcd => {
                self.lost = Some("another etcd answers than the one that named it".to_owned());
            }
            Some(leader) if !is_own(&leader) => {
                self.lost = Some(format!("etcd names {} as the primary", leader.node));
            }
            _ if view.term_number() != self.term => {
                self.lost = Some(format!(
                    "etcd is in term {}, and not in this node's term {}",
                    view.term_number(),
                    self.term
                ));
            }
            None if self.holds_key => {
                self.holds_key = false;
                return true;
            }
            _ => {}
        }
        self.standbys
            .see(view.sync.as_ref(), view.revision(registers::SYNC));
        let revision = view.revision(registers::FAILSAFE);
        if let Some(known) = &mut self.failsafe
            && known.revision != revision
        {
            // Whoever it may have named is asked until it is written again.
            self.failsafe_in_doubt.append(&mut known.value);
            known.revision = revision;
            let seen = view.failsafe.as_ref().and_then(|seen| seen.value.nodes.clone());
            known.value = seen.unwrap_or_default();
        }
        false
    }

    /// All that `failsafe` may name, without this node.
    pub(super) fn asked(&self, config: &Config) -> Vec<String> {
        let named = self.failsafe.iter().flat_map(|failsafe| &failsafe.value);
        let mut asked: Vec<String> = named.chain(&self.failsafe_in_doubt).cloned().collect();
        asked.retain(|node| *node != config.node);
        asked.sort();
        asked.dedup();
        asked
    }
}
