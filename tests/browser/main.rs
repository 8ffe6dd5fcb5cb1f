//! The page in a real browser.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod drafts;
mod gateway;
mod lists;
mod node;
mod screenshots;
mod views;
