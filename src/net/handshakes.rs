//! The TLS handshakes that have not ended.
//!
//! A handshake costs a client nothing to begin. So those that do not move must not keep out others: their number is
//! bounded, and where one more would pass the bound, the oldest is cut. One that is young is left alone, as many
//! clients may come at once.

use super::registry::Peer;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a handshake is young. One that moves takes milliseconds.
const YOUNG: Duration = Duration::from_secs(2);

/// The handshakes that have not ended.
#[derive(Debug)]
pub(crate) struct Handshakes {
    open: Mutex<Open>,
    open_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// In the order in which they began.
    peers: BTreeMap<u64, (Instant, Arc<Peer>)>,
}

/// A handshake has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    handshakes: &'a Handshakes,
    number: u64,
}

impl Handshakes {
    /// Of a server that has so many connections at most. Half of them may be in a handshake that is not young.
    pub(crate) fn new(connections_max: usize) -> Handshakes {
        Handshakes {
            open: Mutex::default(),
            open_max: (connections_max / 2).max(1),
        }
    }

    /// Counts a handshake that begins.
    pub(crate) fn begin(&self, peer: &Arc<Peer>) -> Begun<'_> {
        self.begin_at(peer, Instant::now())
    }

    fn begin_at(&self, peer: &Arc<Peer>, now: Instant) -> Begun<'_> {
        let mut open = self.lock();
        open.shed(self.open_max, now);
        let number = open.next;
        open.next += 1;
        open.peers.insert(number, (now, Arc::clone(peer)));
        Begun {
            handshakes: self,
            number,
        }
    }

    /// Cuts those that are too many. For a server that has no room for a connection.
    pub(crate) fn shed(&self) {
        self.lock().shed(self.open_max, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open
            .lock()
            .expect("nothing under the lock of the handshakes panics")
    }
}

impl Open {
    /// Cuts the oldest, until one more is within the bound.
    fn shed(&mut self, open_max: usize, now: Instant) {
        while self.peers.len() >= open_max
            && let Some(oldest) = self.peers.first_entry()
            && now.duration_since(oldest.get().0) >= YOUNG
        {
            let (_, peer) = oldest.remove();
            let _ = peer.transport.shutdown(Shutdown::Both); // Fails where the client has gone: as well.
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.handshakes.lock().peers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::transport::{Client, Transport};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Arc<Peer>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (
            Arc::new(Peer::new(Transport::Unix(ours), Client::Local, 0)),
            theirs,
        )
    }

    fn is_cut(client: &UnixStream) -> bool {
        use std::io::Read;
        client.set_nonblocking(true).unwrap();
        matches!((&*client).read(&mut [0; 1]), Ok(0))
    }

    #[test]
    fn the_oldest_is_cut_once_it_is_not_young() {
        let handshakes = Handshakes::new(4);
        let begun = Instant::now();
        let peers: Vec<_> = (0..4).map(|_| pair()).collect();
        let cut = || peers.iter().filter(|(_, client)| is_cut(client)).count();
        let first = handshakes.begin_at(&peers[0].0, begun);
        let second = handshakes.begin_at(&peers[1].0, begun + YOUNG / 2);
        let third = handshakes.begin_at(&peers[2].0, begun + YOUNG / 2);
        assert_eq!(cut(), 0, "they are young");
        let fourth = handshakes.begin_at(&peers[3].0, begun + YOUNG);
        assert!(is_cut(&peers[0].1));
        assert_eq!(cut(), 1, "those that are young stay");
        drop((first, second, third, fourth));
        assert!(handshakes.lock().peers.is_empty());
    }
}
