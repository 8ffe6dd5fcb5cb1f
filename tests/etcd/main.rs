//! Nodes that let etcd decide who is primary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod at_rest;
mod client;
mod directories;
mod election;
mod haproxy;
mod hostile;
