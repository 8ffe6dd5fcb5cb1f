//! The server: accepts connections, and runs each on a thread of its own, from bytes to a handler and back.
//!
//! | file | what it is |
//! | --- | --- |
//! | `options` | how a server is built, and why it could not be |
//! | `serve` | gives each connection a thread, and ends them all |
//! | `connection` | the loop of one connection |
//! | `output`, `deferred` | answers on their way out; one that is left for the log's writer to send |
//!
//! # Threads
//! [`Server::run`] accepts on the thread that calls it and starts one thread a connection, all of them in
//! one scope: when it returns, every one of them has ended.

mod connection;
mod deferred;
mod options;
mod output;
mod serve;
#[cfg(test)]
mod tests;

pub(crate) use options::{Error, Options};
pub(crate) use serve::Server;
