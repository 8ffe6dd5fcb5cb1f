//! A link between two nodes that a test has in its hand.
//!
//! It stands at one address, whatever stands behind it. Each connection has two threads, one a direction; they,
//! and the one that accepts, are joined on drop.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the link does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It passes it on.
    Pass,
    /// Connections are broken, and new ones closed at once.
    Cut,
    /// Connections are taken, and nothing passes: a host that hangs.
    Hang,
    /// What is open passes, and new connections are closed at once.
    Closed,
}

struct State {
    target: Option<SocketAddr>,
    mode: Mode,
    /// Before each chunk.
    delay: Duration,
    /// Largest chunk, in bytes.
    chunk_bytes_max: usize,
    /// So many chunks of answers that are this long are still to be changed in one bit.
    corrupt: (usize, usize),
    /// So many bytes went to those who asked.
    bytes: u64,
    to_stop: bool,
    streams: Vec<TcpStream>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A link that leads nowhere yet.
    pub fn start() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                target: None,
                mode: Mode::Pass,
                delay: Duration::ZERO,
                chunk_bytes_max: 64 * 1024,
                corrupt: (0, 0),
                bytes: 0,
                to_stop: false,
                streams: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Proxy {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where it leads from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.change(|state| state.target = Some(target));
    }

    pub fn set(&self, mode: Mode) {
        self.change(|state| {
            state.mode = mode;
            if mode == Mode::Cut {
                break_all(state);
            }
        });
    }

    /// Breaks what is open, once.
    pub fn break_connections(&self) {
        self.change(break_all);
    }

    /// Says to those who asked that no more will come, while what they send still passes.
    pub fn half_close(&self) {
        self.change(|state| {
            for stream in &state.streams {
                let _ = stream.shutdown(Shutdown::Write);
            }
        });
    }

    /// Passes at most so many bytes at a time, each after so long.
    pub fn slow(&self, chunk_bytes_max: usize, delay: Duration) {
        self.change(|state| (state.chunk_bytes_max, state.delay) = (chunk_bytes_max, delay));
    }

    /// Turns a bit in each of the next `count` chunks of answers that have `bytes_min` bytes or more.
    pub fn corrupt(&self, count: usize, bytes_min: usize) {
        self.change(|state| state.corrupt = (count, bytes_min));
    }

    /// How many chunks are still to be changed.
    pub fn to_corrupt(&self) -> usize {
        self.shared.state.lock().unwrap().corrupt.0
    }

    /// Bytes that went to those who asked.
    pub fn bytes(&self) -> u64 {
        self.shared.state.lock().unwrap().bytes
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.to_stop = true;
            break_all(state);
        });
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().unwrap().join();
    }
}

fn break_all(state: &mut State) {
    for stream in state.streams.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut pumps: Vec<JoinHandle<()>> = Vec::new();
    for client in listener.incoming().map_while(Result::ok) {
        pumps.retain(|pump| !pump.is_finished());
        let mut state = shared.state.lock().unwrap();
        if state.to_stop {
            break;
        }
        let Some(target) = state
            .target
            .filter(|_| !matches!(state.mode, Mode::Cut | Mode::Closed))
        else {
            continue;
        };
        let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
            continue;
        };
        for (from, to, is_answer) in [(&client, &server, false), (&server, &client, true)] {
            let _ = from.set_nodelay(true);
            state.streams.push(from.try_clone().unwrap());
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let shared = shared.clone();
            pumps.push(thread::spawn(move || pump(from, to, is_answer, &shared)));
        }
    }
    for pump in pumps {
        let _ = pump.join();
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, is_answer: bool, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let chunk_bytes_max = shared.state.lock().unwrap().chunk_bytes_max;
        let bytes = match from.read(&mut buffer[..chunk_bytes_max]) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => bytes,
        };
        let mut state = shared.state.lock().unwrap();
        while state.mode == Mode::Hang && !state.to_stop {
            state = shared.changed.wait(state).unwrap();
        }
        if state.mode == Mode::Cut || state.to_stop {
            break;
        }
        let (count, bytes_min) = state.corrupt;
        if is_answer && count > 0 && bytes >= bytes_min {
            state.corrupt.0 -= 1;
            buffer[bytes - bytes_min / 2 - 1] ^= 4;
        }
        let delay = state.delay;
        state.bytes += if is_answer { bytes as u64 } else { 0 };
        drop(state);
        // What a slow link does; nothing is waited for in this way.
        thread::sleep(delay); // A slow link is slow: nothing is waited for.
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
