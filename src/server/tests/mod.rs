//! The server as its clients see it: raw sockets against a node in a temporary directory.

mod api;
mod client;
mod crowd;
mod patience;
mod protocol;
mod stream;
mod watch;
