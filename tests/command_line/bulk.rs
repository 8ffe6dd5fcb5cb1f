//! `pykv batch`, `export` and `import`: many keys at once, as a shell sees it.

use crate::common::cli::Background;
use crate::common::{Server, eventually, pykv};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const CONFLICT: i32 = 4;

#[track_caller]
fn value(node: &Server, key: &str) -> String {
    String::from_utf8(pykv(&["get", key]).at(node).succeed()).unwrap()
}

/// The lines of an export, in an order.
fn exported(node: &Server) -> BTreeSet<String> {
    let text = String::from_utf8(pykv(&["export"]).at(node).succeed()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn entries(node: &Server) -> u64 {
    node.get("/stats").expect(200).body_json()["entries"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_batch_prints_a_result_a_line() {
    let node = Server::start(&[]);
    let lines = "{\"op\":\"set\",\"key\":\"a\",\"value\":\"1\"}\n\n{\"op\":\"get\",\"key\":\"a\"}\n\
                 {\"op\":\"delete\",\"key\":\"b\"}";
    let stdout = pykv(&["batch"]).at(&node).stdin(lines.as_bytes()).succeed();
    let results: Vec<serde_json::Value> = String::from_utf8(stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let statuses: Vec<_> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, [201, 200, 404]);
    assert_eq!(results[1]["value"], "1");

    let file = node.home().join("operations");
    fs::write(
        &file,
        "\n{\"op\":\"set\",\"key\":\"z\",\"value\":\"\"}\n{\"op\":\"set\",\"key\":\"a\",\"value\":\"2\",\"if_absent\":true}\n",
    )
    .unwrap();
    let refused = pykv(&["batch"]).arg(&file).at(&node).expect(CONFLICT);
    assert!(refused.stderr.contains("line 3"), "{refused:?}");
    assert_eq!(refused.stdout, b"");
    assert_eq!((value(&node, "a").as_str(), entries(&node)), ("1", 1));

    for (lines, said) in [
        ("", "no operations"),
        ("{\"op\":\"get\",\"key\":\"a\"}\nnonsense", "line 2"),
        (
            "{\"op\":\"get\",\"key\":\"a\"}\n{\"op\":\"put\",\"key\":\"a\"}",
            "line 2",
        ),
    ] {
        let refused = pykv(&["batch", "-"])
            .at(&node)
            .stdin(lines.as_bytes())
            .expect(USAGE);
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let many = "{\"op\":\"get\",\"key\":\"a\"}\n".repeat(1001);
    let refused = pykv(&["batch"]).at(&node).stdin(many.as_bytes()).expect(USAGE);
    assert!(refused.stderr.contains("as one batch: 1000"), "{refused:?}");
}

#[test]
fn what_is_exported_comes_back_as_it_was() {
    let node = Server::start(&[]);
    let all: Vec<u8> = (0..=255).collect();
    pykv(&["set", "binary", "-"]).at(&node).stdin(&all).succeed();
    pykv(&["set", "two\nlines", "a\nb\r\n"]).at(&node).succeed();
    pykv(&["set", "empty", ""]).at(&node).succeed();
    pykv(&["set", "ключ \"\\", "\u{1F980}"]).at(&node).succeed();
    pykv(&["set", "short", "v", "--ttl", "1h"]).at(&node).succeed();
    let file = node.home().join("all.jsonl");
    let export = pykv(&["export"]).arg(&file).at(&node).expect(0);
    assert_eq!((export.stdout, export.stderr.as_str()), (vec![], ""));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 5);
    assert!(!node.home().join("all.jsonl.part").exists());

    let other = Server::start(&[]);
    let import = pykv(&["import"]).arg(&file).at(&other).expect(0);
    assert!(import.stderr.contains("imported 5 keys"), "{import:?}");
    assert_eq!(import.stdout, b"");
    assert_eq!(exported(&other), text.lines().map(str::to_owned).collect());
    assert!(pykv(&["get", "binary"]).at(&other).succeed() == all);
    let deadline = |node: &Server| node.get("/kv/short").expect(200).body_json()["expires_at_ms"].clone();
    assert!(deadline(&node).is_u64());
    assert_eq!(
        deadline(&other),
        deadline(&node),
        "a deadline is a moment, not a span"
    );

    let some = pykv(&["export", "--prefix", "e"]).at(&node).succeed();
    assert_eq!(some, b"{\"key\":\"empty\",\"value\":\"\"}\n");
    // What a listing prints can be read as well.
    let listed = pykv(&["list", "--values"]).at(&node).succeed();
    pykv(&["import"]).at(&other).stdin(&listed).succeed();
    assert_eq!(exported(&other), exported(&node));
}

#[test]
fn an_export_that_fails_leaves_the_file_that_was_there() {
    let node = Server::start(&[]);
    let file = node.home().join("all.jsonl");
    fs::write(&file, "old").unwrap();
    pykv(&["export", "--force", "--server", "127.0.0.1:1"])
        .arg(&file)
        .expect(UNREACHABLE);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert!(!node.home().join("all.jsonl.part").exists());
    let none = pykv(&["export", "/nonexistent/dir/file"]).at(&node).run();
    assert!(
        none.code != Some(0) && none.stderr.contains("/nonexistent/dir/file"),
        "{none:?}"
    );
}

#[test]
fn lines_at_fault_are_named_and_the_others_go_in() {
    let node = Server::start(&["--max-value", "100"]);
    let long = format!("{{\"key\":\"long\",\"value\":\"{}\"}}", "v".repeat(20_000));
    let large = format!("{{\"key\":\"large\",\"value\":\"{}\"}}", "v".repeat(101));
    let lines = [
        r#"{"key":"a","value":"1"}"#,
        "nonsense",
        r#"{"key":"b"}"#,
        &long,
        r#"{"key":"","value":""}"#,
        "",
        &large,
        r#"{"key":"c","value":"?","encoding":"base64"}"#,
        r#"{"key":"d","value":"4","surprise":1}"#,
        r#"{"key":"e","value":"5"}"#,
    ];
    let import = pykv(&["import"])
        .at(&node)
        .stdin(lines.join("\n").as_bytes())
        .expect(USAGE);
    for (number, said) in [
        (2, "not JSON"),
        (3, "`value`"),
        (4, "longer"),
        (5, "at least one byte"),
        (7, "101 bytes"),
        (8, "base64"),
        (9, "surprise"),
    ] {
        let line = import
            .stderr
            .lines()
            .find(|line| line.starts_with(&format!("pykv: line {number}: ")))
            .unwrap_or_else(|| panic!("line {number} is not named: {import:?}"));
        assert!(line.contains(said), "{line}");
    }
    assert!(import.stderr.contains("imported 2 keys"), "{import:?}");
    assert!(import.stderr.contains("lines skipped: 7"), "{import:?}");
    assert_eq!((value(&node, "a"), value(&node, "e")), ("1".into(), "5".into()));
    assert_eq!(entries(&node), 2);
    // However many there are, a few are named.
    let import = pykv(&["import"])
        .at(&node)
        .stdin(&b"x\n".repeat(500))
        .expect(USAGE);
    assert_eq!(import.stderr.matches("line ").count(), 20, "{import:?}");
    assert!(import.stderr.contains("and 480 more"), "{import:?}");
}

#[test]
fn the_last_line_of_a_key_counts() {
    let node = Server::start(&["--fsync", "no"]);
    let mut lines = String::new();
    for round in 0..30 {
        for key in 0..700 {
            lines += &format!("{{\"key\":\"k{key}\",\"value\":\"{round}\"}}\n");
        }
    }
    lines += &"{\"key\":\"k1\",\"value\":\"x\"}\n".repeat(3000);
    lines += "{\"key\":\"k1\",\"value\":\"last\"}\n";
    let import = pykv(&["import"]).at(&node).stdin(lines.as_bytes()).expect(0);
    assert!(import.stderr.contains("imported 24,001 keys"), "{import:?}");
    assert_eq!(value(&node, "k1"), "last");
    let page = node.get("/kv/?values=true&limit=1000").expect(200).body_json();
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 700);
    let others = entries.iter().filter(|entry| entry["key"] != "k1");
    assert!(others.clone().all(|entry| entry["value"] == "29"));
}

#[test]
fn if_absent_leaves_keys_alone() {
    let node = Server::start(&["--fsync", "no"]);
    for key in 0..50 {
        pykv(&["set", &format!("k{}", key * 37), "old"])
            .at(&node)
            .succeed();
    }
    let line = |key: usize| format!("{{\"key\":\"k{key}\",\"value\":\"new\"}}\n");
    let lines: String = (0..3000).map(line).collect::<String>() + "{\"key\":\"k1\",\"value\":\"later\"}\n";
    let import = pykv(&["import", "--if-absent"])
        .at(&node)
        .stdin(lines.as_bytes())
        .expect(0);
    assert!(
        import
            .stderr
            .contains("imported 2,950 keys, 51 left as they were"),
        "{import:?}"
    );
    assert_eq!(
        (value(&node, "k37"), value(&node, "k1")),
        ("old".into(), "new".into())
    );
    assert_eq!(entries(&node), 3000);
}

#[test]
fn a_node_with_small_limits_takes_an_import_in_small_pieces() {
    let node = Server::start(&["--max-batch", "7", "--max-body", "2KiB", "--max-value", "1KiB"]);
    let line = |key: usize| {
        format!(
            "{{\"key\":\"k{key}\",\"value\":\"{}\"}}\n",
            "v".repeat(key % 1000)
        )
    };
    let lines: String = (0..1000).map(line).collect();
    pykv(&["import"]).at(&node).stdin(lines.as_bytes()).succeed();
    assert_eq!(exported(&node), lines.lines().map(str::to_owned).collect());
}

#[test]
fn an_import_that_was_interrupted_says_how_far_it_is_and_can_be_run_again() {
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        let node = Server::start(&["--fsync", "no"]);
        let line = |key: usize| format!("{{\"key\":\"k{key}\",\"value\":\"{key}\"}}\n");
        let lines: String = (0..20_000).map(line).collect();
        let mut child = Background(
            crate::common::cli::command()
                .args(["import", "--server", &node.url()])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        // Half of it, and a line that is cut short.
        let half = lines.len() / 2 + 3;
        let mut stdin = child.0.stdin.take().unwrap();
        stdin.write_all(&lines.as_bytes()[..half]).unwrap();
        eventually("some of it goes in", || entries(&node) > 0);
        kill_process(Pid::from_child(&child.0), signal).unwrap();
        let status = child.0.wait().unwrap();
        if signal != Signal::KILL {
            let by_signal = if signal == Signal::INT { 130 } else { 143 };
            assert_eq!(status.code(), Some(by_signal));
            let mut said = String::new();
            child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(said.contains(" keys imported so far; "), "{said}");
        }
        assert!(entries(&node) < 20_000);
        pykv(&["import"]).at(&node).stdin(lines.as_bytes()).succeed();
        assert_eq!(entries(&node), 20_000);
        assert_eq!(value(&node, "k19999"), "19999");
    }
}

/// The other lines go in; the exit status says that it was not allowed, and not that the lines are wrong.
#[test]
fn keys_that_a_token_does_not_open_are_left_out_of_an_import() {
    let home = tempfile::TempDir::new().unwrap();
    let tokens = home.path().join("tokens");
    fs::write(&tokens, "admin the-admin\nwrite writer prefix=app1/\n").unwrap();
    let node = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    let line = |key: &str| format!("{{\"key\":\"{key}\",\"value\":\"v\"}}\n");
    let lines = ["app1/a", "app2/b", "app1/c"].map(line).concat();
    let import = pykv(&["import"])
        .at(&node)
        .env("PYKV_TOKEN", "writer")
        .stdin(lines.as_bytes())
        .expect(5);
    assert!(
        import.stderr.contains("line 2: ") && import.stderr.contains("imported 2 keys"),
        "{import:?}"
    );
    let list = pykv(&["list"]).at(&node).env("PYKV_TOKEN", "the-admin").succeed();
    // A list is in no order.
    let keys: BTreeSet<&str> = std::str::from_utf8(&list).unwrap().lines().collect();
    assert_eq!(keys, BTreeSet::from(["app1/a", "app1/c"]));
}

#[test]
fn an_import_breaks_off_where_it_may_not_write() {
    let home = tempfile::TempDir::new().unwrap();
    let tokens = home.path().join("tokens");
    fs::write(&tokens, "read reader\nwrite writer\n").unwrap();
    let node = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    let line = b"{\"key\":\"k\",\"value\":\"v\"}\n";
    let import = pykv(&["import"])
        .at(&node)
        .env("PYKV_TOKEN", "reader")
        .stdin(line)
        .expect(5);
    assert!(import.stderr.contains("broke off"), "{import:?}");
    pykv(&["import"])
        .at(&node)
        .env("PYKV_TOKEN", "writer")
        .stdin(line)
        .succeed();
    pykv(&["import", "--server", "127.0.0.1:1"])
        .stdin(line)
        .expect(UNREACHABLE);
    let absent = pykv(&["import", "/nonexistent/file"]).at(&node).run();
    assert!(
        absent.code != Some(0) && absent.stderr.contains("/nonexistent/file"),
        "{absent:?}"
    );
}
