//! The command line as a shell sees it: bytes, exit codes, pipes and signals.

use crate::common::{Server, cli, pykv};
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

const ABSENT: i32 = 1;
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const CONFLICT: i32 = 4;
const DENIED: i32 = 5;
const NONSENSE: i32 = 8;

const SUBCOMMANDS: [&str; 16] = [
    "serve", "get", "set", "del", "list", "ttl", "expire", "persist", "batch", "export", "import", "shell",
    "watch", "status", "log", "check",
];

#[test]
fn set_then_get() {
    let node = Server::start(&[]);
    pykv(&["set", "k", "v"]).at(&node).succeed();
    // The exact bytes: no newline where the output is no terminal.
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), b"v");
    pykv(&["set", "k", "other"]).at(&node).succeed();
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), b"other");
    pykv(&["set", "empty", ""]).at(&node).succeed();
    assert_eq!(pykv(&["get", "empty"]).at(&node).succeed(), b"");
    for key in ["a/b c", "ключ", "100%?#", ".."] {
        pykv(&["set", key, key]).at(&node).succeed();
        assert_eq!(pykv(&["get", key]).at(&node).succeed(), key.as_bytes());
    }
    // What looks like a flag, after the usual mark.
    pykv(&["set", "--", "--key", "-v"]).at(&node).succeed();
    assert_eq!(pykv(&["get", "--", "--key"]).at(&node).succeed(), b"-v");
}

#[test]
fn values_come_from_standard_input_and_files_byte_for_byte() {
    let node = Server::start(&[]);
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    pykv(&["set", "k", "-"]).at(&node).stdin(&all).succeed();
    assert!(pykv(&["get", "k"]).at(&node).succeed() == all);
    let file = node.home().join("value");
    fs::write(&file, b"\r\n\0\xff\n").unwrap();
    pykv(&["set", "k", "--file"]).arg(&file).at(&node).succeed();
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), b"\r\n\0\xff\n");
    let absent = pykv(&["set", "k", "--file", "/nonexistent/file"]).at(&node).run();
    assert!(!matches!(absent.code, None | Some(0)), "{absent:?}");
    assert!(absent.stderr.contains("/nonexistent/file"), "{absent:?}");
    assert_eq!(
        pykv(&["get", "k"]).at(&node).succeed(),
        b"\r\n\0\xff\n",
        "it is as it was"
    );
}

#[test]
fn get_as_json_is_the_whole_answer() {
    let node = Server::start(&[]);
    pykv(&["set", "k", "v"]).at(&node).succeed();
    let answer: serde_json::Value =
        serde_json::from_slice(&pykv(&["get", "k", "--json"]).at(&node).succeed()).unwrap();
    assert_eq!((&answer["key"], &answer["value"]), (&"k".into(), &"v".into()));
    assert_eq!(answer["version"].as_u64(), Some(node.get("/kv/k").version()));
}

#[test]
fn what_is_not_there_is_exit_code_1_and_nothing_on_standard_output() {
    let node = Server::start(&[]);
    let get = pykv(&["get", "absent"]).at(&node).expect(ABSENT);
    assert_eq!(get.stdout, b"");
    assert_eq!(get.stderr, "pykv: key not found: \"absent\"\n");
    assert!(get.stderr.contains("absent"), "names the key: {get:?}");
    pykv(&["del", "absent"]).at(&node).expect(ABSENT);
}

#[test]
fn del_takes_several_keys() {
    let node = Server::start(&[]);
    for key in ["a", "b", "c"] {
        pykv(&["set", key, "v"]).at(&node).succeed();
    }
    pykv(&["del", "a", "b"]).at(&node).succeed();
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"c\n");
    // One that is not there is said, and the others are deleted all the same.
    pykv(&["del", "absent", "c"]).at(&node).expect(ABSENT);
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"");
}

#[test]
fn list_pages_by_itself() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    for number in 0..2500 {
        client
            .put(&format!("/kv/n/{number}?upsert=true"), b"v")
            .expect(201);
    }
    client.put("/kv/other?upsert=true", b"v").expect(201);
    let mut keys: Vec<String> = String::from_utf8(pykv(&["list", "n/"]).at(&node).succeed())
        .unwrap()
        .lines()
        .map(String::from)
        .collect();
    keys.sort();
    let mut expected: Vec<String> = (0..2500).map(|number| format!("n/{number}")).collect();
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn status_says_how_the_node_is() {
    let node = Server::start(&[]);
    let stdout = String::from_utf8(pykv(&["status"]).at(&node).succeed()).unwrap();
    assert!(
        stdout.contains(&node.offset().to_string()),
        "the offset: {stdout}"
    );
    assert!(
        stdout.contains(node.dir().to_str().unwrap()),
        "the directory: {stdout}"
    );
}

#[test]
fn usage_errors_are_exit_code_2() {
    for args in [
        &["nonsense"][..],
        &["get"],
        &["set", "k"],
        &["set", "k", "v", "w"],
        &["del"],
        &["get", "k", "--surprise"],
        &["serve", "--fsync", "sometimes"],
        &["serve", "--max-capacity", "0"],
        &["serve", "--max-capacity", "many"],
        &["serve", "--max-memory", "12 parsecs"],
        &["serve", "--max-memory", "1MiB"],
        &["serve", "--max-body", "0"],
        &["serve", "--listen", "nonsense"],
    ] {
        let output = pykv(args).run();
        assert_eq!(output.code, Some(USAGE), "{args:?}: {output:?}");
        assert_eq!(output.stdout, b"", "{args:?}");
        assert!(output.stderr.starts_with("pykv: "), "{args:?}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{args:?}: {output:?}");
    }
    // What a gateway has not, each by itself, and whether the flag stands before or behind.
    for (flag, value) in [
        ("--dir", Some("/nowhere")),
        ("--new-store", None),
        ("--max-capacity", Some("10")),
        ("--max-memory", Some("1GiB")),
        ("--fsync", Some("always")),
        ("--max-unwritten", Some("64MiB")),
        ("--segment-size", Some("64MiB")),
        ("--compact-min", Some("64MiB")),
        ("--compact-ratio", Some("2")),
        ("--log-backlog", Some("64MiB")),
        ("--write-timeout", Some("30s")),
        ("--advertise", Some("10.0.0.1:7958")),
        ("--cluster-token-file", Some("tokens")),
        ("--sync-reads", None),
        ("--from", Some("10.0.0.1:7958")),
    ] {
        let args = ["serve", "--engine", "redis://127.0.0.1:1", flag];
        let output = pykv(&[&args[..], value.as_slice()].concat()).run();
        assert_eq!(output.code, Some(USAGE), "{flag}: {output:?}");
        assert!(output.stderr.contains(flag), "{flag}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{flag}: {output:?}");
    }
    // No subcommand is a question, be it answered as help or as an error.
    assert!(matches!(pykv(&[]).run().code, Some(0 | USAGE)));
}

#[test]
fn a_key_that_is_none_is_refused() {
    let node = Server::start(&[]);
    let long = "k".repeat(1025);
    for key in ["", &long] {
        let set = pykv(&["set", key, "v"]).at(&node).run();
        assert_eq!(set.code, Some(USAGE), "{set:?}");
    }
    assert_eq!(pykv(&["list"]).at(&node).succeed(), b"");
}

#[test]
fn a_node_that_is_not_there_is_exit_code_3() {
    // A port that was free a moment ago, and that nobody listens on.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in [
        &["get", "k"][..],
        &["set", "k", "v"],
        &["del", "k"],
        &["list"],
        &["status"],
    ] {
        let output = pykv(args)
            .env("PYKV_SERVER", &format!("http://{address}"))
            .expect(UNREACHABLE);
        assert!(
            output.stderr.contains(&address.to_string()),
            "names the node: {output:?}"
        );
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn something_that_is_no_node_does_not_confuse_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for answer in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
            "",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    for attempt in 0..3 {
        let output = pykv(&["get", "k"])
            .env("PYKV_SERVER", &format!("http://{address}"))
            .run();
        assert!(!matches!(output.code, None | Some(0 | ABSENT)), "{output:?}");
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        if attempt == 0 {
            assert_eq!(output.code, Some(NONSENSE), "{output:?}");
        }
        // A client that tries again would take more connections than the server has answers.
        if server.is_finished() {
            break;
        }
    }
    drop(server);
}

#[test]
fn a_conflict_is_exit_code_4() {
    let node = Server::start(&[]);
    let help = String::from_utf8(pykv(&["set", "--help"]).succeed()).unwrap();
    pykv(&["set", "k", "v"]).at(&node).succeed();
    // The flags are those of the help; each that names a condition must fail here.
    for (flag, value) in [
        ("--if-absent", None),
        ("--if-version", Some("1")),
        ("--new", None),
    ] {
        if help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")) {
            let args: Vec<&str> = ["set", "k", "w", flag].into_iter().chain(value).collect();
            pykv(&args).at(&node).expect(CONFLICT);
        }
    }
    assert_eq!(pykv(&["get", "k"]).at(&node).succeed(), b"v");
}

#[test]
fn what_a_node_refuses_is_said_with_what_it_is() {
    let node = Server::start(&["--max-value", "100"]);
    pykv(&["set", "k", "v"]).at(&node).succeed();
    let exists = pykv(&["set", "k", "w", "--if-absent"]).at(&node).expect(CONFLICT);
    let version = node.get("/kv/k").version();
    let said = format!("the key exists, in version {version}");
    assert!(exists.stderr.contains(&said), "{exists:?}");
    let large = pykv(&["set", "k", "-"]).at(&node).stdin(&[0; 101]).expect(USAGE);
    assert!(large.stderr.contains("101 bytes"), "{large:?}");
    assert!(large.stderr.contains("at most 100"), "{large:?}");
}

#[test]
fn which_token_was_refused_is_said() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tokens = file("tokens", "admin secret\n");
    let (other, pem) = (
        file("other", "other\n"),
        file("pem", "-----BEGIN CERTIFICATE-----\n"),
    );
    let node = Server::start(&["--token-file", &tokens]);
    let get = || pykv(&["get", "k"]).at(&node);
    for (run, code, said) in [
        (
            get(),
            DENIED,
            "give one with --token-file or PYKV_TOKEN".to_owned(),
        ),
        (
            get().arg("--token-file").arg(&other),
            DENIED,
            format!("the token is that of {other}"),
        ),
        (
            get().env("PYKV_TOKEN", "x"),
            DENIED,
            "the token is that of PYKV_TOKEN\n".to_owned(),
        ),
        (
            get().env("PYKV_TOKEN_FILE", &other),
            DENIED,
            format!("the token is that of {other}, which PYKV_TOKEN_FILE names"),
        ),
        (
            get().env("PYKV_TOKEN", "admin secret"),
            USAGE,
            "a token is one word".to_owned(),
        ),
        (
            get().arg("--token-file").arg(&pem),
            USAGE,
            "and no token".to_owned(),
        ),
    ] {
        let output = run.expect(code);
        assert!(output.stderr.contains(&said), "{said}: {output:?}");
    }
}

#[test]
fn a_bad_variable_is_named() {
    let output = pykv(&["serve"]).env("PYKV_LISTEN", "nonsense").expect(USAGE);
    assert!(output.stderr.contains("PYKV_LISTEN"), "{output:?}");
    let output = pykv(&["serve", "--listen", "nonsense"]).expect(USAGE);
    assert!(!output.stderr.contains("PYKV_LISTEN"), "{output:?}");
}

#[test]
fn signals_at_the_same_time_are_one() {
    let mut node = Server::start(&["--shutdown-grace", "60s"]);
    let mut client = node.client();
    client
        .send(b"PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n0")
        .unwrap();
    node.get("/healthz").expect(200);
    node.signal(Signal::TERM);
    node.signal(Signal::TERM);
    client.send(b"1").unwrap();
    drop(client);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn help_that_does_not_arrive_is_an_error() {
    for args in [["--version"], ["--help"], ["help"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let said = std::process::Command::new(env!("CARGO_BIN_EXE_pykv"))
            .args(args)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(8), "{args:?}");
    }
}

#[test]
fn help_is_where_a_newcomer_looks() {
    let help = String::from_utf8(pykv(&["--help"]).succeed()).unwrap();
    for subcommand in SUBCOMMANDS {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{subcommand} "))),
            "{subcommand} is missing in {help}"
        );
        let own = String::from_utf8(pykv(&[subcommand, "--help"]).succeed()).unwrap();
        assert!(own.contains("Usage:"), "{own}");
    }
    let version = String::from_utf8(pykv(&["--version"]).succeed()).unwrap();
    assert_eq!(version.trim(), format!("pykv {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_colours_where_the_output_is_no_terminal() {
    let node = Server::start(&[]);
    pykv(&["set", "k", "v"]).at(&node).succeed();
    for args in [
        &["--help"][..],
        &["status"],
        &["list"],
        &["get", "k", "--json"],
        &["get", "absent"],
        &["nonsense"],
        &["get", "k", "--surprise"],
    ] {
        let output = pykv(args).at(&node).run();
        assert!(!output.stdout.contains(&0x1b), "{args:?}: {output:?}");
        assert!(!output.stderr.contains('\x1b'), "{args:?}: {output:?}");
    }
    assert!(!node.stderr().contains('\x1b'), "{}", node.stderr());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let node = Server::start(&["--fsync", "no"]);
    let mut client = node.client();
    let name = "k".repeat(500);
    for number in 0..1000 {
        client
            .put(&format!("/kv/{number}{name}?upsert=true"), b"v")
            .expect(201);
    }
    for args in ["list", "log --dir \"$DIR\"", "--help"] {
        let script = format!("\"$PYKV\" {args} | head -n 1; exit ${{PIPESTATUS[0]}}");
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .env("PYKV", env!("CARGO_BIN_EXE_pykv"))
            .env("PYKV_SERVER", node.url())
            .env("DIR", node.dir())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, "", "{args}");
        // Success, or the death by SIGPIPE (128 + 13) that a shell knows.
        assert!(
            matches!(output.status.code(), Some(0 | 141)),
            "{args}: {:?}",
            output.status
        );
        assert_eq!(
            output.stdout.iter().filter(|&&byte| byte == b'\n').count(),
            1,
            "{args}"
        );
    }
}

#[test]
fn sigterm_ends_a_node_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Server::start(&["--fsync", "no"]);
        let mut client = node.client();
        let mut idle = node.client();
        idle.get("/healthz").expect(200);
        for number in 0..100 {
            client.put(&format!("/kv/{number}?upsert=true"), b"v").expect(201);
        }
        node.signal(signal);
        // A connection that waits for a request does not hold the end up.
        assert_eq!(node.wait().code(), Some(0));
        pykv(&["check"]).dir(node.dir()).succeed();
        node.start_again();
        assert_eq!(node.get("/stats").body_json()["entries"], 100);
    }
}

#[test]
fn a_request_in_flight_is_finished_before_the_end() {
    let mut node = Server::start(&[]);
    let mut client = node.client();
    let head = "PUT /kv/k?upsert=true HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
                Content-Length: 10\r\n\r\n";
    client.send(format!("{head}01234").as_bytes()).unwrap();
    // Answered on another connection, so that the node has had the time to see the first.
    node.get("/healthz").expect(200);
    node.signal(Signal::TERM);
    let _ = client.send(b"56789");
    // Taken or not, but not half: acknowledged means that it is there.
    let acknowledged = client.response(false).is_ok_and(|answer| answer.is_success());
    assert_eq!(node.wait().code(), Some(0));
    node.start_again();
    let read = node.get("/kv/k?raw");
    if acknowledged {
        assert_eq!(read.expect(200).body, b"0123456789");
    }
}

#[test]
fn directories_that_are_not_there_or_no_stores_are_errors() {
    let home = tempfile::TempDir::new().unwrap();
    for args in ["log", "check"] {
        let output = pykv(&[args]).dir(&home.path().join("absent")).run();
        assert!(!matches!(output.code, None | Some(0)), "{args}: {output:?}");
        assert!(output.stderr.contains("absent"), "{args}: {output:?}");
        assert!(!home.path().join("absent").exists(), "{args} only looks");
    }
    let file = home.path().join("file");
    fs::write(&file, b"").unwrap();
    let serve = pykv(&["serve", "--listen", "127.0.0.1:0"]).dir(&file).run();
    assert!(!matches!(serve.code, None | Some(0)), "{serve:?}");
    assert!(serve.stderr.contains(file.to_str().unwrap()), "{serve:?}");
    for (args, dir) in [
        (&["serve", "--listen", "127.0.0.1:0"][..], &file),
        (&["check"], &file),
        (&["serve", "--listen", "127.0.0.1:0"], &file.join("below")),
    ] {
        let output = pykv(args).dir(dir).expect(NONSENSE);
        assert!(output.stderr.contains("is a file"), "{args:?}: {output:?}");
    }
}

#[test]
fn a_file_that_is_none_of_pykvs_is_not_blamed_on_the_directory() {
    let home = tempfile::TempDir::new().unwrap();
    let file = home.path().join("README.md");
    fs::write(&file, "# A text\n").unwrap();
    for command in ["restore", "check", "log"] {
        let output = pykv(&[command]).arg(&file).run();
        assert_eq!(output.code, Some(NONSENSE), "{output:?}");
        assert!(output.stderr.contains("README.md"), "{output:?}");
        assert!(!output.stderr.contains("choose one with --dir"), "{output:?}");
    }
}

#[test]
fn commands_of_other_stores_lead_to_those_of_this_one() {
    for (typed, meant) in [
        ("unlink", "del"),
        ("add", "set"),
        ("scan", "list"),
        ("mget", "get"),
    ] {
        let output = pykv(&[typed, "k"]).expect(USAGE);
        assert!(
            output.stderr.contains(&format!("`pykv {meant}` does that")),
            "{output:?}"
        );
    }
}

#[test]
fn an_address_in_use_is_said() {
    let node = Server::start(&[]);
    let dir = node.home().join("other");
    let second = pykv(&["serve", "--listen", &node.address().to_string()])
        .dir(&dir)
        .run();
    assert!(!matches!(second.code, None | Some(0)), "{second:?}");
    assert!(second.stderr.contains(&node.address().to_string()), "{second:?}");
    assert!(!dir.exists(), "it leaves nothing behind");
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let home = tempfile::TempDir::new().unwrap();
    let mut serve = cli::command();
    let child = serve
        .arg("serve")
        .env("PYKV_LISTEN", "127.0.0.1:0")
        .env("PYKV_DIR", home.path().join("data"))
        .env("PYKV_SERVER", "http://127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = cli::Background(child);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();
    // A flag wins over the environment.
    let set = pykv(&["set", "k", "v", "--server", url]).env("PYKV_SERVER", "http://127.0.0.1:1");
    set.succeed();
    assert_eq!(pykv(&["get", "k"]).env("PYKV_SERVER", url).succeed(), b"v");
    assert!(home.path().join("data").is_dir());
}
