//! Clients that read and write a few keys at whichever node is primary, and note what they asked and were told.

use super::history::{Call, History};
use super::register::{Operation, Outcome, Value};
use crate::common::{Client, Random, Response};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// A node that does not answer for so long is given up, and the outcome of what it was asked is unknown.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Between two operations of a client: with more of them the search for an order takes longer than the run.
const PAUSE: Duration = Duration::from_millis(5);

/// What all clients share.
pub struct Workload {
    start: Instant,
    /// Where the primary is, as whoever looks for it has found; none while there is none.
    primary: Mutex<Option<SocketAddr>>,
    /// When a primary ended.
    failovers: Mutex<Vec<Duration>>,
    /// One a key.
    histories: Vec<Mutex<History>>,
    /// The last value written.
    values: AtomicU32,
    /// Operations that were answered.
    answered: AtomicU64,
    is_over: AtomicBool,
}

/// What became of a request.
enum Told {
    /// This was answered.
    Answer(Operation),
    /// The request changed nothing, and says nothing of the key.
    Nothing,
    /// The request may have changed something.
    Unknown,
}

/// What a client does to a key.
#[derive(Clone, Copy)]
enum Request {
    Get,
    Put(Value),
    /// The value that is expected, the version that stands for it, and the new value.
    CompareAndSet(Value, u64, Value),
    Delete,
}

impl Workload {
    pub fn new(keys: usize) -> Workload {
        Workload {
            start: Instant::now(),
            primary: Mutex::new(None),
            failovers: Mutex::default(),
            histories: (0..keys).map(|_| Mutex::default()).collect(),
            values: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// There is a primary here.
    pub fn begin_at(&self, address: SocketAddr) {
        *self.primary.lock().unwrap() = Some(address);
    }

    /// The primary has just ended.
    pub fn has_ended(&self) {
        *self.primary.lock().unwrap() = None;
        self.failovers.lock().unwrap().push(self.start.elapsed());
    }

    /// How many operations were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Ends the clients.
    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// What was done to each key, and when primaries ended.
    pub fn into_histories(self) -> (Vec<History>, Vec<Duration>) {
        let histories = self.histories.into_iter();
        let histories = histories.map(|history| history.into_inner().unwrap());
        (histories.collect(), self.failovers.into_inner().unwrap())
    }

    /// Runs one client until the end.
    pub fn run(&self, client: usize, mut random: Random) {
        let mut connection: Option<(SocketAddr, Client)> = None;
        // The last value of each key that this client has seen, and its version.
        let mut seen: HashMap<usize, (Value, u64)> = HashMap::new();
        while !self.is_over.load(Relaxed) {
            thread::sleep(PAUSE); // The pace of a client: nothing is waited for.
            let Some(address) = *self.primary.lock().unwrap() else {
                connection = None;
                continue;
            };
            let known = connection.take().filter(|(known, _)| *known == address);
            let Some((_, mut to)) = known.or_else(|| Some((address, connect(address).ok()?))) else {
                continue;
            };
            let key = random.below(self.histories.len() as u64) as usize;
            let request = self.draw(&mut random, seen.get(&key));
            let sent = self.start.elapsed();
            let answer = send(&mut to, key, request);
            let came = self.start.elapsed();
            let told = match &answer {
                Ok(answer) => told(request, answer),
                Err(_) => Told::Unknown,
            };
            if let Ok(answer) = &answer {
                note_seen(&mut seen, key, request, answer);
                connection = Some((address, to));
            }
            let (operation, came) = match told {
                Told::Answer(operation) => (operation, Some(came)),
                Told::Unknown => match request.with(Outcome::Unknown) {
                    Some(operation) => (operation, None),
                    None => continue,
                },
                Told::Nothing => continue,
            };
            let call = Call {
                client,
                operation,
                sent,
                came,
            };
            self.histories[key].lock().unwrap().calls.push(call);
            self.answered.fetch_add(u64::from(came.is_some()), Relaxed);
        }
    }

    fn draw(&self, random: &mut Random, seen: Option<&(Value, u64)>) -> Request {
        let value = || self.values.fetch_add(1, Relaxed) + 1;
        match (random.below(20), seen) {
            (0..=8, _) => Request::Get,
            (9..=13, Some((expected, version))) => Request::CompareAndSet(*expected, *version, value()),
            (9..=17, _) => Request::Put(value()),
            _ => Request::Delete,
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<Client> {
    let client = Client::try_connect(address)?;
    client.socket().set_read_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(client)
}

impl Request {
    /// The operation, as a write of this outcome; none where it writes nothing.
    fn with(self, outcome: Outcome) -> Option<Operation> {
        match self {
            Request::Get => None,
            Request::Put(value) => Some(Operation::Put(value, outcome)),
            Request::CompareAndSet(expected, _, value) => {
                Some(Operation::CompareAndSet(expected, value, outcome))
            }
            Request::Delete => Some(Operation::Delete(outcome)),
        }
    }
}

fn send(to: &mut Client, key: usize, request: Request) -> io::Result<Response> {
    let path = format!("/kv/key{key}");
    match request {
        Request::Get => to.try_request("GET", &format!("{path}?raw"), &[], b""),
        Request::Put(value) => {
            let path = format!("{path}?upsert=true");
            to.try_request("PUT", &path, &[], value.to_string().as_bytes())
        }
        Request::CompareAndSet(_, version, value) => {
            let tag = format!("\"{version}\"");
            to.try_request("PUT", &path, &[("If-Match", &tag)], value.to_string().as_bytes())
        }
        Request::Delete => to.try_request("DELETE", &path, &[], b""),
    }
}

/// What an answer says.
fn told(request: Request, answer: &Response) -> Told {
    let outcome = match (request, answer.status) {
        // A replica says as of when its answer is: it may be an old one. A primary that waits for replicas says both.
        (Request::Get, 200 | 404)
            if answer.header("Pykv-Offset").is_some() && answer.header("Pykv-Replicas").is_none() =>
        {
            return Told::Nothing;
        }
        (Request::Get, 200) => return Told::Answer(Operation::Get(Some(value(&answer.body)))),
        (Request::Get, 404) => return Told::Answer(Operation::Get(None)),
        (Request::Put(_), 200 | 201) | (Request::CompareAndSet(..), 200) | (Request::Delete, 204) => {
            Outcome::Done
        }
        (Request::CompareAndSet(..), 404 | 412) | (Request::Delete, 404) => Outcome::Refused,
        (_, 307) => return Told::Nothing,
        // Too few replicas have the write, or the log failed in the midst of it. Any other 503 has changed nothing.
        (_, 503) => {
            let problem = answer.body_json();
            let is_begun = problem["outcome"] == "unknown" || problem.get("replicas").is_some();
            return if is_begun { Told::Unknown } else { Told::Nothing };
        }
        _ => panic!("no answer that is expected: {answer:?}"),
    };
    request.with(outcome).map_or(Told::Nothing, Told::Answer)
}

/// Notes the value that an answer has shown or confirmed, and its version.
fn note_seen(seen: &mut HashMap<usize, (Value, u64)>, key: usize, request: Request, answer: &Response) {
    let shown = match (request, answer.status) {
        (Request::Get, 200) => value(&answer.body),
        (Request::Put(value) | Request::CompareAndSet(_, _, value), 200 | 201) => value,
        _ => return,
    };
    seen.insert(key, (shown, answer.version()));
}

fn value(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).expect("values are numbers");
    text.parse().expect("values are numbers")
}
