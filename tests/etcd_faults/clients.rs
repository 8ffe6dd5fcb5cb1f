//! Clients that read and write at whichever node is primary, and note what they asked and were told.
//!
//! They find the primary as clients do: one that is sent on follows, one that gets no answer asks the next node. Some ask
//! any node each time: one that was primary, and knows of nothing yet, is asked at once when it can answer again.

use super::acks::Ack;
use super::history::{Call, History};
use super::register::{Operation, Outcome, Value};
use crate::common::client::JSON;
use crate::common::{Client, Random, Response};
use serde_json::json;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// A node that does not answer for so long is given up, and the outcome of what it was asked is unknown.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// Between two operations of a client: with more of them the search for an order takes longer than the run.
const PAUSE: Duration = Duration::from_millis(10);

/// After a refusal, so that those who are refused do not keep the nodes busy.
const PAUSE_REFUSED: Duration = Duration::from_millis(50);

/// After an outcome that is unknown: the search takes time exponential in their number.
const PAUSE_UNKNOWN: Duration = Duration::from_millis(700);

/// One in so many operations of a client that wanders is drawn as those of others are; the rest are reads.
const WANDERERS_WRITE_EVERY: u64 = 10;

/// Where the nodes are, as all clients know it.
pub struct Board {
    pub start: Instant,
    /// Where each listens; none where it does not run.
    addresses: Mutex<Vec<Option<SocketAddr>>>,
    /// How they name each other.
    advertised: Vec<String>,
    /// All writes that were acknowledged, in all rounds.
    pub acks: Mutex<Vec<Ack>>,
    /// The keys that were written once, and acknowledged.
    pub ledger: Mutex<Vec<String>>,
    /// The last value written.
    values: AtomicU32,
}

impl Board {
    pub fn new(advertised: Vec<String>) -> Board {
        Board {
            start: Instant::now(),
            addresses: Mutex::new(vec![None; advertised.len()]),
            advertised,
            acks: Mutex::default(),
            ledger: Mutex::default(),
            values: AtomicU32::new(0),
        }
    }

    pub fn set_address(&self, node: usize, address: Option<SocketAddr>) {
        self.addresses.lock().unwrap()[node] = address;
    }

    fn address(&self, node: usize) -> Option<SocketAddr> {
        self.addresses.lock().unwrap()[node]
    }

    fn value(&self) -> Value {
        self.values.fetch_add(1, Relaxed) + 1
    }

    /// The node that a Location leads to.
    fn node_of(&self, location: &str) -> Option<usize> {
        let rest = location.strip_prefix("http://")?;
        let address = rest.split('/').next()?;
        self.advertised
            .iter()
            .position(|advertised| advertised == address)
    }
}

/// What the clients of a round do.
pub struct Workload<'a> {
    board: &'a Board,
    /// Of the round's keys.
    prefix: String,
    /// One a key.
    histories: Vec<Mutex<History>>,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    is_over: AtomicBool,
}

/// What became of a request.
enum Told {
    /// It has this answer.
    Done,
    Refused,
    /// A read has found this.
    Read(Option<Value>),
    /// The request changed nothing, and says nothing of the key.
    Nothing,
    /// The request may have changed something.
    Unknown,
}

/// What a client does.
#[derive(Clone, Copy)]
enum Request {
    Get(usize),
    Put(usize, Value),
    /// The value that is expected, the version that stands for it, and the new value.
    CompareAndSet(usize, Value, u64, Value),
    Delete(usize),
    /// Writes two keys as one step.
    Batch([(usize, Value); 2]),
    /// Adds a key that nobody else writes.
    Add(Value),
}

impl<'a> Workload<'a> {
    pub fn new(board: &'a Board, prefix: String, keys: usize) -> Workload<'a> {
        Workload {
            board,
            prefix,
            histories: (0..keys).map(|_| Mutex::default()).collect(),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Relaxed)
    }

    /// How many have an outcome that is unknown.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Relaxed)
    }

    /// Ends the clients.
    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    pub fn into_histories(self) -> Vec<History> {
        let histories = self.histories.into_iter();
        histories.map(|history| history.into_inner().unwrap()).collect()
    }

    /// Runs one client until the end. One that wanders asks any node each time.
    pub fn run(&self, client: usize, wanders: bool, mut random: Random) {
        let mut connections: HashMap<SocketAddr, Client> = HashMap::new();
        // The last value of each key that this client has seen, and its version.
        let mut seen: HashMap<usize, (Value, u64)> = HashMap::new();
        let mut node = client;
        while !self.is_over.load(Relaxed) {
            pace(PAUSE);
            node = match wanders {
                true => random.below(self.board.advertised.len() as u64) as usize,
                false => node % self.board.advertised.len(),
            };
            let Some(address) = self.board.address(node) else {
                node += 1;
                pace(PAUSE_REFUSED);
                continue;
            };
            let known = connections.remove(&address);
            let Ok(mut to) = known.map_or_else(|| connect(address), Ok) else {
                node += 1;
                pace(PAUSE_REFUSED);
                continue;
            };
            let request = self.draw(&mut random, wanders, &seen);
            let sent = self.board.start.elapsed();
            let answer = self.send(&mut to, request);
            let came = self.board.start.elapsed();
            let told = answer
                .as_ref()
                .map_or(Told::Unknown, |answer| told(request, answer));
            self.note(client, request, &told, sent, came);
            match &answer {
                Ok(answer) => {
                    note_seen(&mut seen, request, answer);
                    connections.insert(address, to);
                    if matches!(told, Told::Done) {
                        self.acknowledge(node, answer, sent, came);
                    }
                    let location = answer.header("Location").filter(|_| answer.status == 307);
                    let primary = location.and_then(|location| self.board.node_of(location));
                    if matches!(told, Told::Nothing | Told::Unknown) {
                        pace(PAUSE_REFUSED);
                        node = primary.unwrap_or(node + 1);
                    }
                }
                Err(_) => node += 1,
            }
            if matches!(told, Told::Unknown) && !matches!(request, Request::Get(_)) {
                self.unknown.fetch_add(1, Relaxed);
                pace(PAUSE_UNKNOWN);
            }
        }
    }

    fn draw(&self, random: &mut Random, wanders: bool, seen: &HashMap<usize, (Value, u64)>) -> Request {
        let keys = self.histories.len() as u64;
        let key = random.below(keys) as usize;
        let value = || self.board.value();
        // A write would keep it waiting where nobody can answer it, and a read is what shows a node of before.
        if wanders && random.below(WANDERERS_WRITE_EVERY) > 0 {
            return Request::Get(key);
        }
        match (random.below(20), seen.get(&key)) {
            (0..=6, _) => Request::Get(key),
            (7..=10, Some((expected, version))) => Request::CompareAndSet(key, *expected, *version, value()),
            (7..=13, _) => Request::Put(key, value()),
            (14..=15, _) => Request::Delete(key),
            (16..=17, _) => {
                let other = (key + 1 + random.below(keys - 1) as usize) % keys as usize;
                Request::Batch([(key, value()), (other, value())])
            }
            _ => Request::Add(value()),
        }
    }

    fn send(&self, to: &mut Client, request: Request) -> io::Result<Response> {
        let key = |key: usize| format!("{}{key}", self.prefix);
        let path = |number: usize| format!("/kv/{}", key(number));
        let upsert = |path: &str| format!("{path}?upsert=true");
        match request {
            Request::Get(key) => to.try_request("GET", &format!("{}?raw", path(key)), &[], b""),
            Request::Put(key, value) => {
                let value = value.to_string();
                to.try_request("PUT", &upsert(&path(key)), &[], value.as_bytes())
            }
            Request::CompareAndSet(key, _, version, value) => {
                let tag = format!("\"{version}\"");
                let value = value.to_string();
                to.try_request("PUT", &path(key), &[("If-Match", &tag)], value.as_bytes())
            }
            Request::Delete(key) => to.try_request("DELETE", &path(key), &[], b""),
            Request::Batch(both) => {
                let set = |(number, value): (usize, Value)| json!({"op": "set", "key": key(number), "value": value.to_string()});
                let body = json!({"operations": both.map(set)}).to_string();
                to.try_request("POST", "/batch", &JSON, body.as_bytes())
            }
            Request::Add(value) => {
                let path = upsert(&format!("/kv/{}", added(value)));
                to.try_request("PUT", &path, &[], b"there")
            }
        }
    }

    /// Puts an operation into the histories of its keys.
    fn note(&self, client: usize, request: Request, told: &Told, sent: Duration, came: Duration) {
        let outcome = match told {
            Told::Done => Outcome::Done,
            Told::Refused => Outcome::Refused,
            Told::Unknown => Outcome::Unknown,
            Told::Read(_) | Told::Nothing => Outcome::Done,
        };
        let operations = match (request, told) {
            (_, Told::Nothing) | (Request::Get(_), Told::Unknown) | (Request::Add(_), _) => Vec::new(),
            (Request::Get(key), Told::Read(value)) => vec![(key, Operation::Get(*value))],
            (Request::Get(_), _) => unreachable!("a read reads"),
            (Request::Put(key, value), _) => vec![(key, Operation::Put(value, outcome))],
            (Request::CompareAndSet(key, expected, _, value), _) => {
                vec![(key, Operation::CompareAndSet(expected, value, outcome))]
            }
            (Request::Delete(key), _) => vec![(key, Operation::Delete(outcome))],
            (Request::Batch(both), _) => both
                .map(|(key, value)| (key, Operation::Put(value, outcome)))
                .to_vec(),
        };
        for (key, operation) in operations {
            let call = Call {
                client,
                operation,
                sent,
                came: (outcome != Outcome::Unknown).then_some(came),
            };
            self.histories[key].lock().unwrap().calls.push(call);
        }
        if let (Request::Add(value), Told::Done) = (request, told) {
            self.board.ledger.lock().unwrap().push(added(value));
        }
    }

    fn acknowledge(&self, node: usize, answer: &Response, sent: Duration, came: Duration) {
        let offset = answer
            .header("Pykv-Offset")
            .and_then(|offset| offset.parse().ok());
        let offset = offset.unwrap_or_else(|| panic!("a write has an offset: {answer:?}"));
        let ack = Ack {
            node,
            offset,
            sent,
            came,
        };
        self.board.acks.lock().unwrap().push(ack);
        self.acknowledged.fetch_add(1, Relaxed);
    }
}

/// Lets time pass between two things that a client does.
fn pace(pause: Duration) {
    thread::sleep(pause); // The pace of a client: nothing is waited for.
}

/// The prefix of keys that are written once.
pub const ADDED: &str = "added-";

fn added(value: Value) -> String {
    format!("{ADDED}{value}")
}

fn connect(address: SocketAddr) -> io::Result<Client> {
    let client = Client::try_connect(address)?;
    client.socket().set_read_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(client)
}

/// What an answer says.
fn told(request: Request, answer: &Response) -> Told {
    match (request, answer.status) {
        // A replica says as of when its answer is: it may be an old one. A primary that waits for replicas says both.
        (Request::Get(_), 200 | 404)
            if answer.header("Pykv-Offset").is_some() && answer.header("Pykv-Replicas").is_none() =>
        {
            Told::Nothing
        }
        (Request::Get(_), 200) => Told::Read(Some(value(&answer.body))),
        (Request::Get(_), 404) => Told::Read(None),
        (Request::CompareAndSet(..), 404 | 412) | (Request::Delete(_), 404) => Told::Refused,
        (Request::Get(_), _) | (_, 307) => Told::Nothing,
        (_, 200 | 201 | 204) => Told::Done,
        // Too few replicas have the write, or the log or the lease failed in the midst of it. Any other refusal has
        // changed nothing.
        (_, 503 | 507) => {
            let problem = answer.body_json();
            let is_begun = problem["outcome"] == "unknown" || problem.get("replicas").is_some();
            if is_begun { Told::Unknown } else { Told::Nothing }
        }
        _ => panic!("no answer that is expected: {answer:?}"),
    }
}

/// Notes the value that an answer has shown or confirmed, and its version.
fn note_seen(seen: &mut HashMap<usize, (Value, u64)>, request: Request, answer: &Response) {
    let (key, shown) = match (request, answer.status) {
        (Request::Get(key), 200) => (key, value(&answer.body)),
        (Request::Put(key, value) | Request::CompareAndSet(key, _, _, value), 200 | 201) => (key, value),
        _ => return,
    };
    seen.insert(key, (shown, answer.version()));
}

fn value(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).expect("values are numbers");
    text.parse().expect("values are numbers")
}
