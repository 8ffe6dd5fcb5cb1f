//! Another clock for a node, by `faketime`.

use std::process::{Command, Stdio};

/// What stands before a command whose clock is what this variable says to `faketime`; none where that is missing. A file
/// that says the time is read anew at each look at the clock.
pub fn wrapper(variable: &str) -> Option<Vec<String>> {
    // Asked for its library, since it stays beside what it runs: a signal would end it and not the node.
    let said = Command::new("faketime")
        .args(["-f", "+0", "printenv", "LD_PRELOAD"])
        .stderr(Stdio::null())
        .output();
    let library = String::from_utf8(said.ok()?.stdout).unwrap();
    let library = format!("LD_PRELOAD={}", library.trim());
    let wrapper = [
        "env",
        &library,
        variable,
        "DONT_FAKE_MONOTONIC=1",
        "FAKETIME_NO_CACHE=1",
    ];
    Some(wrapper.map(str::to_owned).to_vec())
}
