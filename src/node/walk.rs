//! A walk over the keys that begin alike, a few of them in each hold of the store's lock.
//!
//! Where the store has its keys in order, a walk finds those that it looks for. Else it looks at all slots, and has the
//! order made for those that come after it ([`super::order`]). A small store needs none.
//!
//! # What must hold
//! - A walk meets each entry that stays throughout exactly once, wherever it is continued. By slots it does, as an
//!   entry keeps its slot; in order, as it only goes on.
//! - A walk that goes in order and finds no order any more (the store was replaced) continues by slots, with those keys
//!   alone that it has not come to.

use super::Node;
use crate::pair::KEY_BYTES_MAX;
use crate::store::{Counted, Entry, LruMap, Slot};
use std::sync::Arc;

/// Slots, or entries in order, that a walk looks at in one hold of the lock: some 20 µs where none is in a cache.
pub(super) const WALK_SLOTS: usize = 256;

/// What a [`Walk`] holds at most, in bytes.
pub(super) const WALK_BYTES: usize = 3 * KEY_BYTES_MAX;

/// Entries of a step after one that passed over others: it may well pass over the next ones too.
const ENTRIES_MIN: usize = 16;

/// Slots from which on a look at all of them takes longer than a client would like: half a millisecond.
const ORDERED_SLOTS_MIN: usize = 1 << 15;

/// Where a walk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The slot where it continues; none where it goes in order.
    pub(super) slot: Option<Slot>,
    /// Keys below were given.
    pub(super) key: Vec<u8>,
}

/// The keys that a walk is to meet: those that begin with one of some texts.
#[derive(Clone, Debug)]
pub(super) enum Beginnings {
    /// One text, which is empty where all keys are meant.
    One(Box<[u8]>),
    /// Several.
    Many(Arc<[Box<str>]>),
}

impl Beginnings {
    fn open(&self, key: &[u8]) -> bool {
        match self {
            Beginnings::One(one) => key.starts_with(one),
            Beginnings::Many(many) => many.iter().any(|one| key.starts_with(one.as_bytes())),
        }
    }

    /// The lowest beginning of keys that are not below `key`: the range of the order to look at next.
    fn next(&self, key: &[u8]) -> Option<&[u8]> {
        let is_left = |one: &&[u8]| *one >= key || key.starts_with(one);
        match self {
            Beginnings::One(one) => Some(&**one).filter(is_left),
            Beginnings::Many(many) => many.iter().map(|one| one.as_bytes()).filter(is_left).min(),
        }
    }

    /// Whether these are so many keys that their order is of no use.
    fn are_all(&self) -> bool {
        matches!(self, Beginnings::One(one) if one.is_empty())
    }
}

/// A walk; [`Walk::step`] is one hold of the lock.
pub(super) struct Walk {
    beginnings: Beginnings,
    place: Place,
    has_ended: bool,
    /// Room for two keys, so that nothing is allocated under the lock.
    next: Vec<u8>,
    end: Vec<u8>,
    /// Entries of the next step, where it goes in order.
    entries: usize,
}

impl Walk {
    /// Begins a walk over the keys with these beginnings, or continues one of them. `is_by_name`: whether the order is of
    /// use for all keys too.
    pub(super) fn new(node: &Node, beginnings: Beginnings, place: Option<Place>, is_by_name: bool) -> Walk {
        let mut place = place.unwrap_or_else(|| Place {
            slot: (!node.has_order_for(&beginnings, is_by_name)).then_some(0),
            key: Vec::new(),
        });
        place.key.reserve(KEY_BYTES_MAX);
        Walk {
            beginnings,
            place,
            has_ended: false,
            next: Vec::with_capacity(KEY_BYTES_MAX),
            end: Vec::with_capacity(KEY_BYTES_MAX),
            entries: WALK_SLOTS,
        }
    }

    /// Whether it goes in order through all that begins with one text, so that some of it can be passed over.
    pub(super) fn can_pass(&self) -> bool {
        self.place.slot.is_none() && matches!(self.beginnings, Beginnings::One(_))
    }

    /// Goes on at the first key that is not below `key`, in order.
    pub(super) fn seek(&mut self, key: &[u8]) {
        self.place.key.clear();
        self.place.key.extend_from_slice(key);
        self.has_ended = false;
    }

    /// Begins again, by slots.
    pub(super) fn begin_by_slots(&mut self) {
        self.place.slot = Some(0);
        self.place.key.clear();
        self.has_ended = false;
    }

    /// Passes over what begins with `beginning`, or over some of it: one hold of the lock. Says how many keys that were, and
    /// whether there are more. None where it cannot.
    pub(super) fn pass(&mut self, map: &mut LruMap, beginning: &[u8]) -> Option<Counted> {
        if !self.can_pass() {
            return None;
        }
        let key = &mut self.place.key;
        if &key[..] < beginning {
            key.clear();
            key.extend_from_slice(beginning);
        }
        self.entries = ENTRIES_MIN;
        let is_bounded = put_end(beginning, &mut self.end);
        let counted = map.count_range(key, is_bounded.then_some(&self.end[..]), &mut self.next)?;
        if counted.has_more {
            std::mem::swap(key, &mut self.next);
        } else if is_bounded {
            std::mem::swap(key, &mut self.end);
            self.has_ended = self.beginnings.next(key).is_none();
        } else {
            self.has_ended = true;
        }
        Some(counted)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Where another walk continues what this one has not met; none at the end.
    pub(super) fn place(&self) -> Option<Place> {
        (!self.has_ended).then(|| self.place.clone())
    }

    /// Where another walk begins with an entry that the last step has met.
    pub(super) fn place_of(&self, slot: Slot, key: &[u8]) -> Place {
        match self.place.slot {
            Some(_) => Place {
                slot: Some(slot),
                key: self.place.key.clone(),
            },
            None => Place {
                slot: None,
                key: key.to_vec(),
            },
        }
    }

    /// Looks at a few slots, or at a few entries in order, and gives those that are met. Where `each` says `false`, the
    /// next step begins with that very entry.
    pub(super) fn step(&mut self, map: &mut LruMap, mut each: impl FnMut(Slot, &Entry) -> bool) {
        let place = &mut self.place;
        if place.slot.is_none() && !map.is_ordered() {
            place.slot = Some(0);
        }
        let more = match &mut place.slot {
            Some(slot) => {
                let next = map.walk(*slot, WALK_SLOTS, |slot, entry| {
                    let is_met = self.beginnings.open(entry.key()) && entry.key() >= &place.key[..];
                    !is_met || each(slot, entry)
                });
                *slot = next.unwrap_or(*slot);
                next.is_some()
            }
            None => {
                let entries = self.entries;
                self.entries = (2 * entries).min(WALK_SLOTS);
                step_in_order(
                    &self.beginnings,
                    &mut place.key,
                    &mut self.next,
                    map,
                    entries,
                    each,
                )
            }
        };
        self.has_ended = !more;
    }
}

/// A step of a walk that goes in order, from `key` on. Returns whether there are more.
fn step_in_order(
    beginnings: &Beginnings,
    key: &mut Vec<u8>,
    next: &mut Vec<u8>,
    map: &mut LruMap,
    entries: usize,
    each: impl FnMut(Slot, &Entry) -> bool,
) -> bool {
    let Some(beginning) = beginnings.next(key) else {
        return false;
    };
    let from = beginning.max(&key[..]);
    if map.walk_prefix(beginning, from, entries, next, each) {
        std::mem::swap(key, next);
        return true;
    }
    if !put_end(beginning, next) {
        return false;
    }
    std::mem::swap(key, next);
    beginnings.next(key).is_some()
}

/// Puts down the lowest key above all with this beginning. Returns `false` where there is none.
fn put_end(beginning: &[u8], end: &mut Vec<u8>) -> bool {
    end.clear();
    let Some((last, head)) = beginning.split_last() else {
        return false;
    };
    end.extend_from_slice(head);
    // No byte of UTF-8 is the highest one.
    end.push(last.saturating_add(1));
    true
}

impl Node {
    /// Whether a walk over these keys can go in order. Has the order made where it should.
    fn has_order_for(&self, beginnings: &Beginnings, is_by_name: bool) -> bool {
        if beginnings.are_all() && !is_by_name {
            return false;
        }
        let (is_ordered, slots) = {
            let locked = self.store.lock();
            (locked.map.is_ordered(), locked.map.slots())
        };
        if !is_ordered && slots >= ORDERED_SLOTS_MIN {
            self.order.call();
        }
        is_ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Pair;
    use crate::record::Operation;
    use crate::store::Limits;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::hash::{BuildHasher, RandomState};

    struct Keys {
        map: LruMap,
        hasher: RandomState,
    }

    impl Keys {
        fn new() -> Keys {
            let limits = Limits {
                entries_max: 1 << 20,
                bytes_max: u64::MAX,
            };
            let hasher = RandomState::new();
            let map = LruMap::new(limits, hasher.clone());
            Keys { map, hasher }
        }

        /// Adds a key, or removes it where it is there.
        fn turn(&mut self, key: &str) {
            let hash = self.hasher.hash_one(key.as_bytes());
            match self.map.find(hash, key.as_bytes()) {
                Some(slot) => drop(self.map.take(slot, Operation::Delete)),
                None => drop(self.map.put(hash, None, Pair::new(key.as_bytes(), b"value"), 1)),
            }
        }

        fn make_order(&mut self) {
            while self.map.build_order(100) {}
        }
    }

    fn key(number: u16) -> String {
        format!(
            "{}{}",
            ["user:", "user:1", "item/", "x"][number as usize % 4],
            number
        )
    }

    fn beginnings(which: usize) -> Beginnings {
        let many = |many: &[&str]| Beginnings::Many(many.iter().map(|&one| one.into()).collect());
        match which {
            0 => Beginnings::One((*b"user:").into()),
            1 => Beginnings::One((*b"user:11").into()),
            2 => many(&["x", "item/", "user:1"]),
            3 => many(&["user:1", "user:", "none", "user:12"]),
            _ => Beginnings::One((*b"none").into()),
        }
    }

    fn begin(beginnings: &Beginnings, place: Place) -> Walk {
        Walk {
            beginnings: beginnings.clone(),
            place,
            has_ended: false,
            next: Vec::new(),
            end: Vec::new(),
            entries: WALK_SLOTS,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// Pages of any size, whose walk is continued by another; keys that come and go meanwhile; and a store that is
        /// replaced by one without an order, or gets one.
        #[test]
        fn what_stays_is_met_once(
            there in proptest::collection::btree_set(0..3000u16, 0..1500),
            changes in proptest::collection::vec(3000..4000u16, 0..400),
            which in 0..5usize,
            page in 1..700usize,
            is_ordered in any::<bool>(),
            replaced_after in 0..20usize,
        ) {
            let fill = |keys: &mut Keys| there.iter().for_each(|&number| keys.turn(&key(number)));
            let mut keys = Keys::new();
            fill(&mut keys);
            if is_ordered {
                keys.make_order();
            }
            let beginnings = beginnings(which);
            let mut place = Place { slot: (!is_ordered).then_some(0), key: Vec::new() };
            let mut met: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            let mut changes = changes.into_iter();
            for pages in 0.. {
                prop_assert!(pages < 10_000, "it does not end");
                if pages == replaced_after && is_ordered {
                    keys = Keys::new();
                    fill(&mut keys);
                } else if pages == replaced_after {
                    keys.make_order();
                }
                let mut walk = begin(&beginnings, place);
                let mut left = page;
                let mut refused = None;
                while !walk.has_ended() && refused.is_none() {
                    walk.step(&mut keys.map, |slot, entry| {
                        if left == 0 {
                            refused = Some((slot, entry.key().to_vec()));
                            return false;
                        }
                        left -= 1;
                        *met.entry(entry.key().to_vec()).or_default() += 1;
                        true
                    });
                }
                let Some(next) = walk.place() else { break };
                if let Some((slot, key)) = refused {
                    prop_assert_eq!(walk.place_of(slot, &key), next.clone());
                }
                place = next;
                changes.by_ref().take(20).for_each(|number| keys.turn(&key(number)));
            }
            let expected: BTreeSet<Vec<u8>> = there.iter().map(|&number| key(number).into_bytes())
                .filter(|key| beginnings.open(key)).collect();
            let stayed: BTreeSet<Vec<u8>> = met.keys().filter(|key| expected.contains(*key)).cloned().collect();
            prop_assert_eq!(&stayed, &expected);
            prop_assert!(expected.iter().all(|key| met[key] == 1));
            prop_assert!(met.keys().all(|key| beginnings.open(key)));
        }

        /// A walk that passes over keys with a common beginning counts them, and continues after them.
        #[test]
        fn what_is_passed_over_is_counted(
            there in proptest::collection::btree_set(0..5000u16, 0..2500),
            which in 0..2usize,
            from in 0..5000u16,
            bytes in 1..9usize,
            before in 0..50usize,
        ) {
            let mut keys = Keys::new();
            there.iter().for_each(|&number| keys.turn(&key(number)));
            keys.make_order();
            let beginnings = beginnings(which);
            let expected: BTreeSet<Vec<u8>> = there.iter().map(|&number| key(number).into_bytes())
                .filter(|key| beginnings.open(key)).collect();
            let from = key(from).into_bytes();
            let mut walk = begin(&beginnings, Place { slot: None, key: Vec::new() });
            walk.seek(&from);
            let mut left: Vec<Vec<u8>> = expected.iter().filter(|key| **key >= from).cloned().collect();
            let mut met: Vec<Vec<u8>> = Vec::new();
            while !walk.has_ended() && met.len() < before {
                walk.step(&mut keys.map, |_, entry| {
                    let is_met = met.len() < before;
                    if is_met {
                        met.push(entry.key().to_vec());
                    }
                    is_met
                });
            }
            let rest = left.split_off(before.min(left.len()));
            prop_assert_eq!(met, left);
            let Some(first) = rest.first() else { return Ok(()) };
            let beginning = first[..bytes.min(first.len())].to_vec();
            let mut counted = 0;
            loop {
                let step = walk.pass(&mut keys.map, &beginning).unwrap();
                counted += step.keys;
                if !step.has_more {
                    break;
                }
            }
            let (passed, behind): (Vec<_>, Vec<_>) = rest.into_iter().partition(|key| key.starts_with(&beginning));
            // Keys with that beginning which the walk does not want are counted too: the caller passes over all of them.
            if beginnings.open(&beginning) {
                prop_assert_eq!(counted, passed.len());
                let mut met = Vec::new();
                while !walk.has_ended() {
                    walk.step(&mut keys.map, |_, entry| {
                        met.push(entry.key().to_vec());
                        true
                    });
                }
                prop_assert_eq!(met, behind);
            }
        }
    }
}
