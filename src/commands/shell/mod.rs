//! `pykv shell`: commands for a node, line by line, from a terminal or from a pipe.
//!
//! On a terminal rustyline reads the lines, with history and completion; the shell says an error and reads the
//! next line. From anything else lines are read as they are: results alone go to standard output, errors with the
//! numbers of their lines to standard error, and the exit status is that of the first.

mod complete;
mod help;
mod history;
mod parse;
mod paste;
mod words;

use super::lines::{self, Form, Line, Lines};
use super::{
    Error, beginning_with, connect, deadline, exists, incr, list, missing_or, print, status, terminal,
};
use crate::api::LIST_LIMIT_MAX;
use crate::cli::{Shell, Span};
use crate::client::{Client, Condition};
use crate::escape;
use complete::NodeCompleter;
use parse::Command;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use words::quoted;

/// Longest line, in bytes; `pykv set` takes larger values from files.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Keys that are listed on a terminal, unless LIMIT says otherwise.
const TERMINAL_KEYS: u64 = 100;

/// How long Tab waits for the node.
const COMPLETION_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Shell) -> Result<(), Error> {
    let mut session = Session {
        client: connect(&args.connection)?,
        is_terminal: io::stdin().is_terminal() && terminal::is_seen(),
        is_seen: terminal::is_seen(),
    };
    if !session.is_terminal {
        return session.run_lines();
    }
    let mut completion = args.connection.clone();
    completion.timeout = completion.timeout.min(Span(COMPLETION_TIMEOUT));
    let completer = NodeCompleter::new(connect(&completion)?);
    let server = args.connection.server.to_string();
    let prompt = format!("{}> ", server.strip_prefix("http://").unwrap_or(&server));
    session.run_terminal(completer, &prompt)
}

struct Session {
    client: Client,
    /// Somebody sits there and types: what is printed has an end.
    is_terminal: bool,
    /// What is printed must not act on the terminal.
    is_seen: bool,
}

impl Session {
    fn run_lines(&mut self) -> Result<(), Error> {
        let path = Path::new("-");
        let input = lines::open(path, Form::Words)?;
        let mut lines = Lines::new(input.reader, LINE_BYTES_MAX);
        let mut first = None;
        while let Some((number, line)) = lines.next().map_err(lines::broken(path))? {
            let done = match line {
                Line::Text(line) => self.run_line(line),
                Line::TooLong => Err(Error::Usage(format!(
                    "the line is longer than {LINE_BYTES_MAX} bytes"
                ))),
            };
            match done {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                // Nobody reads what comes of the rest.
                Err(error @ Error::Output(_)) => return Err(error),
                Err(error) => {
                    super::say(&format!("pykv: line {number}: {error}"));
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), |error| Err(Error::Said(Box::new(error))))
    }

    fn run_terminal(&mut self, completer: NodeCompleter, prompt: &str) -> Result<(), Error> {
        let cannot_read = |error: ReadlineError| Error::Io {
            doing: "cannot read from the terminal".to_owned(),
            source: io::Error::other(error),
        };
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .auto_add_history(true)
            .build();
        let mut editor = Editor::<NodeCompleter, DefaultHistory>::with_config(config).map_err(cannot_read)?;
        editor.set_helper(Some(completer));
        let history = history::path();
        if let Some(history) = &history {
            let _ = editor.load_history(history); // There is none the first time.
        }
        loop {
            let line = match editor.readline(prompt) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(cannot_read(error)),
            };
            if let Some(history) = &history {
                let _ = editor.append_history(history); // Worth no word at every line.
            }
            // Lines that were pasted together come as one.
            for line in paste::lines(&line) {
                match self.run_line(line.as_bytes()) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Ok(()),
                    Err(error @ Error::Output(_)) => return Err(error),
                    Err(error) => super::say(&format!("error: {error}")),
                }
            }
        }
    }

    fn run_line(&mut self, line: &[u8]) -> Result<ControlFlow<()>, Error> {
        match parse::command(line)? {
            None => Ok(ControlFlow::Continue(())),
            Some(Command::Exit) => Ok(ControlFlow::Break(())),
            Some(command) => self.run_command(command).map(ControlFlow::Continue),
        }
    }

    fn run_command(&mut self, command: Command) -> Result<(), Error> {
        let client = &self.client;
        match command {
            Command::Get(keys) => self.get(&keys),
            Command::Incr(key, by) => {
                let answer = incr::increment(client, &key, by, by)?;
                print(format!("{}\n", incr::number(&answer)?).as_bytes())
            }
            Command::Exists(keys) => {
                let missing = exists::missing(client, &keys)?;
                print(format!("{}\n", keys.len() - missing.len()).as_bytes())
            }
            Command::Ping => {
                client
                    .ping(false)
                    .map_err(Error::client("the node is not well"))?;
                print(b"PONG\n")
            }
            Command::Set {
                key,
                value,
                ttl,
                condition,
            } => set(client, &key, &value, ttl, condition),
            Command::Del(keys) => del(client, &keys),
            Command::DelPrefix { prefix, dry_run } => {
                let deleted = client
                    .delete_prefix(&prefix, dry_run)
                    .map_err(Error::client("cannot delete"))?;
                let keys = deleted.would_delete.unwrap_or(deleted.deleted);
                print(format!("{keys}\n").as_bytes())
            }
            Command::List {
                prefix,
                pattern,
                limit,
                with_values,
            } => {
                let listed = Listed {
                    prefix: &prefix,
                    pattern: pattern.as_deref(),
                    with_values,
                };
                self.list(listed, limit)
            }
            Command::Ttl(key) => {
                let ttl = client.ttl(&key).map_err(missing_or(&key, "cannot look at"))?;
                let left = deadline::text(ttl);
                print(format!("{left}\n").as_bytes())
            }
            Command::Expire(key, ttl) => set_deadline(client, &key, Some(ttl)),
            Command::Persist(key) => set_deadline(client, &key, None),
            Command::Status => {
                let doing = "cannot ask for the status";
                let about = client.about().map_err(Error::client(doing))?;
                let stats = client.stats().map_err(Error::client(doing))?;
                print(status::text_of(&about, &stats, terminal::has_colours()).as_bytes())
            }
            Command::Stats => {
                let stats = client
                    .stats()
                    .map_err(Error::client("cannot ask for the counters"))?;
                let json = serde_json::to_string_pretty(&stats);
                let json = json.expect("its keys are strings, and its numbers finite");
                print(format!("{json}\n").as_bytes())
            }
            Command::Help(topic) => print(help::text(topic).as_bytes()),
            Command::Exit => Ok(()),
        }
    }

    /// Prints values, a line each. Those that are not there are named at the end.
    fn get(&self, keys: &[String]) -> Result<(), Error> {
        let mut missing = Vec::new();
        for key in keys {
            let mut value = match self.client.get(key) {
                Ok(value) => value,
                Err(error) if super::is_missing(&error) => {
                    missing.push(key.clone());
                    continue;
                }
                Err(error) => return Err(missing_or(key, "cannot get")(error)),
            };
            if self.is_seen {
                value = terminal::value(value);
            }
            value.push(b'\n');
            print(&value)?;
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Error::Missing(missing)),
        }
    }

    fn list(&self, listed: Listed<'_>, limit: Option<u64>) -> Result<(), Error> {
        let limit = limit.or(self.is_terminal.then_some(TERMINAL_KEYS));
        let mut left = limit.unwrap_or(u64::MAX);
        let mut cursor: Option<String> = None;
        let mut out = Vec::new();
        let mut is_empty = true;
        loop {
            let page_keys = left.min(LIST_LIMIT_MAX as u64) as usize;
            let lines = self.page(listed, &mut cursor, page_keys)?;
            is_empty &= lines.is_empty();
            out.clear();
            for line in lines.iter().take(page_keys) {
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
            print(&out)?;
            left -= lines.len().min(page_keys) as u64;
            if cursor.is_none() {
                if is_empty && listed.is_perhaps_pattern() {
                    let prefix = listed.prefix;
                    super::say(&format!(
                        "no key begins with {prefix}; LIST MATCH {prefix} takes a pattern"
                    ));
                }
                return Ok(());
            }
            if left == 0 {
                if self.is_terminal {
                    let _ = writeln!(io::stderr(), "there are more; LIMIT N shows as many");
                }
                return Ok(());
            }
        }
    }

    /// A page of a listing as lines; the cursor becomes that of the next one.
    fn page(
        &self,
        listed: Listed<'_>,
        cursor: &mut Option<String>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let Listed { prefix, pattern, .. } = listed;
        let cannot_list = Error::client(beginning_with("cannot list the keys", prefix));
        if listed.with_values {
            let page = self
                .client
                .list_entries(prefix, pattern, cursor.as_deref(), limit)
                .map_err(cannot_list)?;
            *cursor = page.cursor;
            let lines = page.entries.iter().map(|entry| {
                let line = serde_json::to_string(entry).expect("plain data has a form in JSON");
                match self.is_seen {
                    true => escape::json(&line).into_owned(),
                    false => line,
                }
            });
            return Ok(lines.collect());
        }
        let page = self
            .client
            .list(prefix, pattern, cursor.as_deref(), limit)
            .map_err(cannot_list)?;
        *cursor = page.cursor;
        Ok(match self.is_seen {
            true => page.keys.iter().map(|key| quoted(key.as_bytes())).collect(),
            false => page.keys,
        })
    }
}

/// What LIST and VALUES list.
#[derive(Clone, Copy)]
struct Listed<'a> {
    prefix: &'a str,
    pattern: Option<&'a str>,
    with_values: bool,
}

impl Listed<'_> {
    /// Whether the prefix looks like a pattern, which other stores take here.
    fn is_perhaps_pattern(self) -> bool {
        self.pattern.is_none() && list::is_perhaps_pattern(self.prefix)
    }
}

fn set(
    client: &Client,
    key: &str,
    value: &[u8],
    ttl: Option<Duration>,
    condition: Condition,
) -> Result<(), Error> {
    client
        .set(key, value, condition, ttl)
        .map_err(Error::client(format!("cannot set {key:?}")))?;
    print(b"OK\n")
}

fn del(client: &Client, keys: &[String]) -> Result<(), Error> {
    let mut missing = Vec::new();
    for key in keys {
        match client.delete(key, Condition::None) {
            Ok(()) => {}
            Err(error) if super::is_missing(&error) => missing.push(key.clone()),
            Err(error) => return Err(Error::client(format!("cannot delete {key:?}"))(error)),
        }
    }
    print(format!("{}\n", keys.len() - missing.len()).as_bytes())?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Missing(missing))
    }
}

fn set_deadline(client: &Client, key: &str, ttl: Option<Duration>) -> Result<(), Error> {
    client
        .set_deadline(key, ttl)
        .map_err(missing_or(key, "cannot change the deadline of"))?;
    print(b"OK\n")
}
