//! What all threads of a run see: where nodes are, and what happens to them.

use super::timeline::Timeline;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// See the module.
pub struct Board {
    pub timeline: Timeline,
    /// Where each node listens; none where it does not run.
    addresses: Mutex<Vec<Option<SocketAddr>>>,
    /// Whether each node was primary when it last said what it is.
    is_primary: Vec<AtomicBool>,
}

impl Board {
    pub fn new(nodes: usize) -> Board {
        Board {
            timeline: Timeline::default(),
            addresses: Mutex::new(vec![None; nodes]),
            is_primary: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    pub fn address(&self, node: usize) -> Option<SocketAddr> {
        self.addresses.lock().expect("nothing under this lock panics")[node]
    }

    /// Where all the running nodes listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.addresses.lock().expect("nothing under this lock panics");
        addresses.iter().flatten().copied().collect()
    }

    pub fn set_address(&self, node: usize, address: Option<SocketAddr>) {
        self.addresses.lock().expect("nothing under this lock panics")[node] = address;
    }

    pub fn was_primary(&self, node: usize) -> bool {
        self.is_primary[node].load(Relaxed)
    }

    pub fn set_primary(&self, node: usize, is_primary: bool) {
        self.is_primary[node].store(is_primary, Relaxed);
    }
}
