//! A second node has what the first has, over links that fail and beside nodes that lie or hang.

use crate::common::cluster::{Member, become_equal};
use crate::common::node::Setup;
use crate::common::{eventually, pykv};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[test]
fn what_was_changed_on_the_way_is_fetched_again() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    for round in 0..5 {
        // Longer than the head of an answer, so that it is a record that is hit.
        primary.link.corrupt(1, 600);
        primary.fill(
            &format!("r{round}-"),
            300,
            "a value that is somewhat longer than a head",
        );
        eventually("a bit was turned", || primary.link.to_corrupt() == 0);
        become_equal(&[&primary, &replica]);
    }
    let said = replica.server.stderr();
    assert!(
        said.contains("does not fit") || said.contains("checksum"),
        "{said}"
    );
    assert!(replica.server.dir().join("LOCK").exists());
}

#[test]
fn a_link_that_is_halved_or_slow_or_breaks_is_got_over() {
    let primary = Member::primary(&[]);
    let replica = Member::replica(&[&primary], &[]);
    replica.streams();
    for round in 0..3 {
        primary.fill(&format!("a{round}-"), 100, "value");
        primary.link.half_close();
        primary.fill(&format!("b{round}-"), 100, "value");
        primary.link.break_connections();
    }
    primary.link.slow(7, Duration::from_millis(1));
    primary.fill("c", 20, "value");
    primary.link.slow(64 * 1024, Duration::ZERO);
    become_equal(&[&primary, &replica]);
}

#[test]
fn a_primary_that_hangs_holds_up_neither_readers_nor_the_end() {
    let primary = Member::primary(&[]);
    primary.set("k", "1");
    let mut replica = Member::replica(&[&primary], &[]);
    become_equal(&[&primary, &replica]);
    primary.server.suspend();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(replica.value("k").as_deref(), Some("1"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let begun = Instant::now();
    assert!(replica.server.sigterm().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    primary.server.signal(Signal::CONT);
    replica.start_again();
    primary.set("k", "2");
    become_equal(&[&primary, &replica]);
}

#[test]
fn something_else_than_a_node_is_said_once_and_does_no_harm() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nabc",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"",
    ];
    let stranger = std::thread::spawn(move || {
        for (at, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut stream = stream;
            let mut buffer = [0; 4096];
            if stream
                .read(&mut buffer)
                .is_ok_and(|bytes| buffer[..bytes].starts_with(b"END"))
            {
                return;
            }
            let _ = stream.write_all(answers[(at / 2).min(answers.len() - 1)]);
        }
    });
    let mut replica = Setup::replica(&address.to_string(), &[]).start();
    eventually("it has tried a few times", || {
        replica.stderr().matches("WARN").count() >= 3
    });
    // It has nothing yet, and does not know that there is nothing.
    replica.get("/kv/k").expect_problem(503);
    replica
        .client()
        .put("/kv/k?upsert=true", b"1")
        .expect_problem(503);
    assert_eq!(
        pykv(&["set", "k", "1"]).at(&replica).run().code,
        Some(6),
        "there is no primary"
    );
    assert!(replica.sigterm().success());
    let said = replica.stderr();
    let mut said: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("[WARN ]"))
        .map(|line| line.1)
        .collect();
    let count = said.len();
    said.dedup();
    assert_eq!(said.len(), count, "{said:?}");
    std::net::TcpStream::connect(address)
        .unwrap()
        .write_all(b"END")
        .unwrap();
    stranger.join().unwrap();
}
