//! The server: accepts connections, and runs each on a thread of its own, from bytes to a handler and back.
//!
//! | file | what it is |
//! | --- | --- |
//! | `options` | how a server is built, and why it could not be |
//! | `listener` | accepts, refuses, and ends connections |
//! | `connection` | the loop of one connection |
//! | `output`, `deferred` | answers on their way out; one that is left for the log's writer to send |
//!
//! # Threads
//! [`Server::run`] accepts on the thread that calls it and starts one thread a connection, all of them in
//! one scope: when it returns, every one of them has ended.

mod connection;
mod deferred;
mod listener;
mod options;
mod output;
#[cfg(test)]
mod tests;

pub use listener::Server;
pub use options::{Error, Options};
