//! `pykv watch`
//!
//! A node that goes away while it is watched comes back, as a rule: the command says so once, tries again,
//! ever more rarely, and continues behind the last change it has printed. It names the log with the offset, so a
//! node that has another store by then is not taken for the same. Only what would fail in the same way again
//! ends it.

use super::{Error, beginning_with, connect, print_lines_of_json};
use crate::api::WATCH_LIMIT_MAX;
use crate::cli;
use crate::client::{self, Watched};
use crate::episode::Episode;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// How long is waited before the first, and the later, attempts to reach a node that has gone.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(args: &cli::Watch) -> Result<(), Error> {
    let doing = beginning_with("cannot watch the keys", &args.prefix);
    let client = connect(&args.connection)?;
    let mut after = match args.after {
        Some(after) => after.to_string(),
        None => client.watch_from_now().map_err(Error::client(doing.as_str()))?,
    };
    let mut left = args.limit.map_or(u64::MAX, |limit| limit.get());
    let mut reconnect = Reconnect::default();
    // A node that was never reached is more likely misspelt than away.
    let mut was_reached = args.after.is_none();
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
                was_reached = true;
                out.clear();
                for change in answer.changes.iter().take(watched.limit) {
                    serde_json::to_writer(&mut out, change).expect("plain data has a form in JSON");
                    out.push(b'\n');
                    left -= 1;
                }
                print_lines_of_json(&out)?;
                after = answer.place();
            }
            Err(error) if was_reached && error.may_pass() => reconnect.wait(&error),
            Err(error) => return Err(Error::client(doing.as_str())(error)),
        }
    }
    Ok(())
}

/// A node that does not answer: reported once an episode, and not asked again at once.
struct Reconnect {
    next_wait: Duration,
    episode: Episode,
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect {
            next_wait: BACK_OFF_MIN,
            episode: Episode::default(),
        }
    }
}

impl Reconnect {
    fn wait(&mut self, error: &client::Error) {
        if self.episode.begin() {
            say(&format!("{error}; trying again until it answers"));
        }
        thread::sleep(self.next_wait);
        self.next_wait = (self.next_wait * 2).min(BACK_OFF_MAX);
    }

    fn is_over(&mut self) {
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
