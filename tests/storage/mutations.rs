//! Data directories that chance has changed: whatever is in one, no command panics, hangs or is killed, and what they
//! say fits together.
//!
//! `PYKV_MUTATIONS` says how many directories there are; a plain `cargo test` makes do with a few.

use crate::common::files::copy_dir;
use crate::common::node::Setup;
use crate::common::{Random, Server, cli, poll, pykv, setting};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use tempfile::TempDir;

const DONE: i32 = 0;
const CONFLICT: i32 = 4;
const NOT_NOW: i32 = 6;
const DAMAGED: i32 = 7;
const OTHER: i32 = 8;

/// A directory in memory where there is one: none is meant to survive the machine.
fn temporary() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

/// What is in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A base and segments of the branch that it is of, all at offsets that are near to each other.
    OneBranch,
    /// The segments before the base too, of several branches. A repair that fills what lies between two of these up
    /// makes a sparse file of some GB, which takes seconds to read.
    Branches,
}

/// A store with a base, segments, batches, deadlines and deletions, whose process was killed; a backup of it, if it is
/// to be taken.
fn store(data: &Path, kind: Kind, backup: Option<&Path>) {
    let backlog = match kind {
        Kind::OneBranch => "0",
        Kind::Branches => "1MiB",
    };
    let args = [
        "--segment-size",
        "16KiB",
        "--compact-min",
        "1GiB",
        "--log-backlog",
        backlog,
    ];
    let mut node = Setup::new(&args).data(data).start();
    write(&node, 1);
    node.client()
        .request("POST", "/compact?wait=true", &[], b"")
        .expect(200);
    write(&node, 2);
    if kind == Kind::Branches {
        node.sigterm();
        node.start_again();
        write(&node, 3);
    }
    if let Some(file) = backup {
        pykv(&["backup"]).arg(file).at(&node).succeed();
    }
    node.kill_9();
}

fn write(node: &Server, round: u32) {
    let mut client = node.client();
    for at in 0..60 {
        let target = format!("/kv/k{}?upsert=true&ttl=100000", at % 40);
        client.put(&target, format!("{round} {at} {}", "v".repeat(400)).as_bytes());
    }
    client.delete("/kv/k1");
    let operations = (0..20)
        .map(|at| format!(r#"{{"op":"set","key":"b{at}","value":"{round}"}}"#))
        .collect::<Vec<_>>()
        .join(",");
    let body = format!(r#"{{"operations":[{operations}]}}"#);
    client
        .request(
            "POST",
            "/batch",
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        )
        .expect(200);
}

/// Changes a directory, and says how.
fn mutate(dir: &Path, random: &mut Random) -> String {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let path = names[random.below(names.len() as u64) as usize].clone();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
        return format!("{name} is left");
    }
    let mut bytes = fs::read(&path).unwrap();
    let place = |random: &mut Random, length: usize| random.below(length as u64 + 1) as usize;
    let (one, other) = (place(random, bytes.len()), place(random, bytes.len()));
    let (from, to) = (one.min(other), one.max(other));
    let what = random.below(14);
    match what {
        0..=3 if !bytes.is_empty() => {
            // The header too, which chance alone would rarely meet.
            let end = if what == 0 {
                bytes.len().min(64)
            } else {
                bytes.len()
            };
            let at = random.below(end as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            fs::write(&path, &bytes).unwrap();
            return format!("{name}: a bit of byte {at} flipped");
        }
        4 => bytes.truncate(from),
        5 => {
            let count = 1 + random.below(100) as usize;
            bytes.extend(random.bytes(count));
        }
        6 => drop(bytes.drain(from..to)),
        7 => {
            let part = bytes[from..to].to_vec();
            bytes.splice(to..to, part);
        }
        8 => bytes[from..to].fill(0),
        9 => {
            fs::remove_file(&path).unwrap();
            return format!("{name} removed");
        }
        10 => {
            let number = match random.below(3) {
                0 => random.next() >> 1,
                1 => random.below(1 << 53),
                _ => random.below(1 << 20),
            };
            let kind = ["log", "base"][random.below(2) as usize];
            let to = format!("{kind}-{number:020}.pykv");
            let made = match random.below(2) {
                0 => fs::rename(&path, dir.join(&to)),
                _ => fs::copy(&path, dir.join(&to)).map(drop),
            };
            made.unwrap();
            return format!("{name} renamed or copied to {to}");
        }
        11 => {
            let with = &names[random.below(names.len() as u64) as usize];
            if fs::metadata(with).is_ok_and(|metadata| metadata.is_file()) {
                bytes = fs::read(with).unwrap();
            }
        }
        12 => {
            fs::remove_file(&path).unwrap();
            match random.below(4) {
                0 => fs::create_dir(&path).unwrap(),
                1 => mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
                2 => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
            }
            return format!("{name} is no file any more");
        }
        _ => {
            let length = random.below(200) as usize;
            bytes = random.bytes(length);
        }
    }
    fs::write(&path, &bytes).unwrap();
    format!("{name}: change {what} of {from}..{to}, {} bytes now", bytes.len())
}

/// Whether a directory has a file of a log.
fn has_log(dir: &Path) -> bool {
    let mut names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| {
        let name = name.to_str().unwrap();
        (name.starts_with("log-") || name.starts_with("base-")) && name.ends_with(".pykv")
    })
}

/// A run that ends in one of these ways; its exit status.
#[track_caller]
fn run(args: &[&str], dir: &Path, allowed: &[i32], what: &str) -> i32 {
    let output = pykv(args).dir(dir).run();
    assert!(
        !output.stderr.contains("panicked"),
        "{args:?} after {what}: {output:?}"
    );
    match output.code.filter(|code| allowed.contains(code)) {
        Some(code) => code,
        None => panic!("{args:?} after {what}: {output:?}"),
    }
}

/// Restores a backup that is whole into a directory that may have a store, and one that chance has changed into a new
/// directory; whether the latter was whole.
#[track_caller]
fn restore(backup: &Path, dir: &Path, home: &Path, random: &mut Random, what: &str) -> bool {
    let restore = |file: &Path, to: &Path, what: &str| {
        let args = ["restore", file.to_str().unwrap()];
        let code = run(&args, to, &[DONE, CONFLICT, DAMAGED, OTHER], what);
        if code == DONE {
            run(&["check"], to, &[DONE], what);
        }
        code == DONE
    };
    let had_log = has_log(dir);
    assert!(!(restore(backup, dir, what) && had_log), "{what}");

    let (changed, to) = (home.join("changed"), home.join("restored"));
    copy_dir(backup.parent().unwrap(), &changed);
    let what = mutate(&changed, random);
    let _ = fs::remove_dir_all(&to);
    let names: Vec<PathBuf> = fs::read_dir(&changed)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let gone = backup.to_path_buf().with_file_name("gone");
    let is_whole = restore(names.first().unwrap_or(&gone), &to, &what);
    // What was refused leaves no marks of a store that was lost.
    assert!(is_whole || !to.join("LOCK").exists(), "{what}");
    is_whole
}

/// Starts a node and ends it by a signal, where it does not end by itself: its exit status, and whether it served.
#[track_caller]
fn serve(dir: &Path, what: &str) -> (i32, bool) {
    let mut child = cli::Background(
        cli::command()
            .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut stderr = child.0.stderr.take().unwrap();
    let stderr = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let (said, is_said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let _ = said.send((line, stdout));
    });
    let Ok((line, _stdout)) = is_said.recv_timeout(crate::common::SOON) else {
        panic!("serve hangs after {what}");
    };
    let served = line.starts_with("listening on ");
    if served {
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap()
            .parse()
            .unwrap();
        let mut client = crate::common::Client::connect(address);
        client.get("/kv/?values=true").expect(200);
        client.put("/kv/new?upsert=true", b"v");
        client.get("/status").expect(200);
        drop(client);
        let pid = Pid::from_raw(child.0.id() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }
    let mut status = None;
    let has_ended = poll(crate::common::SOON, || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(has_ended, "serve hangs after {what}");
    let stderr = stderr.join().unwrap();
    let code = status.unwrap().code();
    assert!(!stderr.contains("panicked"), "serve after {what}: {stderr}");
    match code {
        Some(code @ (DONE | NOT_NOW | DAMAGED | OTHER)) => (code, served),
        _ => panic!("serve after {what} ended with {code:?}: {stderr}"),
    }
}

#[test]
fn no_change_of_a_directory_breaks_a_command() {
    let home = temporary();
    fs::create_dir(home.path().join("backup")).unwrap();
    let backup = home.path().join("backup/whole.pykv");
    let stores = [Kind::OneBranch, Kind::Branches].map(|kind| {
        let data = home.path().join(format!("{kind:?}"));
        let backup = (kind == Kind::OneBranch).then_some(backup.as_path());
        store(&data, kind, backup);
        data
    });
    let (mut served, mut damaged, mut repaired, mut restored) = (0, 0, 0, 0);
    let count = setting("PYKV_MUTATIONS", 60);
    for seed in 0..count {
        let mut random = Random::new(seed);
        let store = &stores[usize::from(seed % 10 == 9)];
        let dir = home.path().join("mutated");
        copy_dir(store, &dir);
        let changes = 1 + random.below(3);
        let changes: Vec<String> = (0..changes).map(|_| mutate(&dir, &mut random)).collect();
        let what = format!("seed {seed}: {}", changes.join("; "));

        let checked = run(&["check"], &dir, &[DONE, DAMAGED, OTHER], &what);
        run(&["log"], &dir, &[DONE, DAMAGED, OTHER], &what);
        damaged += u64::from(checked == DAMAGED);
        let (code, was_served) = serve(&dir, &what);
        // Of what a check finds damaged a node serves nothing.
        assert!(!(was_served && checked == DAMAGED), "{what}");
        assert_eq!(code == DONE, was_served, "{what}");
        served += u64::from(was_served);
        if was_served {
            run(&["check"], &dir, &[DONE], &what);
        } else if run(&["check", "--repair"], &dir, &[DONE, DAMAGED, OTHER], &what) == DONE {
            // Where all was damaged, a repair has set all aside. There is no store then, or marks of one that is lost.
            let expected: &[i32] = if has_log(&dir) { &[DONE] } else { &[OTHER, DAMAGED] };
            run(&["check"], &dir, expected, &what);
            repaired += 1;
        }
        run(&["compact"], &dir, &[DONE, NOT_NOW, DAMAGED, OTHER], &what);
        restored += u64::from(restore(&backup, &dir, home.path(), &mut random, &what));
    }
    eprintln!(
        "{count} directories: {damaged} damaged, {served} served, {repaired} repaired; {restored} backups still whole"
    );
    assert!(served > 0 && damaged > 0 && repaired > 0 && restored < count);
}
