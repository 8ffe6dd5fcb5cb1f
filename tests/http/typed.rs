//! What people type: several keys at once, counters, patterns, other stores' words, flags before the command.

use crate::common::cli::Run;
use crate::common::{Server, pykv};
use serde_json::{Value, json};

fn node_with(keys: &[(&str, &str)]) -> Server {
    let node = Server::start(&[]);
    let mut client = node.client();
    for (key, value) in keys {
        client
            .put(&format!("/kv/{key}?upsert=true"), value.as_bytes())
            .expect(201);
    }
    node
}

/// The standard output of a run, and its status.
fn run(run: Run) -> (String, i32) {
    let output = run.run();
    (String::from_utf8(output.stdout).unwrap(), output.code.unwrap())
}

#[test]
fn several_keys_at_once() {
    let node = node_with(&[("a", "1"), ("b", "two"), ("empty", "")]);
    let at = |args: &[&str]| run(pykv(args).at(&node));
    assert_eq!(
        at(&["get", "a"]),
        ("1".to_owned(), 0),
        "one value has its exact bytes"
    );
    assert_eq!(at(&["get", "b", "empty", "a"]), ("two\n\n1\n".to_owned(), 0));
    assert_eq!(at(&["get", "a", "none", "b"]), ("1\ntwo\n".to_owned(), 1));
    let (lines, status) = at(&["get", "--json", "a", "b"]);
    let keys: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone())
        .collect();
    assert_eq!((json!(keys), status), (json!(["a", "b"]), 0));
    assert_eq!(at(&["exists", "a", "b"]), ("2\n".to_owned(), 0));
    assert_eq!(at(&["exists", "a", "none"]), ("1\n".to_owned(), 1));
    let (answer, _) = at(&["exists", "--json", "a", "none"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({"exist": 1, "missing": ["none"]}));
}

#[test]
fn counters() {
    let node = node_with(&[("text", "x")]);
    let at = |args: &[&str]| run(pykv(args).at(&node));
    assert_eq!(at(&["incr", "n"]), ("1\n".to_owned(), 0));
    assert_eq!(at(&["incr", "n", "10"]), ("11\n".to_owned(), 0));
    assert_eq!(at(&["incr", "n", "-12"]), ("-1\n".to_owned(), 0));
    assert_eq!(at(&["incr", "text"]).1, 2, "the value is no number");
    let (answer, _) = at(&["incr", "--json", "n"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["value"], "0");
}

#[test]
fn patterns_are_matched_by_the_server() {
    let node = node_with(&[
        ("user:1:profile", "a"),
        ("user:2:profile", "b"),
        ("user:2:cart", "c"),
        ("item", "d"),
    ]);
    let listed = |args: &[&str]| {
        let (lines, status) = run(pykv(&[&["list"], args].concat()).at(&node));
        assert_eq!(status, 0);
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(
        listed(&["--match", "user:*:profile"]),
        ["user:1:profile", "user:2:profile"]
    );
    assert_eq!(listed(&["--match", "*:[ac]*"]), ["user:2:cart"]);
    assert_eq!(listed(&["user:2", "--match", "*profile"]), ["user:2:profile"]);
    assert_eq!(listed(&["--match", "*", "--limit", "3"]).len(), 3);
    assert_eq!(listed(&["--match", "nothing"]), [""; 0]);
    assert_eq!(listed(&["--match", "item", "--values"]).len(), 1);
    let refused = pykv(&["list", "--match", "[a"]).at(&node).run();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("a [ in a pattern"), "{refused:?}");
    // By hand: pages of one key each, which name all of them.
    let mut client = node.client();
    let mut target = "/kv/?match=user%3A*&limit=1".to_owned();
    let mut keys = Vec::new();
    loop {
        let page = client.get(&target).expect(200).body_json();
        keys.extend(page["keys"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(cursor) => target = format!("/kv/?match=user%3A*&limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(keys.len(), 3, "{keys:?}");
}

#[test]
fn words_of_other_stores() {
    let node = node_with(&[]);
    let at = |args: &[&str]| run(pykv(args).at(&node));
    assert_eq!(at(&["put", "k", "v"]).1, 0);
    assert_eq!(at(&["ls"]), ("k\n".to_owned(), 0));
    assert_eq!(at(&["keys"]), ("k\n".to_owned(), 0));
    assert_eq!(at(&["rm", "k"]).1, 0);
    assert_eq!(at(&["ping"]), ("pong\n".to_owned(), 0));
    assert_eq!(at(&["ping", "--ready"]), ("pong\n".to_owned(), 0));
    let nobody = pykv(&["ping", "--server", "127.0.0.1:1"]).run();
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
}

#[test]
fn flags_of_the_connection_stand_before_the_command() {
    let node = node_with(&[("k", "v")]);
    let address = node.address().to_string();
    for args in [
        &["--server", &address, "get", "k"][..],
        &["-s", &address, "--timeout", "5s", "get", "k"],
        &["get", "-s", &address, "k"],
    ] {
        assert_eq!(run(pykv(args)), ("v".to_owned(), 0), "{args:?}");
    }
    let refused = pykv(&["--server", &address, "log"]).run();
    assert_eq!(refused.code, Some(2), "it looks at files: {refused:?}");
}

#[test]
fn a_bare_time_is_in_seconds() {
    let node = node_with(&[]);
    pykv(&["set", "--ttl", "90", "k", "v"]).at(&node).succeed();
    let (left, _) = run(pykv(&["ttl", "--json", "k"]).at(&node));
    let left: Value = serde_json::from_str(&left).unwrap();
    assert!((60.0..=90.0).contains(&left["ttl"].as_f64().unwrap()), "{left}");
    pykv(&["expire", "k", "3600"]).at(&node).succeed();
    let (left, _) = run(pykv(&["ttl", "k"]).at(&node));
    assert!(left.trim().parse::<f64>().unwrap() > 3000.0, "{left}");
    pykv(&["persist", "k"]).at(&node).succeed();
    let (left, _) = run(pykv(&["ttl", "--json", "k"]).at(&node));
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap()["ttl"], Value::Null);
}

#[test]
fn what_was_done_is_said_in_json() {
    let node = node_with(&[("a", "1"), ("b", "2")]);
    let at = |args: &[&str]| -> Value {
        let output = pykv(args).at(&node).run();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {output:?}"))
    };
    assert_eq!(
        at(&["del", "--json", "a", "none"]),
        json!({"deleted": 1, "missing": ["none"]})
    );
    assert_eq!(at(&["del", "--json", "--prefix", "b"]), json!({"deleted": 1}));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backup");
    let backup = at(&["backup", "--json", file.to_str().unwrap()]);
    assert_eq!(backup["entries"], 0, "{backup}");
    let restored = home.path().join("restored");
    let restore = at(&[
        "restore",
        "--json",
        file.to_str().unwrap(),
        "--dir",
        restored.to_str().unwrap(),
    ]);
    assert_eq!(restore, backup);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (script, status) = run(pykv(&["completions", shell]));
        assert_eq!(status, 0);
        for word in ["incr", "exists", "server"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// A node with keys, and a folder with the script of a shell.
struct Completing {
    node: Server,
    home: tempfile::TempDir,
}

impl Completing {
    fn new(shell: &str) -> Completing {
        let node = node_with(&[
            ("user:1", "v"),
            ("user:a%20b", "v"),
            ("other", "value of other"),
            ("item%2F7", "v"),
        ]);
        let home = tempfile::tempdir().unwrap();
        let (script, _) = run(pykv(&["completions", shell]));
        std::fs::write(home.path().join("script"), script).unwrap();
        Completing { node, home }
    }

    /// What a program of the shell prints, `SCRIPT` and `NODE` being replaced; none where the shell is not installed.
    fn said(&self, shell: &[&str], program: &str) -> Option<String> {
        // The shell is to find the binary that is tested.
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_pykv"));
        let path = format!(
            "{}:{}",
            binary.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let script = self.home.path().join("script");
        let at = self.node.address().to_string();
        let program = program
            .replace("SCRIPT", script.to_str().unwrap())
            .replace("NODE", &at);
        let output = std::process::Command::new(shell[0])
            .args(&shell[1..])
            .arg(program)
            .env("PATH", &path)
            .env("PYKV_SERVER", &at)
            .env("HOME", self.home.path())
            .output()
            .ok()?;
        assert!(output.status.success(), "{shell:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{shell:?}: {output:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

#[test]
fn bash_completes_keys() {
    let bash = Completing::new("bash");
    let program = r#"source SCRIPT
        while IFS= read -r line; do
            COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=($line) COMP_CWORD=0 COMPREPLY=()
            _pykv_with_keys pykv "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
            printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' '|'
            echo
        done <<'END'
pykv get user:
pykv -s NODE del o
pykv -s 127.0.0.1:1 get o
pykv set user:1 u
pykv list us
pykv watch 
pykv list us x
pykv export --prefix us
pykv set --ttl 90 o
pykv --timeout 5s get --timeout 5s o
pykv get --server 
END"#;
    let printed = bash.said(&["bash", "-c"], program).expect("bash is there");
    // The shell has the part up to the colon on its line already.
    let expected = [
        "1|a\\ b|",
        "other|",
        "|",
        "|",
        "user:|",
        "item/|other|user:|",
        "|",
        "user:|",
        "other|",
        "other|",
        "|",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn fish_completes_keys() {
    let fish = Completing::new("fish");
    let program = "source SCRIPT
        for line in 'pykv get user:1' 'pykv -s NODE del oth' 'pykv list us' 'pykv watch ' 'pykv export --prefix us'
            complete -C $line
        end";
    match fish.said(&["fish", "-c"], program) {
        Some(printed) => assert_eq!(printed, "user:1\nother\nuser:\nitem/\nother\nuser:\nuser:\n"),
        None => crate::common::skip("fish_completes_keys", "fish is not installed"),
    }
}

/// Types lines with a Tab at their end into a zsh on a terminal, and waits for what the completed lines print.
#[test]
fn zsh_completes_keys() {
    let zsh = Completing::new("zsh");
    let program = "zmodload zsh/zpty && zpty typed zsh -f -i
        zpty -w typed \"PS1='re'ady; autoload -Uz compinit; compinit -u -D; source SCRIPT\"
        zpty -r typed printed '*ready*'
        zpty -w typed $'pykv get oth\\t' && zpty -r typed printed '*value of other*'
        zpty -w typed $'pykv -s NODE --timeout 5s exists oth\\t --json' && zpty -r typed printed '*\"exist\":1*'
        zpty -w typed $'pykv -s NODE list us\\t' && zpty -r typed printed '*user:a b*'
        zpty -w typed $'pykv export --prefix it\\t' && zpty -r typed printed '*\"item/7\"*'
        zpty -d typed";
    if zsh.said(&["timeout", "60", "zsh", "-f", "-c"], program).is_none() {
        crate::common::skip("zsh_completes_keys", "zsh is not installed");
    }
}

#[test]
fn what_is_done_to_many_is_said_as_json() {
    let node = node_with(&[("a", "1")]);
    let lines = b"{\"key\":\"a\",\"value\":\"2\"}\n{\"key\":\"b\",\"value\":\"2\"}\nnonsense\n";
    let args = ["import", "--json", "--if-absent"];
    let (printed, status) = run(pykv(&args).at(&node).stdin(lines));
    let said: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(status, 2);
    assert_eq!(
        (&said["imported"], &said["left_alone"], &said["left_out"]),
        (&1.into(), &1.into(), &1.into()),
        "{said}"
    );
    assert_eq!(said["faults"][0]["line"], 3, "{said}");
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backup");
    let file = file.to_str().unwrap();
    run(pykv(&["backup", file]).at(&node));
    let dir = home.path().join("dir");
    run(pykv(&["restore", file]).dir(&dir));
    let (printed, status) = run(pykv(&["check", "--json"]).dir(&dir));
    let said: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (status, &said["intact"], &said["files"][0]["records"]),
        (0, &true.into(), &2.into())
    );
    let (printed, _) = run(pykv(&["check", "--json", file]));
    assert!(printed.contains("\"entries\":2"), "{printed}");
}

#[test]
fn the_shell_has_the_same_commands() {
    let node = node_with(&[("a", "1"), ("b", "2")]);
    let lines = b"MGET a b\nINCR n\nINCR n 4\nEXISTS a none\nPING\nPUT c 3\nKEYS c\nRM c\n";
    let (printed, status) = run(pykv(&["shell"]).at(&node).stdin(lines));
    assert_eq!(printed, "1\n2\n1\n5\n1\nPONG\nOK\nc\n1\n");
    assert_eq!(status, 0);
}
