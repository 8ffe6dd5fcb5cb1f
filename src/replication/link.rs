//! One connection to another node: HTTP/1.1, one request at a time.
//!
//! The command line's client is not used here. A follower has to be freed at once when the node stops or
//! turns, whatever the other side does, so its socket must be at hand to be shut down; it asks thousands of
//! times a second, and hands what comes to the log as it is, so what lies in between counts.
//!
//! Whoever is on the other side may be anything: what comes is bounded, and what is no answer is an error.

use crate::api;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields of an answer.
const HEADERS_MAX: usize = 64;

/// Longest body of an answer that is a problem, or JSON, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Why another node could not be spoken to.
#[derive(Debug)]
pub(super) enum LinkError {
    /// It cannot be reached, or does not answer.
    Io(io::Error),
    /// What it says is no answer that a node gives.
    Nonsense(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Io(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("it does not answer")
            }
            LinkError::Io(error) => error.fmt(f),
            LinkError::Nonsense(why) => write!(f, "what it says is no answer of pykv: {why}"),
        }
    }
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> LinkError {
        LinkError::Io(error)
    }
}

fn nonsense<T>(why: impl Into<String>) -> Result<T, LinkError> {
    Err(LinkError::Nonsense(why.into()))
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// What goes with a piece of the log.
    pub(super) piece: Option<api::Piece>,
    /// Length of its body in bytes; none where it ends with the connection.
    body_bytes: Option<usize>,
}

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: &'a str,
    /// JSON.
    pub(super) body: &'a [u8],
    /// Whether the answer's body is to end with the connection, and not to come in chunks.
    pub(super) until_close: bool,
}

/// A connection to another node.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    host: String,
    token: Option<String>,
    buffer: Vec<u8>,
    /// What was read and not taken yet begins here.
    start: usize,
}

impl Link {
    /// Connects to the first address of a name that takes it.
    pub(super) fn connect(address: &str, token: Option<&str>, timeout: Duration) -> Result<Link, LinkError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for socket_address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&socket_address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Link {
                        stream,
                        host: address.to_owned(),
                        token: token.map(str::to_owned),
                        buffer: Vec::new(),
                        start: 0,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// The connection itself, for somebody else to break.
    pub(super) fn line(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Sends a request and reads the head of its answer, of which every part may take as long as `timeout`.
    pub(super) fn ask(&mut self, request: &Request<'_>, timeout: Duration) -> Result<Answer, LinkError> {
        let version = if request.until_close { "1.0" } else { "1.1" };
        let mut bytes = format!(
            "{} {} HTTP/{version}\r\nHost: {}\r\n",
            request.method, request.target, self.host
        );
        if let Some(token) = &self.token {
            bytes.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        if !request.body.is_empty() {
            let length = request.body.len();
            bytes.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(request.body);
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.write_all(&bytes)?;
        loop {
            if let Some((answer, bytes)) = parse(&self.buffer[self.start..])? {
                self.start += bytes;
                return Ok(answer);
            }
            if self.buffer.len() - self.start > HEAD_BYTES_MAX {
                return nonsense("its head has no end");
            }
            if self.fill()? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Reads the body of an answer, which may have at most `bytes_max`.
    pub(super) fn body(&mut self, answer: &Answer, bytes_max: usize) -> Result<Vec<u8>, LinkError> {
        let Some(body_bytes) = answer.body_bytes else {
            return nonsense("its body has no length");
        };
        if body_bytes > bytes_max {
            return nonsense(format!("its body has {body_bytes} bytes"));
        }
        let at_hand = &self.buffer[self.start..];
        let at_hand = &at_hand[..at_hand.len().min(body_bytes)];
        // Memory follows what comes, not what is announced.
        let mut body = Vec::with_capacity(body_bytes.min(READ_BYTES).max(at_hand.len()));
        body.extend_from_slice(at_hand);
        self.start += at_hand.len();
        while body.len() < body_bytes {
            let have = body.len();
            body.resize(body_bytes.min(have + have.max(READ_BYTES)), 0);
            match self.stream.read(&mut body[have..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(bytes) => body.truncate(have + bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => body.truncate(have),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(body)
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + READ_BYTES, 0);
        loop {
            match self.stream.read(&mut self.buffer[have..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
                    return read;
                }
            }
        }
    }
}

/// The rest of what comes, up to the close: the body of an answer that was asked for so.
impl Read for Link {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let at_hand = &self.buffer[self.start..];
        if at_hand.is_empty() {
            return self.stream.read(out);
        }
        let bytes = at_hand.len().min(out.len());
        out[..bytes].copy_from_slice(&at_hand[..bytes]);
        self.start += bytes;
        Ok(bytes)
    }
}

/// Reads the head of an answer; none where it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, LinkError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return nonsense(error.to_string()),
    };
    let mut answer = Answer {
        status: response.code.unwrap_or_default(),
        piece: None,
        body_bytes: None,
    };
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default();
        if field.name.eq_ignore_ascii_case("content-length") {
            match value.parse() {
                Ok(length) => answer.body_bytes = Some(length),
                Err(_) => return nonsense("the length of its body is no number"),
            }
        } else if field.name.eq_ignore_ascii_case(api::HEADER_LOG) {
            answer.piece = api::Piece::from_value(value);
        }
    }
    if answer.status == 204 {
        answer.body_bytes = Some(0);
    }
    Ok(Some((answer, head_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(10);

    /// What a node gets that asks somebody who says `said`, and closes.
    fn asked(said: &'static [u8]) -> Result<(u16, Vec<u8>), LinkError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(said);
            });
            let mut link = Link::connect(&address, Some("secret"), SECOND)?;
            let request = Request {
                method: "GET",
                target: "/",
                body: b"",
                until_close: false,
            };
            let answer = link.ask(&request, SECOND)?;
            let body = link.body(&answer, 100)?;
            Ok((answer.status, body))
        })
    }

    #[test]
    fn an_answer_is_read_whole() {
        let (status, body) = asked(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"hello"[..]));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(matches!(
            asked(b"SSH-2.0-OpenSSH_9\r\n\r\n"),
            Err(LinkError::Nonsense(_))
        ));
        assert!(matches!(
            asked(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"),
            Err(LinkError::Nonsense(_))
        ));
        assert!(matches!(
            asked(b"HTTP/1.1 200 OK\r\n\r\nno length"),
            Err(LinkError::Nonsense(_))
        ));
        assert!(matches!(
            asked(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            Err(LinkError::Io(_))
        ));
        assert!(matches!(asked(b""), Err(LinkError::Io(_))));
    }
}
