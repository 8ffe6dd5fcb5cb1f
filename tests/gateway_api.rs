//! The tests of the data, run against a gateway: one source, two engines.
//!
//! What a gateway does differently is a list in docs/more-than-one-machine.md. Each entry has a name, which the tests
//! name that are left out here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

#[path = "http/api.rs"]
mod api;
#[path = "http/batch.rs"]
mod batch;
#[path = "http/edits.rs"]
mod edits;
#[path = "http/listing.rs"]
mod listing;
#[path = "http/ttl.rs"]
mod ttl;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names that stand in the list, and those that tests name.
#[test]
fn the_list_of_differences_is_what_the_tests_leave_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let document = read("docs/more-than-one-machine.md");
    let listed: BTreeSet<&str> = document
        .lines()
        .skip_while(|line| !line.starts_with("## What differs"))
        .filter_map(|line| line.strip_prefix("- **")?.split("**").next())
        .collect();
    let sources =
        ["api", "batch", "edits", "listing", "ttl"].map(|name| read(&format!("tests/http/{name}.rs")));
    let named: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split("differs(\"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    for name in &named {
        assert!(
            listed.contains(name),
            "tests name {name:?}, which the document does not list"
        );
    }
    assert!(named.len() >= 5, "{named:?}");
}
