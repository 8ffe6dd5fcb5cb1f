//! Signals: which end a node, and how; which do not; and what a limit of the system does.

use crate::common::{Server, cli::Background, eventually, node::Setup, poll, pykv, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

#[test]
fn signals_that_mean_something_else_do_not_end_a_node() {
    let home = tempfile::tempdir().unwrap();
    let (access, rotated) = (home.path().join("access.log"), home.path().join("access.log.1"));
    let mut node = Server::start(&["--access-log", access.to_str().unwrap()]);
    node.client().put("/kv/a?upsert=true", b"").expect(201);
    let has =
        |path: &std::path::Path, word: &str| fs::read_to_string(path).is_ok_and(|text| text.contains(word));
    eventually("the line is there", || has(&access, "/kv/a"));
    fs::rename(&access, &rotated).unwrap();
    node.signal(Signal::USR2);
    node.signal(Signal::ALARM);
    node.signal(Signal::USR1);
    eventually("the access log is opened anew", || access.exists());
    node.get("/kv/b").expect(404);
    eventually("lines go there", || has(&access, "/kv/b"));
    assert!(!has(&rotated, "/kv/b"));
    // SIGHUP has all files opened or read anew, and that one too.
    let second = home.path().join("access.log.2");
    fs::rename(&access, &second).unwrap();
    node.signal(Signal::HUP);
    eventually("the access log is opened anew", || access.exists());
    node.get("/kv/c").expect(404);
    eventually("lines go there", || has(&access, "/kv/c"));
    assert!(node.is_running());
    assert_eq!(node.sigterm().code(), Some(0));
    assert!(node.stderr().contains("stopped"));
}

#[test]
fn a_quit_is_a_crash_and_loses_nothing_acknowledged() {
    // A shell has what it runs in the background ignore the signal, and so the tests, and what they start.
    let run = "ulimit -c 0; exec env --default-signal=QUIT \"$@\"";
    let mut node = Setup::new(&[]).wrapper(&["sh", "-c", run, "sh"]).start();
    node.client().put("/kv/a?upsert=true", b"1").expect(201);
    node.signal(Signal::QUIT);
    assert_eq!(node.wait().signal(), Some(Signal::QUIT.as_raw()));
    node.start_again();
    assert_eq!(node.get("/kv/a").expect(200).body_json()["value"], "1");
}

/// As the first process of a container, in a start that takes long: there the default action of a signal is none.
#[test]
fn a_signal_during_a_long_start_ends_it() {
    let test = "a_signal_during_a_long_start_ends_it";
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    // The first sync of a new store takes ten minutes.
    let child = Command::new("strace")
        .args([
            "-f",
            "-o",
            "/dev/null",
            "--trace=fsync",
            "--inject=fsync:delay_enter=600000000",
        ])
        .args(["unshare", "--pid", "--fork", "--kill-child"])
        .arg(env!("CARGO_BIN_EXE_pykv"))
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return skip(test, &error.to_string()),
    };
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for text in stderr.lines().map_while(Result::ok) {
            let _ = line.send(text);
        }
    });
    let is_begun = poll(crate::common::SOON, || {
        node_of(&child.id().to_string()).is_some_and(catches_term) || ended(&mut child)
    });
    let Some(node) = node_of(&child.id().to_string()).filter(|_| is_begun) else {
        let _ = child.kill();
        return skip(test, "strace or unshare is not allowed");
    };
    let node = Pid::from_raw(node).unwrap();
    // Nobody who waits for it is left in the dark.
    let says_how_far = || lines.try_iter().any(|line| line.contains("of the log are read"));
    let is_said = poll(crate::common::SOON, says_how_far);
    // What it says is what counts: strace may hold up the end of a process that it holds up.
    let has_ended = poll(crate::common::SOON, || {
        // More than once: one that came just before the thread was held up is not seen before that is over.
        let _ = kill_process(node, Signal::TERM);
        lines
            .try_iter()
            .any(|line| line.contains("stopped before the node had started"))
    });
    let _ = child.kill();
    let _ = child.wait();
    let _ = kill_process(node, Signal::KILL);
    assert!(is_said, "the node does not say how far its start is");
    assert!(has_ended);
}

/// The first process of a container has no default actions: a signal does there what it does elsewhere.
#[test]
fn a_signal_ends_every_command_of_a_container() {
    let test = "a_signal_ends_every_command_of_a_container";
    let unshare = |args: &[&str]| {
        let mut run = Command::new("unshare");
        run.args(["--pid", "--fork", "--kill-child"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        run
    };
    if !unshare(&["true"]).status().is_ok_and(|status| status.success()) {
        return skip(test, "unshare is not allowed");
    }
    let home = tempfile::tempdir().unwrap();
    let (node, other) = (Server::start(&[]), Server::start(&[]));
    node.client().put("/kv/k?upsert=true", b"v").expect(201);
    let path = |name: &str| home.path().join(name).into_os_string().into_string().unwrap();
    let (export, dir) = (path("export"), node.dir().to_str().unwrap());
    // It takes connections, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let (from, to) = (node.url(), other.url());
    let commands: &[(&[&str], &str, i32)] = &[
        (&["watch"], &from, 143),
        (&["status", "--watch"], &from, 143),
        (&["log", "--follow", "--dir", dir], &from, 143),
        (&["mirror", "--from", &from, "--to", &to], &from, 143),
        (&["compact"], &silent, 143),
        (&["get", "k"], &silent, 143),
        // It removes what it has begun.
        (&["export", &export], &silent, 143),
    ];
    for (args, server, of_term) in commands {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, *of_term)] {
            let mut run = unshare(&[env!("CARGO_BIN_EXE_pykv")]);
            let mut run = Background(run.args(*args).env("PYKV_SERVER", server).spawn().unwrap());
            let first = run.0.id().to_string();
            let is_begun = || {
                let catches = node_of(&first).is_some_and(catches_term);
                catches && (args[0] != "export" || names(home.path()).len() == 1)
            };
            eventually("it handles SIGTERM", is_begun);
            let command = node_of(&first).unwrap();
            kill_process(Pid::from_raw(command).unwrap(), signal).unwrap();
            let mut status = None;
            eventually("it ends", || {
                status = run.0.try_wait().unwrap();
                status.is_some()
            });
            assert_eq!(status.unwrap().code(), Some(code), "{args:?} {signal:?}");
            assert!(names(home.path()).is_empty(), "{args:?} {signal:?}");
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A file of tokens may be a pipe whose other end nobody has opened.
#[test]
fn a_signal_ends_a_start_that_waits_for_a_file() {
    let home = tempfile::tempdir().unwrap();
    let fifo = home.path().join("tokens");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for engine in [&[][..], &["--engine", "redis://127.0.0.1:1"]] {
        let mut run = pykv(&["serve", "--listen", "127.0.0.1:0", "--token-file"]).arg(&fifo);
        for arg in engine {
            run = run.arg(arg);
        }
        if engine.is_empty() {
            run = run.dir(&home.path().join("data"));
        }
        let mut node = run.spawn();
        let pid = Pid::from_child(&node.0);
        eventually("it waits for a signal", || {
            catches_term(pid.as_raw_nonzero().get())
        });
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(node.0.wait().unwrap().code(), Some(0), "{engine:?}");
    }
}

fn ended(child: &mut std::process::Child) -> bool {
    child.try_wait().unwrap().is_some()
}

/// The process of `pykv serve` among the descendants of another.
fn node_of(pid: &str) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().find_map(|child| {
        let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        let is_node = command.starts_with(env!("CARGO_BIN_EXE_pykv").as_bytes());
        if is_node {
            child.parse().ok()
        } else {
            node_of(child)
        }
    })
}

fn catches_term(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & (1 << 14) != 0)
}

/// A file that may not grow any more is a full disk, and no end of the process.
#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let mut node = Setup::new(&["--fsync", "always"])
        .wrapper(&["prlimit", "--fsize=300000:unlimited"])
        .start();
    let mut client = node.client();
    let mut taken = 0;
    eventually("a write is refused", || {
        let answer = client.put(&format!("/kv/{taken}?upsert=true"), &[b'x'; 10_000]);
        taken += usize::from(answer.is_success());
        answer.status == 507
    });
    assert!(taken > 0 && node.is_running());
    client.get("/kv/0?raw").expect(200);
    client.get("/readyz").expect(503);
    lift_limit(&node);
    eventually("the node is ready again", || client.get("/readyz").status == 200);
    // The same holds of what the command line writes.
    let backup = node.home().join("backup");
    let refused = Command::new("prlimit")
        .arg("--fsize=50000")
        .args([env!("CARGO_BIN_EXE_pykv"), "backup"])
        .arg(&backup)
        .env("PYKV_SERVER", node.url())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(8), "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("too large"),
        "{refused:?}"
    );
    node.restart();
    let mut client = node.client();
    for n in 0..taken {
        client.get(&format!("/kv/{n}?raw")).expect(200);
    }
}

/// `prlimit` before a command whose files may have so many bytes.
fn limited_to(bytes: &str) -> [String; 2] {
    ["prlimit".to_owned(), format!("--fsize={bytes}:unlimited")]
}

fn lift_limit(node: &Server) {
    let lifted = Command::new("prlimit")
        .args(["--pid", &node.pid().to_string(), "--fsize=unlimited:unlimited"])
        .status();
    assert!(lifted.is_ok_and(|status| status.success()));
}

/// Lines of an access log that may not grow are left out and counted; requests are answered.
#[test]
fn an_access_log_that_may_not_grow_ends_no_node() {
    let home = tempfile::tempdir().unwrap();
    let access = home.path().join("access");
    let wrapper = limited_to("20000");
    let mut node = Setup::new(&["--access-log", access.to_str().unwrap()])
        .wrapper(&[&wrapper[0], &wrapper[1]])
        .start();
    let mut client = node.client();
    eventually("lines are left out", || {
        for _ in 0..100 {
            client.get("/healthz").expect(200);
        }
        let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
        let dropped = metrics
            .lines()
            .find_map(|line| line.strip_prefix("pykv_access_log_dropped_lines_total "));
        dropped.unwrap() != "0"
    });
    assert!(node.is_running());
    assert!(fs::metadata(&access).unwrap().len() <= 20_000);
    assert!(node.stderr().contains("too large"), "{}", node.stderr());
    lift_limit(&node);
    eventually("lines are written again", || {
        client.get("/healthz").expect(200);
        fs::metadata(&access).unwrap().len() > 20_000
    });
}

/// What a command cannot write to its end leaves nothing behind that looks whole.
#[test]
fn a_limit_on_the_size_of_files_ends_commands_in_order() {
    let node = Server::start(&[]);
    let mut client = node.client();
    for n in 0..30 {
        client
            .put(&format!("/kv/{n}?upsert=true"), &[b'x'; 10_000])
            .expect(201);
    }
    let backup = node.home().join("whole");
    pykv(&["backup"]).arg(&backup).at(&node).succeed();
    let run = |args: &[&str]| {
        let wrapper = limited_to("50000");
        let done = Command::new(&wrapper[0])
            .arg(&wrapper[1])
            .arg(env!("CARGO_BIN_EXE_pykv"))
            .args(args)
            .env("PYKV_SERVER", node.url())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(8), "{args:?}: {stderr}");
        assert!(stderr.contains("too large"), "{args:?}: {stderr}");
    };
    let export = node.home().join("export");
    run(&["export", export.to_str().unwrap()]);
    let restored = node.home().join("restored");
    run(&[
        "restore",
        backup.to_str().unwrap(),
        "--dir",
        restored.to_str().unwrap(),
    ]);
    let left: Vec<_> = fs::read_dir(node.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("export"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // What is there is no store that a node would take for one.
    let base = fs::read_dir(&restored).into_iter().flatten().find(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("base-") && name.to_string_lossy().ends_with(".pykv")
    });
    assert!(base.is_none(), "{base:?}");
    let _ = fs::remove_dir_all(&restored);
    pykv(&["restore"]).arg(&backup).dir(&restored).succeed();
}

/// A replica whose files may not grow says so, and follows once they may.
#[test]
fn a_replica_whose_files_may_not_grow_follows_later() {
    let primary = Server::start(&[]);
    let mut client = primary.client();
    let put = |client: &mut crate::common::Client, n| {
        client
            .put(&format!("/kv/{n}?upsert=true"), &[b'x'; 10_000])
            .expect(201);
    };
    put(&mut client, 0);
    let wrapper = limited_to("150000");
    let mut replica = Setup::replica(&primary.address().to_string(), &[])
        .wrapper(&[&wrapper[0], &wrapper[1]])
        .start();
    eventually("it follows", || replica.get("/kv/0").status == 200);
    for n in 1..30 {
        put(&mut client, n);
    }
    eventually("it says why it does not follow", || {
        replica.stderr().contains("too large")
    });
    assert!(replica.is_running());
    replica.get("/kv/0").expect(200);
    replica.get("/readyz").expect(503);
    lift_limit(&replica);
    eventually("it follows again", || replica.get("/kv/29").status == 200);
    eventually("it is ready", || replica.get("/readyz").status == 200);
    replica.restart();
    eventually("it has all", || replica.get("/kv/29").status == 200);
}

/// A request that does not come holds nobody up for long; one that is worked on is answered.
#[test]
fn half_a_request_does_not_hold_up_the_end() {
    let mut node = Server::start(&["--shutdown-grace", "600s"]);
    let mut stuck = node.client();
    stuck
        .send(b"PUT /kv/k?upsert=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        .unwrap();
    let mut head = node.client();
    head.send(b"GET /kv/k HTTP/1.1\r\nHo").unwrap();
    // Both have been read by the time that a later request was answered on each of many connections.
    for _ in 0..20 {
        node.get("/healthz").expect(200);
    }
    assert_eq!(node.sigterm().code(), Some(0));
    assert!(!node.stderr().contains("are cut"), "{}", node.stderr());
}

/// An answer that does not say that the connection closes promises that one more request is answered. Clients that ask
/// without a pause, each on a connection of its own, all end at an answer that says so.
#[test]
fn what_was_promised_is_answered_during_a_stop() {
    const CLIENTS: usize = 48;
    let mut node = Server::start(&[]);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut client = node.client();
                let answered = &answered;
                scope.spawn(move || {
                    let target = format!("/kv/k{number}?upsert=true");
                    loop {
                        let answer = client.try_request("PUT", &target, &[], b"value")?;
                        assert!(answer.is_success(), "{answer:?}");
                        answered.fetch_add(1, Relaxed);
                        if answer.header("Connection") == Some("close") {
                            return Ok::<(), std::io::Error>(());
                        }
                    }
                })
            })
            .collect();
        eventually("all are busy", || answered.load(Relaxed) > 20 * CLIENTS);
        assert_eq!(node.sigterm().code(), Some(0));
        let cut: Vec<_> = clients
            .into_iter()
            .filter_map(|client| client.join().unwrap().err())
            .collect();
        assert!(cut.is_empty(), "{} of {CLIENTS} were cut: {cut:?}", cut.len());
    });
}

/// As systemd starts a service of `Type=notify`.
#[test]
fn a_service_manager_hears_how_far_a_node_is() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::common::SOON)).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).expect("the node says something");
        String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()
    };
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let mut node = Setup::new(&[]).wrapper(&["env", &variable]).start();
    // The replay may take long: the manager is to wait.
    assert!(hear().starts_with("EXTEND_TIMEOUT_USEC=60000000\nSTATUS="));
    let ready = hear();
    assert!(ready.starts_with("READY=1\nSTATUS=primary of term"), "{ready}");
    node.get("/healthz").expect(200);
    // A reload is told of, and its end (sd_notify(3)).
    node.signal(Signal::HUP);
    let reloading = hear();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(hear(), "READY=1");
    assert_eq!(node.sigterm().code(), Some(0));
    assert_eq!(hear(), "STOPPING=1");
    // A manager that is gone is no reason not to serve.
    drop(manager);
    node.start_again();
    node.get("/healthz").expect(200);
    assert!(node.stderr().contains("service manager"), "{}", node.stderr());
}

/// The watchdog hears of the log's thread, at least twice in its time (sd_watchdog_enabled(3)).
#[test]
fn a_watchdog_hears_that_the_log_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::common::SOON)).unwrap();
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let node = Setup::new(&[])
        .wrapper(&["env", &variable, "WATCHDOG_USEC=1000000"])
        .start();
    let mut heard = 0;
    while heard < 3 {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).expect("the node says something");
        heard += usize::from(bytes[..length].starts_with(b"WATCHDOG=1"));
    }
    node.get("/healthz").expect(200);
}

/// The unit is one that systemd takes, with an exposure below 2.0 of 10.
#[test]
fn the_unit_is_a_sandbox() {
    let test = "the_unit_is_a_sandbox";
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/pykv.service");
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", unit])
        .output();
    match analysed {
        Err(error) => skip(test, &error.to_string()),
        Ok(analysed) => assert!(analysed.status.success(), "{analysed:?}"),
    }
}

#[test]
fn what_a_closed_standard_output_does_not_take_is_said() {
    let node = Server::start(&[]);
    node.client().put("/kv/k?upsert=true", b"v").expect(201);
    let run = |args: &str, to: &str| {
        let inner = format!("exec {} {args} {to}", env!("CARGO_BIN_EXE_pykv"));
        let output = Command::new("sh")
            .args(["-c", &inner])
            .env("PYKV_SERVER", node.url())
            .env("PYKV_DIR", node.dir())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let copies = ["export -", "export /dev/stdout", "backup -", "backup /dev/stdout"];
    for args in copies {
        let (code, stderr) = run(args, ">&-");
        assert_eq!(code, Some(8), "{args}: {stderr}");
        let name = match args.ends_with("/dev/stdout") {
            true => "/dev/stdout",
            false => "to standard output",
        };
        let said = format!("cannot write {name}: it is closed");
        assert!(stderr.contains(&said), "{args}: {stderr}");
        assert_eq!(run(args, ">/dev/null").0, Some(0), "{args}");
    }
    // What Python and Node.js give a program whose output they discard, which is no error.
    for args in ["get k", "list", "status", "log", "compact", "help", "--version"] {
        for to in [">&-", "1<>/dev/null", ">/dev/null"] {
            let (code, stderr) = run(args, to);
            assert_eq!(code, Some(0), "{args} {to}: {stderr}");
        }
    }
    assert_eq!(run("set k w", ">&-").0, Some(0));
    assert_eq!(node.get("/kv/k?raw").expect(200).body, b"w");
}

#[test]
fn a_closed_standard_input_is_no_empty_value() {
    let node = Server::start(&[]);
    node.client().put("/kv/k?upsert=true", b"before").expect(201);
    for args in [
        "set k -",
        "set k --file /dev/stdin",
        "set k --file /dev/fd/0",
        "import",
        "import /dev/stdin",
        "batch /proc/self/fd/0",
    ] {
        let inner = format!("exec {} {args} <&-", env!("CARGO_BIN_EXE_pykv"));
        let refused = Command::new("sh")
            .args(["-c", &inner])
            .env("PYKV_SERVER", node.url())
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(8), "{args}: {refused:?}");
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(stderr.contains("it is closed"), "{args}: {stderr}");
    }
    assert_eq!(node.get("/kv/k?raw").expect(200).body, b"before");
    // Nothing in it is a value, though.
    pykv(&["set", "k", "-"]).at(&node).stdin(b"").succeed();
    assert_eq!(node.get("/kv/k?raw").expect(200).body, b"");
    for file in ["/dev/stdin", "/dev/null"] {
        pykv(&["set", file, "--file", file])
            .at(&node)
            .stdin(b"")
            .succeed();
    }
}
