//! The connections that are open, and what all of them together have counted.
//!
//! A [`Peer`] is what a connection shows to others: its socket, so that stopping can reach it, whether it
//! is at work, and its counters. Counters are the connection's own and nobody else writes them, so that
//! counting an answer touches no memory that threads contend for; whoever asks adds them up.

use super::transport::{Client, Transport};
use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Answers by the class of their status: 2xx, 3xx, 4xx, 5xx.
#[derive(Debug, Default)]
struct Answers([AtomicU64; 4]);

/// What a connection shows to others.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) transport: Transport,
    /// Where the client is.
    pub(crate) client: Client,
    /// Where it counts how long requests took; see [`crate::observe`].
    pub(crate) shard: usize,
    /// The names that the client has proved by a certificate.
    names: OnceLock<Box<[String]>>,
    /// A request is in hand, whole or in part.
    at_work: AtomicBool,
    /// Reads of a request that has not come to its end, and 1 more; 0 where none is waited for.
    reads: AtomicU64,
    answers: Answers,
}

impl Peer {
    pub(crate) fn new(transport: Transport, client: Client, shard: usize) -> Peer {
        Peer {
            transport,
            client,
            shard,
            names: OnceLock::new(),
            at_work: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            answers: Answers::default(),
        }
    }

    /// Notes the names that the client has proved. The first time counts.
    pub(crate) fn set_names(&self, names: Vec<String>) {
        let _ = self.names.set(names.into());
    }

    /// The names that the client has proved by a certificate; none where it has shown none.
    pub(crate) fn names(&self) -> &[String] {
        self.names.get().map_or(&[], |names| names)
    }

    /// Says that a request is in hand, or that none is.
    pub(crate) fn set_at_work(&self, at_work: bool) {
        // In one order with the flag that says that the server stops: either this connection sees that
        // flag before it waits for a request, or whoever set it sees this one and ends the wait.
        self.at_work.store(at_work, SeqCst);
    }

    /// Says that the rest of a request is waited for, and how often some of it came. Only the connection's own
    /// thread does.
    pub(crate) fn set_reads(&self, reads: u64) {
        self.reads.store(reads, SeqCst);
    }

    /// Counts an answer. Only the connection's own thread does.
    pub(crate) fn count(&self, status: u16) {
        if let Some(counter) = self.answers.0.get(usize::from(status / 100).wrapping_sub(2)) {
            counter.store(counter.load(Relaxed) + 1, Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<u64, Arc<Peer>>,
    next_id: u64,
    accepted: u64,
    refused: u64,
    /// What connections had counted that are closed now.
    answers: [u64; 4],
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
    closed: Condvar,
    connections_max: usize,
}

/// What all connections together have counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) open: u64,
    pub(crate) open_max: u64,
    /// Since the start.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// Answers by the class of their status: 2xx, 3xx, 4xx, 5xx.
    pub(crate) answers: [u64; 4],
}

/// An open connection; the registry forgets it on drop.
#[derive(Debug)]
pub(crate) struct Registration<'a> {
    registry: &'a Registry,
    id: u64,
    pub(crate) peer: Arc<Peer>,
}

impl Registry {
    pub(crate) fn new(connections_max: usize) -> Registry {
        Registry {
            inner: Mutex::default(),
            closed: Condvar::new(),
            connections_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("nothing under the registry's lock panics")
    }

    /// Registers a connection; gives it back where there are as many as may be.
    pub(crate) fn register(
        &self,
        transport: Transport,
        client: Client,
    ) -> Result<Registration<'_>, Transport> {
        let mut inner = self.lock();
        if inner.open.len() >= self.connections_max {
            inner.refused += 1;
            return Err(transport);
        }
        let id = inner.next_id;
        let peer = Arc::new(Peer::new(transport, client, id as usize));
        inner.next_id += 1;
        inner.accepted += 1;
        inner.open.insert(id, Arc::clone(&peer));
        Ok(Registration {
            registry: self,
            id,
            peer,
        })
    }

    /// Counts a connection that was registered and then had to be refused.
    pub(crate) fn count_unserved(&self) {
        let mut inner = self.lock();
        inner.accepted -= 1;
        inner.refused += 1;
    }

    /// Ends the wait of every connection that waits for a request. What has come already is still read.
    pub(crate) fn wake_idle(&self) {
        for peer in self.lock().open.values() {
            if !peer.at_work.load(SeqCst) {
                let _ = peer.transport.shutdown(Shutdown::Read); // Fails where the client has gone: as well.
            }
        }
    }

    /// Waits until all connections are closed, or `grace` has passed; returns how many are left. Of requests of
    /// which nothing came for `still_max` no more is waited for.
    pub(crate) fn wait_until_empty(&self, grace: Duration, still_max: Duration) -> usize {
        let end = Instant::now() + grace;
        let reads = |peer: &Arc<Peer>| peer.reads.load(SeqCst);
        let seen = |inner: &Inner| -> HashMap<u64, u64> {
            inner.open.iter().map(|(id, peer)| (*id, reads(peer))).collect()
        };
        let mut before = seen(&self.lock());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (inner, _) = self
                .closed
                .wait_timeout_while(self.lock(), left.min(still_max), |inner| !inner.open.is_empty())
                .expect("nothing under the registry's lock panics");
            if inner.open.is_empty() || Instant::now() >= end {
                return inner.open.len();
            }
            for (id, peer) in &inner.open {
                if reads(peer) > 0 && before.get(id) == Some(&reads(peer)) {
                    let _ = peer.transport.shutdown(Shutdown::Read); // Fails where the client has gone: as well.
                }
            }
            before = seen(&inner);
        }
    }

    /// Cuts every connection.
    pub(crate) fn cut_all(&self) {
        for peer in self.lock().open.values() {
            let _ = peer.transport.shutdown(Shutdown::Both); // Fails where the client has gone: as well.
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let inner = self.lock();
        let mut answers = inner.answers;
        for peer in inner.open.values() {
            add(&mut answers, peer);
        }
        Counts {
            open: inner.open.len() as u64,
            open_max: self.connections_max as u64,
            accepted: inner.accepted,
            refused: inner.refused,
            answers,
        }
    }
}

fn add(sums: &mut [u64; 4], peer: &Peer) {
    for (sum, counter) in sums.iter_mut().zip(&peer.answers.0) {
        *sum += counter.load(Relaxed);
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        inner.open.remove(&self.id);
        add(&mut inner.answers, &self.peer);
        drop(inner);
        self.registry.closed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::got::Got;
    use super::*;
    use std::os::unix::net::UnixStream;

    /// What has not moved since the stop began is cut once its time is over, and not a round later.
    #[test]
    fn a_request_of_which_nothing_comes_is_cut_after_its_time() {
        let registry = Registry::new(2);
        let open = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let open = registry.register(Transport::Unix(ours), Client::Local);
            (open.unwrap(), theirs)
        };
        let ((still, _still), (idle, _idle)) = (open(), open());
        still.peer.set_reads(1);
        let still_max = Duration::from_millis(500);
        // There is no time for a second round.
        assert_eq!(registry.wait_until_empty(still_max * 19 / 10, still_max), 2);
        let got = |open: &Registration<'_>| open.peer.transport.read_now(&mut Vec::with_capacity(1)).unwrap();
        assert_eq!(got(&still), Got::End);
        assert_eq!(got(&idle), Got::TimedOut);
    }
}
