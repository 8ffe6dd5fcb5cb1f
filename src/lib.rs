//! pykv: a key-value store behind plain HTTP, in one binary.

pub mod api;
pub mod cli;
pub mod client;
pub mod commands;
pub mod http;
mod key;
pub mod log;
pub mod node;
mod pair;
pub mod record;
pub mod store;

pub use key::{Key, KeyError};
