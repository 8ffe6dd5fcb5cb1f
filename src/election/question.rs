//! What members of a cluster ask each other where etcd decides.

use super::registers::Leader;
use serde::{Deserialize, Serialize};

/// What is asked of other members, and for how long their answers are waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Whom.
    pub addresses: Vec<String>,
    /// Whether they confirm this primary; none where they are asked how they are.
    pub confirm: Option<Confirm>,
    /// How long an answer may take, in the units of the machine's clock.
    pub time_max: u64,
}

/// A primary that etcd does not answer asks to be taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Confirm {
    /// Who asks.
    pub leader: Leader,
    /// The id of its log.
    pub log: String,
    /// For how long whoever confirms does not take over, in the units of the machine's clock.
    pub time: u64,
}

/// How a member is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// How others reach it.
    pub node: String,
    /// Which run of it.
    pub process: String,
    /// The id of its log.
    pub log: String,
    /// Whether it is primary and may take writes.
    pub is_primary: bool,
    /// Whether it has nothing yet.
    pub is_empty: bool,
    /// The term of its log, number and mark.
    pub term: u64,
    /// How far its log is written.
    pub written: u64,
    /// Why it may not take over; none where it may.
    pub obstacle: Option<String>,
    /// Whether it confirms the primary that asks; none where none asks.
    pub confirms: Option<bool>,
}
