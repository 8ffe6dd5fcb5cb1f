//! Another clock for a node, by `faketime`.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A clock that a test sets while nodes run by it.
pub struct Clock {
    home: TempDir,
    settings: Cell<u32>,
}

impl Clock {
    /// One that is right.
    pub fn new() -> Clock {
        let clock = Clock {
            home: TempDir::new().unwrap(),
            settings: Cell::new(0),
        };
        clock.put(0);
        clock
    }

    /// The variable that has a process run by it; see [`wrapper`].
    pub fn variable(&self) -> String {
        format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display())
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("offset")
    }

    /// Sets it ahead of the true time, until that is seen. faketime compares the text with the one before, and its threads
    /// share both without a lock: it may take a text for known that it has never followed. So each differs, by a
    /// millisecond.
    pub fn set(&self, ahead_seconds: i64, what: &str, is_seen: impl Fn() -> bool) {
        super::eventually(what, || {
            self.put(ahead_seconds);
            super::poll(Duration::from_secs(1), &is_seen)
        });
    }

    /// Sets it for processes that start later; one that runs need not follow it. The file is put under its name in one
    /// step: it is read at any time.
    pub fn put(&self, ahead_seconds: i64) {
        let number = self.settings.replace(self.settings.get() + 1);
        let ahead_ms = ahead_seconds * 1000 + i64::from(number);
        let new = self.file().with_extension("new");
        std::fs::write(&new, format!("{:+.3}", ahead_ms as f64 / 1000.0)).unwrap();
        std::fs::rename(&new, self.file()).unwrap();
    }
}

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
