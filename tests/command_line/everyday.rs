//! What people, their shells, their platforms and their monitoring do every day: odd environments, sizes as they are
//! written elsewhere, addresses as they are pasted, large values, escapes in paths.

use crate::common::node::Setup;
use crate::common::{Server, eventually, pykv};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A value of the largest size goes in and comes out by every way; one byte more is refused, and what is too large is
/// named.
#[test]
fn the_largest_value_goes_every_way_and_one_byte_more_goes_none() {
    const BYTES: usize = 2 << 20;
    let node = Server::start(&["--max-value", "2MiB"]);
    let value: Vec<u8> = (0..BYTES).map(|at| (at * 31 % 256) as u8).collect();
    let mut longer = value.clone();
    longer.push(0);
    let octets = |value: &[u8]| node.client().put("/kv/octets?upsert=true", value);
    let base64 = |value: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(value);
        let body = json!({"value": text, "encoding": "base64"});
        node.client().json("PUT", "/kv/base64?upsert=true", &body)
    };
    // Each byte of the text comes as six in JSON.
    let escaped = |bytes: usize| {
        let body = format!("{{\"value\":\"{}\"}}", "\\u0000".repeat(bytes));
        let headers = [("Content-Type", "application/json")];
        node.client()
            .request("PUT", "/kv/escaped?upsert=true", &headers, body.as_bytes())
    };
    let batch = |bytes: usize| {
        let operations = json!([{"op": "set", "key": "batched", "value": "x".repeat(bytes)}]);
        node.client()
            .json("POST", "/batch", &json!({ "operations": operations }))
    };
    let file = node.home().join("value");
    let set = |value: &[u8]| {
        fs::write(&file, value).unwrap();
        pykv(&["set", "file", "--file", file.to_str().unwrap()])
            .at(&node)
            .run()
    };
    for (answer, too_long, named) in [
        (
            octets(&value),
            octets(&longer),
            "the body may have at most 2097152 bytes",
        ),
        (
            base64(&value),
            base64(&longer),
            "a value may have at most 2097152 bytes",
        ),
        (
            escaped(BYTES),
            escaped(BYTES + 1),
            "a value may have at most 2097152 bytes",
        ),
        (
            batch(BYTES),
            batch(BYTES + 1),
            "a value may have at most 2097152 bytes",
        ),
    ] {
        assert!(answer.is_success(), "{answer:?}");
        let detail = too_long.expect(413).body_json()["detail"].clone();
        assert!(detail.as_str().unwrap().contains(named), "{detail}");
    }
    assert_eq!(set(&value).code, Some(0));
    let refused = set(&longer);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("takes at most 2097152"), "{refused:?}");
    for key in ["octets", "base64", "file"] {
        let raw = [("Accept", "application/octet-stream")];
        let answer = node.client().request("GET", &format!("/kv/{key}"), &raw, b"");
        assert!(answer.expect(200).body == value, "{key}");
    }
    let out = node.home().join("all.jsonl");
    let out = out.to_str().unwrap();
    pykv(&["export", out]).at(&node).succeed();
    let other = Server::start(&["--max-value", "2MiB"]);
    pykv(&["import", out]).at(&other).succeed();
    for key in ["octets", "escaped", "batched"] {
        let raw = format!("/kv/{key}?raw");
        assert!(
            other.get(&raw).expect(200).body == node.get(&raw).expect(200).body,
            "{key}"
        );
    }
}

#[test]
fn sizes_as_others_write_them_are_refused_with_the_units_named() {
    let home = TempDir::new().unwrap();
    for (size, named) in [
        ("1g", "GiB"),
        ("512m", "MiB"),
        ("64M", "MB"),
        ("50%", "KiB"),
        ("1e9", "bytes"),
        ("0", "more than 0"),
        ("", "64MiB"),
    ] {
        let dir = home.path().join("data");
        let output = pykv(&["serve", "--listen", "127.0.0.1:0", "--max-memory", size])
            .dir(&dir)
            .run();
        assert_eq!(output.code, Some(2), "{size}: {output:?}");
        assert!(output.stderr.contains(named), "{size}: {output:?}");
        assert!(!dir.exists(), "{size}");
    }
    for size in ["1.5gb", "1 GiB"] {
        let node = Server::start(&["--max-memory", size]);
        node.get("/healthz").expect(200);
    }
}

#[test]
fn a_node_is_named_as_people_paste_it() {
    let node = Server::start(&[]);
    let port = node.address().port();
    for server in [
        "127.0.0.1:PORT",
        "localhost:PORT",
        "http://localhost:PORT",
        "http://localhost:PORT/",
    ] {
        let server = server.replace("PORT", &port.to_string());
        pykv(&["list", "--server", &server]).succeed();
    }
    for (server, named) in [
        ("http://user@localhost:1", "host and port alone"),
        ("http://localhost:1/below/", "host and port alone"),
        (":1", "name a host"),
        ("7958", "name a host"),
        ("", "name a host"),
    ] {
        let output = pykv(&["list", "--server", server]).run();
        assert_eq!(output.code, Some(2), "{server}: {output:?}");
        assert!(output.stderr.contains(named), "{server}: {output:?}");
    }
}

/// RFC 3986: in a path `+` is a plus, and what is escaped is what it stands for. In a query it is as forms have it.
#[test]
fn a_plus_and_a_blank_in_paths_queries_and_forms() {
    let node = Server::start(&[]);
    for (path, key) in [("a+b", "a+b"), ("c%2Bd", "c+d"), ("e%20f", "e f")] {
        let answer = node.client().put(&format!("/kv/{path}?upsert=true"), b"v");
        assert!(answer.is_success(), "{answer:?}");
        let got = node.get(&format!("/kv/{path}")).expect(200).body_json();
        assert_eq!(got["key"], key);
    }
    let listed = |query: &str| -> Value {
        node.get(&format!("/kv/?prefix={query}")).expect(200).body_json()["keys"].clone()
    };
    assert_eq!(listed("a%2Bb"), json!(["a+b"]));
    assert_eq!(listed("e%20f"), json!(["e f"]));
    assert_eq!(listed("e+f"), json!(["e f"]));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = node.client().request("POST", "/kv/", &form, b"key=k&value=v");
    let detail = answer.expect(415).body_json()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("application/json"), "{detail}");
}

/// What file systems and their users leave in a directory is no file of a store.
#[test]
fn strangers_in_the_directory_stay_there() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    fs::create_dir_all(data.join("lost+found")).unwrap();
    fs::write(data.join(".aaa"), "a").unwrap();
    fs::write(data.join("README"), "b").unwrap();
    let mut node = Setup::new(&[]).data(&data).start();
    node.client().add("k", "v").expect(201);
    pykv(&["compact"]).at(&node).succeed();
    let backup = home.path().join("backup");
    let backup = backup.to_str().unwrap();
    pykv(&["backup", backup]).at(&node).succeed();
    node.restart();
    node.get("/kv/k").expect(200);
    let restored = home.path().join("restored");
    fs::create_dir_all(restored.join("lost+found")).unwrap();
    pykv(&["restore", backup]).dir(&restored).succeed();
    let copy = home.path().join("copy");
    fs::create_dir_all(copy.join("lost+found")).unwrap();
    let from = node.address().to_string();
    let replica = Setup::replica(&from, &[]).data(&copy).start();
    eventually("the replica follows", || replica.get("/kv/k").status == 200);
    let is_there = |dir: &Path, name: &str| dir.join(name).exists();
    assert!(is_there(&restored, "lost+found") && is_there(&copy, "lost+found"));
    for name in ["lost+found", ".aaa", "README"] {
        assert!(is_there(&data, name), "{name}");
    }
}

/// A variable that is set and empty is a mistake in a script; those that Kubernetes sets for a service of this name are
/// none of ours.
#[test]
fn odd_environments() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("data");
    for variable in ["PYKV_LISTEN", "PYKV_DIR", "PYKV_LOG", "PYKV_TOKEN_FILE"] {
        let mut args = vec!["serve"];
        args.extend(
            (variable != "PYKV_LISTEN")
                .then_some(["--listen", "127.0.0.1:0"])
                .into_iter()
                .flatten(),
        );
        let mut run = pykv(&args).env(variable, "");
        if variable != "PYKV_DIR" {
            run = run.dir(&dir);
        }
        let output = run.run();
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(variable), "{output:?}");
    }
    assert!(!dir.exists());
    let wrapper = [
        "env",
        "PYKV_SERVICE_HOST=10.0.0.1",
        "PYKV_SERVICE_PORT=7958",
        "PYKV_PORT=tcp://10.0.0.1:7958",
        "PYKV_PORT_7958_TCP_ADDR=10.0.0.1",
    ];
    let node = Setup::new(&[]).wrapper(&wrapper).start();
    node.client().add("k", "v").expect(201);
    let unnamed = pykv(&["get", "k"]).at(&node).env("PYKV_TOKEN_FILE", "").expect(2);
    assert!(unnamed.stderr.contains("PYKV_TOKEN_FILE"), "{unnamed:?}");
    // An empty token is none.
    pykv(&["get", "k"]).at(&node).env("PYKV_TOKEN", "").succeed();
}

/// Prometheus asks in several ways; and whatever clients ask for, the number of lines does not grow with it.
#[test]
fn metrics_are_of_one_form_and_do_not_grow_with_what_is_asked() {
    let node = Server::start(&[]);
    let metrics = |accept: Option<&str>| {
        let headers: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
        let answer = node
            .client()
            .request("GET", "/metrics", &headers, b"")
            .expect(200);
        assert_eq!(
            answer.header("Content-Type"),
            Some("text/plain; version=0.0.4"),
            "{accept:?}"
        );
        String::from_utf8(answer.body.clone()).unwrap().lines().count()
    };
    for accept in [
        None,
        Some("*/*"),
        Some("text/html"),
        Some("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
    ] {
        metrics(accept);
    }
    let round = |number: usize| {
        let mut client = node.client();
        for at in 0..100 {
            let name = format!("{number}-{at}");
            for target in [format!("/kv/{name}"), format!("/{name}"), format!("/page/{name}")] {
                client.get(&target);
                let method = format!("M{at}");
                node.client().request(&method, &target, &[], b"");
            }
        }
        metrics(None)
    };
    let first = round(0);
    assert_eq!(round(1), first);
}

/// A restore that fails for want of room leaves no mark of a store: the same one works as soon as there is room.
#[test]
fn a_restore_that_fails_leaves_no_lock() {
    let node = Server::start(&[]);
    let value = vec![b'x'; 500_000];
    assert!(node.client().put("/kv/k?upsert=true", &value).is_success());
    let backup = node.home().join("backup");
    let backup = backup.to_str().unwrap();
    pykv(&["backup", backup]).at(&node).succeed();
    let dir = node.home().join("restored");
    // `ulimit -f` is in blocks of 512 bytes.
    let script = "ulimit -f 100; exec \"$0\" restore \"$1\" --dir \"$2\"";
    let output = Command::new("sh")
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_pykv"),
            backup,
            dir.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    let left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    pykv(&["restore", backup]).dir(&dir).succeed();
    let restored = Setup::new(&[]).data(&dir).start();
    assert!(restored.get("/kv/k?raw").expect(200).body == value);
}

/// The first file of a log that is emptied by hand takes the store's beginning away: no command calls the rest whole, and
/// the one that could mend it says which file it is about, and touches nothing.
#[test]
fn a_log_whose_first_file_was_emptied_is_said_to_be_beyond_repair() {
    let mut node = Server::start(&[]);
    node.client().add("k", "v").expect(201);
    assert_eq!(node.sigterm().code(), Some(0));
    const FIRST: &str = "log-00000000000000000000.pykv";
    fs::write(node.dir().join(FIRST), b"").unwrap();
    let state = || {
        let mut files: Vec<_> = fs::read_dir(node.dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = state();
    let output = pykv(&["serve", "--listen", "127.0.0.1:0"]).dir(node.dir()).run();
    assert!(
        output.code == Some(7) && output.stderr.contains(FIRST),
        "{output:?}"
    );
    for args in [&["check"][..], &["check", "--repair"]] {
        let output = pykv(args).dir(node.dir()).run();
        assert_eq!(output.code, Some(7), "{output:?}");
        assert!(
            output
                .stderr
                .contains(&format!("{FIRST}, which held what comes before, is empty")),
            "{output:?}"
        );
    }
    assert!(state() == before);
    // What is left can be looked at.
    let rest = before
        .iter()
        .map(|(_, path)| path)
        .rfind(|path| path.extension().is_some())
        .unwrap();
    let log = pykv(&["log", rest.to_str().unwrap()]).succeed();
    assert!(String::from_utf8(log).unwrap().contains("\"key\":\"k\""));
}

/// "ok" is the log's. Where there is trouble of another kind, nobody stops reading at that.
#[test]
fn a_status_with_trouble_does_not_begin_with_ok_alone() {
    let node = Server::start(&[]);
    let healthy = String::from_utf8(pykv(&["status"]).at(&node).succeed()).unwrap();
    assert!(healthy.starts_with("health       ok\n"), "{healthy}");
    let mut primary = Server::start(&[]);
    primary.client().add("k", "v").expect(201);
    let replica = Setup::replica(&primary.address().to_string(), &[]).start();
    eventually("it follows", || replica.get("/kv/k").status == 200);
    primary.kill_9();
    eventually("it says so in its first line", || {
        let text = String::from_utf8(pykv(&["status"]).at(&replica).succeed()).unwrap();
        text.contains("\ntrouble ") && text.starts_with("health       ok, with trouble")
    });
}

/// A cursor is a place in one listing, and an empty parameter is written with a `=`: a slip deletes nothing, and leaves
/// nothing out.
#[test]
fn a_cursor_of_another_listing_and_a_prefix_without_a_value_are_refused() {
    let node = Server::start(&[]);
    for key in ["p:1", "p:2", "q:1"] {
        node.client().add(key, "v").expect(201);
    }
    let page = node.get("/kv/?prefix=p:&limit=1").expect(200).body_json();
    let cursor = page["cursor"].as_str().unwrap();
    node.get(&format!("/kv/?prefix=p:&cursor={cursor}")).expect(200);
    node.get(&format!("/kv/?prefix=q:&cursor={cursor}"))
        .expect_problem(400);
    for query in ["prefix", "prefix&dry_run=true", ""] {
        node.client().delete(&format!("/kv/?{query}")).expect_problem(400);
    }
    assert_eq!(node.get("/stats").body_json()["entries"], 3);
}

/// What fails says what is missing, in words.
#[test]
fn what_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let socket = format!("unix:{}", path("absent/pykv.sock"));
    let serve = pykv(&["serve", "--dir", &path("d"), "--listen", &socket]).expect(8);
    assert!(
        serve.stderr.contains(&format!(
            "its directory {} does not exist; make it first",
            path("absent")
        )),
        "{serve:?}"
    );
    let get = pykv(&["get", "k", "--server", &socket]).expect(3);
    assert!(get.stderr.contains("there is no socket at this path"), "{get:?}");
    // No host has a name under .invalid (RFC 2606).
    let get = pykv(&["get", "k", "--server", "pykv.invalid:1"]).expect(3);
    assert!(
        get.stderr.contains("cannot reach a node") && get.stderr.contains("the name of the host"),
        "{get:?}"
    );
    for (named, said) in [("nonsense", "it must be HOST:PORT"), ("a b:1", "name a host")] {
        let forget = pykv(&["forget", named]).expect(2);
        assert!(forget.stderr.contains(said), "{forget:?}");
    }
    let help = pykv(&["help", "lst"]).expect(2);
    assert!(help.stderr.contains("`list`"), "{help:?}");
}

#[test]
fn a_backup_that_is_cut_short_is_damaged_data() {
    let node = Server::start(&[]);
    node.client().put("/kv/k?upsert=true", b"v").expect(201);
    let path = |name: &str| node.home().join(name).to_str().unwrap().to_owned();
    pykv(&["backup", &path("whole")]).at(&node).succeed();
    let bytes = fs::read(path("whole")).unwrap();
    for length in [0, 5, 300, 4096, 4100, bytes.len() - 1] {
        fs::write(path("cut"), &bytes[..length]).unwrap();
        let check = pykv(&["check", &path("cut")]).expect(7);
        assert!(check.stderr.contains("is no complete backup"), "{check:?}");
        pykv(&["restore", &path("cut"), "--dir", &path("none")]).expect(7);
    }
    let restored = pykv(&["restore", &path("whole"), "--dir", &path("restored")]).succeed();
    let said = String::from_utf8(restored).unwrap();
    assert!(
        said.starts_with(&format!("restored to {}: 1 entries", path("restored"))),
        "{said}"
    );
}

/// Whoever starts the same node twice needs another place and another directory.
#[test]
fn a_second_start_names_both_clashes() {
    let node = Server::start(&[]);
    let listen = node.url();
    let listen = listen.trim_start_matches("http://");
    let second = pykv(&["serve", "--listen", listen]).dir(node.dir()).expect(8);
    assert!(
        second.stderr.contains("--listen") && second.stderr.contains("--dir"),
        "{second:?}"
    );
    let other = node.home().join("other");
    let second = pykv(&["serve", "--listen", listen]).dir(&other).expect(8);
    assert!(!second.stderr.contains("--dir"), "{second:?}");
    assert!(!other.exists());
}

#[test]
fn a_counter_begins_where_it_is_said_to() {
    let node = Server::start(&[]);
    let order = |more: &[&str]| {
        let args = [&["incr", "order"], more].concat();
        String::from_utf8(pykv(&args).at(&node).succeed()).unwrap()
    };
    assert_eq!(order(&["--initial", "1000"]), "1000\n");
    assert_eq!(order(&["--initial", "1000"]), "1001\n");
    let absent = node
        .client()
        .json("PATCH", "/kv/absent", &json!({"increment": 1}));
    let said = absent.expect(404).body_json()["detail"].clone();
    assert!(said.as_str().unwrap().contains("`initial`"), "{said}");
}

#[test]
fn a_pattern_in_the_place_of_a_prefix_is_named() {
    let node = Server::start(&[]);
    pykv(&["set", "green", "1"]).at(&node).succeed();
    let output = pykv(&["keys", "gr*"]).at(&node).run();
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(output.stderr.contains("`pykv list --match 'gr*'`"), "{output:?}");
    let output = pykv(&["keys", "gr"]).at(&node).run();
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_str()),
        (b"green\n".as_slice(), "")
    );
}

#[test]
fn a_pattern_in_the_place_of_a_key_is_named() {
    let node = Server::start(&[]);
    pykv(&["set", "green", "1"]).at(&node).succeed();
    for command in ["get", "del", "exists"] {
        let said = pykv(&[command, "gr*"]).at(&node).expect(1).stderr;
        assert!(said.contains("`pykv list --match PATTERN`"), "{command}: {said}");
        let said = pykv(&[command, "gr"]).at(&node).expect(1).stderr;
        assert!(!said.contains("--match"), "{command}: {said}");
    }
}

#[test]
fn a_directory_is_repaired_by_its_name_alone_and_a_backup_is_not() {
    let mut node = Server::start(&[]);
    pykv(&["set", "a", "1"]).at(&node).succeed();
    let backup = node.home().join("backup");
    pykv(&["backup"]).at(&node).arg(&backup).succeed();
    let said = pykv(&["check", "--repair"]).arg(&backup).expect(2).stderr;
    assert!(said.contains("--repair is for a data directory"), "{said}");
    node.sigterm();
    let repaired = pykv(&["check", "--repair"]).arg(node.dir()).succeed();
    assert!(String::from_utf8(repaired).unwrap().contains("intact"));
}

/// What is given in place of a backup is named as what it is.
#[test]
fn a_file_that_is_no_backup_is_named_as_what_it_is() {
    let mut node = Server::start(&[]);
    pykv(&["set", "a", "1"]).at(&node).succeed();
    let file = node.home().join("file");
    let said = |arg: &str| pykv(&["check"]).arg(arg).expect(8).stderr;
    let packed = [
        (b"\x1f\x8b\x08\0".as_slice(), "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\0", "xz"),
    ];
    for (magic, by) in packed {
        fs::write(&file, magic).unwrap();
        let said = said(file.to_str().unwrap());
        assert!(
            said.contains(&format!("is compressed by {by}: unpack it first")),
            "{said}"
        );
    }
    assert!(said("-").contains("not from standard input"));
    node.sigterm();
    // A data directory is checked, as --dir has it.
    let checked = pykv(&["check"]).arg(node.dir()).succeed();
    assert!(String::from_utf8(checked).unwrap().contains("intact"));
    let restored = pykv(&["restore"]).arg(node.dir()).dir(&node.home().join("new"));
    let said = restored.expect(8).stderr;
    assert!(said.contains("it is a directory"), "{said}");
}
