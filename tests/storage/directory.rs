//! The data directory: what is put in its place, taken out of it or left in it is noticed, and not touched. What
//! pykv makes is for its owner alone, and durable.

use crate::common::{Server, eventually, files, node::Setup, pykv, skip};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a directory but LOCK.
fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| !path.ends_with("LOCK"))
}

/// What is in them, where nobody changes them meanwhile.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(dir)
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

fn files_of_the_log(dir: &Path) -> Vec<PathBuf> {
    let of_the_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pykv");
    let mut files: Vec<_> = files(dir).filter(of_the_log).collect();
    files.sort();
    files
}

#[track_caller]
fn write(node: &Server, from: usize, to: usize) {
    let mut client = node.client();
    for n in from..to {
        client
            .put(&format!("/kv/key-{n}?upsert=true"), n.to_string().as_bytes())
            .expect(201);
    }
}

#[track_caller]
fn expect_written(node: &Server, from: usize, to: usize) {
    let mut client = node.client();
    for n in from..to {
        let answer = client.get(&format!("/kv/key-{n}?raw")).expect(200);
        assert_eq!(answer.body, n.to_string().as_bytes());
    }
}

/// Waits until the node says that the directory is not its own, and returns what it says.
#[track_caller]
fn displaced(node: &Server) -> String {
    let mut detail = String::new();
    eventually("the node has noticed", || {
        let answer = node.get("/readyz");
        if answer.status == 503 {
            detail = answer.expect_problem(503);
        }
        detail.contains("no longer this node's")
    });
    node.client().put("/kv/late?upsert=true", b"").expect(503);
    expect_written(node, 0, 10);
    detail
}

#[test]
fn a_store_that_was_put_in_the_place_of_the_open_one_is_not_touched() {
    let mut node = Server::start(&[]);
    write(&node, 0, 10);
    let backup = node.home().join("backup");
    pykv(&["backup"]).at(&node).arg(&backup).succeed();
    write(&node, 10, 20);
    let aside = node.home().join("aside");
    fs::rename(node.dir(), &aside).unwrap();
    pykv(&["restore"]).arg(&backup).dir(node.dir()).succeed();
    let restored = contents(node.dir());
    assert!(displaced(&node).contains("another directory"));
    assert_eq!(contents(node.dir()), restored);

    // Back in its place, the node goes on.
    fs::remove_dir_all(node.dir()).unwrap();
    fs::rename(&aside, node.dir()).unwrap();
    eventually("the node is ready again", || node.get("/readyz").status == 200);
    write(&node, 20, 30);
    node.restart();
    expect_written(&node, 0, 30);
    node.sigterm();
    pykv(&["check"]).dir(node.dir()).succeed();
}

#[test]
fn the_files_of_another_store_in_the_directory_are_not_touched() {
    let mut other = Server::start(&[]);
    write(&other, 0, 50);
    other.sigterm();
    let node = Server::start(&[]);
    write(&node, 0, 10);
    fs::rename(files::log_file(other.dir()), files::log_file(node.dir())).unwrap();
    let foreign = contents(node.dir());
    displaced(&node);
    assert_eq!(contents(node.dir()), foreign);
}

/// Files of another store beside one's own would be found out by the next start alone, which would refuse them all.
#[test]
fn a_file_of_another_store_beside_its_own_is_noticed() {
    let mut other = Server::start(&[]);
    write(&other, 0, 50);
    other.sigterm();
    let mut node = Server::start(&[]);
    write(&node, 0, 10);
    let stray = files_of_the_log(other.dir()).pop().unwrap();
    let here = node.dir().join(stray.file_name().unwrap());
    fs::copy(&stray, &here).unwrap();
    eventually("it takes no writes", || node.get("/readyz").status == 503);
    assert_eq!(fs::read(&here).unwrap(), fs::read(&stray).unwrap());
    // It goes on once the file is gone, and has lost nothing.
    fs::remove_file(&here).unwrap();
    eventually("it takes writes again", || node.get("/readyz").status == 200);
    write(&node, 10, 20);
    node.sigterm();
    node.start_again();
    expect_written(&node, 0, 20);
}

/// A base as it would be at another offset.
fn base_at(base: &Path, offset: u64) -> (String, Vec<u8>) {
    let mut bytes = fs::read(base).unwrap();
    bytes[32..40].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32fast::hash(&bytes[12..4096]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    (format!("base-{offset:020}.pykv"), bytes)
}

/// A start takes the newest base. One of another store would cost the node its own log at the next compaction.
#[test]
fn a_file_of_another_store_is_not_taken_by_a_start() {
    let mut other = Server::start(&["--log-backlog", "0"]);
    write(&other, 0, 50);
    pykv(&["compact"]).at(&other).succeed();
    other.sigterm();
    let [base, segment] = &files_of_the_log(other.dir())[..] else {
        panic!("a base and a segment");
    };
    let mut node = Server::start(&[]);
    for is_compacted in [false, true] {
        write(
            &node,
            10 * usize::from(is_compacted),
            10 + 10 * usize::from(is_compacted),
        );
        if is_compacted {
            pykv(&["compact"]).at(&node).succeed();
        }
        node.sigterm();
        let own = contents(node.dir());
        let name = segment.file_name().unwrap().to_str().unwrap();
        let strangers = [
            base_at(base, 1 << 40),
            base_at(base, 1),
            (name.to_owned(), fs::read(segment).unwrap()),
        ];
        for (name, bytes) in strangers.iter().take(if is_compacted { 2 } else { 3 }) {
            let stranger = node.dir().join(name);
            fs::write(&stranger, bytes).unwrap();
            for command in [
                &["check"][..],
                &["check", "--repair"],
                &["compact"],
                &["serve", "--listen", "127.0.0.1:0"],
            ] {
                let refused = pykv(command).dir(node.dir()).expect(7);
                let is_named = refused.stderr.contains(&format!("{name} is of another log"));
                assert!(is_named && refused.stderr.contains("move it"), "{refused:?}");
            }
            fs::remove_file(&stranger).unwrap();
            assert_eq!(contents(node.dir()), own, "{name}");
        }
        pykv(&["check"]).dir(node.dir()).succeed();
        node.start_again();
        expect_written(&node, 0, 10);
    }
}

/// Somebody may want it still.
#[test]
fn a_compaction_leaves_a_segment_of_another_store_where_it_is() {
    let mut other = Server::start(&[]);
    write(&other, 0, 10);
    other.sigterm();
    let segment = files::log_files(other.dir()).remove(0);
    let mut node = Server::start(&["--log-backlog", "0"]);
    write(&node, 0, 10);
    node.restart();
    pykv(&["compact"]).at(&node).succeed();
    let stranger = node.dir().join(segment.file_name().unwrap());
    assert!(!stranger.exists(), "its own is gone");
    fs::copy(&segment, &stranger).unwrap();
    write(&node, 10, 20);
    pykv(&["compact"]).at(&node).succeed();
    assert_eq!(fs::read(&stranger).unwrap(), fs::read(&segment).unwrap());
    let named = format!("{} is of another log", stranger.display());
    assert!(node.stderr().contains(&named), "{}", node.stderr());
}

/// Its directory is no store, and no new one.
#[test]
fn a_restore_that_was_interrupted_is_not_taken_for_a_new_store() {
    let node = Server::start(&[]);
    write(&node, 0, 10);
    let backup = node.home().join("backup");
    pykv(&["backup"]).at(&node).arg(&backup).succeed();
    let dir = node.home().join("restored");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("LOCK"), b"").unwrap();
    let half = fs::read(&backup).unwrap()[..4200].to_vec();
    let unfinished = dir.join("base-00000000004294967296.tmp");
    fs::write(&unfinished, half).unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"]] {
        let refused = pykv(command).dir(&dir).expect(7);
        assert!(
            refused.stderr.contains("a restore that did not end"),
            "{refused:?}"
        );
        assert!(unfinished.exists());
    }
    pykv(&["restore"]).dir(&dir).arg(&backup).succeed();
    let restored = Setup::new(&[]).data(&dir).start();
    expect_written(&restored, 0, 10);
    assert!(!unfinished.exists());
}

/// Memory has all that a segment held which somebody took away, whichever it was.
#[test]
fn a_segment_that_is_deleted_under_a_node_is_made_up_for() {
    let mut node = Server::start(&["--segment-size", "64KiB"]);
    let mut client = node.client();
    for n in 0..40 {
        client
            .put(&format!("/kv/large{n}?upsert=true"), &[b'x'; 8000])
            .expect(201);
    }
    let files = files_of_the_log(node.dir());
    assert!(files.len() > 4, "{files:?}");
    fs::remove_file(&files[files.len() / 2]).unwrap();
    eventually("a base takes its place", || {
        let files = files_of_the_log(node.dir());
        files
            .iter()
            .any(|file| file.file_name().unwrap().to_str().unwrap().starts_with("base-"))
    });
    eventually("it takes writes again", || node.get("/readyz").status == 200);
    node.sigterm();
    node.start_again();
    for n in 0..40 {
        node.get(&format!("/kv/large{n}")).expect(200);
    }
}

#[test]
fn without_lock_the_directory_is_locked_still() {
    let node = Server::start(&[]);
    write(&node, 0, 10);
    let lock = node.dir().join("LOCK");
    for command in [
        &["compact"][..],
        &["serve", "--listen", "127.0.0.1:0"],
        &["check"],
    ] {
        let _ = fs::remove_file(&lock);
        let refused = pykv(command).dir(node.dir()).expect(8);
        assert!(refused.stderr.contains("open in another process"), "{refused:?}");
    }
    eventually("LOCK is made again", || lock.exists());
    write(&node, 10, 20);
    node.get("/readyz").expect(200);
}

#[test]
fn a_store_that_was_lost_is_not_taken_for_a_new_one() {
    let mut node = Server::start(&[]);
    write(&node, 0, 10);
    node.sigterm();
    for file in files_of_the_log(node.dir()) {
        fs::remove_file(file).unwrap();
    }
    for command in ["serve", "replica"] {
        let mut run = pykv(&[command, "--listen", "127.0.0.1:0"]).dir(node.dir());
        if command == "replica" {
            run = run.arg("--from").arg("127.0.0.1:1");
        }
        let refused = run.expect(7);
        assert!(refused.stderr.contains("--new-store"), "{refused:?}");
    }
    let dir = node.dir().to_path_buf();
    let node = Setup::new(&["--new-store"]).data(&dir).start();
    node.get("/kv/key-1").expect(404);
    write(&node, 0, 10);
}

#[test]
fn a_copy_of_lock_is_said_to_be_removed() {
    let node = Server::start(&[]);
    write(&node, 0, 10);
    let lock = node.dir().join("LOCK");
    let line = fs::read(&lock).unwrap();
    fs::remove_file(&lock).unwrap();
    fs::write(node.home().join("copy"), line).unwrap();
    fs::rename(node.home().join("copy"), &lock).unwrap();
    let detail = displaced(&node);
    let says = detail.contains(&format!("until {} is removed", lock.display()));
    assert!(says && !detail.contains("back in its place"), "{detail}");
    fs::remove_file(&lock).unwrap();
    eventually("it takes writes again", || node.get("/readyz").status == 200);
}

/// What was acknowledged is in a directory that no start finds, or in none.
#[test]
fn a_stop_without_its_directory_is_no_success() {
    for how in ["replaced", "removed", "emptied"] {
        let mut node = Server::start(&[]);
        write(&node, 0, 10);
        let aside = node.home().join("aside");
        match how {
            "replaced" => {
                fs::rename(node.dir(), &aside).unwrap();
                fs::create_dir(node.dir()).unwrap();
            }
            "removed" => fs::remove_dir_all(node.dir()).unwrap(),
            _ => files_of_the_log(node.dir())
                .iter()
                .for_each(|file| fs::remove_file(file).unwrap()),
        }
        if how == "removed" {
            displaced(&node);
        }
        let status = node.sigterm();
        let said = node.stderr();
        // Where the log's thread has been quicker, it has made the log anew.
        if how == "emptied" && status.success() {
            node.start_again();
            expect_written(&node, 0, 10);
            continue;
        }
        assert_eq!(status.code(), Some(8), "{how}: {said}");
        assert!(
            said.contains("may be on no disk") && !said.contains("stopped\n"),
            "{how}: {said}"
        );
    }
}

/// A LOCK that was written is the mark of a store, whatever has become of it.
#[test]
fn a_lock_that_cannot_be_read_is_a_mark_of_a_store() {
    let mut node = Server::start(&[]);
    write(&node, 0, 10);
    node.sigterm();
    let line = fs::read(node.dir().join("LOCK")).unwrap();
    for bytes in [&[0; 84][..], &[0x5a; 84], &line[..20]] {
        let empty = tempfile::tempdir().unwrap();
        fs::write(empty.path().join("LOCK"), bytes).unwrap();
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"]] {
            let refused = pykv(command).dir(empty.path()).expect(7);
            assert!(refused.stderr.contains("--new-store"), "{refused:?}");
        }
        drop(Setup::new(&["--new-store"]).data(empty.path()).start());
        // With its log beside it, it is a warning.
        fs::write(node.dir().join("LOCK"), bytes).unwrap();
        node.start_again();
        expect_written(&node, 0, 10);
        assert!(node.stderr().contains("LOCK cannot be read"), "{}", node.stderr());
        node.sigterm();
        assert_eq!(fs::read(node.dir().join("LOCK")).unwrap().len(), line.len());
    }
}

#[test]
fn what_a_first_start_leaves_that_was_cut_short_is_a_new_store() {
    let node = Server::start(&[]);
    let dir = node.home().join("other");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("LOCK"), "").unwrap();
    fs::write(dir.join("log-00000000000000000000.tmp"), "pykv").unwrap();
    write(&Setup::new(&[]).data(&dir).start(), 0, 10);
    // ROLE is written when there is a log.
    let dir = node.home().join("third");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("ROLE"), r#"{"role":"primary","peers":[]}"#).unwrap();
    pykv(&["serve", "--listen", "127.0.0.1:0"]).dir(&dir).expect(7);
}

#[test]
fn a_log_without_its_end_is_not_whole() {
    let mut node = Server::start(&["--segment-size", "64KiB"]);
    let mut client = node.client();
    for n in 0..10 {
        write(&node, n, n + 1);
        client.put("/kv/large?upsert=true", &[b'x'; 20_000]).is_success();
    }
    node.sigterm();
    let missing = files_of_the_log(node.dir()).pop().unwrap();
    let bytes = fs::read(&missing).unwrap();
    fs::remove_file(&missing).unwrap();
    for command in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let refused = pykv(command).dir(node.dir()).expect(7);
        assert!(
            refused.stderr.contains(missing.to_str().unwrap()) && refused.stderr.contains("--repair"),
            "{refused:?}"
        );
    }
    // Put back, or accepted.
    fs::write(&missing, bytes).unwrap();
    node.start_again();
    expect_written(&node, 0, 10);
    node.sigterm();
    fs::remove_file(files_of_the_log(node.dir()).pop().unwrap()).unwrap();
    let said = pykv(&["check", "--repair"]).dir(node.dir()).succeed();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("is lost") && said.ends_with("repaired\n"), "{said}");
    node.start_again();
    expect_written(&node, 0, 1);
}

#[test]
fn a_base_without_its_log_is_not_whole() {
    let mut node = Server::start(&["--log-backlog", "0"]);
    write(&node, 0, 10);
    pykv(&["compact"]).at(&node).succeed();
    write(&node, 10, 20);
    node.sigterm();
    for file in files::log_files(node.dir()) {
        fs::remove_file(file).unwrap();
    }
    pykv(&["check"]).dir(node.dir()).expect(7);
    pykv(&["serve", "--listen", "127.0.0.1:0"])
        .dir(node.dir())
        .expect(7);
}

#[test]
fn an_empty_last_segment_is_a_torn_tail() {
    for bytes in [&b""[..], b"pykv "] {
        let mut node = Server::start(&[]);
        write(&node, 0, 10);
        node.sigterm();
        let whole = String::from_utf8(pykv(&["check"]).dir(node.dir()).succeed()).unwrap();
        let mut segments = whole.lines().filter(|line| line.contains(", offsets "));
        let end = segments.next_back().unwrap().rsplit(' ').next().unwrap();
        let end: u64 = end.parse().unwrap();
        let bare = node.dir().join(format!("log-{end:020}.pykv"));
        fs::write(&bare, bytes).unwrap();
        let checked = String::from_utf8(pykv(&["check"]).dir(node.dir()).succeed()).unwrap();
        assert!(checked.ends_with("intact, with a torn tail\n"), "{checked}");
        node.start_again();
        assert!(node.stderr().contains("has no header and no record"));
        expect_written(&node, 0, 10);
        write(&node, 10, 20);
        node.restart();
        expect_written(&node, 0, 20);
    }
}

#[test]
fn a_bare_segment_does_not_hide_that_the_one_behind_it_is_missing() {
    let mut node = Server::start(&["--segment-size", "16KiB"]);
    let mut client = node.client();
    while files::log_files(node.dir()).len() < 5 {
        client.put("/kv/k?upsert=true", &[b'v'; 1000]);
    }
    drop(client);
    node.kill_9();
    let logs = files::log_files(node.dir());
    let [.., before, last] = &logs[..] else {
        unreachable!()
    };
    fs::remove_file(last).unwrap();
    fs::write(before, b"pykv ").unwrap();
    let found = contents(node.dir());
    for command in [
        &["check"][..],
        &["serve", "--listen", "127.0.0.1:0"],
        &["compact"],
    ] {
        let refused = pykv(command).dir(node.dir()).expect(7);
        assert!(
            refused.stderr.contains(last.to_str().unwrap()),
            "{command:?}: {refused:?}"
        );
        assert_eq!(contents(node.dir()), found, "{command:?}");
    }
    pykv(&["check", "--repair"]).dir(node.dir()).expect(0);
    node.start_again();
    node.get("/kv/k").expect(200);
}

#[test]
fn a_repair_leaves_no_part_of_a_batch() {
    let mut node = Server::start(&[]);
    write(&node, 0, 5);
    let operations: Vec<_> = (0..20)
        .map(|n| serde_json::json!({"op": "set", "key": format!("batch-{n}"), "value": format!("{n:0>100}")}))
        .collect();
    let mut client = node.client();
    client
        .json("POST", "/batch", &serde_json::json!({ "operations": operations }))
        .expect(200);
    write(&node, 5, 10);
    node.sigterm();
    let path = files::log_file(node.dir());
    let stopped = files_of_the_log(node.dir());
    let whole = fs::read(&path).unwrap();
    for damaged in [0, 7, 19] {
        let mut bytes = whole.clone();
        let value = format!("{damaged:0>100}");
        let at = bytes
            .windows(100)
            .position(|window| window == value.as_bytes())
            .unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        pykv(&["check", "--repair"]).dir(node.dir()).succeed();
        node.start_again();
        for n in 0..20 {
            node.get(&format!("/kv/batch-{n}")).expect(404);
        }
        // What stands around it is whole, and stays.
        expect_written(&node, 0, 10);
        node.kill_9();
        for file in files_of_the_log(node.dir()) {
            if !stopped.contains(&file) {
                fs::remove_file(file).unwrap();
            }
        }
        fs::write(&path, &whole).unwrap();
        fs::write(node.dir().join("LOCK"), "").unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_made_is_for_the_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let (above, access) = (home.path().join("above"), home.path().join("access.log"));
    let node = Setup::new(&["--access-log", access.to_str().unwrap()])
        .wrapper(&["sh", "-c", "umask 000; exec \"$@\"", "sh"])
        .data(&above.join("data"))
        .start();
    write(&node, 0, 10);
    pykv(&["compact"]).at(&node).succeed();
    for dir in [&above, node.dir()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    assert!(files_of_the_log(node.dir()).len() >= 2);
    let lock = node.dir().join("LOCK");
    for file in contents(node.dir()).into_keys().chain([lock, access]) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn an_open_file_of_tokens_and_a_short_token_are_told() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("tokens");
    fs::write(&path, "secret\nread 0123456789abcdef\n").unwrap();
    let args = ["--token-file", path.to_str().unwrap()];
    for (mode, is_open) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let node = Server::start(&args);
        let said = node.stderr();
        assert_eq!(said.contains("chmod 600"), is_open, "{said}");
        assert!(said.contains("1 of the tokens have fewer than 16"), "{said}");
    }
}

#[test]
fn both_lines_of_a_drawn_token_in_one_file_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("token.txt");
    for args in [&["token", "admin", "--plain"][..], &["token", "read"]] {
        fs::write(&path, pykv(args).succeed()).unwrap();
        let node = pykv(&["serve", "--listen", "127.0.0.1:0", "--token-file"]).arg(&path);
        let said = node.dir(&home.path().join("data")).expect(2).stderr;
        assert!(
            said.contains("only the first is for this file"),
            "{args:?}: {said}"
        );
    }
}

/// A FIFO is not waited for, whatever it stands for, and a link that leads nowhere makes no file there.
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let home = tempfile::tempdir().unwrap();
    let node = Server::start(&["--log-backlog", "0"]);
    write(&node, 0, 100);
    pykv(&["compact"]).at(&node).succeed();
    let backup = home.path().join("backup");
    pykv(&["backup"]).at(&node).arg(&backup).succeed();
    let dir = node.dir().to_owned();
    let mut node = node;
    assert!(node.sigterm().success());
    let fifo = home.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let to = home.path().join("restored");
    for args in [
        &["check"][..],
        &["log"],
        &["restore", "--dir", to.to_str().unwrap()],
    ] {
        let output = pykv(args).arg(&fifo).run();
        assert!(matches!(output.code, Some(7 | 8)), "{args:?}: {output:?}");
    }
    let names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(names.iter().any(|name| name == "LOCK"));
    for name in names
        .iter()
        .map(|name| name.as_os_str())
        .chain([OsStr::new("ROLE")])
    {
        let broken = home.path().join("broken");
        files::copy_dir(&dir, &broken);
        let file = broken.join(name);
        let _ = fs::remove_file(&file);
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        for args in [&["check"][..], &["log"], &["serve", "--listen", "127.0.0.1:0"]] {
            // What reads the log alone needs no LOCK, and ROLE is the business of a node.
            let is_read = match args[0] {
                "log" => name != "LOCK" && name != "ROLE",
                "check" => name != "ROLE",
                _ => true,
            };
            if !is_read {
                continue;
            }
            let output = pykv(args).dir(&broken).run();
            assert!(
                matches!(output.code, Some(7 | 8)),
                "{args:?} with {name:?}: {output:?}"
            );
            assert!(
                output.stderr.contains("regular"),
                "{args:?} with {name:?}: {output:?}"
            );
        }
        fs::remove_dir_all(&broken).unwrap();
    }
    // A link instead of LOCK.
    fs::remove_file(dir.join("LOCK")).unwrap();
    let target = home.path().join("target");
    std::os::unix::fs::symlink(&target, dir.join("LOCK")).unwrap();
    for args in [
        &["check"][..],
        &["check", "--repair"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["compact"],
    ] {
        let output = pykv(args).dir(&dir).run();
        assert_eq!(output.code, Some(8), "{args:?}: {output:?}");
        assert!(!target.exists(), "{args:?}");
    }
}

/// Every directory that was made is synced in the one above it.
#[test]
fn made_directories_are_durable() {
    let test = "made_directories_are_durable";
    let node = Server::start(&[]);
    write(&node, 0, 10);
    let backup = node.home().join("backup");
    pykv(&["backup"]).at(&node).arg(&backup).succeed();
    let home = node.home().canonicalize().unwrap();
    let (trace, dir) = (home.join("trace"), home.join("new/deep/a"));
    let restore = Command::new("strace")
        .args(TRACED)
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_pykv"))
        .args(["restore", "--dir"])
        .args([&dir, &backup])
        .output();
    match restore {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skip(test, &String::from_utf8_lossy(&output.stderr)),
        Err(error) => return skip(test, &error.to_string()),
    }
    assert_parents_are_synced(&fs::read_to_string(trace).unwrap(), &home);

    // The same of nodes that make their directory.
    for is_replica in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().canonicalize().unwrap();
        let (trace, dir) = (home.join("trace"), home.join("new/deep/a"));
        let mut wrapper = vec!["strace", "-D"];
        wrapper.extend(TRACED);
        wrapper.push(trace.to_str().unwrap());
        let setup = match is_replica {
            false => Setup::new(&[]),
            true => Setup::replica("127.0.0.1:1", &[]),
        };
        let mut node = setup.data(&dir).wrapper(&wrapper).start();
        node.sigterm();
        assert_parents_are_synced(&fs::read_to_string(trace).unwrap(), &home);
    }
}

/// What `strace` is told, before the file for what it sees.
const TRACED: [&str; 5] = ["-f", "-y", "-e", "trace=mkdir,mkdirat,fsync,fdatasync", "-o"];

/// Of the directories `new/deep/a` that a command has made below `home`, each was synced in its parent.
#[track_caller]
fn assert_parents_are_synced(trace: &str, home: &Path) {
    for made in ["new", "new/deep", "new/deep/a"].map(|made| home.join(made)) {
        let made_at = trace.find(&format!("\"{}\", 0700", made.display()));
        let made_at = made_at.unwrap_or_else(|| panic!("{} is not made: {trace}", made.display()));
        let parent = format!("<{}>)", made.parent().unwrap().display());
        let is_synced = |line: &str| line.contains("fsync(") && line.contains(&parent);
        assert!(
            trace[made_at..].lines().any(is_synced),
            "{}: {trace}",
            made.display()
        );
    }
    let dir = format!("<{}>)", home.join("new/deep/a").display());
    assert!(trace.contains(&dir), "{trace}");
}

/// On a file system that cannot be written, and without LOCK, a store is checked; what must write says why it cannot.
#[test]
fn a_copy_that_cannot_be_written_is_checked() {
    let test = "a_copy_that_cannot_be_written_is_checked";
    let mut node = Server::start(&[]);
    write(&node, 0, 10);
    node.sigterm();
    let mount = tempfile::tempdir().unwrap();
    let run = |command: &str, args: &[&str]| {
        let output = Command::new(command).args(args).arg(mount.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !run("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) {
        return skip(test, "mount");
    }
    for file in files_of_the_log(node.dir()) {
        fs::copy(&file, mount.path().join(file.file_name().unwrap())).unwrap();
    }
    assert!(run("mount", &["-o", "remount,ro"]));
    let checked = pykv(&["check"]).dir(mount.path()).run();
    let served = pykv(&["serve", "--listen", "127.0.0.1:0"])
        .dir(mount.path())
        .run();
    run("umount", &["-l"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(served.code, Some(8), "{served:?}");
    assert!(served.stderr.contains("Read-only"), "{served:?}");
}

/// What may not be looked into for a while is no other directory: what is open is written to, and nothing else is said.
#[test]
fn a_directory_that_may_not_be_looked_into_is_the_nodes_own() {
    let test = "a_directory_that_may_not_be_looked_into_is_the_nodes_own";
    // Otherwise root may look into everything.
    let as_others = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let [setpriv, without] = as_others;
    if !Command::new(setpriv)
        .args([without, "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return skip(test, "setpriv cannot drop capabilities");
    }
    let mut node = Setup::new(&["--segment-size", "64KiB"])
        .wrapper(&as_others)
        .start();
    write(&node, 0, 10);
    let set_mode = |mode| fs::set_permissions(node.dir(), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0);
    let mut client = node.client();
    let mut refused = String::new();
    eventually("a segment cannot be made", || {
        let answer = client.put("/kv/large?upsert=true", &[b'x'; 1000]);
        if !answer.is_success() {
            refused = answer.body_json()["detail"].as_str().unwrap().to_owned();
        }
        !refused.is_empty()
    });
    assert!(
        refused.contains("Permission denied") && !refused.contains("another"),
        "{refused}"
    );
    eventually("it is noticed that the log cannot be looked at", || {
        node.stderr().contains("cannot look at")
    });
    set_mode(0o700);
    eventually("it takes writes again", || {
        client.put("/kv/large?upsert=true", b"").is_success()
    });
    write(&node, 10, 20);
    assert!(
        !node.stderr().contains("no longer this node's") && !node.stderr().contains("was removed"),
        "{}",
        node.stderr()
    );
    node.restart();
    expect_written(&node, 0, 20);
}
