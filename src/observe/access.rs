//! The access log: a line about every request, in the Common Log Format and behind it the seconds that it took.
//!
//! A thread of its own writes it, so that no request waits for the disk that the log is on. Between the two are
//! [`LINES_MAX`] lines; what comes while they are full is dropped, counted, and said once.
//!
//! The file is appended to, a whole line at a time. Where it cannot be written that is said once an episode, and
//! tried again with the next lines; those that were not written are counted among the dropped.

use super::seen::Seen;
use crate::episode::Episode;
use crate::escape;
use crate::net::registry::Peer;
use crate::net::transport::Client;
use crate::system;
use crate::wall;
use crate::worker::Worker;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Lines that wait to be written.
const LINES_MAX: usize = 8192;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// How soon the file is opened anew once it is to be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// One request, as the thread takes it over.
#[derive(Debug)]
struct Line {
    at: SystemTime,
    client: Client,
    /// What its token calls the client.
    who: Option<Box<str>>,
    request: Box<str>,
    status: u16,
    bytes: u64,
    took: Duration,
}

/// The access log. Its thread is started by [`Access::start`] and ended by dropping this, which waits until all lines
/// are written.
#[derive(Debug)]
pub(crate) struct Access {
    /// The thread ends when this is dropped, and is joined then: so it stands before `worker`.
    lines: Sender<Line>,
    dropped: Arc<AtomicU64>,
    _worker: Worker,
}

impl Access {
    /// Opens the file to append to it, and starts the thread that does. `-` is standard output.
    pub(crate) fn start(path: &Path, to_reopen: Arc<AtomicBool>) -> io::Result<Access> {
        let out = open(path)?;
        let dropped = Arc::new(AtomicU64::new(0));
        let of_thread = Arc::clone(&dropped);
        let (sender, lines) = bounded(LINES_MAX);
        let path = path.to_owned();
        let work = move || Writer::new(path, out, to_reopen, of_thread).run(&lines);
        Ok(Access {
            lines: sender,
            dropped,
            _worker: Worker::start("access", || {}, work)?,
        })
    }

    /// Lines that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(crate) fn see(&self, peer: &Peer, seen: &Seen<'_>) {
        let line = Line {
            at: wall::now(),
            client: peer.client,
            who: seen.who.map(Box::from),
            request: seen.line.into(),
            status: seen.status,
            bytes: seen.answer_bytes,
            took: seen.took,
        };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line)
            && self.dropped.fetch_add(1, Relaxed) == 0
        {
            log::warn!("the access log cannot be written as fast as requests come; lines are left out");
        }
    }
}

/// The thread's part.
struct Writer {
    path: PathBuf,
    out: Box<dyn Write + Send>,
    to_reopen: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    text: String,
    /// Of failures to write or open the file.
    failures: Episode,
}

/// The file, made for the owner alone; `-` is standard output.
fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdout()));
    }
    let mut options = File::options();
    Ok(Box::new(
        options.append(true).create(true).mode(0o600).open(path)?,
    ))
}

impl Writer {
    fn new(
        path: PathBuf,
        out: Box<dyn Write + Send>,
        to_reopen: Arc<AtomicBool>,
        dropped: Arc<AtomicU64>,
    ) -> Writer {
        Writer {
            path,
            out,
            to_reopen,
            dropped,
            text: String::new(),
            failures: Episode::default(),
        }
    }

    /// Writes until nobody is left who could send a line.
    fn run(mut self, lines: &Receiver<Line>) {
        loop {
            let line = lines.recv_timeout(LOOK_EVERY);
            self.reopen_if_told();
            let line = match line {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.text.clear();
            if self.failures.is_running() {
                // What was cut short is not to run into the next line.
                self.text.push('\n');
            }
            push(&mut self.text, &line);
            while self.text.len() < WRITE_BYTES
                && let Ok(line) = lines.try_recv()
            {
                push(&mut self.text, &line);
            }
            let written = self
                .out
                .write_all(self.text.as_bytes())
                .and_then(|()| self.out.flush());
            match written {
                Ok(()) => drop(self.failures.end()),
                Err(error) => self.fail("write", &error),
            }
        }
    }

    fn reopen_if_told(&mut self) {
        if self.to_reopen.swap(false, Relaxed) {
            match open(&self.path) {
                Ok(out) => {
                    self.out = out;
                    self.failures.end();
                    log::info!("reopened the access log {}", self.path.display());
                }
                Err(error) => self.fail("open", &error),
            }
        }
    }

    fn fail(&mut self, doing: &str, error: &io::Error) {
        let lines = self.text.lines().filter(|line| !line.is_empty()).count();
        self.dropped.fetch_add(lines as u64, Relaxed);
        self.text.clear();
        if self.failures.begin() {
            log::error!(
                "cannot {doing} the access log {}: {}",
                self.path.display(),
                system::words(error)
            );
        }
    }
}

fn push(out: &mut String, line: &Line) {
    let at = OffsetDateTime::from(line.at).format(TIME).unwrap_or_default();
    let who = line.who.as_deref().unwrap_or("-");
    let _ = write!(out, "{} - {who} [{at}] \"", line.client); // A string takes all.
    match &*line.request {
        "" => out.push('-'),
        request => push_quoted(out, request),
    }
    let seconds = line.took.as_secs_f64();
    let _ = writeln!(out, "\" {} {} {seconds:.6}", line.status, line.bytes);
}

/// A request line between quotes: what would end them, or the line, or acts on a terminal, is escaped byte by byte, as
/// nginx does.
fn push_quoted(out: &mut String, request: &str) {
    for (c, acts) in escape::chars(request) {
        if acts || matches!(c, '"' | '\\') {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "\\x{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_line() {
        let mut text = String::new();
        let mut line = Line {
            at: UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            client: Client::Ip(Ipv4Addr::LOCALHOST.into()),
            who: None,
            request: "GET /kv/a\"b\\é\u{9b}\u{202e}?x=1 HTTP/1.1".into(),
            status: 200,
            bytes: 5,
            took: Duration::from_micros(1234),
        };
        push(&mut text, &line);
        line.request = "".into();
        line.who = Some("billing".into());
        push(&mut text, &line);
        assert_eq!(
            text,
            "127.0.0.1 - - [09/Sep/2001:01:46:40 +0000] \"GET /kv/a\\x22b\\x5Cé\\xC2\\x9B\\xE2\\x80\\xAE?x=1 HTTP/1.1\" 200 5 0.001234\n\
             127.0.0.1 - billing [09/Sep/2001:01:46:40 +0000] \"-\" 200 5 0.001234\n"
        );
    }
}
