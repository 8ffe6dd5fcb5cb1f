//! Backups of a node that goes on serving, and stores made of them.

use crate::common::{Server, node::Setup, pykv};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

fn filled() -> Server {
    let node = Server::start(&["--compact-ratio", "0"]);
    let mut client = node.client();
    for n in 0..500 {
        client
            .put(&format!("/kv/{n}?upsert=true"), format!("value-{n}").as_bytes())
            .expect(201);
    }
    client.put("/kv/large?upsert=true", &vec![7; 300_000]).expect(201);
    client.put("/kv/ttl?upsert=true&ttl=1000", b"v").expect(201);
    client.delete("/kv/3").expect(204);
    node
}

fn digest(node: &Server) -> String {
    node.get("/status").body_json()["log"]["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn backup(node: &Server, name: &str) -> (PathBuf, String) {
    let file = node.home().join(name);
    let said = pykv(&["backup"]).arg(&file).at(node).succeed();
    (file, String::from_utf8(said).unwrap())
}

#[test]
fn a_restored_store_is_the_one_that_was_backed_up() {
    let node = filled();
    let (file, said) = backup(&node, "b.pykv");
    assert!(
        said.contains("501 entries") && said.contains(&digest(&node)),
        "{said}"
    );
    assert!(said.contains(&node.offset().to_string()), "{said}");
    let checked = String::from_utf8(pykv(&["check"]).arg(&file).succeed()).unwrap();
    assert!(
        checked.starts_with(&said) && checked.ends_with("intact\n"),
        "{checked}"
    );
    let logged = String::from_utf8(pykv(&["log"]).arg(&file).succeed()).unwrap();
    assert_eq!(
        logged
            .lines()
            .filter(|line| line.contains("\"operation\":\"SET\""))
            .count(),
        501
    );

    let dir = node.home().join("restored");
    let restored = pykv(&["restore"]).arg(&file).dir(&dir).succeed();
    let restored = String::from_utf8(restored).unwrap();
    let (dir_named, rest) = restored.split_once(": ").unwrap();
    assert_eq!(dir_named, format!("restored to {}", dir.display()));
    assert!(rest.starts_with(&said), "{rest}");
    let other = Setup::new(&[]).data(&dir).start();
    assert_eq!(digest(&other), digest(&node));
    assert!(!other.stderr().contains("WARN"), "{}", other.stderr());
    for key in ["0", "499", "large", "ttl"] {
        let entry = |node: &Server| {
            let mut entry = node.get(&format!("/kv/{key}")).expect(200).body_json();
            // The time that is left is less at every look; the deadline stays in the comparison.
            entry.as_object_mut().unwrap().remove("ttl");
            entry
        };
        assert_eq!(entry(&node), entry(&other));
    }
    other.get("/kv/3").expect(404);
    // It is another store from now on.
    let id = |node: &Server| node.get("/status").body_json()["log"]["id"].clone();
    assert_ne!(id(&other), id(&node));
    assert!(other.client().put("/kv/new?upsert=true", b"v").version() > node.offset());
}

#[test]
fn a_backup_under_load_is_one_moment() {
    let node = filled();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Two keys that are written together, always with the same value.
        scope.spawn(|| {
            let mut client = node.client();
            for n in 0.. {
                if is_over.load(Relaxed) {
                    return;
                }
                let operation =
                    |key: &str| serde_json::json!({"op": "set", "key": key, "value": n.to_string()});
                let body = serde_json::json!({"operations": [operation("left"), operation("right")]});
                client.json("POST", "/batch", &body).expect(200);
                client.put(&format!("/kv/{}?upsert=true", n % 500), b"again");
                client.delete(&format!("/kv/{}", (n + 250) % 500));
            }
        });
        for round in 0..5 {
            let (file, said) = backup(&node, &format!("b{round}.pykv"));
            node.client().request("POST", "/compact", &[], b"").expect(202);
            let dir = node.home().join(format!("restored-{round}"));
            pykv(&["restore"]).arg(&file).dir(&dir).succeed();
            let checked = String::from_utf8(pykv(&["check"]).dir(&dir).succeed()).unwrap();
            let digest = said.trim().rsplit(' ').next().unwrap();
            assert!(checked.contains(digest), "{checked}, not {digest}");
            let other = Setup::new(&[]).data(&dir).start();
            let (left, right) = (other.get("/kv/left?raw"), other.get("/kv/right?raw"));
            assert_eq!(
                (left.status, left.body),
                (right.status, right.body),
                "round {round}"
            );
        }
        is_over.store(true, Relaxed);
    });
}

#[test]
fn a_backup_that_is_not_whole_is_recognised() {
    let node = filled();
    let (file, _) = backup(&node, "b.pykv");
    let bytes = fs::read(&file).unwrap();
    let broken = node.home().join("broken.pykv");
    let dir = node.home().join("restored");
    let refuse = |what: &str| {
        let checked = pykv(&["check"]).arg(&broken).run();
        assert!(matches!(checked.code, Some(7 | 8)), "{what}: {checked:?}");
        let restored = pykv(&["restore"]).arg(&broken).dir(&dir).run();
        assert!(matches!(restored.code, Some(7 | 8)), "{what}: {restored:?}");
        assert!(!dir.exists(), "{what}");
    };
    for cut in [
        0,
        10,
        4095,
        4096,
        5000,
        bytes.len() / 2,
        bytes.len() - 44,
        bytes.len() - 1,
    ] {
        fs::write(&broken, &bytes[..cut]).unwrap();
        refuse(&format!("cut at {cut}"));
    }
    for at in [0, 20, 4100, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        fs::write(&broken, &flipped).unwrap();
        refuse(&format!("flipped at {at}"));
    }
    fs::write(&broken, [bytes.clone(), vec![0; 100]].concat()).unwrap();
    refuse("more behind the end");
}

#[test]
fn nothing_is_written_over() {
    let node = filled();
    let (file, _) = backup(&node, "b.pykv");
    let before = fs::read(&file).unwrap();
    pykv(&["backup"]).arg(&file).at(&node).expect(4);
    assert_eq!(fs::read(&file).unwrap(), before);
    pykv(&["backup", "--force"]).arg(&file).at(&node).succeed();
    // A directory with a store, open or not.
    let refused = pykv(&["restore"]).arg(&file).dir(node.dir()).run();
    assert_eq!(refused.code, Some(8), "{refused:?}");
    let dir = node.home().join("restored");
    pykv(&["restore"]).arg(&file).dir(&dir).succeed();
    let again = pykv(&["restore"]).arg(&file).dir(&dir).run();
    assert!(
        again.code == Some(4) && again.stderr.contains("has a store"),
        "{again:?}"
    );
    // A segment of a log is none.
    let segment = crate::common::files::log_file(node.dir());
    assert_eq!(
        pykv(&["restore"])
            .arg(&segment)
            .dir(&node.home().join("x"))
            .run()
            .code,
        Some(8)
    );
}

#[test]
fn to_standard_output_too_and_for_admins_alone() {
    let node = filled();
    let bytes = pykv(&["backup", "-"]).at(&node).succeed();
    let file = node.home().join("piped.pykv");
    fs::write(&file, &bytes).unwrap();
    pykv(&["check"]).arg(&file).succeed();
    let head = node.client().request("HEAD", "/backup", &[], b"").expect(200);
    assert_eq!(head.header("Content-Type"), Some("application/octet-stream"));

    let tokens = node.home().join("tokens");
    fs::write(&tokens, "write w\nadmin a\n").unwrap();
    let guarded = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    for (token, status) in [("w", 403), ("a", 200)] {
        let header = [("Authorization", &*format!("Bearer {token}"))];
        assert_eq!(
            guarded.client().request("GET", "/backup", &header, b"").status,
            status
        );
        let compact = guarded
            .client()
            .request("POST", "/compact?wait=true", &header, b"");
        assert_eq!(compact.status, status);
    }
}
