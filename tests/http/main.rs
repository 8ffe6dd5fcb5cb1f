//! What a node answers over HTTP: data, preconditions, deadlines, watches, tokens, TLS, hostile and broken requests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod abuse;
mod api;
mod batch;
mod edits;
mod endpoints;
mod in_flight;
mod input;
mod listing;
mod memory;
mod metrics;
mod openapi;
mod origins;
mod page;
mod proxies;
mod tls;
mod tls_clients;
mod tokens;
mod ttl;
mod typed;
mod versions;
mod watch;
mod wire;
