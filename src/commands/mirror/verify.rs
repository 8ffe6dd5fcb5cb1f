//! Compares both sides key by key, without holding them: of each entry of the one side 16 bytes are kept.
//!
//! Both sides may change meanwhile. So what seems to differ is read from both again, and counts only if it differs then.

use super::super::{Error, print_text};
use super::count;
use crate::api::{Encoding, Entry, LIST_LIMIT_MAX};
use crate::client::{self, Client};
use std::collections::HashMap;
use twox_hash::XxHash3_64;

/// Keys that are named.
const NAMED_MAX: usize = 20;

/// Keys that are looked at a second time. Where there are more, the sides are different beyond doubt.
const AGAIN_MAX: usize = 10_000;

/// How often a key that differs is read again: it may be written just now.
const READS_MAX: usize = 3;

pub(super) fn run(from: &Client, to: &Client, prefix: &str) -> Result<(), Error> {
    let mut digests: HashMap<u64, u64> = HashMap::new();
    each(from, prefix, "cannot list the keys of --from", |entry| {
        digests.insert(hash(entry.key.as_bytes()), digest(entry));
    })?;
    let keys = digests.len();
    let mut doubtful = Vec::new();
    each(to, prefix, "cannot list the keys of --to", |entry| {
        let is_same = digests.remove(&hash(entry.key.as_bytes())) == Some(digest(entry));
        if !is_same && doubtful.len() < AGAIN_MAX {
            doubtful.push(entry.key.clone());
        }
    })?;
    // What is left is not there, or was listed before it was.
    if !digests.is_empty() {
        each(from, prefix, "cannot list the keys of --from", |entry| {
            if digests.contains_key(&hash(entry.key.as_bytes())) && doubtful.len() < AGAIN_MAX {
                doubtful.push(entry.key.clone());
            }
        })?;
    }
    let mut different = Vec::new();
    for key in doubtful {
        if let Some(how) = compare(from, to, &key)? {
            different.push(format!("{how}: {key:?}"));
        }
    }
    for line in different.iter().take(NAMED_MAX) {
        print_text(&format!("{line}\n"))?;
    }
    match different.len() {
        0 => print_text(&format!("equal: {}\n", count(keys as u64, "key"))),
        number => Err(Error::Exists(format!(
            "the two sides differ in {}",
            count(number as u64, "key")
        ))),
    }
}

fn each(client: &Client, prefix: &str, doing: &str, mut take: impl FnMut(&Entry)) -> Result<(), Error> {
    let mut cursor: Option<String> = None;
    loop {
        let page = client
            .list_entries(prefix, None, cursor.as_deref(), LIST_LIMIT_MAX)
            .map_err(Error::client(doing))?;
        page.entries.iter().for_each(&mut take);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// How a key differs, where it does.
fn compare(from: &Client, to: &Client, key: &str) -> Result<Option<&'static str>, Error> {
    let mut how = None;
    for _ in 0..READS_MAX {
        how = match (read(from, key)?, read(to, key)?) {
            (Some(one), Some(other)) if digest(&one) == digest(&other) => return Ok(None),
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => Some("different"),
            (Some(_), None) => Some("only in --from"),
            (None, Some(_)) => Some("only in --to"),
        };
    }
    Ok(how)
}

fn read(client: &Client, key: &str) -> Result<Option<Entry>, Error> {
    match client.entry(key) {
        Ok(entry) => Ok(Some(entry)),
        Err(client::Error::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(Error::client(format!("cannot read {key:?}"))(error)),
    }
}

/// Of what both sides are to have alike: the value and the deadline, and not the version.
fn digest(entry: &Entry) -> u64 {
    let is_base64 = entry.encoding == Some(Encoding::Base64);
    let deadline_ms = entry.expires_at_ms.unwrap_or(0);
    hash(format!("{is_base64} {deadline_ms} {}", entry.value).as_bytes())
}

fn hash(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}
