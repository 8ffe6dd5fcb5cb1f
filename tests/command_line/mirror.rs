//! `pykv mirror` between two nodes. With a gateway it is tested beside gateways.

use crate::common::{Server, eventually, pykv};
use std::time::{Duration, Instant};

/// What both sides have lost by themselves is no failure: the other side has nothing to delete, and writes nothing.
#[test]
fn keys_that_are_gone_on_both_sides_end_no_mirror() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    let _mirror = pykv(&["mirror", "--from", &from.url(), "--to", &to.url()]).spawn();
    let mut client = from.client();
    client.put("/kv/begun?upsert=true", b"1").expect(201);
    eventually("the mirror follows", || to.get("/kv/begun").status == 200);
    client.put("/kv/short?upsert=true&ttl=0.3", b"1").expect(201);
    let has_expired = |node: &Server| node.get("/stats").expect(200).body_json()["expiries"] == 1;
    eventually("the key has expired", || has_expired(&from));
    to.client().delete("/kv/begun").expect(204);
    client.delete("/kv/begun").expect(204);
    client.put("/kv/later?upsert=true", b"1").expect(201);
    eventually("the mirror goes on", || to.get("/kv/later").status == 200);
}

#[test]
fn a_mirror_that_is_to_end_does_so_once_nothing_is_left_to_follow() {
    let (from, to) = (Server::start(&[]), Server::start(&[]));
    from.client().put("/kv/a?upsert=true", b"1").expect(201);
    for args in [&[][..], &["--prefix", "b"]] {
        let sides = ["mirror", "--from", &from.url(), "--to", &to.url(), "--once"].map(str::to_owned);
        let sides: Vec<&str> = sides.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let mirror = pykv(&[&sides[..], args].concat()).expect(0);
        assert!(mirror.stderr.contains("has caught up"), "{mirror:?}");
        // A poll of a node where nothing changes takes half a minute.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
    assert_eq!(pykv(&["get", "a"]).at(&to).succeed(), b"1");
}

#[test]
fn a_side_is_named_by_its_own_flags() {
    let node = Server::start(&[]);
    let url = node.url();
    for (from, to, flag) in [
        ("127.0.0.1:1", &*url, "name another with --from"),
        (&url, "127.0.0.1:1", "name another with --to"),
    ] {
        let mirror = pykv(&["mirror", "--from", from, "--to", to]).expect(3);
        assert!(mirror.stderr.contains(flag), "{mirror:?}");
    }
    let home = tempfile::tempdir().unwrap();
    let tokens = home.path().join("tokens");
    std::fs::write(&tokens, "admin secret\n").unwrap();
    let closed = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    let mirror = pykv(&["mirror", "--from", &closed.url(), "--to", &url]).expect(5);
    assert!(
        mirror
            .stderr
            .contains("give one with --from-token-file or PYKV_TOKEN"),
        "{mirror:?}"
    );
}
