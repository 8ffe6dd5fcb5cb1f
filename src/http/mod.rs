//! HTTP: the listener, one thread a connection, and the handlers that turn requests into calls of a node.
//!
//! | file | what it is |
//! | --- | --- |
//! | `options`, `shared`, `context`, `stopper` | how a server is built; what its connections share; what handlers work with; how it stops |
//! | `listener` | accepts, refuses, and ends connections |
//! | `registry` | the connections that are open, and what they count |
//! | `connection` | the loop of one connection |
//! | `input`, `output`, `left` | its two buffers: what came, and what goes out; an answer that is left for the log's writer to send |
//! | `request`, `authority`, `chunked` | the head of a request, the host in it, and bodies that come in chunks |
//! | `route`, `template`, `admit` | which request is which, what it is counted by, and whether it may come in |
//! | `handlers`: `kv`, `keys`, `batch`, `compact`, `backup`, `watch`, `admin`, `replication` | from a request to its answer |
//! | `target`, `payload`, `media`, `conditions`, `deadline` | paths and queries, JSON bodies, forms of bodies, entity tags, times to live |
//! | `response`, `problem` | answers, and errors as answers |
//! | `stream`, `sink`, `line` | answers that wait, answers that are sent while they are made, and the connection that they go to |
//! | `cluster` | what a request asks of the node's place in its cluster |
//! | `observe`, `metrics`, `history` | how long requests took and what they waited for; what is told of that |
//! | `page` | the web page: files in the binary |
//! | `auth` | tokens |
//! | `origin` | what pages of other sites may not do |
//! | `limits`, `budget`, `room` | what clients may take; the memory that they share, and what one request takes of it |
//!
//! # Why a server of our own
//! tiny_http gives the vocabulary (methods, status codes, header fields), httparse the grammar. tiny_http's
//! own `Server` is not used, for what was seen of 0.12: its accept thread ends for good at the first
//! EMFILE; its pool of threads lets new connections wait behind open ones for as long as those stay open
//! (of 64 opened at once, 28 were never answered); it reads a header of any size into memory; it accepts a
//! length and a transfer coding that contradict each other; and it sends the answers of a pipeline one by
//! one. The tests of this module show that this server does none of that.
//!
//! # Threads
//! [`Server::run`] accepts on the thread that calls it and starts one thread a connection, all of them in
//! one scope: when it returns, every one of them has ended.

mod admin;
mod admit;
mod auth;
mod authority;
mod backup;
mod batch;
mod budget;
mod chunked;
mod cluster;
mod compact;
mod conditions;
mod connection;
mod context;
mod deadline;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handlers;
mod history;
mod input;
mod keys;
mod kv;
mod left;
mod limits;
mod line;
mod listener;
mod media;
mod metrics;
mod observe;
mod options;
mod origin;
mod output;
mod page;
mod payload;
mod problem;
mod registry;
mod replication;
mod request;
mod response;
mod room;
mod route;
mod shared;
mod sink;
mod stopper;
mod stream;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod watch;

pub use auth::{Tokens, TokensError};
pub use limits::{HEADERS_CEILING, Limits};
pub use listener::Server;
pub use options::{Error, Options};
pub use origin::Hosts;
pub use stopper::Stopper;
