//! Listings in the order of names, `GET /kv/?order=name`, and with `delimiter=` one level of a tree: the keys that have
//! none of it behind the prefix, and of the others what they share up to it, with their number.
//!
//! A page has folders first, then keys. Where the store has its keys in order ([`Ordered`]), a page passes over each
//! folder, which it counts without a look at its entries, and over all that the pages before have shown. A store that
//! is small, or has its order still to make, is walked in no order: then each page looks at all entries with the
//! prefix, a few hundred in one hold of the lock as every listing does, keeps the first `limit` names after `after`,
//! and counts all keys meanwhile.
//!
//! # What must hold
//! - Both ways come to the same page.
//! - A page holds at most `limit` names, however many keys there are. The memory is charged before.
//! - A folder on a page has the number of all its keys: one that was dropped for a smaller name never comes back, because
//!   the largest name that is kept only goes down.

use super::connection_handle::{Aborted, ConnectionHandle};
use super::out::Out;
use super::sink::{SINK_BYTES, Sink};
use super::stream::{Answer, LateResponse, Stream};
use crate::api;
use crate::http::problem::{self, Problem};
use crate::http::response::{Body, Media, Reply, push_json};
use crate::node::{self, Ahead, Found, LISTER_BYTES, Listed, Question};
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
            is_by_name: true,
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
            body: Box::new(move |sink| send(sink, &prefix, lister, names)),
        }))
    })))
}

fn send(
    sink: &mut Sink<'_, '_>,
    prefix: &str,
    mut lister: Lister<'_>,
    mut names: Names,
) -> Result<(), Aborted> {
    let in_order = lister.in_order().map(|lister| {
        let mut walk = InOrder {
            lister,
            connection: sink.connection(),
            looks: 0,
        };
        names.fill(prefix, &mut walk)
    });
    match in_order {
        Some(Ok(())) => {}
        Some(Err(Stop::Gone)) => return Err(gone()),
        Some(Err(Stop::NoOrder)) => {
            lister.begin_again();
            names.forget();
            look_at_all(sink, &mut lister, &mut names)?;
        }
        None => look_at_all(sink, &mut lister, &mut names)?,
    }
    lister.give_back();
    push_json(sink.buffer(), &names.into_level());
    Ok(())
}

fn gone() -> Aborted {
    Aborted::Client(io::ErrorKind::ConnectionAborted.into())
}

/// Looks at all entries, in whatever order they come.
fn look_at_all(sink: &Sink<'_, '_>, lister: &mut Lister<'_>, names: &mut Names) -> Result<(), Aborted> {
    let mut looks: u64 = 0;
    loop {
        let ahead = lister.look(0);
        match ahead.map_err(|error| Aborted::Unacknowledged(Problem::of_engine(error)))? {
            Ahead::End => return Ok(()),
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
            return Err(gone());
        }
    }
}

/// Entries in the order of their keys, of which some can be passed over.
trait Ordered {
    /// Why it does not go on.
    type Stop;

    /// Goes on at the first key that is not below `key`.
    fn seek(&mut self, key: &str);

    /// The next entry; none at the end.
    fn next(&mut self) -> Result<Option<Listed<'_>>, Self::Stop>;

    /// Passes over all that is ahead and begins so. Returns how many keys that were.
    fn pass(&mut self, beginning: &str) -> Result<u64, Self::Stop>;
}

/// The entries of a node.
struct InOrder<'l, 'a, 'c> {
    lister: &'l mut node::Lister<'a>,
    connection: ConnectionHandle<'c>,
    looks: u64,
}

/// Why a walk in order does not go on.
enum Stop {
    /// The client is not there any more.
    Gone,
    /// The store was replaced by one that has no order yet.
    NoOrder,
}

impl Ordered for InOrder<'_, '_, '_> {
    type Stop = Stop;

    fn seek(&mut self, key: &str) {
        self.lister.seek(key.as_bytes());
    }

    fn next(&mut self) -> Result<Option<Listed<'_>>, Stop> {
        loop {
            self.looks += 1;
            if self.looks.is_multiple_of(GONE_EVERY_LOOKS * 64) && self.connection.has_gone() {
                return Err(Stop::Gone);
            }
            match self.lister.look(0) {
                Ahead::End => return Ok(None),
                Ahead::Nothing => {}
                Ahead::Entry | Ahead::Large(_) => break,
            }
        }
        if !self.lister.can_pass() {
            return Err(Stop::NoOrder);
        }
        Ok(self.lister.next())
    }

    fn pass(&mut self, beginning: &str) -> Result<u64, Stop> {
        self.lister.pass(beginning.as_bytes()).ok_or(Stop::NoOrder)
    }
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

    /// Begins anew.
    fn forget(&mut self) {
        self.kept.clear();
        (self.has_more, self.keys_total) = (false, 0);
    }

    /// Makes the page of entries in order.
    fn fill<O: Ordered>(&mut self, prefix: &str, entries: &mut O) -> Result<(), O::Stop> {
        entries.seek(prefix);
        self.keys_total = entries.pass(prefix)?;
        let after = self.after.clone().unwrap_or_default();
        let from = prefix.max(&after);
        // Folders come first: behind a key there are none.
        let is_in_keys = self.after.is_some() && self.folder_end(&after).is_none();
        let mut has_keys = true;
        if self.delimiter.is_some() && !is_in_keys {
            entries.seek(from);
            let is_all = self.after.is_none();
            has_keys = self.fill_folders(entries)? || !is_all;
        }
        if has_keys && !self.has_more {
            entries.seek(if is_in_keys { from } else { prefix });
            self.fill_keys(entries)?;
        }
        Ok(())
    }

    /// Returns whether there were keys beside the folders.
    fn fill_folders<O: Ordered>(&mut self, entries: &mut O) -> Result<bool, O::Stop> {
        let mut has_keys = false;
        while let Some(listed) = entries.next()? {
            // What a node took for a key is UTF-8.
            let Ok(key) = std::str::from_utf8(listed.key) else {
                continue;
            };
            let Some(end) = self.folder_end(key) else {
                has_keys = true;
                continue;
            };
            let name: Box<str> = key[..end].into();
            if self.kept.len() == self.limit && self.is_behind(false, &name) {
                self.has_more = true;
                break;
            }
            let keys = 1 + entries.pass(&name)?;
            if self.is_behind(false, &name) {
                self.kept.insert((false, name), Kept::Folder(keys));
            }
        }
        Ok(has_keys)
    }

    fn fill_keys<O: Ordered>(&mut self, entries: &mut O) -> Result<(), O::Stop> {
        while let Some(listed) = entries.next()? {
            let Ok(key) = std::str::from_utf8(listed.key) else {
                continue;
            };
            if let Some(end) = self.folder_end(key) {
                let name: Box<str> = key[..end].into();
                entries.pass(&name)?;
            } else if self.is_behind(true, key) {
                if self.kept.len() == self.limit {
                    self.has_more = true;
                    break;
                }
                let kept = Kept::Item(item(key, listed.value_bytes, listed.found));
                self.kept.insert((true, key.into()), kept);
            }
        }
        Ok(())
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
    use proptest::prelude::*;

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

    /// Keys in order.
    struct Sorted {
        keys: Vec<String>,
        at: usize,
    }

    impl Ordered for Sorted {
        type Stop = std::convert::Infallible;

        fn seek(&mut self, key: &str) {
            self.at = self.keys.partition_point(|other| &**other < key);
        }

        fn next(&mut self) -> Result<Option<Listed<'_>>, Self::Stop> {
            let key = self.keys.get(self.at);
            self.at += usize::from(key.is_some());
            Ok(key.map(|key| Listed {
                key: key.as_bytes(),
                value: b"",
                value_bytes: 0,
                found: FOUND,
                shared: None,
            }))
        }

        fn pass(&mut self, beginning: &str) -> Result<u64, Self::Stop> {
            let passed = self.keys[self.at..]
                .iter()
                .take_while(|key| key.starts_with(beginning))
                .count();
            self.at += passed;
            Ok(passed as u64)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// What is made of entries in order, passing over folders, is what comes of a look at each.
        #[test]
        fn a_page_in_order_is_that_of_all_entries(
            keys in proptest::collection::btree_set("p[:a]{0,5}|[a-z]", 0..60),
            prefix in "p[:a]{0,2}",
            delimiter in proptest::option::of("::?|a:"),
            after in proptest::option::of("p?[:a]{0,4}"),
            limit in 1..8usize,
        ) {
            let page = || Names {
                prefix_bytes: prefix.len(),
                ..names(delimiter.as_deref(), after.as_deref(), limit)
            };
            let mut all = page();
            let wanted: Vec<String> = keys.iter().filter(|key| key.starts_with(&prefix)).cloned().collect();
            wanted.iter().for_each(|key| all.see(key, 0, FOUND));
            let mut in_order = page();
            let Ok(()) = in_order.fill(&prefix, &mut Sorted { keys: wanted, at: 0 });
            prop_assert_eq!(in_order.into_level(), all.into_level());
        }
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
