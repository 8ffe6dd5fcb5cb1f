//! What strangers put into keys, values and paths must not act on the terminal of whoever looks at them, nor forge a
//! line of a log: no byte of a control character (C0 or C1), and none that turns the order of text round, gets there.
//!
//! A terminal is had from `script`, which comes with every Linux distribution.

use crate::common::node::Setup;
use crate::common::{Server, eventually, pykv, skip};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Moves the cursor, rings, sets the title; the same by C1 controls; turns text round.
const EVIL: &str = "e\x1b[31m\x07\x1b]0;t\x07\u{9b}2J\u{202e}\u{2066}\u{61c}\x7fz";

/// What a command writes to a terminal, without colours; none where there is no `script`.
fn on_terminal(node: &Server, args: &str) -> Option<String> {
    on_terminal_with(node, args, "1")
}

fn on_terminal_with(node: &Server, args: &str, no_color: &str) -> Option<String> {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_pykv"));
    script(node, &line, no_color)
}

/// What a line of a shell writes to a terminal.
fn script(node: &Server, line: &str, no_color: &str) -> Option<String> {
    let output = Command::new("script")
        .args(["-qec", line, "/dev/null"])
        .env("PYKV_SERVER", node.url())
        .env("NO_COLOR", no_color)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8(output.stdout).expect("nothing but UTF-8 gets to the terminal"))
}

#[track_caller]
fn assert_harmless(text: &str, what: &str) {
    let acts = |c: char| {
        c.is_control() && !matches!(c, '\r' | '\n' | '\t')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(acts), "{what}: {text:?}");
}

fn node_with_evil() -> Server {
    let node = Server::start(&[]);
    node.client().add(EVIL, EVIL).expect(201);
    node.client().put("/kv/binary?upsert", b"\x9b2J\xff").expect(201);
    node.client().add("plain", "two\nlines").expect(201);
    node
}

#[test]
fn nothing_that_a_key_or_a_value_holds_acts_on_a_terminal() {
    let node = node_with_evil();
    let dir = node.dir().to_str().unwrap().to_owned();
    for (args, shows) in [
        ("list".to_owned(), r#""e\x1b[31m\x07"#),
        ("list --json".to_owned(), r"e\u001b[31m"),
        ("list --values".to_owned(), r"\u009b2J\u202e"),
        ("get binary".to_owned(), r#""\x9b2J\xff""#),
        ("get plain".to_owned(), "two\r\nlines"),
        ("watch --after 0 --limit 3".to_owned(), r"\u009b2J\u202e"),
        (format!("log --dir {dir}"), r"\u009b2J\u202e"),
        ("export -".to_owned(), r"\u009b2J\u202e"),
        ("status".to_owned(), "primary"),
    ] {
        let Some(text) = on_terminal(&node, &args) else {
            return skip(
                "nothing_that_a_key_or_a_value_holds_acts_on_a_terminal",
                "there is no `script`",
            );
        };
        assert_harmless(&text, &args);
        assert!(text.contains(shows), "{args}: {text}");
    }
}

/// The commands come from a pipe, and what is printed is seen all the same.
#[test]
fn what_a_shell_prints_of_a_pipe_does_not_act_on_a_terminal() {
    let test = "what_a_shell_prints_of_a_pipe_does_not_act_on_a_terminal";
    let node = node_with_evil();
    let pykv = env!("CARGO_BIN_EXE_pykv");
    let line = format!(r"printf 'KEYS\nVALUES\nGET binary\n' | {pykv} shell");
    let Some(text) = script(&node, &line, "1") else {
        return skip(test, "there is no `script`");
    };
    assert_harmless(&text, &line);
    for shows in [r#""e\x1b[31m\x07"#, r"\u009b2J\u202e", r#""\x9b2J\xff""#] {
        assert!(text.contains(shows), "{shows}: {text}");
    }
}

#[test]
fn a_pipe_gets_what_is_there() {
    let node = node_with_evil();
    let listed = pykv(&["list"]).at(&node).run();
    assert!(String::from_utf8(listed.stdout).unwrap().contains(EVIL));
    let got = pykv(&["get", EVIL]).at(&node).run();
    assert_eq!(got.stdout, EVIL.as_bytes());
    let got = pykv(&["get", "binary"]).at(&node).run();
    assert_eq!(got.stdout, b"\x9b2J\xff");
}

#[test]
fn messages_name_keys_and_files_harmlessly() {
    let node = Server::start(&[]);
    let file = node.home().join(EVIL);
    std::fs::write(&file, format!("{{\"{EVIL}\n")).unwrap();
    let path = file.to_str().unwrap();
    for args in [
        vec!["get", EVIL],
        vec!["del", EVIL],
        vec!["import", path],
        vec!["check", path],
        vec!["log", path],
        vec!["set", "k", "--file", &format!("{path}none")],
        vec![EVIL],
        vec!["get", "k", EVIL],
    ] {
        let run = pykv(&args).at(&node).run();
        assert_ne!(run.code, Some(0), "{args:?}");
        assert_harmless(&run.stderr, args[0]);
        assert!(!run.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn nothing_that_a_client_sends_acts_in_a_log() {
    let home = tempfile::tempdir().unwrap();
    let access = home.path().join("access");
    let args = [
        "--slow-ms",
        "1",
        "--log-level",
        "debug",
        "--access-log",
        access.to_str().unwrap(),
    ];
    let node = Setup::new(&args).start();
    // As raw UTF-8, which no client should send and many do.
    let target = "/kv/e\u{9b}2J\u{202e}\u{2028}z";
    let mut client = node.client();
    client.get(target).expect(404);
    let unknown = client.get("/kv/?pre\u{9b}fix=1").expect(400);
    let problem: Value = unknown.body_json();
    assert_harmless(problem["detail"].as_str().unwrap(), "a problem's detail");
    // A value that takes the disk some time is slow enough to be told of.
    eventually("a slow request is told of", || {
        client.put(&format!("{target}?upsert"), &vec![b'v'; 1 << 20]);
        node.stderr().contains("slow:")
    });
    eventually("the access log has them all", || {
        std::fs::read_to_string(&access).is_ok_and(|text| text.lines().count() >= 3)
    });
    assert_harmless(&node.stderr(), "standard error");
    let lines = std::fs::read_to_string(&access).unwrap();
    assert_harmless(&lines, "the access log");
    assert!(lines.starts_with("127.0.0.1 - - ["), "{lines}");
    assert!(
        lines.contains(r"/kv/e\xC2\x9B2J\xE2\x80\xAE\xE2\x80\xA8z"),
        "{lines}"
    );
}

/// A status has colours on a terminal alone, and none for those who want none.
#[test]
fn a_status_has_colours_for_those_who_see_them() {
    let node = Server::start(&[]);
    let plain = String::from_utf8(pykv(&["status"]).at(&node).succeed()).unwrap();
    assert!(plain.starts_with("health       ok\nnode "), "{plain}");
    assert_eq!(plain.matches("\n\n").count(), 2, "three groups: {plain}");
    let Some(uncoloured) = on_terminal(&node, "status") else {
        return skip(
            "a_status_has_colours_for_those_who_see_them",
            "there is no script",
        );
    };
    assert!(uncoloured.starts_with("health       ok"), "{uncoloured:?}");
    let coloured = on_terminal_with(&node, "status", "").unwrap();
    assert!(coloured.contains("\x1b[32mok\x1b[0m"), "{coloured:?}");
}
