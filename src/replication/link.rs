//! One connection to another node: HTTP/1.1, one request at a time.
//!
//! The command line's client is not used here. A follower has to be freed at once when the node stops or
//! turns, whatever the other side does, so its socket must be at hand to be shut down; it asks thousands of
//! times a second, and hands what comes to the log as it is, so what lies in between counts.
//!
//! The other side may be anything: what comes is bounded, and what is no answer is an error. A head has a
//! deadline. A body may take as long as it likes while it comes at a fair rate ([`RATE_MIN_BYTES`]): any byte
//! says that the other side is alive, and one that merely dribbles is none that can be followed.

use super::link_error::LinkError;
use super::wire::Wire;
use crate::api;
use rustls::ClientConfig;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields of an answer.
const HEADERS_MAX: usize = 64;

/// Longest body of an answer that is a problem, or JSON, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Read at once, in bytes.
const READ_BYTES: usize = 4 * 1024;

/// Read at once of a body, in bytes.
const BODY_READ_BYTES: usize = 256 * 1024;

/// The least rate of a body, in bytes a second, over what its first bytes may take.
const RATE_MIN_BYTES: u64 = 64 * 1024;

/// Longest line between the chunks of a body, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 64;

fn invalid<T>(why: impl Into<String>) -> Result<T, LinkError> {
    Err(LinkError::Invalid(why.into()))
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// What goes with a chunk of the log.
    pub(super) chunk: Option<api::ChunkHeader>,
    /// When it was made, by the clock of whoever made it.
    pub(super) date: Option<SystemTime>,
    framing: Framing,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length in bytes.
    Length(usize),
    /// It comes in chunks, of which the last is empty.
    Chunked,
    /// By the end of the connection.
    Close,
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

impl Request<'_> {
    pub(super) fn get(target: &str) -> Request<'_> {
        Request {
            method: "GET",
            target,
            body: b"",
            until_close: false,
        }
    }
}

/// A connection to another node.
#[derive(Debug)]
pub(super) struct Link {
    wire: Wire,
    host: String,
    token: Option<String>,
    buffer: Vec<u8>,
    /// What was read and not taken yet begins here.
    start: usize,
}

impl Link {
    /// Connects to the first of some addresses that takes it, within `timeout` in all. `host` is what they were
    /// found by. `tls`: how TLS is spoken, where it is.
    pub(super) fn connect(
        host: &str,
        addresses: &[SocketAddr],
        token: Option<&str>,
        tls: Option<&Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Result<Link, LinkError> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let begun = Instant::now();
        let share = timeout / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        for address in addresses {
            match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Link {
                        wire: Wire::new(stream, host, tls, begun + timeout)?,
                        host: host.to_owned(),
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

    /// The socket itself, for another thread to break.
    pub(super) fn socket(&self) -> io::Result<TcpStream> {
        self.wire.socket().try_clone()
    }

    /// Sends a request and reads the head of its answer, which may take as long as `timeout`.
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
        self.wire.send(&bytes)?;
        let pace = Pace::new(timeout);
        loop {
            if let Some((answer, bytes)) = parse(&self.buffer[self.start..])? {
                self.start += bytes;
                return Ok(answer);
            }
            if self.buffer.len() - self.start > HEAD_BYTES_MAX {
                return invalid("its head has no end");
            }
            self.wire.set_read_timeout(pace.left(0)?)?;
            if self.fill()? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Reads the body of an answer, which may have at most `bytes_max`. Its first bytes may take as long as
    /// `silence_max`, and so may any that follow; over all it must come at a fair rate. `on_bytes` is called
    /// whenever bytes have come.
    pub(super) fn body(
        &mut self,
        answer: &Answer,
        bytes_max: usize,
        silence_max: Duration,
        mut on_bytes: impl FnMut(),
    ) -> Result<Vec<u8>, LinkError> {
        let pace = Pace::new(silence_max);
        let mut body = Vec::new();
        match answer.framing {
            Framing::Close => return invalid("its body has no length"),
            Framing::Length(bytes) if bytes > bytes_max => {
                return invalid(format!("its body has {bytes} bytes"));
            }
            Framing::Length(bytes) => self.take(bytes, &mut body, &pace, &mut on_bytes)?,
            Framing::Chunked => loop {
                let bytes = self.chunk_bytes(&body, &pace)?;
                if bytes > bytes_max - body.len() {
                    return invalid(format!("its body has more than {bytes_max} bytes"));
                }
                self.take(bytes, &mut body, &pace, &mut on_bytes)?;
                self.line(&body, &pace)?;
                if bytes == 0 {
                    break;
                }
            },
        }
        Ok(body)
    }

    /// Appends the next `bytes` to a body. Memory follows what comes, not what is announced.
    fn take(
        &mut self,
        bytes: usize,
        body: &mut Vec<u8>,
        pace: &Pace,
        on_bytes: &mut impl FnMut(),
    ) -> Result<(), LinkError> {
        let end = body.len() + bytes;
        let at_hand = &self.buffer[self.start..];
        let taken = at_hand.len().min(bytes);
        body.extend_from_slice(&at_hand[..taken]);
        self.start += taken;
        while body.len() < end {
            self.wire.set_read_timeout(pace.left(body.len())?)?;
            let piece_bytes = (end - body.len()).min(BODY_READ_BYTES);
            body.reserve(piece_bytes);
            if read_some(&mut self.wire, piece_bytes, body)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            on_bytes();
        }
        Ok(())
    }

    /// Reads the line that begins a chunk: how many bytes it has.
    fn chunk_bytes(&mut self, body: &[u8], pace: &Pace) -> Result<usize, LinkError> {
        let line = self.line(body, pace)?;
        match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, bytes))) => {
                usize::try_from(bytes).or_else(|_| invalid("a chunk of its body has no end"))
            }
            _ => invalid("a chunk of its body does not say how long it is"),
        }
    }

    /// Reads up to the end of a line, and that.
    fn line(&mut self, body: &[u8], pace: &Pace) -> Result<Vec<u8>, LinkError> {
        loop {
            let at_hand = &self.buffer[self.start..];
            if let Some(end) = at_hand.windows(2).position(|pair| pair == b"\r\n") {
                let line = at_hand[..end + 2].to_vec();
                self.start += line.len();
                return Ok(line);
            }
            if at_hand.len() > CHUNK_LINE_BYTES_MAX {
                return invalid("a line between the chunks of its body has no end");
            }
            self.wire.set_read_timeout(pace.left(body.len())?)?;
            if self.fill()? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// The rest of what comes, up to the close: the body of an answer that was asked for so.
    pub(super) fn until_close(&mut self, silence_max: Duration) -> UntilClose<'_> {
        UntilClose {
            link: self,
            pace: Pace::new(silence_max),
            read_bytes: 0,
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        read_some(&mut self.wire, READ_BYTES, &mut self.buffer)
    }
}

/// Reads once, straight to the end of `into`, at most so many bytes.
fn read_some(wire: &mut Wire, bytes_max: usize, into: &mut Vec<u8>) -> io::Result<usize> {
    let from = into.len();
    into.resize(from + bytes_max, 0);
    loop {
        match wire.read(&mut into[from..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => {
                into.truncate(from + *read.as_ref().unwrap_or(&0));
                return read;
            }
        }
    }
}

/// How long what comes may take: a silence, and the more bytes have come, the more.
struct Pace {
    begun: Instant,
    silence_max: Duration,
}

impl Pace {
    fn new(silence_max: Duration) -> Pace {
        Pace {
            begun: Instant::now(),
            silence_max,
        }
    }

    /// For how long the next bytes may be waited for, where so many have come.
    fn left(&self, bytes: usize) -> io::Result<Duration> {
        let earned = Duration::from_millis(bytes as u64 * 1000 / RATE_MIN_BYTES);
        let allowed = self.silence_max.saturating_add(earned);
        let left = allowed.saturating_sub(self.begun.elapsed());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left.min(self.silence_max)),
        }
    }
}

/// See [`Link::until_close`].
pub(super) struct UntilClose<'a> {
    link: &'a mut Link,
    pace: Pace,
    read_bytes: usize,
}

impl Read for UntilClose<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let link = &mut *self.link;
        let at_hand = &link.buffer[link.start..];
        let bytes = if at_hand.is_empty() {
            link.wire.set_read_timeout(self.pace.left(self.read_bytes)?)?;
            link.wire.read(out)?
        } else {
            let bytes = at_hand.len().min(out.len());
            out[..bytes].copy_from_slice(&at_hand[..bytes]);
            link.start += bytes;
            bytes
        };
        self.read_bytes += bytes;
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
        Err(error) => return invalid(error.to_string()),
    };
    let mut answer = Answer {
        status: response.code.unwrap_or_default(),
        chunk: None,
        date: None,
        framing: Framing::Close,
    };
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default();
        if field.name.eq_ignore_ascii_case("content-length") {
            match value.parse() {
                Ok(length) => answer.framing = Framing::Length(length),
                Err(_) => return invalid("the length of its body is no number"),
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            answer.framing = Framing::Chunked;
        } else if field.name.eq_ignore_ascii_case(api::HEADER_LOG) {
            answer.chunk = api::ChunkHeader::from_value(value);
        } else if field.name.eq_ignore_ascii_case("date") {
            answer.date = httpdate::parse_http_date(value).ok();
        }
    }
    if answer.status == 204 {
        answer.framing = Framing::Length(0);
    }
    Ok(Some((answer, head_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
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
            let to = [address.parse().unwrap()];
            let mut link = Link::connect(&address, &to, Some("secret"), None, SECOND)?;
            let request = Request {
                method: "GET",
                target: "/",
                body: b"",
                until_close: false,
            };
            let answer = link.ask(&request, SECOND)?;
            let body = link.body(&answer, 100, SECOND, || ())?;
            Ok((answer.status, body))
        })
    }

    #[test]
    fn an_answer_is_read_whole() {
        let (status, body) = asked(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"hello"[..]));
    }

    #[test]
    fn an_answer_in_chunks_is_read_whole() {
        let said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        let (status, body) = asked(said).unwrap();
        assert_eq!((status, body.as_slice()), (200, &b"hello"[..]));
        for wrong in [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhel\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhel\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\nhel\r\n",
        ] {
            assert!(asked(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_body_that_dribbles_comes_to_its_end() {
        let pace = Pace {
            begun: Instant::now().checked_sub(Duration::from_secs(30)).unwrap(),
            silence_max: SECOND,
        };
        assert!(pace.left(100).is_err(), "100 bytes in 30 s");
        let fair = 30 * RATE_MIN_BYTES as usize;
        assert!(pace.left(fair).is_ok_and(|left| left <= SECOND));
        assert!(pace.left(2 * fair).is_ok_and(|left| left == SECOND));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(matches!(
            asked(b"SSH-2.0-OpenSSH_9\r\n\r\n"),
            Err(LinkError::Invalid(_))
        ));
        assert!(matches!(
            asked(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"),
            Err(LinkError::Invalid(_))
        ));
        assert!(matches!(
            asked(b"HTTP/1.1 200 OK\r\n\r\nno length"),
            Err(LinkError::Invalid(_))
        ));
        assert!(matches!(
            asked(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            Err(LinkError::Io(_))
        ));
        assert!(matches!(asked(b""), Err(LinkError::Io(_))));
    }
}
