//! A log that is another node's: taken piece by piece, cut back, set aside, and put in place of one's own; with
//! every operation on a file made to fail, and made the last one before the machine stops.

use super::*;
use crate::node::{ClusterOptions, ReceiveError, TakeError};
use crate::wal::disk::{Disk, faults::Plan};
use crate::wal::header::HEADER_BYTES;
use crate::wal::{Branch, Role};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// Pieces so small that a log is taken in many of them.
const PIECE_BYTES: usize = 100;

/// As in the other tests, but without evictions among the records.
fn options(dir: &Path, policy: Policy) -> node::Options {
    let mut options = super::options(dir, policy);
    options.limits.entries_max = 100;
    options
}

fn replica(dir: &Path, policy: Policy) -> node::Options {
    node::Options {
        cluster: ClusterOptions {
            is_replica: true,
            ..ClusterOptions::default()
        },
        ..options(dir, policy)
    }
}

fn open(options: node::Options) -> Node {
    Node::open(options).unwrap()
}

/// What a primary would send to one that cannot continue from where it is.
fn snapshot(primary: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    primary
        .backup(&mut |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap();
    bytes
}

fn receive(replica: &Node, bytes: &[u8]) -> Result<u64, ReceiveError> {
    replica.receive(&mut &bytes[..])
}

/// Brings the replica all that the primary has.
fn pump(primary: &Node, replica: &Node) -> Result<(), TakeError> {
    loop {
        let after = replica.end().offset;
        let mut bytes = Vec::new();
        let mut feed = primary.feed(Some(after)).unwrap();
        let start = feed.copy(PIECE_BYTES, &mut bytes).unwrap();
        if bytes.is_empty() {
            let Some(item_bytes) = feed.item_bytes().unwrap() else {
                return Ok(());
            };
            assert!(item_bytes > PIECE_BYTES as u64, "a small one is copied");
            for part in 0..item_bytes.div_ceil(16) {
                let left = item_bytes - 16 * part;
                feed.read_raw(left.min(16) as usize, &mut bytes).unwrap();
            }
        }
        assert_eq!(start, after);
        append(replica, after, bytes)?;
    }
}

/// Takes a chunk of another node's log.
fn append(node: &Node, offset: u64, bytes: Vec<u8>) -> Result<(), TakeError> {
    node.take_chunk(node.check_chunk(offset, bytes)?, |_| {})
}

fn digest(node: &Node) -> (u64, String) {
    let status = node.status();
    (status.digest_offset, status.digest.to_string())
}

/// The records of all segments, one after the other.
fn records(dir: &Path) -> Vec<u8> {
    let of_segment = |path: PathBuf| std::fs::read(path).unwrap().split_off(HEADER_BYTES);
    segments(dir).into_iter().flat_map(of_segment).collect()
}

/// A primary with something of everything in its log.
fn example(dir: &Path) -> Node {
    let primary = open(options(dir, Policy::No));
    for n in 0..12 {
        set(&primary, &format!("key{}", n % 6), &format!("value {n}")).unwrap();
    }
    del(&primary, "key5").unwrap();
    let put = |k, value| node::Step::Set {
        key: key(k),
        value,
        deadline: Deadline::In(3_600_000),
        precondition: Precondition::None,
    };
    let batched = primary.batch(&[put("a", b"1"), put("b", b"2"), put("c", b"3")]);
    primary.wait(batched.unwrap().offset.unwrap()).unwrap();
    primary
}

#[test]
fn a_copy_is_the_log_byte_for_byte() {
    let (ours, theirs) = (temporary(), temporary());
    drop(example(theirs.path())); // As a crash leaves it: the log continues after a SKIP.
    let primary = open(options(theirs.path(), Policy::No));
    set(&primary, "later", "than the crash").unwrap();
    let replica_node = open(replica(ours.path(), Policy::Always));
    assert!(!replica_node.is_synced(), "nobody is to read from nothing");
    receive(&replica_node, &snapshot(&primary)).unwrap();
    let after = replica_node.end().offset;
    assert_eq!(digest(&replica_node), digest(&primary));

    for n in 0..40 {
        set(&primary, &format!("key{}", n % 7), &n.to_string()).unwrap();
    }
    pump(&primary, &replica_node).unwrap();
    assert_eq!(digest(&replica_node), digest(&primary));
    assert_eq!(contents(&replica_node), contents(&primary));
    let theirs_behind = records(theirs.path());
    let ours_behind = records(ours.path());
    assert!(
        theirs_behind.ends_with(&ours_behind) && !ours_behind.is_empty(),
        "from offset {after} on"
    );
    // It says nothing of its own when it is stopped, and continues from there.
    replica_node.close().unwrap();
    assert_eq!(records(ours.path()), ours_behind);
    set(&primary, "one", "more").unwrap();
    let replica_node = open(replica(ours.path(), Policy::Always));
    pump(&primary, &replica_node).unwrap();
    assert_eq!(digest(&replica_node), digest(&primary));
}

#[test]
fn a_log_is_followed_over_its_holes() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    drop(primary);
    let primary = open(options(theirs.path(), Policy::No));
    set(&primary, "behind", "the hole").unwrap();
    pump(&primary, &replica_node).unwrap();
    assert_eq!(digest(&replica_node), digest(&primary));
    assert_eq!(
        segments(ours.path())
            .last()
            .map(|path| path.file_name().unwrap().to_owned()),
        segments(theirs.path())
            .last()
            .map(|path| path.file_name().unwrap().to_owned())
    );
}

#[test]
fn a_piece_that_does_not_fit_changes_nothing() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    let after = replica_node.end().offset;
    set(&primary, "key0", "new").unwrap();
    let put = |k| node::Step::Set {
        key: key(k),
        value: b"of a batch",
        deadline: Deadline::Never,
        precondition: Precondition::None,
    };
    let batched = primary.batch(&[put("x"), put("y")]).unwrap();
    primary.wait(batched.offset.unwrap()).unwrap();
    let mut bytes = Vec::new();
    primary
        .feed(Some(after))
        .unwrap()
        .copy(usize::MAX, &mut bytes)
        .unwrap();
    let before = (digest(&replica_node), contents(&replica_node));
    let is_refused = |offset, bytes: &[u8]| {
        matches!(
            append(&replica_node, offset, bytes.to_vec()),
            Err(TakeError::Invalid(_))
        )
    };
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        assert!(is_refused(after, &flipped), "byte {at} flipped");
    }
    // Cut anywhere but between two steps.
    let first = 20 + "key0new".len();
    for cut in (1..bytes.len()).filter(|&cut| cut != first) {
        assert!(is_refused(after, &bytes[..cut]), "cut at {cut}");
    }
    assert!(is_refused(after + 1, &bytes) && is_refused(after - 1, &bytes));
    assert_eq!((digest(&replica_node), contents(&replica_node)), before);
    append(&replica_node, after, bytes).unwrap();
    assert_eq!(digest(&replica_node), digest(&primary));
}

#[test]
fn offsets_and_terms_that_no_log_reaches_are_not_taken_from_a_primary() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica = open(replica(ours.path(), Policy::No));
    receive(&replica, &snapshot(&primary)).unwrap();
    let end = replica.end();
    let last_number = u64::from(u32::MAX) << 32;
    for (operation, value) in [
        (Operation::Skip, u64::MAX),
        (Operation::Skip, u64::MAX - 50),
        (Operation::Skip, 1 << 63),
        (Operation::Skip, (1 << 53) - 1),
        (Operation::Term, u64::MAX),
        (Operation::Term, last_number),
        (Operation::Term, last_number | 1),
    ] {
        let mut bytes = Vec::new();
        let mut said = value.to_le_bytes().to_vec();
        if operation == Operation::Term {
            said.extend([7; 8]);
        }
        Record::new(operation, 0, &[], &said).encode(end.offset, &mut bytes);
        let taken = append(&replica, end.offset, bytes);
        assert!(
            matches!(taken, Err(TakeError::Invalid(_))),
            "{operation:?} {value}"
        );
        assert_eq!(replica.end().offset, end.offset);
    }
}

/// What no client could make is not taken from a primary either: nothing of the chunk, and nothing of the snapshot.
#[test]
fn records_that_no_node_writes_are_not_taken_from_a_primary() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    let end = replica_node.end();
    let before = (digest(&replica_node), contents(&replica_node));
    let set = |key| Record::new(Operation::Set, 0, key, b"value");
    for (what, record) in [
        ("a key of other bytes", set(b"\xff\xfe")),
        (
            "a deadline at the end of time",
            Record {
                deadline_ms: Some(u64::MAX),
                ..set(b"k")
            },
        ),
        ("a term again", Record::new(Operation::Term, 0, &[], &[0; 16])),
    ] {
        let mut bytes = Vec::new();
        record.encode(end.offset, &mut bytes);
        let taken = append(&replica_node, end.offset, bytes);
        assert!(matches!(taken, Err(TakeError::Invalid(_))), "{what}");
        assert_eq!((digest(&replica_node), contents(&replica_node)), before);
        if record.operation == Operation::Set {
            let mut whole = snapshot(&primary);
            whole.truncate(HEADER_BYTES);
            let version = Some(100);
            Record { version, ..record }.encode(0, &mut whole);
            let empty = temporary();
            let node = open(replica(empty.path(), Policy::No));
            let error = receive(&node, &whole).unwrap_err().to_string();
            assert!(error.contains("UTF-8") || error.contains("deadline"), "{error}");
        }
    }
}

/// A backup whose last record names an offset that no log reaches is no backup, and a node takes no such snapshot.
#[test]
fn a_backup_as_of_an_offset_that_no_log_reaches_is_refused() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    let whole = snapshot(&primary);
    let file = theirs.path().join("backup");
    std::fs::write(&file, &whole).unwrap();
    let offset = crate::wal::verify(&file).unwrap().offset;
    let start = whole.len() - 44; // A head of 20 bytes, and three numbers.
    for (end, is_right) in [
        (offset, true),
        (u64::MAX, false),
        (1 << 63, false),
        (1 << 53, false),
        ((1 << 53) - 1, false),
    ] {
        let mut changed = whole[..start].to_vec();
        let mut value = whole[start + 20..].to_vec();
        value[16..].copy_from_slice(&end.to_le_bytes());
        Record::new(Operation::End, 0, &[], &value).encode((start - HEADER_BYTES) as u64, &mut changed);
        std::fs::write(&file, &changed).unwrap();
        let to = theirs.path().join(format!("restored-{end}"));
        assert_eq!(crate::wal::verify(&file).is_ok(), is_right, "{end}");
        assert_eq!(crate::wal::restore(&file, &to).is_ok(), is_right, "{end}");
        assert_eq!(
            to.exists(),
            is_right,
            "nothing is left of a restore that is refused"
        );
        assert_eq!(receive(&replica_node, &changed).is_ok(), is_right, "{end}");
    }
}

/// A CLOSE that tells another digest than the state has does no harm, and a check of the replica tells of it.
#[test]
fn a_digest_that_is_wrong_is_told_by_a_check() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    let offset = replica_node.end().offset;
    let before = contents(&replica_node);
    let mut bytes = Vec::new();
    Record::new(Operation::Close, 0, &[], &[9; 8]).encode(offset, &mut bytes);
    append(&replica_node, offset, bytes).unwrap();
    assert_eq!(contents(&replica_node), before);
    drop(replica_node);
    let report = crate::wal::check(ours.path()).unwrap();
    assert_eq!(report.mismatches.len(), 1, "{report:?}");
    assert!(!report.is_whole());
}

#[test]
fn after_any_failure_of_the_disk_a_copy_goes_on() {
    let theirs = temporary();
    let primary = example(theirs.path());
    let first = snapshot(&primary);
    for n in 0..10 {
        set(&primary, &format!("key{}", n % 4), &n.to_string()).unwrap();
    }
    for policy in [Policy::Always, Policy::No] {
        for (at, errno) in (0..60).flat_map(|at| [(at, ENOSPC), (at, EIO)]) {
            let ours = temporary();
            let disk = Disk::default();
            let mut small = replica(ours.path(), policy);
            small.log.segment_bytes_max = 150;
            let replica_node = Node::open_on(disk.clone(), small).unwrap();
            receive(&replica_node, &first).unwrap();
            disk.faults.plan(Plan::Once { at, errno });
            while let Err(error) = pump(&primary, &replica_node) {
                assert!(matches!(error, TakeError::Refused(_)), "{error:?}");
                until("the log is well", || replica_node.health() == Health::Ok);
            }
            disk.faults.plan(Plan::None);
            assert_eq!(digest(&replica_node), digest(&primary), "operation {at}");
            replica_node.close().unwrap();
            let again = open(replica(ours.path(), policy));
            assert_eq!(contents(&again), contents(&primary), "operation {at}");
        }
    }
}

#[test]
fn a_crash_while_another_state_is_taken_over_leaves_one_of_both() {
    let theirs = temporary();
    let primary = example(theirs.path());
    let first = snapshot(&primary);
    let old = contents(&primary);
    for n in 0..10 {
        set(&primary, &format!("new{n}"), &n.to_string()).unwrap();
    }
    let second = snapshot(&primary);
    let new = contents(&primary);
    let mut seen = [false; 2];
    for at in 0..40 {
        let ours = temporary();
        let disk = Disk::default();
        let replica_node = Node::open_on(disk.clone(), replica(ours.path(), Policy::No)).unwrap();
        receive(&replica_node, &first).unwrap();
        disk.faults.plan(Plan::Crash { at });
        let received = receive(&replica_node, &second);
        drop(replica_node);
        let again = open(replica(ours.path(), Policy::No));
        let found = contents(&again);
        assert!(found == old || found == new, "operation {at}: {found:?}");
        assert!(received.is_err() || found == new, "operation {at}");
        seen[usize::from(found == new)] = true;
        // Whatever it was, it can be taken over again.
        receive(&again, &second).unwrap();
        assert_eq!(digest(&again), digest(&primary));
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn a_snapshot_that_is_not_whole_is_not_taken() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let first = snapshot(&primary);
    let replica_node = open(replica(ours.path(), Policy::No));
    for cut in (0..first.len()).step_by(7) {
        assert!(receive(&replica_node, &first[..cut]).is_err(), "cut at {cut}");
        assert!(!replica_node.is_synced());
    }
    for at in (0..first.len()).step_by(11) {
        let mut flipped = first.clone();
        flipped[at] ^= 0x04;
        assert!(receive(&replica_node, &flipped).is_err(), "byte {at} flipped");
    }
    let longer = [first.as_slice(), b"x"].concat();
    assert!(receive(&replica_node, &longer).is_err());
    receive(&replica_node, &first).unwrap();
    assert!(replica_node.is_synced());
    assert_eq!(contents(&replica_node), contents(&primary));
}

#[test]
fn a_store_that_was_emptied_for_another_state_is_not_compacted() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let first = snapshot(&primary);
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &first).unwrap();
    let before = contents(&replica_node);
    assert!(receive(&replica_node, &first[..first.len() - 1]).is_err());
    let job = replica_node.compact();
    let deadline = Instant::now() + Duration::from_secs(20);
    let finished = replica_node.wait_compaction(job, deadline, || true).unwrap();
    assert!(finished.result.is_err(), "{finished:?}");
    replica_node.close().unwrap();
    assert_eq!(contents(&open(replica(ours.path(), Policy::No))), before);
}

#[test]
fn a_tail_without_keys_is_cut_and_another_is_set_aside() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    let fork = replica_node.end().offset;
    let before = contents(&primary);
    primary.close().unwrap();
    replica_node.promote().unwrap();
    set(&replica_node, "key0", "of the second term").unwrap();
    let terms: Vec<Branch> = replica_node.branches();

    // Stopped in order, it has a CLOSE after the fork, and nothing else.
    let former = open(options(theirs.path(), Policy::No));
    former.step_down(None);
    former.leave_log().unwrap();
    let aside = former.set_aside(&terms, None).unwrap();
    assert!(aside.is_cut && aside.paths.is_empty());
    assert_eq!((former.end().offset, contents(&former)), (fork, before));
    pump(&replica_node, &former).unwrap();
    assert_eq!(digest(&former), digest(&replica_node));
    assert_eq!(former.role(), Role::Replica);
    assert_eq!(former.term(), replica_node.term());
    former.close().unwrap();
}

#[test]
fn a_node_that_was_promoted_meanwhile_leaves_nothing_to_others() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    let state = snapshot(&primary);
    receive(&replica_node, &state).unwrap();
    replica_node.promote().unwrap();
    let (before, term) = (replica_node.end(), replica_node.term());
    // All that its thread may be about to do, since it was a replica when it looked.
    replica_node.leave_log().unwrap();
    let aside = replica_node.set_aside(&primary.branches(), None).unwrap();
    assert!(!aside.is_cut && aside.paths.is_empty());
    assert!(matches!(
        receive(&replica_node, &state),
        Err(ReceiveError::RoleChanged)
    ));
    assert_eq!((replica_node.end(), replica_node.term()), (before, term));
    // It gives offsets, keeps the digest, and its state can be taken.
    set(&replica_node, "key0", "of the second term").unwrap();
    assert_eq!(digest(&replica_node).0, replica_node.end().offset);
    let other_dir = temporary();
    let other = open(replica(other_dir.path(), Policy::No));
    receive(&other, &snapshot(&replica_node)).unwrap();
    assert_eq!(contents(&other), contents(&replica_node));
}

#[test]
fn a_crash_while_a_tail_is_cut_loses_nothing() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    replica_node.promote().unwrap();
    let before = contents(&primary);
    drop(primary);
    for at in 0..12 {
        let disk = Disk::default();
        // Each start after a crash puts a SKIP, and a segment, after the fork.
        let former = Node::open_on(disk.clone(), options(theirs.path(), Policy::No)).unwrap();
        former.step_down(None);
        former.leave_log().unwrap();
        disk.faults.plan(Plan::Crash { at });
        let _ = former.set_aside(&replica_node.branches(), None);
        drop(former);
        std::fs::remove_file(theirs.path().join("ROLE")).unwrap();
        let again = open(options(theirs.path(), Policy::No));
        assert_eq!(contents(&again), before, "operation {at}");
    }
}

#[test]
fn what_is_set_aside_is_there_whenever_the_machine_stops() {
    let (ours, theirs) = (temporary(), temporary());
    let primary = example(theirs.path());
    let replica_node = open(replica(ours.path(), Policy::No));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    replica_node.promote().unwrap();
    let terms = replica_node.branches();
    set(&primary, "only", "here").unwrap();
    primary.close().unwrap();
    for at in 0..30 {
        let copy = temporary();
        for entry in std::fs::read_dir(theirs.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let disk = Disk::default();
        let former = Node::open_on(disk.clone(), options(copy.path(), Policy::No)).unwrap();
        former.step_down(None);
        former.leave_log().unwrap();
        disk.faults.plan(Plan::Crash { at });
        let aside = former.set_aside(&terms, None);
        drop(former);
        let kept = |node: &Node| get(node, "only").as_deref() == Some("here");
        assert!(kept(&open(options(copy.path(), Policy::No))), "operation {at}");
        if let Ok(aside) = aside {
            let [path] = aside.paths.as_slice() else {
                panic!("{aside:?}");
            };
            let mut reader = Reader::open(path).unwrap();
            let mut keys = Vec::new();
            while let Some(read) = reader.next().unwrap() {
                keys.push(String::from_utf8(read.record.key.to_vec()).unwrap());
            }
            assert_eq!(
                keys,
                ["only", "", "", ""],
                "the write, the CLOSE, and the branch of the next start"
            );
        }
    }
}

#[test]
fn a_promotion_that_fails_can_be_made_again() {
    let theirs = temporary();
    let primary = example(theirs.path());
    let first = snapshot(&primary);
    for (at, errno) in (0..12).flat_map(|at| [(at, ENOSPC), (at, EIO)]) {
        let ours = temporary();
        let disk = Disk::default();
        let replica_node = Node::open_on(disk.clone(), replica(ours.path(), Policy::Always)).unwrap();
        receive(&replica_node, &first).unwrap();
        let before = contents(&replica_node);
        disk.faults.plan(Plan::Once { at, errno });
        while replica_node.role() == Role::Replica {
            let promoted = replica_node.promote();
            assert!(promoted.is_err() || replica_node.role() == Role::Primary);
            until("the log is well", || replica_node.health() == Health::Ok);
        }
        until("the log is well", || replica_node.health() == Health::Ok);
        assert!(replica_node.term() > primary.term());
        let version = set(&replica_node, "key0", "of the second term").unwrap();
        assert!(version > primary.status().offset);
        let after = contents(&replica_node);
        assert_eq!(after.len(), before.len());
        drop(replica_node);
        let again = open(options(ours.path(), Policy::Always));
        assert_eq!(contents(&again), after, "operation {at}");
    }
}

#[test]
fn versions_do_not_come_back_when_another_node_takes_over() {
    let (ours, theirs) = (temporary(), temporary());
    let spread = |mut options: node::Options| {
        options.log.branch_spread_bytes = BRANCH_SPREAD_BYTES;
        options
    };
    let primary = example(theirs.path());
    let replica_node = open(spread(replica(ours.path(), Policy::No)));
    receive(&replica_node, &snapshot(&primary)).unwrap();
    // Written there, seen by readers, and never copied; also after a crash, before it hears of the other.
    let mut versions = vec![set(&primary, "key0", "lost").unwrap()];
    drop(primary);
    let primary = open(spread(options(theirs.path(), Policy::No)));
    versions.push(set(&primary, "key0", "lost").unwrap());
    replica_node.promote().unwrap();
    let version = set(&replica_node, "key0", "lost").unwrap();
    assert!(!versions.contains(&version), "{version} of {versions:?}");
}
