//! A node against a plain model: random sequences of all operations, with stops, crashes and checks between.

use proptest::prelude::*;
use pykv::internals::Key;
use pykv::internals::node::{
    Ahead, BatchError, Deadline, Edit, Mode, Node, Options, Outcome, Precondition, Step, WriteError,
};
use pykv::internals::store::Limits;
use pykv::internals::wal::{self, Options as LogOptions, Policy};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Far enough that no test gets there, in ms since the Unix epoch.
const FAR_MS: u64 = 4_000_000_000_000;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Vec<u8>,
    version: u64,
    deadline_ms: Option<u64>,
}

/// What a node should hold, and the highest version it has given.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
    highest: u64,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Never,
    Far(u64),
    Past,
}

impl Until {
    /// Then the write is refused.
    fn has_passed(self) -> bool {
        matches!(self, Until::Past)
    }
}

/// A precondition as the model can say it: the version is that of the key at that time, or another one.
#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    Absent,
    Present,
    Current,
    Stale,
}

#[derive(Clone, Debug)]
enum Part {
    Get(u8),
    Set(u8, Vec<u8>, Until, Condition),
    Edit(u8, Made, Option<Until>, Condition),
    Delete(u8, Condition),
}

/// How a value is made from the one that is there.
#[derive(Clone, Debug)]
enum Made {
    Increment(i64, Option<i64>),
    Append(Vec<u8>),
}

#[derive(Clone, Debug)]
enum Action {
    Get(u8),
    Put(u8, Vec<u8>, Until, u8, Condition),
    Edit(u8, Made, Option<Until>, Condition),
    Delete(u8, Condition),
    SetDeadline(u8, Until),
    Batch(Vec<Part>),
    DeletePrefix(u8),
    List,
    Stop,
    Crash,
}

fn until() -> impl Strategy<Value = Until> {
    prop_oneof![
        4 => Just(Until::Never),
        2 => (0..1000u64).prop_map(Until::Far),
        1 => Just(Until::Past),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::None),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => Just(Condition::Current),
        1 => Just(Condition::Stale),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..30),
        6 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        2 => (-9..10i64).prop_map(|number| format!("0{number}").into_bytes()),
        1 => (16_000..20_000usize).prop_map(|bytes| vec![7; bytes]),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let by = || prop_oneof![3 => -5..5i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    prop_oneof![
        3 => (by(), proptest::option::of(by())).prop_map(|(by, initial)| Made::Increment(by, initial)),
        1 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(Made::Append),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (0..30u8).prop_map(Part::Get),
        (0..30u8, value(), until(), condition()).prop_map(|(k, v, u, c)| Part::Set(k, v, u, c)),
        (0..30u8, made(), proptest::option::of(until()), condition())
            .prop_map(|(k, m, u, c)| Part::Edit(k, m, u, c)),
        (0..30u8, condition()).prop_map(|(k, c)| Part::Delete(k, c)),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0..30u8).prop_map(Action::Get),
        8 => (0..30u8, value(), until(), 0..3u8, condition()).prop_map(|(k, v, u, m, c)| Action::Put(k, v, u, m, c)),
        6 => (0..30u8, made(), proptest::option::of(until()), condition())
            .prop_map(|(k, m, u, c)| Action::Edit(k, m, u, c)),
        3 => (0..30u8, condition()).prop_map(|(k, c)| Action::Delete(k, c)),
        2 => (0..30u8, until()).prop_map(|(k, u)| Action::SetDeadline(k, u)),
        3 => proptest::collection::vec(part(), 1..6).prop_map(Action::Batch),
        1 => (0..4u8).prop_map(Action::DeletePrefix),
        1 => Just(Action::List),
        1 => Just(Action::Stop),
        1 => Just(Action::Crash),
    ]
}

fn name(k: u8) -> String {
    format!("{}:{k}", k % 4)
}

fn deadline(until: Until) -> (Deadline, Option<u64>) {
    match until {
        Until::Never => (Deadline::Never, None),
        Until::Far(more) => (Deadline::At(FAR_MS + more), Some(FAR_MS + more)),
        Until::Past => (Deadline::At(1), Some(1)),
    }
}

impl Made {
    fn edit(&self) -> Edit<'_> {
        match self {
            &Made::Increment(by, initial) => Edit::Increment { by, initial },
            Made::Append(more) => Edit::Append(more),
        }
    }

    /// The value that it makes, by another way than the node's: numbers of 128 bits.
    fn of(&self, before: Option<&[u8]>) -> Option<Vec<u8>> {
        match (self, before) {
            (Made::Append(more), before) => Some([before?, more].concat()),
            (Made::Increment(_, initial), None) => Some(initial.as_ref()?.to_string().into_bytes()),
            (Made::Increment(by, _), Some(before)) => {
                let digits = before.strip_prefix(b"-").unwrap_or(before);
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                let number: i128 = std::str::from_utf8(before).unwrap().parse().ok()?;
                i64::try_from(number).ok()?;
                let sum = i64::try_from(number + i128::from(*by)).ok()?;
                Some(sum.to_string().into_bytes())
            }
        }
    }
}

impl Model {
    /// What an edit leaves in a key: its value and deadline.
    fn edited(&self, key: &str, made: &Made, until: Option<Until>) -> Option<(Vec<u8>, Option<u64>)> {
        let before = self.entries.get(key);
        let value = made.of(before.map(|entry| &*entry.value))?;
        let kept = before.and_then(|entry| entry.deadline_ms);
        Some((value, until.map_or(kept, |until| deadline(until).1)))
    }

    fn precondition(&self, key: &str, condition: Condition) -> (Precondition<'_>, bool) {
        let version = self.entries.get(key).map(|entry| entry.version);
        match condition {
            Condition::None => (Precondition::None, true),
            Condition::Absent => (Precondition::Absent, version.is_none()),
            Condition::Present => (Precondition::Present, version.is_some()),
            Condition::Current => {
                let asked = version.unwrap_or(1);
                (Precondition::Version(asked), version == Some(asked))
            }
            Condition::Stale => (Precondition::Version(version.unwrap_or(0) + 1), false),
        }
    }

    fn set(&mut self, key: &str, value: &[u8], deadline_ms: Option<u64>, version: u64) {
        assert!(version > self.highest, "version {version} is not new");
        self.highest = version;
        let entry = Entry {
            value: value.to_vec(),
            version,
            deadline_ms,
        };
        self.entries.insert(key.to_owned(), entry);
    }
}

fn open(dir: &Path) -> Node {
    Node::open(Options {
        cluster: pykv::internals::node::ClusterOptions::default(),
        dir: dir.to_path_buf(),
        limits: Limits {
            entries_max: 10_000,
            bytes_max: 1 << 30,
        },
        value_bytes_max: 1 << 20,
        log: LogOptions {
            policy: Policy::No,
            unwritten_bytes_max: 1 << 20,
            segment_bytes_max: 20_000,
            compact_bytes_min: Some(0),
            compact_ratio: 0.0,
            backlog_bytes: Some(0),
            branch_spread_bytes: 0,
            new_store: false,
            progress: std::sync::Arc::default(),
            wait_max: Duration::from_secs(20),
        },
    })
    .unwrap()
}

fn held(node: &Node) -> BTreeMap<String, Entry> {
    let mut held = BTreeMap::new();
    let mut cursor = None;
    loop {
        let mut lister = node.lister("", cursor, true).unwrap();
        let mut left = 7;
        cursor = loop {
            match lister.look(usize::MAX) {
                Ahead::End => return held,
                Ahead::Nothing => continue,
                Ahead::Entry | Ahead::Large(_) if left == 0 => break lister.cursor(),
                Ahead::Entry | Ahead::Large(_) => left -= 1,
            }
            let listed = lister.next().unwrap();
            let entry = Entry {
                value: listed.value.to_vec(),
                version: listed.found.version,
                deadline_ms: listed.found.deadline_ms,
            };
            let key = String::from_utf8(listed.key.to_vec()).unwrap();
            assert!(held.insert(key, entry).is_none(), "a key is listed twice");
        };
    }
}

fn apply(node: &Node, model: &mut Model, action: &Action) -> Result<(), TestCaseError> {
    match action {
        Action::Get(k) => {
            let key = name(*k);
            let mut value = Vec::new();
            let found = node.get(Key::new(&key).unwrap(), &mut value);
            let found = found.map(|found| Entry {
                value,
                version: found.version,
                deadline_ms: found.deadline_ms,
            });
            prop_assert_eq!(found.as_ref(), model.entries.get(&key));
        }
        Action::Put(k, value, until, mode, condition) => {
            let key = name(*k);
            let mode = [Mode::Add, Mode::Update, Mode::Upsert][*mode as usize];
            let (precondition, holds) = model.precondition(&key, *condition);
            let (deadline, deadline_ms) = deadline(*until);
            let is_there = model.entries.contains_key(&key);
            let allowed = mode == Mode::Upsert || is_there == (mode == Mode::Update);
            match node.put(Key::new(&key).unwrap(), value, deadline, mode, precondition) {
                Ok(written) => {
                    prop_assert!(holds && allowed, "{:?}", action);
                    prop_assert_eq!(written.created, !is_there);
                    node.wait(written.version).unwrap();
                    model.set(&key, value, deadline_ms, written.version);
                }
                Err(WriteError::Past) => prop_assert!(until.has_passed()),
                Err(WriteError::Exists { .. }) => prop_assert!(mode == Mode::Add && is_there),
                Err(WriteError::Missing) => prop_assert!(mode == Mode::Update && !is_there),
                Err(error) => prop_assert!(!holds, "{}", error),
            }
        }
        Action::Edit(k, made, until, condition) => edit(node, model, *k, made, *until, *condition)?,
        Action::Delete(k, condition) => {
            let key = name(*k);
            let (precondition, holds) = model.precondition(&key, *condition);
            match node.delete(Key::new(&key).unwrap(), precondition) {
                Ok(offset) => {
                    node.wait(offset).unwrap();
                    prop_assert!(holds && model.entries.remove(&key).is_some());
                }
                Err(WriteError::Missing) => prop_assert!(!model.entries.contains_key(&key)),
                Err(error) => prop_assert!(!holds, "{}", error),
            }
        }
        Action::SetDeadline(k, until) => {
            let key = name(*k);
            let (deadline, deadline_ms) = deadline(*until);
            let before = model.entries.get(&key).cloned();
            let (key_of, none) = (Key::new(&key).unwrap(), Precondition::None);
            let set = node.set_deadline(key_of, deadline, none, &mut |_| true, &|| true);
            match (set, before) {
                (Ok(written), Some(entry)) => {
                    node.wait(written.version).unwrap();
                    model.set(&key, &entry.value, deadline_ms, written.version);
                }
                (Err(WriteError::Missing), None) => {}
                (Err(WriteError::Past), Some(_)) => prop_assert!(until.has_passed()),
                (result, before) => prop_assert!(false, "{:?} of {:?}", result, before),
            }
        }
        Action::Batch(parts) => batch(node, model, parts)?,
        Action::DeletePrefix(group) => {
            let prefix = format!("{group}:");
            let under = model
                .entries
                .keys()
                .filter(|key| key.starts_with(&prefix))
                .count() as u64;
            prop_assert_eq!(node.count_prefix(&prefix), under);
            let swept = node.delete_prefix(&prefix).unwrap();
            prop_assert_eq!(swept.keys, under);
            prop_assert_eq!(swept.offset.is_some(), under > 0);
            swept.offset.map_or(Ok(()), |offset| node.wait(offset)).unwrap();
            model.entries.retain(|key, _| !key.starts_with(&prefix));
        }
        Action::List | Action::Stop | Action::Crash => prop_assert_eq!(&held(node), &model.entries),
    }
    Ok(())
}

/// One edit by itself.
fn edit(
    node: &Node,
    model: &mut Model,
    k: u8,
    made: &Made,
    until: Option<Until>,
    condition: Condition,
) -> Result<(), TestCaseError> {
    let key = name(k);
    let (precondition, holds) = model.precondition(&key, condition);
    let wanted = until.map(|until| deadline(until).0);
    let expected = model.edited(&key, made, until);
    match node.edit(
        Key::new(&key).unwrap(),
        made.edit(),
        wanted,
        precondition,
        &mut |_| true,
        &|| true,
    ) {
        Ok(edited) => {
            node.wait(edited.written.version).unwrap();
            prop_assert!(holds, "{:?} of {:?}", made, key);
            let (value, deadline_ms) = expected.expect("the model makes it too");
            prop_assert_eq!(edited.value_bytes, value.len());
            prop_assert_eq!(edited.written.deadline_ms, deadline_ms);
            prop_assert_eq!(edited.written.created, !model.entries.contains_key(&key));
            model.set(&key, &value, deadline_ms, edited.written.version);
        }
        Err(WriteError::Precondition { .. }) => prop_assert!(!holds),
        Err(WriteError::Past) => prop_assert!(until.is_some_and(Until::has_passed)),
        Err(error) => prop_assert!(holds && expected.is_none(), "{} {:?} of {:?}", error, made, key),
    }
    Ok(())
}

/// Whether an edit stands beside another write of its key. What that comes to is not said: the API refuses such a batch.
fn edits_what_others_write(parts: &[Part], names: &[String]) -> bool {
    let writes = |name: &String| {
        let same = parts.iter().zip(names).filter(|(_, other)| *other == name);
        same.filter(|(part, _)| !matches!(part, Part::Get(_))).count()
    };
    let mut all = parts.iter().zip(names);
    all.any(|(part, name)| matches!(part, Part::Edit(..)) && writes(name) > 1)
}

/// Whether a batch was refused as the model would refuse it.
fn refused(
    error: &BatchError,
    model: &Model,
    parts: &[Part],
    names: &[String],
    holds: bool,
) -> Result<(), TestCaseError> {
    let BatchError::Step { index, error } = error else {
        return Err(TestCaseError::fail(error.to_string()));
    };
    let part = &parts[*index];
    match (error, part) {
        (WriteError::Precondition { .. }, _) => prop_assert!(!holds),
        (WriteError::Past, Part::Set(_, _, until, _) | Part::Edit(_, _, Some(until), _)) => {
            prop_assert!(until.has_passed());
        }
        (
            WriteError::Missing | WriteError::NotANumber | WriteError::Overflow,
            Part::Edit(_, made, until, _),
        ) => {
            prop_assert_eq!(model.edited(&names[*index], made, *until), None);
        }
        (error, part) => prop_assert!(false, "{}: {:?}", error, part),
    }
    Ok(())
}

fn batch(node: &Node, model: &mut Model, parts: &[Part]) -> Result<(), TestCaseError> {
    let names: Vec<String> = parts
        .iter()
        .map(|part| match part {
            Part::Get(k) | Part::Set(k, ..) | Part::Edit(k, ..) | Part::Delete(k, _) => name(*k),
        })
        .collect();
    if edits_what_others_write(parts, &names) {
        return Ok(());
    }
    let mut holds = true;
    let steps: Vec<Step<'_>> = parts
        .iter()
        .zip(&names)
        .map(|(part, name)| {
            let key = Key::new(name).unwrap();
            let mut condition = |condition| {
                let (precondition, held) = model.precondition(name, condition);
                holds &= held;
                precondition
            };
            match part {
                Part::Get(_) => Step::Get { key },
                Part::Set(_, value, until, asked) => Step::Set {
                    key,
                    value,
                    deadline: deadline(*until).0,
                    precondition: condition(*asked),
                },
                Part::Edit(_, made, until, asked) => Step::Edit {
                    key,
                    edit: made.edit(),
                    deadline: until.map(|until| deadline(until).0),
                    precondition: condition(*asked),
                },
                Part::Delete(_, asked) => Step::Delete {
                    key,
                    precondition: condition(*asked),
                },
            }
        })
        .collect();
    let batched = match node.batch(&steps) {
        Ok(batched) => batched,
        Err(error) => return refused(&error, model, parts, &names, holds),
    };
    prop_assert!(holds);
    batched.offset.map_or(Ok(()), |offset| node.wait(offset)).unwrap();
    for ((part, name), outcome) in parts.iter().zip(&names).zip(batched.outcomes) {
        match (part, outcome) {
            (Part::Get(_), Outcome::Got(found)) => {
                let found = found.map(|(pair, found)| Entry {
                    value: pair.value().to_vec(),
                    version: found.version,
                    deadline_ms: found.deadline_ms,
                });
                prop_assert_eq!(found.as_ref(), model.entries.get(name));
            }
            (Part::Set(_, value, until, _), Outcome::Set(written)) => {
                prop_assert_eq!(written.created, !model.entries.contains_key(name));
                model.set(name, value, deadline(*until).1, written.version);
            }
            (Part::Edit(_, made, until, _), Outcome::Edited(edited)) => {
                let (value, deadline_ms) = model.edited(name, made, *until).expect("the model makes it too");
                prop_assert_eq!(edited.value_bytes, value.len());
                model.set(name, &value, deadline_ms, edited.written.version);
            }
            (Part::Delete(..), Outcome::Deleted(was_there)) => {
                prop_assert_eq!(was_there, model.entries.remove(name).is_some());
            }
            (part, outcome) => prop_assert!(false, "{:?} came to {:?}", part, outcome),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_node_is_its_model(actions in proptest::collection::vec(action(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let mut node = open(dir.path());
        let mut model = Model::default();
        for action in &actions {
            apply(&node, &mut model, action)?;
            if matches!(action, Action::Stop | Action::Crash) {
                match action {
                    Action::Stop => node.close().unwrap(),
                    _ => drop(node),
                }
                let report = wal::check(dir.path()).unwrap();
                prop_assert!(report.is_whole(), "{:?}", report);
                node = open(dir.path());
                prop_assert_eq!(&held(&node), &model.entries);
            }
        }
        prop_assert_eq!(held(&node), model.entries);
        node.close().unwrap();
        let report = wal::check(dir.path()).unwrap();
        prop_assert!(report.is_whole(), "{:?}", report);
    }
}

/// An edit that other writes overtake again and again is given up, and leaves no trace; one whose client has gone, at once.
#[test]
fn an_edit_that_is_always_overtaken_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let node = open(dir.path());
    let key = Key::new("count").unwrap();
    let put = || {
        let mode = Mode::Upsert;
        node.put(key, b"1", Deadline::Never, mode, Precondition::None)
            .unwrap()
    };
    put();
    let increment = Edit::Increment { by: 1, initial: None };
    for (goes_on, tries_expected) in [(true, 1000), (false, 1)] {
        let mut tries = 0;
        let mut room = |_| {
            // After the look at the value, and before the new one is put.
            put();
            tries += 1;
            true
        };
        let refused = node.edit(key, increment, None, Precondition::None, &mut room, &|| goes_on);
        assert!(matches!(refused, Err(WriteError::Contended)), "{refused:?}");
        assert_eq!(tries, tries_expected);

        let mut tries = 0;
        let mut room = |_| {
            put();
            tries += 1;
            true
        };
        let never = Deadline::Never;
        let refused = node.set_deadline(key, never, Precondition::None, &mut room, &|| goes_on);
        assert!(matches!(refused, Err(WriteError::Contended)), "{refused:?}");
        assert_eq!(tries, tries_expected);
    }
    let mut value = Vec::new();
    node.get(key, &mut value);
    assert_eq!(value, b"1");

    let refused = node.set_deadline(key, Deadline::Never, Precondition::None, &mut |_| false, &|| true);
    assert!(matches!(refused, Err(WriteError::NoRoom)), "{refused:?}");
}
