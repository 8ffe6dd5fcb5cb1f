//! `pykv reapply`: what a node had to set aside is sent again, key by key, where nobody has changed the key since.
//!
//! A file that was set aside is a stretch of a log that is no part of its history any more. What it tells of a
//! key comes down to the last it says of it; evictions and expiries were the node's own doing, and are not sent.
//!
//! Versions tell whether a key was changed since: they are offsets. The histories part where the file
//! begins, and the other one continues far behind anything that the file can hold. So:
//! - A key that has a version from before the file is as it was then: it is changed, if it is in that version.
//! - A key that is not there, and was not there when the histories parted (the file begins its story with a SET),
//!   is added, if it is not there. That it was added and deleted since cannot be told from that.
//! - Every other key was changed since, and is left alone.
//!
//! Each is sent under the condition that it was judged by, so a write in between is never written over.

use super::{Error, connect, is_missing, of_file, print, print_json};
use crate::api::{About, Batch, Entry, Operation, decode_value, encode_value};
use crate::cli;
use crate::client::{self, Client};
use crate::record;
use crate::wal::Reader;
use crate::wall;
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

pub(super) fn run(args: &cli::Reapply) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let about = client
        .about()
        .map_err(Error::client("cannot ask whose log the node has"))?;
    let About::Node(status) = about else {
        return Err(Error::Usage(
            "a gateway has no log, so nothing can be sent again there; name a node with --server".to_owned(),
        ));
    };
    let story = Story::read(&args.files, &status.log.id)?;
    let mut is_asking = !args.yes && !args.dry_run;
    if is_asking && !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "there is no terminal to ask on: --yes sends everything, --dry-run prints what would be sent"
                .to_owned(),
        ));
    }
    let mut left = 0;
    for (key, told) in story.in_order() {
        let verdict = judge(&client, &story, key, told)?;
        let plan = match verdict {
            Verdict::Send(plan) => plan,
            Verdict::Leave(why) => {
                left += u64::from(why == CHANGED);
                tell(args.json, "left", key, Some(why))?;
                continue;
            }
        };
        if is_asking {
            match ask(key, told)? {
                Answer::Yes => {}
                Answer::All => is_asking = false,
                Answer::No => continue,
                Answer::Quit => break,
            }
        }
        let (done, planned) = match told.last {
            Last::Value(_) => ("set", "would set"),
            Last::Deleted | Last::Dropped => ("deleted", "would delete"),
        };
        if args.dry_run {
            tell(args.json, planned, key, None)?;
        } else if send(&client, plan).map_err(Error::client(format!("cannot change {key:?}")))? {
            tell(args.json, done, key, None)?;
        } else {
            tell(args.json, "left", key, Some(CHANGED))?;
            left += 1;
        }
    }
    match left {
        0 => Ok(()),
        keys => Err(Error::ChangedSince { keys }),
    }
}

const CHANGED: &str = "it was changed since";

/// Prints what was done about a key.
fn tell(as_json: bool, what: &str, key: &str, why: Option<&str>) -> Result<(), Error> {
    if as_json {
        let what = what.replace(' ', "_");
        let told = match why {
            Some(why) => json!({"result": what, "key": key, "why": why}),
            None => json!({"result": what, "key": key}),
        };
        return print_json(told.to_string().into_bytes());
    }
    let why = why.map_or(String::new(), |why| format!(": {why}"));
    print(format!("{what} {key:?}{why}\n").as_bytes())
}

/// What the files say about a key.
struct Told {
    /// Whether it was there when the histories parted.
    was_there: bool,
    last: Last,
    /// The offset of the last that is reported.
    offset: u64,
}

/// The last that is reported of a key.
enum Last {
    Value(Value),
    Deleted,
    /// By the node itself.
    Dropped,
}

struct Value {
    bytes: Vec<u8>,
    deadline_ms: Option<u64>,
}

/// What the files say.
struct Story {
    /// Where the histories part.
    fork: u64,
    keys: HashMap<String, Told>,
}

impl Story {
    /// Reads the files; `id` is that of the log which they must be of.
    fn read(files: &[PathBuf], id: &str) -> Result<Story, Error> {
        let mut story = Story {
            fork: u64::MAX,
            keys: HashMap::new(),
        };
        let mut readers = Vec::new();
        for path in files {
            let reader = Reader::open(path).map_err(|error| of_file(error, path))?;
            if reader.log_id().to_string() != id {
                return Err(Error::Usage(format!(
                    "{} was set aside by a node of another store",
                    path.display()
                )));
            }
            readers.push(reader);
        }
        readers.sort_by_key(Reader::offset);
        for mut reader in readers {
            story.fork = story.fork.min(reader.offset());
            while let Some(read) = reader.next()? {
                story.take(&read.record, read.version);
            }
        }
        Ok(story)
    }

    fn take(&mut self, record: &record::Record<'_>, offset: u64) {
        use record::Operation::{Delete, Evict, Expire, Set, Update};
        let last = match record.operation {
            Set | Update => Last::Value(Value {
                bytes: record.value.to_vec(),
                deadline_ms: record.deadline_ms,
            }),
            Delete => Last::Deleted,
            Evict | Expire => Last::Dropped,
            _ => return,
        };
        // What a node took for a key is UTF-8.
        let Ok(key) = std::str::from_utf8(record.key) else {
            return;
        };
        match self.keys.get_mut(key) {
            Some(told) => {
                told.last = last;
                told.offset = offset;
            }
            None => {
                let was_there = record.operation != Set;
                let told = Told {
                    was_there,
                    last,
                    offset,
                };
                self.keys.insert(key.to_owned(), told);
            }
        }
    }

    /// Keys in the order of the last that is reported of each.
    fn in_order(&self) -> Vec<(&str, &Told)> {
        let mut keys: Vec<_> = self.keys.iter().map(|(key, told)| (key.as_str(), told)).collect();
        keys.sort_by_key(|(_, told)| told.offset);
        keys
    }
}

/// What is to be done about a key.
enum Verdict<'a> {
    Send(Operation<'a>),
    Leave(&'static str),
}

fn judge<'a>(client: &Client, story: &Story, key: &'a str, told: &'a Told) -> Result<Verdict<'a>, Error> {
    let now = match client.entry(key) {
        Ok(entry) => Some(entry),
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(Error::client(format!("cannot look at {key:?}"))(error)),
    };
    Ok(verdict(key, told, now.as_ref(), story.fork, wall::now_ms()))
}

fn verdict<'a>(key: &'a str, told: &'a Told, now: Option<&Entry>, fork: u64, now_ms: u64) -> Verdict<'a> {
    let is_as_it_was = match now {
        Some(now) => now.version <= fork,
        None => !told.was_there,
    };
    let value = match &told.last {
        Last::Dropped => return Verdict::Leave("the node had dropped it itself"),
        Last::Deleted => {
            return match now {
                None => Verdict::Leave("it is not there"),
                Some(now) if is_as_it_was => Verdict::Send(Operation::Delete {
                    key: key.into(),
                    if_version: Some(now.version),
                }),
                Some(_) => Verdict::Leave(CHANGED),
            };
        }
        Last::Value(value) => value,
    };
    if now.is_some_and(|now| is_value(now, value)) {
        return Verdict::Leave("it has that value");
    }
    if value.deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
        return Verdict::Leave("its time is over");
    }
    if !is_as_it_was {
        return Verdict::Leave(CHANGED);
    }
    let (text, encoding) = encode_value(&value.bytes);
    Verdict::Send(Operation::Set {
        key: key.into(),
        value: text,
        encoding,
        ttl: None,
        expires_at_ms: value.deadline_ms,
        if_version: now.map(|now| now.version),
        if_absent: now.is_none(),
    })
}

fn is_value(now: &Entry, value: &Value) -> bool {
    now.expires_at_ms == value.deadline_ms
        && decode_value(now.value.as_str().into(), now.encoding).as_deref() == Some(&*value.bytes)
}

/// Whether the node did it: not where the key was changed in between.
fn send(client: &Client, operation: Operation<'_>) -> Result<bool, client::Error> {
    let batch = Batch {
        operations: vec![operation],
    };
    let body = serde_json::to_vec(&batch).expect("its keys are strings, and its numbers finite");
    match client.apply(&body) {
        Ok(()) => Ok(true),
        Err(client::Error::Refused(problem)) if problem.status == 412 => Ok(false),
        Err(error) => Err(error),
    }
}

/// What somebody answers who is asked about a key.
enum Answer {
    Yes,
    No,
    All,
    Quit,
}

fn ask(key: &str, told: &Told) -> Result<Answer, Error> {
    let what = match &told.last {
        Last::Value(value) => format!("set {key:?} ({} bytes)", value.bytes.len()),
        Last::Deleted | Last::Dropped => format!("delete {key:?}"),
    };
    let broken = |source| Error::Io {
        doing: "cannot ask".to_owned(),
        source,
    };
    loop {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{what}? [y]es, [n]o, [a]ll, [q]uit: ").map_err(broken)?;
        stderr.flush().map_err(broken)?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line).map_err(broken)? == 0 {
            return Ok(Answer::Quit);
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(Answer::Yes),
            "n" | "no" => return Ok(Answer::No),
            "a" | "all" => return Ok(Answer::All),
            "q" | "quit" => return Ok(Answer::Quit),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORK: u64 = 1000;

    fn told(was_there: bool, last: Last) -> Told {
        Told {
            was_there,
            last,
            offset: 1100,
        }
    }

    fn value(text: &str, deadline_ms: Option<u64>) -> Last {
        Last::Value(Value {
            bytes: text.into(),
            deadline_ms,
        })
    }

    fn now(version: u64, value: &str) -> Entry {
        Entry {
            key: "k".to_owned(),
            value: value.to_owned(),
            encoding: None,
            version,
            expires_at: None,
            expires_at_ms: None,
            ttl: None,
        }
    }

    /// What is sent, or why nothing is.
    fn said(told: &Told, now: Option<&Entry>) -> String {
        match verdict("k", told, now, FORK, 5000) {
            Verdict::Send(operation) => serde_json::to_string(&operation).unwrap(),
            Verdict::Leave(why) => why.to_owned(),
        }
    }

    #[test]
    fn a_key_is_sent_where_it_is_as_it_was_when_the_histories_parted() {
        let update = told(true, value("mine", None));
        assert_eq!(
            said(&update, Some(&now(900, "old"))),
            r#"{"op":"set","key":"k","value":"mine","if_version":900}"#
        );
        assert_eq!(said(&update, Some(&now(1 << 40, "theirs"))), CHANGED);
        assert_eq!(said(&update, Some(&now(1 << 40, "mine"))), "it has that value");
        assert_eq!(
            said(&update, None),
            CHANGED,
            "it was there, and somebody deleted it"
        );

        let add = told(false, value("mine", None));
        assert_eq!(
            said(&add, None),
            r#"{"op":"set","key":"k","value":"mine","if_absent":true}"#
        );
        assert_eq!(said(&add, Some(&now(1 << 40, "theirs"))), CHANGED);

        let delete = told(true, Last::Deleted);
        assert_eq!(
            said(&delete, Some(&now(900, "old"))),
            r#"{"op":"delete","key":"k","if_version":900}"#
        );
        assert_eq!(said(&delete, Some(&now(1 << 40, "theirs"))), CHANGED);
        assert_eq!(said(&delete, None), "it is not there");
    }

    #[test]
    fn what_is_over_or_was_dropped_is_not_sent() {
        assert_eq!(
            said(&told(false, value("v", Some(5000))), None),
            "its time is over"
        );
        assert!(said(&told(false, value("v", Some(5001))), None).contains("\"expires_at_ms\":5001"));
        assert_eq!(
            said(&told(true, Last::Dropped), Some(&now(900, "old"))),
            "the node had dropped it itself"
        );
    }
}
