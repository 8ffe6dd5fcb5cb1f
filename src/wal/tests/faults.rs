//! Disks that are full, fail, or stop.

use super::*;
use crate::wal::disk::{Disk, faults::Plan};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_heals() {
    for policy in [Policy::Always, Policy::Everysec, Policy::No] {
        let dir = temporary();
        let disk = Disk::default();
        let node = Node::open_on(disk.clone(), options(dir.path(), policy)).unwrap();
        set(&node, "a", "before").unwrap();
        disk.faults.plan(Plan::All {
            operation: "write",
            errno: ENOSPC,
        });
        let in_flight = set(&node, "a", "in flight");
        assert!(matches!(
            in_flight,
            Err(WriteError::Refused(Refusal::Unknown(Health::DiskFull { .. })))
        ));
        let offset = node.status().offset;
        let refused = set(&node, "b", "refused");
        assert!(matches!(
            refused,
            Err(WriteError::Refused(Refusal::Unhealthy(Health::DiskFull { .. })))
        ));
        assert!(matches!(
            del(&node, "a"),
            Err(WriteError::Refused(Refusal::Unhealthy(_)))
        ));
        assert_eq!(
            node.status().offset,
            offset,
            "nothing refused at the door is handed to the log"
        );
        assert_eq!(get(&node, "a").as_deref(), Some("in flight"));
        // What is on disk meanwhile is complete.
        let copy = temporary();
        let path = segments(dir.path()).remove(0);
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        assert_eq!(
            get(&Node::open(options(copy.path(), policy)).unwrap(), "a").as_deref(),
            Some("before")
        );

        disk.faults.plan(Plan::None);
        until("the log is well", || node.health() == Health::Ok);
        set(&node, "c", "after").unwrap();
        let before = contents(&node);
        node.close().unwrap();
        assert_eq!(
            contents(&Node::open(options(dir.path(), policy)).unwrap()),
            before
        );
    }
}

#[test]
fn after_a_failed_sync_a_new_base_is_made_before_writes_are_taken() {
    for policy in [Policy::Always, Policy::Everysec] {
        let dir = temporary();
        let disk = Disk::default();
        let node = Node::open_on(disk.clone(), options(dir.path(), policy)).unwrap();
        for k in ["a", "b", "c"] {
            set(&node, k, "before").unwrap();
        }
        get(&node, "a");
        disk.faults.plan(Plan::All {
            operation: "sync data",
            errno: EIO,
        });
        let in_flight = set(&node, "d", "in flight");
        assert_eq!(
            in_flight.is_ok(),
            policy == Policy::Everysec,
            "everysec answers before the sync"
        );
        // A new base needs no sync of old data: it is made even while those fail.
        until("a base was made", || {
            std::fs::read_dir(dir.path())
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with("base-"))
        });
        disk.faults.plan(Plan::None);
        until("the log is well", || node.health() == Health::Ok);
        set(&node, "e", "after").unwrap();
        let before = contents(&node);
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            ["a", "c", "d", "e"],
            "b was the least recently used"
        );
        let position = node.status().position;
        assert!(position.synced <= position.written);
        node.close().unwrap();
        assert_eq!(check(dir.path()).unwrap().damage, []);
        let node = Node::open(options(dir.path(), policy)).unwrap();
        assert_eq!(contents(&node), before);
        assert!(
            set(&node, "f", "later").unwrap() > position.written,
            "versions grow on"
        );
    }
}

/// Writes with everything that the log does in it: segments, evictions, deletions. Notes what was
/// acknowledged, and what was sent and may be there.
fn workload(
    node: &Node,
    acknowledged: &mut BTreeMap<String, Option<String>>,
    unknown: &mut Vec<(String, Option<String>)>,
) {
    for n in 0..12 {
        let k = format!("key{}", n % 3);
        let value = (n % 5 != 4).then(|| format!("value {n}"));
        let done = match &value {
            Some(value) => set(node, &k, value),
            None => del(node, &k),
        };
        match done {
            Ok(_) => {
                unknown.retain(|(other, _)| *other != k);
                acknowledged.insert(k, value);
            }
            Err(WriteError::Refused(Refusal::Unknown(_))) => unknown.push((k, value)),
            Err(WriteError::Refused(Refusal::Unhealthy(_)) | WriteError::Missing) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn check_kept(
    node: &Node,
    acknowledged: &BTreeMap<String, Option<String>>,
    unknown: &[(String, Option<String>)],
    case: &str,
) {
    for (k, value) in acknowledged {
        let found = get(node, k);
        let possible = found == *value || unknown.iter().any(|(other, sent)| other == k && *sent == found);
        assert!(
            possible,
            "{case}: {k} is {found:?}; acknowledged was {value:?}, unknown are {unknown:?}"
        );
    }
    for (k, _) in contents(node) {
        let sent = acknowledged.contains_key(&k) || unknown.iter().any(|(other, _)| *other == k);
        assert!(sent, "{case}: {k} was never sent");
    }
}

#[test]
fn each_operation_on_a_file_may_fail_or_be_the_last_with_always() {
    each_operation_may_fail_or_be_the_last(Policy::Always);
}

#[test]
fn each_operation_on_a_file_may_fail_or_be_the_last_with_everysec() {
    each_operation_may_fail_or_be_the_last(Policy::Everysec);
}

fn each_operation_may_fail_or_be_the_last(policy: Policy) {
    let run = |plan: Plan| -> usize {
        let case = format!("{policy:?}, {}", describe(plan));
        let dir = temporary();
        let mut options = options(dir.path(), policy);
        options.log.segment_bytes_max = 120;
        let disk = Disk::default();
        disk.faults.plan(plan);
        let (mut acknowledged, mut unknown) = (BTreeMap::new(), Vec::new());
        if let Ok(node) = Node::open_on(disk.clone(), options.clone()) {
            workload(&node, &mut acknowledged, &mut unknown);
            if !matches!(plan, Plan::Crash { .. }) {
                // A single failure heals by itself, and what was in flight is then there as well.
                until("a write is taken", || set(&node, "key0", "healed").is_ok());
                acknowledged.insert("key0".to_string(), Some("healed".to_string()));
                unknown.retain(|(k, _)| k != "key0");
                check_kept(&node, &acknowledged, &unknown, &case);
            }
            // Dropped, not closed: as a process that is killed.
        }
        let made = disk.faults.made();
        let node = Node::open(options).unwrap_or_else(|error| panic!("{case}: {error}"));
        check_kept(&node, &acknowledged, &unknown, &case);
        made
    };
    let made = run(Plan::None);
    assert!(made > 20, "the workload makes {made} operations");
    for at in 0..made {
        run(Plan::Crash { at });
        run(Plan::Once { at, errno: ENOSPC });
        run(Plan::Once { at, errno: EIO });
    }
}

fn describe(plan: Plan) -> String {
    match plan {
        Plan::None => "no fault".to_string(),
        Plan::Once { at, errno } => format!("operation {at} fails with errno {errno}"),
        Plan::Crash { at } => format!("stopped at operation {at}"),
        Plan::All { operation, errno } => format!("every {operation} fails with errno {errno}"),
    }
}
