//! A load at a fixed rate: so many requests a second, whatever becomes of those before. `benches/rate.py` runs it.
//!
//! Requests are due at random moments, which are the same ones in each run with the same seed. A request goes out on a
//! connection that waits for no answer; if there is none, it waits for one. Its latency counts from when it was due. So a
//! server that stops for a while is charged with all requests that fell into that while, as its users would be.
//!
//! Arguments: PORT CONNECTIONS RATE SECONDS SEED READ_PERCENT READS WRITES. The last two are files of requests, each
//! ended by a NUL. The figures go to standard output, as JSON.

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What is sent before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long answers are waited for after the last request.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names the timer among what is waited for.
const TIMER: u64 = u64::MAX;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Random numbers: the xorshift generator of 64 bits.
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 on, below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.fraction() * count as f64) as usize
    }
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    /// When the request that waits for its answer was due.
    due: Duration,
}

struct Load {
    begun: Instant,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    /// Requests that are due and wait for a connection.
    waiting: VecDeque<(Duration, usize)>,
    requests: Vec<Vec<u8>>,
    latencies: Vec<Duration>,
    in_flight: usize,
}

impl Load {
    /// Sends what is due, as far as there are connections.
    fn send(&mut self) -> Fallible<()> {
        while let (Some(&at), Some(&(due, request))) = (self.free.front(), self.waiting.front()) {
            self.free.pop_front();
            self.waiting.pop_front();
            let connection = &mut self.connections[at];
            connection.due = due;
            let request = &self.requests[request];
            if connection.stream.write(request)? < request.len() {
                return Err("a request does not fit the socket".into());
            }
            self.in_flight += 1;
        }
        Ok(())
    }

    /// Reads what a connection has.
    fn receive(&mut self, at: usize) -> Fallible<()> {
        let connection = &mut self.connections[at];
        let mut piece = [0; 16 * 1024];
        match connection.stream.read(&mut piece) {
            Ok(0) => return Err("the server has closed a connection".into()),
            Ok(bytes) => connection.answer.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if is_complete(&connection.answer)? {
            connection.answer.clear();
            if connection.due >= WARM_UP {
                self.latencies.push(self.begun.elapsed() - connection.due);
            }
            self.in_flight -= 1;
            self.free.push_back(at);
        }
        Ok(())
    }
}

/// Whether an answer is there to its end. Any that is no success is an error.
fn is_complete(answer: &[u8]) -> Fallible<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = str::from_utf8(&answer[..end])?;
    if !head.starts_with("HTTP/1.1 20") {
        return Err(format!("a request failed: {head}").into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.map_or(Ok(0), str::parse)?;
    Ok(answer.len() >= end + 4 + length)
}

/// Reads requests, each ended by a NUL.
fn requests(path: &str) -> Fallible<Vec<Vec<u8>>> {
    let bytes = fs::read(path)?;
    let all = bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec);
    Ok(all.filter(|request| !request.is_empty()).collect())
}

/// Makes a timer end at a moment; at once where it has passed.
fn set(timer: &OwnedFd, left: Duration) -> Fallible<()> {
    let left = left.max(Duration::from_nanos(1));
    let time = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &time)?;
    Ok(())
}

/// What is to be sent.
struct Plan {
    rate: f64,
    /// Nothing is due from here on.
    end: Duration,
    source: Source,
    read_percent: f64,
    /// Of the requests, so many are reads, and the others writes.
    reads: usize,
}

impl Plan {
    /// A request, and how long it is until the next one is due.
    fn next(&mut self, requests: usize) -> (usize, Duration) {
        let is_read = self.source.fraction() * 100.0 < self.read_percent;
        let request = match is_read {
            true => self.source.below(self.reads),
            false => self.reads + self.source.below(requests - self.reads),
        };
        let pause = -(1.0 - self.source.fraction()).ln() / self.rate;
        (request, Duration::from_secs_f64(pause))
    }
}

/// Opens connections, and has them reported by `poll`.
fn connect(port: u16, count: usize, poll: &OwnedFd) -> Fallible<Vec<Connection>> {
    let mut connections = Vec::new();
    for number in 0..count {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(poll, &stream, data, epoll::EventFlags::IN)?;
        connections.push(Connection {
            stream,
            answer: Vec::new(),
            due: Duration::ZERO,
        });
    }
    Ok(connections)
}

/// Sends all that is planned, and waits for the answers.
fn run(load: &mut Load, mut plan: Plan, poll: &OwnedFd) -> Fallible<()> {
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    epoll::add(
        poll,
        &timer,
        epoll::EventData::new_u64(TIMER),
        epoll::EventFlags::IN,
    )?;
    let timeout = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut events = Vec::with_capacity(64);
    let mut due = Duration::ZERO;
    loop {
        let now = load.begun.elapsed();
        while due <= now && due < plan.end {
            let (request, pause) = plan.next(load.requests.len());
            load.waiting.push_back((due, request));
            due += pause;
        }
        load.send()?;
        if due >= plan.end && load.in_flight == 0 {
            return Ok(());
        }
        if now > plan.end + PATIENCE {
            let left = load.in_flight + load.waiting.len();
            return Err(format!("{left} requests were never answered").into());
        }
        if due < plan.end {
            set(&timer, due.saturating_sub(load.begun.elapsed()))?;
        }
        events.clear();
        epoll::wait(poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        for event in &events {
            match event.data.u64() {
                TIMER => drop(rustix::io::read(&timer, &mut [0; 8])),
                at => load.receive(at as usize)?,
            }
        }
    }
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|one| one != "--bench").collect();
    let [
        port,
        connections,
        rate,
        seconds,
        seed,
        read_percent,
        reads,
        writes,
    ] = &arguments[..]
    else {
        // `cargo bench` runs it without any.
        eprintln!("rate: run by benches/run --only rate");
        return Ok(());
    };
    let mut all = requests(reads)?;
    let mut plan = Plan {
        rate: rate.parse()?,
        end: WARM_UP + Duration::from_secs_f64(seconds.parse()?),
        source: Source(seed.parse::<u64>()?.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        read_percent: read_percent.parse()?,
        reads: all.len(),
    };
    plan.source.next();
    all.extend(requests(writes)?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let connections = connect(port.parse()?, connections.parse()?, &poll)?;
    let mut load = Load {
        begun: Instant::now(),
        free: (0..connections.len()).collect(),
        connections,
        waiting: VecDeque::new(),
        requests: all,
        latencies: Vec::new(),
        in_flight: 0,
    };
    run(&mut load, plan, &poll)?;
    load.latencies.sort_unstable();
    let at = |part: f64| {
        let place = (load.latencies.len() as f64 * part) as usize;
        let latency = load
            .latencies
            .get(place.min(load.latencies.len().saturating_sub(1)));
        latency.map_or(f64::INFINITY, |latency| latency.as_secs_f64() * 1000.0)
    };
    println!(
        "{{\"requests\":{},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"p999_ms\":{:.3},\"max_ms\":{:.3}}}",
        load.latencies.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
    Ok(())
}
