//! What a node keeps for an election that etcd decides.

use super::cluster_status::Options;
use crate::boot_clock::{BootInstant, Fence};
use crate::election::{Machine, SharedMachine};
use crate::wal::{EtcdMark, Marker};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// See the module.
pub(super) struct Election {
    /// None where etcd decides nothing.
    pub(super) shared: Option<SharedMachine>,
    pub(super) fence: Fence,
    /// What was seen of etcd, be it of this start or of one before.
    mark: Mutex<Option<EtcdMark>>,
    /// The runs of this directory that etcd may know.
    runs: Mutex<Vec<String>>,
    /// The first offset that this node gave as the primary of its last term.
    pub(super) first: AtomicU64,
}

impl Election {
    pub(super) fn new(options: &Options, process: u64, marker: Option<&Marker>, fence: Fence) -> Election {
        let shared = options.election.clone().map(|mut config| {
            config.node.clone_from(&options.address);
            config.process = process_name(process);
            fence.set(0);
            SharedMachine::new(Machine::new(config), fence.clone())
        });
        Election {
            shared,
            fence,
            mark: Mutex::new(marker.and_then(|marker| marker.etcd.clone())),
            runs: Mutex::new(marker.map_or(Vec::new(), |marker| marker.runs.clone())),
            first: AtomicU64::new(0),
        }
    }

    pub(super) fn mark(&self) -> Option<EtcdMark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_mark(&self, mark: EtcdMark) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
    }

    pub(super) fn runs(&self) -> Vec<String> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns those of before.
    pub(super) fn set_runs(&self, runs: Vec<String>) -> Vec<String> {
        let mut known = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, runs)
    }
}

/// Now, in the units of the election: nanoseconds since the machine was started.
pub(crate) fn election_now() -> u64 {
    BootInstant::now().nanoseconds()
}

/// How the election names a process.
pub(super) fn process_name(process: u64) -> String {
    format!("{process:016x}")
}
