//! A disk that is full, and one that fails: writes are refused with the reason, reads go on, and when the
//! disk is well again so is the node, without a restart. What was acknowledged is there after a crash, and
//! what was refused at the door is not.
//!
//! The faults are real ones to the node: strace makes its calls fail while it runs (`pwrite64` is what
//! writes the log, `fdatasync` and `fsync` are what sync files; sockets use other calls), and a small tmpfs
//! is filled. Where the system allows neither, the test says so and is skipped.

use crate::common::client::{BYTES, encode};
use crate::common::small_disk::SmallDisk;
use crate::common::tls::{TlsClient, certificates};
use crate::common::{Client, Response, Server, eventually, node::Setup, poll, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

/// strace, attached to a node. The fault ends when this is dropped.
struct Fault(Child);

impl Fault {
    /// Makes calls of a node fail from now on; none where strace cannot attach.
    fn inject(node: &Server, calls: &str, error: &str) -> Result<Fault, String> {
        Fault::tamper(node, calls, &format!("error={error}"))
    }

    /// As [`Fault::inject`], with whatever strace can do to calls.
    fn tamper(node: &Server, calls: &str, how: &str) -> Result<Fault, String> {
        let mut child = Command::new("strace")
            .args(["-f", "-p", &node.pid().to_string(), "-o", "/dev/null"])
            .arg(format!("--trace={calls}"))
            .arg(format!("--inject={calls}:{how}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            for text in stderr.lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        let fault = Fault(child);
        let mut said = String::new();
        while let Ok(text) = lines.recv_timeout(crate::common::SOON) {
            said += &text;
            if said.contains("attached") {
                return Ok(fault);
            }
        }
        Err(said)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // Not SIGKILL: strace has to let go of the node first.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// What a client knows of its writes.
#[derive(Default)]
struct Ledger {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    next: usize,
}

impl Ledger {
    fn write(&mut self, client: &mut Client) -> (String, Response) {
        let key = format!("key-{}", self.next);
        self.next += 1;
        let answer = client.put(&format!("/kv/{key}?upsert=true"), key.as_bytes());
        (key, answer)
    }

    /// Writes that must be acknowledged.
    #[track_caller]
    fn acknowledged(&mut self, client: &mut Client, count: usize) {
        for _ in 0..count {
            let (key, answer) = self.write(client);
            assert!(answer.is_success(), "{answer:?}");
            self.acknowledged.push(key);
        }
    }

    /// Writes until the node refuses, and says so of itself. Of a refusal on the way the outcome is not known.
    fn until_not_ready(&mut self, client: &mut Client) {
        eventually("the node is not ready", || {
            let (key, answer) = self.write(client);
            match answer.status {
                201 => self.acknowledged.push(key),
                503 | 507 => drop(answer.expect_problem(answer.status)),
                _ => panic!("{answer:?}"),
            }
            client.get("/readyz").status == 503
        });
        client.get("/readyz").expect_problem(503);
    }

    /// A write that must be refused at the door, with this status and a reason that says this.
    #[track_caller]
    fn refused(&mut self, client: &mut Client, status: u16, reason: &str) {
        let (key, answer) = self.write(client);
        let detail = answer.expect_problem(status);
        assert!(detail.contains(reason), "{reason:?} is not in {detail:?}");
        if status == 503 {
            assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        }
        client.get(&format!("/kv/{key}")).expect(404);
        self.refused.push(key);
    }

    fn until_written_again(&mut self, client: &mut Client) {
        eventually("the node takes writes again", || {
            let (key, answer) = self.write(client);
            match answer.status {
                201 => self.acknowledged.push(key),
                503 | 507 => return false,
                _ => panic!("{answer:?}"),
            }
            true
        });
        eventually("the node is ready again", || client.get("/readyz").status == 200);
    }

    #[track_caller]
    fn assert_kept(&self, node: &Server) {
        let mut client = node.client();
        for key in &self.acknowledged {
            assert_eq!(
                client.get(&format!("/kv/{key}?raw")).expect(200).body,
                key.as_bytes()
            );
        }
        for key in &self.refused {
            client.get(&format!("/kv/{key}")).expect(404);
        }
    }
}

/// The whole story of one fault.
fn live_through(test: &str, policy: &str, calls: &str, error: &str, status: u16, reason: &str) {
    let mut node = Server::start(&["--fsync", policy]);
    let mut ledger = Ledger::default();
    let mut client = node.client();
    for round in 0..2 {
        ledger.acknowledged(&mut client, 50);
        let fault = match Fault::inject(&node, calls, error) {
            Ok(fault) => fault,
            Err(why) => return skip(test, &why),
        };
        ledger.until_not_ready(&mut client);
        for _ in 0..20 {
            ledger.refused(&mut client, status, reason);
        }
        // A delete is a write too.
        client
            .delete(&format!("/kv/{}", ledger.acknowledged[0]))
            .expect_problem(status);
        // A backup needs the log. It is refused as a write is, or made of what the log has.
        let backup = client.get("/backup").status;
        assert!([200, status].contains(&backup), "{backup}");
        // Reads go on, the process is well, and it says in its own log what is wrong.
        assert_eq!(client.get("/kv/key-0?raw").expect(200).body, b"key-0");
        client.get("/kv/?limit=10").expect(200);
        client.get("/stats").expect(200);
        client.get("/healthz").expect(200);
        assert_eq!(client.get("/status").expect(200).body_json()["ready"], false);
        assert!(node.stderr().contains(reason), "{reason:?} is not in its log");
        assert!(node.is_running());
        if round == 0 {
            drop(fault);
            ledger.until_written_again(&mut client);
            ledger.acknowledged(&mut client, 50);
            ledger.assert_kept(&node);
        } else {
            // The process dies before the disk is well.
            node.kill_9();
            drop(fault);
            node.start_again();
            ledger.assert_kept(&node);
            client = node.client();
            ledger.acknowledged(&mut client, 10);
        }
    }
    node.restart();
    ledger.assert_kept(&node);
    node.sigterm();
    crate::common::pykv(&["check"]).dir(node.dir()).succeed();
}

#[test]
fn no_space_left() {
    for policy in ["always", "everysec", "no"] {
        live_through("no_space_left", policy, "pwrite64", "ENOSPC", 507, "full");
    }
}

#[test]
fn writes_fail() {
    for policy in ["always", "everysec"] {
        live_through("writes_fail", policy, "pwrite64", "EIO", 503, "written");
    }
}

/// A file system that turned read-only, as many do after an error.
#[test]
fn the_file_system_is_read_only() {
    live_through(
        "the_file_system_is_read_only",
        "always",
        "pwrite64",
        "EROFS",
        503,
        "Read-only",
    );
}

#[test]
fn a_quota_is_used_up() {
    for policy in ["always", "everysec"] {
        live_through("a_quota_is_used_up", policy, "pwrite64", "EDQUOT", 507, "full");
    }
}

/// What a failed sync covered may be lost whatever a later one says, so the node writes its state anew.
#[test]
fn syncs_fail() {
    for policy in ["always", "everysec"] {
        live_through("syncs_fail", policy, "fdatasync,fsync", "EIO", 503, "synced");
    }
}

/// One failure among many writers: each knows of its own writes what became of them.
#[test]
fn a_disk_that_fails_under_many_writers() {
    let mut node = Server::start(&["--fsync", "always"]);
    if let Err(why) = Fault::inject(&node, "sync", "EIO") {
        return skip("a_disk_that_fails_under_many_writers", &why);
    }
    let over = AtomicBool::new(false);
    let ledgers: Vec<Ledger> = thread::scope(|scope| {
        let (node, over) = (&node, &over);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                scope.spawn(move || {
                    let mut client = node.client();
                    let mut ledger = Ledger {
                        next: writer * 1_000_000,
                        ..Ledger::default()
                    };
                    while !over.load(Relaxed) {
                        let (key, answer) = ledger.write(&mut client);
                        match answer.status {
                            201 => ledger.acknowledged.push(key),
                            503 | 507 => drop(answer.expect_problem(answer.status)),
                            _ => panic!("{answer:?}"),
                        }
                    }
                    ledger
                })
            })
            .collect();
        for (calls, error) in [("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("pwrite64", "EIO")] {
            let fault = Fault::inject(node, calls, error);
            let failed = poll(crate::common::SOON, || node.get("/readyz").status == 503);
            drop(fault);
            let healed = poll(crate::common::SOON, || node.get("/readyz").status == 200);
            if !failed || !healed {
                over.store(true, Relaxed);
                panic!("{calls}:{error}: failed {failed}, healed {healed}");
            }
        }
        over.store(true, Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for restart in [false, true] {
        if restart {
            node.restart();
        }
        for ledger in &ledgers {
            assert!(!ledger.acknowledged.is_empty());
            ledger.assert_kept(&node);
        }
    }
}

/// A disk that hangs makes no error: the node is not ready, and reads go on.
#[test]
fn a_disk_that_hangs() {
    let node = Server::start(&["--fsync", "always"]);
    let mut ledger = Ledger::default();
    let mut client = node.client();
    ledger.acknowledged(&mut client, 10);
    let fault = match Fault::tamper(&node, "fdatasync", "delay_enter=600000000") {
        Ok(fault) => fault,
        Err(why) => return skip("a_disk_that_hangs", &why),
    };
    let address = node.address();
    let writer = thread::spawn(move || {
        let mut client = Client::connect(address);
        client.put("/kv/hanging?upsert=true", b"").status
    });
    eventually("the node is not ready", || client.get("/readyz").status == 503);
    let detail = client.get("/readyz").expect_problem(503);
    assert!(detail.contains("not finished"), "{detail}");
    assert_eq!(client.get("/status").expect(200).body_json()["ready"], false);
    client.get("/kv/key-0?raw").expect(200);
    eventually("it is logged", || {
        node.stderr()
            .contains("[WARN ] the disk has not finished a write or a sync")
    });
    let mut is_healthy = |value: &str| {
        let metrics = client.get("/metrics").expect(200).body;
        let line = format!("\npykv_log_healthy {value}\n");
        String::from_utf8(metrics).unwrap().contains(&line)
    };
    assert!(is_healthy("0"));
    drop(fault);
    eventually("the log is healthy again", || is_healthy("1"));
    eventually("that is logged", || {
        node.stderr()
            .contains("[INFO ] the disk has finished what it was at")
    });
    eventually("the node is ready again", || client.get("/readyz").status == 200);
    assert_eq!(writer.join().unwrap(), 201);
    ledger.assert_kept(&node);
}

/// Every writer is answered within its time limit on a disk that does not answer, also the one whose thread is in the
/// kernel with the write of all; and the node is not ready.
#[test]
fn a_disk_that_hangs_keeps_no_writer() {
    for (policy, call) in [("always", "fdatasync"), ("everysec", "pwrite64")] {
        let node = Server::start(&["--fsync", policy, "--write-timeout", "1s"]);
        let mut client = node.client();
        client.put("/kv/a?upsert=true", b"1").expect(201);
        let fault = match Fault::tamper(&node, call, "delay_enter=600000000") {
            Ok(fault) => fault,
            Err(why) => return skip("a_disk_that_hangs_keeps_no_writer", &why),
        };
        let unknown = |answer: Response| {
            let problem = answer.expect(503).body_json();
            assert_eq!(problem["outcome"], "unknown", "{problem}");
        };
        // Alone, and so the one that writes; then others behind it, each in its own way.
        unknown(client.put("/kv/first?upsert=true", b"1"));
        thread::scope(|scope| {
            for number in 0..4 {
                let node = &node;
                scope.spawn(move || unknown(node.client().put(&format!("/kv/{number}?upsert=true"), b"1")));
            }
            scope.spawn(|| {
                let mut client = node.client();
                let put = |key: &str| encode("PUT", &format!("/kv/{key}?upsert=true"), &BYTES, b"1");
                let get = encode("GET", "/kv/a", &[], b"");
                client
                    .send(&[put("p"), get.clone(), put("q"), get].concat())
                    .unwrap();
                unknown(client.response(false).unwrap());
                client.response(false).unwrap().expect(200);
                unknown(client.response(false).unwrap());
                client.response(false).unwrap().expect(200);
            });
        });
        eventually("the node is not ready", || node.get("/readyz").status == 503);
        node.get("/kv/a").expect(200);
        drop(fault);
        eventually("the node takes writes", || {
            node.client().put("/kv/after?upsert=true", b"1").is_success()
        });
        eventually("the node is ready", || node.get("/readyz").status == 200);
    }
}

/// The same under TLS, where one thread alone has the state of the connection; and reads go on.
#[test]
fn a_disk_that_hangs_keeps_no_writer_under_tls() {
    let (_dir, ca, pair) = certificates();
    let args = [&["--fsync", "always", "--write-timeout", "1s"][..], &pair.flags()].concat();
    let node = Setup::new(&args).start();
    let put = encode("PUT", "/kv/a?upsert=true", &BYTES, b"1");
    let mut client = TlsClient::connect(node.address(), &ca);
    client.send(&put);
    assert!(client.answer().0.starts_with("HTTP/1.1 201 "));
    let fault = match Fault::tamper(&node, "fdatasync", "delay_enter=600000000") {
        Ok(fault) => fault,
        Err(why) => return skip("a_disk_that_hangs_keeps_no_writer_under_tls", &why),
    };
    // The one that writes the log, and those behind it.
    let mut writers = vec![client];
    writers.extend((0..3).map(|_| TlsClient::connect(node.address(), &ca)));
    for writer in &mut writers {
        writer.send(&put);
    }
    for writer in &mut writers {
        let (head, body) = writer.answer();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["outcome"], "unknown", "{problem}");
    }
    let ask = |target: &str, status: &str| {
        let mut reader = TlsClient::connect(node.address(), &ca);
        reader.send(&encode("GET", target, &[], b""));
        reader.answer().0.contains(status)
    };
    eventually("the node is not ready", || ask("/readyz", " 503 "));
    assert!(ask("/kv/a", " 200 "));
    drop(fault);
    eventually("the node is ready", || ask("/readyz", " 200 "));
}

/// A client that leads with more than one answer in hand gets each of them.
#[test]
fn a_disk_that_hangs_keeps_no_pipeline() {
    let node = Server::start(&["--fsync", "always", "--write-timeout", "1s"]);
    let mut client = node.client();
    client.put("/kv/a?upsert=true", b"1").expect(201);
    let fault = match Fault::tamper(&node, "fdatasync", "delay_enter=600000000") {
        Ok(fault) => fault,
        Err(why) => return skip("a_disk_that_hangs_keeps_no_pipeline", &why),
    };
    let get = encode("GET", "/kv/a", &[], b"");
    let put = encode("PUT", "/kv/b?upsert=true", &BYTES, b"1");
    client.send(&[get, put.clone(), put].concat()).unwrap();
    client.response(false).unwrap().expect(200);
    client.response(false).unwrap().expect_problem(503);
    let last = client.response(false).unwrap();
    assert_eq!(last.header("Connection"), Some("close"));
    last.expect_problem(503);
    drop(fault);
}

#[test]
fn a_small_disk_fills_up_and_is_made_room_on() {
    let Some(disk) = SmallDisk::mount_or_skip("a_small_disk_fills_up_and_is_made_room_on", "1m") else {
        return;
    };
    fs::write(disk.path("filler"), vec![0; 400 << 10]).unwrap();
    let mut node = Setup::new(&["--fsync", "always"])
        .data(&disk.path("data"))
        .start();
    let mut client = node.client();
    let mut ledger = Ledger::default();
    // Values of some size, so that the write that no longer fits fits in part.
    let mut large = Vec::new();
    eventually("the disk is full", || {
        let key = format!("/kv/large-{}", large.len());
        let value = vec![b'a' + (large.len() % 26) as u8; 15_000];
        let answer = client.put(&format!("{key}?upsert=true"), &value);
        match answer.status {
            201 => large.push((key, value)),
            503 | 507 => drop(answer.expect_problem(answer.status)),
            _ => panic!("{answer:?}"),
        }
        client.get("/readyz").status == 503
    });
    assert!(!large.is_empty());
    // Not even the smallest write, though a byte or two may be free: the one that failed is not done.
    for _ in 0..20 {
        ledger.refused(&mut client, 507, "full");
    }
    fs::remove_file(disk.path("filler")).unwrap();
    ledger.until_written_again(&mut client);
    ledger.acknowledged(&mut client, 50);
    for restart in [false, true] {
        if restart {
            node.restart();
        }
        ledger.assert_kept(&node);
        let mut client = node.client();
        for (key, value) in &large {
            assert!(
                client.get(&format!("{key}?raw")).expect(200).body == *value,
                "{key}"
            );
        }
    }
}

/// On a disk that is full from the start there is an error, not a node that cannot keep its word.
#[test]
fn a_node_does_not_start_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount_or_skip("a_node_does_not_start_on_a_full_disk", "1m") else {
        return;
    };
    let _ = fs::write(disk.path("filler"), vec![0; 2 << 20]); // As much of it as fits.
    let serve = crate::common::pykv(&["serve", "--listen", "127.0.0.1:0"])
        .dir(&disk.path("data"))
        .run();
    assert!(!matches!(serve.code, None | Some(0)), "{serve:?}");
    assert!(serve.stderr.contains("space"), "{serve:?}");
    fs::remove_file(disk.path("filler")).unwrap();
    // What the failed start left behind does not keep the next from starting.
    let node = Setup::new(&[]).data(&disk.path("data")).start();
    node.get("/readyz").expect(200);
}

/// Nothing can be written, and all that was is read.
#[test]
fn a_node_starts_for_reads_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount_or_skip("a_node_starts_for_reads_on_a_full_disk", "1m") else {
        return;
    };
    let mut node = Setup::new(&["--fsync", "always"])
        .data(&disk.path("data"))
        .start();
    let mut ledger = Ledger::default();
    ledger.acknowledged(&mut node.client(), 50);
    node.kill_9();
    let _ = fs::remove_file(disk.path("data/RESERVE"));
    let _ = fs::write(disk.path("filler"), vec![0; 2 << 20]); // As much of it as fits.
    for _ in 0..2 {
        node.start_again();
        let mut client = node.client();
        ledger.assert_kept(&node);
        client.get("/readyz").expect_problem(503);
        ledger.refused(&mut client, 507, "full");
        node.kill_9();
    }
    node.start_again();
    fs::remove_file(disk.path("filler")).unwrap();
    let mut client = node.client();
    ledger.until_written_again(&mut client);
    ledger.acknowledged(&mut client, 10);
    for _ in 0..2 {
        node.restart();
        ledger.assert_kept(&node);
    }
    node.sigterm();
    crate::common::pykv(&["check"]).dir(node.dir()).succeed();
}

/// Appends to the end of the last segment, and uses up the disk.
fn damage_and_fill(disk: &SmallDisk, bytes: &[u8]) {
    let filler = disk.path("filler");
    let _ = fs::remove_file(&filler);
    let log = crate::common::files::log_file(&disk.path("data"));
    let mut log = fs::OpenOptions::new().append(true).open(log).unwrap();
    std::io::Write::write_all(&mut log, bytes).unwrap();
    let _ = fs::write(&filler, vec![0; 2 << 20]); // As much of it as fits.
}

#[test]
fn a_torn_tail_is_cut_off_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount_or_skip("a_torn_tail_is_cut_off_on_a_full_disk", "1m") else {
        return;
    };
    let mut node = Setup::new(&["--fsync", "always"])
        .data(&disk.path("data"))
        .start();
    let mut ledger = Ledger::default();
    ledger.acknowledged(&mut node.client(), 50);
    let reserve = disk.path("data/RESERVE");
    eventually("there is a reserve", || reserve.exists());
    node.kill_9();
    let copies = || {
        let names = fs::read_dir(disk.path("data"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_str().unwrap().starts_with("damaged-"))
            .count()
    };
    // Zeros need no copy.
    damage_and_fill(&disk, &[0; 4096]);
    assert!(reserve.exists());
    node.start_again();
    ledger.assert_kept(&node);
    node.kill_9();
    let zeros = copies();
    // Others have one, in the place of the reserve.
    let _ = fs::remove_file(disk.path("filler"));
    if !reserve.exists() {
        fs::write(&reserve, vec![0; 64 << 10]).unwrap();
    }
    damage_and_fill(&disk, &[b'x'; 4096]);
    node.start_again();
    ledger.assert_kept(&node);
    node.kill_9();
    assert_eq!((zeros, copies()), (0, 1));
    // Without a reserve it is said how much room is to be made.
    let _ = fs::remove_file(&reserve);
    damage_and_fill(&disk, &[b'y'; 4096]);
    for command in [&["check", "--repair"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let refused = crate::common::pykv(command).dir(node.dir()).expect(8);
        let says = refused.stderr.contains("4096 bytes") && refused.stderr.contains("make room");
        assert!(says, "{refused:?}");
    }
    fs::remove_file(disk.path("filler")).unwrap();
    node.start_again();
    ledger.until_written_again(&mut node.client());
    ledger.assert_kept(&node);
}

/// Overwrites a few values until many times the disk's size was written.
fn overwrite(node: &Server, rounds: usize) {
    let mut client = node.client();
    for round in 0..rounds {
        for n in 0..100 {
            let value = vec![b'a' + (round % 26) as u8; 10_000];
            eventually("the write is taken", || {
                client.put(&format!("/kv/{n}?upsert=true"), &value).is_success()
            });
        }
    }
    for n in 0..100 {
        let answer = client.get(&format!("/kv/{n}?raw")).expect(200);
        assert_eq!(answer.body[0], b'a' + ((rounds - 1) % 26) as u8, "{n}");
    }
}

#[test]
fn a_disk_smaller_than_any_threshold_is_compacted_on_in_time() {
    let Some(disk) =
        SmallDisk::mount_or_skip("a_disk_smaller_than_any_threshold_is_compacted_on_in_time", "8m")
    else {
        return;
    };
    for args in [
        &[][..],
        &["--compact-min", "64MiB"],
        &["--segment-size", "1MiB", "--log-backlog", "64MiB"],
    ] {
        let mut node = Setup::new(args).data(&disk.path("data")).start();
        overwrite(&node, 30);
        node.restart();
        overwrite(&node, 3);
        node.sigterm();
        crate::common::pykv(&["check"]).dir(node.dir()).succeed();
        fs::remove_dir_all(disk.path("data")).unwrap();
    }
}

/// What is kept for those who were away gives way before a client is refused.
#[test]
fn a_backlog_larger_than_the_disk_costs_no_write() {
    let Some(disk) = SmallDisk::mount_or_skip("a_backlog_larger_than_the_disk_costs_no_write", "16m") else {
        return;
    };
    let args = [
        "--log-backlog",
        "64MiB",
        "--segment-size",
        "1MiB",
        "--fsync",
        "always",
    ];
    let node = Setup::new(&args).data(&disk.path("data")).start();
    let mut client = node.client();
    for round in 0..40 {
        for n in 0..100 {
            let answer = client.put(&format!("/kv/{n}?upsert=true"), &vec![b'x'; 10_000]);
            assert!(answer.is_success(), "round {round}: {answer:?}");
        }
        // One that finds no room is tried again.
        client.request("POST", "/compact?wait=true", &[], b"");
    }
    assert!(node.stderr().contains("kept for watchers and replicas are gone"));
}

/// Fills a disk with values until it takes no more. The number of them.
fn fill(node: &Server, value_bytes: usize) -> usize {
    let mut client = node.client();
    let mut keys = 0;
    eventually("the disk is full", || {
        let answer = client.put(&format!("/kv/{keys}?upsert=true"), &vec![b'x'; value_bytes]);
        keys += usize::from(answer.is_success());
        client.get("/readyz").status == 503
    });
    keys
}

/// Half of what is live can be deleted, whatever the disk's size, and that is enough.
#[test]
fn a_disk_full_of_live_data_is_left_by_deleting_half() {
    for (size, value_bytes) in [("2m", 10_000), ("16m", 50_000), ("48m", 10_000)] {
        let Some(disk) = SmallDisk::mount_or_skip("a_disk_full_of_live_data_is_left_by_deleting_half", size)
        else {
            return;
        };
        let mut node = Setup::new(&[]).data(&disk.path("data")).start();
        let keys = fill(&node, value_bytes);
        let mut client = node.client();
        for n in (0..keys).step_by(2) {
            eventually("the deletion is taken", || {
                matches!(client.delete(&format!("/kv/{n}")).status, 204 | 404)
            });
        }
        eventually("the node takes writes", || {
            client.put("/kv/new?upsert=true", b"").is_success()
        });
        node.restart();
        // The write that found the disk full may have been done once it had room.
        let is_last_there = node.get(&format!("/kv/{keys}")).status == 200;
        let entries = node.get("/stats").body_json()["entries"].as_u64().unwrap();
        assert_eq!(
            entries,
            (1 + keys / 2 + usize::from(is_last_there)) as u64,
            "{size}"
        );
    }
}

/// The reserve was given up to deletions, and what is left of it is not for writes after a restart either.
#[test]
fn a_restart_on_a_full_disk_takes_deletions_and_no_more() {
    let Some(disk) = SmallDisk::mount_or_skip("a_restart_on_a_full_disk_takes_deletions_and_no_more", "16m")
    else {
        return;
    };
    let mut node = Setup::new(&["--fsync", "always"])
        .data(&disk.path("data"))
        .start();
    let keys = fill(&node, 10_000);
    let is_short = |node: &Server| {
        let said = node.get("/readyz").expect_problem(503);
        said.contains("delete keys").then_some(said)
    };
    eventually("deletions are taken", || is_short(&node).is_some());
    for first in [0, 4] {
        node.restart();
        let mut client = node.client();
        let said = is_short(&node).unwrap();
        client
            .put("/kv/new?upsert=true", &[b'x'; 10_000])
            .expect_problem(507);
        let refused = client.request("POST", "/compact?wait=true", &[], b"");
        let refused = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(refused.contains("a new base of the store takes"), "{refused}");
        for n in [first, first + 2] {
            client.delete(&format!("/kv/{n}")).expect(204);
        }
        eventually("the numbers are renewed", || {
            is_short(&node).is_some_and(|now| now != said)
        });
        client.put("/kv/0?upsert=true", b"").expect_problem(507);
    }
    let mut client = node.client();
    for n in (0..keys).step_by(2) {
        eventually("the deletion is taken", || {
            matches!(client.delete(&format!("/kv/{n}")).status, 204 | 404)
        });
    }
    eventually("the node takes writes", || {
        client.put("/kv/new?upsert=true", b"").is_success()
    });
    assert!(
        node.stderr().contains("wrote a new base"),
        "the room was for that"
    );
    node.restart();
    node.get("/readyz").expect(200);
}

/// What waits to be written when the disk is full leaves room for deletions.
#[test]
fn batches_leave_room_for_deletions() {
    let Some(disk) = SmallDisk::mount_or_skip("batches_leave_room_for_deletions", "32m") else {
        return;
    };
    let node = Setup::new(&[]).data(&disk.path("data")).start();
    let is_full = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..8 {
            let (node, is_full) = (&node, &is_full);
            scope.spawn(move || {
                let mut client = node.client();
                let value = "x".repeat(7_500);
                for round in 0.. {
                    let operations: Vec<_> = (0..200)
                        .map(|n| serde_json::json!({"op": "set", "key": format!("{n}/{writer}/{round}"), "value": value}))
                        .collect();
                    let body = serde_json::json!({ "operations": operations }).to_string();
                    let json = [("Content-Type", "application/json")];
                    let answer = client.request("POST", "/batch", &json, body.as_bytes());
                    if !answer.is_success() || is_full.load(Relaxed) {
                        is_full.store(true, Relaxed);
                        break;
                    }
                }
            });
        }
    });
    let mut client = node.client();
    // Three quarters of them: what has waited is part of the store, too.
    for first_digit in 1..=5 {
        eventually("deletions are taken", || {
            client.delete(&format!("/kv/?prefix={first_digit}")).is_success()
        });
    }
    eventually("the node takes writes", || {
        client.put("/kv/new?upsert=true", b"").is_success()
    });
}

/// A replica cannot choose what it takes. It uses up the room that is left, since deletions may come behind.
#[test]
fn a_replica_on_a_full_disk_takes_the_deletions_of_its_primary() {
    let Some(disk) = SmallDisk::mount_or_skip(
        "a_replica_on_a_full_disk_takes_the_deletions_of_its_primary",
        "16m",
    ) else {
        return;
    };
    let primary = Server::start(&[]);
    let replica = Setup::replica(&primary.address().to_string(), &[])
        .data(&disk.path("data"))
        .start();
    let health = || {
        let health = &replica.get("/status").expect(200).body_json()["health"];
        health.as_str().unwrap().to_owned()
    };
    let mut client = primary.client();
    let mut keys = 0;
    eventually("the disk of the replica is full", || {
        client
            .put(&format!("/kv/{keys}?upsert=true"), &[b'v'; 10_000])
            .expect(201);
        keys += 1;
        health() != "ok"
    });
    eventually("it says what helps", || {
        health().contains("make room on the disk, or delete keys of the primary")
    });
    client.delete("/kv/?prefix=").expect(200);
    eventually("the replica is well", || health() == "ok");
    let written = client.put("/kv/new?upsert=true", b"").expect(201);
    let offset = written.header("Pykv-Offset").unwrap().to_owned();
    let read = replica
        .client()
        .request("GET", "/kv/new", &[("Pykv-Min-Offset", &offset)], b"");
    read.expect(200);
}

/// Where what is live fills the disk, deletions are taken, and are the way out.
#[test]
fn a_disk_full_of_live_data_takes_deletions() {
    let Some(disk) = SmallDisk::mount_or_skip("a_disk_full_of_live_data_takes_deletions", "2m") else {
        return;
    };
    let mut node = Setup::new(&[]).data(&disk.path("data")).start();
    let keys = fill(&node, 10_000);
    let mut client = node.client();
    assert!(keys > 50, "{keys}");
    for n in 10..keys {
        eventually("the deletion is taken", || {
            matches!(client.delete(&format!("/kv/{n}")).status, 204 | 404)
        });
    }
    eventually("the node takes writes", || {
        client.put("/kv/new?upsert=true", b"").is_success()
    });
    node.restart();
    let mut client = node.client();
    for n in 0..10 {
        client.get(&format!("/kv/{n}?raw")).expect(200);
    }
    client.get("/kv/11").expect(404);
}
