//! HTTP on the wire: from bytes to a request, and from an answer to bytes. It knows no node and no handler.
//!
//! | file | what it is |
//! | --- | --- |
//! | `request`, `authority`, `chunked` | the head of a request, the host in it, and bodies that come in chunks |
//! | `target`, `media` | paths and queries, and the forms of bodies |
//! | `response`, `problem` | answers, and errors as answers |
//! | `origin` | what pages of other sites may not do |
//! | `cors` | pages of other origins that may use a node |
//! | `limits` | what clients may take |
//!
//! # Why a server of our own
//! tiny_http gives the vocabulary (methods, status codes, header fields), httparse the grammar. tiny_http's
//! own `Server` is not used, for what was seen of 0.12: its accept thread ends for good at the first
//! EMFILE; its pool of threads lets new connections wait behind open ones for as long as those stay open
//! (of 64 opened at once, 28 were never answered); it reads a header of any size into memory; it accepts a
//! length and a transfer coding that contradict each other; and it sends the answers of a pipeline one by
//! one. The tests of [`server`](crate::server) show that this server does none of that.

mod authority;
pub(crate) mod chunked;
pub(crate) mod cors;
mod limits;
pub(crate) mod media;
mod origin;
pub(crate) mod problem;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod target;

pub(crate) use limits::{HEADERS_CEILING, Limits};
pub(crate) use origin::Hosts;
