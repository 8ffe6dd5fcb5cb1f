//! Whether the log takes writes, and why a write was refused.

use std::fmt;
use std::time::Duration;

/// Whether the log takes writes, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// The disk is full: nothing more can be written until there is room.
    DiskFull {
        /// What the system said.
        why: String,
    },
    /// A write failed. It is tried again.
    WriteFailed {
        /// What the system said.
        why: String,
    },
    /// A sync failed, so what the disk holds is not known; the store is being written anew.
    SyncFailed {
        /// What the system said.
        why: String,
    },
    /// The disk is full except for a reserve: deletions are taken, and nothing that needs more room than it gives.
    Short {
        /// What is short, and what would help.
        why: String,
    },
    /// The data directory is no longer this node's: somebody has moved it, or put another store in its place.
    Displaced {
        /// How that is known.
        why: String,
    },
}

impl Health {
    /// Whether the log can be written, and takes deletions at least.
    pub fn takes_removals(&self) -> bool {
        matches!(self, Health::Ok | Health::Short { .. })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Ok => f.write_str("ok"),
            Health::DiskFull { why } => write!(f, "the disk is full: {why}"),
            Health::WriteFailed { why } => write!(f, "the log cannot be written: {why}"),
            Health::SyncFailed { why } => write!(f, "the log cannot be synced: {why}"),
            Health::Short { why } => write!(f, "the disk is full: {why}"),
            Health::Displaced { why } => f.write_str(why),
        }
    }
}

/// Why a write was refused, or what kept it from being acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log takes no writes: refused at the door, nothing changed.
    Unhealthy(Health),
    /// The bytes not yet written are as many as may be; refused at the door, nothing changed.
    Busy {
        /// How long room was waited for.
        waited: Duration,
    },
    /// The write was applied, and then the log failed before it was written or synced: it may or may not
    /// be there after a restart.
    Unknown(Health),
    /// The write was applied, and the log did not get to it in time.
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The log has used up all offsets.
    Full,
    /// No term is above the ones that were met.
    TermsUsedUp,
    /// The node is a replica: writes are the primary's. Refused at the door, nothing changed.
    Replica,
    /// The lease by which the node is primary is over. Refused at the door, nothing changed.
    LeaseOver,
    /// The write was applied, and then the lease was over: another node may be primary, and not have it.
    LeaseOverSince,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unhealthy(health) => write!(f, "{health}; nothing was changed"),
            Refusal::Busy { waited } => {
                write!(
                    f,
                    "the log is behind by as much as it may be, for {} s; nothing was changed",
                    waited.as_secs()
                )
            }
            Refusal::Unknown(health) => {
                write!(f, "{health}; whether the change survives a restart is not known")
            }
            Refusal::TimedOut { waited } => write!(
                f,
                "the log did not get to the change within {} s; whether it survives a restart is not known",
                waited.as_secs()
            ),
            Refusal::LeaseOver => {
                f.write_str("the node's lease as primary is over, or has not begun; nothing was changed")
            }
            Refusal::LeaseOverSince => f.write_str(
                "the node's lease as primary ran out before the change was answered; whether the next primary has it is \
                 not known",
            ),
            Refusal::Replica => f.write_str("the node is a replica; nothing was changed"),
            Refusal::TermsUsedUp => f.write_str(
                "the store has used up its terms; a backup of it restores to a store that begins anew",
            ),
            Refusal::Full => f.write_str("the log has used up its offsets; nothing was changed"),
        }
    }
}

impl std::error::Error for Refusal {}
