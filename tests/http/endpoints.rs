//! Where a node listens: several addresses, and unix sockets.

use crate::common::{Server, eventually, node::Setup, pykv};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

/// The answer to a GET over a unix socket, as it came.
fn get(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_node_answers_at_all_its_endpoints() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pykv.sock");
    let listen = format!("unix:{}", path.display());
    let mut node = Server::start(&["--listen", &listen, "--socket-mode", "600"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A key that came over one is there over the other.
    node.client().add("a", "from TCP").expect(201);
    let answer = get(&path, "/kv/a");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("from TCP"),
        "{answer}"
    );
    // Its place on the machine is all that protects it: it answers for its own names alone.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /kv/a HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");

    // A socket that is in use is not taken; that of a dead node is.
    let second = home.path().join("second");
    let refused = pykv(&["serve", "--listen", &listen, "--dir", second.to_str().unwrap()]).expect(8);
    let said = refused.stderr;
    assert!(said.contains("cannot listen on unix:"), "{said}");
    assert!(
        !second.exists(),
        "a place that is in use leaves no directory behind"
    );
    node.kill_9();
    assert!(path.exists());
    node.start_again();
    assert!(get(&path, "/kv/a").contains("from TCP"));
    // A stop removes it.
    assert_eq!(node.sigterm().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for (listen, code) in [("unix:", 2), ("nonsense", 2), ("unix:/nowhere/pykv.sock", 8)] {
        let refused = pykv(&["serve", "--listen", listen, "--dir", "/nonexistent/data"]).expect(code);
        let said = refused.stderr;
        assert_eq!(said.lines().filter(|line| !line.is_empty()).count(), 1, "{said}");
    }
    for mode in ["66", "0", "1660", "999", "rw-"] {
        pykv(&["serve", "--socket-mode", mode, "--dir", "/nonexistent/data"]).expect(2);
    }
    let home = tempfile::tempdir().unwrap();
    // Other nodes cannot reach a replica that has nothing but a unix socket.
    let listen = format!("unix:{}", home.path().join("s").display());
    let args = [
        "replica",
        "--from",
        "127.0.0.1:1",
        "--listen",
        &listen,
        "--dir",
        "/nonexistent/data",
    ];
    let refused = pykv(&args).expect(2);
    assert!(refused.stderr.contains("--advertise"), "{}", refused.stderr);
    let file = home.path().join("a file");
    fs::write(&file, "of somebody").unwrap();
    let listen = format!("unix:{}", file.display());
    pykv(&["serve", "--listen", &listen, "--dir", "/nonexistent/data"]).expect(8);
    assert_eq!(fs::read_to_string(&file).unwrap(), "of somebody");
}

/// All that the command line does, it does over a unix socket.
#[test]
fn the_command_line_reaches_a_node_over_a_unix_socket() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pykv.sock");
    let listen = format!("unix:{}", path.display());
    let mut node = Server::start(&["--listen", &listen]);
    let run = |args: &[&str]| pykv(args).env("PYKV_SERVER", &listen);
    run(&["set", "a", "one"]).succeed();
    assert_eq!(run(&["get", "a"]).succeed(), b"one");
    run(&["get", "b"]).expect(1);
    // Larger than any buffer, both ways.
    let large = vec![b'x'; 900_000];
    run(&["set", "large", "-"]).stdin(&large).succeed();
    assert!(run(&["get", "large"]).succeed() == large);
    assert_eq!(
        run(&["list"])
            .succeed()
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        2
    );
    let status = String::from_utf8(run(&["status"]).succeed()).unwrap();
    assert!(status.contains("primary"), "{status}");
    let backup = home.path().join("backup");
    run(&["backup", backup.to_str().unwrap()]).succeed();
    pykv(&["check", backup.to_str().unwrap()]).succeed();
    let export = run(&["export"]).succeed();
    run(&["import", "-"]).stdin(&export).succeed();
    let watched = run(&["watch", "--after", "0", "--limit", "1", "--no-values"]).succeed();
    assert!(String::from_utf8_lossy(&watched).contains("\"key\":\"a\""));
    let piped = run(&["shell"]).stdin(b"get a\nset b two\n").succeed();
    assert!(piped.starts_with(b"one"), "{piped:?}");
    // A replica behind a socket sends writers on to an address.
    let second = home.path().join("replica.sock");
    let of_replica = format!("unix:{}", second.display());
    let replica = Setup::replica(&node.url(), &["--listen", &of_replica]).start();
    eventually("the replica is ready", || replica.get("/readyz").status == 200);
    // Ready for reads it is before it has heard its primary.
    eventually("the replica hears its primary", || {
        !replica.get("/status").body_json()["replication"]["primary"].is_null()
    });
    pykv(&["set", "by way of the replica", "v"])
        .env("PYKV_SERVER", &of_replica)
        .succeed();
    node.get("/kv/by%20way%20of%20the%20replica").expect(200);

    // What is wrong is said in one line, which names the socket.
    let refused = |server: &str, code: i32| {
        let said = pykv(&["get", "a"]).env("PYKV_SERVER", server).expect(code).stderr;
        assert_eq!(said.lines().filter(|line| !line.is_empty()).count(), 1, "{said}");
        assert!(said.contains(server), "{said}");
    };
    refused(&format!("unix:{}/nowhere.sock", home.path().display()), 3);
    refused(&format!("unix:{}/{}", home.path().display(), "a".repeat(200)), 3);
    node.kill_9();
    assert!(path.exists());
    refused(&listen, 3);
    pykv(&["get", "a", "--server", "unix:"]).expect(2);
}

/// One that takes connections and answers nothing is not waited for longer than was asked.
#[test]
fn a_socket_that_does_not_answer_is_given_up() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("mute.sock");
    let _mute = UnixListener::bind(&path).unwrap();
    let server = format!("unix:{}", path.display());
    let said = pykv(&["get", "a", "--timeout", "300ms"])
        .env("PYKV_SERVER", &server)
        .expect(3)
        .stderr;
    assert!(said.contains(&server), "{said}");
}

/// Starts a node as systemd does that listens for it: the sockets are its descriptors from 3 on.
fn activate(dir: &Path, tcp: OwnedFd, unix: OwnedFd) -> Child {
    let script = "exec 3<&0 4>&1 >/dev/null </dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_pykv"), "serve", "--dir"])
        .arg(dir)
        .stdin(Stdio::from(tcp))
        .stdout(Stdio::from(unix))
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A node that is started by its sockets leaves those who connect during a restart waiting, and refuses nobody.
#[test]
fn a_restart_by_its_sockets_refuses_no_connection() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("pykv.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let address = tcp.local_addr().unwrap();
    let dir = home.path().join("data");
    let start = || {
        activate(
            &dir,
            tcp.try_clone().unwrap().into(),
            unix.try_clone().unwrap().into(),
        )
    };
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(crate::common::SOON))?;
        stream.write_all(b"GET /kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        let answer = ask().expect("no connection is refused or cut");
                        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
                        answered.fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            let mut node = start();
            let before = answered.load(Relaxed);
            eventually("requests are answered", || answered.load(Relaxed) > before + 50);
            assert!(get(&path, "/healthz").starts_with("HTTP/1.1 200 "));
            let pid = rustix::process::Pid::from_child(&node);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            assert_eq!(node.wait().unwrap().code(), Some(0));
            assert!(path.exists(), "the file is not the node's");
        }
        let mut node = start();
        is_over.store(true, Relaxed);
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        let _ = node.kill();
        let _ = node.wait();
        assert!(ended.iter().all(Result::is_ok));
    });
}

/// The rule of loopback holds for sockets that are passed too.
#[test]
fn a_socket_that_is_passed_and_that_others_reach_needs_a_token() {
    let home = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let unix = UnixListener::bind(home.path().join("s")).unwrap();
    let mut node = activate(&home.path().join("data"), tcp.into(), unix.into());
    assert_eq!(node.wait().unwrap().code(), Some(2));
}
