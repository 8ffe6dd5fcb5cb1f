//! `pykv shell` fed by a pipe, and the commands of deadlines and prefixes.

use crate::common::{SOON, Server, cli, eventually, poll, pykv, skip};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

const ABSENT: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const CONFLICT: i32 = 4;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_pipe_gets_plain_results() {
    let node = Server::start(&[]);
    let lines =
        b"# The first one.\nset greeting \"hello\\nworld\"\r\n\n  GET greeting\nSet b '\xc3\xa9' ttl 1h\nTTL greeting\n\
                  list\nlist g\nDEL greeting b\nSET raw \"\\xff\\x00\"\nget raw";
    let shell = pykv(&["shell"]).at(&node).stdin(lines).expect(0);
    assert_eq!(shell.stderr, "");
    let stdout = shell.stdout;
    let (text, raw) = stdout.split_at(stdout.len() - 3);
    assert_eq!(raw, b"\xff\0\n");
    let lines: Vec<_> = std::str::from_utf8(text).unwrap().lines().collect();
    let (before, listed) = lines.split_at(5);
    assert_eq!(before, ["OK", "hello", "world", "OK", "none"]);
    let mut all = listed[..2].to_vec();
    all.sort_unstable();
    assert_eq!(all, ["b", "greeting"]);
    assert_eq!(listed[2..], ["greeting", "2", "OK"]);
}

#[test]
fn a_pattern_is_taken_by_match_alone() {
    let node = Server::start(&[]);
    let lines = b"set green 1\nset red 2\nlist match *e?\nvalues match g* limit 1\nkeys g*\n";
    let shell = pykv(&["shell"]).at(&node).stdin(lines).expect(0);
    let stdout = text(shell.stdout);
    assert!(
        stdout.starts_with("OK\nOK\ngreen\nred\n") || stdout.starts_with("OK\nOK\nred\ngreen\n"),
        "{stdout}"
    );
    assert!(
        stdout.lines().last().unwrap().starts_with("{\"key\":\"green\""),
        "{stdout}"
    );
    assert_eq!(
        shell.stderr,
        "no key begins with g*; LIST MATCH g* takes a pattern\n"
    );
}

#[test]
fn errors_leave_it_running_and_the_first_is_the_exit_code() {
    let node = Server::start(&[]);
    let lines = b"get absent\nset a 1\nset a 2 ifabsent\nnonsense\nset\nget a\nexit\nset a 3\n";
    let shell = pykv(&["shell"]).at(&node).stdin(lines).expect(ABSENT);
    assert_eq!(text(shell.stdout), "OK\n1\n");
    let errors: Vec<_> = shell.stderr.lines().collect();
    assert_eq!(errors.len(), 4, "{errors:?}");
    for (error, line) in errors.iter().zip([1, 3, 4, 5]) {
        assert!(error.starts_with(&format!("pykv: line {line}: ")), "{error}");
    }
    assert_eq!(pykv(&["get", "a"]).at(&node).succeed(), b"1");
    pykv(&["shell"])
        .at(&node)
        .stdin(b"set a 2 ifabsent\nget absent\n")
        .expect(CONFLICT);
    pykv(&["shell"]).at(&node).stdin(b"get 'a\n").expect(USAGE);
    pykv(&["shell", "--server", "127.0.0.1:1"])
        .stdin(b"get a\n")
        .expect(UNREACHABLE);
    pykv(&["shell", "--server", "127.0.0.1:1"])
        .stdin(b"help\n")
        .succeed();
}

#[test]
fn every_command_of_the_shell_works() {
    let node = Server::start(&[]);
    let lines = b"set user:1 a\nset user:2 b\nset other c\nexpire other 1h\nttl other\npersist other\nttl other\n\
                  values other\ndelprefix user: dryrun\ndelprefix user:\nlist limit 5\nstatus\nstats\nhelp\nhelp set\nquit\n";
    let stdout = text(pykv(&["shell"]).at(&node).stdin(lines).succeed());
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[..4], ["OK"; 4]);
    let left: f64 = lines[4].parse().unwrap();
    assert!((3590.0..=3600.0).contains(&left), "{left}");
    assert_eq!(lines[5..7], ["OK", "none"]);
    let entry: serde_json::Value = serde_json::from_str(lines[7]).unwrap();
    assert_eq!((&entry["key"], &entry["value"]), (&"other".into(), &"c".into()));
    assert_eq!(lines[8..11], ["2", "2", "other"]);
    assert!(stdout.contains("health       ok"), "{stdout}");
    assert!(stdout.contains("\"entries\": 1"), "{stdout}");
    assert!(
        stdout.contains("SET KEY VALUE [TTL TIME] [IFABSENT | IFVERSION VERSION]"),
        "{stdout}"
    );
}

#[test]
fn an_escape_that_is_none_is_an_error_and_stores_nothing() {
    let node = Server::start(&[]);
    for (line, said) in [
        (r#"set k "\u00e9""#, r"no escape \u at column 8"),
        (r#"set k "\0""#, r"no escape \0 at column 8"),
        (r#"set k "ok\q""#, r"no escape \q at column 10"),
        (r#"set k "\xzz""#, r"no escape \x at column 8"),
    ] {
        let refused = pykv(&["shell"]).at(&node).stdin(line.as_bytes()).expect(USAGE);
        assert!(refused.stderr.contains(said), "{line}: {refused:?}");
        assert_eq!(refused.stdout, b"");
    }
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"");
    let line = br#"set k "\n\r\t\a\b\\\"\'\x00\xff""#;
    pykv(&["shell"]).at(&node).stdin(line).succeed();
    assert_eq!(
        pykv(&["get", "k"]).at(&node).succeed(),
        b"\n\r\t\x07\x08\\\"'\0\xff"
    );
}

#[test]
fn a_time_below_a_millisecond_is_none() {
    let node = Server::start(&[]);
    pykv(&["set", "k", "v"]).at(&node).succeed();
    for time in ["1ns", "999us", "0.5ms", "0s"] {
        pykv(&["set", "k", "w", "--ttl", time]).at(&node).expect(USAGE);
        pykv(&["expire", "k", time]).at(&node).expect(USAGE);
        let line = format!("set k w ttl {time}\nexpire k {time}\n");
        pykv(&["shell"]).at(&node).stdin(line.as_bytes()).expect(USAGE);
    }
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), b"v");
    assert_eq!(text(pykv(&["ttl", "k"]).at(&node).succeed()), "none\n");
}

#[test]
fn a_pipe_leaves_no_history() {
    let node = Server::start(&[]);
    let home = node.home().join("home");
    fs::create_dir(&home).unwrap();
    let path = home.to_str().unwrap();
    pykv(&["shell"])
        .at(&node)
        .env("HOME", path)
        .env("XDG_STATE_HOME", path)
        .stdin(b"set a secret\n")
        .succeed();
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}

#[test]
fn deadlines_are_given_shown_and_taken() {
    let node = Server::start(&[]);
    pykv(&["set", "k", "v", "--ttl", "1h 30m"]).at(&node).succeed();
    let ttl = |key: &str| text(pykv(&["ttl", key]).at(&node).succeed());
    let left: f64 = ttl("k").trim_end().parse().unwrap();
    assert!((5390.0..=5400.0).contains(&left), "{left}");
    let expires = text(pykv(&["expire", "k", "90s", "--json"]).at(&node).succeed());
    let expires: serde_json::Value = serde_json::from_str(&expires).unwrap();
    assert!(expires["expires_at_ms"].is_u64(), "{expires}");
    let left: f64 = ttl("k").trim_end().parse().unwrap();
    assert!((80.0..=90.0).contains(&left), "{left}");
    pykv(&["persist", "k"]).at(&node).succeed();
    assert_eq!(ttl("k"), "none\n");
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), b"v");
    // A value without a time keeps none.
    pykv(&["expire", "k", "1h"]).at(&node).succeed();
    pykv(&["set", "k", "w"]).at(&node).succeed();
    assert_eq!(ttl("k"), "none\n");
    // The longest there is, and what is longer.
    pykv(&["expire", "k", "36500days"]).at(&node).succeed();
    pykv(&["expire", "k", "36600days"]).at(&node).expect(USAGE);

    for command in [
        &["ttl", "absent"][..],
        &["expire", "absent", "1s"],
        &["persist", "absent"],
    ] {
        let absent = pykv(command).at(&node).expect(ABSENT);
        assert!(absent.stderr.contains("absent"), "{absent:?}");
        assert_eq!(absent.stdout, b"");
    }
    pykv(&["expire", "k", "1ms"]).at(&node).succeed();
    eventually("it is gone", || {
        pykv(&["get", "k"]).at(&node).run().code == Some(ABSENT)
    });
    pykv(&["ttl", "k"]).at(&node).expect(ABSENT);
}

#[test]
fn a_prefix_is_deleted_or_counted() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for number in 0..1500 {
        client
            .put(&format!("/kv/n/{number}?upsert=true"), b"")
            .expect(201);
    }
    client.put("/kv/other?upsert=true", b"").expect(201);
    let del = |args: &[&str]| text(pykv(&[&["del"], args].concat()).at(&node).succeed());
    assert_eq!(del(&["--prefix", "n/", "--dry-run"]), "1500\n");
    assert_eq!(del(&["--prefix", "absent"]), "0\n");
    assert_eq!(del(&["--prefix", "n/"]), "1500\n");
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"other\n");
    // An empty prefix may be a variable that nobody has set.
    for args in [
        &["del", "--prefix", ""][..],
        &["del", "--prefix="],
        &["del", "--all", "--prefix", "o"],
        &["del"],
    ] {
        pykv(args).at(&node).expect(USAGE);
    }
    for line in ["delprefix ''", "DELPREFIX \"\"", "delprefix oth all"] {
        let refused = pykv(&["shell"]).at(&node).stdin(line.as_bytes()).expect(USAGE);
        assert!(refused.stderr.contains("empty prefix"), "{refused:?}");
    }
    assert_eq!(
        pykv(&["list"]).at(&node).succeed(),
        b"other\n",
        "nothing was deleted"
    );
    assert_eq!(del(&["--prefix", "", "--dry-run"]), "1\n");
    assert_eq!(del(&["--all", "--dry-run"]), "1\n");
    assert_eq!(del(&["--prefix", "", "--all"]), "1\n");
    client.put("/kv/other?upsert=true", b"").expect(201);
    assert_eq!(del(&["--all"]), "1\n");
    client.put("/kv/other?upsert=true", b"").expect(201);
    let shell = pykv(&["shell"])
        .at(&node)
        .stdin(b"DELPREFIX '' DRYRUN\nDELPREFIX '' ALL\n");
    assert_eq!(shell.succeed(), b"1\n1\n");
    pykv(&["del", "k", "--prefix", "n/"]).at(&node).expect(USAGE);
    pykv(&["del", "k", "--dry-run"]).at(&node).expect(USAGE);
}

#[test]
fn a_list_with_values_is_json_lines() {
    let node = Server::start(&[]);
    pykv(&["set", "a\nb", "1", "--ttl", "1h"]).at(&node).succeed();
    let listed = text(pykv(&["list", "--values"]).at(&node).succeed());
    assert_eq!(listed.lines().count(), 1);
    let entry: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&entry["key"], &entry["value"]), (&"a\nb".into(), &"1".into()));
    assert!(
        entry["version"].is_u64() && entry["expires_at_ms"].is_u64(),
        "{entry}"
    );
    pykv(&["set", "c", "2"]).at(&node).succeed();
    let one = text(pykv(&["list", "--values", "--limit", "1"]).at(&node).succeed());
    assert_eq!(one.lines().count(), 1);
}

/// Types lines, the last of which leaves the shell, into one on a terminal; false where none can be had.
fn typed(node: &Server, home: &Path, lines: &str) -> bool {
    let shell = format!("umask 000; exec {} shell", env!("CARGO_BIN_EXE_pykv"));
    let child = Command::new("script")
        .args(["-qec", &shell, "/dev/null"])
        .env("PYKV_SERVER", node.url())
        .env("TERM", "xterm")
        .env("HOME", home)
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return false;
    };
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut child = cli::Background(child);
    let shown = Arc::new(Mutex::new(Vec::new()));
    let reader = thread::spawn({
        let shown = Arc::clone(&shown);
        move || {
            let mut some = [0; 1024];
            while let Ok(bytes @ 1..) = stdout.read(&mut some) {
                shown.lock().unwrap().extend_from_slice(&some[..bytes]);
            }
        }
    });
    let text = || String::from_utf8_lossy(&shown.lock().unwrap()).into_owned();
    eventually("the shell shows its prompt", || text().contains("> "));
    // All at once: what is typed ahead is the next line.
    stdin.write_all(lines.as_bytes()).unwrap();
    let has_ended = poll(SOON, || child.0.try_wait().unwrap().is_some());
    assert!(has_ended, "the shell does not end: {:?}", text());
    reader.join().unwrap();
    true
}

#[test]
fn lines_that_are_pasted_together_are_commands_each() {
    let node = Server::start(&[]);
    pykv(&["set", "get", "1"]).at(&node).succeed();
    pykv(&["set", "b", "2"]).at(&node).succeed();
    pykv(&["set", "c", "3"]).at(&node).succeed();
    // As a terminal sends what is pasted.
    let pasted = "\x1b[200~del c\nget b\nset d \"4\ndel b\"\x1b[201~\rexit\r";
    if !typed(&node, node.home(), pasted) {
        return skip(
            "lines_that_are_pasted_together_are_commands_each",
            "script is missing",
        );
    }
    let keys = text(pykv(&["list"]).at(&node).succeed());
    let mut keys: Vec<_> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["b", "d", "get"]);
    assert_eq!(pykv(&["get", "d"]).at(&node).succeed(), b"4\ndel b");
}

#[test]
fn the_history_is_private_and_follows_links() {
    let node = Server::start(&[]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let home = |name: &str| {
        let home = node.home().join(name);
        fs::create_dir(&home).unwrap();
        home
    };
    let new = home("new");
    if !typed(&node, &new, "set a secret\nexit\n") {
        return skip("the_history_is_private_and_follows_links", "script is missing");
    }
    let history = new.join(".pykv_history");
    assert!(fs::read_to_string(&history).unwrap().contains("set a secret"));
    assert_eq!(mode(&history), 0o600);
    assert_eq!(
        fs::read_dir(&new).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let linked = home("linked");
    fs::write(linked.join("elsewhere"), "#V2\n").unwrap();
    fs::set_permissions(linked.join("elsewhere"), Permissions::from_mode(0o640)).unwrap();
    symlink("elsewhere", linked.join(".pykv_history")).unwrap();
    assert!(typed(&node, &linked, "get a\nexit\n"));
    assert!(
        fs::symlink_metadata(linked.join(".pykv_history"))
            .unwrap()
            .is_symlink()
    );
    assert!(
        fs::read_to_string(linked.join("elsewhere"))
            .unwrap()
            .contains("get a")
    );

    // Those who want none, and a pipe that nobody reads.
    let none = home("none");
    symlink("/dev/null", none.join(".pykv_history")).unwrap();
    assert!(typed(&node, &none, "get a\nexit\n"));
    assert!(
        fs::symlink_metadata(none.join(".pykv_history"))
            .unwrap()
            .is_symlink()
    );
    let pipe = home("pipe");
    let fifo = pipe.join(".pykv_history");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(typed(&node, &pipe, "get a\nexit\n"));
}
