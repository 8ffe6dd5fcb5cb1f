//! What is known of requests whose answers are on their way.

use super::Observer;
use super::latencies::Kind;
use super::seen::Seen;
use crate::http::request::Head;
use crate::net::registry::Peer;
use crate::waits::{self, Waits};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest part of a request line that is reported, in bytes.
const LINE_BYTES_MAX: usize = 512;

/// The request that is being handled.
#[derive(Debug)]
pub(crate) struct Asked {
    kind: Kind,
    /// The request line; empty where nobody wants to know, or it could not be read.
    line: String,
    /// What its token calls the client.
    pub(crate) who: Option<Arc<str>>,
    /// When the last of it was read.
    pub(crate) came: Instant,
}

impl Asked {
    pub(crate) fn new() -> Asked {
        Asked {
            kind: Kind::UNREAD,
            line: String::new(),
            who: None,
            came: Instant::now(),
        }
    }

    /// Forgets the request before.
    pub(crate) fn clear(&mut self) {
        self.kind = Kind::UNREAD;
        self.line.clear();
        self.who = None;
    }

    /// Notes what is asked, of the route with this number.
    pub(crate) fn note(&mut self, head: &Head<'_>, route: Option<usize>, wants_line: bool) {
        self.kind = Kind::new(route, &head.method);
        if wants_line {
            self.note_line(head);
        }
    }

    fn note_line(&mut self, head: &Head<'_>) {
        self.line.clear();
        self.line.push_str(head.method.as_str());
        self.line.push(' ');
        self.line.push_str(head.path);
        if let Some(query) = head.query {
            self.line.push('?');
            self.line.push_str(query);
        }
        self.line
            .push_str(if head.is_http10 { " HTTP/1.0" } else { " HTTP/1.1" });
        if self.line.len() > LINE_BYTES_MAX {
            let end = (0..=LINE_BYTES_MAX)
                .rev()
                .find(|&at| self.line.is_char_boundary(at));
            self.line.truncate(end.unwrap_or(0));
            self.line.shrink_to(LINE_BYTES_MAX);
        }
    }
}

/// One request.
#[derive(Debug)]
struct Mark {
    kind: Kind,
    status: u16,
    answer_bytes: u64,
    came: Instant,
    waits: Waits,
    /// Of the lines.
    line: Range<usize>,
    who: Option<Arc<str>>,
}

/// What a connection spent on all answers that it sends together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Waiting for the log.
    pub(crate) log: Duration,
    /// Waiting for replicas.
    pub(crate) replicas: Duration,
}

/// The requests that were handled and not answered yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: Vec<Mark>,
    lines: String,
}

impl Marks {
    /// Adds the request that is being handled; returns its number among them.
    pub(crate) fn push(&mut self, asked: &Asked, status: u16, answer_bytes: usize) -> usize {
        let start = self.lines.len();
        self.lines.push_str(&asked.line);
        self.marks.push(Mark {
            kind: asked.kind,
            status,
            answer_bytes: answer_bytes as u64,
            came: asked.came,
            waits: waits::take(),
            line: start..self.lines.len(),
            who: asked.who.clone(),
        });
        self.marks.len() - 1
    }

    /// Another answer has taken the place of one.
    pub(crate) fn set_status(&mut self, number: usize, status: u16) {
        if let Some(mark) = self.marks.get_mut(number) {
            mark.status = status;
        }
    }

    /// An answer has so many bytes.
    pub(crate) fn set_bytes(&mut self, number: usize, bytes: usize) {
        if let Some(mark) = self.marks.get_mut(number) {
            mark.answer_bytes = bytes as u64;
        }
    }

    /// More bytes have gone out as part of all of them, of which there is one.
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.marks.iter_mut().for_each(|mark| mark.answer_bytes += bytes);
    }

    /// All of them are answered.
    pub(crate) fn settle(&mut self, observer: &Observer, peer: &Peer, spent: Spent) {
        if self.marks.is_empty() {
            return;
        }
        let now = Instant::now();
        for mark in self.marks.drain(..) {
            let waits = Waits {
                log: mark.waits.log + spent.log,
                ..mark.waits
            };
            let seen = Seen {
                kind: mark.kind,
                status: mark.status,
                line: &self.lines[mark.line],
                who: mark.who.as_deref(),
                answer_bytes: mark.answer_bytes,
                took: now.saturating_duration_since(mark.came),
                waits,
                replicas: spent.replicas,
            };
            observer.see(peer, &seen);
        }
        self.lines.clear();
    }

    /// Gives memory back, except for what a few requests need.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.marks.shrink_to(bytes / size_of::<Mark>());
        self.lines.shrink_to(bytes);
    }
}
