//! Another store stands at the primary's address: it is neither followed nor written to, and nothing is given up for
//! it.

use crate::common::cluster::{Member, become_equal};
use crate::common::node::Setup;
use crate::common::replicas::{LOOKED_AT, has_no_primary, knock};
use crate::common::{Server, eventually, poll, pykv};

const KEYS: u64 = 200;

/// A replica of a primary that is gone, at whose address a store of its own stands now, with so many keys.
#[track_caller]
fn robbed(flags: &[&str], keys: usize, is_in_order: bool) -> (Member, Server, Member) {
    let mut a = Member::primary(&[]);
    let b = Member::replica(&[&a], flags);
    a.fill("k", KEYS as usize, "value");
    become_equal(&[&a, &b]);
    b.is_even();
    match is_in_order {
        true => assert!(a.server.sigterm().success()),
        false => a.server.kill_9(),
    }
    let foreign = Server::start(&["--advertise", &a.link.address()]);
    for number in 0..keys {
        let path = format!("/kv/theirs{number}?upsert=true");
        foreign.client().put(&path, b"value").expect(201);
    }
    a.link.lead_to(foreign.address());
    (b, foreign, a)
}

fn entries(node: &Server) -> u64 {
    let stats = node.get("/stats").expect(200).body_json();
    stats["entries"].as_u64().unwrap()
}

#[test]
fn it_is_no_primary() {
    for is_in_order in [false, true] {
        let (b, foreign, mut a) = robbed(&[], 0, is_in_order);
        has_no_primary(&b);
        assert_eq!(entries(&b.server), KEYS);
        assert_eq!(entries(&foreign), 0, "a writer was sent there");
        // The primary comes back to its address.
        drop(foreign);
        a.start_again();
        become_equal(&[&a, &b]);
        assert_eq!(knock(&b).status, 307);
    }
}

#[test]
fn a_restored_backup_is_another_store_too() {
    let mut a = Member::primary(&[]);
    let b = Member::replica(&[&a], &[]);
    a.fill("k", 100, "value");
    let home = tempfile::tempdir().unwrap();
    let (file, dir) = (home.path().join("backup.pykv"), home.path().join("restored"));
    pykv(&["backup"]).arg(&file).at(&a.server).succeed();
    a.fill("later", 100, "value");
    become_equal(&[&a, &b]);
    assert!(a.server.sigterm().success());
    pykv(&["restore"]).arg(&file).dir(&dir).succeed();
    let restored = Setup::new(&["--advertise", &a.link.address()]).data(&dir).start();
    a.link.lead_to(restored.address());
    has_no_primary(&b);
    assert_eq!(entries(&b.server), KEYS);
    assert_eq!(entries(&restored), 100);
    // Whoever wants it followed gives it a replica with nothing of its own.
    let c = Member::replica(&[&a], &[]);
    c.streams();
    assert!(c.value("k99").is_some() && c.value("later0").is_none());
}

#[test]
fn it_does_not_keep_a_successor_from_taking_over() {
    let (b, foreign, _a) = robbed(&["--failover-after", "1s"], 3, false);
    eventually("it takes over", || b.is_primary());
    assert_eq!(knock(&b).status, 201);
    assert_eq!(entries(&b.server), KEYS + 1);
    assert_eq!(entries(&foreign), 3);
}

#[test]
fn a_replica_that_may_replace_its_store_keeps_it_all_the_same() {
    for keys in [0, 3] {
        let (b, foreign, _a) = robbed(&["--replace", "000102030405060708090a0b0c0d0e0f"], keys, false);
        // What would be wrong takes a while, so a while is given to it.
        assert!(
            !poll(LOOKED_AT, || entries(&b.server) < KEYS),
            "it gave up {KEYS} keys for a store with {keys}: {}",
            b.status()
        );
        has_no_primary(&b);
        assert_eq!(entries(&foreign), keys as u64);
    }
}
