//! `pykv watch`
//!
//! A first question that is answered by "not now" is asked again for some seconds. A node that goes away while it is watched comes back, as a rule: the command says so once, tries again,
//! ever more rarely, and continues behind the last change it has printed. It names the log with the offset, so a
//! node that has another store by then is not taken for the same. Only what would fail in the same way again
//! ends it.

use super::{Error, beginning_with, connect, print_lines_of_json};
use crate::api::{Change, WATCH_LIMIT_MAX};
use crate::cli;
use crate::client::{self, Watched};
use crate::episode::Episode;
use serde::Serialize;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// How long is waited before the first, and the later, attempts to reach a node that has gone.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// How often a first question is asked again: some 6 s in all.
const FIRST_TRIES_MAX: u32 = 6;

pub(super) fn run(args: &cli::Watch) -> Result<(), Error> {
    let doing = beginning_with("cannot watch the keys", &args.prefix);
    let client = connect(&args.connection)?;
    let mut reconnect = Reconnect::default();
    let mut after = match &args.after {
        Some(after) => after.clone(),
        None => loop {
            match client.watch_from_now() {
                Ok(after) => break after,
                Err(error) => reconnect.wait(error).map_err(Error::client(doing.as_str()))?,
            }
        },
    };
    if args.after.is_none() {
        reconnect.is_over();
    }
    let mut left = args.limit.map_or(u64::MAX, |limit| limit.get());
    let mut out = Vec::new();
    while left > 0 {
        let watched = Watched {
            prefix: &args.prefix,
            with_values: !args.no_values,
            limit: left.min(WATCH_LIMIT_MAX as u64) as usize,
            wait_max: Duration::MAX,
        };
        match client.watch(watched, &after) {
            Ok(answer) => {
                reconnect.is_over();
                out.clear();
                for change in answer.changes.iter().take(watched.limit) {
                    let line = Line {
                        change,
                        next: answer.place_at(change.version),
                    };
                    serde_json::to_writer(&mut out, &line).expect("plain data has a form in JSON");
                    out.push(b'\n');
                    left -= 1;
                }
                print_lines_of_json(&out)?;
                after = answer.place();
            }
            Err(error) => reconnect.wait(error).map_err(Error::client(doing.as_str()))?,
        }
    }
    Ok(())
}

/// A node that does not answer: reported once an episode, and not asked again at once.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    change: &'a Change<'static>,
    /// What `--after` takes to go on behind it.
    next: String,
}

/// What is done where an answer is none.
struct Reconnect {
    /// How often it still tries before the first answer; none once there was one. A node that was never reached is more
    /// likely misspelt than away.
    first_tries: Option<u32>,
    next_wait: Duration,
    episode: Episode,
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect {
            first_tries: Some(FIRST_TRIES_MAX),
            next_wait: BACK_OFF_MIN,
            episode: Episode::default(),
        }
    }
}

impl Reconnect {
    /// Waits before the next attempt; gives the error back where that would fail in the same way.
    fn wait(&mut self, error: client::Error) -> Result<(), client::Error> {
        let how_long = match &mut self.first_tries {
            None if error.may_pass() => "until it answers",
            Some(left @ 1..) if error.says_not_now() => {
                *left -= 1;
                "for some seconds"
            }
            _ => return Err(error),
        };
        if self.episode.begin() {
            say(&format!("{error}; trying again {how_long}"));
        }
        thread::sleep(self.next_wait);
        self.next_wait = (self.next_wait * 2).min(BACK_OFF_MAX);
        Ok(())
    }

    fn is_over(&mut self) {
        self.first_tries = None;
        if self.episode.end() {
            say("the node answers again");
        }
        self.next_wait = BACK_OFF_MIN;
    }
}

/// Says something beside the data. That standard error takes nothing is no reason to end.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "pykv: {what}");
}
