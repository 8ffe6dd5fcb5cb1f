//! What a data directory goes through: crashes, damage, full disks, other clocks, copies, repairs, bounds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;

mod backup;
mod clock;
mod compact;
mod crash;
mod directory;
mod disk;
mod lru;
mod mutations;
mod old_directory;
mod records;
mod repair;
