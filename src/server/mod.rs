//! The server: accepts connections, and runs each on a thread of its own, from bytes to a handler and back.
//!
//! | file | what it is |
//! | --- | --- |
//! | `options` | how a server is built, and why it could not be |
//! | `serve` | gives each connection a thread, and ends them all |
//! | `connection` | the loop of one connection |
//! | `output`, `in_hand` | answers on their way out, and those that were made and not sent |
//! | `deferred` | answers that another thread sends |
//!
//! # Threads
//! [`Server::run`] accepts on the thread that calls it and starts one thread a connection, all of them in
//! one scope: when it returns, every one of them has ended.

mod connection;
mod deferred;
mod in_hand;
mod options;
mod output;
mod serve;
#[cfg(test)]
mod tests;

pub(crate) use options::{Error, Options};
pub(crate) use serve::Server;
