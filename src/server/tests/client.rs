//! A server on a port of its own, and a client that says exactly the bytes it is told to.

use crate::auth::Tokens;
use crate::engine::Engine;
use crate::http::{Hosts, Limits};
use crate::net::Endpoint;
use crate::net::Stopper;
use crate::node::{self, Node};
use crate::server::{Error, Options, Server};
use crate::store;
use crate::wal::{self, Policy};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Largest value of the nodes in these tests, in bytes.
pub const VALUE_BYTES_MAX: usize = 100_000;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A node and its server; stopped when dropped.
pub struct Fixture {
    pub address: SocketAddr,
    pub node: Arc<Node>,
    pub stopper: Stopper,
    thread: Option<JoinHandle<Result<(), Error>>>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    pub fn start() -> Fixture {
        Fixture::with(Limits::default(), None)
    }

    pub fn with(limits: Limits, tokens: Option<&str>) -> Fixture {
        Fixture::with_grace(limits, tokens, Duration::from_secs(5))
    }

    pub fn with_grace(limits: Limits, tokens: Option<&str>, grace: Duration) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::open(node::Options {
            dir: dir.path().join("data"),
            limits: store::Limits {
                entries_max: 10_000,
                bytes_max: 100 << 20,
            },
            value_bytes_max: VALUE_BYTES_MAX,
            log: wal::Options {
                policy: Policy::No,
                unwritten_bytes_max: 16 << 20,
                segment_bytes_max: 64 << 20,
                compact_bytes_min: Some(0),
                compact_ratio: 0.0,
                backlog_bytes: Some(0),
                branch_spread_bytes: 0,
                new_store: false,
                progress: Arc::default(),
                wait_max: PATIENCE,
            },
            cluster: node::ClusterOptions::default(),
        });
        let node = Arc::new(node.unwrap());
        let server = Server::bind(Options {
            certificates: None,
            slow_min: None,
            has_store: true,
            access_log: None,
            reopen_access_log: Arc::default(),
            listen: vec![Endpoint::Tcp(([127, 0, 0, 1], 0).into())],
            passed: Vec::new(),
            socket_mode: 0o600,
            limits,
            tokens: tokens.map(|tokens| Tokens::parse(tokens).unwrap()),
            tls_only: None,
            hosts: Hosts::default(),
        });
        let server = server.unwrap();
        let [Endpoint::Tcp(address)] = *server.endpoints() else {
            panic!("it listens at {:?}", server.endpoints());
        };
        let stopper = server.stopper();
        let thread = {
            let node = Arc::clone(&node);
            std::thread::spawn(move || server.run(Engine::Embedded(&node), grace))
        };
        Fixture {
            address,
            node,
            stopper,
            thread: Some(thread),
            _dir: dir,
        }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            bytes: Vec::new(),
            reads: 0,
        }
    }

    /// Stops the server and waits for its threads.
    pub fn stop(&mut self) {
        self.stopper.stop();
        if self.thread.is_some() {
            self.end().expect("the accept loop does not fail");
        }
    }

    /// Waits until the server ends of itself.
    pub fn end(&mut self) -> Result<(), Error> {
        let thread = self.thread.take().expect("it is waited for once");
        thread.join().expect("the server does not panic")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut of_name = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = of_name.next().map(|(_, value)| value.as_str());
        assert!(of_name.next().is_none(), "{name} is there once");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn closes(&self) -> bool {
        self.header("Connection") == Some("close")
    }
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    /// What came and was not looked at.
    bytes: Vec<u8>,
    /// Reads it took so far.
    pub reads: usize,
}

impl Client {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends, and reads one answer that has a body unless its status says otherwise.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(&request);
        self.answer(request.as_ref().starts_with(b"HEAD "))
    }

    pub fn answer(&mut self, is_head: bool) -> Answer {
        let end = loop {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None => assert!(
                    self.read() > 0,
                    "closed early: {:?}",
                    String::from_utf8_lossy(&self.bytes)
                ),
            }
        };
        let rest = self.bytes.split_off(end + 4);
        let head = String::from_utf8(std::mem::replace(&mut self.bytes, rest)).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3]
            .parse()
            .unwrap();
        let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        let mut answer = Answer {
            status,
            headers: headers.collect(),
            body: Vec::new(),
        };
        if !is_head && ![100, 204, 304].contains(&status) {
            answer.body = match answer.header("Content-Length") {
                Some(length) => self.take(length.parse().unwrap()),
                None => self.chunks(),
            };
        }
        answer
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.bytes.len() < length {
            assert!(self.read() > 0, "the body is cut short");
        }
        let rest = self.bytes.split_off(length);
        std::mem::replace(&mut self.bytes, rest)
    }

    /// A body in chunks, to its end.
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.bytes.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None => assert!(self.read() > 0, "the stream is cut short"),
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.bytes[..end]).unwrap(), 16).unwrap();
            let chunk = self.take(end + size + 4).split_off(end + 2);
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return body;
            }
        }
    }

    /// Sends, and reads the head of an answer whose body is a stream.
    pub fn ask_head(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(&request);
        self.answer(true)
    }

    /// The next line of a body in chunks that hold whole lines.
    pub fn chunked_line(&mut self) -> String {
        loop {
            if let Some(end) = self.bytes.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&self.bytes[..end]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                assert!(size > 0, "the end of the stream");
                if self.bytes.len() >= end + size + 4 {
                    let mut chunk = self.bytes[end + 2..end + 2 + size].to_vec();
                    let line = chunk.iter().position(|&byte| byte == b'\n').unwrap();
                    let rest = chunk.split_off(line + 1);
                    self.bytes.drain(..end + size + 4);
                    if !rest.is_empty() {
                        // What is left of the chunk is put back as one.
                        let mut bytes = format!("{:x}\r\n", rest.len()).into_bytes();
                        bytes.extend_from_slice(&rest);
                        bytes.extend_from_slice(b"\r\n");
                        self.bytes.splice(..0, bytes);
                    }
                    chunk.pop();
                    return String::from_utf8(chunk).unwrap();
                }
            }
            assert!(self.read() > 0, "the stream is cut short");
        }
    }

    /// Whether what comes next is the last chunk, and then the close.
    pub fn is_chunked_end(&mut self) -> bool {
        while self.bytes.len() < 5 && self.read() > 0 {}
        let end = std::mem::take(&mut self.bytes);
        end == b"0\r\n\r\n" && self.is_closed()
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 65536];
        let read = self
            .stream
            .read(&mut buffer)
            .expect("an answer within the time a test has");
        self.bytes.extend_from_slice(&buffer[..read]);
        self.reads += 1;
        read
    }

    /// Whether the server closes the connection, and says nothing more.
    pub fn is_closed(&mut self) -> bool {
        self.bytes.is_empty() && matches!(self.stream.read(&mut [0; 1]), Ok(0))
    }
}

/// A GET with nothing but what HTTP/1.1 asks for.
pub fn get(target: &str) -> String {
    request("GET", target, "", "")
}

/// A request; `fields` are whole lines.
pub fn request(method: &str, target: &str, fields: &str, body: &str) -> String {
    let length = match method {
        "PUT" | "POST" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{length}{fields}\r\n{body}")
}
