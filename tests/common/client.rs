//! HTTP/1.1 over a bare socket: a test decides every byte that is sent, and sees every one that comes.

use super::SOON;
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// The headers of a value as its bytes.
pub const BYTES: [(&str, &str); 1] = [("Content-Type", "application/octet-stream")];

/// The headers of a body of JSON.
pub const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A connection, kept open from one request to the next.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer as it came.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("the node takes connections")
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// What comes, as it comes.
    pub fn reader(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn end(&mut self) {
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    /// Adds a new key.
    #[track_caller]
    pub fn add(&mut self, key: &str, value: &str) -> Response {
        self.json("POST", "/kv/", &json!({"key": key, "value": value}))
    }

    #[track_caller]
    pub fn put(&mut self, target: &str, value: &[u8]) -> Response {
        self.request(
            "PUT",
            target,
            &[("Content-Type", "application/octet-stream")],
            value,
        )
    }

    #[track_caller]
    pub fn delete(&mut self, target: &str) -> Response {
        self.request("DELETE", target, &[], b"")
    }

    /// Sends a body of JSON.
    #[track_caller]
    pub fn json(&mut self, method: &str, target: &str, body: &Value) -> Response {
        let headers = [("Content-Type", "application/json")];
        self.request(method, target, &headers, body.to_string().as_bytes())
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.try_request(method, target, headers, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        self.send(&encode(method, target, headers, body))?;
        self.response(method == "HEAD")
    }

    /// The next answer; one to a HEAD has no body whatever its headers say.
    pub fn response(&mut self, head: bool) -> io::Result<Response> {
        loop {
            let response = self.any_response(head)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// The next answer, be it an interim one.
    pub fn any_response(&mut self, head: bool) -> io::Result<Response> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| invalid(format!("no status line: {line:?}")))?;
        let mut response = Response {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| invalid(format!("no header: {line:?}")))?;
            response
                .headers
                .push((name.to_string(), value.trim().to_string()));
        }
        // RFC 9112, 6.3: how long the body is.
        if head || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if response.header("Transfer-Encoding") == Some("chunked") {
            loop {
                let line = self.line()?;
                let size =
                    usize::from_str_radix(&line, 16).map_err(|_| invalid(format!("no chunk: {line:?}")))?;
                let start = response.body.len();
                response.body.resize(start + size, 0);
                self.stream.read_exact(&mut response.body[start..])?;
                if !self.line()?.is_empty() {
                    return Err(invalid("a chunk or the trailer does not end".to_string()));
                }
                if size == 0 {
                    return Ok(response);
                }
            }
        }
        match response.header("Content-Length").map(str::parse::<usize>) {
            Some(Ok(length)) => {
                response.body.resize(length, 0);
                self.stream.read_exact(&mut response.body)?;
            }
            Some(Err(error)) => return Err(invalid(format!("Content-Length: {error}"))),
            None => {
                self.stream.read_to_end(&mut response.body)?;
            }
        }
        Ok(response)
    }

    /// Whether the node has closed the connection; what it still sends is read and dropped.
    pub fn is_closed(&mut self) -> bool {
        let mut sink = [0; 4096];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                // A reset ends it as well; only a timeout means that it is still open.
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| {
            invalid(format!(
                "a line without its end: {:?}",
                String::from_utf8_lossy(&line)
            ))
        })?;
        String::from_utf8(line.to_vec()).map_err(|_| invalid("a line that is not UTF-8".to_string()))
    }
}

/// A request as bytes, with a length where there is a body.
pub fn encode(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\nHost: pykv\r\n");
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || matches!(method, "PUT" | "POST") {
        out += &format!("Content-Length: {}\r\n", body.len());
    }
    out += "\r\n";
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    out
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub fn percent(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Response {
    /// The value of a header; fails the test where it is given twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let first = values.next();
        assert_eq!(values.next(), None, "{name} is given twice");
        first
    }

    #[track_caller]
    pub fn body_json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The version that the ETag names: a decimal number in quotes, a strong tag.
    #[track_caller]
    pub fn version(&self) -> u64 {
        self.header("ETag")
            .and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
            .unwrap_or_else(|| panic!("no version in the ETag of {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "status of {self:?}");
        self
    }

    /// Fails the test unless this is a problem (RFC 9457) of this status; its detail.
    #[track_caller]
    pub fn expect_problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "status of {self:?}");
        let media_type = self.header("Content-Type").unwrap_or_default();
        assert!(
            media_type.starts_with("application/problem+json"),
            "type of {self:?}"
        );
        let problem = self.body_json();
        assert_eq!(problem["status"], status, "status in {self:?}");
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member} is missing in {self:?}"
            );
        }
        problem["detail"].as_str().unwrap().to_string()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(500)];
        write!(
            f,
            "{} {:?} {:?}",
            self.status,
            self.headers,
            String::from_utf8_lossy(shown)
        )
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
