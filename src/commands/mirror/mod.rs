//! `pykv mirror`: one node copied to another, and followed until the command is interrupted.
//!
//! 1. It notes where the log of the one side ends.
//! 2. It copies all entries, page by page.
//! 3. It follows the changes from where the log ended: what was changed while it copied is among them.
//!
//! # What must hold
//! - The changes of a key arrive in their order: a key always goes by the same [`Writers`] connection, and each page is
//!   written before the next one is begun.
//! - What the file of the state says is written on the other side. What comes behind it may be written twice, which
//!   ends in the same entries.

mod state;
mod verify;
mod writers;

use super::progress::Progress;
use super::{Error, say, token_of_file_or_environment, trust};
use crate::api::{About, Entry, LIST_LIMIT_MAX, WATCH_LIMIT_MAX};
use crate::cli::Mirror;
use crate::client::{self, Client, Flags, Server, Watched};
use crate::wall;
use indicatif::HumanCount;
use state::{Keeper, State};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use writers::{Change, PAUSE_MAX, PAUSE_MIN, Writers};

/// Connections to the other side.
const CONNECTIONS: usize = 16;

/// How the two sides are named.
const FROM: Flags = Flags {
    server: "--from",
    token: "--from-token-file or PYKV_TOKEN",
};
const TO: Flags = Flags {
    server: "--to",
    token: "--to-token-file or PYKV_TOKEN",
};

/// How long it waits for changes, where it is to end once there are no more.
const WAIT_ONCE: Duration = Duration::from_millis(100);

/// How often it is said on standard error how far it is, where no bar shows it.
const SAY_EVERY: Duration = Duration::from_secs(10);

pub(super) fn run(args: &Mirror) -> Result<(), Error> {
    if args.from == args.to {
        return Err(Error::Usage(
            "--from and --to name the same node; a mirror has two sides".to_owned(),
        ));
    }
    let from = client(args, &args.from, args.from_token_file.as_deref(), FROM)?;
    let to = || client(args, &args.to, args.to_token_file.as_deref(), TO);
    if args.verify {
        return verify::run(&from, &to()?, &args.prefix);
    }
    let to = (0..CONNECTIONS).map(|_| to()).collect::<Result<Vec<_>, _>>()?;
    let [first, ..] = &to[..] else {
        return Ok(());
    };
    let limits = first
        .about()
        .map_err(Error::client("cannot ask --to for its limits"))?;
    let limits = limits.limits().clone();
    let keeper = Keeper::open(args.state.as_deref(), &args.from.to_string(), &args.prefix)?;
    thread::scope(|scope| {
        let writers = Writers::start(scope, &to, &limits);
        let mut mirror = Side {
            from: &from,
            prefix: &args.prefix,
            writers: &writers,
            keeper,
        };
        let mirrored = mirror.run(args.once);
        writers.end();
        mirrored
    })
}

fn client(args: &Mirror, server: &Server, token_file: Option<&Path>, flags: Flags) -> Result<Client, Error> {
    let token = token_of_file_or_environment(token_file)?;
    let trust = server.is_tls().then(|| trust(&args.tls)).transpose()?;
    Ok(Client::new(server.clone(), token, trust, args.timeout.0, flags))
}

/// The side that is copied, and how far it is.
struct Side<'m> {
    from: &'m Client,
    prefix: &'m str,
    writers: &'m Writers,
    keeper: Keeper,
}

impl Side<'_> {
    fn run(&mut self, is_once: bool) -> Result<(), Error> {
        let about = self
            .from
            .about()
            .map_err(Error::client("cannot ask --from how it is"))?;
        let is_node = matches!(about, About::Node(_));
        let state = match self.keeper.state() {
            Some(state) if is_node => state,
            _ => {
                // Before the copy: what changes meanwhile lies behind it.
                let after = match is_node {
                    true => Some(
                        self.from
                            .watch_from_now()
                            .map_err(Error::client("cannot follow --from"))?,
                    ),
                    false => None,
                };
                State {
                    after,
                    cursor: None,
                    is_copied: false,
                }
            }
        };
        let state = match state.is_copied {
            true => state,
            false => self.copy(state)?,
        };
        let Some(after) = state.after else {
            say("copied; a gateway cannot be followed, since its engine does not order changes");
            return Ok(());
        };
        self.follow(after, is_once)
    }

    /// Copies all entries.
    fn copy(&mut self, mut state: State) -> Result<State, Error> {
        let keys_all = match self.prefix {
            "" => self.from.stats().ok().map(|stats| stats.entries),
            _ => None,
        };
        let mut progress = Progress::new(keys_all);
        let mut said = Instant::now();
        let mut keys = 0;
        loop {
            let page = self
                .from
                .list_entries(self.prefix, None, state.cursor.as_deref(), LIST_LIMIT_MAX);
            let page = match page {
                // The node was started anew: its cursors are others, and its log goes on.
                Err(client::Error::Refused(problem)) if problem.status == 410 && state.cursor.is_some() => {
                    state.cursor = None;
                    keys = 0;
                    continue;
                }
                page => page.map_err(Error::client("cannot copy the keys"))?,
            };
            keys += page.entries.len() as u64;
            // While the page was asked for, the one before was written.
            self.writers.finish()?;
            self.keeper.keep(&state, false)?;
            self.writers
                .write(page.entries.into_iter().map(Change::of_entry))?;
            if !progress.show(keys, keys) && said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                say(&format!("copied {} so far", count(keys, "key")));
            }
            state.cursor = page.cursor;
            if state.cursor.is_none() {
                break;
            }
        }
        self.writers.finish()?;
        state.is_copied = true;
        self.keeper.keep(&state, true)?;
        let seconds = progress.end().as_secs_f64();
        say(&format!("copied {} in {seconds:.1} s", count(keys, "key")));
        Ok(state)
    }

    /// Follows the changes.
    fn follow(&mut self, mut after: String, is_once: bool) -> Result<(), Error> {
        let watched = Watched {
            prefix: self.prefix,
            with_values: true,
            limit: WATCH_LIMIT_MAX,
            wait_max: if is_once { WAIT_ONCE } else { Duration::MAX },
        };
        // Others may write without a pause: what there is now is what it catches up with.
        let end = match is_once {
            true => Some(offset_of(
                &self
                    .from
                    .watch_from_now()
                    .map_err(Error::client("cannot follow --from"))?,
            )),
            false => None,
        };
        let mut shown = Following::new();
        let mut pause = PAUSE_MIN;
        while end.is_none_or(|end| offset_of(&after) < end) {
            let answer = match self.from.watch(watched, &after) {
                Ok(answer) => answer,
                Err(error) if is_gone(&error) => {
                    shown.progress.end();
                    return Err(Error::client(format!(
                        "the changes behind {after} are gone from the log of --from; run the mirror anew without its file \
                         of the state, and give --from a larger --log-backlog"
                    ))(error));
                }
                Err(error) if error.may_pass() => {
                    shown.say(&format!("{error}; trying again"));
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
                Err(error) => return Err(Error::client("cannot follow --from")(error)),
            };
            pause = PAUSE_MIN;
            // While the answer was waited for, the one before was written.
            self.writers.finish()?;
            let written = State {
                after: Some(std::mem::replace(&mut after, answer.place())),
                cursor: None,
                is_copied: true,
            };
            let (changes, last) = (
                answer.changes.len() as u64,
                answer.changes.last().map(|one| one.timestamp),
            );
            self.writers
                .write(answer.changes.into_iter().filter_map(Change::of_change))?;
            shown.show(changes, last);
            self.keeper.keep(&written, false)?;
        }
        self.writers.finish()?;
        let written = State {
            after: Some(after),
            cursor: None,
            is_copied: true,
        };
        self.keeper.keep(&written, true)?;
        shown.progress.end();
        let changes = count(shown.changes, "change");
        say(&format!("followed {changes}, and has caught up"));
        Ok(())
    }
}

/// Whether the log no longer reaches back that far.
fn is_gone(error: &client::Error) -> bool {
    matches!(error, client::Error::Refused(problem) if problem.status == 410)
}

/// A number of things, as people say it.
fn count(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", HumanCount(number))
}

/// The offset of a place in a log, `OFFSET` or `LOG-OFFSET`.
fn offset_of(place: &str) -> u64 {
    let offset = place.rsplit('-').next().unwrap_or_default();
    offset.parse().unwrap_or(0)
}

/// What is shown while changes are followed.
struct Following {
    progress: Progress,
    changes: u64,
    said: Instant,
}

impl Following {
    fn new() -> Following {
        Following {
            progress: Progress::new(None),
            changes: 0,
            said: Instant::now(),
        }
    }

    /// `last_ms`: when the last of so many changes was made.
    fn show(&mut self, changes: u64, last_ms: Option<u64>) {
        self.changes += changes;
        let behind_ms = last_ms.map_or(0, |last| wall::now_ms().saturating_sub(last));
        let text = format!(
            "following: {}, {:.1} s behind",
            count(self.changes, "change"),
            behind_ms as f64 / 1000.0
        );
        if !self.progress.say(&text) && self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            say(&text);
        }
    }

    /// Something beside the bar.
    fn say(&mut self, text: &str) {
        if !self.progress.say(text) {
            say(text);
        }
    }
}

impl Change {
    fn of_entry(entry: Entry) -> Change {
        Change {
            key: entry.key,
            value: Some((entry.value, entry.encoding)),
            expires_at_ms: entry.expires_at_ms,
        }
    }

    /// None: it says nothing of a key.
    fn of_change(change: crate::api::Change<'static>) -> Option<Change> {
        let is_set = matches!(&*change.operation, "SET" | "UPDATE");
        let value = match (is_set, change.value) {
            (true, None) => return None,
            (true, Some(value)) => Some((value.into_owned(), change.encoding)),
            (false, _) => None,
        };
        Some(Change {
            key: change.key.into_owned(),
            value,
            expires_at_ms: change.expires_at_ms,
        })
    }
}
