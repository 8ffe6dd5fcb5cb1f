//! Text as other systems write it: a byte order mark is dropped, what is no text is named once and before anything is
//! sent, and what is wrong with a line or a body is said in plain words.

use crate::common::client::JSON;
use crate::common::{Server, pykv};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

const USAGE: i32 = 2;
const MARK: &str = "\u{feff}";

/// The words of a parser, and of Rust.
const NOT_FOR_PEOPLE: [&str; 12] = [
    "expected",
    "EOF",
    "invalid type",
    "struct",
    "f64",
    "u64",
    "sequence",
    "map",
    "os error",
    "panicked",
    "ident",
    "missing field",
];

#[track_caller]
fn assert_plain(said: &str) {
    let mut words = said.split(|c: char| !c.is_alphanumeric());
    for word in NOT_FOR_PEOPLE {
        let is_said = match word.contains(' ') {
            true => said.contains(word),
            false => words.clone().any(|part| part == word),
        };
        assert!(!is_said, "{word} in: {said}");
    }
    assert!(words.next().is_some());
}

fn utf_16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

/// What a program makes of standard input; none where it is not installed.
fn packed(program: &str, text: &str) -> Option<Vec<u8>> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    child.wait_with_output().ok().map(|output| output.stdout)
}

#[test]
fn a_byte_order_mark_is_dropped() {
    let node = Server::start(&[]);
    let lines = format!("{MARK}{{\"key\":\"a\",\"value\":\"1\"}}\r\n{{\"key\":\"b\",\"value\":\"2\"}}\r\n");
    let import = pykv(&["import"]).at(&node).stdin(lines.as_bytes()).expect(0);
    assert!(import.stderr.contains("imported 2 keys"), "{import:?}");
    let batch = format!("{MARK}{{\"op\":\"get\",\"key\":\"a\"}}\n");
    pykv(&["batch"]).at(&node).stdin(batch.as_bytes()).succeed();
    let shell = pykv(&["shell"])
        .at(&node)
        .stdin(format!("{MARK}GET a\r\n").as_bytes());
    assert_eq!(shell.succeed(), b"1\n");
    let file = node.home().join("lines");
    fs::write(&file, &lines).unwrap();
    pykv(&["import"]).arg(&file).at(&node).succeed();
    // Bodies of the API.
    let body = format!("{MARK}{{\"key\":\"c\",\"value\":\"3\"}}");
    node.client()
        .request("POST", "/kv/", &JSON, body.as_bytes())
        .expect(201);
    let body = format!("{MARK}{{\"operations\":[{{\"op\":\"get\",\"key\":\"c\"}}]}}");
    node.client()
        .request("POST", "/batch", &JSON, body.as_bytes())
        .expect(200);
    // Files of tokens, of a node and of a client.
    let tokens = node.home().join("tokens");
    fs::write(&tokens, format!("{MARK}admin secret\r\n")).unwrap();
    let guarded = Server::start(&["--token-file", tokens.to_str().unwrap()]);
    pykv(&["set", "k", "v", "--token-file"])
        .arg(&tokens)
        .at(&guarded)
        .succeed();
    // A value is bytes: of it nothing is dropped.
    pykv(&["set", "k", "-"])
        .at(&node)
        .stdin(MARK.as_bytes())
        .succeed();
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), MARK.as_bytes());
}

#[test]
fn what_is_no_text_is_named_once_and_nothing_is_sent() {
    let node = Server::start(&[]);
    let line = "{\"key\":\"a\",\"value\":\"1\"}\n";
    let many = line.repeat(30);
    let mut cases = vec![
        (utf_16(&many), "UTF-16"),
        (utf_16(&many)[2..].to_vec(), "UTF-16"),
        (vec![0; 5000], "NUL"),
        (format!("{line}\0\n").into_bytes(), "NUL"),
        (b"PK\x03\x04rest".to_vec(), "zip"),
        (b"\x28\xb5\x2f\xfdrest".to_vec(), "zstd"),
        (pykv(&["backup", "-"]).at(&node).succeed(), "pykv restore"),
    ];
    cases.extend(packed("gzip", &many).map(|bytes| (bytes, "gzip")));
    for (text, said) in &cases {
        for command in ["import", "batch", "shell"] {
            let refused = pykv(&[command]).at(&node).stdin(text).expect(USAGE);
            assert!(refused.stderr.contains(said), "{command}: {refused:?}");
            assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
        }
    }
    for array in [
        "[{\"key\":\"a\",\"value\":\"1\"}]",
        "[\n  {\"key\":\"a\",\"value\":\"1\"},\n  {\"key\":\"b\",\"value\":\"2\"}\n]\n",
        "\n\n  [\n{\"key\":\"b\",\"value\":\"2\"}\n]\n",
    ] {
        for command in ["import", "batch"] {
            let refused = pykv(&[command]).at(&node).stdin(array.as_bytes()).expect(USAGE);
            assert!(refused.stderr.contains("JSON array"), "{command}: {refused:?}");
            assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
        }
    }
    let tokens = node.home().join("tokens");
    for (bytes, said) in [(utf_16("secret\n"), "UTF-16"), (b"\xe9\xe9\n".to_vec(), "UTF-8")] {
        fs::write(&tokens, bytes).unwrap();
        for command in [
            &["get", "k", "--token-file"][..],
            &["serve", "--listen=127.0.0.1:0", "--token-file"],
        ] {
            let refused = pykv(command).arg(&tokens).expect(USAGE);
            assert!(refused.stderr.contains(said), "{refused:?}");
        }
    }
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"");
}

#[test]
fn a_line_is_an_object_and_what_is_wrong_with_it_is_plain() {
    let node = Server::start(&[]);
    for (line, said) in [
        (r#"5"#, "must be an object"),
        (r#""text""#, "must be an object"),
        (r#"{"key":"k"}"#, "`value` is missing"),
        (
            r#"{"key":"k","value":{"a":1}}"#,
            "to store JSON, write it as text",
        ),
        (
            r#"{"key":"k","value":5}"#,
            "`value` must be a string, not a number",
        ),
        (r#"{"key":"k","value":"v","ttl":"90s"}"#, "`ttl` must be a number"),
        (r#"{"key":"k","value":"v","surprise":1}"#, "`surprise`"),
        (r#"{"key":"k","value":"v""#, "cut short"),
        (r#"{key:"k","value":"v"}"#, "double quotes"),
        (r#"{"key":"k","value":"v",}"#, "comma"),
        (r#"{"key":"k","value":"\ud800"}"#, "half of a pair"),
        ("nonsense", "not JSON"),
    ] {
        // After a line that is right, as a leading [ is another matter.
        let lines = format!("{{\"key\":\"ok\",\"value\":\"v\"}}\n{line}\n");
        let import = pykv(&["import"]).at(&node).stdin(lines.as_bytes()).expect(USAGE);
        assert!(
            import.stderr.contains("line 2: ") && import.stderr.contains(said),
            "{line}: {import:?}"
        );
        assert_plain(&import.stderr);
    }
    let lines = "{\"key\":\"ok\",\"value\":\"v\"}\n[\"k7\",\"v7\",null,null,null,null,null]\n";
    let import = pykv(&["import"]).at(&node).stdin(lines.as_bytes()).expect(USAGE);
    assert!(import.stderr.contains("not a list"), "{import:?}");
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"ok\n");
    for (operation, said) in [
        (
            r#"{"op":"set","key":"k","value":{"a":1}}"#,
            "`value` must be a string, not an object",
        ),
        (
            r#"{"op":"set","key":"k","value":"v","if_version":"7"}"#,
            "`if_version` must be a whole number",
        ),
        (r#"{"op":"set","key":"k"}"#, "`value` is missing"),
        (r#"{"op":"get","key":"k","ttl":1}"#, "`ttl` is no field of a get"),
        (r#"5"#, "must be an object"),
        (r#"{"op":"get""#, "cut short"),
    ] {
        let lines = format!("{{\"op\":\"get\",\"key\":\"k\"}}\n{operation}\n");
        let batch = pykv(&["batch"]).at(&node).stdin(lines.as_bytes()).expect(USAGE);
        assert!(
            batch.stderr.contains("line 2") && batch.stderr.contains(said),
            "{operation}: {batch:?}"
        );
        assert_plain(&batch.stderr);
    }
}

#[test]
fn the_api_says_what_is_wrong_with_a_body_in_plain_words() {
    let node = Server::start(&[]);
    for (method, target, body, said) in [
        ("POST", "/kv/", "", "there is no JSON"),
        (
            "POST",
            "/kv/",
            "nonsense",
            "this is not JSON, at line 1, column 2",
        ),
        ("POST", "/kv/", "[]", "the body must be an object"),
        ("POST", "/kv/", "{\n\"key\":\"k\",\n}", "at line 3, column 1"),
        (
            "POST",
            "/kv/",
            r#"{"key":"c","value":{"a":1}}"#,
            "to store JSON, put `\"encoding\":\"json\"` beside it",
        ),
        (
            "PUT",
            "/kv/k",
            r#"{"value":null}"#,
            "`value` must be a string, not null",
        ),
        (
            "PUT",
            "/kv/k",
            r#"{"value":"v","ttl":"5"}"#,
            "`ttl` must be a number",
        ),
        (
            "PATCH",
            "/kv/k",
            r#"{"expires_at_ms":1.5}"#,
            "`expires_at_ms` must be a whole number",
        ),
        ("PATCH", "/kv/k", "{}", "`ttl` is missing"),
        (
            "POST",
            "/batch",
            r#"{"operations":{}}"#,
            "`operations` must be a list, not an object",
        ),
        (
            "POST",
            "/batch",
            r#"{"operations":[5]}"#,
            "an operation must be an object",
        ),
        (
            "POST",
            "/batch",
            r#"{"operations":[{"op":"put","key":"k"}]}"#,
            "`op` must be get, set, increment, append or delete",
        ),
        (
            "POST",
            "/batch",
            "5",
            "the body must be an object with `operations`",
        ),
    ] {
        let answer = node.client().request(method, target, &JSON, body.as_bytes());
        assert!(matches!(answer.status, 400 | 422), "{answer:?}");
        let problem = answer.body_json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{body}: {detail}");
        assert_plain(detail);
    }
}

#[test]
fn every_command_says_that_a_file_is_missing_in_the_same_words() {
    let node = Server::start(&[]);
    let absent = node.home().join("absent");
    let dir = node.home().join("restored");
    let expected = format!("cannot read {}: No such file or directory\n", absent.display());
    for command in ["log", "check", "restore", "import", "batch", "reapply"] {
        let mut run = pykv(&[command]).arg(&absent).at(&node);
        if command == "restore" {
            run = run.dir(&dir);
        }
        let run = run.expect(8);
        assert_eq!(run.stderr, format!("pykv: {expected}"), "{command}");
    }
}
