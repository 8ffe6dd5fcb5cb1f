//! The files that commands write: whole or as they were, private, the same whoever else writes them at the time, and
//! nothing left behind.

use crate::common::fake::{Fake, json};
use crate::common::{SOON, Server, eventually, pykv, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

const CONFLICT: i32 = 4;

/// The two commands that write a file of a name.
const COMMANDS: [&str; 2] = ["export", "backup"];

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn filled() -> Server {
    let node = Server::start(&[]);
    for key in ["a", "b", "c"] {
        pykv(&["set", key, "value"]).at(&node).succeed();
    }
    node
}

/// Whether a file is whole, as its own kind of file.
#[track_caller]
fn assert_whole(command: &str, file: &Path) {
    match command {
        "export" => assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 3),
        _ => drop(pykv(&["check"]).arg(file).succeed()),
    }
}

/// A place for files alone.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    (dir, path)
}

#[test]
fn they_are_private_and_keep_what_was_there() {
    let node = filled();
    for command in COMMANDS {
        let (_dir, dir) = place();
        let file = dir.join("f");
        // Whatever the umask is.
        let script = "umask 000; exec \"$PYKV\" \"$0\" \"$1\"";
        let made = Command::new("sh")
            .args(["-c", script, command])
            .arg(&file)
            .env("PYKV", env!("CARGO_BIN_EXE_pykv"))
            .env("PYKV_SERVER", node.url())
            .status();
        assert!(made.unwrap().success());
        assert_eq!(mode(&file), 0o600, "{command}");
        assert_whole(command, &file);
        // Not without --force.
        fs::write(&file, "old").unwrap();
        let refused = pykv(&[command]).arg(&file).at(&node).expect(CONFLICT);
        assert!(refused.stderr.contains("--force"), "{refused:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        for kept in [0o600, 0o640, 0o444] {
            fs::set_permissions(&file, Permissions::from_mode(kept)).unwrap();
            pykv(&[command, "--force"]).arg(&file).at(&node).succeed();
            assert_eq!(mode(&file), kept, "{command}");
            assert_whole(command, &file);
        }
        assert_eq!(names(&dir), ["f"], "{command}");
    }
}

#[test]
fn an_owner_is_kept() {
    if !rustix::process::getuid().is_root() {
        return skip("an_owner_is_kept", "only root may write for others");
    }
    let node = filled();
    for command in COMMANDS {
        let (_dir, dir) = place();
        let file = dir.join("f");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&file, Some(65534), Some(65533)).unwrap();
        pykv(&[command, "--force"]).arg(&file).at(&node).succeed();
        let there = fs::metadata(&file).unwrap();
        assert_eq!(
            (there.uid(), there.gid(), mode(&file)),
            (65534, 65533, 0o600),
            "{command}"
        );
        assert_whole(command, &file);
    }
}

#[test]
fn links_are_followed() {
    let node = filled();
    for command in COMMANDS {
        let (_dir, dir) = place();
        fs::write(dir.join("target"), "old").unwrap();
        symlink("target", dir.join("link")).unwrap();
        symlink("absent", dir.join("dangling")).unwrap();
        let refused = pykv(&[command]).arg(dir.join("link")).at(&node).expect(CONFLICT);
        assert!(refused.stderr.contains("--force"), "{refused:?}");
        pykv(&[command, "--force"])
            .arg(dir.join("link"))
            .at(&node)
            .succeed();
        pykv(&[command]).arg(dir.join("dangling")).at(&node).succeed();
        for name in ["target", "absent"] {
            assert_whole(command, &dir.join(name));
        }
        for name in ["link", "dangling"] {
            assert!(
                fs::symlink_metadata(dir.join(name)).unwrap().is_symlink(),
                "{command}"
            );
        }
        assert_eq!(names(&dir), ["absent", "dangling", "link", "target"], "{command}");
    }
}

#[test]
fn pipes_and_devices_are_written_directly() {
    let node = filled();
    for command in COMMANDS {
        let (_dir, dir) = place();
        let fifo = dir.join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for args in [&[command][..], &[command, "--force"]] {
            let reader = thread::spawn({
                let fifo = fifo.clone();
                move || fs::read(fifo).unwrap()
            });
            assert_eq!(pykv(args).arg(&fifo).at(&node).succeed(), b"", "{args:?}");
            let file = dir.join("read");
            fs::write(&file, reader.join().unwrap()).unwrap();
            assert_whole(command, &file);
            fs::remove_file(&file).unwrap();
            assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
        }
        assert_eq!(names(&dir), ["fifo"], "{command}");
        pykv(&[command, "/dev/null"]).at(&node).succeed();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        // Standard output by its name, where that is a file: not to be replaced, nor is --force asked for.
        let out = dir.join("out");
        let script = "exec \"$PYKV\" \"$0\" /dev/stdout > \"$1\"";
        let done = Command::new("sh")
            .args(["-c", script, command])
            .arg(&out)
            .env("PYKV", env!("CARGO_BIN_EXE_pykv"))
            .env("PYKV_SERVER", node.url())
            .status();
        assert!(done.unwrap().success(), "{command}");
        assert_whole(command, &out);
    }
}

/// Where requests wait until the test says that they may go on.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        while !state.1 {
            state = changed.wait_timeout(state, SOON).unwrap().0;
        }
    }

    fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().0
    }

    fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }
}

/// A node that gives the first half of an export or a backup, and the rest when the gate is open.
fn slow(node: &Server, gate: &Gate) -> Fake {
    let gate = gate.clone();
    let address = node.address();
    let backup = pykv(&["backup", "-"]).at(node).succeed();
    Fake::start(move |asked, stream| {
        if asked.target == "/backup" {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
                backup.len()
            )?;
            stream.write_all(&backup[..backup.len() / 2])?;
            gate.wait();
            return stream.write_all(&backup[backup.len() / 2..]);
        }
        if asked.target.contains("prefix=") {
            // Entries of the prefix, in as many pages as it has letters.
            let prefix = asked
                .target
                .split("prefix=")
                .nth(1)
                .unwrap()
                .split('&')
                .next()
                .unwrap();
            if asked.target.contains("cursor=") {
                gate.wait();
                return stream.write_all(&json(&page(prefix, 1, None)));
            }
            return stream.write_all(&json(&page(prefix, 0, Some("next"))));
        }
        let answer = crate::common::Client::connect(address).get(&asked.target);
        stream.write_all(&json(&String::from_utf8(answer.body).unwrap()))
    })
}

/// A page of a listing: 1,000 entries under a prefix.
fn page(prefix: &str, number: usize, cursor: Option<&str>) -> String {
    let entries: Vec<_> = (0..1000)
        .map(|n| serde_json::json!({"key": format!("{prefix}{number}-{n}"), "value": "v".repeat(200), "version": 1}))
        .collect();
    serde_json::json!({"entries": entries, "cursor": cursor}).to_string()
}

#[test]
fn two_at_once_never_mix() {
    let node = filled();
    // Exports of different keys to one name: the file is one of them.
    let (_dir, dir) = place();
    let file = dir.join("same");
    let gate = Gate::default();
    let fake = slow(&node, &gate);
    let runs: Vec<_> = ["one", "another"]
        .into_iter()
        .map(|prefix| {
            let run = pykv(&["export", "--force", "--prefix", prefix]).env("PYKV_SERVER", &fake.url());
            let run = run.arg(&file);
            thread::spawn(move || run.run())
        })
        .collect();
    eventually("both are half way", || gate.waiting() == 2);
    assert!(!file.exists(), "nothing is there until it is whole");
    gate.open();
    for run in runs {
        let output = run.join().unwrap();
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 2000);
    let prefix = if text.starts_with("{\"key\":\"one") {
        "one"
    } else {
        "another"
    };
    for line in text.lines() {
        assert!(line.starts_with(&format!("{{\"key\":\"{prefix}")), "{line}");
    }
    assert_eq!(names(&dir), ["same"]);

    // Backups without --force: one of them is first, and the other one says so.
    let (_dir, dir) = place();
    let file = dir.join("same");
    let gate = Gate::default();
    let fake = slow(&node, &gate);
    let runs = [0, 1].map(|_| {
        let run = pykv(&["backup"]).env("PYKV_SERVER", &fake.url()).arg(&file);
        thread::spawn(move || run.run())
    });
    eventually("both are half way", || gate.waiting() == 2);
    gate.open();
    let mut codes = runs.map(|run| run.join().unwrap().code.unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, CONFLICT]);
    assert_whole("backup", &file);
    assert_eq!(names(&dir), ["same"]);
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let node = filled();
    for command in COMMANDS {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
            let (_dir, dir) = place();
            let file = dir.join("f");
            fs::write(&file, "old").unwrap();
            let gate = Gate::default();
            let fake = slow(&node, &gate);
            let mut args = vec![command, "--force"];
            if command == "export" {
                args.extend(["--prefix", "x"]);
            }
            let mut run = pykv(&args).env("PYKV_SERVER", &fake.url()).arg(&file).spawn();
            eventually("it is half way", || gate.waiting() == 1 && names(&dir).len() == 2);
            // Before it is whole, it is nobody's but the owner's.
            let unfinished = names(&dir).into_iter().find(|name| name != "f").unwrap();
            assert_eq!(mode(&dir.join(unfinished)), 0o600);
            kill_process(Pid::from_child(&run.0), signal).unwrap();
            let status = run.0.wait().unwrap();
            assert_eq!(status.code(), Some(code), "{command} {signal:?}");
            assert_eq!(names(&dir), ["f"], "{command} {signal:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "old");
            gate.open();
        }
    }
}

#[test]
fn what_others_have_beside_it_stays() {
    let node = filled();
    let (_dir, dir) = place();
    for name in ["x.part", "x.tmp", "y.part", "y.tmp"] {
        fs::write(dir.join(name), "mine").unwrap();
    }
    pykv(&["export"]).arg(dir.join("x")).at(&node).succeed();
    pykv(&["backup"]).arg(dir.join("y")).at(&node).succeed();
    for name in ["x.part", "x.tmp", "y.part", "y.tmp"] {
        assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), "mine");
    }
    // As long a name as there can be.
    let long = dir.join("n".repeat(255));
    pykv(&["export"]).arg(&long).at(&node).succeed();
    // A directory is no file, and none that is not there is made.
    let none = pykv(&["export", "--force"]).arg(&dir).at(&node).run();
    assert_eq!(none.code, Some(8), "{none:?}");
    let none = pykv(&["export"]).arg(dir.join("absent/f")).at(&node).run();
    assert!(
        none.code == Some(8) && none.stderr.contains("absent/f"),
        "{none:?}"
    );
    assert!(!none.stderr.contains("os error"), "{none:?}");
}

#[test]
fn a_file_is_synced_before_it_has_its_name_and_its_directory_after() {
    const TEST: &str = "a_file_is_synced_before_it_has_its_name_and_its_directory_after";
    let node = filled();
    for command in COMMANDS {
        let (_dir, dir) = place();
        let file = dir.join("f");
        fs::write(&file, "old").unwrap();
        let trace = tempfile::NamedTempFile::new().unwrap();
        let traced = Command::new("strace")
            .args(["-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o"])
            .arg(trace.path())
            .args([env!("CARGO_BIN_EXE_pykv"), command, "--force"])
            .arg(&file)
            .env("PYKV_SERVER", node.url())
            .output();
        match traced {
            Ok(output) if output.status.success() => {}
            Ok(output) => return skip(TEST, &String::from_utf8_lossy(&output.stderr)),
            Err(error) => return skip(TEST, &error.to_string()),
        }
        let calls = fs::read_to_string(trace.path()).unwrap();
        let calls: Vec<_> = calls
            .lines()
            .filter(|line| line.contains("fsync(") || line.contains("rename"))
            .collect();
        assert_eq!(calls.len(), 3, "{calls:?}");
        assert!(
            calls[0].contains("fsync(") && calls[0].contains(".part"),
            "{calls:?}"
        );
        assert!(
            calls[1].contains("rename") && calls[1].contains("/f\""),
            "{calls:?}"
        );
        assert!(calls[2].contains("fsync("), "{calls:?}");
        assert!(
            calls[2].contains(dir.file_name().unwrap().to_str().unwrap()),
            "{calls:?}"
        );
    }
}
