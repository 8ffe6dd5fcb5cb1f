//! What the commands print, read, write and end with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod bulk;
mod cli;
mod config;
mod everyday;
mod foreign;
mod mirror;
mod outputs;
mod shell;
mod signals;
mod terminal;
mod text;
mod usage;
