//! Lists: the keys of all masters, one after the other, and where the next page continues.
//!
//! A master is walked with `SCAN`, which gives each key that is there throughout at least once. Slots may move to other
//! masters meanwhile, and masters may fail over. So a listing knows which slots it has *covered*:
//! - A slot is covered once the walk of a master has ended that had the slot when it began and when it ended.
//! - A slot that moves away is walked at its source first, and then at its target: keys move in this direction alone.
//! - A master that was replaced or started anew has another order of keys: its walk begins anew.
//!
//! Keys of covered slots are left out, so a key is rarely given twice. A key that stays throughout is given at least
//! once. A slot that leaves a master and comes back to it between two looks at the cluster is the one exception.
//!
//! The cursor holds all of this, and no gateway anything: another gateway continues just as well.

use super::cursor::{Cursor, Walk};
use super::error::EngineError;
use super::gateway::Gateway;
use super::layout;
use super::scanned::{pattern_of, scanned};
use super::slots::{SlotSet, slot_of};
use crate::key::Key;
use crate::node::{Ahead, Found, Listed};
use crate::pair::Pair;
use redis::{Cmd, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// Keys that a step of a walk asks for, and what that grows to where few of them are like the prefix.
const STEP_KEYS: usize = 64;
const STEP_KEYS_MAX: usize = 4096;

/// Values up to this size are read together with others: as many as a step asks for.
const SMALL_BYTES: usize = 4096;

/// Keys that a page may leave for its cursor, in bytes.
const LEFT_BYTES_MAX: usize = 2048;

/// A value as far as it was read.
pub(super) enum Sized {
    Absent,
    Small(Vec<u8>),
    /// It is longer than was to be read, and has so many bytes.
    Large(usize),
}

/// A key that was found, and its value where that was read.
struct FoundKey {
    key: String,
    kept: Option<Vec<u8>>,
    /// How large its value is, where it was too large to be read with others.
    large_bytes: usize,
}

/// Walks over the entries whose keys start alike, in no order that means anything.
pub(crate) struct Lister<'a> {
    gateway: &'a Gateway,
    prefix: String,
    within: Option<Arc<[Box<str>]>>,
    with_values: bool,
    cursor: Cursor,
    /// Where its server is, once it is known in this page that it is the same as before.
    address: Option<String>,
    step_keys: usize,
    found: VecDeque<FoundKey>,
    /// The one that was given last.
    current: Option<FoundKey>,
    current_pair: Option<Pair>,
}

impl Gateway {
    /// Begins a listing of what starts with `prefix`, and with one of `within` too where those are given. None where
    /// the cursor is of another question.
    pub(crate) fn lister(
        &self,
        prefix: &str,
        pattern: &str,
        within: Option<Arc<[Box<str>]>>,
        cursor: Option<Cursor>,
        with_values: bool,
    ) -> Option<Lister<'_>> {
        // No text has this byte.
        let question = [prefix.as_bytes(), b"\xff", pattern.as_bytes()].concat();
        let question = crc32fast::hash(&question);
        let mut cursor = match cursor {
            Some(cursor) if cursor.question != question => return None,
            Some(cursor) => cursor,
            None => Cursor {
                question,
                ..Cursor::default()
            },
        };
        let left = std::mem::take(&mut cursor.left);
        let mut lister = Lister {
            gateway: self,
            prefix: prefix.to_owned(),
            within,
            with_values,
            cursor,
            address: None,
            step_keys: STEP_KEYS,
            found: VecDeque::new(),
            current: None,
            current_pair: None,
        };
        lister.found.extend(left.into_iter().map(FoundKey::new));
        Some(lister)
    }
}

impl FoundKey {
    fn new(key: String) -> FoundKey {
        FoundKey {
            key,
            kept: None,
            large_bytes: 0,
        }
    }
}

impl Lister<'_> {
    /// Looks for the next entry. Of large values it takes one at a time, of at most `large_bytes_max` with its key.
    pub(crate) fn look(&mut self, large_bytes_max: usize) -> Result<Ahead, EngineError> {
        while let Some(next) = self.found.front_mut() {
            if !self.with_values || next.kept.is_some() {
                return Ok(Ahead::Entry);
            }
            if next.large_bytes == 0 {
                self.read_values()?;
                continue;
            }
            if next.large_bytes > large_bytes_max {
                return Ok(Ahead::Large(next.large_bytes));
            }
            match self.gateway.kept_of(&next.key)? {
                Some(kept) => next.kept = Some(kept),
                None => drop(self.found.pop_front()),
            }
        }
        self.step()
    }

    /// The entry that [`Lister::look`] has found.
    pub(crate) fn next(&mut self) -> Option<Listed<'_>> {
        self.current = self.found.pop_front();
        self.current_pair = None;
        let FoundKey {
            key,
            kept,
            large_bytes,
        } = self.current.as_ref()?;
        let nothing = Found {
            version: 0,
            deadline_ms: None,
        };
        let (found, value) = kept.as_deref().and_then(layout::decode).unwrap_or((nothing, &[]));
        if *large_bytes > 0 && kept.is_some() {
            self.current_pair = Some(Pair::new(key.as_bytes(), value));
        }
        Some(Listed {
            key: key.as_bytes(),
            value,
            value_bytes: value.len(),
            found,
            shared: self.current_pair.clone(),
        })
    }

    /// Whether the page may end here: what it leaves has room in a cursor.
    pub(crate) fn may_pause(&self) -> bool {
        let left: usize = self.found.iter().map(|found| found.key.len()).sum();
        left <= LEFT_BYTES_MAX
    }

    /// Where another listing continues with what this one has not given.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            left: self.found.iter().map(|found| found.key.clone()).collect(),
            ..self.cursor.clone()
        }
    }

    /// Frees what it has given.
    pub(crate) fn give_back(&mut self) {
        self.current = None;
        self.current_pair = None;
    }

    /// The keys that were found and not given, for those that need no values.
    pub(super) fn take_found(&mut self) -> Vec<String> {
        self.found.drain(..).map(|found| found.key).collect()
    }

    /// Reads values of keys that were found: the small ones at once, of the large ones how large they are.
    fn read_values(&mut self) -> Result<(), EngineError> {
        let unread = self
            .found
            .iter()
            .position(|found| found.kept.is_none() && found.large_bytes == 0);
        let from = unread.unwrap_or(self.found.len());
        let keys = self.found.iter().skip(from).take(STEP_KEYS);
        let keys: Vec<String> = keys.map(|found| found.key.clone()).collect();
        let later = self.found.split_off((from + keys.len()).min(self.found.len()));
        self.found.truncate(from);
        let sized = self.gateway.small_or_size(&keys, SMALL_BYTES)?;
        for (key, sized) in keys.into_iter().zip(sized) {
            let found = FoundKey::new(key);
            match sized {
                Sized::Small(kept) if layout::decode(&kept).is_some() => self.found.push_back(FoundKey {
                    kept: Some(kept),
                    ..found
                }),
                Sized::Large(large_bytes) => self.found.push_back(FoundKey { large_bytes, ..found }),
                // It was deleted, or is not of pykv: a list of entries has neither.
                Sized::Small(_) | Sized::Absent => {}
            }
        }
        self.found.extend(later);
        Ok(())
    }

    /// One step of the walk: a few keys of one master, or the next master.
    fn step(&mut self) -> Result<Ahead, EngineError> {
        let Some(walk) = self.cursor.walk.clone() else {
            return self.begin_walk();
        };
        let Some(address) = self.address.clone() else {
            return self.resume_walk(&walk);
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(walk.at)
            .arg("COUNT")
            .arg(self.step_keys)
            .arg("TYPE")
            .arg("string");
        if !self.prefix.is_empty() {
            scan.arg("MATCH").arg(pattern_of(&self.prefix));
        }
        let Ok((next, keys)) = self.ask(&address, scan).and_then(|answer| scanned(&answer)) else {
            self.address = None;
            return Ok(Ahead::Nothing);
        };
        let is_wanted = |key: &str| {
            let slot = slot_of(key.as_bytes());
            let is_open = self.within.as_ref().is_none_or(|within| {
                within
                    .iter()
                    .any(|one| key.as_bytes().starts_with(one.as_bytes()))
            });
            let is_key = Key::new(key).is_ok();
            is_key && key.starts_with(&self.prefix) && is_open && !self.cursor.covered.contains(slot)
        };
        let before = self.found.len();
        // What is no UTF-8 is no key of pykv.
        let keys = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        let wanted: Vec<_> = keys.filter(|key| is_wanted(key)).map(FoundKey::new).collect();
        self.found.extend(wanted);
        self.step_keys = match self.found.len() - before {
            0 => (self.step_keys * 2).min(STEP_KEYS_MAX),
            found if found > STEP_KEYS => STEP_KEYS,
            _ => self.step_keys,
        };
        match next {
            0 => self.end_walk(walk, &address)?,
            at => self.cursor.walk = Some(Walk { at, ..walk }),
        }
        Ok(match self.found.is_empty() {
            true => Ahead::Nothing,
            false if self.with_values => Ahead::Nothing,
            false => Ahead::Entry,
        })
    }

    /// Takes the next master, or says that there is none left.
    fn begin_walk(&mut self) -> Result<Ahead, EngineError> {
        let servers = self.gateway.servers()?;
        // A target that is gone leaves its slots with their source.
        self.cursor
            .halves
            .retain(|(_, target)| servers.iter().any(|one| one.id == *target && one.is_master));
        let next = match self.cursor.halves.first() {
            Some((_, target)) => servers.iter().find(|one| one.id == *target),
            None => servers
                .iter()
                .filter(|one| one.is_master && !one.has_failed)
                .find(|one| {
                    let mut owed = one.slots.clone();
                    owed.remove(&self.cursor.covered);
                    !owed.is_empty()
                }),
        };
        let Some(next) = next else {
            let missing = SlotSet::all().len() - self.cursor.covered.len();
            return match missing {
                0 => Ok(Ahead::End),
                missing => Err(EngineError::Unavailable(format!(
                    "no server has {missing} of its slots"
                ))),
            };
        };
        let (myself, run) = self.gateway.look_at(&next.address)?;
        self.address = Some(next.address.clone());
        self.cursor.walk = Some(Walk {
            server: next.id.clone(),
            run,
            at: 0,
            moving: myself.moving(),
            slots: myself.slots,
        });
        Ok(Ahead::Nothing)
    }

    /// Continues a walk of the page before, where its server is still the same.
    fn resume_walk(&mut self, walk: &Walk) -> Result<Ahead, EngineError> {
        let servers = self.gateway.servers()?;
        let same = servers
            .iter()
            .find(|one| one.id == walk.server && one.is_master && !one.has_failed);
        let same = same.and_then(|same| {
            let (_, run) = self.gateway.look_at(&same.address).ok()?;
            (run == walk.run).then(|| same.address.clone())
        });
        match same {
            Some(address) => self.address = Some(address),
            None => {
                self.cursor.walk = None;
                // Its slots are owed still: whoever has them now is walked.
                self.gateway.look_anew();
            }
        }
        Ok(Ahead::Nothing)
    }

    /// Notes what the walk of a master has covered.
    fn end_walk(&mut self, walk: Walk, address: &str) -> Result<(), EngineError> {
        self.cursor.walk = None;
        self.address = None;
        let (myself, run) = self.gateway.look_at(address)?;
        // Slots that are not covered are owed still: whoever has them now is walked.
        if run != walk.run {
            return Ok(());
        }
        let mut stayed = walk.slots;
        stayed.keep(&myself.slots);
        let mut moves = myself.moving();
        moves.add(&walk.moving);
        let mut covered = stayed.clone();
        covered.remove(&moves);
        for (slot, target) in myself.migrating {
            if stayed.contains(slot) && target != walk.server {
                self.cursor.halves.push((slot, target));
            }
        }
        self.cursor.halves.retain(|(slot, target)| {
            let is_whole = *target == walk.server;
            if is_whole {
                covered.insert(*slot);
            }
            !is_whole
        });
        self.cursor.covered.add(&covered);
        Ok(())
    }

    fn ask(&self, address: &str, command: Cmd) -> Result<Value, EngineError> {
        self.gateway.ask_one(address, command)
    }
}
