//! A directory that an earlier pykv has written opens, holds what it held, and goes on.
//!
//! `golden/438a609` is of format 1, of before logs had branches. What is in it is stated here; `golden/README.md` says
//! how it was made.

use crate::common::cluster::{Member, become_equal};
use crate::common::files::copy_dir;
use crate::common::node::Setup;
use crate::common::proxy::Proxy;
use crate::common::{Server, eventually, pykv};
use std::path::Path;
use tempfile::TempDir;

/// The id that the store was made with.
const ID: &str = "acfac907812682f9520348b020785af6";

/// What the old node said of what it held.
const DIGEST: &str = "0823a477325a6655";

/// 160 plain keys, 10 with a deadline, a counter, bytes, an empty value, and a key that has to be encoded.
const ENTRIES: u64 = 174;

/// 2100-01-01, in ms since the Unix epoch.
const YEAR_2100_MS: u64 = 4_102_444_800_000;

/// A copy of one of the directories.
fn golden(name: &str, home: &TempDir) -> std::path::PathBuf {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/438a609");
    let dir = home.path().join(name);
    copy_dir(&kept.join(name), &dir);
    dir
}

/// Checks that a node holds what the old one did.
#[track_caller]
fn holds_all(node: &Server) {
    let status = node.get("/status").expect(200).body_json();
    assert_eq!(status["log"]["id"], ID);
    let raw = |key: &str| node.get(&format!("/kv/{key}?raw"));
    for number in 0..160 {
        // The first forty were written again after the compaction.
        let time = if number < 40 { "second" } else { "first" };
        let answer = raw(&format!("plain-{number:03}")).expect(200);
        assert_eq!(answer.body, format!("{time} {number:03}").into_bytes());
    }
    for number in 0..20 {
        raw(&format!("gone-{number:02}")).expect(404);
    }
    for number in 0..10_u64 {
        let entry = node.get(&format!("/kv/ttl-{number:02}")).expect(200).body_json();
        // Half of them were given a new one after the compaction.
        let (value, deadline_ms) = match number < 5 {
            true => ("lasts longer", YEAR_2100_MS + number * 1000),
            false => ("lasts", YEAR_2100_MS),
        };
        assert_eq!(entry["value"], value);
        assert_eq!(entry["expires_at_ms"], deadline_ms);
    }
    // Its second was over before the node was stopped.
    raw("short").expect(404);
    let counter = raw("counter").expect(200);
    assert_eq!(counter.body, b"4");
    assert_eq!(counter.header("ETag"), Some("\"10060\""));
    assert_eq!(raw("bytes").expect(200).body, (0..=255).collect::<Vec<u8>>());
    assert_eq!(raw("empty").expect(200).body, b"");
    assert_eq!(
        raw("gr%C3%BC%C3%9Fe%20%2F%20%22x%22").expect(200).body,
        "grüße".as_bytes()
    );
}

#[track_caller]
fn entries(node: &Server) -> u64 {
    let stats = node.get("/stats").expect(200).body_json();
    stats["entries"]
        .as_u64()
        .unwrap_or_else(|| panic!("no number of entries in {stats}"))
}

/// Checks a directory that no node runs on.
#[track_caller]
fn is_clean(dir: &Path) -> String {
    String::from_utf8(pykv(&["check"]).dir(dir).succeed()).unwrap()
}

#[test]
fn it_opens_and_is_written_to_and_followed() {
    let home = TempDir::new().unwrap();
    let dir = golden("primary", &home);
    let checked = is_clean(&dir);
    assert!(checked.contains(DIGEST), "{checked}");
    let link = Proxy::start();
    let advertise = link.address();
    let setup = Setup::new(&["--advertise", &advertise]).data(&dir);
    let mut node = Member::of(setup, link);
    holds_all(&node.server);
    assert_eq!(entries(&node.server), ENTRIES);
    // The version of an old write is still the one to change it by, and a new one is above all of the old.
    let mut client = node.server.client();
    let headers = [("If-Match", "\"10060\"")];
    let answer = client.request("PUT", "/kv/counter", &headers, b"5").expect(200);
    let version: u64 = answer.header("ETag").unwrap().trim_matches('"').parse().unwrap();
    assert!(version > 10_113, "version {version} is one of the old log");
    let answer = client.request("PUT", "/kv/counter", &headers, b"6");
    answer.expect_problem(412);
    node.set("new", "value");
    node.set("plain-000", "first 000");

    assert!(node.server.sigterm().success());
    is_clean(&dir);
    node.start_again();
    node.server.kill_9();
    node.start_again();
    assert_eq!(node.value("new").as_deref(), Some("value"));
    assert_eq!(node.value("counter").as_deref(), Some("5"));
    assert_eq!(node.value("plain-000").as_deref(), Some("first 000"));
    assert_eq!(node.value("plain-001").as_deref(), Some("second 001"));

    let replica = Member::replica(&[&node], &[]);
    become_equal(&[&node, &replica]);
    node.set("after", "1");
    become_equal(&[&node, &replica]);
    assert_eq!(replica.value("after").as_deref(), Some("1"));
    assert_eq!(entries(&replica.server), ENTRIES + 2);
    pykv(&["compact"]).at(&node.server).succeed();
    eventually("it is compacted", || {
        !dir.join("base-00000000000000005318.pykv").exists()
    });
    assert!(node.server.sigterm().success());
    is_clean(&dir);
}

#[test]
fn an_old_replica_goes_on_behind_the_primary_that_was_upgraded_too() {
    let home = TempDir::new().unwrap();
    let (primary, replica) = (golden("primary", &home), golden("replica", &home));
    assert!(is_clean(&replica).contains(DIGEST));
    let link = Proxy::start();
    let advertise = link.address();
    let setup = Setup::new(&["--advertise", &advertise]).data(&primary);
    let node = Member::of(setup, link);
    let link = Proxy::start();
    let advertise = link.address();
    let setup = Setup::replica(&node.link.address(), &["--advertise", &advertise]).data(&replica);
    let behind = Member::of(setup, link);
    become_equal(&[&node, &behind]);
    holds_all(&behind.server);
    node.set("new", "value");
    become_equal(&[&node, &behind]);
    // It had all of the log but its last record, so it took no state anew, and nothing was set aside.
    let said = behind.server.stderr();
    assert!(!said.contains("taking the state"), "{said}");
    assert_eq!(behind.set_aside(), "");
}

#[test]
fn an_old_replica_is_promoted_where_its_primary_is_gone() {
    let home = TempDir::new().unwrap();
    let dir = golden("replica", &home);
    let link = Proxy::start();
    let advertise = link.address();
    // ROLE says that it is a replica, whatever the command is.
    let node = Member::of(Setup::new(&["--advertise", &advertise]).data(&dir), link);
    assert!(!node.is_primary());
    holds_all(&node.server);
    node.promote_by_force();
    node.set("new", "value");
    assert_eq!(node.value("new").as_deref(), Some("value"));
    assert_eq!(entries(&node.server), ENTRIES + 1);
}
