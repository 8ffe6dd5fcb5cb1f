//! A network of nodes in the test's hand: every pair of nodes has a link of its own, and every link two ways.
//!
//! Each node has one address at which the network listens for it, over all its lives; the node advertises that
//! address, so whoever reaches the node by a name that a node gave reaches it through here. Who has opened a
//! connection is asked of the kernel ([`super::opener`]). So A and B can be cut from each other while both reach C,
//! and A can be deaf to B while B still hears A, though each of them has one address in every command line and in
//! everything that nodes tell each other. A connection that no node opened (of a client, of `pykv set`) always
//! passes.
//!
//! # Why not network namespaces
//! They need root, which a test must not ask for, and `iptables` or a kernel with `nft`. What a proxy does worse:
//! - Connecting succeeds even on a silent link; then nothing comes. In a real network connecting hangs. A node has
//!   to bear both, and a frozen process looks as it does here.
//! - Nothing is lost, since TCP would send it again: what a silent link holds back arrives once the link passes.
//!
//! # Threads
//! - `accept`: one a node, joined on drop.
//! - `carry`: one a connection, which starts another for the way back. They end with the connection; on drop all
//!   connections are broken and the threads joined.

use super::{opener, poll};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the kernel is asked for a connection's opener. Its table may miss a line while it changes.
const OPENER_TIME_MAX: Duration = Duration::from_secs(1);

/// How long connecting to a node may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// One way of a link: from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Way {
    /// Nothing passes, and nobody is told.
    is_silent: bool,
    /// Connections are broken, and new ones closed at once.
    is_broken: bool,
    /// Before each chunk.
    delay: Duration,
}

/// A connection that is open, and the nodes at its ends.
struct Connection {
    from: Option<usize>,
    to: usize,
    streams: [TcpStream; 2],
}

struct State {
    /// Where each node listens; none where it does not run.
    targets: Vec<Option<SocketAddr>>,
    /// By from, then to.
    ways: Vec<Vec<Way>>,
    connections: HashMap<u64, Connection>,
    connections_made: u64,
    carriers: Vec<JoinHandle<()>>,
    to_stop: bool,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module.
pub struct Network {
    shared: Arc<Shared>,
    acceptors: Vec<JoinHandle<()>>,
}

impl Network {
    /// A network with places for so many nodes, all links passing.
    pub fn start(nodes: usize) -> Network {
        let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listeners: Vec<TcpListener> = (0..nodes).map(bind).collect();
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            addresses: listeners.iter().map(address).collect(),
            state: Mutex::new(State {
                targets: vec![None; nodes],
                ways: vec![vec![Way::default(); nodes]; nodes],
                connections: HashMap::new(),
                connections_made: 0,
                carriers: Vec::new(),
                to_stop: false,
            }),
            changed: Condvar::new(),
        });
        let accept = |(node, listener)| {
            let shared = shared.clone();
            thread::spawn(move || accept(&shared, node, &listener))
        };
        let acceptors = listeners.into_iter().enumerate().map(accept).collect();
        Network { shared, acceptors }
    }

    /// The address that a node advertises.
    pub fn address(&self, node: usize) -> String {
        self.shared.addresses[node].to_string()
    }

    /// Where a node listens from now on; none where it does not run.
    pub fn lead_to(&self, node: usize, target: Option<SocketAddr>) {
        self.change(|state| state.targets[node] = target);
    }

    /// Nothing passes from one node to another from now on, and nobody is told.
    pub fn silence(&self, from: usize, to: usize) {
        self.change(|state| state.ways[from][to].is_silent = true);
    }

    /// Breaks what is open between two nodes; what they open is closed at once from now on.
    pub fn cut(&self, one: usize, other: usize) {
        self.change(|state| {
            state.ways[one][other].is_broken = true;
            state.ways[other][one].is_broken = true;
            let is_between = |connection: &Connection| {
                let ends = (connection.from, connection.to);
                ends == (Some(one), other) || ends == (Some(other), one)
            };
            state
                .connections
                .values()
                .filter(|it| is_between(it))
                .for_each(break_it);
        });
    }

    /// Each chunk between two nodes takes so long from now on, either way.
    pub fn slow(&self, one: usize, other: usize, delay: Duration) {
        self.change(|state| {
            state.ways[one][other].delay = delay;
            state.ways[other][one].delay = delay;
        });
    }

    /// Two nodes reach each other again.
    pub fn heal(&self, one: usize, other: usize) {
        self.change(|state| {
            state.ways[one][other] = Way::default();
            state.ways[other][one] = Way::default();
        });
    }

    /// Whether two nodes hear each other.
    pub fn passes(&self, one: usize, other: usize) -> bool {
        let state = self.shared.state();
        let ways = [state.ways[one][other], state.ways[other][one]];
        ways.iter().all(|way| !way.is_silent && !way.is_broken)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state());
        self.shared.changed.notify_all();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.change(|state| {
            state.to_stop = true;
            state.connections.values().for_each(break_it);
        });
        for address in &self.shared.addresses {
            // Wakes the one that accepts.
            let _ = TcpStream::connect(address);
        }
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
        let carriers = std::mem::take(&mut self.shared.state().carriers);
        for carrier in carriers {
            let _ = carrier.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }

    /// The node that opened a connection to `node`: none for a client's, an error for one that is closed already.
    fn opener(&self, node: usize, stream: &TcpStream) -> Result<Option<usize>, ()> {
        let client = stream.peer_addr().map_err(drop)?;
        let mut socket = None;
        poll(OPENER_TIME_MAX, || {
            socket = opener::socket(client, self.addresses[node]);
            socket.is_some()
        });
        let socket = socket.ok_or(())?;
        let nodes = opener::processes(|argument| {
            // What a node follows stands behind `--from`, in another argument.
            let address = argument.strip_prefix("--advertise=")?.parse().ok()?;
            self.addresses.iter().position(|other| *other == address)
        });
        let opener = nodes.iter().find(|(process, _)| opener::holds(*process, socket));
        Ok(opener.map(|(_, node)| *node))
    }

    /// Notes a connection; none where none may be between these two.
    fn open(&self, from: Option<usize>, to: usize, streams: [TcpStream; 2]) -> Option<u64> {
        let mut state = self.state();
        let is_broken = from.is_some_and(|from| state.ways[from][to].is_broken);
        if state.to_stop || is_broken {
            return None;
        }
        state.connections_made += 1;
        let number = state.connections_made;
        state.connections.insert(number, Connection { from, to, streams });
        Some(number)
    }

    /// Waits until something may pass on this way; `false` where nothing will.
    fn wait_to_pass(&self, from: usize, to: usize) -> bool {
        let is_held = |state: &mut State| state.ways[from][to].is_silent && !state.to_stop;
        let waited = self.changed.wait_while(self.state(), is_held);
        let state = waited.expect("nothing under this lock panics");
        let way = state.ways[from][to];
        let passes = !state.to_stop && !way.is_broken;
        drop(state);
        if passes {
            // What a slow link does; nothing is waited for in this way.
            thread::sleep(way.delay); // A slow link is slow: nothing is waited for.
        }
        passes
    }
}

fn break_it(connection: &Connection) {
    for stream in &connection.streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(shared: &Arc<Shared>, node: usize, listener: &TcpListener) {
    for client in listener.incoming().map_while(Result::ok) {
        let mut state = shared.state();
        if state.to_stop {
            return;
        }
        state.carriers.retain(|carrier| !carrier.is_finished());
        let carrier = thread::spawn({
            let shared = shared.clone();
            move || carry(&shared, node, client)
        });
        state.carriers.push(carrier);
    }
}

/// Carries a connection to a node, until either side ends it or the link breaks.
fn carry(shared: &Arc<Shared>, node: usize, client: TcpStream) {
    let Ok(from) = shared.opener(node, &client) else {
        return;
    };
    let Some(target) = shared.state().targets[node] else {
        return;
    };
    let Ok(server) = TcpStream::connect_timeout(&target, CONNECT_TIME_MAX) else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(client_again), Ok(server_again)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let Some(number) = shared.open(from, node, [client_again, server_again]) else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(|| pump(shared, &server, &client, from.map(|from| (node, from))));
        pump(shared, &client, &server, from.map(|from| (from, node)));
    });
    shared.state().connections.remove(&number);
}

/// Passes on what comes; `way` is whose rules hold, none for a client's connection.
fn pump(shared: &Shared, mut input: &TcpStream, mut output: &TcpStream, way: Option<(usize, usize)>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = input.read(&mut buffer) {
        if let Some((from, to)) = way
            && !shared.wait_to_pass(from, to)
        {
            break;
        }
        if output.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    // An end travels as what was said before it does.
    if let Some((from, to)) = way {
        shared.wait_to_pass(from, to);
    }
    let _ = output.shutdown(Shutdown::Write);
}
