//! The map against a naive model: a list in the order of use.

use super::*;
use crate::pair::Pair;
use proptest::prelude::*;
use std::hash::BuildHasher;

/// Key, value, version and deadline of an entry.
type Held = (Vec<u8>, Vec<u8>, u64, Option<u64>);

/// The entries, least recently used first.
#[derive(Default)]
struct Model(Vec<Held>);

impl Model {
    fn take(&mut self, key: &[u8]) -> Option<Held> {
        let at = self.0.iter().position(|entry| entry.0 == key)?;
        Some(self.0.remove(at))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Peek(u8),
    Put(u8, Vec<u8>, Option<u64>),
    Remove(u8),
    Evict,
    StartWalk,
    Walk(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (0..20u8).prop_map(Step::Get),
        (0..20u8).prop_map(Step::Peek),
        (0..20u8, value, proptest::option::of(1..9u64))
            .prop_map(|(key, value, deadline)| Step::Put(key, value, deadline)),
        (0..20u8).prop_map(Step::Remove),
        Just(Step::Evict),
        Just(Step::StartWalk),
        (1..5usize).prop_map(Step::Walk),
    ]
}

fn start_walk(map: &mut LruMap) {
    let walk = Walk::new(map.slots(), map.entries(), u64::MAX);
    map.start_walk(walk);
}

fn by_use(map: &mut LruMap) -> Vec<Held> {
    let mut found = Vec::new();
    start_walk(map);
    map.walk_by_use(usize::MAX, |entry| {
        found.push((
            entry.key().to_vec(),
            entry.value().to_vec(),
            entry.version(),
            entry.deadline_ms(),
        ));
        true
    });
    found
}

proptest! {
    #[test]
    fn the_map_is_its_model(steps in proptest::collection::vec(step(), 0..200)) {
        let hasher = RandomState::new();
        let mut map = LruMap::new(Limits { entries_max: 1000, bytes_max: u64::MAX }, hasher.clone());
        let mut model = Model::default();
        for (version, step) in steps.into_iter().enumerate() {
            let version = version as u64;
            let find = |map: &LruMap, key: u8| map.find(hasher.hash_one([key].as_slice()), &[key]);
            match step {
                Step::Get(key) => {
                    let slot = find(&map, key);
                    let expected = model.take(&[key]);
                    prop_assert_eq!(slot.map(|slot| map.entry(slot).value().to_vec()), expected.as_ref().map(|e| e.1.clone()));
                    if let (Some(slot), Some(entry)) = (slot, expected) {
                        map.touch(slot);
                        model.0.push(entry);
                    }
                }
                Step::Peek(key) => {
                    let found = find(&map, key).map(|slot| map.entry(slot).version());
                    prop_assert_eq!(found, model.0.iter().find(|entry| entry.0 == [key]).map(|entry| entry.2));
                }
                Step::Put(key, value, deadline) => {
                    let pair = Pair::with_deadline(&[key], &value, deadline);
                    match find(&map, key) {
                        Some(slot) => {
                            let old = map.replace(hasher.hash_one([key].as_slice()), slot, pair, version);
                            prop_assert_eq!(Some(old.value().to_vec()), model.take(&[key]).map(|entry| entry.1));
                        }
                        None => {
                            map.insert(hasher.hash_one([key].as_slice()), pair, version);
                            prop_assert!(model.take(&[key]).is_none());
                        }
                    }
                    model.0.push((vec![key], value, version, deadline));
                }
                Step::Remove(key) => {
                    let removed = find(&map, key).map(|slot| map.remove(slot).value().to_vec());
                    prop_assert_eq!(removed, model.take(&[key]).map(|entry| entry.1));
                }
                Step::Evict => {
                    let evicted = map.oldest().map(|slot| map.evict(slot).key().to_vec());
                    let expected = (!model.0.is_empty()).then(|| model.0.remove(0).0);
                    prop_assert_eq!(evicted, expected);
                }
                Step::StartWalk => start_walk(&mut map),
                Step::Walk(entries) => drop(map.walk_by_use(entries, |_| true)),
            }
            let cost: u64 = model.0.iter().map(|entry| cost_bytes(&Pair::with_deadline(&entry.0, &entry.1, entry.3))).sum();
            prop_assert_eq!((map.entries(), map.counters().bytes), (model.0.len() as u64, cost));
            let first = map.first_deadline().map(|(deadline, slot)| (deadline, map.entry(slot).deadline_ms()));
            let earliest = model.0.iter().filter_map(|entry| entry.3).min();
            prop_assert_eq!(first, earliest.map(|deadline| (deadline, Some(deadline))));
        }
        prop_assert_eq!(by_use(&mut map), model.0);
    }

    /// A key that stays throughout is met exactly once, by slots and by use, whatever comes, goes and is read between two steps of a walk.
    #[test]
    fn walks_meet_what_stays(changes in proptest::collection::vec((0..60u8, any::<bool>()), 30), step in 1..7usize) {
        let hasher = RandomState::new();
        let mut map = LruMap::new(Limits { entries_max: 1000, bytes_max: u64::MAX }, hasher.clone());
        let hash = |key: u8| hasher.hash_one([key].as_slice());
        for key in 0..30 {
            map.insert(hash(key), Pair::new(&[key], b"v"), 0);
        }
        let changed: Vec<u8> = changes.iter().filter(|(_, reads)| !reads).map(|(key, _)| *key).collect();
        let (mut by_slot, mut by_use) = (vec![0; 60], vec![0; 60]);
        let mut from = Some(0);
        start_walk(&mut map);
        let mut changes = changes.into_iter();
        loop {
            let more = map.walk_by_use(step, |entry| {
                by_use[entry.key()[0] as usize] += 1;
                true
            });
            if let Some(slot) = from {
                from = map.walk(slot, step, |_, entry| {
                    by_slot[entry.key()[0] as usize] += 1;
                    true
                });
            }
            if !more && from.is_none() {
                break;
            }
            if let Some((key, reads)) = changes.next() {
                match (map.find(hash(key), &[key]), reads) {
                    (Some(slot), true) => map.touch(slot),
                    (Some(slot), false) => drop(map.remove(slot)),
                    (None, true) => {}
                    (None, false) => drop(map.insert(hash(key), Pair::new(&[key], b"v"), 0)),
                }
            }
        }
        for key in (0..30).filter(|key| !changed.contains(key)) {
            prop_assert_eq!(by_slot[key as usize], 1, "key {} by slot", key);
            prop_assert_eq!(by_use[key as usize], 1, "key {} by use", key);
        }
    }
}

/// A walk ends though every entry is used again between any two of its steps, and has met all of them; but
/// not those that were written since it began, nor twice one that could not be taken at first.
#[test]
fn a_walk_ends_under_any_use() {
    let hasher = RandomState::new();
    let limits = Limits {
        entries_max: 1000,
        bytes_max: u64::MAX,
    };
    let mut map = LruMap::new(limits, hasher.clone());
    let hash = |key: u8| hasher.hash_one([key].as_slice());
    let slots: Vec<_> = (0..100)
        .map(|key| map.insert(hash(key), Pair::new(&[key], b"v"), 1))
        .collect();
    let walk = Walk::new(map.slots(), map.entries(), 1);
    map.start_walk(walk);
    map.insert(hash(200), Pair::new(&[200], b"v"), 2);
    let replaced = map.find(hash(7), &[7]).unwrap();
    map.replace(hash(7), replaced, Pair::new(&[7], b"w"), 3);
    let mut met = vec![0; 256];
    let mut turns = 0;
    while map.walk_by_use(3, |entry| {
        let key = entry.key()[0] as usize;
        turns += 1;
        met[key] += u8::from(turns % 5 > 0);
        turns % 5 > 0
    }) {
        slots.iter().for_each(|&slot| map.touch(slot));
        assert!(turns < 10_000, "it does not end");
    }
    for (key, &times) in met.iter().enumerate() {
        assert_eq!(times, u8::from(key < 100 && key != 7), "key {key}");
    }
}

#[test]
fn large_keys_and_versions_fit_an_entry() {
    let hasher = RandomState::new();
    let mut map = LruMap::new(
        Limits {
            entries_max: 10,
            bytes_max: u64::MAX,
        },
        hasher.clone(),
    );
    let key = vec![b'k'; crate::pair::KEY_BYTES_MAX];
    let slot = map.insert(
        hasher.hash_one(key.as_slice()),
        Pair::new(&key, b"v"),
        VERSION_MAX,
    );
    let entry = map.entry(slot);
    assert_eq!(
        (entry.key(), entry.value(), entry.version()),
        (&key[..], &b"v"[..], VERSION_MAX)
    );
}
