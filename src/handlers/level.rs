//! Listings in the order of names, `GET /kv/?order=name`, and with `delimiter=` one level of a tree: the keys that have
//! none of it behind the prefix, and of the others what they share up to it, with their number.
//!
//! The walk of a listing has no order that can be counted on. So each page looks at all entries with the prefix, a few
//! hundred in one hold of the lock as every listing does, and keeps the first `limit` names after `after`: folders first,
//! then keys. It counts all keys meanwhile.
//!
//! # What must hold
//! - A page holds at most `limit` names, however many keys there are. The memory is charged before.
//! - A folder on a page has the number of all its keys: one that was dropped for a smaller name never comes back, because
//!   the largest name that is kept only goes down.

use super::connection_handle::Aborted;
use super::out::Out;
use super::sink::{SINK_BYTES, Sink};
use super::stream::{Answer, LateResponse, Stream};
use crate::api;
use crate::http::problem::{self, Problem};
use crate::http::response::{Body, Media, Reply, push_json};
use crate::node::{Ahead, Found, LISTER_BYTES, Question};
use crate::pair::KEY_BYTES_MAX;
use crate::session::{Lister, Session};
use std::collections::BTreeMap;
use std::io;
use tiny_http::StatusCode;

/// What a name takes beside its own bytes, those of the answer included.
const NAME_OVERHEAD_BYTES: usize = 256;

/// Walks of a few hundred slots each, after which it is looked whether the client is still there.
const GONE_EVERY_LOOKS: u64 = 256;

/// Whether an `order` asks for that of names.
pub(super) fn is_by_name(order: Option<&str>) -> Result<bool, Problem> {
    match order {
        None => Ok(false),
        Some("name") => Ok(true),
        Some(_) => Err(Problem::new(problem::BAD_QUERY, "must be `name`").field("order")),
    }
}

/// A key as a listing shows it without its value.
pub(super) fn item(key: &str, value_bytes: usize, found: Found) -> api::Item {
    api::Item {
        key: key.to_owned(),
        version: found.version,
        value_bytes: value_bytes as u64,
        expires_at_ms: found.deadline_ms,
    }
}

pub(super) fn list<'a>(
    session: Session<'a>,
    prefix: String,
    delimiter: Option<String>,
    after: Option<String>,
    limit: usize,
) -> Result<Answer<'a>, Problem> {
    let delimiter = delimiter.filter(|text| !text.is_empty());
    Ok(Answer::Later(Box::new(move |_| {
        let question = Question {
            prefix: &prefix,
            pattern: "",
            pattern_head: "",
            within: None,
        };
        let lister = session
            .lister(question, None, false)
            .map_err(Problem::of_denied)?;
        // Without a cursor there is none to refuse.
        let Ok(lister) = lister else {
            return Err(Problem::new(problem::BAD_QUERY, "invalid cursor"));
        };
        let names = Names {
            prefix_bytes: prefix.len(),
            delimiter,
            after,
            limit,
            kept: BTreeMap::new(),
            has_more: false,
            keys_total: 0,
        };
        Ok(LateResponse::Stream(Stream {
            head: Reply::new(StatusCode(200), Body::Streamed(Media::Json)),
            holds: SINK_BYTES + LISTER_BYTES + limit * (2 * KEY_BYTES_MAX + NAME_OVERHEAD_BYTES),
            is_endless: false,
            body: Box::new(move |sink| send(sink, lister, names)),
        }))
    })))
}

fn send(sink: &mut Sink<'_, '_>, mut lister: Lister<'_>, mut names: Names) -> Result<(), Aborted> {
    let mut looks: u64 = 0;
    loop {
        let ahead = lister.look(0);
        match ahead.map_err(|error| Aborted::Unacknowledged(Problem::of_engine(error)))? {
            Ahead::End => break,
            Ahead::Nothing => {}
            Ahead::Entry | Ahead::Large(_) => {
                while let Some(listed) = lister.next() {
                    // What a node took for a key is UTF-8.
                    if let Ok(key) = std::str::from_utf8(listed.key) {
                        names.see(key, listed.value_bytes, listed.found);
                    }
                }
            }
        }
        looks += 1;
        if looks.is_multiple_of(GONE_EVERY_LOOKS) && sink.connection().has_gone() {
            return Err(Aborted::Client(io::ErrorKind::ConnectionAborted.into()));
        }
    }
    lister.give_back();
    push_json(sink.buffer(), &names.into_level());
    Ok(())
}

/// What stands under a name.
enum Kept {
    /// So many keys.
    Folder(u64),
    Item(api::Item),
}

/// The names of a page, while it is made.
struct Names {
    prefix_bytes: usize,
    delimiter: Option<String>,
    after: Option<String>,
    limit: usize,
    /// By whether it is a key, and by name: folders come first.
    kept: BTreeMap<(bool, Box<str>), Kept>,
    /// Whether a name was left out that comes after those that are kept.
    has_more: bool,
    keys_total: u64,
}

impl Names {
    /// Where the folder of a key ends; none where the key is in none.
    fn folder_end(&self, key: &str) -> Option<usize> {
        let delimiter = self.delimiter.as_ref()?;
        let at = key.get(self.prefix_bytes..)?.find(delimiter.as_str())?;
        Some(self.prefix_bytes + at + delimiter.len())
    }

    /// Whether a name lies behind the one that the page before ended with.
    fn is_behind(&self, is_item: bool, name: &str) -> bool {
        self.after
            .as_deref()
            .is_none_or(|after| (is_item, name) > (self.folder_end(after).is_none(), after))
    }

    fn see(&mut self, key: &str, value_bytes: usize, found: Found) {
        self.keys_total += 1;
        let end = self.folder_end(key);
        let name = end.map_or(key, |end| &key[..end]);
        if !self.is_behind(end.is_none(), name) {
            return;
        }
        if self.kept.len() == self.limit
            && let Some((last, _)) = self.kept.last_key_value()
            && (end.is_none(), name) > (last.0, &*last.1)
        {
            self.has_more = true;
            return;
        }
        let at = (end.is_none(), Box::from(name));
        match self.kept.get_mut(&at) {
            Some(Kept::Folder(keys)) => *keys += 1,
            _ => {
                let kept = match end {
                    Some(_) => Kept::Folder(1),
                    None => Kept::Item(item(key, value_bytes, found)),
                };
                self.kept.insert(at, kept);
            }
        }
        if self.kept.len() > self.limit {
            self.kept.pop_last();
            self.has_more = true;
        }
    }

    fn into_level(self) -> api::Level {
        let last = self.kept.last_key_value().map(|((_, name), _)| name.to_string());
        let mut level = api::Level {
            keys_total: self.keys_total,
            next: last.filter(|_| self.has_more),
            ..api::Level::default()
        };
        for ((_, name), kept) in self.kept {
            match kept {
                Kept::Folder(keys) => level.folders.push(api::Folder {
                    prefix: name.into(),
                    keys,
                }),
                Kept::Item(item) => level.items.push(item),
            }
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(delimiter: Option<&str>, after: Option<&str>, limit: usize) -> Names {
        Names {
            prefix_bytes: 0,
            delimiter: delimiter.map(str::to_owned),
            after: after.map(str::to_owned),
            limit,
            kept: BTreeMap::new(),
            has_more: false,
            keys_total: 0,
        }
    }

    const FOUND: Found = Found {
        version: 1,
        deadline_ms: None,
    };

    fn level(mut names: Names, keys: &[&str]) -> (Vec<(String, u64)>, Vec<String>, Option<String>) {
        for key in keys {
            names.see(key, 0, FOUND);
        }
        let level = names.into_level();
        assert_eq!(level.keys_total, keys.len() as u64);
        let folders = level
            .folders
            .into_iter()
            .map(|folder| (folder.prefix, folder.keys));
        let items = level.items.into_iter().map(|item| item.key);
        (folders.collect(), items.collect(), level.next)
    }

    #[test]
    fn folders_are_counted_whole_in_whatever_order_keys_come() {
        let keys = ["z", "b:2", "a:1", "c", "b:1", "a:2", "b:", "a:3:x", "d:1", "a"];
        let folder = |name: &str, keys| (name.to_owned(), keys);
        let (folders, items, next) = level(names(Some(":"), None, 10), &keys);
        assert_eq!(folders, [folder("a:", 3), folder("b:", 3), folder("d:", 1)]);
        assert_eq!(items, ["a", "c", "z"]);
        assert_eq!(next, None);
        // In pages, each continues behind the last name of the one before.
        let (folders, items, next) = level(names(Some(":"), None, 2), &keys);
        assert_eq!((folders, items), (vec![folder("a:", 3), folder("b:", 3)], vec![]));
        assert_eq!(next.as_deref(), Some("b:"));
        let (folders, items, next) = level(names(Some(":"), next.as_deref(), 3), &keys);
        assert_eq!(
            (folders, items),
            (vec![folder("d:", 1)], vec!["a".to_owned(), "c".to_owned()])
        );
        assert_eq!(next.as_deref(), Some("c"));
        let (folders, items, next) = level(names(Some(":"), next.as_deref(), 3), &keys);
        assert_eq!((folders, items, next), (vec![], vec!["z".to_owned()], None));
    }

    #[test]
    fn without_a_delimiter_all_keys_come_in_order() {
        let keys = ["b:1", "a", "c", "b"];
        let (folders, items, next) = level(names(None, None, 3), &keys);
        assert_eq!(folders, []);
        assert_eq!(items, ["a", "b", "b:1"]);
        let (_, items, next) = level(names(None, next.as_deref(), 3), &keys);
        assert_eq!((items, next), (vec!["c".to_owned()], None));
    }
}
