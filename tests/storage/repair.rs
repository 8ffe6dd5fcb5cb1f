//! A damaged or torn log as a user meets it: what `serve` says of it, what `check` shows, and what
//! `check --repair` makes of it.

use crate::common::files::log_file;
use crate::common::{Server, pykv};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running node: keys 0 to 9, each with the value `value-N`.
fn filled_node() -> Server {
    let node = Server::start(&["--fsync", "always"]);
    let mut client = node.client();
    for number in 0..10 {
        client
            .put(
                &format!("/kv/{number}?upsert=true"),
                format!("value-{number}").as_bytes(),
            )
            .expect(201);
    }
    node
}

/// A store as the binary leaves it.
fn stopped_node() -> Server {
    let mut node = filled_node();
    assert!(node.sigterm().success());
    node
}

/// All of a directory, LOCK too.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Where the value of a key stands in the log.
fn position_of(log: &[u8], needle: &[u8]) -> usize {
    log.windows(needle.len())
        .position(|window| window == needle)
        .unwrap()
}

#[test]
fn a_torn_tail_is_warned_of() {
    let mut node = filled_node();
    // One that is stopped in order leaves no torn tail.
    node.kill_9();
    let log = log_file(node.dir());
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    // Nothing is lost that `check` would not say, and it leaves the directory as it is.
    let before = fs::read(&log).unwrap();
    let check = pykv(&["check"]).dir(node.dir()).run();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &check.stderr;
    assert!(said.contains("torn") || said.contains("cut"), "{check:?}");
    assert_eq!(fs::read(&log).unwrap(), before);

    node.start_again();
    let torn_bytes = bytes.len() - 3 - (position_of(&bytes, b"value-8") + b"value-8".len());
    let stderr = node.stderr();
    assert!(
        stderr.to_lowercase().contains("warn") && stderr.contains(&torn_bytes.to_string()),
        "a warning that names {torn_bytes} bytes: {stderr}"
    );
    node.get("/kv/8").expect(200);
    node.get("/kv/9").expect(404);
}

#[test]
fn damage_is_refused_shown_and_repaired() {
    let mut node = stopped_node();
    let log = log_file(node.dir());
    let mut bytes = fs::read(&log).unwrap();
    let at = position_of(&bytes, b"value-4");
    bytes[at] ^= 0x20;
    fs::write(&log, &bytes).unwrap();
    let name = log.file_name().unwrap().to_str().unwrap();

    let serve = pykv(&["serve", "--listen", "127.0.0.1:0"])
        .dir(node.dir())
        .expect(7);
    assert!(serve.stderr.contains(name), "{serve:?}");
    assert!(serve.stderr.contains("offset"), "{serve:?}");
    assert!(serve.stderr.contains("check"), "says what would help: {serve:?}");
    assert_eq!(serve.stdout, b"", "never ready");

    let check = pykv(&["check"]).dir(node.dir()).expect(7);
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &check.stderr;
    let record_start = position_of(&bytes, b"value-3") + b"value-3".len();
    assert!(
        said.contains("a repair loses: a change of the key \"4\"\n"),
        "{said}"
    );
    assert!(said.contains(name), "{said}");
    assert!(
        said.contains(&record_start.to_string()),
        "byte {record_start} of the file: {said}"
    );
    assert_eq!(fs::read(&log).unwrap(), bytes, "check alone changes nothing");

    let repaired = String::from_utf8(pykv(&["check", "--repair"]).dir(node.dir()).succeed()).unwrap();
    assert!(
        repaired.contains("  lost: a change of the key \"4\"\n"),
        "{repaired}"
    );
    pykv(&["check"]).dir(node.dir()).succeed();
    // The damaged bytes are kept, from the start of the record to its end.
    let record = &bytes[record_start..at + b"value-4".len()];
    let keeps = |path: &Path| {
        fs::read(path).is_ok_and(|copy| copy.windows(record.len()).any(|window| window == record))
    };
    let kept = fs::read_dir(node.dir()).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path != log && keeps(&path)
    });
    assert!(kept, "no copy of what was removed in {}", node.dir().display());

    node.start_again();
    for number in [0, 1, 2, 3, 5, 6, 7, 8, 9] {
        let value = node.get(&format!("/kv/{number}")).expect(200).body_json()["value"].clone();
        assert_eq!(value, format!("value-{number}"));
    }
    node.get("/kv/4").expect(404);
    node.client().put("/kv/4?upsert=true", b"anew").expect(201);
    node.restart();
    assert_eq!(node.get("/kv/4").expect(200).body_json()["value"], "anew");
}

/// `serve` promises no repair, and `check` promises none that is then refused.
#[test]
fn what_is_beyond_repair_is_said_before_a_repair() {
    let mut node = Server::start(&["--segment-size", "16KiB"]);
    let mut client = node.client();
    for number in 0..40 {
        let value = "v".repeat(2000);
        client
            .put(&format!("/kv/{number}?upsert=true"), value.as_bytes())
            .expect(201);
    }
    assert!(node.sigterm().success());
    // Nothing says what stood before the second file.
    fs::remove_file(&crate::common::files::log_files(node.dir())[0]).unwrap();
    let serve = pykv(&["serve", "--listen", "127.0.0.1:0"])
        .dir(node.dir())
        .expect(7);
    assert!(!serve.stderr.contains("--repair"), "{serve:?}");
    for command in [&["check"][..], &["check", "--repair"]] {
        let check = pykv(command).dir(node.dir()).expect(7);
        assert!(
            check.stderr.contains("beyond repair") && !check.stderr.contains("--repair"),
            "{check:?}"
        );
    }
}

#[test]
fn check_of_a_whole_directory_is_content() {
    let node = stopped_node();
    let log = fs::read(log_file(node.dir())).unwrap();
    pykv(&["check"]).dir(node.dir()).succeed();
    pykv(&["check", "--repair"]).dir(node.dir()).succeed();
    assert_eq!(fs::read(log_file(node.dir())).unwrap(), log, "nothing to repair");
}

#[test]
fn a_second_process_is_told_that_the_directory_is_open() {
    let node = Server::start(&[]);
    let second = pykv(&["serve", "--listen", "127.0.0.1:0"]).dir(node.dir()).run();
    assert!(!matches!(second.code, None | Some(0)), "{second:?}");
    assert!(second.stderr.contains(node.dir().to_str().unwrap()), "{second:?}");
    assert!(second.stderr.contains("process"), "{second:?}");
    assert!(!second.stderr.contains("panicked"), "{second:?}");
    node.get("/healthz").expect(200);
    // To change what a running node writes would be worse than not to repair it.
    let repair = pykv(&["check", "--repair"]).dir(node.dir()).run();
    assert_ne!(repair.code, Some(0), "{repair:?}");
}

/// Where it cannot write, a repair leaves everything as it was; with room, it is right at once.
#[test]
fn a_repair_that_cannot_write_changes_nothing() {
    let mut node = Server::start(&["--segment-size", "16KiB"]);
    let mut client = node.client();
    for number in 0..40 {
        let value = format!("value-{number:<2000}");
        client
            .put(&format!("/kv/{number}?upsert=true"), value.as_bytes())
            .expect(201);
    }
    assert!(node.sigterm().success());
    // The end of a segment is 9 KB of rubbish: more than the files may have that are made now.
    let log = &crate::common::files::log_files(node.dir())[1];
    let mut bytes = fs::read(log).unwrap();
    let rubbish_bytes = 9000;
    let at = bytes.len() - rubbish_bytes;
    bytes[at..].fill(0x5a);
    fs::write(log, &bytes).unwrap();
    let before = contents(node.dir());

    let limited = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pykv")])
        .args(["check", "--repair", "--dir", node.dir().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(8), "{limited:?}");
    let said = String::from_utf8(limited.stderr).unwrap();
    assert!(
        said.contains("damaged") && said.contains("File too large"),
        "{said}"
    );
    assert_eq!(contents(node.dir()), before);

    let said = String::from_utf8(pykv(&["check", "--repair"]).dir(node.dir()).succeed()).unwrap();
    assert!(said.ends_with("repaired\n"), "{said}");
    let saved: Vec<_> = contents(node.dir())
        .into_iter()
        .filter(|(path, _)| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("damaged-")
        })
        .collect();
    assert_eq!(saved.len(), 1, "one copy");
    assert!(saved[0].1.len() >= rubbish_bytes);
    pykv(&["check"]).dir(node.dir()).succeed();
    node.start_again();
    node.get("/kv/0").expect(200);
    node.get("/kv/39").expect(200);
}

/// No crash tears the end of a log that was closed in order: what is missing there was lost.
#[test]
fn a_log_that_was_closed_in_order_has_no_torn_tail() {
    for left in [0, 100, 4096, 4096 + 150] {
        let mut node = stopped_node();
        let log = log_file(node.dir());
        let bytes = fs::read(&log).unwrap();
        fs::write(&log, &bytes[..left]).unwrap();
        let before = contents(node.dir());
        for (command, advice) in [
            (&["check"][..], "--repair"),
            (&["serve", "--listen", "127.0.0.1:0"], "`pykv check --dir"),
        ] {
            let refused = pykv(command).dir(node.dir()).expect(7);
            assert!(refused.stderr.contains(advice), "{left} bytes: {refused:?}");
            assert_eq!(contents(node.dir()), before, "{left} bytes");
        }
        pykv(&["check", "--repair"]).dir(node.dir()).succeed();
        if left >= 4096 {
            pykv(&["check"]).dir(node.dir()).succeed();
            node.start_again();
            node.get("/kv/9").expect(404);
        }
    }
}

#[test]
fn a_file_that_is_empty_is_said_to_be_empty() {
    let node = stopped_node();
    fs::write(node.dir().join("base-00000000000000000001.pykv"), "").unwrap();
    let check = pykv(&["check"]).dir(node.dir()).expect(7);
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(
        said.contains("the file is empty") && !said.contains("0 bytes"),
        "{said}"
    );
}
