//! Something that listens where a node should: it answers what a test makes up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request as it came.
pub struct Asked {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

/// See the module. Connections are closed once their answer was written.
pub struct Fake {
    address: SocketAddr,
    to_stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Fake {
    /// Answers each request with what `answer` writes. An error of it ends the connection.
    pub fn start(
        answer: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let to_stop = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let acceptor = thread::spawn({
            let to_stop = to_stop.clone();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if to_stop.load(Relaxed) {
                        return;
                    }
                    let answer = answer.clone();
                    // Not joined: what waits for a client that is gone ends with the test.
                    thread::spawn(move || serve(stream, &*answer));
                }
            }
        });
        Fake {
            address,
            to_stop,
            acceptor: Some(acceptor),
        }
    }

    /// Answers every request with the same bytes.
    pub fn always(answer: &[u8]) -> Fake {
        let answer = answer.to_vec();
        Fake::start(move |_, stream| stream.write_all(&answer))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&Asked, &mut TcpStream) -> std::io::Result<()>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let mut words = head.split(' ').map(str::to_owned);
    let asked = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        body,
    };
    let _ = answer(&asked, &mut stream);
}

/// A whole answer: `status` is as in "200 OK", `headers` are whole lines.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A whole answer of JSON.
pub fn json(body: &str) -> Vec<u8> {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.to_stop.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}
