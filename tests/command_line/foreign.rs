//! What answers is not the node that was meant: a proxy, another server, one that lies, one that is gone before its
//! answer is. The command line says so, tells apart what may have been done, and keeps its memory within a bound.

use crate::common::fake::{Fake, answer, json};
use crate::common::{Server, pykv};
use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const NOT_ALLOWED: i32 = 5;
const NOT_NOW: i32 = 6;
const NONSENSE: i32 = 8;

const OPERATION: &[u8] = b"{\"op\":\"delete\",\"key\":\"k\"}\n";

/// Commands that read, and commands that write; with what is fed to them.
const READS: &[(&[&str], &[u8])] = &[
    (&["get", "k"], b""),
    (&["get", "k", "--json"], b""),
    (&["ttl", "k"], b""),
    (&["exists", "k"], b""),
    (&["list"], b""),
    (&["list", "--values"], b""),
    (&["export"], b""),
    (&["status"], b""),
    (&["watch"], b""),
    (&["del", "--prefix", "k", "--dry-run"], b""),
    (&["backup", "-"], b""),
];
const WRITES: &[(&[&str], &[u8])] = &[
    (&["set", "k", "v"], b""),
    (&["set", "k", "v", "--if-absent"], b""),
    (&["del", "k"], b""),
    (&["del", "--prefix", "k"], b""),
    (&["expire", "k", "1h"], b""),
    (&["persist", "k"], b""),
    (&["incr", "k"], b""),
    (&["shell"], b"set k v\n"),
    (&["shell"], b"del k\n"),
    (&["batch"], OPERATION),
    (&["compact"], b""),
    (&["promote"], b""),
];

#[test]
fn an_answer_of_another_server_is_no_answer() {
    // A page, and JSON: what a proxy that merges slashes makes of the key `..` is the listing or the page.
    let page = answer("200 OK", "Content-Type: text/html\r\n", "<html>it works</html>");
    let other = json("{\"keys\":5}");
    // The entity tags of other servers may be numbers too.
    let tagged = ["text/html", "application/json"].map(|media| {
        let headers = format!("Content-Type: {media}\r\nETag: \"7\"\r\n");
        answer("200 OK", &headers, "{\"keys\":5}")
    });
    for bytes in [page, other].into_iter().chain(tagged) {
        let fake = Fake::always(&bytes);
        for (args, stdin) in READS.iter().chain(WRITES) {
            let output = pykv(args)
                .env("PYKV_SERVER", &fake.url())
                .stdin(stdin)
                .expect(NONSENSE);
            assert_eq!(output.stdout, b"", "{args:?}");
            assert!(output.stderr.contains(&fake.url()), "{args:?}: {output:?}");
            assert!(output.stderr.contains("no pykv node"), "{args:?}: {output:?}");
            for word in ["expected", "EOF", "at line 1", "invalid type", "missing field"] {
                assert!(!output.stderr.contains(word), "{args:?}: {output:?}");
            }
        }
    }
}

#[test]
fn what_another_server_sends_for_a_backup_is_said_to_be_none() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("b");
    let fake = Fake::always(&answer(
        "200 OK",
        "Content-Type: application/octet-stream\r\n",
        "something else than a backup",
    ));
    let output = pykv(&["backup"])
        .arg(&file)
        .env("PYKV_SERVER", &fake.url())
        .expect(NONSENSE);
    for said in ["no pykv node", &fake.url(), file.to_str().unwrap()] {
        assert!(output.stderr.contains(said), "{output:?}");
    }
    for of_something_else in ["import", "--dir", ".part"] {
        assert!(!output.stderr.contains(of_something_else), "{output:?}");
    }
    assert!(std::fs::read_dir(home.path()).unwrap().next().is_none());
}

/// A proxy may make of the key `..` the path of something else on the same node.
#[test]
fn what_a_proxy_makes_of_a_key_is_no_answer_about_it() {
    let node = Server::start(&[]);
    let address = node.address();
    let fake = Fake::start(move |asked, stream| {
        let target = match asked.target.contains("openapi") {
            true => "/openapi.json",
            false => "/",
        };
        let mut client = crate::common::Client::connect(address);
        let answered = client.request(&asked.method, target, &[], b"");
        let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", answered.status);
        for (name, value) in &answered.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&answered.body)
    });
    for args in [
        &["exists", ".."][..],
        &["ttl", ".."],
        &["get", ".."],
        &["get", "--json", ".."],
        &["get", "--json", "../openapi.json"],
    ] {
        let output = pykv(args).env("PYKV_SERVER", &fake.url()).expect(NONSENSE);
        assert_eq!(output.stdout, b"", "{args:?}");
    }
}

#[test]
fn that_a_proxy_finds_nothing_says_nothing_of_a_key() {
    let fake = Fake::always(&answer(
        "404 Not Found",
        "Content-Type: text/html\r\n",
        "<html>no</html>",
    ));
    for args in [
        &["get", "k"][..],
        &["get", "k", "--json"],
        &["ttl", "k"],
        &["exists", "k"],
        &["del", "k"],
        &["expire", "k", "1s"],
    ] {
        let output = pykv(args).env("PYKV_SERVER", &fake.url()).expect(NONSENSE);
        assert_eq!(output.stdout, b"", "{output:?}");
        assert!(!output.stderr.contains("not found:"), "{output:?}");
        assert!(output.stderr.contains("HTTP 404"), "{output:?}");
    }
}

#[test]
fn what_a_proxy_says_is_an_exit_status_of_its_own() {
    let check = |status: &str, code| {
        let fake = Fake::always(&answer(status, "Content-Type: text/html\r\n", "<html>"));
        for args in [
            &["get", "k"][..],
            &["get", "k", "--json"],
            &["ttl", "k"],
            &["exists", "k"],
            &["set", "k", "v"],
            &["batch"],
            &["import"],
            &["status"],
            &["watch"],
        ] {
            let run = pykv(args).env("PYKV_SERVER", &fake.url());
            let output = run.stdin(OPERATION).expect(code);
            assert!(output.stderr.contains(&status[..3]), "{output:?}");
        }
    };
    // At once: some are asked again for some seconds.
    std::thread::scope(|scope| {
        for (status, code) in [
            ("502 Bad Gateway", NOT_NOW),
            ("503 Service Unavailable", NOT_NOW),
            ("504 Gateway Timeout", NOT_NOW),
            ("429 Too Many Requests", NOT_NOW),
            ("401 Unauthorized", NOT_ALLOWED),
            ("403 Forbidden", NOT_ALLOWED),
            ("413 Payload Too Large", USAGE),
            ("500 Internal Server Error", NONSENSE),
            ("301 Moved Permanently", NONSENSE),
        ] {
            scope.spawn(move || check(status, code));
        }
    });
}

#[test]
fn a_write_whose_answer_is_lost_may_have_been_done() {
    let broken = Fake::start(|_, stream| stream.shutdown(Shutdown::Both));
    let half = Fake::always(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"1\"\r\nContent-Length: 99\r\n\r\n{",
    );
    for fake in [&broken, &half] {
        for (args, stdin) in WRITES {
            if args[0] == "batch" {
                continue; // It asks for the limits first.
            }
            let output = pykv(args).env("PYKV_SERVER", &fake.url()).stdin(stdin).run();
            let is_half_of_no_body =
                output.code == Some(NONSENSE) && args.contains(&"del") | args.contains(&"shell");
            assert!(
                output.code == Some(UNREACHABLE) || is_half_of_no_body,
                "{args:?}: {output:?}"
            );
            assert!(
                output.stderr.contains("may have been made"),
                "{args:?}: {output:?}"
            );
            assert!(
                !output.stderr.contains("start one with"),
                "it was reached: {output:?}"
            );
        }
    }
    for (args, stdin) in READS {
        let output = pykv(args)
            .env("PYKV_SERVER", &broken.url())
            .stdin(stdin)
            .expect(UNREACHABLE);
        assert!(!output.stderr.contains("may have been"), "{args:?}: {output:?}");
    }
    // Nothing was sent where nobody listens.
    let output = pykv(&["set", "k", "v", "--server", "127.0.0.1:1"]).expect(UNREACHABLE);
    assert!(output.stderr.contains("start one with"), "{output:?}");
    assert!(!output.stderr.contains("may have been"), "{output:?}");
    // Neither an answer nor an end.
    let silent = Fake::start(|_, _| {
        std::thread::sleep(crate::common::SOON); // The silence is what is tested: nothing waits for its end.
        Ok(())
    });
    for (args, said) in [(&["set", "k", "v"][..], true), (&["get", "k"], false)] {
        let output = pykv(args)
            .env("PYKV_SERVER", &silent.url())
            .arg("--timeout=200ms")
            .expect(UNREACHABLE);
        assert_eq!(output.stderr.contains("may have been made"), said, "{output:?}");
    }
}

/// The status of a node, for a fake that tells of itself what a node does.
fn status_of(node: &Server) -> Vec<u8> {
    json(&String::from_utf8(node.get("/status").body).unwrap())
}

/// A way to a node on which the answers to the first batches are lost.
fn losing_answers(node: &Server, lost: u64) -> Fake {
    let address = node.address();
    let left = AtomicU64::new(lost);
    Fake::start(move |asked, stream| {
        let mut client = crate::common::Client::connect(address);
        let answered = client.request(
            &asked.method,
            &asked.target,
            &crate::common::client::JSON,
            &asked.body,
        );
        let is_write = asked.target == "/batch" && answered.status == 200;
        if is_write
            && left
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok()
        {
            return stream.shutdown(Shutdown::Both);
        }
        let body = String::from_utf8(answered.body).unwrap();
        let media = answered
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let offset = answered
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("pykv-offset"));
        let offset = offset.map_or(String::new(), |(_, offset)| format!("Pykv-Offset: {offset}\r\n"));
        let media = format!("Content-Type: {}\r\n{offset}", media.unwrap().1);
        stream.write_all(&answer(&format!("{} Status", answered.status), &media, &body))
    })
}

#[test]
fn an_import_counts_the_keys_that_it_has_added_itself() {
    let node = Server::start(&[]);
    pykv(&["set", "there", "old"]).at(&node).succeed();
    pykv(&["set", "same", "v"]).at(&node).succeed();
    let lines: String = ["there", "same", "a", "b", "c"]
        .iter()
        .map(|key| format!("{{\"key\":\"{key}\",\"value\":\"v\"}}\n"))
        .collect();
    // Each of the four ways loses its first answer at most.
    let fake = losing_answers(&node, 4);
    let import = pykv(&["import", "--if-absent"])
        .env("PYKV_SERVER", &fake.url())
        .stdin(lines.as_bytes())
        .expect(0);
    assert!(
        import.stderr.contains("imported 3 keys, 2 left as they were"),
        "{import:?}"
    );
    assert!(import.stderr.contains("retr"), "it says so: {import:?}");
    for (key, value) in [
        ("there", "old"),
        ("same", "v"),
        ("a", "v"),
        ("b", "v"),
        ("c", "v"),
    ] {
        assert_eq!(pykv(&["get", key]).at(&node).succeed(), value.as_bytes());
    }
}

#[test]
fn an_import_rides_out_what_a_proxy_says_meanwhile() {
    let node = Server::start(&[]);
    let status = status_of(&node);
    for (refusal, code) in [
        ("502 Bad Gateway", NOT_NOW),
        ("504 Gateway Timeout", NOT_NOW),
        ("429 Too Many Requests", NOT_NOW),
        ("404 Not Found", NONSENSE),
        // JSON, and no answer to a write.
        ("200 OK", NONSENSE),
    ] {
        let status = status.clone();
        let (questions, batches) = (AtomicU64::new(0), AtomicU64::new(0));
        let is_for_good = code == NONSENSE;
        let fake = Fake::start(move |asked, stream| {
            // The first question and the first batch are refused, or all batches.
            let is_question = asked.target == "/status";
            let times = if is_question { &questions } else { &batches };
            let is_first = times.fetch_add(1, Relaxed) == 0;
            let written = "Content-Type: application/json\r\nPykv-Offset: 9\r\n";
            stream.write_all(&match is_question {
                true if is_for_good || !is_first => status.clone(),
                false if !is_for_good && !is_first => {
                    answer("200 OK", written, "{\"results\":[],\"offset\":9}")
                }
                _ => answer(refusal, "Content-Type: application/json\r\n", "{}"),
            })
        });
        let import = pykv(&["import"])
            .env("PYKV_SERVER", &fake.url())
            .stdin(b"{\"key\":\"k\",\"value\":\"v\"}\n")
            .run();
        let expected = if is_for_good { NONSENSE } else { 0 };
        assert_eq!(import.code, Some(expected), "{refusal}: {import:?}");
        let retries = import.stderr.contains("after 2 retries");
        assert_eq!(retries, !is_for_good, "{refusal}: {import:?}");
    }
}

#[test]
fn a_watch_that_begins_where_a_proxy_does_not_reach_the_node_asks_again() {
    for refusal in ["502 Bad Gateway", "504 Gateway Timeout", "429 Too Many Requests"] {
        for after in [&[][..], &["--after", "0"]] {
            let asked_before = AtomicU64::new(0);
            let fake = Fake::start(move |asked, stream| {
                let change = r#"{"operation":"SET","key":"k","value":"v","version":9,"timestamp":1}"#;
                stream.write_all(&match asked_before.fetch_add(1, Relaxed) {
                    0 => answer(refusal, "Content-Type: text/html\r\n", "<html>"),
                    _ if asked.target.contains("after=") => {
                        json(&format!("{{\"changes\":[{change}],\"next\":9}}"))
                    }
                    _ => json("{\"changes\":[],\"next\":8}"),
                })
            });
            let watch = pykv(&["watch", "--limit", "1"]);
            let watch = after.iter().fold(watch, |watch, arg| watch.arg(arg));
            let watched = watch.env("PYKV_SERVER", &fake.url()).expect(0);
            let line: serde_json::Value = serde_json::from_slice(&watched.stdout).unwrap();
            assert_eq!(line["version"], 9);
            assert!(watched.stderr.contains(&refusal[..3]), "{watched:?}");
            assert!(watched.stderr.contains("answers again"), "{watched:?}");
        }
    }
}

#[test]
fn an_error_names_the_node_that_failed_and_who_sent_the_request_there() {
    // A port that was free a moment ago.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let location = format!("Location: http://{gone}/kv/k?upsert=true\r\n");
    let replica = Fake::always(&answer("307 Temporary Redirect", &location, ""));
    let output = pykv(&["set", "k", "v"])
        .env("PYKV_SERVER", &replica.url())
        .expect(UNREACHABLE);
    let said = format!(
        "{} sends writes to the primary at http://{gone}, which cannot be reached",
        replica.url()
    );
    assert!(output.stderr.contains(&said), "{output:?}");
    assert!(!output.stderr.contains("pykv serve"), "{output:?}");
    // One that leads nowhere, and one that leads round.
    let nowhere = Fake::always(&answer("307 Temporary Redirect", "Location: https://a/\r\n", ""));
    pykv(&["set", "k", "v"])
        .env("PYKV_SERVER", &nowhere.url())
        .expect(NONSENSE);
    let circle = Fake::always(&answer("307 Temporary Redirect", "Location: /kv/k\r\n", ""));
    let output = pykv(&["set", "k", "v"])
        .env("PYKV_SERVER", &circle.url())
        .expect(NONSENSE);
    assert!(output.stderr.contains("circle"), "{output:?}");
}

/// Runs it with this much of memory to be had, in KiB.
fn limited(kib: u64, args: &[&str], url: &str, stdin: &str) -> std::process::Output {
    let script = format!("ulimit -v {kib}; exec \"$PYKV\" \"$@\" < {stdin}");
    Command::new("bash")
        .args(["-c", &script, "bash"])
        .args(args)
        .env("PYKV", env!("CARGO_BIN_EXE_pykv"))
        .env("PYKV_SERVER", url)
        .output()
        .unwrap()
}

#[test]
fn an_endless_answer_has_an_end() {
    let endless = Fake::start(|asked, stream| {
        let head = match asked.target.starts_with("/kv/k") {
            true => "Content-Type: application/octet-stream\r\nETag: \"7\"\r\n",
            false => "Content-Type: application/json\r\n",
        };
        write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n")?;
        let piece = b"[{\"keys\":[\"".repeat(10_000);
        loop {
            stream.write_all(&piece)?;
        }
    });
    for args in [
        &["list"][..],
        &["list", "--values"],
        &["export"],
        &["watch"],
        &["watch", "--after", "0"],
        &["status"],
        &["compact"],
        &["del", "--prefix", "x"],
    ] {
        let output = limited(400_000, args, &endless.url(), "/dev/null");
        assert_eq!(output.status.code(), Some(NONSENSE), "{args:?}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("more than any node sends"), "{args:?}: {stderr}");
    }
    // A value may have 256 MiB; room for it is made by doubling.
    let output = limited(1_500_000, &["get", "k"], &endless.url(), "/dev/null");
    assert_eq!(output.status.code(), Some(NONSENSE), "{output:?}");
}

#[test]
fn a_listing_that_goes_round_has_an_end() {
    let fake = Fake::always(&json("{\"keys\":[],\"entries\":[],\"cursor\":\"0000\"}"));
    for args in [&["list"][..], &["list", "--values"], &["export"]] {
        let output = pykv(args).env("PYKV_SERVER", &fake.url()).expect(NONSENSE);
        assert!(output.stderr.contains("leads back to that page"), "{output:?}");
    }
}

#[test]
fn deep_json_is_an_error_and_no_more() {
    let deep = "[".repeat(300_000);
    let fake = Fake::always(&json(&deep));
    for args in [&["list"][..], &["list", "--values"], &["status"], &["watch"]] {
        pykv(args).env("PYKV_SERVER", &fake.url()).expect(NONSENSE);
    }
    let node = Server::start(&[]);
    let value = format!("{{\"key\":\"k\",\"value\":{deep}}}\n");
    let version = format!("{{\"key\":\"k\",\"value\":\"v\",\"version\":{deep}}}\n");
    let operation = format!("{{\"op\":\"set\",\"key\":\"k\",\"value\":{deep}\n");
    pykv(&["import"]).at(&node).stdin(value.as_bytes()).expect(USAGE);
    pykv(&["import"])
        .at(&node)
        .stdin(version.as_bytes())
        .expect(USAGE);
    pykv(&["batch"])
        .at(&node)
        .stdin(operation.as_bytes())
        .expect(USAGE);
    let headers = crate::common::client::JSON;
    for target in ["/kv/", "/batch"] {
        let refused = node.client().request("POST", target, &headers, deep.as_bytes());
        assert!(matches!(refused.status, 400 | 422), "{refused:?}");
    }
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"");
}

#[test]
fn an_endless_line_has_an_end() {
    let node = Server::start(&[]);
    // Without a newline, with NULs and without.
    let home = tempfile::tempdir().unwrap();
    let fifo = home.path().join("endless");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for args in [&["batch"][..], &["import"], &["shell"]] {
        let nul = limited(400_000, args, &node.url(), "/dev/zero");
        assert_eq!(nul.status.code(), Some(USAGE), "{args:?}: {nul:?}");
        assert!(
            String::from_utf8_lossy(&nul.stderr).contains("NUL"),
            "{args:?}: {nul:?}"
        );
    }
    let script = "yes xxxxxxxxxxxxxxxx | tr -d '\\n' | (ulimit -v 400000; exec \"$PYKV\" batch)";
    let output = Command::new("bash")
        .args(["-c", script])
        .env("PYKV", env!("CARGO_BIN_EXE_pykv"))
        .env("PYKV_SERVER", node.url())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(USAGE), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("bytes than the node takes"),
        "{output:?}"
    );
}
