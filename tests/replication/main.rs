//! Several nodes without etcd: following, taking over, coming back, links that fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod branches;
mod comes_back;
mod failover;
mod following;
mod foreign_store;
mod forget;
mod handover;
mod hearsay;
mod links;
mod no_primary;
mod old_node;
mod pauses;
mod promotion;
mod slow;
