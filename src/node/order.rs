//! Brings the keys of the store into order, a few of them in each hold of the store's lock.
//!
//! The thread `order` sleeps until the first listing by prefix ([`super::walk`]). The order is kept from then on, until
//! the node is closed or its store is replaced. Listings do not wait for it: until it is complete, they look at all
//! slots.

use super::pace::Pace;
use crate::store::Store;
use crate::worker::{Signal, Worker};
use std::sync::Arc;
use std::time::Duration;

/// Slots looked at in one hold of the lock: some 30 µs.
const HOLD_SLOTS: usize = 32;

/// For how long the thread sleeps when nobody calls.
const SLEEP: Duration = Duration::from_secs(3600);

/// The thread `order`.
pub(super) struct Orderer {
    signal: Arc<Signal>,
    worker: Worker,
}

impl Orderer {
    /// Starts the thread, which works when it is called.
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Orderer> {
        let signal = Arc::new(Signal::default());
        let (to_end, of_thread) = (Arc::clone(&signal), Arc::clone(&signal));
        let work = move || {
            loop {
                let called = of_thread.wait(SLEEP);
                if called.to_stop || called.to_work && !build(&store, &of_thread) {
                    return;
                }
            }
        };
        let worker = Worker::start("order", move || to_end.stop(), work)?;
        Ok(Orderer { signal, worker })
    }

    /// Has the order made.
    pub(super) fn call(&self) {
        self.signal.call();
    }

    /// Ends the thread, and waits for it.
    pub(super) fn stop(&mut self) {
        self.worker.stop();
    }
}

/// Makes the order. Returns `false` where the thread is to end first.
fn build(store: &Store, call: &Signal) -> bool {
    let mut pace = Pace::new();
    while !store.lock().map.is_ordered() && store.lock().map.build_order(HOLD_SLOTS) {
        if call.wait(Duration::ZERO).to_stop {
            return false;
        }
        pace.rest();
    }
    true
}
