//! What a node finds in its directory: an older copy of it, or what it knew before etcd was away.

use crate::common::files::copy_dir;
use crate::common::proxy::Mode;
use crate::common::{eventually, poll, pykv};
use crate::election::{Cluster, LEASE_OVER, seldom};
use std::path::{Path, PathBuf};

/// Puts a directory in the place of another one, which is kept.
fn put_in_place(dir: &Path, other: &Path) -> PathBuf {
    let kept = dir.with_extension("kept");
    std::fs::rename(dir, &kept).unwrap();
    copy_dir(other, dir);
    kept
}

#[test]
fn an_older_copy_of_a_standbys_directory_takes_nothing_over_and_the_right_one_does() {
    let name = "an_older_copy_of_a_standbys_directory_takes_nothing_over_and_the_right_one_does";
    let Some(mut cluster) = Cluster::start(name, 2, &["--sync-replicas", "1"]) else {
        return;
    };
    let primary = cluster.has_standbys(1);
    let standby = 1 - primary;
    cluster.set("k", "1");
    cluster.is_equal();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy");
    cluster.nodes[standby].server.sigterm();
    copy_dir(cluster.nodes[standby].server.dir(), &copy);
    cluster.nodes[standby].start_again();
    assert_eq!(cluster.has_standbys(1), primary);
    cluster.set("k", "2");
    cluster.is_equal();
    for node in &mut cluster.nodes {
        node.server.kill_9();
    }

    let dir = cluster.nodes[standby].server.dir().to_owned();
    let right = put_in_place(&dir, &copy);
    cluster.nodes[standby].start_again();
    assert!(
        seldom(|| cluster.why_not(standby).contains("older copy")),
        "{}",
        cluster.views()
    );
    let is_primary = poll(LEASE_OVER, || cluster.primary_of(&[standby]).is_some());
    assert!(!is_primary, "{}", cluster.views());
    let table = String::from_utf8(pykv(&["cluster"]).at(&cluster.nodes[standby].server).succeed()).unwrap();
    assert!(
        table.contains("older copy") && table.contains("put the right one back"),
        "{table}"
    );

    // Its own directory, started alone: it has every write, so it needs nobody.
    cluster.nodes[standby].server.kill_9();
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&right, &dir).unwrap();
    cluster.nodes[standby].start_again();
    eventually("it takes over", || cluster.primary_of(&[standby]).is_some());
    assert_eq!(cluster.nodes[standby].value("k").as_deref(), Some("2"));
    cluster.nodes[primary].start_again();
    cluster.is_equal();
}

#[test]
fn an_older_copy_of_the_primarys_directory_takes_nothing_over_and_catches_up_as_a_replica() {
    let name = "an_older_copy_of_the_primarys_directory_takes_nothing_over_and_catches_up_as_a_replica";
    let Some(mut cluster) = Cluster::start(name, 2, &["--sync-replicas", "1"]) else {
        return;
    };
    let first = cluster.has_standbys(1);
    cluster.set("k", "1");
    cluster.is_equal();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy");
    // It hands over, comes back, and is primary once more.
    cluster.nodes[first].server.sigterm();
    copy_dir(cluster.nodes[first].server.dir(), &copy);
    cluster.nodes[first].start_again();
    cluster.has_standbys(1);
    let to = cluster.nodes[first].link.address();
    eventually("it is primary again", || {
        pykv(&["switchover", "--to", &to])
            .at(&cluster.nodes[1 - first].server)
            .run();
        cluster.primary_of(&[first]).is_some()
    });
    assert_eq!(cluster.has_standbys(1), first);
    cluster.set("k", "2");
    cluster.is_equal();
    for node in &mut cluster.nodes {
        node.server.kill_9();
    }
    let dir = cluster.nodes[first].server.dir().to_owned();
    put_in_place(&dir, &copy);
    cluster.nodes[first].start_again();
    assert!(
        seldom(|| cluster.why_not(first).contains("older copy")),
        "{}",
        cluster.views()
    );
    let is_primary = poll(LEASE_OVER, || cluster.primary_of(&[first]).is_some());
    assert!(!is_primary, "{}", cluster.views());
    // The standby has every write. The copy catches up, and counts from then on.
    cluster.nodes[1 - first].start_again();
    assert_eq!(cluster.has_standbys(1), 1 - first);
    cluster.is_equal();
    assert_eq!(cluster.nodes[first].value("k").as_deref(), Some("2"));
    cluster.nodes[1 - first].server.kill_9();
    eventually("it takes over", || cluster.primary_of(&[first]).is_some());
}

#[test]
fn a_replica_that_starts_while_etcd_is_away_follows_the_last_primary_and_takes_nothing_over() {
    let name = "a_replica_that_starts_while_etcd_is_away_follows_the_last_primary_and_takes_nothing_over";
    let Some(mut cluster) = Cluster::start(name, 2, &[]) else {
        return;
    };
    cluster.primary();
    cluster.is_equal();
    let primary = cluster.is_known();
    let replica = 1 - primary;
    cluster.set("k", "1");
    cluster.is_equal();
    // For the replica alone: the primary needs nobody's word meanwhile.
    cluster.links[replica].set(Mode::Cut);
    cluster.nodes[replica].server.kill_9();
    cluster.nodes[replica].start_again();
    cluster.nodes[replica].streams();
    eventually("it hears the primary", || {
        cluster.asks(replica, "/replica") == Some(200)
    });
    let said = cluster.nodes[replica].server.stderr();
    assert!(said.contains("the last primary that it knows of"), "{said}");
    cluster.set("k", "2");
    eventually("the write is there", || {
        cluster.nodes[replica].value("k").as_deref() == Some("2")
    });
    cluster.nodes[primary].server.kill_9();
    let has_taken_over = poll(LEASE_OVER, || cluster.primary_of(&[replica]).is_some());
    assert!(!has_taken_over, "{}", cluster.views());
    cluster.links[replica].set(Mode::Pass);
    eventually("it takes over once etcd answers", || {
        cluster.primary_of(&[replica]).is_some()
    });
    assert_eq!(cluster.nodes[replica].value("k").as_deref(), Some("2"));
    cluster.nodes[primary].start_again();
    cluster.is_equal();
}
